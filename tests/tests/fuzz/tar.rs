//! Members of archives, and layers.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, Cursor, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use conex_archive::{ArchiveError, Entry, Kind, Limits, Skeleton, SkeletonWriter, TarReader, TarWriter, extract_layer};

use crate::bytes::Random;
use crate::fuzzer::{Target, shape};

const BLOCK: usize = 512;

/// What an input may come to when it is unpacked.
const LIMITS: Limits = Limits {
    size: 1 << 20,
    members: 40,
    ratio: u64::MAX,
};

/// Most that is read of an input's files.
const MOST: u64 = 4 << 20;

const WORDS: [&[u8]; 30] = [
    b"ustar\x0000",
    b"ustar  \0",
    b"../",
    b"/",
    b"a/b",
    b"a/..",
    b".wh.a",
    b".wh..wh..opq",
    b".wh..",
    b"00000000777\0",
    b"77777777777\0",
    b"\x80\0\0\0\0\0\0\0\0\0\x04\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"9 path=a\n",
    b"13 path=../a\n",
    b"13 linkpath=\n",
    b"14 linkpath=a\n",
    b"9 size=1\n",
    b"12 uid=4294\n",
    b"14 mtime=-1.5\n",
    b"28 mtime=9223372036854775807\n",
    b"23 SCHILY.xattr.u.a=bc\n",
    b"43 SCHILY.xattr.trusted.overlay.opaque=yes\n",
    b"22 GNU.sparse.major=1\n",
    b"28 GNU.sparse.realsize=1000\n",
    b"24 GNU.sparse.size=1000\n",
    b"25 GNU.sparse.map=0,1,9,1\n",
    b"20 GNU.sparse.name=\n",
    b"1\n0\n512\n",
    b"0 path=\n",
];

/// Kinds that a header may have, and others.
const FLAGS: &[u8] = b"01234567xgLKSVMXAN\0\xff";

/// Shows its bytes a few at a time.
struct Pieces<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl BufRead for Pieces<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(&self.bytes[..self.bytes.len().min(self.step)])
    }

    fn consume(&mut self, count: usize) {
        self.bytes = &self.bytes[count..];
        // No two pieces after each other are of one length.
        self.step = self.step * 5 % 97 + 1;
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// A member with its contents; `None` where they break off or are too many.
type Member = (Entry, Option<Vec<u8>>);

fn members(archive: impl BufRead) -> (Vec<Member>, Result<(), ArchiveError>) {
    let mut reader = TarReader::new(archive);
    let (mut found, mut left) = (Vec::new(), MOST);
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => {
                let mut contents = Vec::new();
                let read = (&mut reader).take(left).read_to_end(&mut contents);
                left -= contents.len() as u64;
                let whole = read.is_ok() && left > 0;
                found.push((entry, whole.then_some(contents)));
            }
            Ok(None) => return (found, Ok(())),
            Err(error) => return (found, Err(error)),
        }
    }
}

fn check_reading(input: &[u8]) -> (Vec<Member>, String) {
    let (whole, end) = members(input);
    let (pieces, again) = members(Pieces { bytes: input, step: 1 });
    assert!(
        whole == pieces,
        "{} members in one, {} in pieces",
        whole.len(),
        pieces.len()
    );
    let text = |end: &Result<(), ArchiveError>| end.as_ref().err().map(ToString::to_string);
    assert_eq!(text(&end), text(&again));
    if let Err(error) = &end {
        let tells = matches!(error, ArchiveError::Unsupported { .. }) || error.to_string().contains("(byte ");
        assert!(tells, "{error} tells no place");
    }
    (whole, text(&end).unwrap_or_default())
}

/// What is read and written again is read as the same.
fn check_writing(members_read: &[Member]) {
    let fits = |(entry, contents): &&Member| {
        let has_nul = |name: &[u8]| name.contains(&0);
        // What no file system has: names with an end of their own, numbers of devices beyond its own.
        contents.is_some()
            && entry.sparse.is_none()
            // By its type no directory, by its name one.
            && !(entry.kind == Kind::File && entry.path.ends_with(b"/"))
            && !has_nul(&entry.path)
            && !has_nul(&entry.link)
            && entry.major < 1 << 21
            && entry.minor < 1 << 21
    };
    let kept: Vec<&Member> = members_read.iter().filter(fits).collect();
    let mut writer = TarWriter::new(Vec::new());
    for (entry, contents) in &kept {
        match entry.kind {
            Kind::File => writer
                .append_file(entry, Cursor::new(contents.as_ref().unwrap()))
                .unwrap(),
            _ => writer.append(entry).unwrap(),
        }
    }
    let written = writer.finish().unwrap();
    let (again, end) = members(written.as_slice());
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(again.len(), kept.len());
    for ((read, contents), (entry, before)) in again.iter().zip(kept) {
        assert_eq!(read, entry);
        assert!(contents == before, "contents of {:?}", entry.path);
    }
}

