//! The options of the bridge driver (`com.docker.network.*`, `conex.rate.*`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::IntErrorKind;

use crate::plan::{DEFAULT_MTU, Icc, Masquerade};
use crate::rate::{RateError, RateOptions};

/// Largest MTU that a bridge can have, in bytes.
const LARGEST_MTU: u32 = 65535;

/// An option that says something impossible, or is not known. The texts are Docker's where it has any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A value is of another kind.
    #[error("failed to parse {key} value: {value} ({reason})")]
    Value {
        /// The option.
        key: String,
        /// Its value.
        value: String,
        /// Why not, as Go words it.
        reason: String,
    },
    /// A number that is no MTU.
    #[error("invalid MTU number: {0}")]
    Mtu(i64),
    /// A driver's option that is not done.
    #[error("Options: {0} is not supported yet")]
    Unsupported(String),
    /// A rate that there cannot be.
    #[error(transparent)]
    Rate(#[from] RateError),
}

/// What the options say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Name of the interface, made up where absent.
    pub name: Option<String>,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
    /// Whether packets to the outside carry the host's address.
    pub masquerade: Masquerade,
    /// Whether its containers reach one another.
    pub icc: Icc,
    /// The host's address that ports are published at where a client names none.
    pub host_binding: Ipv4Addr,
    /// Rates of its containers' connections, where nothing nearer says any.
    pub rates: RateOptions,
}

impl BridgeOptions {
    /// Reads them. Those that are not the driver's (`foo=bar`) are kept and mean nothing, as in Docker.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, OptionError> {
        let mut read = Self {
            name: None,
            mtu: DEFAULT_MTU,
            masquerade: Masquerade::On,
            icc: Icc::Allowed,
            host_binding: Ipv4Addr::UNSPECIFIED,
            rates: RateOptions::parse(options)?,
        };
        for (key, value) in options {
            match key.as_str() {
                "com.docker.network.bridge.name" => read.name = Some(value.clone()).filter(|name| !name.is_empty()),
                "com.docker.network.bridge.enable_icc" => {
                    read.icc = if boolean(key, value)? {
                        Icc::Allowed
                    } else {
                        Icc::Denied
                    };
                }
                "com.docker.network.bridge.enable_ip_masquerade" => {
                    read.masquerade = if boolean(key, value)? {
                        Masquerade::On
                    } else {
                        Masquerade::Off
                    };
                }
                "com.docker.network.driver.mtu" => read.mtu = mtu(key, value)?,
                "com.docker.network.bridge.host_binding_ipv4" => {
                    read.host_binding = match value.parse::<IpAddr>() {
                        Ok(IpAddr::V4(address)) => address,
                        Ok(IpAddr::V6(_)) => {
                            return Err(OptionError::Unsupported(format!("{key} {value}")));
                        }
                        _ => return Err(wrong(key, value, "nil ip".to_owned())),
                    };
                }
                key if key.starts_with("com.docker.network.") => return Err(OptionError::Unsupported(key.to_owned())),
                _ => {}
            }
        }
        read.rates.rates(read.mtu)?;
        Ok(read)
    }
}

fn wrong(key: &str, value: &str, reason: String) -> OptionError {
    OptionError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        reason,
    }
}

/// A boolean as Go reads it (`strconv.ParseBool`).
fn boolean(key: &str, value: &str) -> Result<bool, OptionError> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => {
            let reason = format!("strconv.ParseBool: parsing {value:?}: invalid syntax");
            Err(wrong(key, value, reason))
        }
    }
}

fn mtu(key: &str, value: &str) -> Result<u32, OptionError> {
    let number: i64 = value.parse().map_err(|error: std::num::ParseIntError| {
        let what = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        wrong(key, value, format!("strconv.Atoi: parsing {value:?}: {what}"))
    })?;
    match u32::try_from(number) {
        Ok(0) => Ok(DEFAULT_MTU),
        Ok(mtu) if mtu <= LARGEST_MTU => Ok(mtu),
        _ => Err(OptionError::Mtu(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &str, value: &str) -> Result<BridgeOptions, String> {
        let options = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        BridgeOptions::parse(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wrong_is_told_in_dockers_words() {
        let icc = "com.docker.network.bridge.enable_icc";
        let mtu = "com.docker.network.driver.mtu";
        let binding = "com.docker.network.bridge.host_binding_ipv4";
        for (key, value, words) in [
            (icc, "maybe", "(strconv.ParseBool: parsing \"maybe\": invalid syntax)"),
            (mtu, "abc", "(strconv.Atoi: parsing \"abc\": invalid syntax)"),
            (
                mtu,
                "9999999999999999999",
                "(strconv.Atoi: parsing \"9999999999999999999\": value out of range)",
            ),
            (binding, "foo", "(nil ip)"),
        ] {
            let error = parse(key, value).unwrap_err();
            assert_eq!(error, format!("failed to parse {key} value: {value} {words}"));
        }
        assert_eq!(parse(mtu, "-1").unwrap_err(), "invalid MTU number: -1");
        let unknown = parse("com.docker.network.bridge.inhibit_ipv4", "true").unwrap_err();
        assert!(unknown.contains("is not supported yet"), "{unknown}");
    }

    #[test]
    fn options_are_read_and_foreign_ones_mean_nothing() {
        assert_eq!(parse("com.docker.network.driver.mtu", "1400").unwrap().mtu, 1400);
        assert_eq!(
            parse("com.docker.network.bridge.enable_icc", "f").unwrap().icc,
            Icc::Denied
        );
        assert_eq!(parse("foo", "bar").unwrap().mtu, DEFAULT_MTU);
    }
}
