//! Where receivers are, as addresses name them.

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// Where a receiver is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transport", rename_all = "kebab-case")]
pub enum Address {
    /// Datagrams to host and port.
    Udp {
        /// `host:port`.
        to: String,
    },
    /// A stream to host and port.
    Tcp {
        /// `host:port`.
        to: String,
        /// Encrypted so.
        tls: Option<Tls>,
    },
    /// A socket of this host, of streams or datagrams.
    Unix {
        /// Its path.
        path: String,
        /// Whether it takes datagrams.
        datagrams: bool,
    },
}

/// How a stream is encrypted; paths of PEM files, the host's own authorities where none are named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Authorities that the receiver's certificate may be of.
    pub ca: Option<String>,
    /// Our own certificate, and its key.
    pub own: Option<(String, String)>,
    /// Whether the receiver's certificate is taken as it is.
    pub skip_verify: bool,
    /// Whose certificate it has to be; that of the host that is connected to where nobody is named.
    pub name: Option<String>,
}

/// Host and port, the usual one where none is named.
pub(super) fn with_port(text: &str, usual: &str) -> Result<String, Invalid> {
    let text = text.trim_end_matches('/');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, usual),
    };
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(Invalid::Field(format!(
            "invalid address {text}: it is no host and port"
        )));
    }
    Ok(format!("{host}:{port}"))
}
