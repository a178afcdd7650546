//! Signals by name or number (signal(7)).

/// A signal that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct UnknownSignal(String);

/// Names of the signals of Linux on x86_64 and aarch64, in the order of their numbers from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// The real-time signals that programs may use.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Parses `SIGTERM`, `term`, `15`, `RTMIN+3`.
pub fn parse(text: &str) -> Result<i32, UnknownSignal> {
    let unknown = || UnknownSignal(text.to_owned());
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=RTMAX).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(index + 1).map_err(|_| unknown());
    }
    let offset = |rest: &str| {
        if rest.is_empty() {
            Some(0)
        } else {
            rest[1..].parse::<i32>().ok()
        }
    };
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => offset(rest).map(|offset| RTMIN + offset),
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => offset(rest).map(|offset| RTMAX - offset),
        _ => None,
    };
    match name {
        "CLD" => Ok(17),
        "POLL" => Ok(29),
        "IOT" => Ok(6),
        _ => real_time
            .filter(|number| (RTMIN..=RTMAX).contains(number))
            .ok_or_else(unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(parse(text), Ok(15));
        }
        assert_eq!(parse("RTMIN+3"), Ok(37));
        assert_eq!(parse("SIGRTMAX-1"), Ok(63));
        assert_eq!(parse("SYS"), Ok(31));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "0", "65", "NOSUCH", "RTMIN+99", "RTMIN-1", "RTMAXé"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
