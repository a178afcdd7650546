//! Archives from strangers: whatever their bytes say, nothing panics, hangs or reaches out of the root.
//!
//! Beside the root lies a canary, a small tree with the names that the archives like to use. It is compared before and
//! after every archive, with inode numbers, owners, modes, times and contents.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use conex_archive::{ExtractError, Extracted, Limits, TarReader, extract_layer};
use proptest::prelude::*;
use proptest::sample::Index;

/// No archive of these tests has more than a few kilobytes: what takes longer hangs.
const LONGEST: Duration = Duration::from_secs(20);

/// Stands in a link for the absolute path of the canary.
const CANARY: &str = "CANARY";

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::DirBuilder::new()
            .mode(0o700)
            .create(dir.path().join("root"))
            .unwrap();
        for name in ["canary", "canary/a", "a", "etc"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in ["canary/b", "canary/a/b", "b", "etc/b", "a/a"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        symlink("canary", dir.path().join("c")).unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Everything but what is in the root, as text.
    fn outside(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut waiting = vec![self.dir.path().to_owned()];
        while let Some(path) = waiting.pop() {
            let data = fs::symlink_metadata(&path).unwrap();
            let contents = fs::read(&path).ok().filter(|_| data.is_file());
            let times = (data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec());
            let (owner, place) = ((data.uid(), data.gid()), (data.dev(), data.ino(), data.nlink()));
            if path == self.root() {
                found.push(format!("{path:?} {place:?}").split(',').take(2).collect());
                continue;
            }
            found.push(format!(
                "{path:?} {:o} {owner:?} {place:?} {times:?} {contents:?}",
                data.mode()
            ));
            if data.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        found.sort();
        found
    }

    /// Unpacks on a thread of its own, so that a hang is seen.
    fn unpack(&self, archive: Vec<u8>) -> Result<Extracted, ExtractError> {
        let root = File::open(self.root()).unwrap();
        let (done, result) = mpsc::channel();
        thread::spawn(move || {
            // The first names the members, as other readers of archives do; the second unpacks.
            let mut reader = TarReader::new(archive.as_slice());
            while let Ok(Some(_)) = reader.next_entry() {}
            let _ = done.send(extract_layer(archive.as_slice(), root.as_fd(), None, Limits::NONE));
        });
        result.recv_timeout(LONGEST).expect("unpacking panics or hangs")
    }
}

#[derive(Debug, Clone, Copy)]
enum Naming {
    Ustar,
    Prefix,
    Gnu,
    Pax,
}

#[derive(Debug, Clone)]
struct Member {
    path: String,
    link: String,
    flag: u8,
    naming: Naming,
    mode: u32,
    owner: u64,
    mtime: String,
    contents: Vec<u8>,
}

fn path() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c"]),
        2 => prop::sample::select(vec!["..", ".", "", "canary", "etc"]),
        2 => prop::sample::select(vec![".wh.a", ".wh.b", ".wh..wh..opq", ".wh..wh.plnk", ".wh.", ".wh..."]),
    ];
    let relative = prop::collection::vec(component, 1..5).prop_map(|components| components.join("/"));
    prop_oneof![16 => relative.clone(), 1 => relative.prop_map(|path| format!("/{path}")), 1 => Just("./".to_owned())]
}

fn link() -> impl Strategy<Value = String> {
    let out = vec![
        "../canary",
        "../../canary/a",
        "/",
        "/etc",
        "..",
        ".",
        "a/../..",
        CANARY,
        "CANARY/b",
        "../b",
        "",
    ];
    prop_oneof![2 => path(), 1 => prop::sample::select(out).prop_map(str::to_owned)]
}

