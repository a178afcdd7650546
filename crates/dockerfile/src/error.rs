//! Why a text is no instruction, in Docker's words.

/// An instruction cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstructionError {
    /// There is none.
    #[error("file with no instructions")]
    Nothing,
    /// An instruction that says nothing of an image's configuration, or none at all.
    #[error("{0} is not a valid change command")]
    NoChange(String),
    /// Too few or too many arguments.
    #[error("{instruction} requires {wanted}")]
    Arguments {
        /// Its name.
        instruction: &'static str,
        /// How many it takes.
        wanted: &'static str,
    },
    /// A name without a value.
    #[error("{0} must have two arguments")]
    NoValue(&'static str),
    /// A name that says nothing.
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    /// One of several pairs is none.
    #[error("Syntax error - can't find = in {0:?}. Must be of the form: name=value")]
    NoPair(String),
    /// A word of a list in JSON is no string.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NoStrings,
    /// A flag that the instruction does not have, that has no value, or that is given twice.
    #[error("{problem}: {flag}")]
    Flag {
        /// What is wrong with it.
        problem: &'static str,
        /// With its dashes.
        flag: String,
    },
    /// A word that cannot be expanded.
    #[error("failed to process {word:?}: {reason}")]
    Word {
        /// As it stands in the instruction.
        word: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that the instruction does not take.
    #[error("{0}")]
    Value(String),
    /// A time that is none.
    #[error(transparent)]
    Duration(#[from] conex_units::duration::DurationError),
}
