//! Connections to receivers, of every kind that addresses name.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use conex_container::logging::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::tls;

/// How long a connection may take to come about, and a write to be taken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Datagrams that a receiver of them is trusted to hold while it is busy, and the pause after them: nobody tells when it
/// has lost some.
const AT_ONCE: usize = 16;
const BREATH: Duration = Duration::from_millis(1);

/// A connection.
pub(crate) enum Channel {
    Udp(UdpSocket),
    Datagrams(UnixDatagram),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Channel {
    pub(crate) async fn connect(address: &Address) -> io::Result<Self> {
        within(async {
            match address {
                Address::Udp { to } => {
                    let to = resolved(to).await?;
                    let own = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
                    let socket = UdpSocket::bind(own).await?;
                    // Connected, so that the kernel tells when nobody is there.
                    socket.connect(to).await?;
                    Ok(Self::Udp(socket))
                }
                Address::Tcp { to, tls } => {
                    let stream = TcpStream::connect(to).await?;
                    let host = to.rsplit_once(':').map_or(to.as_str(), |(host, _)| host);
                    match tls {
                        Some(tls) => Ok(Self::Tls(Box::new(tls::connect(stream, host, tls).await?))),
                        None => Ok(Self::Tcp(stream)),
                    }
                }
                Address::Unix { path, datagrams: true } => {
                    let socket = UnixDatagram::unbound()?;
                    socket.connect(path)?;
                    Ok(Self::Datagrams(socket))
                }
                Address::Unix { path, datagrams: false } => Ok(Self::Unix(UnixStream::connect(path).await?)),
            }
        })
        .await
    }

    /// Sends messages: one after the other in a stream, or a datagram each.
    pub(crate) async fn send(&mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        within(async {
            match self {
                Self::Udp(socket) => {
                    for some in messages.chunks(AT_ONCE) {
                        for message in some {
                            socket.send(message).await?;
                        }
                        tokio::time::sleep(BREATH).await;
                    }
                    Ok(())
                }
                Self::Datagrams(socket) => {
                    for message in messages {
                        socket.send(message).await?;
                    }
                    Ok(())
                }
                Self::Tcp(stream) => stream.write_all(&messages.concat()).await,
                Self::Tls(stream) => {
                    stream.write_all(&messages.concat()).await?;
                    stream.flush().await
                }
                Self::Unix(stream) => stream.write_all(&messages.concat()).await,
            }
        })
        .await
    }

    /// Waits until the other end has answered with these bytes.
    pub(crate) async fn expect(&mut self, answer: &[u8]) -> io::Result<()> {
        if answer.is_empty() {
            return Ok(());
        }
        let mut said = vec![0; answer.len()];
        within(async {
            match self {
                Self::Udp(_) | Self::Datagrams(_) => return Ok(()),
                Self::Tcp(stream) => stream.read_exact(&mut said).await.map(drop)?,
                Self::Tls(stream) => stream.read_exact(&mut said).await.map(drop)?,
                Self::Unix(stream) => stream.read_exact(&mut said).await.map(drop)?,
            }
            Ok(())
        })
        .await?;
        if said == answer {
            Ok(())
        } else {
            Err(io::Error::other("the receiver does not acknowledge what was sent"))
        }
    }

    /// Waits until the other end is gone. Cancel-safe: what it says is not of interest.
    pub(crate) async fn broken(&mut self) -> io::Error {
        let mut said = [0; 512];
        loop {
            let read = match self {
                Self::Udp(socket) => socket.recv(&mut said).await.map(|_| 1),
                // A receiver that goes away is seen when it is sent to.
                Self::Datagrams(_) => std::future::pending().await,
                Self::Tcp(stream) => stream.read(&mut said).await,
                Self::Tls(stream) => stream.read(&mut said).await,
                Self::Unix(stream) => stream.read(&mut said).await,
            };
            match read {
                Ok(0) => return io::ErrorKind::ConnectionAborted.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    /// Whether the other host has taken all that was sent.
    pub(crate) fn is_taken(&self) -> bool {
        let fd: BorrowedFd<'_> = match self {
            Self::Udp(_) | Self::Datagrams(_) => return true,
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.get_ref().0.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        };
        conex_sys::descriptor::is_all_taken(fd).unwrap_or(false)
    }
}

async fn resolved(to: &str) -> io::Result<std::net::SocketAddr> {
    let mut all = tokio::net::lookup_host(to).await?;
    all.next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no address of {to}")))
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
