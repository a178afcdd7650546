//! Control groups that systemd makes: a transient scope for each container (org.freedesktop.systemd1(5), systemd.scope(5)).
//!
//! ```text
//!   we                                         systemd (PID 1)
//!   StartTransientUnit(name, properties)  ->   queues a job
//!                                         <-   the job's path
//!                                              makes the directories, limits them, moves the pid in
//!                                         <-   JobRemoved(job, "done")
//!   files that systemd does not know, and those of its limits once more: it rounds, and knows no order between them
//!   SetUnitProperties(name, limits)       ->   writes them (`update`)
//!   StopUnit(name), when all have ended   ->   removes the directories, and forgets the scope (CollectMode=)
//!                                         <-   JobRemoved(job, "done")
//! ```
//!
//! What systemd is told as a property it writes again whenever it sees fit, as after `systemctl daemon-reload`; what it is not
//! told of, in a directory that it has delegated, it leaves as it is. On version 1 that is not so of devices: a group for
//! which it knows no rule it opens to all of them. There it is told the rules. On version 2 it guards a group by a program of
//! its own where it is told rules, beside which ours is asked, and only what both allow is allowed: whoever adds a device to
//! a running container (the hooks of GPUs do) would have to change both, and would lose the one of systemd with the next
//! reload. There it is told none, and has no program that could come back.
//!
//! D-Bus is spoken by `bus` and `message` instead of a library. A monitor and the runtime clone processes, which only a
//! program of one thread may, and those that are kept up start threads (zbus) or weigh more than the few calls
//! (`docs/design/0011-systemd.md`).

mod bus;
mod devices;
mod message;
mod properties;

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use conex_spec::plan::{Resources, Scope};

use self::bus::Bus;
use self::message::{Arguments, Value};
use self::properties::Property;
use crate::cgroup::CgroupError;
use crate::layout::Version;

/// Why systemd was not heard, or what it refused.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Its socket.
    #[error("talk to systemd: {0}")]
    Socket(#[from] io::Error),
    /// `DBUS_SYSTEM_BUS_ADDRESS` names no socket.
    #[error("DBUS_SYSTEM_BUS_ADDRESS names no UNIX socket: {text}")]
    NoAddress {
        /// What it is.
        text: String,
    },
    /// The other side wants another kind of authentication.
    #[error("systemd does not let us in: {said}")]
    NotLetIn {
        /// Its answer.
        said: String,
    },
    /// A call was refused.
    #[error("{message}")]
    Refused {
        /// The error's name.
        name: String,
        /// The words about it.
        message: String,
    },
    /// A job that did not end well.
    #[error("got `{result}`")]
    Job {
        /// Its result.
        result: String,
    },
    /// Nothing came for thirty seconds.
    #[error("systemd does not answer in time")]
    Silent,
    /// A message that is none.
    #[error("systemd sends what cannot be read")]
    Unreadable,
}

