//! Published ports: which port of the host leads to which port of a container.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number in an IP header (RFC 790).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// Protocol.
    pub protocol: Protocol,
    /// Address of the host, `0.0.0.0` for every one.
    pub address: Ipv4Addr,
    /// Number.
    pub port: u16,
}

impl HostPort {
    /// Whether no two containers can have both.
    pub fn conflicts(self, other: Self) -> bool {
        let everywhere = self.address.is_unspecified() || other.address.is_unspecified();
        self.protocol == other.protocol && self.port == other.port && (everywhere || self.address == other.address)
    }
}

/// A port of the host that leads to one of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Publication {
    /// The host's.
    pub host: HostPort,
    /// The container's address.
    pub address: Ipv4Addr,
    /// The container's port.
    pub port: u16,
}

/// The ports of the host that are taken.
#[derive(Debug, Clone, Default)]
pub struct HostPorts {
    taken: BTreeSet<HostPort>,
    /// The latest that was chosen: the next is looked for behind it, so that one that was given back rests.
    latest: u16,
}

impl HostPorts {
    /// Takes a port; `false` where it conflicts with one that is taken.
    pub fn take(&mut self, port: HostPort) -> bool {
        !self.taken.iter().any(|taken| taken.conflicts(port)) && self.taken.insert(port)
    }

    /// Gives a port back.
    pub fn release(&mut self, port: HostPort) {
        self.taken.remove(&port);
    }

    /// The ports of a range in the order in which they are to be tried.
    pub fn candidates(&self, range: RangeInclusive<u16>) -> impl Iterator<Item = u16> + use<> {
        let (first, last) = (*range.start(), *range.end());
        let start = match self.latest.checked_add(1) {
            Some(next) if range.contains(&next) => next,
            _ => first,
        };
        (start..=last).chain(first..start)
    }

    /// Notes a port that was chosen from the ephemeral ones.
    pub fn chose(&mut self, port: u16) {
        self.latest = port;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: &str, port: u16) -> HostPort {
        HostPort {
            protocol: Protocol::Tcp,
            address: address.parse().unwrap(),
            port,
        }
    }

    #[test]
    fn every_address_conflicts_with_each_and_two_addresses_do_not() {
        let mut ports = HostPorts::default();
        assert!(ports.take(port("127.0.0.1", 80)));
        assert!(!ports.take(port("127.0.0.1", 80)));
        assert!(!ports.take(port("0.0.0.0", 80)));
        assert!(ports.take(port("10.0.0.1", 80)));
        assert!(ports.take(HostPort {
            protocol: Protocol::Udp,
            ..port("0.0.0.0", 80)
        }));
        ports.release(port("127.0.0.1", 80));
        ports.release(port("10.0.0.1", 80));
        assert!(ports.take(port("0.0.0.0", 80)));
    }

    #[test]
    fn a_chosen_port_is_the_one_behind_the_latest() {
        let mut ports = HostPorts::default();
        let tried = |ports: &HostPorts| ports.candidates(10..=12).collect::<Vec<_>>();
        assert_eq!(tried(&ports), [10, 11, 12]);
        ports.chose(10);
        assert_eq!(tried(&ports), [11, 12, 10]);
        ports.chose(12);
        assert_eq!(tried(&ports), [10, 11, 12]);
        assert_eq!(
            HostPorts::default().candidates(65535..=65535).collect::<Vec<_>>(),
            [65535]
        );
    }
}
