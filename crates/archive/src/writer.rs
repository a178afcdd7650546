//! The streaming writer: ustar headers, preceded by a PAX header where a field does not fit (POSIX pax(1)).

use std::io::{self, Read, Write};

use conex_sys::userns::IdMap;

use crate::entry::{Entry, Kind};
use crate::header::BLOCK;

/// What the fields of a header hold at most: a name, a name's directory, and numbers in octal digits.
const NAME: usize = 100;
const PREFIX: usize = 155;
const OWNER: u64 = 0o7_777_777;
const SIZE: u64 = 0o77_777_777_777;

/// Bytes of contents that are copied at once.
const CHUNK: usize = 128 * 1024;

/// Writes an archive to a stream.
#[derive(Debug)]
pub struct TarWriter<W> {
    output: W,
    buffer: Vec<u8>,
    map: Option<IdMap>,
}

impl<W: Write> TarWriter<W> {
    /// Writes from the stream's present position.
    pub fn new(output: W) -> Self {
        Self {
            output,
            buffer: Vec::new(),
            map: None,
        }
    }

    /// Writes owners as they are in a user namespace.
    #[must_use]
    pub fn with_map(self, map: Option<IdMap>) -> Self {
        Self { map, ..self }
    }

    /// Writes a member that has no contents.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.header(entry)
    }

    /// Writes a file with its contents. They are cut off or filled up with zeros where there are more or fewer than the
    /// entry says, as happens to a file that is being written.
    pub fn append_file(&mut self, entry: &Entry, mut contents: impl Read) -> io::Result<()> {
        self.header(entry)?;
        self.buffer.resize(CHUNK, 0);
        let mut left = entry.size;
        let mut ended = false;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let count = if ended {
                0
            } else {
                contents.read(&mut self.buffer[..want])?
            };
            let count = if count == 0 {
                ended = true;
                self.buffer[..want].fill(0);
                want
            } else {
                count
            };
            self.output.write_all(&self.buffer[..count])?;
            left -= count as u64;
        }
        self.pad(entry.size)
    }

    /// Writes a file whose contents somebody writes, just as many bytes as the entry says.
    pub fn append_written<E: From<io::Error>>(
        &mut self,
        entry: &Entry,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        self.header(entry)?;
        write(&mut self.output)?;
        Ok(self.pad(entry.size)?)
    }

    /// Writes the end of the archive; returns the stream.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or_default();
        self.output.write_all(&[0; BLOCK][..padding])
    }

    fn header(&mut self, entry: &Entry) -> io::Result<()> {
        let mapped = self.mapped(entry);
        let entry = mapped.as_ref().unwrap_or(entry);
        let records = records(entry);
        if !records.is_empty() {
            let extension = Entry {
                sparse: None,
                path: b"PaxHeaders.0/entry".to_vec(),
                link: Vec::new(),
                kind: Kind::File,
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: records.len() as u64,
                mtime: entry.mtime,
                major: 0,
                minor: 0,
                xattrs: Vec::new(),
            };
            self.output.write_all(&block(&extension, b'x'))?;
            self.output.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.output.write_all(&block(entry, flag(entry.kind)))
    }

    /// The member with its owner as it is in the user namespace.
    fn mapped(&self, entry: &Entry) -> Option<Entry> {
        let (uid, gid) = self.map.as_ref()?.inside((entry.uid, entry.gid));
        Some(Entry {
            uid,
            gid,
            ..entry.clone()
        })
    }
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// Where a name is divided into the two fields of a header; `None` where it does not fit.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= NAME {
        return Some((b"", path));
    }
    let fits = |at: &usize| *at > 0 && *at <= PREFIX && path.len() - at - 1 <= NAME && *at + 1 < path.len();
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let at = slashes.map(|(at, _)| at).find(fits)?;
    Some((&path[..at], &path[at + 1..]))
}

