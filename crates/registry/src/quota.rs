//! How much a registry lets be pulled, as Docker Hub tells it (`ratelimit-limit: 100;w=21600`, `ratelimit-remaining: 7;w=21600`).

use std::fmt;
use std::time::Duration;

use hyper::header::HeaderMap;

/// How many pulls a registry grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Pulls in the window.
    pub limit: u64,
    /// Those that are left.
    pub remaining: u64,
    /// How long a pull counts.
    pub window: Option<Duration>,
}

impl Quota {
    /// What an answer tells; `None` where it tells nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let field = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?;
            let (number, parameters) = text.split_once(';').unwrap_or((text, ""));
            let window = parameters
                .split(';')
                .find_map(|parameter| parameter.trim().strip_prefix("w="));
            let window = window.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            Some((number.trim().parse().ok()?, window))
        };
        let (limit, window) = field("ratelimit-limit")?;
        let (remaining, other) = field("ratelimit-remaining")?;
        Some(Self {
            limit,
            remaining,
            window: window.or(other),
        })
    }

    /// Whether the end of it is near: a tenth is left at most.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.remaining.saturating_mul(10) <= self.limit
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of {} pulls left", self.remaining, self.limit)?;
        match self.window.map(|window| window.as_secs()) {
            Some(seconds) if seconds > 0 && seconds % 3600 == 0 => write!(out, " in {} h", seconds / 3600),
            Some(seconds) if seconds > 0 => write!(out, " in {seconds} s"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(limit: &str, remaining: &str) -> Option<Quota> {
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-limit", limit.parse().unwrap());
        headers.insert("ratelimit-remaining", remaining.parse().unwrap());
        Quota::of(&headers)
    }

    #[test]
    fn the_headers_of_docker_hub_are_read() {
        let quota = told("100;w=21600", "7;w=21600").unwrap();
        assert_eq!(quota.to_string(), "7 of 100 pulls left in 6 h");
        assert!(quota.is_low() && !told("100;w=21600", "11;w=21600").unwrap().is_low());
        assert_eq!(
            told("10;w=90", "10").unwrap().to_string(),
            "10 of 10 pulls left in 90 s"
        );
        assert_eq!(told("10", "0").unwrap().to_string(), "0 of 10 pulls left");
        for (limit, remaining) in [("x", "1"), ("1", ""), ("-1", "1"), ("99999999999999999999", "1")] {
            assert_eq!(told(limit, remaining), None, "{limit} {remaining}");
        }
        assert_eq!(Quota::of(&HeaderMap::new()), None);
    }
}
