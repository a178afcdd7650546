//! Reading a log from its beginning or its end, and on as it grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::Stream;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it came from.
    pub stream: Stream,
    /// RFC 3339 with nanoseconds, UTC.
    pub time: String,
    /// The bytes, with their newline unless it is a piece of a line.
    pub line: Vec<u8>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    time: String,
}

/// A log that is open for reading.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<File>,
    /// The beginning of a line that was not written to its end yet.
    partial: Vec<u8>,
}

/// Bytes that are looked at at once when lines are counted from the end.
const BLOCK: u64 = 16 * 1024;

impl Reader {
    /// Opens a log at its beginning.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::new(File::open(path)?),
            partial: Vec::new(),
        })
    }

    /// Goes to the last `count` entries, in memory that does not depend on the log's size.
    pub fn seek_tail(&mut self, count: u64) -> io::Result<()> {
        self.partial.clear();
        let file = self.file.get_mut();
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
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        loop {
            self.file.read_until(b'\n', &mut self.partial)?;
            if !self.partial.ends_with(b"\n") {
                return Ok(None);
            }
            let line = std::mem::take(&mut self.partial);
            let Ok(raw) = serde_json::from_slice::<Raw>(&line) else {
                continue;
            };
            let stream = if raw.stream == "stderr" {
                Stream::Stderr
            } else {
                Stream::Stdout
            };
            return Ok(Some(Entry {
                stream,
                time: raw.time,
                line: raw.log.into_bytes(),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;

    fn all(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.next_entry().unwrap())
            .map(|entry| String::from_utf8(entry.line).unwrap())
            .collect()
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
        assert_eq!(
            (entry.stream, entry.line.as_slice()),
            (Stream::Stderr, b"late\n".as_slice())
        );
    }
}
