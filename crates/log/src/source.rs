//! One file of a log, plain or packed, and where its last lines begin.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::GzDecoder;

use crate::files::{self, Identity, Part};

/// A file of the log.
#[derive(Debug)]
pub(crate) enum Source {
    Plain(File),
    Packed(Box<GzDecoder<File>>),
}

/// Bytes that are read at once.
pub(crate) const CHUNK: usize = 256 * 1024;

/// Bytes that are looked at at once when lines are counted from the end.
const BLOCK: u64 = 16 * 1024;

/// How often a file is looked for that gets another name at the same moment.
const ATTEMPTS: u32 = 100;

impl Source {
    pub(crate) fn open(part: &Part) -> io::Result<Option<Self>> {
        let Some(file) = part.open()? else { return Ok(None) };
        Ok(Some(if part.is_packed {
            Self::Packed(Box::new(GzDecoder::new(file)))
        } else {
            Self::Plain(file)
        }))
    }

    pub(crate) fn identity(&self) -> io::Result<Identity> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Packed(decoder) => decoder.get_ref(),
        };
        file.metadata().map(|metadata| Identity::of(&metadata))
    }

    /// Goes to the last of so many entries; how many there are where they are fewer, and then to the beginning.
    pub(crate) fn seek_tail(&mut self, count: u64) -> io::Result<u64> {
        match self {
            Self::Plain(file) => seek_tail(file, count),
            Self::Packed(decoder) => {
                let lines = count_lines(decoder)?;
                let mut file = decoder.get_ref().try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                **decoder = GzDecoder::new(file);
                skip_lines(decoder, lines.saturating_sub(count))?;
                Ok(lines)
            }
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Packed(decoder) => decoder.read(buffer),
        }
    }
}

/// Opens the file that is chosen among those of a log, however they are renamed meanwhile.
pub(crate) fn opened(path: &Path, choose: impl Fn(&[Part]) -> Option<&Part>) -> io::Result<Option<Source>> {
    for _ in 0..ATTEMPTS {
        let parts = match files::parts(path) {
            Ok(parts) => parts,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(part) = choose(&parts) else { return Ok(None) };
        if let Some(source) = Source::open(part)? {
            return Ok(Some(source));
        }
    }
    Err(io::Error::other(
        "the log's files change faster than they can be opened",
    ))
}

/// Goes to the last `count` lines of a file; how many it has where they are fewer.
fn seek_tail(file: &mut File, count: u64) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
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
                file.seek(SeekFrom::Start(start + at as u64 + 1))?;
                return Ok(count);
            }
        }
        end = start;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(newlines)
}

fn count_lines(source: &mut impl Read) -> io::Result<u64> {
    let mut block = vec![0; CHUNK];
    let mut lines = 0;
    loop {
        let count = source.read(&mut block)?;
        if count == 0 {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', &block[..count]).count() as u64;
    }
}

/// Reads over lines, byte by byte of what is decompressed already.
fn skip_lines(source: &mut impl Read, mut lines: u64) -> io::Result<()> {
    let mut byte = [0];
    while lines > 0 && source.read(&mut byte)? > 0 {
        lines -= u64::from(byte[0] == b'\n');
    }
    Ok(())
}
