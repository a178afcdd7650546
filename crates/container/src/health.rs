//! Health checks: what is checked and when, and what the results say of a container.
//!
//! The rules are Docker's: a check that succeeds makes a container healthy at once; so many failures in a row make it
//! unhealthy, of which those of the start period do not count as long as none has succeeded.

use std::time::Duration;

use conex_api_types::HealthConfig;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::invalid::Invalid;

/// Results that are kept.
const KEPT: usize = 5;

/// Bytes of a check's output that are kept.
pub const OUTPUT: usize = 4096;

/// The shortest time that a check may name, nanoseconds.
const LEAST_TIME: i64 = 1_000_000;

/// A check, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Program and arguments.
    pub command: Vec<String>,
    /// After which time a check counts as failed, and is killed.
    pub timeout: Duration,
    /// Failures in a row that make a container unhealthy.
    pub retries: u32,
    /// Time from the container's start in which failures do not count yet.
    pub start_period: Duration,
    interval: Duration,
    start_interval: Duration,
}

/// How a container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No check has succeeded yet, and not enough have failed.
    #[default]
    Starting,
    /// The last check succeeded, or not enough have failed since.
    Healthy,
    /// Enough have failed, or the container does not run.
    Unhealthy,
}

/// What is known of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How it is.
    pub status: Status,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last results, oldest first.
    pub log: Vec<Outcome>,
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// RFC 3339 with nanoseconds.
    pub start: String,
    /// RFC 3339 with nanoseconds.
    pub end: String,
    /// Exit code; -1 where the check was not carried out to its end.
    pub exit_code: i32,
    /// What it wrote, or why it was not carried out.
    pub output: String,
}

/// What is done with a container that becomes unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is told.
    #[default]
    Nothing,
    /// It is restarted, after a longer wait each time.
    Restart,
    /// It is stopped, and stays so.
    Stop,
    /// It is killed, and its restart policy decides.
    Kill,
}

/// The label that says what is done with a container that becomes unhealthy.
pub const ON_FAILURE_LABEL: &str = "conex.health-on-failure";

impl Check {
    /// The check of a container; `None` where there is none.
    pub fn of(config: &Config) -> Option<Self> {
        let check = config.healthcheck.as_ref()?;
        let (kind, arguments) = check.test.split_first()?;
        let command = match kind.as_str() {
            "CMD" => arguments.to_vec(),
            "CMD-SHELL" => {
                let shell = config.shell.clone().filter(|shell| !shell.is_empty());
                let mut command = shell.unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
                command.push(arguments.join(" "));
                command
            }
            _ => return None,
        };
        let or = |nanoseconds: i64, default: u64| match u64::try_from(nanoseconds) {
            Ok(0) | Err(_) => Duration::from_secs(default),
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
        };
        Some(Self {
            command,
            timeout: or(check.timeout, 30),
            retries: u32::try_from(check.retries)
                .ok()
                .filter(|retries| *retries > 0)
                .unwrap_or(3),
            start_period: or(check.start_period, 0),
            interval: or(check.interval, 30),
            start_interval: or(check.start_interval, 5),
        })
    }

    /// How long the next check waits, of a container that started so long ago.
    pub fn wait(&self, age: Duration, status: Status) -> Duration {
        if age < self.start_period && status == Status::Starting {
            self.start_interval
        } else {
            self.interval
        }
    }
}

impl Status {
    /// The Engine API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Health {
    /// Takes a result; the status where it has become another. `counts`: whether the start period is over.
    pub fn take(&mut self, outcome: Outcome, counts: bool, check: &Check) -> Option<Status> {
        let before = self.status;
        if outcome.exit_code == 0 {
            self.failing_streak = 0;
            self.status = Status::Healthy;
        } else if counts || before != Status::Starting {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.retries {
                self.status = Status::Unhealthy;
            }
        }
        self.log.push(outcome);
        let extra = self.log.len().saturating_sub(KEPT);
        self.log.drain(..extra);
        (self.status != before).then_some(self.status)
    }

