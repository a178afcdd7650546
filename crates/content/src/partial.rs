//! A blob whose transfer may break off: what came of it is there for the next one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use conex_reference::Digest;

use crate::store::{Content, ContentError, file};

/// How long what nobody goes on with is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The beginning of a blob, as long as it came; nobody has compared it with anything. It stays when this is dropped.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    /// Locked, so that there is one writer.
    file: File,
    length: u64,
}

impl Content {
    /// What came of a blob of this size; nothing where another transfer has it.
    pub fn partial(&self, digest: &Digest, size: u64) -> Result<Option<Partial>, ContentError> {
        let path = self.partial_path(digest);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(file("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(self::file("lock", &path)(error)),
        }
        let mut length = file.metadata().map_err(self::file("look at", &path))?.len();
        if length > size {
            file.set_len(0).map_err(self::file("empty", &path))?;
            length = 0;
        }
        Ok(Some(Partial { path, file, length }))
    }

    /// Removes what came of a blob; one of which nothing is there is no error.
    pub fn discard_partial(&self, digest: &Digest) -> Result<(), ContentError> {
        let path = self.partial_path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(file("remove", &path)),
        }
    }

    /// Whether what came of a blob is as long as the whole of it.
    #[must_use]
    pub fn is_partial_whole(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.partial_path(digest)).is_ok_and(|metadata| metadata.len() == size)
    }

    /// Makes blobs of what came of them, which is whole, was compared with its digest, and is on disk.
    pub fn adopt_partials(&self, digests: &[Digest]) -> Result<(), ContentError> {
        for digest in digests {
            let target = self.path(digest);
            fs::rename(self.partial_path(digest), &target).map_err(file("publish", &target))?;
        }
        let blobs = &self.shared.blobs;
        // The names are durable with the directory's sync (fsync(2), "Notes").
        let synced = File::open(blobs).and_then(|dir| dir.sync_data());
        synced.map_err(file("sync", blobs))
    }

    /// Removes what nobody is at; the bytes that it took.
    pub fn discard_partials(&self) -> Result<u64, ContentError> {
        let mut freed = 0;
        for path in files_in(&self.shared.partial)? {
            let Ok(file) = File::open(&path) else { continue };
            if file.try_lock().is_ok() {
                freed += file.metadata().map_or(0, |metadata| metadata.len());
                fs::remove_file(&path).map_err(self::file("remove", &path))?;
            }
        }
        Ok(freed)
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.shared.partial.join(digest.hex())
    }
}

/// Removes what nobody went on with for long.
pub(crate) fn forget_old(partial: &Path) -> Result<(), ContentError> {
    let now = SystemTime::now();
    for path in files_in(partial)? {
        let written = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let written = written.map_err(file("look at", &path))?;
        // One of a clock that was ahead is as good as new.
        if now.duration_since(written).is_ok_and(|age| age > KEPT) {
            fs::remove_file(&path).map_err(file("remove", &path))?;
        }
    }
    Ok(())
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, ContentError> {
    let entries = fs::read_dir(dir).map_err(file("read", dir))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().map_err(file("read", dir))
}

impl Partial {
    /// Bytes that are there.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes that are there now. Whoever has the same layer in place meanwhile may discard the file's name.
    pub fn begun(&self) -> io::Result<Begun> {
        Ok(Begun {
            file: self.file.try_clone()?,
            position: 0,
            length: self.length,
        })
    }

    /// Adds what comes next.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Removes it.
    pub fn discard(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// Reads what was there of a blob.
#[derive(Debug)]
pub struct Begun {
    file: File,
    position: u64,
    length: u64,
}

impl Read for Begun {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        // The place of the writer is another.
        let count = self.file.read_at(&mut buffer[..most], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    fn text(partial: &Partial) -> String {
        let mut text = String::new();
        partial.begun().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_came_is_there_for_the_next_and_for_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content::open(dir.path()).unwrap();
        let digest = Digest::of(b"blob");
        let mut partial = content.partial(&digest, 4).unwrap().unwrap();
        assert_eq!(partial.length(), 0);
        partial.append(b"bl").unwrap();
        assert!(content.partial(&digest, 4).unwrap().is_none());
        assert_eq!(content.discard_partials().unwrap(), 0);
        drop(partial);
        // Another life.
        let content = Content::open(dir.path()).unwrap();
        let mut partial = content.partial(&digest, 4).unwrap().unwrap();
        assert_eq!((partial.length(), text(&partial).as_str()), (2, "bl"));
        partial.append(b"ob").unwrap();
        assert_eq!(text(&partial), "blob");
        // Somebody else has the layer in place.
        content.discard_partial(&digest).unwrap();
        assert_eq!(text(&partial), "blob");
        partial.discard().unwrap();
        let mut partial = content.partial(&digest, 4).unwrap().unwrap();
        partial.append(b"blob").unwrap();
        drop(partial);
        // More than there can be of it is nothing of it.
        assert_eq!(content.partial(&digest, 3).unwrap().unwrap().length(), 0);
        let mut partial = content.partial(&digest, 4).unwrap().unwrap();
        partial.append(b"b").unwrap();
        drop(partial);
        assert_eq!(content.discard_partials().unwrap(), 1);
        assert_eq!(content.partial(&digest, 4).unwrap().unwrap().length(), 0);
        content.discard_partial(&digest).unwrap();
        content.discard_partial(&digest).unwrap();
    }

    #[test]
    fn what_nobody_goes_on_with_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content::open(dir.path()).unwrap();
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        for digest in [&old, &new] {
            content.partial(digest, 3).unwrap().unwrap().append(b"x").unwrap();
        }
        let file = File::options().write(true).open(content.partial_path(&old)).unwrap();
        file.set_modified(SystemTime::now() - KEPT - Duration::from_secs(1))
            .unwrap();
        let content = Content::open(dir.path()).unwrap();
        assert_eq!(content.partial(&old, 3).unwrap().unwrap().length(), 0);
        assert_eq!(content.partial(&new, 3).unwrap().unwrap().length(), 1);
    }
}
