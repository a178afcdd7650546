//! Compression, told by an archive's first bytes.

use std::io::{self, BufRead, BufReader};

use flate2::bufread::MultiGzDecoder;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip (RFC 1952).
    Gzip,
    /// By zstd (RFC 8878).
    Zstd,
}

impl Compression {
    /// What an archive's first bytes say.
    ///
    /// # Errors
    /// `Unsupported` for what is compressed otherwise.
    pub fn of(head: &[u8]) -> io::Result<Self> {
        let begins = |magic: &[u8]| head.starts_with(magic);
        if begins(&[0x1f, 0x8b]) {
            return Ok(Self::Gzip);
        }
        if begins(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Ok(Self::Zstd);
        }
        for (magic, name) in [(b"BZh".as_slice(), "bzip2"), (b"\xfd7zXZ\0", "xz")] {
            if begins(magic) {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("an archive compressed by {name} is not supported"),
                ));
            }
        }
        Ok(Self::None)
    }
}

/// The archive within a stream that may be compressed; what is compressed in a way that is not known is refused.
pub fn decompressed<'a>(mut source: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    Ok(match Compression::of(source.fill_buf()?)? {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(BufReader::new(MultiGzDecoder::new(source))),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            Box::new(BufReader::new(decoder))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

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
        for bytes in [gzip.finish().unwrap(), zstd, b"archive".to_vec()] {
            assert_eq!(read(&bytes).unwrap(), b"archive");
        }
        assert_eq!(read(b"").unwrap(), b"");
        let refused = read(b"BZh91AY").unwrap_err();
        assert_eq!(refused.to_string(), "an archive compressed by bzip2 is not supported");
    }
}
