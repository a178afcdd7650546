//! What goes wrong with volumes.

use std::io;
use std::path::{Path, PathBuf};

/// An operation on a volume failed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A name or an option that there cannot be; in Docker's words.
    #[error("{0}")]
    Invalid(String),
    /// A file cannot be worked on.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was to be done.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The metadata store refused.
    #[error("{operation}: {source}")]
    Store {
        /// What was to be done.
        operation: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A record that cannot be understood.
    #[error("the record of volume {name} {reason}")]
    Record {
        /// Whose.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A device cannot be mounted.
    #[error("error while mounting volume '{}': failed to mount local volume: mount {device}:{}{how}: {}", at.display(), at.display(), conex_sys::words(source))]
    Mount {
        /// What.
        device: String,
        /// Where.
        at: PathBuf,
        /// Flags and data of mount(2), each behind a comma where there are any.
        how: String,
        /// Why not.
        source: io::Error,
    },
    /// A path in a volume cannot be opened.
    #[error("cannot access path {0}: lstat {0}: {1}", path.display(), conex_sys::words(source))]
    Subpath {
        /// The path as a whole.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError::File {
        operation,
        path,
        source,
    }
}

pub(crate) fn store(operation: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> VolumeError {
    VolumeError::Store {
        operation,
        source: Box::new(error),
    }
}
