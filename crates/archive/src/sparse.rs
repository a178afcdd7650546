//! Sparse files (GNU tar manual, "Storing Sparse Files"): a map of what is stored, and then that, one part after the other.
//!
//! ```text
//!   old GNU   type 'S'; the map stands in the header and in blocks that follow it
//!   pax 0.0   GNU.sparse.size, and of each part GNU.sparse.offset and GNU.sparse.numbytes
//!   pax 0.1   GNU.sparse.size, GNU.sparse.map=offset,numbytes,offset,...
//!   pax 1.0   GNU.sparse.realsize; the map stands before the contents: a number to a line, filled up to a block
//! ```

use std::io::Read;

use crate::error::ArchiveError;
use crate::header::{BLOCK, invalid, number};
use crate::reader::read_error;

/// Parts that a file may have: they are held in memory.
const MOST: usize = 1 << 16;

/// A part of a sparse file that is stored; what is between two of them is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it belongs.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// What an extended header says of a sparse file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    /// Offsets and lengths in turn.
    pub(crate) map: Vec<u64>,
    /// Whether the map stands before the contents.
    pub(crate) before_contents: bool,
}

impl Described {
    /// Takes a record whose key goes on like this behind `GNU.sparse.`.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"offset" | b"numbytes" => self.add(decimal(value)?)?,
            b"map" => {
                self.map.clear();
                for text in value.split(|byte| *byte == b',') {
                    self.add(decimal(text)?)?;
                }
            }
            b"major" => self.before_contents = decimal(value)? > 0,
            // The number of parts is that of those that come.
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, number: u64) -> Result<(), ArchiveError> {
        if self.map.len() >= 2 * MOST {
            return Err(invalid("a sparse file has too many parts"));
        }
        self.map.push(number);
        Ok(())
    }
}

/// Reads a map that stands before the contents, and what fills it up; also how many bytes that are.
pub(crate) fn read_map(contents: &mut impl Read) -> Result<(Vec<u64>, u64), ArchiveError> {
    let mut read = 0;
    let mut next = || -> Result<u64, ArchiveError> {
        let mut digits = Vec::new();
        loop {
            let mut byte = [0];
            contents.read_exact(&mut byte).map_err(read_error)?;
            read += 1;
            match byte {
                [b'\n'] => return decimal(&digits),
                [digit] if digits.len() < 20 => digits.push(digit),
                _ => return Err(invalid("map of a sparse file")),
            }
        }
    };
    let parts = usize::try_from(next()?).unwrap_or(usize::MAX);
    if parts > MOST {
        return Err(invalid("a sparse file has too many parts"));
    }
    let map = (0..2 * parts).map(|_| next()).collect::<Result<Vec<u64>, _>>()?;
    let mut rest = vec![0; usize::try_from(filling(read)).unwrap_or(0)];
    contents.read_exact(&mut rest).map_err(read_error)?;
    Ok((map, read + rest.len() as u64))
}

/// What fills so many bytes up to a block.
fn filling(bytes: u64) -> u64 {
    bytes.wrapping_neg() % BLOCK as u64
}

/// Adds what a header or a further block of the old format has of a map.
pub(crate) fn add_fields(map: &mut Vec<u64>, fields: &[u8]) -> Result<(), ArchiveError> {
    for pair in fields.chunks_exact(24) {
        // What is not used is empty.
        if pair[12] == 0 {
            break;
        }
        for field in [&pair[..12], &pair[12..]] {
            let value = number(field).and_then(|value| u64::try_from(value).ok());
            map.push(value.ok_or(invalid("map of a sparse file"))?);
        }
        if map.len() > 2 * MOST {
            return Err(invalid("a sparse file has too many parts"));
        }
    }
    Ok(())
}

/// The parts of a file of this size of which so many bytes are stored.
pub(crate) fn segments(map: &[u64], size: u64, stored: u64) -> Result<Vec<Segment>, ArchiveError> {
    let wrong = || invalid("map of a sparse file");
    if !map.len().is_multiple_of(2) || i64::try_from(size).is_err() {
        return Err(wrong());
    }
    let (mut end, mut sum) = (0, 0_u64);
    let mut segments = Vec::with_capacity(map.len() / 2);
    for pair in map.chunks_exact(2) {
        let (offset, length) = (pair[0], pair[1]);
        if offset < end {
            return Err(wrong());
        }
        end = offset
            .checked_add(length)
            .filter(|end| *end <= size)
            .ok_or_else(wrong)?;
        sum += length;
        segments.push(Segment { offset, length });
    }
    if sum == stored { Ok(segments) } else { Err(wrong()) }
}

fn decimal(text: &[u8]) -> Result<u64, ArchiveError> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or(invalid("map of a sparse file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_within_the_file_and_are_what_is_stored() {
        let part = |offset, length| Segment { offset, length };
        assert_eq!(
            segments(&[0, 2, 5, 1, 9, 0], 9, 3).unwrap(),
            [part(0, 2), part(5, 1), part(9, 0)]
        );
        assert_eq!(segments(&[], 7, 0).unwrap(), []);
        for (map, size, stored) in [
            (&[0, 2, 1, 1][..], 9, 3),
            (&[0, 2, 9, 1], 9, 3),
            (&[0, 2], 9, 3),
            (&[0], 9, 0),
            (&[1, u64::MAX], 9, 0),
            (&[], u64::MAX, 0),
        ] {
            assert!(segments(map, size, stored).is_err(), "{map:?}");
        }
    }

    #[test]
    fn a_map_before_the_contents_fills_a_block() {
        let mut bytes = b"1\n0\n3\n".to_vec();
        bytes.resize(512, 0);
        bytes.extend(b"abc");
        let mut contents = bytes.as_slice();
        assert_eq!(read_map(&mut contents).unwrap(), (vec![0, 3], 512));
        assert_eq!(contents, b"abc");
        for bad in [&b"x\n"[..], b"1\n0\n", b"99999999\n", b"123456789012345678901234\n"] {
            let mut bytes = bad.to_vec();
            bytes.resize(600, 0);
            assert!(read_map(&mut bytes.as_slice()).is_err(), "{bad:?}");
        }
    }
}
