//! Compression, told by an archive's first bytes.

use std::io::{self, BufRead, BufReader};

use flate2::bufread::MultiGzDecoder;

/// The archive within a stream that may be compressed by gzip or zstd; what is compressed otherwise is refused.
pub fn decompressed<'a>(mut source: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let head = source.fill_buf()?;
    let begins = |magic: &[u8]| head.starts_with(magic);
    if begins(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(source))));
    }
    if begins(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(
            source,
        )?)));
    }
    for (magic, name) in [(b"BZh".as_slice(), "bzip2"), (b"\xfd7zXZ\0", "xz")] {
        if begins(magic) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("an archive compressed by {name} is not supported"),
            ));
        }
    }
    Ok(Box::new(source))
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
