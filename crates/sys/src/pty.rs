//! Pseudo-terminals of a container's own devpts (pts(4)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// File system type of devpts (statfs(2)).
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// A terminal: the master stays outside, the slave becomes the process's.
#[derive(Debug)]
pub struct Terminal {
    /// Master, opened from the container's `ptmx`.
    pub master: OwnedFd,
    /// Slave.
    pub slave: OwnedFd,
}

/// Opens a terminal through the `ptmx` beneath a root, and makes sure that it is a devpts and not something that an
/// image put there.
pub fn open_in(root: BorrowedFd<'_>) -> io::Result<Terminal> {
    let master = crate::path::open_in(root, Path::new("/dev/pts/ptmx"), OFlags::RDWR | OFlags::NOCTTY)?;
    if rustix::fs::fstatfs(&master)?.f_type != DEVPTS_MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "ptmx is not in a devpts"));
    }
    rustix::pty::unlockpt(&master)?;
    let slave =
        rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok(Terminal { master, slave })
}

/// Sets the size (`TIOCSWINSZ`); a zero leaves both as they are.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    if rows == 0 || columns == 0 {
        return Ok(());
    }
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size)?;
    Ok(())
}

/// Makes the terminal the controlling one of the session that the caller leads (`TIOCSCTTY`).
pub fn make_controlling(slave: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::ioctl_tiocsctty(slave)?;
    Ok(())
}

/// Makes a descriptor the standard input, output and error.
pub fn become_stdio(fd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::stdio::dup2_stdin(fd.as_fd())?;
    rustix::stdio::dup2_stdout(fd.as_fd())?;
    rustix::stdio::dup2_stderr(fd)?;
    Ok(())
}
