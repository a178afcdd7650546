//! Limits of what passes over a container's connection, as options say them.
//!
//! ```text
//!   conex.rate.ingress          what the container receives     10mbit, 1.5gbit, 300kbps, unlimited
//!   conex.rate.egress           what it sends                   as above
//!   conex.rate.ingress.burst    bytes that may come at once     64kb, 1mb
//!   conex.rate.egress.burst     as above                        as above
//! ```
//!
//! Rates and sizes have the units of tc(8): a rate without one is in bits per second, a size in bytes, `kbit` is 1000 bits
//! and `kb` 1024 bytes. What is counted are Ethernet frames with their headers.

use serde::{Deserialize, Serialize};

/// What the names of all options of rates begin with.
pub const PREFIX: &str = "conex.rate.";

const INGRESS: &str = "conex.rate.ingress";
const EGRESS: &str = "conex.rate.egress";
const INGRESS_BURST: &str = "conex.rate.ingress.burst";
const EGRESS_BURST: &str = "conex.rate.egress.burst";

/// The value that takes away the limit of a place that is asked later.
const UNLIMITED: &str = "unlimited";

/// Lowest rate, in bits per second: below it, one full frame takes more than a second and a half.
const LOWEST: f64 = 8e3;

/// Highest rate, in bits per second.
const HIGHEST: f64 = 1e12;

/// Bytes that the header of a frame has beyond the MTU, with the tag of a VLAN (IEEE 802.1Q).
const FRAME_HEADER: u32 = 18;

/// Part of a second that the default burst lasts: a full-size packet of segmentation offload (64 KiB) from 26 Mbit/s on, and
/// more than what the kernel's timer is late by.
const BURSTS_PER_SECOND: u64 = 50;

/// Least default burst, in bytes: ten frames.
const LEAST_DEFAULT_BURST: u32 = 16 << 10;

/// An option of rates that cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// A value is no rate or no size.
    #[error("failed to parse {key} value: {value} ({reason})")]
    Value {
        /// The option.
        key: String,
        /// Its value.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// There is no such option.
    #[error("unknown option {0}: options of rates are {INGRESS}, {EGRESS}, {INGRESS_BURST} and {EGRESS_BURST}")]
    Unknown(String),
    /// A frame does not fit into a burst, so that it would never pass.
    #[error("invalid {key}: {burst} bytes are less than a frame of this network has, {least}")]
    Burst {
        /// The option.
        key: &'static str,
        /// Its value, in bytes.
        burst: u32,
        /// Lowest value, in bytes.
        least: u32,
    },
    /// A burst is given and no rate.
    #[error("invalid {key}: there is no {rate} that it belongs to")]
    NoRate {
        /// The option.
        key: &'static str,
        /// The option that is missing.
        rate: &'static str,
    },
}

/// How much passes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Bytes per second, over time.
    pub bytes_per_second: u64,
    /// Bytes that pass at once after a pause.
    pub burst: u32,
}

/// The limits of a connection, as seen from the container; without limit where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Of what the container receives.
    pub ingress: Option<Rate>,
    /// Of what it sends.
    pub egress: Option<Rate>,
}

impl Rates {
    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.ingress.or(self.egress).is_some()
    }
}

/// What one place says of rates: a network's options, a container's labels, options of one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateOptions {
    ingress: Direction,
    egress: Direction,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Direction {
    rate: Option<Limit>,
    burst: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    None,
    BytesPerSecond(u64),
}

impl RateOptions {
    /// Reads the options of rates among others, which are passed over.
    pub fn parse<'a>(options: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<Self, RateError> {
        let mut read = Self::default();
        for (key, value) in options {
            match key.as_str() {
                INGRESS => read.ingress.rate = Some(limit(key, value)?),
                EGRESS => read.egress.rate = Some(limit(key, value)?),
                INGRESS_BURST => read.ingress.burst = Some(burst(key, value)?),
                EGRESS_BURST => read.egress.burst = Some(burst(key, value)?),
                other if other.starts_with(PREFIX) => return Err(RateError::Unknown(key.clone())),
                _ => {}
            }
        }
        Ok(read)
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// With what another place says where this one is silent, option by option.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let direction = |first: Direction, then: Direction| Direction {
            rate: first.rate.or(then.rate),
            burst: first.burst.or(then.burst),
        };
        Self {
            ingress: direction(self.ingress, other.ingress),
            egress: direction(self.egress, other.egress),
        }
    }

    /// The limits of a connection to a network of this MTU, in bytes.
    pub fn rates(&self, mtu: u32) -> Result<Rates, RateError> {
        Ok(Rates {
            ingress: self.ingress.rate(mtu, (INGRESS, INGRESS_BURST))?,
            egress: self.egress.rate(mtu, (EGRESS, EGRESS_BURST))?,
        })
    }
}

