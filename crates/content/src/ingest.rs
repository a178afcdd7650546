//! A blob that is being written, and one that is never published.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use conex_reference::Digest;
use sha2::{Digest as _, Sha256};

use crate::store::{Content, ContentError, file};

/// A blob that is being written; dropped before `commit`, it is removed.
#[derive(Debug)]
pub struct Ingest {
    store: Content,
    path: Option<PathBuf>,
    target: File,
    hash: Sha256,
    size: u64,
}

impl Ingest {
    pub(crate) fn begin(store: Content, path: PathBuf) -> Result<Self, ContentError> {
        let target = create(&path)?;
        Ok(Self {
            store,
            path: Some(path),
            target,
            hash: Sha256::new(),
            size: 0,
        })
    }

    /// Writes and hashes the next bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.write_all(bytes)
            .map_err(file("write", self.path.as_deref().unwrap_or_else(|| "".as_ref())))
    }

    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What was written so far, open for reading; it stays readable when the ingest is dropped.
    pub fn reopen(&self) -> Result<File, ContentError> {
        let path = self.path.as_deref().unwrap_or_else(|| "".as_ref());
        File::open(path).map_err(file("open", path))
    }

    /// Ends the writing without publishing: nobody else sees the bytes, which go with what is returned.
    #[must_use]
    pub fn keep_aside(mut self) -> Aside {
        let hash = std::mem::take(&mut self.hash);
        Aside {
            path: self.path.take().unwrap_or_default(),
            digest: Digest::from_bytes(hash.finalize().into()),
            size: self.size,
        }
    }

    /// Publishes the blob durably if it has the digest that was expected, and tells the one it has.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<Digest, ContentError> {
        let hash = std::mem::take(&mut self.hash);
        let actual = Digest::from_bytes(hash.finalize().into());
        if let Some(expected) = expected.copied().filter(|expected| *expected != actual) {
            return Err(ContentError::Digest { expected, actual });
        }
        let Some(path) = self.path.clone() else {
            return Ok(actual);
        };
        self.target.sync_data().map_err(file("sync", &path))?;
        let target = self.store.path(&actual);
        fs::rename(&path, &target).map_err(file("publish", &target))?;
        self.path = None;
        let blobs = &self.store.shared.blobs;
        // The name is durable with the directory's sync (fsync(2), "Notes").
        File::open(blobs)
            .and_then(|dir| dir.sync_data())
            .map_err(file("sync", blobs))?;
        Ok(actual)
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.target.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // What cannot be removed now is collected at the next start.
            let _ = fs::remove_file(path);
        }
    }
}

/// Bytes that are written without being hashed, as somebody else hashes them; dropped before `finish`, they are removed.
#[derive(Debug)]
pub struct Spool {
    path: Option<PathBuf>,
    target: File,
    size: u64,
}

impl Spool {
    pub(crate) fn begin(path: PathBuf) -> Result<Self, ContentError> {
        let target = create(&path)?;
        Ok(Self {
            path: Some(path),
            target,
            size: 0,
        })
    }

    /// Writes the next bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.size += bytes.len() as u64;
        let written = self.target.write_all(bytes);
        written.map_err(file("write", self.path.as_deref().unwrap_or_else(|| "".as_ref())))
    }

    /// The bytes, which have this digest; where it is not known they are read and hashed.
    pub fn finish(mut self, digest: Option<Digest>) -> Result<Aside, ContentError> {
        let path = self.path.as_deref().unwrap_or_else(|| "".as_ref());
        let digest = match digest {
            Some(digest) => digest,
            None => hash(path).map_err(file("read", path))?,
        };
        Ok(Aside {
            path: self.path.take().unwrap_or_default(),
            digest,
            size: self.size,
        })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // What cannot be removed now is collected at the next start.
            let _ = fs::remove_file(path);
        }
    }
}

fn create(path: &Path) -> Result<File, ContentError> {
    let mut options = OpenOptions::new();
    let created = options.write(true).create_new(true).mode(0o600).open(path);
    created.map_err(file("create", path))
}

fn hash(path: &Path) -> io::Result<Digest> {
    let (mut source, mut hash) = (File::open(path)?, Sha256::new());
    let mut block = vec![0; 128 * 1024];
    loop {
        match source.read(&mut block)? {
            0 => break,
            count => hash.update(&block[..count]),
        }
    }
    Ok(Digest::from_bytes(hash.finalize().into()))
}

/// Bytes that are whole and belong to one operation only; dropped, they are removed.
#[derive(Debug)]
pub struct Aside {
    path: PathBuf,
    digest: Digest,
    size: u64,
}

impl Aside {
    /// SHA-256 of the bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes.
    pub fn read(&self) -> Result<Vec<u8>, ContentError> {
        fs::read(&self.path).map_err(file("read", &self.path))
    }

    /// Makes a blob of the bytes, which stay here as well. It is on disk when this returns.
    pub fn publish(&self, store: &Content) -> Result<(), ContentError> {
        let target = store.path(&self.digest);
        self.open()?.sync_data().map_err(file("sync", &self.path))?;
        match fs::hard_link(&self.path, &target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked.map_err(file("publish", &target)),
        }?;
        let blobs = &store.shared.blobs;
        let synced = File::open(blobs).and_then(|dir| dir.sync_data());
        synced.map_err(file("sync", blobs))
    }

    /// A file open for reading, from the beginning.
    pub fn open(&self) -> Result<File, ContentError> {
        File::open(&self.path).map_err(file("open", &self.path))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // What cannot be removed now is collected at the next start.
        let _ = fs::remove_file(&self.path);
    }
}
