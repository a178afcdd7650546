//! Options of the driver `splunk` (HTTP Event Collector).

use serde::{Deserialize, Serialize};

use super::address::{Address, Tls, with_port};
use crate::invalid::Invalid;
use crate::logging::{Options, flag};

/// A Splunk server, and how it is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splunk {
    /// Where it is.
    pub address: Address,
    /// The path of its collector.
    pub path: String,
    /// What it knows us by.
    pub token: String,
    /// Source, type of source and index of the entries, where they are named.
    pub source: Option<String>,
    /// As above.
    pub sourcetype: Option<String>,
    /// As above.
    pub index: Option<String>,
    /// How entries are written.
    pub form: Form,
    /// Whether requests are compressed, and how much.
    pub gzip: Option<u32>,
    /// Whether they name a channel of the container's own, as a server asks for that acknowledges what it has indexed.
    pub has_channel: bool,
}

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As text beside what is known of the container.
    Inline,
    /// As above, JSON as such.
    Json,
    /// As text, with what is known of the container before it.
    Raw,
}

/// Options besides those of all drivers.
pub(crate) const OPTIONS: [&str; 18] = [
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "splunk-caname",
    "splunk-capath",
    "splunk-format",
    "splunk-gzip",
    "splunk-gzip-level",
    "splunk-index",
    "splunk-index-acknowledgment",
    "splunk-insecureskipverify",
    "splunk-source",
    "splunk-sourcetype",
    "splunk-token",
    "splunk-url",
    "splunk-verify-connection",
    "tag",
];

/// The path where none is named.
const PATH: &str = "/services/collector/event/1.0";

impl Splunk {
    pub(in crate::logging) fn of(options: &Options<'_>) -> Result<Self, Invalid> {
        let text = |name: &str| options.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let switch = |name: &str| match options.get(name) {
            None => Ok(false),
            Some(text) => {
                flag(text).ok_or_else(|| Invalid::Field(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")))
            }
        };
        let url = text("splunk-url").ok_or_else(|| Invalid::field("splunk: splunk-url is expected"))?;
        let token = text("splunk-token").ok_or_else(|| Invalid::field("splunk: splunk-token is expected"))?;
        // Whether the server is there is seen when there is something to be sent.
        switch("splunk-verify-connection")?;
        let tls = Tls {
            ca: text("splunk-capath"),
            own: None,
            skip_verify: switch("splunk-insecureskipverify")?,
            name: text("splunk-caname"),
        };
        let (address, path) = address(&url, tls)?;
        let form = match options.get("splunk-format").unwrap_or("inline") {
            "inline" => Form::Inline,
            "json" => Form::Json,
            "raw" => Form::Raw,
            other => {
                return Err(Invalid::Field(format!(
                    "unknown format specified {other}, supported formats are inline, json and raw"
                )));
            }
        };
        let level = match options.get("splunk-gzip-level") {
            None | Some("-1") => 6,
            Some(text) => text.parse().ok().filter(|level| *level <= 9).ok_or_else(|| {
                Invalid::Field(format!(
                    "not supported level {text:?} for splunk-gzip-level (supported values between -1 and 9)"
                ))
            })?,
        };
        Ok(Self {
            address,
            path,
            token,
            source: text("splunk-source"),
            sourcetype: text("splunk-sourcetype"),
            index: text("splunk-index"),
            form,
            gzip: switch("splunk-gzip")?.then_some(level),
            has_channel: switch("splunk-index-acknowledgment")?,
        })
    }
}

/// `https://host:port`, with a path where the collector is elsewhere.
fn address(url: &str, tls: Tls) -> Result<(Address, String), Invalid> {
    let wrong = || Invalid::field("splunk: expected format scheme://dns_name_or_ip:port for splunk-url");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = if path.is_empty() {
        PATH.to_owned()
    } else {
        format!("/{path}")
    };
    if path.contains(['?', '#']) || host.is_empty() {
        return Err(wrong());
    }
    let address = match scheme {
        "https" => Address::Tcp {
            to: with_port(host, "443")?,
            tls: Some(tls),
        },
        "http" => Address::Tcp {
            to: with_port(host, "80")?,
            tls: None,
        },
        _ => return Err(wrong()),
    };
    Ok((address, path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::collections::BTreeMap;

    use super::*;

    fn splunk(options: &[(&str, &str)]) -> Result<Splunk, Invalid> {
        let options: BTreeMap<String, String> = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Splunk::of(&Options(&options))
    }

    #[test]
    fn a_server_is_where_its_url_says() {
        let (url, token) = (("splunk-url", "https://h:8088"), ("splunk-token", "t"));
        let usual = splunk(&[url, token]).unwrap();
        assert_eq!(
            (usual.path.as_str(), usual.form, usual.gzip),
            (PATH, Form::Inline, None)
        );
        let to = "h:8088".to_owned();
        let tls = Some(Tls::default());
        assert_eq!(usual.address, Address::Tcp { to, tls });
        let own = [
            ("splunk-url", "http://h/a/b"),
            token,
            ("splunk-format", "raw"),
            ("splunk-gzip", "1"),
            ("splunk-index", "i"),
        ];
        let own = splunk(&own).unwrap();
        assert_eq!((own.path.as_str(), own.form, own.gzip), ("/a/b", Form::Raw, Some(6)));
        assert_eq!(own.index.as_deref(), Some("i"));
        let named = [
            url,
            token,
            ("splunk-caname", "c"),
            ("splunk-index-acknowledgment", "true"),
        ];
        let named = splunk(&named).unwrap();
        assert!(named.has_channel);
        let Address::Tcp { tls: Some(tls), .. } = named.address else {
            panic!("{:?}", named.address);
        };
        assert_eq!(tls.name.as_deref(), Some("c"));
    }

    #[test]
    fn what_no_server_can_be_is_refused() {
        let (url, token) = (("splunk-url", "https://h:8088"), ("splunk-token", "t"));
        for (options, words) in [
            (vec![token], "splunk: splunk-url is expected"),
            (vec![url], "splunk: splunk-token is expected"),
            (
                vec![token, ("splunk-url", "h:1")],
                "splunk: expected format scheme://dns_name_or_ip:port for splunk-url",
            ),
            (
                vec![url, token, ("splunk-format", "x")],
                "unknown format specified x, supported formats are inline, json and raw",
            ),
            (
                vec![url, token, ("splunk-gzip", "x")],
                r#"strconv.ParseBool: parsing "x": invalid syntax"#,
            ),
        ] {
            assert_eq!(splunk(&options).unwrap_err().to_string(), words);
        }
    }
}
