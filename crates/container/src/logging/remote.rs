//! Receivers of logs that are elsewhere: addresses and formats, as options name them.

mod address;
pub(super) mod fluentd;
pub(super) mod gelf;
pub(super) mod journald;
pub(super) mod splunk;
pub(super) mod syslog;

use serde::{Deserialize, Serialize};

pub use address::{Address, Tls};
pub use fluentd::Fluentd;
pub use gelf::{Compression, Gelf};
pub use splunk::{Form, Splunk};
pub use syslog::{Format, Syslog};

/// Who gets the entries of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Remote {
    /// A syslog server.
    Syslog(Syslog),
    /// A Graylog server.
    Gelf(Gelf),
    /// A Fluentd server.
    Fluentd(Fluentd),
    /// A Splunk server.
    Splunk(Splunk),
    /// The journal of this host.
    Journald {
        /// Its socket.
        address: Address,
    },
}

impl Remote {
    /// The journal of this host.
    pub(super) fn journald() -> Self {
        let path = journald::SOCKET.to_owned();
        let datagrams = true;
        Self::Journald {
            address: Address::Unix { path, datagrams },
        }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        match self {
            Self::Syslog(to) => &to.address,
            Self::Gelf(to) => &to.address,
            Self::Fluentd(to) => &to.address,
            Self::Splunk(to) => &to.address,
            Self::Journald { address } => address,
        }
    }
}
