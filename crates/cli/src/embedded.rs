//! The daemon that is started where none runs.
//!
//! Only for the default socket: who names another one means a daemon that is there. Two commands at once start one
//! daemon: the lock on a file beside the socket is held while it is started, and whoever waited for it looks again.

use std::env;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use conex_client::{Endpoint, EndpointError};
use thiserror::Error;

/// Where `conexd` listens by default.
const DEFAULT_SOCKET: &str = "/run/conex.sock";
/// How long a daemon may take until it answers; it restores what ran first.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Where the daemon is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// At the default socket: it is started where it does not run.
    Default(Endpoint),
    /// Where somebody said.
    Named(Endpoint),
}

impl Expected {
    /// Where, whoever said so.
    pub(crate) fn into_inner(self) -> Endpoint {
        match self {
            Self::Default(endpoint) | Self::Named(endpoint) => endpoint,
        }
    }
}

/// Why no daemon could be started.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error("start the daemon: lock {path}: {source}", path = path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("start the daemon: conexd was found neither beside conex nor in PATH")]
    Missing,
    #[error("start the daemon: run {path}: {source}", path = path.display())]
    Spawn { path: PathBuf, source: io::Error },
    #[error("start the daemon: {words}")]
    Ended { words: String },
    #[error("start the daemon: no answer at {DEFAULT_SOCKET} within {} seconds", READY_WITHIN.as_secs())]
    Late,
}

/// Decides where the daemon is: the flag, `CONEX_HOST`, `DOCKER_HOST`, the default.
pub(crate) fn endpoint(
    flag: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Expected, EndpointError> {
    let named = flag
        .map(str::to_owned)
        .or_else(|| variable("CONEX_HOST"))
        .or_else(|| variable("DOCKER_HOST"))
        .filter(|host| !host.is_empty());
    let default = Endpoint::Unix(PathBuf::from(DEFAULT_SOCKET));
    match named {
        None => Ok(Expected::Default(default)),
        Some(host) => match Endpoint::parse(&host)? {
            endpoint if endpoint == default => Ok(Expected::Default(default)),
            endpoint => Ok(Expected::Named(endpoint)),
        },
    }
}

/// Starts a daemon where one is expected at the default socket and nobody answers.
pub(crate) fn ensure_daemon(expected: &Expected, program: &OsStr) -> Result<(), StartError> {
    let Expected::Default(Endpoint::Unix(socket)) = expected else {
        return Ok(());
    };
    if !nobody_answers(socket) {
        return Ok(());
    }
    let lock_path = PathBuf::from(format!("{}.lock", socket.display()));
    let _lock = lock(&lock_path).map_err(|source| StartError::Lock {
        path: lock_path,
        source,
    })?;
    // Whoever held the lock before may have started it.
    if nobody_answers(socket) {
        start(socket, &find(program).ok_or(StartError::Missing)?)?;
    }
    Ok(())
}

/// Another error (no permission, say) is a daemon's that is there; the request will tell it.
fn nobody_answers(socket: &Path) -> bool {
    let connected = UnixStream::connect(socket);
    connected.is_err_and(|error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
}

/// Locks as flock(2) does: the lock goes with the process, however it ends.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.lock()?;
    Ok(file)
}

fn find(program: &OsStr) -> Option<PathBuf> {
    let own = env::current_exe().unwrap_or_else(|_| PathBuf::from(program));
    let beside = own.parent().map(|directory| directory.join("conexd"));
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|directory| directory.join("conexd"));
    beside.into_iter().chain(in_path).find(|candidate| candidate.is_file())
}

fn start(socket: &Path, conexd: &Path) -> Result<(), StartError> {
    let spawned = Command::new(conexd)
        .arg("--background")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Only for what it says when it ends at once; later it logs to a file.
        .stderr(Stdio::piped())
        .spawn();
    let mut daemon = spawned.map_err(|source| StartError::Spawn {
        path: conexd.to_path_buf(),
        source,
    })?;
    let deadline = Instant::now() + READY_WITHIN;
    while nobody_answers(socket) {
        if let Ok(Some(status)) = daemon.try_wait() {
            let words = last_words(&mut daemon).unwrap_or_else(|| format!("conexd ended: {status}"));
            return Err(StartError::Ended { words });
        }
        if Instant::now() > deadline {
            return Err(StartError::Late);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn last_words(daemon: &mut Child) -> Option<String> {
    let mut words = String::new();
    daemon.stderr.take()?.read_to_string(&mut words).ok()?;
    let words = words.trim();
    (!words.is_empty()).then(|| words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_started_only_for_the_default_socket() {
        let default = Endpoint::Unix("/run/conex.sock".into());
        assert_eq!(endpoint(None, |_| None), Ok(Expected::Default(default.clone())));
        let named = endpoint(Some("unix:///run/conex.sock"), |_| None);
        assert_eq!(named, Ok(Expected::Default(default)));
        let other = Endpoint::Unix("/x".into());
        let variable = |name: &str| (name == "DOCKER_HOST").then(|| "unix:///x".to_owned());
        assert_eq!(endpoint(None, variable), Ok(Expected::Named(other)));
        let both = |name: &str| Some(if name == "CONEX_HOST" { "tcp://a:1" } else { "unix:///x" }.to_owned());
        assert_eq!(endpoint(None, both), Ok(Expected::Named(Endpoint::Tcp("a:1".into()))));
        assert!(endpoint(Some("nonsense"), |_| None).is_err());
    }

    #[test]
    fn a_stale_socket_answers_as_little_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        assert!(nobody_answers(&path));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(!nobody_answers(&path));
        drop(listener);
        assert!(nobody_answers(&path));
    }
}
