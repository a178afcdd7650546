//! The engine's one error: a class of the Engine API, Docker's words, and the cause.

use std::error::Error as StdError;
use std::fmt;

/// Classes of errors as the Engine API tells them apart; only `conex-server` maps them to HTTP status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The object does not exist.
    NotFound,
    /// The request is malformed or asks for something impossible.
    InvalidParameter,
    /// The request contradicts the state of the object.
    Conflict,
    /// The request is not allowed, whoever makes it.
    Forbidden,
    /// The object is in the asked-for state already.
    NotModified,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Something that the engine depends on does not answer.
    Unavailable,
    /// The engine does not do this yet.
    NotImplemented,
    /// Anything that is the engine's own fault.
    System,
}

/// What every operation of the engine fails with.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result of every operation of the engine.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a class, in the words that clients see.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The same with its cause, for the daemon's log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same with the words of what it kept from happening before its own.
    #[must_use]
    pub(crate) fn within(mut self, operation: &str) -> Self {
        self.message = format!("{operation}: {}", self.message);
        self
    }

    /// The class.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The words that clients see.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
