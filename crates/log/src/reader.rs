//! Reading a log from its beginning or its end, and on as it grows, through all its files.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Stream;
use crate::decode::{Attributes, Decoded};
use crate::files::{self, Identity, Part};
use crate::source::{CHUNK, Source, opened};

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it came from.
    pub stream: Stream,
    /// RFC 3339 with nanoseconds, UTC.
    pub time: &'a str,
    /// The bytes, with their newline unless it is a piece of a line.
    pub line: &'a [u8],
    /// What it says of its container.
    pub attributes: &'a Attributes,
}

/// A place in a log, between two entries; it means the same to whoever opens the log later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    file: Identity,
    /// Bytes before it in that file, as it was before it was packed.
    offset: u64,
}

impl Position {
    /// What a cursor says, the file that `save` makes; nothing where there is none.
    pub fn load(cursor: &Path) -> io::Result<Option<Self>> {
        match fs::read(cursor) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a cursor, which is visible only when it is whole.
    pub fn save(&self, cursor: &Path) -> io::Result<()> {
        let temporary = cursor.with_extension("tmp");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(&temporary, cursor)
    }

    /// Whether nothing of a file comes after this place; `newer` are the files after that one.
    pub(crate) fn has_passed(&self, part: &Part, newer: &[Part]) -> bool {
        let is_in = |part: &Part| part.identity().is_same_file(&self.file);
        newer.iter().any(is_in) || (is_in(part) && self.offset >= part.length())
    }
}

/// A log that is open for reading.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    source: Source,
    /// Bytes of the file that were read, given or not.
    taken: u64,
    /// Whether the file was read to its end after another took its name: nothing comes to it any more.
    is_read: bool,
    /// What was read and not given yet: `buffer[given..]`, of which the end may be a line that was not written to its end.
    buffer: Vec<u8>,
    given: usize,
    /// The entry that was given last.
    decoded: Decoded,
}

impl Reader {
    /// Opens a log at its beginning.
    pub fn open(path: &Path) -> io::Result<Self> {
        let source = opened(path, |parts| parts.last())?;
        Ok(Self {
            path: path.to_owned(),
            source: source.ok_or(io::ErrorKind::NotFound)?,
            taken: 0,
            is_read: false,
            buffer: Vec::new(),
            given: 0,
            decoded: Decoded::default(),
        })
    }

    /// Opens a log at a place that was read to. What is gone since is passed over: the oldest that was written after it is the
    /// next.
    pub fn open_at(path: &Path, position: &Position) -> io::Result<Self> {
        let is_it = |part: &&Part| {
            let identity = part.identity();
            // Or what it was packed into.
            identity.is_same_file(&position.file) || (part.is_packed && identity.is_as_old(&position.file))
        };
        let source = opened(path, |parts| parts.iter().find(is_it))?;
        let (mut source, mut offset) = match source {
            Some(source) => (source, position.offset),
            None => {
                let newer = opened(path, |parts| {
                    let is_newer = |part: &&Part| part.number == 0 || part.identity().is_newer(&position.file);
                    parts.iter().rev().find(is_newer)
                })?;
                (newer.ok_or(io::ErrorKind::NotFound)?, 0)
            }
        };
        if let Source::Plain(file) = &mut source {
            // One that was begun anew under the same number is shorter.
            offset = offset.min(file.metadata()?.len());
            file.seek(SeekFrom::Start(offset))?;
        } else {
            offset = io::copy(&mut Read::by_ref(&mut source).take(offset), &mut io::sink())?;
        }
        Ok(Self {
            path: path.to_owned(),
            source,
            taken: offset,
            is_read: false,
            buffer: Vec::new(),
            given: 0,
            decoded: Decoded::default(),
        })
    }

    /// The place after the entry that was given last; not known after `seek_tail`.
    pub fn position(&self) -> io::Result<Position> {
        Ok(Position {
            file: self.source.identity()?,
            offset: self.taken - (self.buffer.len() - self.given) as u64,
        })
    }

