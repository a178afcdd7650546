//! Names of signals (signal(7)).

use anyhow::{Context, Result, bail};

/// Names without `SIG`, in the order of their numbers on x86_64 and aarch64, from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

const LAST: i32 = 64;
const RTMIN: i32 = 34;

/// Parses `9`, `KILL`, `SIGKILL` and `RTMIN+3`.
pub(crate) fn parse(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        if !(1..=LAST).contains(&number) {
            bail!("unknown signal {text:?}");
        }
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = |prefix: &str, sign: i32, base: i32| {
        let offset = name.strip_prefix(prefix)?.parse::<i32>().ok()?;
        Some(base + sign * offset).filter(|number| (RTMIN..=LAST).contains(number))
    };
    NAMES
        .iter()
        .position(|known| *known == name)
        .and_then(|place| i32::try_from(place + 1).ok())
        .or(match name {
            "RTMIN" => Some(RTMIN),
            "RTMAX" => Some(LAST),
            "POLL" => Some(29),
            "IOT" => Some(6),
            _ => None,
        })
        .or_else(|| realtime("RTMIN+", 1, RTMIN))
        .or_else(|| realtime("RTMAX-", -1, LAST))
        .with_context(|| format!("unknown signal {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_number_and_by_name() {
        for (text, number) in [
            ("9", 9),
            ("kill", 9),
            ("SIGTERM", 15),
            ("WINCH", 28),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["0", "65", "NOPE", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
