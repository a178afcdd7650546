//! Terminals: the master goes to a manager's console socket.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// Connects to the socket, before anything is made that would have to be undone.
pub(crate) fn connect(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).with_context(|| format!("connect to console socket {}", path.display()))
}

/// Sends the master with its name, as runc does (`SCM_RIGHTS`, unix(7)).
pub(crate) fn send(socket: &UnixStream, master: &OwnedFd) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [master.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let name = IoSlice::new(b"/dev/pts/ptmx");
    rustix::net::sendmsg(socket, &[name], &mut control, SendFlags::NOSIGNAL).context("send the terminal")?;
    Ok(())
}

/// What runc demands of terminal, console socket and detaching together.
pub(crate) fn check(terminal: bool, socket: Option<&str>, detach: bool) -> Result<()> {
    match (terminal, socket, detach) {
        (true, None, true) => bail!("cannot allocate tty if runtime will detach without setting console socket"),
        (false, Some(_), _) | (true, Some(_), false) => {
            bail!("cannot use console socket if runtime will not detach or allocate tty")
        }
        _ => Ok(()),
    }
}
