//! Instructions of a Dockerfile that say what an image is like (Dockerfile reference, docs.docker.com): those that
//! `docker commit --change` and `docker import --change` take. They are read here; what they change is the reader's business.
//!
//! ```text
//!   text --lines--> logical lines --parse--> Instruction          continuations are joined, comments left out
//!   word + variables --Expander--> text, or words                 quotes, escapes, $name, ${name:-word}
//! ```
//!
//! A word may stand for a variable that an instruction before it sets, so words are expanded one instruction at a time, by
//! `Instruction::expanded`. Texts of errors are Docker's. Of its substitutions, those with patterns (`${name#pattern}`) are
//! refused by name.

mod error;
mod expand;
mod instruction;
mod lines;
mod parse;
mod ports;
mod words;

pub use crate::error::InstructionError;
pub use crate::expand::Variables;
pub use crate::instruction::{CommandLine, Healthcheck, Instruction, Pair};
pub use crate::parse::parse_changes;
pub use crate::ports::exposed_ports;
