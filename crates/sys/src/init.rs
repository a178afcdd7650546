//! The init of containers (`crates/sys/init`), a program of some thousand bytes.

use std::io;
use std::os::fd::OwnedFd;

use crate::memfd;

/// The program.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/conex-init"));

/// The program in memory, sealed, to be executed with a program's path, its name and its arguments.
///
/// # Errors
/// The kernel has no memory for it.
pub fn sealed() -> io::Result<OwnedFd> {
    memfd::sealed("conex-init", PROGRAM)
}