fn member() -> impl Strategy<Value = Member> {
    let flag = prop_oneof![
        12 => prop::sample::select(b"012556".to_vec()),
        2 => prop::sample::select(b"347\0".to_vec()),
        1 => prop::sample::select(b"gVSDMxX9".to_vec()),
    ];
    let naming = prop::sample::select(vec![Naming::Ustar, Naming::Prefix, Naming::Gnu, Naming::Pax]);
    let owner = prop_oneof![8 => Just(0), 2 => 0_u64..100_000, 1 => Just(u64::from(u32::MAX)), 1 => any::<u64>()];
    let mtime = prop_oneof![
        8 => Just("1.5".to_owned()),
        1 => any::<i64>().prop_map(|seconds| seconds.to_string()),
        1 => "[-0-9.]{0,24}",
    ];
    let contents = prop::collection::vec(any::<u8>(), 0..700);
    let all = (path(), link(), flag, naming, 0_u32..=0o7777, owner, mtime, contents);
    all.prop_map(|(path, link, flag, naming, mode, owner, mtime, contents)| Member {
        path,
        link,
        flag,
        naming,
        mode,
        owner,
        mtime,
        contents,
    })
}

/// An archive whose headers' sums can be made right again after it was changed.
#[derive(Debug, Default)]
struct Raw {
    bytes: Vec<u8>,
    headers: Vec<usize>,
}

impl Raw {
    fn block(&mut self, flag: u8, fields: &[(usize, &[u8])], contents: &[u8]) {
        let mut header = [0_u8; 512];
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", contents.len()).as_bytes());
        header[156] = flag;
        header[257..265].copy_from_slice(b"ustar\x0000");
        for (offset, value) in fields {
            header[*offset..*offset + value.len()].copy_from_slice(value);
        }
        self.headers.push(self.bytes.len());
        self.bytes.extend(header);
        self.bytes.extend(contents);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    fn member(&mut self, member: &Member) {
        let cut = |text: &str| text.as_bytes()[..text.len().min(100)].to_vec();
        let (mut name, mut link, mut prefix) = (cut(&member.path), cut(&member.link), Vec::new());
        let mut records = Vec::new();
        match member.naming {
            Naming::Ustar => {}
            Naming::Prefix => {
                if let Some((directory, last)) = member.path.rsplit_once('/') {
                    (prefix, name) = (cut(directory), cut(last));
                }
            }
            Naming::Gnu => {
                self.block(b'L', &[], [member.path.as_bytes(), b"\0"].concat().as_slice());
                self.block(b'K', &[], [member.link.as_bytes(), b"\0"].concat().as_slice());
                (name, link) = (b"x".to_vec(), b"x".to_vec());
            }
            Naming::Pax => {
                records.extend(record("path", member.path.as_bytes()));
                records.extend(record("linkpath", member.link.as_bytes()));
                records.extend(record("mtime", member.mtime.as_bytes()));
                records.extend(record("uid", member.owner.to_string().as_bytes()));
                records.extend(record("SCHILY.xattr.user.a", b"y"));
                self.block(b'x', &[], &records);
            }
        }
        let mode = format!("{:07o}", member.mode);
        let owner = [b"\x80".as_slice(), &member.owner.to_be_bytes()[1..]].concat();
        let contents = if matches!(member.flag, b'0' | b'7' | 0) {
            member.contents.as_slice()
        } else {
            b""
        };
        let fields: [(usize, &[u8]); 6] = [
            (0, &name),
            (100, mode.as_bytes()),
            (108, &owner),
            (116, &owner),
            (157, &link),
            (345, &prefix),
        ];
        self.block(member.flag, &fields, contents);
    }

    fn finish(mut self, changes: &[(Index, u8)], cut: Option<Index>) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        for (index, byte) in changes {
            let at = index.index(self.bytes.len());
            self.bytes[at] = *byte;
        }
        for start in self.headers {
            let header = &mut self.bytes[start..start + 512];
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        if let Some(cut) = cut {
            self.bytes.truncate(cut.index(self.bytes.len()));
        }
        self.bytes
    }
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn archive(place: &Place, members: &[Member], changes: &[(Index, u8)], cut: Option<Index>) -> Vec<u8> {
    let canary = place.dir.path().join("canary");
    let mut raw = Raw::default();
    for member in members {
        let link = member.link.replace(CANARY, canary.to_str().unwrap());
        raw.member(&Member { link, ..member.clone() });
    }
    raw.finish(changes, cut)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let place = Place::new();
        let before = place.outside();
        let _ = place.unpack(bytes);
        prop_assert_eq!(before, place.outside());
    }
}

proptest! {
    #![proptest_config(config(320))]

    #[test]
    fn archives_of_hostile_names_and_links_stay_in_their_root(members in prop::collection::vec(member(), 1..16)) {
        let place = Place::new();
        let before = place.outside();
        let _ = place.unpack(archive(&place, &members, &[], None));
        prop_assert_eq!(before, place.outside());
    }

    #[test]
    fn archives_that_were_changed_or_cut_stay_in_their_root(
        members in prop::collection::vec(member(), 1..8),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..12),
        cut in prop::option::weighted(0.3, any::<Index>()),
    ) {
        let place = Place::new();
        let before = place.outside();
        let _ = place.unpack(archive(&place, &members, &changes, cut));
        prop_assert_eq!(before, place.outside());
    }
}

