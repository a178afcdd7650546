//! The files of a log: which there are, and which of them one that is open has become.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// A file of a log.
#[derive(Debug)]
pub(crate) struct Part {
    /// 0 for the one that is written, 1 for the one before it, and so on.
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) is_packed: bool,
    metadata: Metadata,
}

/// What a file is known by, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    /// When it was written last, nanoseconds since 1970; a packed file has the time of what it was packed from.
    written: i64,
    /// When it was made, where the file system knows: a number that is free is given away again.
    #[serde(default)]
    made: Option<i64>,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let made = metadata.created().ok();
        let since = made.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            written: metadata
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.mtime_nsec()),
            made: since.and_then(|since| i64::try_from(since.as_nanos()).ok()),
        }
    }

    /// Whether it was written after another.
    pub(crate) fn is_newer(&self, other: &Self) -> bool {
        self.written > other.written
    }

    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        let is_known = self.made.is_some() && other.made.is_some();
        (self.device, self.inode) == (other.device, other.inode) && (!is_known || self.made == other.made)
    }

    /// Whether it was written last when another was.
    pub(crate) fn is_as_old(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Part {
    pub(crate) fn identity(&self) -> Identity {
        Identity::of(&self.metadata)
    }

    /// Bytes in it.
    pub(crate) fn length(&self) -> u64 {
        self.metadata.len()
    }

    /// Opens the file that was listed; `None` where its name is another's by now.
    pub(crate) fn open(&self) -> io::Result<Option<File>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_it = Identity::of(&file.metadata()?).is_same_file(&self.identity());
        Ok(is_it.then_some(file))
    }
}

/// The name of an older file.
pub(crate) fn older(log: &Path, number: u32) -> PathBuf {
    with_suffix(log, &format!(".{number}"))
}

/// A name with something behind it.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The files that there are, newest first. Of one that has just been packed and is there twice, the packed one is left out.
pub(crate) fn parts(log: &Path) -> io::Result<Vec<Part>> {
    let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let dir = log.parent().unwrap_or(Path::new("."));
    let mut parts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.file_name();
        let Some((number, is_packed)) = number_of(&name, &found.to_string_lossy()) else {
            continue;
        };
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // It has just got another name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        parts.push(Part {
            number,
            path: entry.path(),
            is_packed,
            metadata,
        });
    }
    parts.sort_by_key(|part| (part.number, part.is_packed));
    parts.dedup_by_key(|part| part.number);
    Ok(parts)
}

/// What number a file of this log has by its name, and whether it is packed.
fn number_of(log: &str, name: &str) -> Option<(u32, bool)> {
    let rest = name.strip_prefix(log)?;
    if rest.is_empty() {
        return Some((0, false));
    }
    let rest = rest.strip_prefix('.')?;
    let (digits, is_packed) = rest.strip_suffix(".gz").map_or((rest, false), |digits| (digits, true));
    let number = digits.parse().ok().filter(|number| *number > 0)?;
    Some((number, is_packed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_given_away_again_is_another_file() {
        let identity = |made| Identity {
            device: 1,
            inode: 2,
            written: 3,
            made,
        };
        assert!(identity(Some(1)).is_same_file(&identity(Some(1))));
        assert!(!identity(Some(1)).is_same_file(&identity(Some(2))));
        // Where nobody knows, the number has to do; so it has in what an earlier version wrote.
        let earlier: Identity = serde_json::from_str(r#"{"device":1,"inode":2,"written":3}"#).unwrap();
        assert!(earlier.is_same_file(&identity(Some(2))));
    }

    #[test]
    fn files_of_a_log_are_known_by_their_names() {
        for (name, number) in [
            ("x-json.log", Some((0, false))),
            ("x-json.log.1", Some((1, false))),
            ("x-json.log.12.gz", Some((12, true))),
            ("x-json.log.0", None),
            ("x-json.log.gz", None),
            ("x-json.log.1.gz.tmp", None),
            ("x-json.logs", None),
            ("state.json", None),
        ] {
            assert_eq!(number_of("x-json.log", name), number, "{name}");
        }
    }
}
