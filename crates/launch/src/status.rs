//! What the child tells the parent before it executes, over a socket that closes at the exec.
//!
//! ```text
//!   child                                     parent
//!   Unplaced (waits for one message)   ->      has systemd make its cgroup
//!                                      <-     go
//!   Held (waits for one message)       ->
//!                                      <-     go
//!   Listening (see `listener`)         ->
//!                                      <-     go
//!   Terminal, with the master          ->
//!   {step, errno, detail}, then exits  ->     words the message
//!   (end of file)                      ->     the program executes
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use conex_sys::seqpacket::Socket;
use serde::{Deserialize, Serialize};

/// One message of the child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Waits to be placed into its cgroup.
    Unplaced,
    /// Waits because its plan says so.
    Held,
    /// Has, or is about to have, the listener of its filter as this descriptor, and waits.
    Listening { descriptor: i32 },
    /// The terminal's master travels beside this.
    Terminal,
    /// The process that will execute, for an exec; its pidfd travels beside this.
    Process { pid: i32 },
    /// A step failed; the process ends.
    Failed {
        /// Index of the step, `None` outside of the steps.
        step: Option<usize>,
        /// Number of the error.
        errno: i32,
        /// Words about it.
        detail: String,
    },
}

impl Report {
    /// Sends it.
    pub(crate) fn send(&self, status: &Socket, fd: Option<&OwnedFd>) -> io::Result<()> {
        let bytes = serde_json::to_vec(self).map_err(io::Error::other)?;
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        status.send(&bytes, &fds)
    }

    /// Waits for the next; `None` once the program executes.
    pub(crate) fn receive(status: &Socket) -> io::Result<Option<(Self, Option<OwnedFd>)>> {
        let received = loop {
            match status.receive() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break None,
                received => break received?,
            }
        };
        let Some((bytes, mut fds)) = received else {
            return Ok(None);
        };
        let report = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
        Ok(Some((report, fds.pop())))
    }
}
