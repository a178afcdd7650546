//! A connection to the template or a monitor: one message per datagram, descriptors beside it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use conex_protocol::{decode, encode};
use conex_sys::seqpacket::Socket;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A `SOCK_SEQPACKET` socket in the daemon's event loop.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    socket: Arc<AsyncFd<Descriptor>>,
}

#[derive(Debug)]
struct Descriptor(Socket);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Link {
    /// Takes a connected socket over.
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; `Descriptor` owns its descriptor and never changes it"
        )]
        let socket = AsyncFd::with_interest(Descriptor(socket), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            socket: Arc::new(socket),
        })
    }

    /// Sends one message.
    pub(crate) async fn send<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = encode(message).map_err(io::Error::other)?;
        // The socket is nearly always writable: try before asking the event loop.
        match self.socket.get_ref().0.send(&bytes, fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        loop {
            let mut guard = self.socket.writable().await?;
            if let Ok(done) = guard.try_io(|socket| socket.get_ref().0.send(&bytes, fds)) {
                return done;
            }
        }
    }

    /// Waits for one message; `None` when the other side is gone. Cancel-safe.
    pub(crate) async fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        loop {
            let mut guard = self.socket.readable().await?;
            let Ok(received) = guard.try_io(|socket| socket.get_ref().0.receive()) else {
                continue;
            };
            return match received {
                Ok(Some((bytes, fds))) => Ok(Some((decode(&bytes).map_err(io::Error::other)?, fds))),
                Ok(None) => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
                Err(error) => Err(error),
            };
        }
    }
}
