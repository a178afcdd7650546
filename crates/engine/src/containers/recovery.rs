//! What became of a run that the daemon did not see end: a lost monitor, or a daemon that was away.
//!
//! ```text
//!   found                                             state
//!   -----------------------------------------------   ---------------------------------------------
//!   control.sock answers                              running (the greeting has pid and execs)
//!   exit.json                                         exited as recorded
//!   a run in state.json, of an earlier boot           exited 255, unknown: the host went down
//!   a run in state.json, monitor.json                 exited 255, unknown: the monitor died; its cgroup is killed
//!   a run in state.json, no monitor.json              never started: as before the run
//!   a failed start in state.json                      exited with that failure
//!   none of it                                        created
//! ```
//!
//! `exit.json` is removed after a run is noted in `state.json` and before its monitor is forked: one that exists is that
//! of the latest run, or of the one before where the latest never got that far.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use conex_container::state::{Exit, State};
use conex_protocol::daemon::{Traces, Verdict, judge};
use conex_protocol::message::{ExitRecord, MonitorRecord};
use conex_sys::seqpacket::Socket;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::containers::Container;
use crate::containers::files::{self, RunRecord, StateRecord};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::Endpoint;

/// Exit code of a run whose end nobody saw.
const UNKNOWN: i32 = 255;

/// How often a directory with files but without a socket is looked at again: a monitor is binding or ending.
const CONNECT_ATTEMPTS: u32 = 50;

/// The exit that a monitor recorded.
pub(crate) fn exit(record: ExitRecord) -> Exit {
    Exit {
        code: record.code,
        oom_killed: record.oom_killed,
        started_at: record.started_at,
        finished_at: record.finished_at,
        error: None,
    }
}

/// What was found of a container's last run.
pub(crate) enum Found {
    /// Its monitor answers.
    Monitor {
        /// Its socket.
        socket: Socket,
        /// The run.
        run: Box<RunRecord>,
        /// How many times its policy had it started again.
        restarts: u32,
    },
    /// It does not run.
    Still(Still),
}

/// A container that does not run.
#[derive(Debug)]
pub(crate) struct Still {
    /// Where it is in its life.
    pub(crate) state: State,
    /// How many times its policy had it started again.
    pub(crate) restarts: u32,
    /// Whether its last run was of this boot of the host.
    pub(crate) of_this_boot: bool,
}

/// Looks for a container's monitor, and settles what a dead one left.
pub(crate) fn find(engine: &Inner, container: &Container) -> io::Result<Found> {
    let record: StateRecord = load(&engine.files.state_file(&container.id))?.unwrap_or_default();
    if let Some(run) = &record.run
        && let Some(socket) = connect(engine, &container.id)
    {
        return Ok(Found::Monitor {
            socket,
            run: Box::new(run.clone()),
            restarts: record.restarts,
        });
    }
    settle(engine, container).map(Found::Still)
}

/// Settles a run that has no monitor any more by what it left, and removes that.
pub(crate) fn settle(engine: &Inner, container: &Container) -> io::Result<Still> {
    let id = &container.id;
    let record: StateRecord = load(&engine.files.state_file(id))?.unwrap_or_default();
    let monitor: Option<MonitorRecord> = load(&engine.files.monitor_file(id))?;
    let of_this_boot = record
        .run
        .as_ref()
        .is_some_and(|run| run.boot_id == engine.host.boot_id);
    let verdict = judge(Traces {
        begun: record.run.is_some(),
        this_boot: of_this_boot,
        exit: load(&engine.files.exit_file(id))?,
        monitor: monitor.map(|monitor| monitor.started_at),
    });
    let state = match verdict {
        Verdict::Ended(record) => State::Exited(exit(record)),
        Verdict::Unknown(started_at) => State::Exited(unknown(engine, container, started_at)?),
        Verdict::AsBefore => record.failed.or(record.before).map_or(State::Created, State::Exited),
    };
    clean(engine, container);
    Ok(Still {
        state,
        restarts: record.restarts,
        of_this_boot,
    })
}

