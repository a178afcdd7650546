//! Compression, told by an archive's first bytes.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::error::ArchiveError;
use crate::limits::Limits;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip (RFC 1952).
    Gzip,
    /// By zstd (RFC 8878).
    Zstd,
    /// By bzip2.
    Bzip2,
    /// By xz.
    Xz,
}

/// Memory that an archive may ask for to be decompressed by xz, in KiB: twice what `xz -9` has it need. (Windows of zstd are
/// bounded at 128 MiB by its library, the others have none of their own.)
const XZ_MEMORY: u32 = 128 << 10;

impl Compression {
    /// What an archive's first bytes say.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        let magics: [(&[u8], Self); 4] = [
            (&[0x1f, 0x8b], Self::Gzip),
            (&[0x28, 0xb5, 0x2f, 0xfd], Self::Zstd),
            (b"BZh", Self::Bzip2),
            (b"\xfd7zXZ\0", Self::Xz),
        ];
        // A frame that is passed over (RFC 8878, section 3.1.2) may come first.
        if let [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] = head {
            return Self::Zstd;
        }
        let found = magics.iter().find(|(magic, _)| head.starts_with(magic));
        found.map_or(Self::None, |(_, compression)| *compression)
    }
}

/// The archive within a stream that may be compressed, of which no more than these bounds allow is read. What its errors carry
/// is an `ArchiveError`.
pub fn decompressed<'a>(mut source: impl BufRead + 'a, limits: Limits) -> io::Result<Box<dyn BufRead + 'a>> {
    let compression = Compression::of(source.fill_buf()?);
    let taken = Rc::<Cell<u64>>::default();
    let source = Counted {
        inner: source,
        count: taken.clone(),
    };
    let bounds = Bounds {
        is_compressed: compression != Compression::None,
        taken,
        given: 0,
        limits,
    };
    Ok(match compression {
        Compression::None => bounds.of(source),
        Compression::Gzip => bounds.of(BufReader::new(MultiGzDecoder::new(source))),
        Compression::Zstd => bounds.of(BufReader::new(zstd::stream::read::Decoder::with_buffer(source)?)),
        Compression::Bzip2 => bounds.of(BufReader::new(MultiBzDecoder::new(source))),
        Compression::Xz => bounds.of(BufReader::new(XzReader::new_mem_limit(source, true, XZ_MEMORY))),
    })
}

/// Counts what is taken of a stream.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.count.set(self.count.get() + count as u64);
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

/// Bytes that any archive may decompress to, whatever its ratio: the first of them come from a few.
const FREE: u64 = 16 << 20;

/// How much of an archive has come, and what may.
struct Bounds {
    is_compressed: bool,
    taken: Rc<Cell<u64>>,
    given: u64,
    limits: Limits,
}

impl Bounds {
    fn of<'a>(self, inner: impl BufRead + 'a) -> Box<dyn BufRead + 'a> {
        Box::new(Bounded { inner, bounds: self })
    }

    fn check(&self) -> io::Result<()> {
        let Limits { size, ratio, .. } = self.limits;
        let error = if self.given > size {
            ArchiveError::TooLong { limit: size }
        } else if self.is_compressed && self.given > self.taken.get().saturating_mul(ratio).saturating_add(FREE) {
            ArchiveError::TooDense { limit: ratio }
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::FileTooLarge, error))
    }

    /// Tells the place of what is wrong with the compression.
    fn fault(&self, error: io::Error) -> io::Error {
        if !self.is_compressed || error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let offset = self.taken.get();
        io::Error::new(error.kind(), ArchiveError::Compressed { offset, source: error })
    }
}

