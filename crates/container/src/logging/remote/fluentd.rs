//! Options of the driver `fluentd`.

use serde::{Deserialize, Serialize};

use super::address::{Address, Tls, with_port};
use crate::invalid::Invalid;
use crate::logging::{Options, flag};

/// A Fluentd or Fluent Bit server, and how it is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fluentd {
    /// Where it is.
    pub address: Address,
    /// Whether it is to say that it has taken entries.
    pub request_ack: bool,
    /// Whether times are told in nanoseconds.
    pub sub_second_precision: bool,
}

/// Options besides those of all drivers.
pub(crate) const OPTIONS: [&str; 15] = [
    "env",
    "env-regex",
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
    "labels",
    "labels-regex",
    "tag",
];

/// Options that say how long a receiver is tried and how much waits for it.
const OTHERWISE: [&str; 5] = [
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-retry-wait",
    "fluentd-write-timeout",
];

/// Where one is looked for.
const HOST: &str = "127.0.0.1";
const PORT: &str = "24224";

impl Fluentd {
    pub(in crate::logging) fn of(options: &Options<'_>) -> Result<Self, Invalid> {
        if let Some(name) = OTHERWISE.iter().find(|name| options.get(name).is_some()) {
            return Err(Invalid::Field(format!(
                "{name} is not supported: a receiver that is away is tried until it is back, and cache-max-size bounds what waits"
            )));
        }
        let switch = |name: &str| match options.get(name) {
            None => Ok(false),
            Some(text) => flag(text).ok_or_else(|| {
                Invalid::Field(format!(
                    "invalid value for {name}: strconv.ParseBool: parsing {text:?}: invalid syntax"
                ))
            }),
        };
        // Entries are sent beside the container, in either case.
        switch("fluentd-async")?;
        switch("fluentd-async-connect")?;
        Ok(Self {
            address: address(options.get("fluentd-address").unwrap_or_default())?,
            request_ack: switch("fluentd-request-ack")?,
            sub_second_precision: switch("fluentd-sub-second-precision")?,
        })
    }
}

fn address(text: &str) -> Result<Address, Invalid> {
    let (transport, rest) = text.split_once("://").unwrap_or(("tcp", text));
    let host = if rest.is_empty() { HOST } else { rest };
    match transport {
        "tcp" => Ok(Address::Tcp {
            to: with_port(host, PORT)?,
            tls: None,
        }),
        "tls" => Ok(Address::Tcp {
            to: with_port(host, PORT)?,
            tls: Some(Tls::default()),
        }),
        "unix" if !rest.is_empty() => Ok(Address::Unix {
            path: rest.to_owned(),
            datagrams: false,
        }),
        _ => Err(Invalid::Field(format!(
            "invalid fluentd-address ({text}): unsupported scheme: {transport}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::collections::BTreeMap;

    use super::*;

    fn fluentd(options: &[(&str, &str)]) -> Result<Fluentd, Invalid> {
        let options: BTreeMap<String, String> = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Fluentd::of(&Options(&options))
    }

    #[test]
    fn a_server_is_where_its_address_says() {
        let address = |text: &str| fluentd(&[("fluentd-address", text)]).unwrap().address;
        let tcp = |to: &str, tls| Address::Tcp { to: to.into(), tls };
        assert_eq!(fluentd(&[]).unwrap().address, tcp("127.0.0.1:24224", None));
        assert_eq!(address("h"), tcp("h:24224", None));
        assert_eq!(address("tcp://h:1"), tcp("h:1", None));
        assert_eq!(address("tls://h:1"), tcp("h:1", Some(Tls::default())));
        let path = "/a".to_owned();
        assert_eq!(address("unix:///a"), Address::Unix { path, datagrams: false });
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let words = |option| fluentd(&[option]).unwrap_err().to_string();
        assert!(words(("fluentd-address", "udp://h")).contains("unsupported scheme: udp"));
        assert!(words(("fluentd-request-ack", "x")).contains("ParseBool"));
        assert!(words(("fluentd-max-retries", "3")).starts_with("fluentd-max-retries is not supported"));
    }
}
