//! How the layer store fails.

use std::io;
use std::path::{Path, PathBuf};

/// An operation on layers or root file systems did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
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
    /// The overlay of a container.
    #[error("mount overlay for {path}: {source}")]
    Overlay {
        /// The container's directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A hard link to a file that neither the layer nor those below have.
    #[error("hard link {link} to {target}: no such file in the layer or those below it")]
    LinkTarget {
        /// The link.
        link: PathBuf,
        /// What it links to.
        target: PathBuf,
    },
    /// An owner that a user namespace does not map.
    #[error("{path}: its owner has no id in the user namespace")]
    Owner {
        /// What it owns.
        path: PathBuf,
    },
    /// What holds a container to its limit does not work any more.
    #[error("limit the writable layer: {0}")]
    Limit(String),
    /// Ids cannot be mapped here.
    #[error("storage driver {driver} cannot map ids: {why}")]
    Mapping {
        /// The driver.
        driver: &'static str,
        /// What is not there.
        why: String,
    },
}

impl SnapshotError {
    /// The kind of the cause, for telling a full disk from the rest.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::File { source, .. } | Self::Overlay { source, .. } => source.kind(),
            Self::LinkTarget { .. } | Self::Owner { .. } => io::ErrorKind::InvalidData,
            Self::Mapping { .. } | Self::Limit(_) => io::ErrorKind::Unsupported,
        }
    }
}

/// Words an I/O error of an operation on a path.
pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::File {
        operation,
        path,
        source,
    }
}