impl Direction {
    fn rate(self, mtu: u32, (rate, key): (&'static str, &'static str)) -> Result<Option<Rate>, RateError> {
        let least = mtu.saturating_add(FRAME_HEADER);
        let bytes_per_second = match (self.rate, self.burst) {
            (None, Some(_)) => return Err(RateError::NoRate { key, rate }),
            (None | Some(Limit::None), _) => return Ok(None),
            (Some(Limit::BytesPerSecond(bytes)), _) => bytes,
        };
        let burst = match self.burst {
            Some(burst) if burst < least => return Err(RateError::Burst { key, burst, least }),
            Some(burst) => burst,
            None => default_burst(bytes_per_second).max(least),
        };
        Ok(Some(Rate {
            bytes_per_second,
            burst,
        }))
    }
}

fn default_burst(bytes_per_second: u64) -> u32 {
    let burst = u32::try_from(bytes_per_second / BURSTS_PER_SECOND).unwrap_or(u32::MAX);
    burst.max(LEAST_DEFAULT_BURST)
}

fn wrong(key: &str, value: &str, reason: &'static str) -> RateError {
    RateError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        reason,
    }
}

fn limit(key: &str, value: &str) -> Result<Limit, RateError> {
    if value == UNLIMITED {
        return Ok(Limit::None);
    }
    let refused = |reason| wrong(key, value, reason);
    let (number, unit) = number(value).ok_or_else(|| refused("a rate is a number with a unit of tc(8), as 10mbit"))?;
    let scale =
        bits(&unit).ok_or_else(|| refused("the units of a rate are bit, kbit, mbit, gbit, bps, kbps, mbps, gbps"))?;
    let bits = number * scale;
    if !(LOWEST..=HIGHEST).contains(&bits) {
        return Err(refused("a rate is at least 8kbit and at most 1tbit"));
    }
    // Exact: it is far below 2^53.
    Ok(Limit::BytesPerSecond((bits / 8.0) as u64))
}

fn burst(key: &str, value: &str) -> Result<u32, RateError> {
    let refused = |reason| wrong(key, value, reason);
    let (number, unit) = number(value).ok_or_else(|| refused("a burst is a number with a unit of tc(8), as 64kb"))?;
    let scale = bytes(&unit).ok_or_else(|| refused("the units of a burst are b, kb, mb, gb, kbit, mbit, gbit"))?;
    let bytes = number * scale;
    if bytes < 1.0 || bytes > f64::from(u32::MAX) {
        return Err(refused("a burst is at least a frame and less than 4gb"));
    }
    Ok(bytes as u32)
}

/// A number and what follows it, in lower case.
fn number(text: &str) -> Option<(f64, String)> {
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.'));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    Some((number.parse().ok()?, unit.to_ascii_lowercase()))
}

