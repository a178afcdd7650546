//! Restart policies: whether a container that ended is started again, and after how long.

use std::time::Duration;

use conex_api_types::{HostConfig, RestartPolicy};

use crate::invalid::Invalid;

/// What becomes of a container that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It stays.
    Never,
    /// It is started again.
    Always,
    /// As above, but what a client stopped stays so when the daemon starts.
    UnlessStopped,
    /// It is started again where it failed, so many times at the most.
    OnFailure {
        /// `None` for any number of times.
        most: Option<u32>,
    },
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// How many times it has been started again since a client started it.
    pub restarts: u32,
    /// Whether a client wanted it to end.
    pub stopped: bool,
}

impl Policy {
    /// What a checked request says.
    pub fn of(policy: &RestartPolicy) -> Self {
        match policy.name.as_str() {
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure {
                most: u32::try_from(policy.maximum_retry_count).ok().filter(|most| *most > 0),
            },
            _ => Self::Never,
        }
    }

    /// Whether a container that ended just now is started again.
    pub fn restarts(self, ended: &Ended) -> bool {
        !ended.stopped
            && match self {
                Self::Never => false,
                Self::Always | Self::UnlessStopped => true,
                Self::OnFailure { most } => ended.code != 0 && most.is_none_or(|most| ended.restarts < most),
            }
    }

    /// Whether a container that does not run is started with the daemon.
    pub fn starts_with_daemon(self, ended: &Ended) -> bool {
        self == Self::Always || self.restarts(ended)
    }
}

/// Refuses a policy that is none, in Docker's words.
pub(crate) fn check(host: &HostConfig) -> Result<(), Invalid> {
    let (name, most) = (
        host.restart_policy.name.as_str(),
        host.restart_policy.maximum_retry_count,
    );
    let only = "invalid restart policy: maximum retry count can only be used with 'on-failure'";
    let words = match name {
        "" | "no" | "always" | "unless-stopped" if most < 0 => format!("{only} and cannot be negative"),
        "" | "no" | "always" | "unless-stopped" if most > 0 => only.to_owned(),
        "on-failure" if most < 0 => "invalid restart policy: maximum retry count cannot be negative".to_owned(),
        "always" | "on-failure" | "unless-stopped" if host.auto_remove => {
            "can't create 'AutoRemove' container with restart policy".to_owned()
        }
        "" | "no" | "always" | "unless-stopped" | "on-failure" => return Ok(()),
        other => format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        ),
    };
    Err(Invalid::Field(words))
}

/// How long a container waits before it is started again: twice as long each time, until a run lasts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    last: Option<Duration>,
}

/// The first wait.
const SHORTEST: Duration = Duration::from_millis(100);

/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(60);

/// A run of this length lasts.
const LASTING: Duration = Duration::from_secs(10);

impl Backoff {
    /// The wait after a run of some length.
    pub fn after(&mut self, run: Duration) -> Duration {
        let wait = match self.last {
            Some(last) if run < LASTING => (last * 2).min(LONGEST),
            _ => SHORTEST,
        };
        self.last = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, most: i64) -> Policy {
        Policy::of(&RestartPolicy {
            name: name.to_owned(),
            maximum_retry_count: most,
        })
    }

    fn ended(code: i32, restarts: u32, stopped: bool) -> Ended {
        Ended {
            code,
            restarts,
            stopped,
        }
    }

    #[test]
    fn each_policy_starts_again_what_it_is_for() {
        for (name, most, end, again, with_daemon) in [
            ("no", 0, ended(1, 0, false), false, false),
            ("always", 0, ended(0, 9, false), true, true),
            ("always", 0, ended(0, 0, true), false, true),
            ("unless-stopped", 0, ended(1, 0, false), true, true),
            ("unless-stopped", 0, ended(1, 0, true), false, false),
            ("on-failure", 0, ended(0, 0, false), false, false),
            ("on-failure", 0, ended(1, 99, false), true, true),
            ("on-failure", 2, ended(1, 1, false), true, true),
            ("on-failure", 2, ended(1, 2, false), false, false),
            ("on-failure", 0, ended(143, 0, true), false, false),
        ] {
            let policy = policy(name, most);
            assert_eq!(policy.restarts(&end), again, "{name} {end:?}");
            assert_eq!(policy.starts_with_daemon(&end), with_daemon, "{name} {end:?}");
        }
    }

    #[test]
    fn waits_double_until_a_run_lasts() {
        let mut backoff = Backoff::default();
        let brief = Duration::from_secs(1);
        let waits: Vec<u128> = (0..12).map(|_| backoff.after(brief).as_millis()).collect();
        assert_eq!(
            waits,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000
            ]
        );
        assert_eq!(backoff.after(Duration::from_secs(10)), SHORTEST);
        assert_eq!(backoff.after(brief), SHORTEST * 2);
    }
}
