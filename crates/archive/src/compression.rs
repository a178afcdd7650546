//! Compression, told by an archive's first bytes.

use std::io::{self, BufRead, BufReader};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

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
        let found = magics.iter().find(|(magic, _)| head.starts_with(magic));
        found.map_or(Self::None, |(_, compression)| *compression)
    }
}

/// The archive within a stream that may be compressed.
pub fn decompressed<'a>(mut source: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    Ok(match Compression::of(source.fill_buf()?) {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(BufReader::new(MultiGzDecoder::new(source))),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            Box::new(BufReader::new(decoder))
        }
        Compression::Bzip2 => Box::new(BufReader::new(MultiBzDecoder::new(source))),
        Compression::Xz => Box::new(BufReader::new(XzReader::new_mem_limit(source, true, XZ_MEMORY))),
    })
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
        decompressed(bytes)?.read_to_end(&mut read)?;
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