/// Bits per second of a unit of rates (tc(8), PARAMETERS).
fn bits(unit: &str) -> Option<f64> {
    let (prefix, bits) = match (unit.strip_suffix("bit"), unit.strip_suffix("bps")) {
        (Some(prefix), _) => (prefix, 1.0),
        (None, Some(prefix)) => (prefix, 8.0),
        (None, None) => return unit.is_empty().then_some(1.0),
    };
    let scale = match prefix {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" => 1024.0,
        "mi" => 1024.0 * 1024.0,
        "gi" => 1024.0 * 1024.0 * 1024.0,
        "ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(bits * scale)
}

/// Bytes of a unit of sizes (tc(8), PARAMETERS).
fn bytes(unit: &str) -> Option<f64> {
    let kilo = 1024.0;
    Some(match unit {
        "" | "b" => 1.0,
        "k" | "kb" => kilo,
        "m" | "mb" => kilo * kilo,
        "g" | "gb" => kilo * kilo * kilo,
        "kbit" => kilo / 8.0,
        "mbit" => kilo * kilo / 8.0,
        "gbit" => kilo * kilo * kilo / 8.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<RateOptions, RateError> {
        let map: BTreeMap<String, String> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        RateOptions::parse(&map)
    }

    fn egress(pairs: &[(&str, &str)]) -> Result<Option<Rate>, String> {
        let rates = options(pairs).and_then(|options| options.rates(1500));
        rates.map(|rates| rates.egress).map_err(|error| error.to_string())
    }

    #[test]
    fn units_are_those_of_tc() {
        for (text, expected) in [
            ("8000", 1000),
            ("8kbit", 1000),
            ("10mbit", 1_250_000),
            ("10Mbit", 1_250_000),
            ("1.5gbit", 187_500_000),
            ("1tbit", 125_000_000_000),
            ("8kibit", 1024),
            ("1000bps", 1000),
            ("2kbps", 2000),
            ("2KiBps", 2048),
        ] {
            let rate = egress(&[(EGRESS, text)]).unwrap().unwrap();
            assert_eq!(rate.bytes_per_second, expected, "{text}");
        }
        for (text, expected) in [("4096", 4096), ("64kb", 65536), ("2m", 2 << 20), ("64kbit", 8192)] {
            let rate = egress(&[(EGRESS, "1mbit"), (EGRESS_BURST, text)]).unwrap().unwrap();
            assert_eq!(rate.burst, expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_option_and_value() {
        for text in [
            "",
            "fast",
            "-1mbit",
            "10 mbit",
            "10furlongs",
            "1.2.3mbit",
            "1e6",
            "50%",
            "0",
            "7kbit",
            "2tbit",
        ] {
            let error = egress(&[(EGRESS, text)]).unwrap_err();
            let words = format!("failed to parse conex.rate.egress value: {text} (");
            assert!(error.starts_with(&words), "{error}");
        }
        for text in ["", "big", "0", "4gb", "1kbps"] {
            let error = egress(&[(EGRESS, "1mbit"), (EGRESS_BURST, text)]).unwrap_err();
            let words = format!("failed to parse conex.rate.egress.burst value: {text} (");
            assert!(error.starts_with(&words), "{error}");
        }
        assert_eq!(
            egress(&[(EGRESS, "1mbit"), (EGRESS_BURST, "1517")]).unwrap_err(),
            "invalid conex.rate.egress.burst: 1517 bytes are less than a frame of this network has, 1518"
        );
        assert_eq!(
            egress(&[(EGRESS_BURST, "64kb")]).unwrap_err(),
            "invalid conex.rate.egress.burst: there is no conex.rate.egress that it belongs to"
        );
        let unknown = options(&[("conex.rate.igress", "1mbit")]).unwrap_err();
        assert!(unknown.to_string().starts_with("unknown option conex.rate.igress: "));
        assert_eq!(
            options(&[("conex.health-on-failure", "kill")]),
            Ok(RateOptions::default())
        );
    }

    #[test]
    fn the_default_burst_lasts_a_fiftieth_of_a_second_and_holds_ten_frames() {
        let burst = |text: &str| egress(&[(EGRESS, text)]).unwrap().unwrap().burst;
        assert_eq!((burst("64kbit"), burst("1gbit")), (16 << 10, 2_500_000));
        let jumbo = options(&[(EGRESS, "64kbit")]).unwrap().rates(65535).unwrap();
        assert_eq!(jumbo.egress.unwrap().burst, 65553);
    }

    #[test]
    fn a_nearer_place_goes_first_option_by_option() {
        let network = options(&[(EGRESS, "10mbit"), (EGRESS_BURST, "64kb"), (INGRESS, "1mbit")]).unwrap();
        let label = options(&[(EGRESS, "20mbit"), (INGRESS, "unlimited")]).unwrap();
        let rates = label.or(network).rates(1500).unwrap();
        let expected = Rate {
            bytes_per_second: 2_500_000,
            burst: 64 << 10,
        };
        assert_eq!((rates.egress, rates.ingress), (Some(expected), None));
        assert!(rates.is_limited() && !Rates::default().is_limited());
    }
}