fn plain(flag: u8, path: &str, link: &str) -> Member {
    Member {
        path: path.to_owned(),
        link: link.to_owned(),
        flag,
        naming: Naming::Ustar,
        mode: 0o644,
        owner: 0,
        mtime: "1".to_owned(),
        contents: b"new".to_vec(),
    }
}

#[test]
fn the_canary_notices_every_kind_of_change() {
    let changes: [fn(&Path); 5] = [
        |dir| fs::write(dir.join("canary/b"), "canary/c").unwrap(),
        |dir| fs::write(dir.join("new"), "").unwrap(),
        |dir| fs::remove_file(dir.join("a/a")).unwrap(),
        |dir| std::os::unix::fs::chown(dir.join("etc/b"), Some(1), None).unwrap(),
        |dir| fs::hard_link(dir.join("b"), dir.join("root/b")).unwrap(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let place = Place::new();
        let before = place.outside();
        assert_eq!(before, place.outside());
        change(place.dir.path());
        assert_ne!(before, place.outside(), "change {index}");
    }
}

#[test]
fn members_go_through_links_that_stay_inside_and_not_through_those_that_leave() {
    let inside = Place::new();
    let members = [plain(b'5', "etc", ""), plain(b'2', "x", "etc"), plain(b'0', "x/b", "")];
    inside.unpack(archive(&inside, &members, &[], None)).unwrap();
    assert_eq!(fs::read(inside.root().join("etc/b")).unwrap(), b"new");

    for target in [CANARY, "/etc", "../etc", "a/../../etc"] {
        let place = Place::new();
        let before = place.outside();
        let members = [plain(b'5', "etc", ""), plain(b'2', "x", target), plain(b'0', "x/b", "")];
        assert!(place.unpack(archive(&place, &members, &[], None)).is_err(), "{target}");
        assert_eq!(before, place.outside(), "{target}");
    }
}

#[test]
fn hard_links_are_made_inside_and_refused_outside() {
    let inside = Place::new();
    let members = [plain(b'0', "b", ""), plain(b'1', "x", "b")];
    inside.unpack(archive(&inside, &members, &[], None)).unwrap();
    let inode = |name| fs::metadata(inside.root().join(name)).unwrap().ino();
    assert_eq!(inode("b"), inode("x"));

    for (link, target) in [("c", "../b"), ("out", "out/b"), ("out", "../canary/b")] {
        let place = Place::new();
        let before = place.outside();
        let members = [plain(b'2', link, CANARY), plain(b'1', "x", target)];
        assert!(place.unpack(archive(&place, &members, &[], None)).is_err(), "{target}");
        assert_eq!(before, place.outside(), "{target}");
    }
}

#[test]
fn a_file_replaces_a_link_and_is_not_written_through_it() {
    let place = Place::new();
    let before = place.outside();
    let members = [plain(b'2', "x", "CANARY/b"), plain(b'0', "x", "")];
    place.unpack(archive(&place, &members, &[], None)).unwrap();
    assert_eq!(fs::read(place.root().join("x")).unwrap(), b"new");
    assert!(fs::symlink_metadata(place.root().join("x")).unwrap().is_file());
    assert_eq!(before, place.outside());
}

#[test]
fn an_owner_that_chown_takes_for_no_change_is_refused() {
    for (owner, right) in [(u64::from(u32::MAX) - 1, true), (u64::from(u32::MAX), false)] {
        let place = Place::new();
        let member = Member {
            owner,
            ..plain(b'0', "x", "")
        };
        let unpacked = place.unpack(archive(&place, &[member], &[], None));
        assert_eq!(unpacked.is_ok(), right, "{owner}");
    }
}
