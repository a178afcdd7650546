//! A container's log in Docker's `json-file` format: written by its monitor, read by the daemon.
//!
//! ```text
//!   {"log":"hello\n","stream":"stdout","time":"2026-01-01T00:00:00.000000000Z"}
//! ```
//!
//! One object per line of output. A line that is longer than 16 KiB, or that was not ended when its process ended, is
//! written in pieces whose `log` has no newline at its end. What is no UTF-8 stands as replacement characters in `log`, as
//! Docker has it, and whole in a field of ours, `bytes` (base64). Files are appended to; what a crash tore is cut off when
//! the file is opened for writing, and not shown when it is read.
//!
//! A log is several files where it is bounded: the newest under its own name, older ones with `.1`, `.2` and so on behind
//! it, compressed ones with `.gz` behind that. A reader follows from each to the next newer one.

mod decode;
mod encode;
mod files;
mod pack;
mod reader;
mod source;
mod writer;

pub use crate::decode::Attributes;
pub use crate::pack::pack;
pub use crate::reader::{Entry, Position, Reader};
pub use crate::writer::{Packer, Rest, Rotation, Writer};

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Its number in the multiplexed format of the Engine API.
    pub fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}
