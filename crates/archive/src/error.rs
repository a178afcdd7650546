//! How reading and unpacking fail.

use std::io;

/// An archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// What the bytes come from.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// It cannot be decompressed.
    #[error("{} (byte {offset} of the compressed archive)", decompression(.source))]
    Compressed {
        /// Bytes of the compressed archive that were taken.
        offset: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The archive ends in the middle of a member.
    #[error("unexpected EOF (byte {offset} of the archive)")]
    Truncated {
        /// Where it ends.
        offset: u64,
    },
    /// A block that is no header.
    #[error("archive/tar: invalid tar header: {reason} (byte {offset} of the archive)")]
    Header {
        /// What is wrong with it.
        reason: &'static str,
        /// Where it begins.
        offset: u64,
    },
    /// It has more bytes than is allowed.
    #[error("the archive has more than {limit} bytes (max-layer-size)")]
    TooLong {
        /// The bound.
        limit: u64,
    },
    /// It decompresses to more than is allowed.
    #[error("the archive decompresses to more than {limit} times its size (max-layer-ratio)")]
    TooDense {
        /// The bound.
        limit: u64,
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

impl ArchiveError {
    /// Tells the place, for what does not know it.
    pub(crate) fn at(self, place: u64) -> Self {
        match self {
            Self::Truncated { .. } => Self::Truncated { offset: place },
            Self::Header { reason, .. } => Self::Header { reason, offset: place },
            other => other,
        }
    }
}

fn decompression(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        _ => error.to_string(),
    }
}

/// A layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// A member's owner has no id in the user namespace that it is unpacked for.
    #[error("{path}: user {uid} and group {gid} are not both mapped in the user namespace")]
    Owner {
        /// Its name.
        path: String,
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
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
    /// Its files with their holes have more bytes than is allowed.
    #[error("{path:?}: the layer has more than {limit} bytes (max-layer-size)")]
    TooLarge {
        /// The member that was too much.
        path: String,
        /// The bound.
        limit: u64,
    },
    /// It has more members than is allowed.
    #[error("{path:?}: the layer has more than {limit} entries (max-layer-entries)")]
    TooMany {
        /// The first that was too many.
        path: String,
        /// The bound.
        limit: u64,
    },
    /// More would have to be kept in mind than there is room for.
    #[error("{path:?}: the layer has too many directories or links")]
    TooMuch {
        /// The member that was too much.
        path: String,
    },
    /// Symbolic links lead to a directory that is too deep for a path to tell it.
    #[error("{path:?}: symbolic links lead too deep")]
    TooDeep {
        /// The directory.
        path: String,
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

impl ExtractError {
    /// Tells the place in the archive, for what does not know it.
    pub(crate) fn at(self, place: u64) -> Self {
        match self {
            Self::Archive(error) => Self::Archive(error.at(place)),
            other => other,
        }
    }
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
