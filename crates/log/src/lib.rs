//! A container's log in Docker's `json-file` format: written by its monitor, read by the daemon.
//!
//! ```text
//!   {"log":"hello\n","stream":"stdout","time":"2026-01-01T00:00:00.000000000Z"}
//! ```
//!
//! One object per line of output. A line that is longer than 16 KiB, or that was not ended when its process ended, is
//! written in pieces whose `log` has no newline at its end. Files are appended to; what a crash tore is cut off when the
//! file is opened for writing, and not shown when it is read.

mod decode;
mod encode;
mod reader;
mod writer;

pub use crate::reader::{Entry, Reader};
pub use crate::writer::Writer;

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
