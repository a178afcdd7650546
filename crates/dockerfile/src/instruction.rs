//! Instructions, and the words in them that stand for something else.

use crate::error::InstructionError;
use crate::expand::{Variables, expand, expand_to_words};

/// What says how containers of an image are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// Arguments, or the program.
    Cmd(CommandLine),
    /// The program.
    Entrypoint(CommandLine),
    /// Variables.
    Env(Vec<Pair>),
    /// Ports, as they are written (`80/tcp`, `80-90`).
    Expose(Vec<String>),
    /// How its health is found out.
    Healthcheck(Healthcheck),
    /// Labels.
    Label(Vec<Pair>),
    /// An instruction for builds upon the image.
    OnBuild(String),
    /// Signal of `stop`.
    StopSignal(String),
    /// `user[:group]`.
    User(String),
    /// Paths that are volumes.
    Volume(Vec<String>),
    /// Working directory, absolute or below the present one.
    Workdir(String),
}

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// A list of words, as in JSON.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Never empty as it is written.
    pub name: String,
    /// May be empty.
    pub value: String,
}

/// How health is found out; times are nanoseconds, 0 for the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `["CMD", ...]`, `["CMD-SHELL", "..."]`, `["NONE"]`.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: i64,
    /// Until a check counts as failed.
    pub timeout: i64,
    /// Grace at the start.
    pub start_period: i64,
    /// Between two checks during the grace.
    pub start_interval: i64,
    /// Failures in a row.
    pub retries: i64,
}

impl Instruction {
    /// The instruction with its words expanded. Command lines, health checks and triggers are left as they are: they are
    /// for a shell, or for a build, to read.
    ///
    /// # Errors
    /// A quote or a substitution has no end, or a substitution is none or wants a variable that is not set.
    pub fn expanded(self, variables: &Variables<'_>) -> Result<Self, InstructionError> {
        let one = |word: String| expand(&word, variables);
        let each = |words: Vec<String>| words.into_iter().map(one).collect::<Result<_, _>>();
        let pairs = |pairs: Vec<Pair>| {
            let both = |pair: Pair| {
                Ok(Pair {
                    name: one(pair.name)?,
                    value: one(pair.value)?,
                })
            };
            pairs.into_iter().map(both).collect::<Result<_, InstructionError>>()
        };
        Ok(match self {
            Self::Env(variables) => Self::Env(pairs(variables)?),
            Self::Label(labels) => Self::Label(pairs(labels)?),
            Self::Expose(ports) => {
                // A variable may hold several of them.
                let expanded: Result<Vec<Vec<String>>, _> =
                    ports.iter().map(|port| expand_to_words(port, variables)).collect();
                Self::Expose(expanded?.concat())
            }
            Self::StopSignal(signal) => Self::StopSignal(one(signal)?),
            Self::User(user) => Self::User(one(user)?),
            Self::Volume(paths) => Self::Volume(each(paths)?),
            Self::Workdir(path) => Self::Workdir(one(path)?),
            other => other,
        })
    }
}