    /// Of a container that starts: what the last run has shown stays in the log.
    pub fn begin(&mut self) {
        self.status = Status::Starting;
        self.failing_streak = 0;
    }
}

impl OnFailure {
    /// What a word means; `None` for one that is none.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::Nothing),
            "restart" => Some(Self::Restart),
            "stop" => Some(Self::Stop),
            "kill" => Some(Self::Kill),
            _ => None,
        }
    }

    /// What the container's label says, else the daemon's default.
    pub fn of(config: &Config, default: Self) -> Self {
        let label = config.labels.get(ON_FAILURE_LABEL);
        label.and_then(|word| Self::parse(word)).unwrap_or(default)
    }
}

/// How long one that becomes unhealthy again and again waits for its restart: not at all, then a second, then twice as long
/// each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Healing {
    next: Duration,
}

/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(60);

impl Healing {
    /// The wait of the next restart.
    pub fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).clamp(Duration::from_secs(1), LONGEST);
        wait
    }

    /// It was healthy: the next one is the first again.
    pub fn is_well(&mut self) {
        self.next = Duration::ZERO;
    }
}

/// Refuses what a check cannot be, in Docker's words where it has some.
pub(crate) fn check(check: Option<&HealthConfig>) -> Result<(), Invalid> {
    let Some(check) = check else { return Ok(()) };
    for (time, name) in [
        (check.interval, "Interval"),
        (check.timeout, "Timeout"),
        (check.start_period, "StartPeriod"),
        (check.start_interval, "StartInterval"),
    ] {
        if time != 0 && time < LEAST_TIME {
            return Err(Invalid::Field(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if check.retries < 0 {
        return Err(Invalid::field("Retries in Healthcheck cannot be negative"));
    }
    match check.test.split_first() {
        Some((kind, rest)) if kind == "CMD" || kind == "CMD-SHELL" => {
            if rest.first().is_none_or(String::is_empty) {
                return Err(Invalid::field("Test in Healthcheck has no command"));
            }
            Ok(())
        }
        Some((kind, _)) if kind != "NONE" => Err(Invalid::Field(format!(
            "unknown type '{kind}' of Test in Healthcheck: must be one of CMD, CMD-SHELL, NONE"
        ))),
        _ => Ok(()),
    }
}

/// Refuses a label that says nothing that can be done.
pub(crate) fn check_label(config: &Config) -> Result<(), Invalid> {
    match config.labels.get(ON_FAILURE_LABEL) {
        Some(word) if OnFailure::parse(word).is_none() => Err(Invalid::Field(format!(
            "invalid label {ON_FAILURE_LABEL}={word}: must be one of none, restart, stop, kill"
        ))),
        _ => Ok(()),
    }
}

/// Fills in what an image says of its check where the client says nothing.
pub(crate) fn inherit(own: &mut Option<HealthConfig>, image: Option<HealthConfig>) {
    let Some(image) = image else { return };
    let Some(own) = own else {
        *own = Some(image);
        return;
    };
    if own.test.is_empty() {
        own.test = image.test;
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn config(test: &[&str]) -> Config {
        Config {
            healthcheck: Some(HealthConfig {
                test: test.iter().map(|word| (*word).to_owned()).collect(),
                ..HealthConfig::default()
            }),
            ..Config::default()
        }
    }

    fn outcome(exit_code: i32) -> Outcome {
        Outcome {
            exit_code,
            ..Outcome::default()
        }
    }

    #[test]
    fn a_check_is_a_command_of_either_form() {
        let command = |config: &Config| Check::of(config).map(|check| check.command);
        assert_eq!(command(&config(&["CMD", "a", "b c"])).unwrap(), ["a", "b c"]);
        assert_eq!(
            command(&config(&["CMD-SHELL", "a | b"])).unwrap(),
            ["/bin/sh", "-c", "a | b"]
        );
        let mut own_shell = config(&["CMD-SHELL", "a"]);
        own_shell.shell = Some(vec!["/bin/ash".into(), "-ec".into()]);
        assert_eq!(command(&own_shell).unwrap(), ["/bin/ash", "-ec", "a"]);
        for none in [&["NONE"][..], &[]] {
            assert_eq!(Check::of(&config(none)), None);
        }
        assert_eq!(Check::of(&Config::default()), None);
    }

    #[test]
    fn times_that_are_not_named_are_dockers() {
        let mut config = config(&["CMD", "a"]);
        let check = Check::of(&config).unwrap();
        let seconds = |time: Duration| time.as_secs();
        assert_eq!((seconds(check.timeout), check.retries), (30, 3));
        assert_eq!(seconds(check.wait(Duration::ZERO, Status::Starting)), 30);
        config.healthcheck.as_mut().unwrap().start_period = 10 * SECOND;
        let check = Check::of(&config).unwrap();
        assert_eq!(seconds(check.wait(Duration::from_secs(9), Status::Starting)), 5);
        assert_eq!(seconds(check.wait(Duration::from_secs(9), Status::Healthy)), 30);
        assert_eq!(seconds(check.wait(Duration::from_secs(10), Status::Starting)), 30);
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let check = Check::of(&config(&["CMD", "a"])).unwrap();
        let mut health = Health::default();
        let mut take = |code, counts| {
            let change = health.take(outcome(code), counts, &check);
            (change, health.failing_streak)
        };
        assert_eq!(take(1, false), (None, 0));
        assert_eq!(take(1, true), (None, 1));
        assert_eq!(take(-1, true), (None, 2));
        assert_eq!(take(2, true), (Some(Status::Unhealthy), 3));
        assert_eq!(take(1, true), (None, 4));
        assert_eq!(take(0, true), (Some(Status::Healthy), 0));
        // Once it has been healthy, the start period is over.
        assert_eq!(take(1, false), (None, 1));
        let codes: Vec<i32> = health.log.iter().map(|outcome| outcome.exit_code).collect();
        assert_eq!(codes, [-1, 2, 1, 0, 1]);
    }

    #[test]
    fn the_image_says_of_its_check_what_the_client_does_not() {
        let image = HealthConfig {
            test: vec!["CMD".into(), "image".into()],
            interval: 7,
            retries: 5,
            ..HealthConfig::default()
        };
        let mut own = None;
        inherit(&mut own, Some(image.clone()));
        assert_eq!(own.as_ref(), Some(&image));
        let mut own = Some(HealthConfig {
            interval: 9,
            ..HealthConfig::default()
        });
        inherit(&mut own, Some(image.clone()));
        assert_eq!(
            own,
            Some(HealthConfig {
                interval: 9,
                ..image.clone()
            })
        );
        let mut own = config(&["NONE"]).healthcheck;
        inherit(&mut own, Some(image));
        assert_eq!(own.unwrap().test, ["NONE"]);
    }

    #[test]
    fn waits_of_restarts_double_until_it_is_well() {
        let mut healing = Healing::default();
        let waits: Vec<u64> = (0..9).map(|_| healing.wait().as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        healing.is_well();
        assert_eq!(healing.wait(), Duration::ZERO);
    }

    #[test]
    fn what_no_check_can_be_is_refused() {
        let words = |test: &[&str]| check(config(test).healthcheck.as_ref()).unwrap_err().to_string();
        assert_eq!(words(&["CMD"]), "Test in Healthcheck has no command");
        assert_eq!(words(&["CMD-SHELL", ""]), "Test in Healthcheck has no command");
        assert!(words(&["HTTP", "x"]).contains("'HTTP'"));
        assert!(check(config(&[]).healthcheck.as_ref()).is_ok());
        let mut labelled = Config::default();
        labelled.labels.insert(ON_FAILURE_LABEL.to_owned(), "reboot".to_owned());
        assert!(check_label(&labelled).unwrap_err().to_string().contains("reboot"));
    }
}
