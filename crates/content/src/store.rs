//! The store's directories.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conex_reference::Digest;

use crate::ingest::{Ingest, Spool};
use crate::layout;
use crate::partial::forget_old;

/// An operation on the content store did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A file operation.
    #[error("{operation} {path}: {source}")]
    File {
        /// What was done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Content that does not have the digest it should have.
    #[error("unexpected digest {actual}, expected {expected}")]
    Digest {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
}

impl ContentError {
    /// The kind of the cause, for telling a full disk or an absent blob from the rest.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::File { source, .. } => source.kind(),
            Self::Digest { .. } => io::ErrorKind::InvalidData,
        }
    }
}

/// Words an I/O error of an operation on a path.
pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ContentError {
    let path = path.to_owned();
    move |source| ContentError::File {
        operation,
        path,
        source,
    }
}

/// The store; clones share it.
#[derive(Debug, Clone)]
pub struct Content {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) blobs: PathBuf,
    ingest: PathBuf,
    pub(crate) partial: PathBuf,
    next: AtomicU64,
}

impl Content {
    /// Opens the store, making it where it is absent, and deletes what was being written when an earlier life ended.
    pub fn open(root: &Path) -> Result<Self, ContentError> {
        let blobs = root.join("blobs").join("sha256");
        let ingest = root.join("ingest");
        let partial = root.join("partial");
        for dir in [&blobs, &ingest, &partial] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(file("make", dir))?;
        }
        for leftover in fs::read_dir(&ingest).map_err(file("read", &ingest))? {
            let path = leftover.map_err(file("read", &ingest))?.path();
            fs::remove_file(&path).map_err(file("remove", &path))?;
        }
        forget_old(&partial)?;
        layout::open(root)?;
        Ok(Self {
            shared: Arc::new(Shared {
                root: root.to_owned(),
                blobs,
                ingest,
                partial,
                next: AtomicU64::new(0),
            }),
        })
    }

    /// Begins a blob.
    pub fn ingest(&self) -> Result<Ingest, ContentError> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        Ingest::begin(self.clone(), self.shared.ingest.join(number.to_string()))
    }

    /// Begins bytes that belong to one operation and that somebody else hashes.
    pub fn spool(&self) -> Result<Spool, ContentError> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        Spool::begin(self.shared.ingest.join(number.to_string()))
    }

    /// Stores these bytes and tells their digest. A blob that exists is left as it is.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ContentError> {
        let digest = Digest::of(bytes);
        if self.contains(&digest) {
            return Ok(digest);
        }
        let mut ingest = self.ingest()?;
        ingest.append(bytes)?;
        ingest.commit(Some(&digest))
    }

    /// Where a blob is.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.shared.blobs.join(digest.hex())
    }

    /// Whether the blob is there.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// A blob's bytes.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, ContentError> {
        let path = self.path(digest);
        fs::read(&path).map_err(file("read", &path))
    }

    /// A blob as a file open for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, ContentError> {
        let path = self.path(digest);
        File::open(&path).map_err(file("open", &path))
    }

    /// Bytes of a blob.
    pub fn size(&self, digest: &Digest) -> Result<u64, ContentError> {
        let path = self.path(digest);
        Ok(fs::metadata(&path).map_err(file("look at", &path))?.len())
    }

    /// Removes a blob; one that is absent is no error.
    pub fn remove(&self, digest: &Digest) -> Result<(), ContentError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(file("remove", &path)),
        }
    }

    /// All blobs.
    pub fn list(&self) -> Result<Vec<Digest>, ContentError> {
        let blobs = &self.shared.blobs;
        let mut digests = Vec::new();
        for entry in fs::read_dir(blobs).map_err(file("read", blobs))? {
            let name = entry.map_err(file("read", blobs))?.file_name();
            // A file of another name is not ours to judge.
            digests.extend(Digest::parse(&format!("sha256:{}", name.to_string_lossy())).ok());
        }
        Ok(digests)
    }
}
