//! How reading and unpacking fail.

use std::io;

/// An archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// What the bytes come from.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// The archive ends in the middle of a member.
    #[error("unexpected EOF")]
    Truncated,
    /// A block that is no header.
    #[error("archive/tar: invalid tar header: {reason}")]
    Header {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A member that this program does not know how to make.
    #[error("{path:?}: {what} is not supported")]
    Unsupported {
        /// Its name.
        path: String,
        /// What it is.
        what: String,
    },
}

/// A layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A name that is absolute or climbs out of the root.
    #[error("{path:?} is outside of the root file system")]
    Outside {
        /// The name.
        path: String,
    },
    /// A member below a symbolic link that leads out of the root.
    #[error("{path:?} is outside of the root file system: {link:?} is a symbolic link that leads out of it")]
    SymlinkedParent {
        /// The member.
        path: String,
        /// The symbolic link.
        link: String,
    },
    /// A symbolic link that climbs out of the root.
    #[error("invalid symlink {path:?} -> {target:?}")]
    InvalidSymlink {
        /// The link.
        path: String,
        /// What it says.
        target: String,
    },
    /// A hard link to something outside of the root.
    #[error("invalid hardlink {path:?} -> {target:?}")]
    InvalidHardLink {
        /// The link.
        path: String,
        /// What it links to.
        target: String,
    },
    /// A whiteout that names nothing.
    #[error("invalid whiteout {path:?}")]
    InvalidWhiteout {
        /// Its name.
        path: String,
    },
    /// Something would be replaced by something of another kind, which was not allowed.
    #[error("cannot overwrite {is} {path:?} with {becomes} {directory:?}")]
    Overwrite {
        /// What is there.
        path: String,
        /// `directory` or `non-directory`.
        is: &'static str,
        /// As above, of the member.
        becomes: &'static str,
        /// The directory that is unpacked into.
        directory: String,
    },
    /// The file system refused.
    #[error("{operation} {path:?}: {source}")]
    Write {
        /// What was done.
        operation: &'static str,
        /// The member.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Bytes of a name as text for an error.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Words a refusal of the file system.
pub(crate) fn write<E: Into<io::Error>>(operation: &'static str, path: &[u8]) -> impl FnOnce(E) -> ExtractError {
    let path = text(path);
    move |source| ExtractError::Write {
        operation,
        path,
        source: source.into(),
    }
}
