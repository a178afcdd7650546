//! Sizes and times as Docker writes and reads them.

use conex_units::{duration, size};

/// Parses `64m`, `1.5g`, `1024`: a number with a binary unit, as `--memory` takes it; negative ones mean "without limit".
pub(crate) fn parse_size(text: &str) -> Result<i64, String> {
    if let Some(negative) = text.parse().ok().filter(|number| *number < 0) {
        return Ok(negative);
    }
    let bytes = size::binary(text.trim()).and_then(|bytes| i64::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("invalid size: '{text}'"))
}

/// Parses `1m30s`, as `--health-interval` takes it, into nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    match duration::parse(text) {
        Ok(negative) if negative < 0 => Err("it cannot be negative".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// Parses `1.5`, a number of CPUs, into billionths.
pub(crate) fn parse_cpus(text: &str) -> Result<i64, String> {
    let wrong = || format!("failed to parse {text} as a rational number");
    let number: f64 = text.parse().map_err(|_| wrong())?;
    Ok((number * 1e9).round() as i64)
}

/// Bytes with three digits and a decimal unit: `4.43MB`.
pub(crate) fn bytes(bytes: i64) -> String {
    let mut number = bytes as f64;
    let mut unit = 0;
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    while number >= 1000.0 && unit + 1 < units.len() {
        number /= 1000.0;
        unit += 1;
    }
    let decimals = match number {
        _ if unit == 0 => 0,
        number if number < 10.0 => 2,
        number if number < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{number:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{}", units[unit])
}

/// A length of time in words: `About a minute`.
pub(crate) fn time(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago something was, by the clock of this machine.
pub(crate) fn ago(since: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    format!("{} ago", time(now - since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_when_given_and_decimal_ones_when_printed() {
        assert_eq!(parse_size("64m"), Ok(64 << 20));
        assert_eq!(parse_size("1.5GB"), Ok(3 << 29));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("2KiB"), Ok(2048));
        assert_eq!(parse_size("-1"), Ok(-1));
        assert!(parse_size("x").is_err());
        assert!(parse_size("5q").is_err());
        assert_eq!(bytes(4_430_000), "4.43MB");
        assert_eq!(bytes(77_800_000), "77.8MB");
        assert_eq!(bytes(512), "512B");
        assert_eq!(bytes(1_000), "1kB");
        assert_eq!(bytes(187_000_000), "187MB");
    }

    #[test]
    fn times_are_in_dockers_words() {
        let words = [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (600, "10 minutes"),
        ];
        for (seconds, expected) in words {
            assert_eq!(time(seconds), expected);
        }
        assert_eq!(time(3600), "About an hour");
        assert_eq!(time(3600 * 47), "47 hours");
        assert_eq!(time(3600 * 48), "2 days");
        assert_eq!(time(3600 * 24 * 20), "2 weeks");
    }

    #[test]
    fn cpus_are_counted_in_billionths() {
        assert_eq!(parse_cpus("1.5"), Ok(1_500_000_000));
        assert!(parse_cpus("many").is_err());
    }

    #[test]
    fn waits_are_nanoseconds_and_not_negative() {
        assert_eq!(parse_duration("1m30s"), Ok(90_000_000_000));
        assert_eq!(parse_duration("-1s"), Err("it cannot be negative".to_owned()));
        assert_eq!(
            parse_duration("5"),
            Err("time: missing unit in duration \"5\"".to_owned())
        );
    }
}
