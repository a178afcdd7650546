//! Options of the driver `gelf` (Graylog Extended Log Format).

use serde::{Deserialize, Serialize};

use super::address::{Address, with_port};
use crate::invalid::Invalid;
use crate::logging::Options;

/// A Graylog server, and how it is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gelf {
    /// Where it is: UDP or TCP.
    pub address: Address,
    /// How datagrams are compressed.
    pub compression: Compression,
    /// From 0 to 9; nothing for the usual.
    pub level: Option<u32>,
}

/// How datagrams are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// By gzip.
    Gzip,
    /// By zlib.
    Zlib,
    /// Not at all.
    None,
}

/// Options besides those of all drivers.
pub(crate) const OPTIONS: [&str; 10] = [
    "env",
    "env-regex",
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
    "labels",
    "labels-regex",
    "tag",
];

/// The port where none is named.
const PORT: &str = "12201";

impl Gelf {
    pub(in crate::logging) fn of(options: &Options<'_>) -> Result<Self, Invalid> {
        let address = address(options.get("gelf-address").unwrap_or_default())?;
        let is_udp = matches!(address, Address::Udp { .. });
        let of_udp = |name: &str| match options.get(name) {
            Some(_) if !is_udp => Err(Invalid::field("compression is only supported on UDP")),
            value => Ok(value),
        };
        let unknown = |name: &str, value: &str| {
            Invalid::Field(format!(
                "unknown value {value:?} for log opt {name:?} for gelf log driver"
            ))
        };
        let compression = match of_udp("gelf-compression-type")? {
            None | Some("gzip") => Compression::Gzip,
            Some("zlib") => Compression::Zlib,
            Some("none") => Compression::None,
            Some(other) => return Err(unknown("gelf-compression-type", other)),
        };
        let level = match of_udp("gelf-compression-level")? {
            None | Some("-1") => None,
            Some(text) => {
                let level = text.parse().ok().filter(|level| *level <= 9);
                Some(level.ok_or_else(|| unknown("gelf-compression-level", text))?)
            }
        };
        for name in ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"] {
            if options.get(name).is_some() {
                return Err(Invalid::Field(format!(
                    "{name} is not supported: a receiver that is away is tried until it is back"
                )));
            }
        }
        Ok(Self {
            address,
            compression,
            level,
        })
    }
}

fn address(text: &str) -> Result<Address, Invalid> {
    if text.is_empty() {
        return Err(Invalid::field("gelf-address is a required parameter"));
    }
    match text.split_once("://") {
        Some(("udp", rest)) => Ok(Address::Udp {
            to: with_port(rest, PORT)?,
        }),
        Some(("tcp", rest)) => Ok(Address::Tcp {
            to: with_port(rest, PORT)?,
            tls: None,
        }),
        _ => Err(Invalid::Field(format!(
            "gelf-address should be in form proto://address, got {text}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::collections::BTreeMap;

    use super::*;

    fn gelf(options: &[(&str, &str)]) -> Result<Gelf, Invalid> {
        let options: BTreeMap<String, String> = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Gelf::of(&Options(&options))
    }

    #[test]
    fn datagrams_are_compressed_as_options_say() {
        let udp = ("gelf-address", "udp://h");
        let usual = gelf(&[udp]).unwrap();
        assert_eq!(usual.address, Address::Udp { to: "h:12201".into() });
        assert_eq!((usual.compression, usual.level), (Compression::Gzip, None));
        let own = gelf(&[udp, ("gelf-compression-type", "zlib"), ("gelf-compression-level", "9")]).unwrap();
        assert_eq!((own.compression, own.level), (Compression::Zlib, Some(9)));
    }

    #[test]
    fn what_no_server_can_be_is_refused() {
        let (udp, tcp) = (("gelf-address", "udp://h"), ("gelf-address", "tcp://h"));
        for (options, words) in [
            (vec![], "gelf-address is a required parameter"),
            (
                vec![("gelf-address", "h:1")],
                "gelf-address should be in form proto://address, got h:1",
            ),
            (
                vec![tcp, ("gelf-compression-type", "gzip")],
                "compression is only supported on UDP",
            ),
            (
                vec![udp, ("gelf-compression-type", "x")],
                r#"unknown value "x" for log opt "gelf-compression-type" for gelf log driver"#,
            ),
            (
                vec![udp, ("gelf-compression-level", "10")],
                r#"unknown value "10" for log opt "gelf-compression-level" for gelf log driver"#,
            ),
        ] {
            assert_eq!(gelf(&options).unwrap_err().to_string(), words);
        }
        assert!(gelf(&[tcp, ("gelf-tcp-max-reconnect", "3")]).is_err());
    }
}