/// A root, and beside it what must stay as it is.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        for name in ["root", "a", "etc"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("a/b"), "beside").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("b")).unwrap();
        Self(dir)
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn beside(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        names.push(self.0.path().join("a/b"));
        let tell = |path: &PathBuf| {
            let data = fs::symlink_metadata(path).unwrap();
            let changed = if *path == self.root() { 0 } else { data.ctime_nsec() };
            format!(
                "{path:?} {} {} {changed}",
                data.ino(),
                data.nlink() * u64::from(*path != self.root())
            )
        };
        names.iter().map(tell).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        conex_sys::tree::remove(&self.root()).unwrap();
    }
}

/// Bytes of files with their holes, files, and directories.
fn extent(root: &Path) -> (u64, u64, u64) {
    let (mut size, mut files, mut directories) = (0, 0, 0);
    let mut seen = HashSet::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        // What is deeper than a path can tell is counted as far as it is reached.
        let Ok(entries) = fs::read_dir(&path) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let Ok(data) = fs::symlink_metadata(&path) else {
                continue;
            };
            if data.is_dir() {
                directories += 1;
                waiting.push(path);
            } else if seen.insert(data.ino()) {
                files += 1;
                size += if data.is_file() { data.len() } else { 0 };
            }
        }
    }
    (size, files, directories)
}

fn check_unpacking(input: &[u8], found: &[Member]) -> String {
    let place = Place::new();
    let before = place.beside();
    let root = File::open(place.root()).unwrap();
    let skeleton_file = tempfile::tempfile_in(std::env::temp_dir()).unwrap();
    let mut writer = SkeletonWriter::new(skeleton_file.try_clone().unwrap()).unwrap();
    let outcome = extract_layer(input, root.as_fd(), Some(&mut writer), LIMITS);
    assert_eq!(place.beside(), before);
    let (size, files, directories) = extent(&place.root());
    assert!(size <= LIMITS.size, "{size} bytes");
    assert!(files <= LIMITS.members, "{files} files");
    let slashes = |(entry, _): &Member| entry.path.iter().filter(|byte| **byte == b'/').count() as u64 + 1;
    assert!(
        directories <= found.iter().map(slashes).sum::<u64>(),
        "{directories} directories"
    );
    match outcome {
        Ok(extracted) => {
            assert!(extracted.members <= LIMITS.members && extracted.size <= LIMITS.size);
            if writer.finish().unwrap() {
                let skeleton = Skeleton::open(skeleton_file).unwrap();
                let mut back = Vec::new();
                skeleton.assemble(root.as_fd(), &mut back).unwrap();
                assert!(back == input, "{} bytes of {} come back", back.len(), input.len());
            }
            format!(
                "unpacked {} {}",
                extracted.implied.len().min(2),
                extracted.links.len().min(2)
            )
        }
        Err(error) => shape(&error.to_string()),
    }
}

fn check(input: &[u8]) -> String {
    let (found, end) = check_reading(input);
    check_writing(&found);
    let kinds: String = found
        .iter()
        .take(6)
        .map(|(entry, contents)| {
            let odd = [
                entry.sparse.is_some(),
                !entry.xattrs.is_empty(),
                contents.is_none(),
                entry.mtime.seconds < 0,
            ];
            format!("{:?}{odd:?}", entry.kind)
        })
        .collect();
    format!("{kinds} {} {}", shape(&end), check_unpacking(input, &found))
}

/// Puts kinds and sums right, from header to header.
fn mend(random: &mut Random, input: &mut [u8]) {
    if random.below(8) == 0 {
        return;
    }
    let mut at = 0;
    while at + BLOCK <= input.len() {
        let block = &mut input[at..at + BLOCK];
        if block.iter().all(|byte| *byte == 0) {
            return;
        }
        if random.below(20) == 0 {
            block[156] = *random.of(FLAGS);
        }
        sum(block);
        let digits = std::str::from_utf8(&block[124..135]).unwrap_or_default();
        let size = usize::from_str_radix(digits, 8).unwrap_or(0).min(input.len());
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
}

/// Writes a header's sum.
fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

const TARGET: Target<'_> = Target {
    name: "tar",
    words: &WORDS,
    mend: &mend,
    check: &check,
};