    /// The log has been moved to another directory.
    pub fn moved(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
    }

    /// Goes to the last `count` entries, in memory that does not depend on the log's size.
    pub fn seek_tail(&mut self, count: u64) -> io::Result<()> {
        self.buffer.clear();
        self.given = 0;
        self.is_read = false;
        let (mut wanted, mut seen): (u64, Option<Identity>) = (count, None);
        // From the newest file to the one in which the first wanted entry is.
        loop {
            let older = match seen {
                None => opened(&self.path, |parts| parts.first())?,
                Some(seen) => opened(&self.path, |parts| {
                    let at = parts.iter().position(|part| part.identity().is_same_file(&seen));
                    at.and_then(|at| parts.get(at + 1))
                })?,
            };
            let Some(source) = older else { return Ok(()) };
            self.source = source;
            let found = self.source.seek_tail(wanted)?;
            if found >= wanted {
                return Ok(());
            }
            wanted -= found;
            seen = Some(self.source.identity()?);
        }
    }

    /// The next entry; `None` at the present end. May be asked again when the log has grown. A line that is no entry is
    /// passed over.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry<'_>>> {
        loop {
            let Some(length) = self.next_line()? else {
                return Ok(None);
            };
            let line = &self.buffer[self.given..self.given + length];
            let is_entry = self.decoded.read(line);
            self.given += length;
            if is_entry {
                break;
            }
        }
        Ok(Some(Entry {
            stream: self.decoded.stream,
            time: &self.decoded.time,
            line: &self.decoded.bytes,
            attributes: &self.decoded.attributes,
        }))
    }

    /// The length of the next line with its newline; `None` where it is not whole yet.
    fn next_line(&mut self) -> io::Result<Option<usize>> {
        let mut searched = 0;
        loop {
            let waiting = &self.buffer[self.given..];
            if let Some(at) = memchr::memchr(b'\n', &waiting[searched..]) {
                return Ok(Some(searched + at + 1));
            }
            searched = waiting.len();
            self.buffer.drain(..self.given);
            self.given = 0;
            // A line that is longer than others makes room for itself.
            self.buffer.reserve(CHUNK);
            let read = Read::by_ref(&mut self.source)
                .take(CHUNK as u64)
                .read_to_end(&mut self.buffer)?;
            self.taken += read as u64;
            if read == 0 {
                if !self.go_on()? {
                    return Ok(None);
                }
                searched = 0;
            }
        }
    }

    /// At the end of a file: whether there is more to be read, of it or of the next.
    fn go_on(&mut self) -> io::Result<bool> {
        let own = self.source.identity()?;
        let parts = files::parts(&self.path)?;
        if parts.first().is_none_or(|newest| newest.identity().is_same_file(&own)) {
            return Ok(false);
        }
        // What was written before it got another name is read first.
        if !std::mem::replace(&mut self.is_read, true) {
            return Ok(true);
        }
        let next = opened(&self.path, |parts| {
            let at = parts.iter().position(|part| part.identity().is_same_file(&own));
            match at {
                Some(at) => at.checked_sub(1).and_then(|newer| parts.get(newer)),
                // It was packed, or is gone: on with what was written after it.
                None => parts
                    .iter()
                    .rev()
                    .find(|part| part.number == 0 || part.identity().is_newer(&own)),
            }
        })?;
        let Some(next) = next else { return Ok(false) };
        self.source = next;
        self.taken = 0;
        self.is_read = false;
        // The beginning of a line that a crash has cut off.
        self.buffer.clear();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rotation, Writer};

    fn open(path: &Path) -> Writer {
        Writer::open(path, Rotation::default(), String::new()).unwrap()
    }

    fn all(reader: &mut Reader) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            lines.push(String::from_utf8(entry.line.to_vec()).unwrap());
        }
        lines
    }

    #[test]
    fn the_end_of_a_long_log_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = open(&path);
        for number in 0..2_000 {
            writer
                .write(Stream::Stdout, format!("line {number}\n").as_bytes(), "t")
                .unwrap();
        }
        let mut reader = Reader::open(&path).unwrap();
        reader.seek_tail(2).unwrap();
        assert_eq!(all(&mut reader), ["line 1998\n", "line 1999\n"]);
        reader.seek_tail(0).unwrap();
        assert!(all(&mut reader).is_empty());
        reader.seek_tail(5_000).unwrap();
        assert_eq!(all(&mut reader).len(), 2_000);
    }

    #[test]
    fn a_reader_goes_on_where_the_log_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = open(&path);
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.next_entry().unwrap(), None);
        writer.write(Stream::Stderr, b"late\n", "t").unwrap();
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!((entry.stream, entry.line), (Stream::Stderr, b"late\n".as_slice()));
    }

    fn bounded(path: &Path) -> Writer {
        let rotation = Rotation {
            max_size: Some(1000),
            max_files: 4,
            ..Rotation::default()
        };
        Writer::open(path, rotation, String::new()).unwrap()
    }

    fn write(writer: &mut Writer, numbers: std::ops::Range<u32>) {
        for number in numbers {
            writer
                .write(Stream::Stdout, format!("{number}\n").as_bytes(), "t")
                .unwrap();
        }
    }

    fn numbers(reader: &mut Reader) -> Vec<u32> {
        all(reader)
            .iter()
            .map(|line| line.trim_end().parse().unwrap())
            .collect()
    }

    #[test]
    fn all_files_are_read_in_their_order_and_counted_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = bounded(&path);
        write(&mut writer, 0..200);
        crate::pack(&dir.path().join("log.2")).unwrap();
        let whole = numbers(&mut Reader::open(&path).unwrap());
        let first = whole[0];
        assert!(first > 0 && whole.len() > 60, "{whole:?}");
        assert_eq!(whole, (first..200).collect::<Vec<_>>());
        for count in [0, 1, 10, 30, 40, 50, 60, 1000] {
            let mut reader = Reader::open(&path).unwrap();
            reader.seek_tail(count).unwrap();
            let from = 200 - u32::try_from(count).unwrap().min(200 - first);
            assert_eq!(numbers(&mut reader), (from..200).collect::<Vec<_>>(), "{count}");
        }
    }

    #[test]
    fn a_reader_goes_on_from_file_to_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = bounded(&path);
        write(&mut writer, 0..10);
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(numbers(&mut reader), (0..10).collect::<Vec<_>>());
        // Each step begins a new file, and some are packed under the reader.
        for step in 1..10 {
            write(&mut writer, step * 10..step * 10 + 10);
            if step % 3 == 0 {
                crate::pack(&dir.path().join("log.1")).unwrap();
            }
            write(&mut writer, step * 10 + 1000..step * 10 + 1010);
            let expected: Vec<u32> = (step * 10..step * 10 + 10)
                .chain(step * 10 + 1000..step * 10 + 1010)
                .collect();
            assert_eq!(numbers(&mut reader), expected, "{step}");
        }
    }

    #[test]
    fn a_place_in_a_log_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = bounded(&path);
        write(&mut writer, 0..10);
        let mut reader = Reader::open(&path).unwrap();
        for _ in 0..5 {
            reader.next_entry().unwrap().unwrap();
        }
        let position = reader.position().unwrap();
        let position: Position = serde_json::from_str(&serde_json::to_string(&position).unwrap()).unwrap();
        let from_there = || numbers(&mut Reader::open_at(&path, &position).unwrap());
        assert_eq!(from_there(), (5..10).collect::<Vec<_>>());
        // In a file that has another name by now.
        write(&mut writer, 10..40);
        assert_eq!(from_there(), (5..40).collect::<Vec<_>>());
        // In one that is gone.
        write(&mut writer, 40..500);
        let rest = from_there();
        assert_eq!(rest, (rest[0]..500).collect::<Vec<_>>());
        assert!(rest.len() > 60);
    }

    #[test]
    fn a_place_is_found_again_in_a_file_that_was_packed_or_whose_number_is_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = bounded(&path);
        write(&mut writer, 0..40);
        // All that is written to the first file has been, and half of it was read.
        let mut reader = Reader::open(&path).unwrap();
        let first = std::fs::read_to_string(dir.path().join("log.1"))
            .unwrap()
            .lines()
            .count();
        let half = u32::try_from(first / 2).unwrap();
        for _ in 0..half {
            reader.next_entry().unwrap().unwrap();
        }
        let position = reader.position().unwrap();
        crate::pack(&dir.path().join("log.1")).unwrap();
        drop(reader);
        let from_there = || numbers(&mut Reader::open_at(&path, &position).unwrap());
        assert_eq!(from_there(), (half..40).collect::<Vec<_>>());
        // The next file may have the number that the unpacked one had.
        write(&mut writer, 40..80);
        assert_eq!(from_there(), (half..80).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_that_is_too_slow_goes_on_with_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = bounded(&path);
        write(&mut writer, 0..10);
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(numbers(&mut reader).len(), 10);
        write(&mut writer, 10..500);
        // The rest of the file that it has, and all that is left.
        let rest = numbers(&mut reader);
        let gap = rest.windows(2).position(|pair| pair[1] != pair[0] + 1).unwrap();
        let (own, left) = rest.split_at(gap + 1);
        assert_eq!(own, (10..10 + u32::try_from(own.len()).unwrap()).collect::<Vec<_>>());
        assert_eq!(left, (left[0]..500).collect::<Vec<_>>());
        assert!(left.len() > 60, "{left:?}");
    }

    #[test]
    fn a_writer_waits_for_a_reader_that_has_to_have_everything() {
        for max_files in [1, 3] {
            let dir = tempfile::tempdir().unwrap();
            let (path, cursor) = (dir.path().join("log"), dir.path().join("cursor.json"));
            let rotation = Rotation {
                max_size: Some(1000),
                max_files,
                awaited: Some(cursor.clone()),
                ..Rotation::default()
            };
            let mut writer = Writer::open(&path, rotation, String::new()).unwrap();
            let fill = |writer: &mut Writer, from: u32| {
                let full = |writer: &Writer| writer.is_held_up().unwrap();
                let last = (from..).find(|number| {
                    write(writer, *number..*number + 1);
                    full(writer)
                });
                last.unwrap() + 1
            };
            let mut written = fill(&mut writer, 0);
            assert!(std::fs::metadata(&path).unwrap().len() < 1100);
            // What is written nevertheless is kept.
            write(&mut writer, written..written + 100);
            written += 100;
            assert!(writer.is_held_up().unwrap());
            // A host that lost its power may leave a cursor without contents.
            std::fs::write(&cursor, "").unwrap();
            assert!(writer.is_held_up().unwrap());
            std::fs::remove_file(&cursor).unwrap();
            let mut seen = Vec::new();
            for _ in 0..5 {
                // Read to the end, or to the middle: the place counts that was noted.
                let mut reader = match Position::load(&cursor).unwrap() {
                    Some(position) => Reader::open_at(&path, &position).unwrap(),
                    None => Reader::open(&path).unwrap(),
                };
                while writer.is_held_up().unwrap() {
                    let line = reader.next_entry().unwrap().unwrap().line.to_vec();
                    seen.push(String::from_utf8(line).unwrap().trim_end().parse::<u32>().unwrap());
                    reader.position().unwrap().save(&cursor).unwrap();
                }
                written = fill(&mut writer, written);
            }
            let mut reader = Reader::open_at(&path, &Position::load(&cursor).unwrap().unwrap()).unwrap();
            seen.extend(numbers(&mut reader));
            assert!(
                seen.iter().copied().eq(0..written),
                "{max_files}: {seen:?} of {written}"
            );
        }
    }
}
