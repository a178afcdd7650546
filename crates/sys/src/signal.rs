//! Signal masks and dispositions (signal(7)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Blocks SIGCHLD and returns a descriptor that becomes readable when one is pending (signalfd(2)).
pub fn child_signals() -> io::Result<OwnedFd> {
    let mut set = empty_set();
    // SAFETY: `set` is an initialised signal set and the signal number is valid.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    // SAFETY: `set` is an initialised signal set; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: -1 asks for a new descriptor; `set` is an initialised signal set.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Children that end are reaped by the kernel (`SIG_IGN` for SIGCHLD, wait(2)).
pub fn ignore_children() {
    // SAFETY: SIGCHLD is a valid signal and SIG_IGN a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Children that end wait to be reaped, as is the default.
pub fn wait_for_children() {
    // SAFETY: SIGCHLD is a valid signal and SIG_DFL a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Unblocks all signals and gives those that we ignore or handle their default action: a program that is executed
/// inherits the mask and what is ignored (signal(7)).
pub fn reset() -> io::Result<()> {
    // Rust's runtime ignores SIGPIPE; nothing else is changed in our programs.
    // SAFETY: SIGPIPE is a valid signal and SIG_DFL a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let set = empty_set();
    // SAFETY: `set` is an initialised signal set; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn empty_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set that it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the line above.
    unsafe { set.assume_init() }
}