#[test]
fn archives_are_read_written_and_unpacked() {
    TARGET.run();
}

/// A member with contents.
fn member(name: &str, flag: u8, link: &str, contents: &[u8]) -> Vec<u8> {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    for (at, text) in [
        (100, "0000755"),
        (108, "0001750"),
        (116, "0001751"),
        (136, "14000000000"),
    ] {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[124..135].copy_from_slice(format!("{:011o}", contents.len()).as_bytes());
    block[156] = flag;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    sum(&mut block);
    let mut bytes = [&block, contents].concat();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length = rest + if rest + 2 < 100 { 2 } else { 3 };
    format!("{length} {key}={value}\n")
}

fn extended(records: &[(&str, &str)]) -> Vec<u8> {
    let text: String = records.iter().map(|(key, value)| record(key, value)).collect();
    member("pax", b'x', "", text.as_bytes())
}

fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

fn plain() -> Vec<u8> {
    [
        member("a/", b'5', "", b""),
        member("a/file", b'0', "", b"contents"),
        member("a/link", b'2', "file", b""),
        member("a/hard", b'1', "a/file", b""),
        member("a/fifo", b'6', "", b""),
        member("a/null", b'3', "", b""),
        end(),
    ]
    .concat()
}

fn whiteouts() -> Vec<u8> {
    [
        member("a/", b'5', "", b""),
        member("a/.wh..wh..opq", b'0', "", b""),
        member("a/.wh.gone", b'0', "", b""),
        member("a/b/.wh.gone", b'0', "", b""),
        member("a/b/gone", b'0', "", b"again"),
        member("lower", b'1', "below/file", b""),
        end(),
    ]
    .concat()
}

fn links() -> Vec<u8> {
    [
        member("out", b'2', "/etc", b""),
        member("out/file", b'0', "", b"x"),
        member("in", b'2', "d", b""),
        member("d/", b'5', "", b""),
        member("in/file", b'0', "", b"x"),
        member("in/file", b'5', "", b""),
        end(),
    ]
    .concat()
}

fn named() -> Vec<u8> {
    [
        member(
            "././@LongLink",
            b'L',
            "",
            &[b"long/".repeat(30), b"name\0".to_vec()].concat(),
        ),
        member("long", b'0', "", b"x"),
        member("././@LongLink", b'K', "", &b"target/".repeat(20)),
        member("linked", b'2', "t", b""),
        extended(&[
            ("path", "caf\u{e9}/\u{1f600}"),
            ("mtime", "-1.25"),
            ("uid", "4000000000"),
            ("size", "3"),
        ]),
        member("short", b'0', "", b"abc"),
        extended(&[
            ("SCHILY.xattr.user.a", "b"),
            ("SCHILY.xattr.trusted.overlay.opaque", "y"),
        ]),
        member("dressed", b'0', "", b""),
        member("global", b'g', "", record("path", "everything").as_bytes()),
        member("last", b'0', "", b""),
        end(),
    ]
    .concat()
}

fn sparse() -> Vec<u8> {
    let mut old = member("old", b'S', "", b"ab");
    for (at, number) in [(386, 0), (398, 1), (410, 700), (422, 1), (483, 1000)] {
        old[at..at + 11].copy_from_slice(format!("{number:011o}").as_bytes());
    }
    sum(&mut old[..BLOCK]);
    let mut map = b"2\n0\n1\n700\n1\n".to_vec();
    map.resize(BLOCK, 0);
    map.extend(b"ab");
    [
        old,
        extended(&[("GNU.sparse.size", "1000"), ("GNU.sparse.map", "0,1,700,1")]),
        member("map", b'0', "", b"ab"),
        extended(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "named"),
            ("GNU.sparse.realsize", "1000"),
        ]),
        member("stored", b'0', "", &map),
        end(),
    ]
    .concat()
}

fn replaced() -> Vec<u8> {
    [
        member("a", b'0', "", b"file"),
        member("a/", b'5', "", b""),
        member("a/b", b'0', "", b"one"),
        member("a/b", b'0', "", b"another"),
        member("a", b'2', "b", b""),
        member("b/", b'5', "", b""),
        end(),
        b"what follows".to_vec(),
    ]
    .concat()
}

#[test]
#[ignore = "writes the corpus"]
fn keep_archives() {
    TARGET.keep(&[
        ("plain", plain()),
        ("whiteouts", whiteouts()),
        ("links", links()),
        ("named", named()),
        ("sparse", sparse()),
        ("replaced", replaced()),
    ]);
}
