//! Why a request is refused, in Docker's words where clients know them.

/// A request that cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A field says something impossible.
    #[error("{0}")]
    Field(String),
    /// A field contradicts what was said before.
    #[error("{0}")]
    Conflict(String),
    /// A field asks for something that is not done yet; it is refused rather than ignored.
    #[error("{field}: {what} is not supported yet")]
    Unsupported {
        /// The field, as in the API.
        field: &'static str,
        /// What it asks for.
        what: String,
    },
    /// Neither entrypoint nor command.
    #[error("no command specified")]
    NoCommand,
}

impl Invalid {
    /// A field says something impossible.
    pub(crate) fn field(text: impl Into<String>) -> Self {
        Self::Field(text.into())
    }
}
