//! Appending to a log.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::{Stream, encode};

/// Longest piece of a line in one entry, as in Docker.
const LONGEST: usize = 16 * 1024;

/// A log that is open for writing.
#[derive(Debug)]
pub struct Writer {
    file: File,
    /// What has no newline yet, per stream.
    held: [Vec<u8>; 2],
}

impl Writer {
    /// Opens a log, making it where it is absent, and cuts off what a crash left of a last line.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        let whole = whole_lines(&mut file, length)?;
        if whole < length {
            file.set_len(whole)?;
        }
        Ok(Self {
            file,
            held: [Vec::new(), Vec::new()],
        })
    }

    /// Writes what is complete of a process's output; the rest is held until its line ends.
    pub fn write(&mut self, stream: Stream, bytes: &[u8], time: &str) -> io::Result<()> {
        let mut out = Vec::with_capacity(bytes.len() + 128);
        let held = &mut self.held[usize::from(stream.number() - 1)];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut piece = piece;
            while held.len() + piece.len() > LONGEST {
                let (fits, rest) = piece.split_at(LONGEST - held.len());
                held.extend_from_slice(fits);
                encode::line(&mut out, stream, held, time);
                held.clear();
                piece = rest;
            }
            if !piece.ends_with(b"\n") {
                held.extend_from_slice(piece);
            } else if held.is_empty() {
                encode::line(&mut out, stream, piece, time);
            } else {
                held.extend_from_slice(piece);
                encode::line(&mut out, stream, held, time);
                *held = Vec::new();
            }
        }
        if out.is_empty() {
            Ok(())
        } else {
            self.file.write_all(&out)
        }
    }

    /// Writes what is held without a newline; for the end of the process.
    pub fn flush(&mut self, time: &str) -> io::Result<()> {
        let mut out = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let held = std::mem::take(&mut self.held[usize::from(stream.number() - 1)]);
            if !held.is_empty() {
                encode::line(&mut out, stream, &held, time);
            }
        }
        if out.is_empty() {
            Ok(())
        } else {
            self.file.write_all(&out)
        }
    }
}

/// Length of the file up to its last newline.
fn whole_lines(file: &mut File, length: u64) -> io::Result<u64> {
    const BLOCK: u64 = 4096;
    let mut end = length;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        if let Some(newline) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["log"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn lines_are_joined_across_writes_and_split_where_they_are_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = Writer::open(&path).unwrap();
        writer.write(Stream::Stdout, b"one\ntw", "t").unwrap();
        writer.write(Stream::Stderr, b"err\n", "t").unwrap();
        writer.write(Stream::Stdout, b"o\n", "t").unwrap();
        writer.write(Stream::Stdout, &[b'x'; LONGEST + 5], "t").unwrap();
        writer.flush("t").unwrap();
        assert_eq!(lines(&path), ["one\n", "err\n", "two\n", &"x".repeat(LONGEST), "xxxxx"]);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        Writer::open(&path)
            .unwrap()
            .write(Stream::Stdout, b"whole\n", "t")
            .unwrap();
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"log\":\"torn")
            .unwrap();
        Writer::open(&path)
            .unwrap()
            .write(Stream::Stdout, b"next\n", "t")
            .unwrap();
        assert_eq!(lines(&path), ["whole\n", "next\n"]);
    }
}
