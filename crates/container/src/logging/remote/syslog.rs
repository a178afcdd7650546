//! Options of the driver `syslog`.

use serde::{Deserialize, Serialize};

use super::address::{Address, Tls, with_port};
use crate::invalid::Invalid;
use crate::logging::{Options, flag};

/// A syslog server, and how it is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syslog {
    /// Where it is.
    pub address: Address,
    /// What the entries are said to be of (RFC 5424, section 6.2.1).
    pub facility: u8,
    /// How they are written.
    pub format: Format,
}

/// How syslog entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// As programs of the same host write them: without the host.
    Local,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424, times in seconds.
    Rfc5424,
    /// RFC 5424, times in microseconds.
    Rfc5424Micro,
}

/// Options of `syslog` besides those of all drivers.
pub(crate) const OPTIONS: [&str; 12] = [
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
    "tag",
];

/// The port of syslog where none is named.
const SYSLOG_PORT: &str = "514";

/// Where programs of this host write to.
const LOCAL_SYSLOG: &str = "/dev/log";

/// Facilities in the order of their numbers.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "",
    "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// The facility where none is named.
const DAEMON: u8 = 3;

impl Syslog {
    pub(in crate::logging) fn of(options: &Options<'_>) -> Result<Self, Invalid> {
        let format = match options.get("syslog-format").unwrap_or_default() {
            "" => Format::Local,
            "rfc3164" => Format::Rfc3164,
            "rfc5424" => Format::Rfc5424,
            "rfc5424micro" => Format::Rfc5424Micro,
            _ => return Err(Invalid::field("Invalid syslog format")),
        };
        let tls = Tls {
            ca: options.get("syslog-tls-ca-cert").map(str::to_owned),
            own: pair(options.get("syslog-tls-cert"), options.get("syslog-tls-key"))?,
            skip_verify: options
                .get("syslog-tls-skip-verify")
                .is_some_and(|text| flag(text) != Some(false)),
            name: None,
        };
        Ok(Self {
            address: address(options.get("syslog-address").unwrap_or_default(), tls)?,
            facility: facility(options.get("syslog-facility").unwrap_or_default())?,
            format,
        })
    }
}

fn pair(certificate: Option<&str>, key: Option<&str>) -> Result<Option<(String, String)>, Invalid> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate.to_owned(), key.to_owned()))),
        (None, None) => Ok(None),
        _ => Err(Invalid::field("syslog-tls-cert and syslog-tls-key go together")),
    }
}

fn facility(text: &str) -> Result<u8, Invalid> {
    if text.is_empty() {
        return Ok(DAEMON);
    }
    let named = FACILITIES
        .iter()
        .position(|name| *name == text)
        .and_then(|at| u8::try_from(at).ok());
    let numbered = text
        .parse()
        .ok()
        .filter(|number| usize::from(*number) < FACILITIES.len());
    named
        .or(numbered)
        .ok_or_else(|| Invalid::field("invalid syslog facility"))
}

/// `udp://host:514`, `unix:///path`; nothing for this host's own.
fn address(text: &str, tls: Tls) -> Result<Address, Invalid> {
    if text.is_empty() {
        return Ok(Address::Unix {
            path: LOCAL_SYSLOG.to_owned(),
            datagrams: true,
        });
    }
    let wrong = || Invalid::Field(format!("syslog-address should be in form proto://address, got {text}"));
    let (transport, rest) = text.split_once("://").ok_or_else(wrong)?;
    if rest.is_empty() {
        return Err(wrong());
    }
    match transport {
        "udp" => Ok(Address::Udp {
            to: with_port(rest, SYSLOG_PORT)?,
        }),
        "tcp" => Ok(Address::Tcp {
            to: with_port(rest, SYSLOG_PORT)?,
            tls: None,
        }),
        "tcp+tls" => Ok(Address::Tcp {
            to: with_port(rest, SYSLOG_PORT)?,
            tls: Some(tls),
        }),
        "unix" | "unixgram" => Ok(Address::Unix {
            path: rest.to_owned(),
            datagrams: transport == "unixgram",
        }),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::collections::BTreeMap;

    use super::*;

    fn syslog(options: &[(&str, &str)]) -> Result<Syslog, Invalid> {
        let options: BTreeMap<String, String> = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Syslog::of(&Options(&options))
    }

    #[test]
    fn a_syslog_server_is_where_its_address_says() {
        let address = |text: &str| syslog(&[("syslog-address", text)]).unwrap().address;
        let tcp = |to: &str, tls| Address::Tcp { to: to.into(), tls };
        assert_eq!(
            address("udp://1.2.3.4"),
            Address::Udp {
                to: "1.2.3.4:514".into()
            }
        );
        assert_eq!(address("tcp://host:1"), tcp("host:1", None));
        assert_eq!(address("tcp://[::1]:5"), tcp("[::1]:5", None));
        assert_eq!(address("tcp://[::1]"), tcp("[::1]:514", None));
        assert_eq!(address("tcp+tls://host:1"), tcp("host:1", Some(Tls::default())));
        for (text, path, datagrams) in [
            ("unix:///a/b", "/a/b", false),
            ("unixgram:///c", "/c", true),
            ("", "/dev/log", true),
        ] {
            let path = path.to_owned();
            assert_eq!(address(text), Address::Unix { path, datagrams });
        }
        let whole = syslog(&[("syslog-facility", "local3"), ("syslog-format", "rfc5424micro")]).unwrap();
        assert_eq!((whole.facility, whole.format), (19, Format::Rfc5424Micro));
        assert_eq!(syslog(&[("syslog-facility", "22")]).unwrap().facility, 22);
        assert_eq!(syslog(&[]).unwrap().facility, 3);
    }

    #[test]
    fn what_no_syslog_server_can_be_is_refused() {
        for (option, words) in [
            (
                ("syslog-address", "host:1"),
                "syslog-address should be in form proto://address, got host:1",
            ),
            (
                ("syslog-address", "http://x"),
                "syslog-address should be in form proto://address, got http://x",
            ),
            (
                ("syslog-address", "udp://"),
                "syslog-address should be in form proto://address, got udp://",
            ),
            (
                ("syslog-address", "udp://x:y"),
                "invalid address x:y: it is no host and port",
            ),
            (("syslog-facility", "nosuch"), "invalid syslog facility"),
            (("syslog-facility", "24"), "invalid syslog facility"),
            (("syslog-format", "x"), "Invalid syslog format"),
            (
                ("syslog-tls-cert", "/x"),
                "syslog-tls-cert and syslog-tls-key go together",
            ),
        ] {
            assert_eq!(syslog(&[option]).unwrap_err().to_string(), words);
        }
    }
}