/// The records of what does not fit into the header.
fn records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    let mut put = |key: &[u8], value: &[u8]| records.extend(record(key, value));
    if split(&entry.path).is_none() {
        put(b"path", &entry.path);
    }
    if entry.link.len() > NAME || !entry.link.is_ascii() {
        put(b"linkpath", &entry.link);
    }
    if entry.size > SIZE {
        put(b"size", entry.size.to_string().as_bytes());
    }
    for (key, owner) in [(b"uid", entry.uid), (b"gid", entry.gid)] {
        if u64::from(owner) > OWNER {
            put(key, owner.to_string().as_bytes());
        }
    }
    let in_field = u64::try_from(entry.mtime.seconds).is_ok_and(|seconds| seconds <= SIZE);
    if !in_field || entry.mtime.nanoseconds != 0 {
        put(b"mtime", time(entry.mtime.seconds, entry.mtime.nanoseconds).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        put(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

/// Seconds with a fraction. Before 1970 both count backwards from there.
fn time(seconds: i64, nanoseconds: u32) -> String {
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
        (false, _) => ("", seconds.unsigned_abs(), nanoseconds),
    };
    if nanoseconds == 0 {
        return format!("{sign}{seconds}");
    }
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').to_owned()
}

/// `length key=value\n`, where the length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() != length {
        length += 1;
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn block(entry: &Entry, flag: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    // A name that does not fit stands in the PAX header; readers that know none get its beginning.
    let (prefix, name) = split(&entry.path).unwrap_or((b"", &entry.path[..entry.path.len().min(NAME)]));
    put(&mut block, 0, name);
    octal(&mut block, 100, 8, u64::from(entry.mode & 0o7777));
    octal(
        &mut block,
        108,
        8,
        Some(u64::from(entry.uid)).filter(|uid| *uid <= OWNER).unwrap_or(0),
    );
    octal(
        &mut block,
        116,
        8,
        Some(u64::from(entry.gid)).filter(|gid| *gid <= OWNER).unwrap_or(0),
    );
    octal(
        &mut block,
        124,
        12,
        Some(entry.size).filter(|size| *size <= SIZE).unwrap_or(0),
    );
    let seconds = u64::try_from(entry.mtime.seconds).unwrap_or(0);
    octal(
        &mut block,
        136,
        12,
        Some(seconds).filter(|seconds| *seconds <= SIZE).unwrap_or(0),
    );
    block[156] = flag;
    put(&mut block, 157, &entry.link[..entry.link.len().min(NAME)]);
    put(&mut block, 257, b"ustar\x0000");
    octal(&mut block, 329, 8, u64::from(entry.major));
    octal(&mut block, 337, 8, u64::from(entry.minor));
    put(&mut block, 345, prefix);
    // The sum counts its own field as blanks.
    put(&mut block, 148, b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Digits that fill the field but for its last byte, a NUL.
fn octal(block: &mut [u8; BLOCK], at: usize, width: usize, value: u64) {
    put(block, at, format!("{value:0digits$o}", digits = width - 1).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Mtime, TarReader};

    fn entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
        let name =
            proptest::collection::vec(1_u8..=255, 1..300).prop_filter("a name of a file", |name| !name.ends_with(b"/"));
        let owner = prop_oneof![0_u32..100, 2_000_000_u32..u32::MAX];
        let seconds = prop_oneof![-100_i64..100, 0_i64..(1 << 40)];
        let nanoseconds = prop_oneof![Just(0_u32), 0_u32..1_000_000_000];
        let contents = proptest::collection::vec(any::<u8>(), 0..1500);
        let xattr = (
            proptest::collection::vec(b'a'..=b'z', 1..20),
            proptest::collection::vec(any::<u8>(), 0..20),
        );
        let parts = (
            name,
            owner,
            seconds,
            nanoseconds,
            contents,
            proptest::option::of(xattr),
            0_u32..0o10000,
        );
        parts.prop_map(|(path, owner, seconds, nanoseconds, contents, xattr, mode)| {
            let entry = Entry {
                sparse: None,
                link: Vec::new(),
                kind: Kind::File,
                mode,
                uid: owner,
                gid: owner / 2,
                size: contents.len() as u64,
                mtime: Mtime { seconds, nanoseconds },
                major: 0,
                minor: 0,
                xattrs: xattr.into_iter().collect(),
                path,
            };
            (entry, contents)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(members in proptest::collection::vec(entry(), 0..5)) {
            let mut writer = TarWriter::new(Vec::new());
            for (entry, contents) in &members {
                writer.append_file(entry, contents.as_slice()).unwrap();
            }
            let bytes = writer.finish().unwrap();
            let mut reader = TarReader::new(bytes.as_slice());
            for (entry, contents) in &members {
                let found = reader.next_entry().unwrap().unwrap();
                prop_assert_eq!(&found, entry);
                let mut read = Vec::new();
                reader.read_to_end(&mut read).unwrap();
                prop_assert_eq!(&read, contents);
            }
            prop_assert!(reader.next_entry().unwrap().is_none());
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_leaves_the_archive_whole() {
        let entry = |size| Entry {
            sparse: None,
            path: b"file".to_vec(),
            link: Vec::new(),
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size,
            mtime: Mtime::default(),
            major: 0,
            minor: 0,
            xattrs: Vec::new(),
        };
        let mut writer = TarWriter::new(Vec::new());
        writer.append_file(&entry(2), b"more".as_slice()).unwrap();
        writer.append_file(&entry(6), b"less".as_slice()).unwrap();
        let bytes = writer.finish().unwrap();
        let mut reader = TarReader::new(bytes.as_slice());
        for expected in [b"mo".as_slice(), b"less\0\0"] {
            reader.next_entry().unwrap().unwrap();
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn other_programs_read_it() {
        let mut writer = TarWriter::new(Vec::new());
        let long = [b"directory/".repeat(30).as_slice(), b"file"].concat();
        let entry = Entry {
            sparse: None,
            path: long.clone(),
            link: Vec::new(),
            kind: Kind::File,
            mode: 0o4755,
            uid: 3_000_000,
            gid: 7,
            size: 5,
            mtime: Mtime {
                seconds: 1,
                nanoseconds: 0,
            },
            major: 0,
            minor: 0,
            xattrs: Vec::new(),
        };
        writer.append_file(&entry, b"hello".as_slice()).unwrap();
        let bytes = writer.finish().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let found = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(found.path_bytes().as_ref(), long);
        assert_eq!((found.header().mode().unwrap(), found.size()), (0o4755, 5));
    }
}