/// Notes that a client ended a container, for the daemon that comes next.
pub(crate) fn mark_stopped(engine: &Inner, container: &Container) -> io::Result<()> {
    match fs::write(engine.files.stop_mark(&container.id), "") {
        // What was never started has no directory, and nothing to end.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes that note back, at a client's start.
pub(crate) fn unmark_stopped(engine: &Inner, container: &Container) -> Result<()> {
    let path = engine.files.stop_mark(&container.id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::new(
            ErrorKind::System,
            format!("remove {}: {error}", path.display()),
        )),
        _ => Ok(()),
    }
}

/// Whether there is such a note.
pub(crate) fn is_stopped(engine: &Inner, container: &Container) -> bool {
    engine.files.stop_mark(&container.id).exists()
}

/// Connects to a monitor, or makes sure that there is none: one that was forked but has not bound its socket yet
/// finds its directory gone, and ends without having started anything.
fn connect(engine: &Inner, id: &str) -> Option<Socket> {
    for _ in 0..CONNECT_ATTEMPTS {
        match Socket::connect(&engine.files.control_socket(id)) {
            Ok(socket) => return Some(socket),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
        match fs::remove_dir(engine.files.run_dir(id)) {
            Ok(()) => return None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(2)),
        }
    }
    None
}

/// Records an exit as unknown, so that the next daemon finds the same. A run whose start nobody noted started when it was
/// begun: it is one, and its policy decides what follows.
fn unknown(engine: &Inner, container: &Container, started_at: Option<String>) -> io::Result<Exit> {
    let state: StateRecord = load(&engine.files.state_file(&container.id))?.unwrap_or_default();
    let begun_at = state.run.and_then(|run| run.begun_at);
    let finished_at = jiff::Timestamp::now().to_string();
    let record = ExitRecord {
        code: UNKNOWN,
        oom_killed: false,
        started_at: started_at.or(begun_at).unwrap_or_else(|| finished_at.clone()),
        finished_at,
    };
    publish(&engine.files.exit_file(&container.id), &record)?;
    Ok(exit(record))
}

/// Whether an exit may be one that nobody saw.
pub(crate) fn is_unknown(exit: &Exit) -> bool {
    exit.code == UNKNOWN
}

/// The exit of a run whose monitor was lost while the daemon watched.
pub(crate) fn exit_after_loss(engine: &Inner, container: &Container) -> Exit {
    let recorded = load::<ExitRecord>(&engine.files.exit_file(&container.id))
        .ok()
        .flatten();
    let started_at = load::<MonitorRecord>(&engine.files.monitor_file(&container.id))
        .ok()
        .flatten()
        .map(|monitor| monitor.started_at);
    clean(engine, container);
    if let Some(recorded) = recorded {
        return exit(recorded);
    }
    tracing::error!(container = %container.id, "the monitor was lost; its container was killed and its exit is unknown");
    unknown(engine, container, started_at).unwrap_or_else(|error| {
        tracing::error!(container = %container.id, %error, "record an unknown exit");
        Exit {
            code: UNKNOWN,
            oom_killed: false,
            started_at: files::NEVER.into(),
            finished_at: jiff::Timestamp::now().to_string(),
            error: None,
        }
    })
}

/// Kills and removes what a dead monitor left: its cgroup and its run-time files.
pub(crate) fn clean(engine: &Inner, container: &Container) {
    engine.kill_cgroup_of(&container.id);
    let run_dir = engine.files.run_dir(&container.id);
    if let Err(error) = fs::remove_dir_all(&run_dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(container = %container.id, %error, "remove {}", run_dir.display());
    }
}

/// After a monitor's end: it has removed everything but the directory, or died before it could.
pub(crate) fn bury(engine: &Inner, container: &Container) {
    match fs::remove_dir(engine.files.run_dir(&container.id)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => clean(engine, container),
    }
}

/// Reads a file of ours; absent is `None`.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("read {}: {error}", path.display()),
        )),
    }
}

/// Writes a file of ours, visible only when it is whole.
pub(crate) fn publish<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path))
}

/// Notes the connections of the present run.
pub(crate) fn note_endpoints(engine: &Inner, container: &Container, endpoints: &[Endpoint]) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(ErrorKind::System, format!("note the connections: {error}"));
    let path = engine.files.state_file(&container.id);
    let mut record: StateRecord = load(&path).map_err(failed)?.unwrap_or_default();
    if let Some(run) = &mut record.run {
        run.endpoints = endpoints.to_vec();
    }
    publish(&path, &record).map_err(failed)
}
