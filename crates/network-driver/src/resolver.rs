//! The sockets of a name server in a container's namespace.
//!
//! They are made in the namespace and read by the daemon outside: no process and no address of the host is needed. Their
//! ports are any, and what is sent to port 53 is rewritten to them, so that the container can have a name server of its
//! own on every address.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use conex_sys::netns;

use crate::error::{DriverError, Result};
use crate::namespace::Netns;
use crate::nftables::{self, Redirection};

/// Where containers find their name server; Docker's.
pub const RESOLVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Port of name servers (RFC 1035, section 4.2).
const DNS: u16 = 53;

/// The table in the container's namespace.
const TABLE: &str = "conex-dns";

/// A name server's sockets; they do not block.
#[derive(Debug)]
pub struct Resolver {
    /// For datagrams.
    pub udp: UdpSocket,
    /// For streams.
    pub tcp: TcpListener,
}

/// Opens the sockets, and has what is sent to the name server arrive there. A table that an earlier daemon made is
/// replaced: its sockets are gone.
pub(crate) fn open(netns: &Netns) -> Result<Resolver> {
    netns::enter(netns.as_fd(), open_here)
        .and_then(|opened| opened)
        .map_err(|source| DriverError::Namespace {
            operation: "open a name server in",
            source,
        })
}

fn open_here() -> io::Result<Resolver> {
    let udp = UdpSocket::bind((RESOLVER_ADDRESS, 0))?;
    let tcp = TcpListener::bind((RESOLVER_ADDRESS, 0))?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    let redirection = Redirection {
        address: RESOLVER_ADDRESS,
        asked: DNS,
        udp: udp.local_addr()?.port(),
        tcp: tcp.local_addr()?.port(),
    };
    nftables::redirect(TABLE, redirection)?;
    Ok(Resolver { udp, tcp })
}
