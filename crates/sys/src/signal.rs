//! Signal masks and dispositions (signal(7)).

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

/// The highest signal's number (signal(7)).
const LAST: i32 = 64;

/// Size of a signal set in the kernel, in bytes (rt_sigaction(2)).
const MASK: usize = 8;

/// Signals that may be ignored, the first in the lowest bit: of what the program was started with nothing is known.
static MAY_BE_IGNORED: AtomicU64 = AtomicU64::new(u64::MAX);

/// Blocks SIGCHLD and returns a descriptor that becomes readable when one is pending (signalfd(2)).
pub fn child_signals() -> io::Result<OwnedFd> {
    let mut set = empty_set();
    // SAFETY: `set` is an initialised signal set and the signal number is valid.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    hold(&set)
}

/// Blocks every signal but SIGCHLD and returns a descriptor that `next` takes them from: for a program that does not act on
/// signals itself but hands them on.
///
/// # Errors
/// No descriptor is to be had.
pub fn for_another() -> io::Result<OwnedFd> {
    let mut set = empty_set();
    for signal in (1..=LAST).filter(|signal| *signal != libc::SIGCHLD) {
        // SAFETY: `set` is an initialised signal set; the C library refuses the two signals that it keeps for itself.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    hold(&set)
}

/// The next signal that a descriptor holds; `None` where there is none.
///
/// # Errors
/// The descriptor is none of signals.
pub fn next(signals: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    // `struct signalfd_siginfo`, which begins with the number (signalfd(2)).
    let mut told = [0; 128];
    match rustix::io::read(signals, &mut told) {
        Ok(_) => {
            let [first, second, third, fourth, ..] = told;
            Ok(Some(i32::from_ne_bytes([first, second, third, fourth])))
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn hold(set: &libc::sigset_t) -> io::Result<OwnedFd> {
    // SAFETY: `set` is an initialised signal set; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, set, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: -1 asks for a new descriptor; `set` is an initialised signal set.
    let fd = unsafe { libc::signalfd(-1, set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Children that end are reaped by the kernel (`SIG_IGN` for SIGCHLD, wait(2)).
pub fn ignore_children() {
    ignore(libc::SIGCHLD);
}

fn ignore(signal: i32) {
    MAY_BE_IGNORED.fetch_or(bit(signal), Ordering::Relaxed);
    // SAFETY: the signal is a valid one that may be ignored, and SIG_IGN a valid disposition.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Children that end wait to be reaped, as is the default.
pub fn wait_for_children() {
    // SAFETY: SIGCHLD is a valid signal and SIG_DFL a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Forgets what this program was started with as far as it would break it: with SIGCHLD ignored no child could be waited
/// for, and with SIGTERM blocked it would not end.
pub fn settle() -> io::Result<()> {
    wait_for_children();
    unblock()
}

/// Forgets all that this program was started with, for one that starts many others: `reset` then has to do with
/// nothing but what it ignores itself. SIGPIPE stays ignored, as Rust has it: who writes is told by `EPIPE`.
pub fn forget() -> io::Result<()> {
    reset()?;
    MAY_BE_IGNORED.store(0, Ordering::Relaxed);
    ignore(libc::SIGPIPE);
    Ok(())
}

/// Gives every signal its default action and unblocks all: a program that is executed inherits what is ignored and the
/// mask (execve(2)), and what we were started with, as by nohup(1), is not for it to see.
pub fn reset() -> io::Result<()> {
    let ignored = MAY_BE_IGNORED.load(Ordering::Relaxed);
    let fixed = [libc::SIGKILL, libc::SIGSTOP];
    for signal in (1..=LAST).filter(|signal| ignored & bit(*signal) != 0 && !fixed.contains(signal)) {
        make_default(signal)?;
    }
    unblock()
}

/// Lets a program that is to be started begin as `reset` says.
pub fn reset_in(command: &mut Command) {
    // SAFETY: `reset` reads an atomic and does nothing else but system calls, all of which may be made between fork and exec (signal-safety(7)).
    unsafe { command.pre_exec(reset) };
}

/// Asks the kernel, as the C library refuses the real-time signals that it keeps for itself.
fn make_default(signal: i32) -> io::Result<()> {
    // The kernel's `struct sigaction`, which is of four words at most: SIG_DFL is zero, and there is nothing else to say.
    let default = [0_usize; 4];
    let (action, former) = (default.as_ptr(), std::ptr::null_mut::<usize>());
    // SAFETY: `action` points to a whole structure that outlives the call; the old action is not asked for.
    if unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action, former, MASK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn unblock() -> io::Result<()> {
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
