//! Reading a log from its beginning or its end, and on as it grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::Stream;
use crate::decode::Decoded;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it came from.
    pub stream: Stream,
    /// RFC 3339 with nanoseconds, UTC.
    pub time: &'a str,
    /// The bytes, with their newline unless it is a piece of a line.
    pub line: &'a [u8],
}

/// A log that is open for reading.
#[derive(Debug)]
pub struct Reader {
    file: File,
    /// What was read and not given yet: `buffer[given..]`, of which the end may be a line that was not written to its end.
    buffer: Vec<u8>,
    given: usize,
    /// The entry that was given last.
    decoded: Decoded,
}

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Bytes that are looked at at once when lines are counted from the end.
const BLOCK: u64 = 16 * 1024;

impl Reader {
    /// Opens a log at its beginning.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            buffer: Vec::new(),
            given: 0,
            decoded: Decoded::default(),
        })
    }

    /// Goes to the last `count` entries, in memory that does not depend on the log's size.
    pub fn seek_tail(&mut self, count: u64) -> io::Result<()> {
        self.buffer.clear();
        self.given = 0;
        let file = &mut self.file;
        let length = file.metadata()?.len();
        let mut end = length;
        let mut newlines = 0;
        let mut block = Vec::new();
        while end > 0 {
            let start = end.saturating_sub(BLOCK);
            file.seek(SeekFrom::Start(start))?;
            block.clear();
            file.by_ref().take(end - start).read_to_end(&mut block)?;
            for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                newlines += 1;
                // The newline before the first wanted line.
                if newlines == count + 1 {
                    self.file.seek(SeekFrom::Start(start + at as u64 + 1))?;
                    return Ok(());
                }
            }
            end = start;
        }
        self.file.seek(SeekFrom::Start(0))?;
        Ok(())
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
            if Read::by_ref(&mut self.file)
                .take(CHUNK as u64)
                .read_to_end(&mut self.buffer)?
                == 0
            {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;

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
        let mut writer = Writer::open(&path).unwrap();
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
        let mut writer = Writer::open(&path).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.next_entry().unwrap(), None);
        writer.write(Stream::Stderr, b"late\n", "t").unwrap();
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!((entry.stream, entry.line), (Stream::Stderr, b"late\n".as_slice()));
    }
}