/// How often a name is asked for again that a unit without processes still has, and how long is waited in between: that of a
/// container which has just ended is let go by systemd a little later.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// A unit that is being taken away has its name until then.
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// It has been forgotten.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// Whether systemd runs this host (sd_booted(3)).
#[must_use]
pub fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Makes the scope with a process in it, and waits until it is there. `is_used` tells whether there are processes in a unit
/// of this name already.
pub(crate) fn start(
    scope: &Scope,
    (version, resources): (Version, &Resources),
    pid: i32,
    is_used: impl Fn() -> bool,
) -> Result<(), CgroupError> {
    let failed = failed(&scope.name, "creating");
    let mut bus = connect()?;
    let mut wanted = properties::of_scope(version, scope, pid);
    wanted.extend(properties::limits(version, resources));
    wanted.extend(properties::devices(version, &resources.devices));
    understood(&mut bus, &mut wanted).map_err(&failed)?;
    let arguments = || {
        let named = Arguments::default().text(&scope.name).text("replace");
        named.properties(pairs(&wanted)).no_units()
    };
    for attempt in 0.. {
        match bus.call("StartTransientUnit", &arguments()) {
            Ok(job) => {
                let job = job.text().map_err(&failed)?;
                let result = bus.end_of(&job).map_err(&failed)?;
                if result == "done" {
                    return Ok(());
                }
                forget(&mut bus, scope);
                return Err(failed(BusError::Job { result }));
            }
            Err(BusError::Refused { name, .. }) if name == UNIT_EXISTS && attempt < ATTEMPTS && !is_used() => {
                end(&mut bus, &scope.name).map_err(&failed)?;
                forget(&mut bus, scope);
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Tells systemd other limits of a scope that there is.
pub(crate) fn update(scope: &Scope, version: Version, resources: &Resources) -> Result<(), CgroupError> {
    let failed = failed(&scope.name, "updating");
    let mut wanted = properties::limits(version, resources);
    wanted.extend(properties::devices(version, &resources.devices));
    if wanted.is_empty() {
        return Ok(());
    }
    let mut bus = connect()?;
    understood(&mut bus, &mut wanted).map_err(&failed)?;
    // For as long as it lives, which is no longer than until the next boot.
    let arguments = Arguments::default().text(&scope.name).flag(true);
    let set = bus.call("SetUnitProperties", &arguments.properties(pairs(&wanted)));
    set.map(|_| ()).map_err(failed)
}

/// Takes a scope away, and waits until it is gone. One that is gone is fine.
pub(crate) fn stop(unit: &str) -> Result<(), CgroupError> {
    let mut bus = connect()?;
    end(&mut bus, unit).map_err(failed(unit, "stopping"))
}

fn end(bus: &mut Bus, unit: &str) -> Result<(), BusError> {
    match bus.call("StopUnit", &Arguments::default().text(unit).text("replace")) {
        // A scope that could not be stopped is one that has failed; its directories tell what is wrong.
        Ok(job) => bus.end_of(&job.text()?).map(|_| ()),
        Err(BusError::Refused { name, .. }) if name == NO_SUCH_UNIT => Ok(()),
        Err(error) => Err(error),
    }
}

fn connect() -> Result<Bus, CgroupError> {
    if !is_running() {
        return Err(CgroupError::NoSystemd);
    }
    Bus::connect().map_err(CgroupError::Bus)
}

fn failed(unit: &str, operation: &'static str) -> impl Fn(BusError) -> CgroupError + use<> {
    let unit = unit.to_owned();
    move |source| CgroupError::Unit {
        operation,
        unit: unit.clone(),
        source,
    }
}

/// A unit that has failed keeps its name until somebody has taken notice.
fn forget(bus: &mut Bus, scope: &Scope) {
    // It is refused where there is no such unit any more.
    let _ = bus.call("ResetFailedUnit", &Arguments::default().text(&scope.name));
}

/// Leaves out what this systemd is too old for: one property that it does not know, and it refuses all.
fn understood(bus: &mut Bus, wanted: &mut Vec<Property>) -> Result<(), BusError> {
    let newest = wanted.iter().map(|property| property.since).max().unwrap_or(0);
    if newest > properties::OLDEST {
        let version = version(&bus.property("Version")?);
        wanted.retain(|property| property.since <= version);
    }
    Ok(())
}

/// The number in `252.39-1~deb12u1` or `v252`; all is taken to be understood where there is none.
fn version(text: &str) -> u32 {
    let digits = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let end = digits.find(|letter: char| !letter.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().unwrap_or(u32::MAX)
}

fn pairs(properties: &[Property]) -> impl Iterator<Item = (&str, &Value)> {
    properties.iter().map(|property| (property.name, &property.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_number_in_front() {
        assert_eq!(version("252.39-1~deb12u1"), 252);
        assert_eq!(version("v239"), 239);
        assert_eq!(version("257~rc1"), 257);
        assert_eq!(version(""), u32::MAX);
    }
}
