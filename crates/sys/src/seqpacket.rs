//! `SOCK_SEQPACKET` sockets (unix(7)): whole messages, with descriptors beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Largest message that is received; a longer one is an error, never cut short.
const MAX_MESSAGE: usize = 64 * 1024;

/// Most descriptors beside one message (`SCM_MAX_FD`).
const MAX_FDS: usize = 253;

/// A connected socket.
#[derive(Debug)]
pub struct Socket(OwnedFd);

/// Both ends of a new pair.
pub fn pair() -> io::Result<(Socket, Socket)> {
    let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((Socket(one), Socket(other)))
}

impl Socket {
    /// Connects to a listener's path, however long it is.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = new_socket()?;
        with_short_address(path, |address| Ok(rustix::net::connect(&socket, address)?))?;
        Ok(Self(socket))
    }

    /// Sends one message.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many descriptors for one message",
            ));
        }
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// Receives one message; `None` when the other side is gone.
    pub fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        // As large as what waits: what is not used of a larger one would have to be made and cleared all the same.
        let waits = RecvFlags::PEEK | RecvFlags::TRUNC;
        let mut nothing = [0_u8; 0];
        let (_, length) = rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, &mut nothing, waits))?;
        let mut bytes = vec![0; length.min(MAX_MESSAGE)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut short"));
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        bytes.truncate(received.bytes);
        Ok(Some((bytes, fds)))
    }

    /// Makes calls return `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        crate::descriptor::set_nonblocking(self.as_fd(), nonblocking)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0
    }
}

/// A listening socket; never blocks.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Binds a path that does not exist yet.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let socket = new_socket()?;
        with_short_address(path, |address| Ok(rustix::net::bind(&socket, address)?))?;
        rustix::net::listen(&socket, 8)?;
        crate::descriptor::set_nonblocking(socket.as_fd(), true)?;
        Ok(Self(socket))
    }

    /// Takes one connection; `WouldBlock` where none waits.
    pub fn accept(&self) -> io::Result<Socket> {
        Ok(Socket(rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC)?))
    }
}

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Socket addresses hold 107 bytes; a longer path is reached through a descriptor of its directory.
fn with_short_address<T>(path: &Path, act: impl FnOnce(&SocketAddrUnix) -> io::Result<T>) -> io::Result<T> {
    if let Ok(address) = SocketAddrUnix::new(path) {
        return act(&address);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a socket needs a name in a directory",
        ));
    };
    let dir = crate::path::open_dir(parent)?;
    let short = crate::descriptor::proc_path(dir.as_fd()).join(name);
    act(&SocketAddrUnix::new(&short)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_bytes_and_descriptors() {
        let (one, other) = pair().unwrap();
        let memfd = crate::memfd::sealed("test", b"inside").unwrap();
        one.send(b"hello", &[memfd.as_fd()]).unwrap();
        let (bytes, fds) = other.receive().unwrap().unwrap();
        assert_eq!(bytes, b"hello");
        assert_eq!(crate::memfd::read(fds[0].as_fd()).unwrap(), b"inside");
        drop(one);
        assert!(other.receive().unwrap().is_none());
    }

    #[test]
    fn a_long_path_can_be_bound_and_connected() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100));
        std::fs::create_dir(&deep).unwrap();
        let listener = Listener::bind(&deep.join("control.sock")).unwrap();
        let client = Socket::connect(&deep.join("control.sock")).unwrap();
        let server = listener.accept().unwrap();
        client.send(b"x", &[]).unwrap();
        assert_eq!(server.receive().unwrap().unwrap().0, b"x");
    }

    #[test]
    fn a_message_that_is_too_long_is_refused() {
        let (one, other) = pair().unwrap();
        one.send(&vec![1; MAX_MESSAGE + 1], &[]).unwrap();
        assert!(other.receive().is_err());
    }
}
