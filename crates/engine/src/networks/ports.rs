//! Published ports: which ports of the host are taken, and sockets that keep others from them.
//!
//! A port that is published is bound by a socket that nobody reads: a program of the host that has it makes the start
//! fail, and one that comes later does not get it. Packets never reach the socket; the firewall redirects them before.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use conex_container::PortRequest;
use conex_network::{EndpointPlan, HostPort, Protocol, Publication};
use conex_network_driver::NetworkDriver;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Error, ErrorKind};
use crate::networks::{Networks, State, system};

/// Ports that are given where a client names none (ip(7), `ip_local_port_range`), and the kernel's default of them.
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const DEFAULT_EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// A bound socket.
#[derive(Debug)]
pub(super) struct PortHold {
    _socket: OwnedFd,
}

/// Why a port is not had.
enum Taken {
    /// A container has it.
    ByContainer,
    /// The kernel does not bind it.
    Kernel(io::Error),
}

impl Networks {
    /// Publishes ports at an endpoint; all of them, or none is left. The text of what fails is Docker's.
    pub(super) fn publish(
        &self,
        plan: &EndpointPlan,
        requests: &[PortRequest],
        default: Ipv4Addr,
    ) -> std::result::Result<Vec<Publication>, String> {
        let IpAddr::V4(address) = plan.address.address() else {
            return Err("published ports need an IPv4 address".to_owned());
        };
        let mut published = Vec::new();
        for request in requests {
            let outcome = self.lock().take_port(request, address, default);
            match outcome {
                Ok(publication) => published.push(publication),
                Err(error) => {
                    self.release_ports(&published);
                    return Err(error);
                }
            }
        }
        if !published.is_empty()
            && let Err(error) = self.driver.change_published(&[], &published)
        {
            self.release_ports(&published);
            return Err(error.to_string());
        }
        Ok(published)
    }

    /// Takes published ports back. It blocks.
    pub(super) fn unpublish(&self, published: &[Publication]) {
        if published.is_empty() {
            return;
        }
        if let Err(error) = self.driver.change_published(published, &[]).map_err(system) {
            tracing::warn!(%error, "take published ports back");
        }
        self.release_ports(published);
    }

    fn release_ports(&self, published: &[Publication]) {
        let mut state = self.lock();
        for publication in published {
            state.ports.release(publication.host);
            state.holds.remove(&publication.host);
        }
    }
}

impl State {
    /// Takes the ports of a container that runs already.
    pub(super) fn adopt_ports(&mut self, published: &[Publication]) {
        for publication in published {
            let host = publication.host;
            if !self.ports.take(host) {
                tracing::warn!(port = host.port, "a port is published twice");
            }
            match hold(host) {
                Ok(hold) => {
                    self.holds.insert(host, hold);
                }
                // It is redirected all the same.
                Err(error) => tracing::warn!(%error, port = host.port, "keep a published port from others"),
            }
        }
    }

    fn take_port(
        &mut self,
        request: &PortRequest,
        address: Ipv4Addr,
        default: Ipv4Addr,
    ) -> std::result::Result<Publication, String> {
        let protocol = if request.udp { Protocol::Udp } else { Protocol::Tcp };
        let at = request.address.unwrap_or(default);
        let ephemeral = request.range.is_none();
        let range = request.range.clone().unwrap_or_else(ephemeral_ports);
        let single = range.start() == range.end();
        let candidates: Vec<u16> = if ephemeral {
            self.ports.candidates(range).collect()
        } else {
            range.collect()
        };
        for port in candidates {
            let host = HostPort {
                protocol,
                address: at,
                port,
            };
            match self.take(host) {
                Ok(()) => {
                    if ephemeral {
                        self.ports.chose(port);
                    }
                    return Ok(Publication {
                        host,
                        address,
                        port: request.port,
                    });
                }
                Err(Taken::ByContainer) if single => {
                    return Err(format!("Bind for {at}:{port} failed: port is already allocated"));
                }
                Err(Taken::Kernel(error)) if single => {
                    let reason = go_words(&error);
                    let target = request.port;
                    return Err(format!(
                        "failed to bind host port for {at}:{port}:{address}:{target}/{protocol}: {reason}"
                    ));
                }
                Err(_) => {}
            }
        }
        Err("all ports are allocated".to_owned())
    }

    fn take(&mut self, host: HostPort) -> std::result::Result<(), Taken> {
        if !self.ports.take(host) {
            return Err(Taken::ByContainer);
        }
        match hold(host) {
            Ok(hold) => {
                self.holds.insert(host, hold);
                Ok(())
            }
            Err(error) => {
                self.ports.release(host);
                Err(Taken::Kernel(error))
            }
        }
    }
}

/// Binds a port. `SO_REUSEADDR` lets it be had while connections of a former owner linger (socket(7)); it is taken away
/// again, so that nobody else gets the port beside us.
fn hold(host: HostPort) -> io::Result<PortHold> {
    let kind = match host.protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    if host.protocol == Protocol::Tcp {
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddrV4::new(host.address, host.port))?;
    if host.protocol == Protocol::Tcp {
        rustix::net::sockopt::set_socket_reuseaddr(&socket, false)?;
    }
    Ok(PortHold { _socket: socket })
}

/// An error of the kernel as Go words it.
fn go_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        _ => error.to_string(),
    }
}

fn ephemeral_ports() -> RangeInclusive<u16> {
    let text = fs::read_to_string(EPHEMERAL).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first <= last => first..=last,
        _ => DEFAULT_EPHEMERAL,
    }
}

/// A start that failed because of its ports, in Docker's words.
pub(super) fn not_published(container: &str, endpoint: &str, reason: &str) -> Error {
    Error::new(
        ErrorKind::System,
        format!("driver failed programming external connectivity on endpoint {container} ({endpoint}): {reason}"),
    )
}
