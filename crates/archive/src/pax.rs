//! Extended headers (POSIX pax(1), "pax Extended Header"): records of `length key=value\n`.

use crate::entry::Mtime;
use crate::error::ArchiveError;
use crate::header::invalid;
use crate::sparse::Described;

/// What extensions said about the next member; `None` where they said nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extension {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Mtime>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a sparse file.
    pub(crate) sparse: Option<Described>,
}

impl Extension {
    /// The records of one extended header; later ones win.
    pub(crate) fn of(mut records: &[u8]) -> Result<Self, ArchiveError> {
        let mut extension = Self::default();
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or(invalid("extended header"))?;
            extension.take(key, value)?;
            records = rest;
        }
        Ok(extension)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        match key {
            // What is empty leaves the header's own field as it is.
            b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime" if value.is_empty() => {}
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value).ok_or(invalid("mtime"))?),
            _ => {
                if let Some(rest) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.get_or_insert_default().take(rest, value)?;
                } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// The first record's key and value, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &bytes[length..]))
}

fn decimal(value: &[u8]) -> Result<u64, ArchiveError> {
    let parsed = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    // Sizes are offsets to the kernel: no more than an i64 holds.
    parsed
        .filter(|number| i64::try_from(*number).is_ok())
        .ok_or(invalid("number of an extended header"))
}

/// Seconds with an optional fraction, possibly negative; digits beyond nanoseconds are cut off.
fn time(value: &[u8]) -> Option<Mtime> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let mut seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let mut nanoseconds: u32 = digits.parse().ok()?;
    if negative && nanoseconds > 0 {
        seconds = seconds.checked_sub(1)?;
        nanoseconds = 1_000_000_000 - nanoseconds;
    }
    Some(Mtime { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_later_ones_win() {
        let extension = Extension::of(b"9 path=a\n9 path=b\n27 SCHILY.xattr.user.a=x\ny\n12 size=123\n").unwrap();
        assert_eq!(extension.path.as_deref(), Some(b"b".as_slice()));
        assert_eq!(extension.size, Some(123));
        assert_eq!(extension.xattrs, [(b"user.a".to_vec(), b"x\ny".to_vec())]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bytes in [
            b"x path=a\n".as_slice(),
            b"99 path=a\n",
            b"9 path=ab",
            b"0 \n",
            b"8 patha\n",
            b"13 size=-123\n",
        ] {
            assert!(Extension::of(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(
            time(b"12.5"),
            Some(Mtime {
                seconds: 12,
                nanoseconds: 500_000_000
            })
        );
        assert_eq!(
            time(b"-1.25"),
            Some(Mtime {
                seconds: -2,
                nanoseconds: 750_000_000
            })
        );
        assert_eq!(
            time(b"1.1234567899"),
            Some(Mtime {
                seconds: 1,
                nanoseconds: 123_456_789
            })
        );
        assert_eq!(time(b"1.x"), None);
    }
}
