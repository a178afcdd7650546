//! Descriptors in general.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::io::FdFlags;

use crate::guard::Guard;

/// Sets or clears `O_NONBLOCK` (`FIONBIO`, ioctl(2)).
pub fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, nonblocking)?)
}

/// The descriptor's link in `/proc` (proc(5)).
pub fn proc_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Marks every descriptor from `first` on close-on-exec, in one call (close_range(2)).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    if !Guard::Descriptors.holds() {
        return Ok(());
    }
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC takes three integers and only sets flags; no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Closes every descriptor from `first` on but these. For a process that was cloned to execute another program: those
/// who own what is closed are copies that never run.
pub fn close_from_but(first: u32, kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let numbers = kept.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok());
    let kept: BTreeSet<u32> = numbers.filter(|number| *number >= first).collect();
    let mut first = first;
    for number in kept.into_iter().chain([u32::MAX]) {
        if first < number {
            close_range(first, number - 1)?;
        }
        first = number.saturating_add(1);
    }
    Ok(())
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: close_range takes three integers and no memory is passed; that nobody uses what is closed is the duty that
    // `close_from_but` tells of.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets whether a descriptor stays open across execve(2).
pub fn set_inherited(fd: BorrowedFd<'_>, inherited: bool) -> io::Result<()> {
    let mut flags = rustix::io::fcntl_getfd(fd)?;
    flags.set(FdFlags::CLOEXEC, !inherited);
    rustix::io::fcntl_setfd(fd, flags)?;
    Ok(())
}

/// Descriptors that the program before this one has left open across execve(2), but the standard ones. Those that nobody
/// takes are closed.
#[derive(Debug)]
pub struct Inherited(BTreeMap<RawFd, OwnedFd>);

impl Inherited {
    /// Takes all of them into possession; the next exec closes them.
    pub fn collect() -> io::Result<Self> {
        let mut inherited = BTreeMap::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            let name = entry?.file_name();
            let Some(number) = name.to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
                continue;
            };
            // SAFETY: the number was open a moment ago and this is the program's only thread that opens or closes any; it is
            // borrowed for the two calls only.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            if number <= libc::STDERR_FILENO || rustix::io::fcntl_getfd(fd)?.contains(FdFlags::CLOEXEC) {
                continue;
            }
            set_inherited(fd, false)?;
            // SAFETY: everything that this program opens itself is close-on-exec; what is not was inherited, so nobody else
            // owns it, and now that it is, no second call finds it.
            inherited.insert(number, unsafe { OwnedFd::from_raw_fd(number) });
        }
        Ok(Self(inherited))
    }

    /// The one with this number.
    pub fn take(&mut self, number: RawFd) -> io::Result<OwnedFd> {
        let missing = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("descriptor {number} was not inherited"),
            )
        };
        self.0.remove(&number).ok_or_else(missing)
    }
}

/// Whether the other end of a stream socket has taken all that was written to it: read on a UNIX socket, acknowledged on a
/// TCP one (`SIOCOUTQ` of unix(7) and tcp(7)).
pub fn is_all_taken(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut waiting: libc::c_int = 0;
    // SAFETY: the call writes one int where it is told to, and `waiting` is one that outlives it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) };
    if result == 0 {
        Ok(waiting == 0)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_written_is_taken_when_it_is_read() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        assert!(is_all_taken(one.as_fd()).unwrap());
        one.write_all(b"head and tail").unwrap();
        other.read_exact(&mut [0; 4]).unwrap();
        assert!(!is_all_taken(one.as_fd()).unwrap());
        other.read_exact(&mut [0; 9]).unwrap();
        assert!(is_all_taken(one.as_fd()).unwrap());
    }
}
