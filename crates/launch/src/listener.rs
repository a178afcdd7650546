//! The listener of a filter that asks about system calls (seccomp_unotify(2)), on its way from the process to its parent.
//!
//! ```text
//!   child                                     parent
//!   Listening {number}                 ->
//!   seccomp(SET_MODE_FILTER) = number         pidfd_getfd(number) until it is there
//!   (waits for one message)            <-     go, when the listener is where it belongs
//! ```
//!
//! The process tells the number before it has the descriptor: afterwards every call may be one that is asked about.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use conex_sys::seqpacket::Socket;
use rustix::io::Errno;
use rustix::process::PidfdGetfdFlags;

use crate::child::Failure;
use crate::status::Report;

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` (seccomp(2)).
const NEW_LISTENER: u32 = 8;

/// How long the kernel may take to install a filter.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const PAUSE: Duration = Duration::from_micros(200);

/// Whether a filter of these flags has a listener.
pub(crate) fn is_wanted(flags: u32) -> bool {
    flags & NEW_LISTENER != 0
}

/// Tells the parent of a listener that `install` is about to make, makes it, and waits until it is where it belongs.
pub(crate) fn hand_over(status: &Socket, install: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
    let tell = || -> io::Result<()> {
        // The kernel gives the lowest number that is free, to this as to what comes next.
        let free = rustix::io::fcntl_dupfd_cloexec(status, 0)?.as_raw_fd();
        Report::Listening { descriptor: free }.send(status, None)
    };
    tell().map_err(Failure::on("tell of the listener"))?;
    install().map_err(Failure::on("install the seccomp filter"))?;
    match status.receive() {
        Ok(Some(_)) => Ok(()),
        Ok(None) => conex_sys::process::exit(1),
        Err(error) => Err(Failure::on("wait for the go")(error)),
    }
}

/// Takes a descriptor that a process has, or is about to have.
pub(crate) fn take(pidfd: &OwnedFd, descriptor: RawFd) -> io::Result<OwnedFd> {
    let started = Instant::now();
    loop {
        match rustix::process::pidfd_getfd(pidfd.as_fd(), descriptor, PidfdGetfdFlags::empty()) {
            Err(Errno::BADF) if started.elapsed() < PATIENCE => thread::sleep(PAUSE),
            taken => return Ok(taken?),
        }
    }
}
