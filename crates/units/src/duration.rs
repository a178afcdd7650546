//! Durations as Go writes them (`time.ParseDuration`): `1h30m`, `1.5s`, `300ms`.

use thiserror::Error;

/// The units, in nanoseconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Why a text is no duration, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// It is something else.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number has nothing behind it.
    #[error("time: missing unit in duration {0:?}")]
    NoUnit(String),
    /// A number has something else behind it.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// What stands there.
        unit: String,
        /// The whole.
        text: String,
    },
}

/// Nanoseconds.
///
/// # Errors
/// Where the text is no duration, or one of more than 290 years.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
        let (number, after) = rest.split_at(rest.find(|letter| !is_number(letter)).unwrap_or(rest.len()));
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        if unit.is_empty() {
            return Err(DurationError::NoUnit(text.to_owned()));
        }
        let Some((_, worth)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let (unit, text) = (unit.to_owned(), text.to_owned());
            return Err(DurationError::UnknownUnit { unit, text });
        };
        sum += number * worth;
        rest = after;
    }
    let sum = if negative { -sum } else { sum };
    // Both bounds are far beyond what is meant.
    if sum.abs() >= 9.2e18 {
        return Err(invalid());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded above, and a part of a nanosecond is none"
    )]
    let nanoseconds = sum.round() as i64;
    Ok(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        assert_eq!(parse("5s"), Ok(5_000_000_000));
        assert_eq!(parse("1h2m3.5s4ms"), Ok(3_723_504_000_000));
        assert_eq!(parse("-1.5us"), Ok(-1500));
        assert_eq!(parse("0"), Ok(0));
        for (text, words) in [
            ("x", "time: invalid duration \"x\""),
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("99999999999h", "time: invalid duration \"99999999999h\""),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), words);
        }
    }
}