struct Bounded<R> {
    inner: R,
    bounds: Bounds,
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.bounds.check()?;
        let bounds = &self.bounds;
        self.inner.fill_buf().map_err(|error| bounds.fault(error))
    }

    fn consume(&mut self, count: usize) {
        self.bounds.given += count as u64;
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bounds.check()?;
        let count = self.inner.read(buffer).map_err(|error| self.bounds.fault(error))?;
        self.bounds.given += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// `archive`, compressed by xz.
    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x06\x61\x72\x63\x68\x69\x76\x65\x00\x00\xe6\xb1\x27\x2e\xa6\x5c\xa9\x65\x00\x01\x1f\x07\x16\x2e\xb8\x73\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";

    /// `archive`, compressed by bzip2.
    const BZIP2: &[u8] = b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x24\x5f\x51\xb6\x00\x00\x00\x01\x80\x2a\x60\x11\x00\x20\x00\x31\x0c\x01\x06\x9b\x42\x23\x09\x45\xdc\x91\x4e\x14\x24\x09\x17\xd4\x6d\x80";

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        decompressed(bytes, Limits::NONE)?.read_to_end(&mut read)?;
        Ok(read)
    }

    #[test]
    fn what_is_compressed_is_read_as_what_it_was() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"archive").unwrap();
        let zstd = zstd::encode_all(b"archive".as_slice(), 1).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(b"archive").unwrap();
        for bytes in [
            gzip.finish().unwrap(),
            zstd,
            bzip2.finish().unwrap(),
            XZ.to_vec(),
            b"archive".to_vec(),
        ] {
            assert_eq!(read(&bytes).unwrap(), b"archive");
            // More than one after the other, as parallel programs write them.
            let twice = [bytes.as_slice(), bytes.as_slice()].concat();
            assert_eq!(read(&twice).unwrap(), b"archivearchive");
        }
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn what_breaks_off_or_is_wrong_is_told() {
        for whole in [XZ, BZIP2] {
            assert!(read(&whole[..whole.len() - 5]).is_err());
            let mut wrong = whole.to_vec();
            let middle = wrong.len() / 2;
            wrong[middle] ^= 0x55;
            assert!(read(&wrong).is_err());
        }
        assert!(read(b"BZh91AY").is_err());
        assert!(read(b"\xfd7zXZ\0").is_err());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let noise: Vec<u8> = (0..200_000_u32)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        gzip.write_all(&noise).unwrap();
        let gzip = gzip.finish().unwrap();
        let cut = read(&gzip[..gzip.len() / 2]).unwrap_err();
        let text = format!("unexpected EOF (byte {} of the compressed archive)", gzip.len() / 2);
        assert_eq!((cut.kind(), cut.to_string()), (io::ErrorKind::UnexpectedEof, text));
        assert!(matches!(
            cut.downcast::<ArchiveError>().unwrap(),
            ArchiveError::Compressed { .. }
        ));
    }

    #[test]
    fn no_more_is_read_than_the_bounds_allow() {
        let zeros = vec![0; 64 << 20];
        let bomb = zstd::encode_all(zeros.as_slice(), 1).unwrap();
        let read = |bytes: &[u8], limits| io::copy(&mut decompressed(bytes, limits)?, &mut io::sink());
        let size = zeros.len() as u64;
        let ratio = size / bomb.len() as u64 + 1;
        for (limits, words) in [
            (
                Limits {
                    size,
                    ratio,
                    ..Limits::NONE
                },
                "",
            ),
            (
                Limits {
                    size: size - 1,
                    ..Limits::NONE
                },
                "max-layer-size",
            ),
            (
                Limits {
                    ratio: ratio / 2,
                    ..Limits::NONE
                },
                "max-layer-ratio",
            ),
        ] {
            match read(&bomb, limits) {
                Ok(length) => assert!(words.is_empty() && length == size),
                Err(error) => assert!(!words.is_empty() && error.to_string().contains(words), "{error}"),
            }
        }
        // What is not compressed has no ratio.
        assert_eq!(
            read(
                &zeros,
                Limits {
                    ratio: 0,
                    ..Limits::NONE
                }
            )
            .unwrap(),
            size
        );
        assert!(
            read(
                &zeros,
                Limits {
                    size: 1,
                    ..Limits::NONE
                }
            )
            .is_err()
        );
    }

    #[test]
    fn no_archive_gets_as_much_memory_as_it_asks_for() {
        // A dictionary of 1.5 GiB (xz file format, section 5.3.1), and the block header's own sum.
        let mut header = XZ[12..24].to_vec();
        assert_eq!(header[..4], [0x02, 0x00, 0x21, 0x01]);
        header[4] = 37;
        let sum = crc32(&header[..8]);
        header[8..].copy_from_slice(&sum.to_le_bytes());
        let bomb = [&XZ[..12], &header, &XZ[24..]].concat();
        let error = read(&bomb).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let step = |sum: u32, byte: &u8| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
                (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
            })
        };
        !bytes.iter().fold(!0, step)
    }
}
