//! How registries are reached, as values of the daemon's configuration.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What `daemon.json` and the daemon's environment say about registries.
#[derive(Debug, Clone, Default)]
pub struct ClientConfig {
    /// `registry-mirrors`: base URLs that are asked before Docker Hub, in order.
    pub mirrors: Vec<String>,
    /// `insecure-registries`: `host`, `host:port` or CIDR. The loopback networks always belong to them.
    pub insecure: Vec<String>,
    /// The proxies for what is not local.
    pub proxies: Proxies,
    /// Each has a directory per `host[:port]` whose `*.crt` files are trusted beside the system's, whose `*.cert` with its `*.key`
    /// is shown to a host that asks for one, and whose `hosts.toml` says who is asked in the host's place. The first that has
    /// a host's directory counts: `/etc/conex/certs.d`, `/etc/docker/certs.d`.
    pub certificates: Vec<PathBuf>,
    /// What we call ourselves: `conex/0.1.0`.
    pub user_agent: String,
    /// How long and how often things are tried.
    pub limits: Limits,
}

/// `http-proxy`, `https-proxy` and `no-proxy` of `daemon.json`, or the variables of the same names.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// URL of the proxy for `http://`.
    pub http: Option<String>,
    /// URL of the proxy for `https://`.
    pub https: Option<String>,
    /// Comma-separated hosts, domains, addresses and CIDRs that are reached without one; `*` is all.
    pub no_proxy: String,
}

/// How long and how often things are tried.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For one address to answer a connection.
    pub connect: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the request to the headers of the answer.
    pub response: Duration,
    /// Without a byte of the body, after which the connection counts as broken.
    pub stall: Duration,
    /// How often a blob's stream is taken up again without a byte of progress between (`max-download-attempts`).
    pub attempts: u32,
    /// Before a new attempt; doubled for each further one.
    pub pause: Duration,
    /// By which the blobs of one pull come at once, where their readers wait for them (`max-concurrent-downloads`).
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            response: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            attempts: 5,
            pause: Duration::from_millis(250),
            connections: 3,
        }
    }
}

/// Configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Docker's words for a mirror that is not `http://` or `https://` with a host.
    #[error("invalid mirror: {mirror:?} not a valid URI: {reason}")]
    Mirror {
        /// The mirror.
        mirror: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A proxy that is not a URL.
    #[error("invalid proxy {proxy:?}: {reason}")]
    Proxy {
        /// The proxy.
        proxy: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An insecure registry with a scheme, a path or a bad CIDR.
    #[error("insecure registry {entry} is not valid: {reason}")]
    Insecure {
        /// The entry.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A network: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    pub(crate) const fn new(address: IpAddr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= width).then_some(Self { address, prefix })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                let key = |address: std::net::Ipv4Addr| u32::from(address).checked_shr(shift).unwrap_or(0);
                key(network) == key(address)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                let key = |address: std::net::Ipv6Addr| u128::from(address).checked_shr(shift).unwrap_or(0);
                key(network) == key(address)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses_and_no_others() {
        let contains = |network: &str, address: &str| Cidr::parse(network).unwrap().contains(address.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("0.0.0.0/0", "203.0.113.1") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("192.0.2.1/32", "192.0.2.1") && !contains("192.0.2.1/32", "192.0.2.2"));
        assert!(contains("127.0.0.0/8", "::ffff:127.0.0.1"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1") && !contains("2001:db8::/32", "2001:db9::1"));
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "a/8", "10.0.0.0/-1"] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }
}
