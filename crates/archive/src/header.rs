//! One 512-byte header block (POSIX pax(1), "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
//!
//! ```text
//!   0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8 | 156 type 1
//!   157 link 100 | 257 magic 6 | 263 version 2 | 265 user 32 | 297 group 32 | 329 major 8 | 337 minor 8 | 345 prefix 155
//! ```

use std::ops::Range;

use crate::error::ArchiveError;

/// Size of a block.
pub(crate) const BLOCK: usize = 512;

/// A block that passed its checksum.
#[derive(Debug)]
pub(crate) struct Header<'a>(&'a [u8; BLOCK]);

/// The numbers of a header, as they stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) mode: u64,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
}

impl<'a> Header<'a> {
    /// Checks the block's sum. Old programs summed signed bytes, so both forms count.
    pub(crate) fn parse(block: &'a [u8; BLOCK]) -> Result<Self, ArchiveError> {
        let stated = number(&block[148..156]).ok_or(invalid("checksum"))?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (index, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if stated != unsigned && stated != signed {
            return Err(invalid("checksum"));
        }
        Ok(Self(block))
    }

    /// The kind of the member, or of the extension.
    pub(crate) fn flag(&self) -> u8 {
        self.0[156]
    }

    /// Name, with the prefix of the ustar format.
    pub(crate) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = text(&self.0[345..500]);
        // GNU's magic has spaces where ustar has NUL and "00", and other fields where ustar has the prefix.
        if &self.0[257..263] != b"ustar\0" || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, name].join(&b'/')
    }

    /// Target of a link.
    pub(crate) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    /// Mode, owner, size and time.
    pub(crate) fn numbers(&self) -> Result<Numbers, ArchiveError> {
        Ok(Numbers {
            mode: self.unsigned(100..108, "mode")?,
            uid: self.unsigned(108..116, "uid")?,
            gid: self.unsigned(116..124, "gid")?,
            size: self.size()?,
            mtime: number(&self.0[136..148]).ok_or(invalid("mtime"))?,
        })
    }

    /// Bytes that follow.
    pub(crate) fn size(&self) -> Result<u64, ArchiveError> {
        self.unsigned(124..136, "size")
    }

    /// What the old format of sparse files has here: the first fields of the map, whether blocks with more follow, and the
    /// size of the file.
    pub(crate) fn sparse(&self) -> Result<(&[u8], bool, u64), ArchiveError> {
        let size = self.unsigned(483..495, "size of a sparse file")?;
        Ok((&self.0[386..482], self.0[482] != 0, size))
    }

    /// Major and minor number of a device.
    pub(crate) fn device(&self) -> Result<(u32, u32), ArchiveError> {
        let part = |range| u32::try_from(self.unsigned(range, "device")?).map_err(|_| invalid("device"));
        Ok((part(329..337)?, part(337..345)?))
    }

    fn unsigned(&self, range: Range<usize>, reason: &'static str) -> Result<u64, ArchiveError> {
        number(&self.0[range])
            .and_then(|value| u64::try_from(value).ok())
            .ok_or(invalid(reason))
    }
}

/// Whether the block marks the end.
pub(crate) fn is_zero(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

pub(crate) fn invalid(reason: &'static str) -> ArchiveError {
    // The reader knows the place.
    ArchiveError::Header { reason, offset: 0 }
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// Octal digits between spaces and NULs, or GNU's base-256 where the first bit is set.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        return base_256(field);
    }
    let digits = text(field).trim_ascii();
    let mut value = 0_i64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value = value.checked_mul(8)?.checked_add(i64::from(digit))?;
    }
    Some(value)
}

/// Two's complement, big endian, with the first bit as the marker and the second as the sign.
fn base_256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let mut value = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
    for byte in rest {
        value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
    }
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_with_padding_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
    }

    #[test]
    fn numbers_that_are_no_numbers_are_refused() {
        assert_eq!(number(b"12x\0"), None);
        assert_eq!(number(b"888\0"), None);
        assert_eq!(number(&[0xbf; 12]), None);
    }
}
