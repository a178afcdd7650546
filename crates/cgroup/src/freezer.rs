//! Freezing: every process of a control group stops where it is, and goes on later (cgroup-v1/freezer-subsystem.rst;
//! cgroup-v2.rst, `cgroup.freeze`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::layout::Version;

/// How long the kernel may take: a process in an uninterruptible system call stops at its end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Looks after which a freeze of version 1 is asked for anew: a process that forks at the wrong moment keeps the group in
/// `FREEZING` until then.
const ASK_AGAIN: u32 = 50;

impl Cgroup {
    /// Freezes every process; they go on where not all of them stop in time.
    pub fn freeze(&self) -> io::Result<()> {
        let frozen = match self.version() {
            Version::V1 => self.freezer().and_then(|directory| freeze_v1(&directory)),
            Version::V2 => self.freezer().and_then(|directory| {
                fs::write(directory.join("cgroup.freeze"), "1")?;
                wait_for(|_| is_frozen_v2(&directory))
            }),
        };
        if frozen.is_err() {
            // The reason of the failure is what is told.
            let _ = self.thaw();
        }
        frozen
    }

    /// Lets every process go on. A group without a freezer, or one that is gone, has none that is frozen.
    pub fn thaw(&self) -> io::Result<()> {
        let Ok(directory) = self.freezer() else { return Ok(()) };
        let (file, value) = match self.version() {
            Version::V1 => ("freezer.state", "THAWED"),
            Version::V2 => ("cgroup.freeze", "0"),
        };
        match fs::write(directory.join(file), value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            written => written,
        }
    }

    /// Whether its processes are frozen.
    pub fn is_frozen(&self) -> bool {
        let Ok(directory) = self.freezer() else { return false };
        match self.version() {
            Version::V1 => state_v1(&directory).is_ok_and(|state| state != "THAWED"),
            Version::V2 => is_frozen_v2(&directory).unwrap_or(false),
        }
    }

    fn freezer(&self) -> io::Result<PathBuf> {
        let file = match self.version() {
            Version::V1 => "freezer.state",
            Version::V2 => "cgroup.freeze",
        };
        let found = self
            .directories()
            .iter()
            .find(|directory| directory.join(file).exists());
        found.cloned().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "the freezer controller is not available on this host",
            )
        })
    }
}

fn freeze_v1(directory: &Path) -> io::Result<()> {
    let file = directory.join("freezer.state");
    wait_for(|look| {
        if look % ASK_AGAIN == 0 {
            fs::write(&file, "THAWED")?;
            fs::write(&file, "FROZEN")?;
        }
        Ok(state_v1(directory)? == "FROZEN")
    })
}

fn state_v1(directory: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(directory.join("freezer.state"))?.trim().to_owned())
}

fn is_frozen_v2(directory: &Path) -> io::Result<bool> {
    let events = fs::read_to_string(directory.join("cgroup.events"))?;
    Ok(events.lines().any(|line| line == "frozen 1"))
}

fn wait_for(mut done: impl FnMut(u32) -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for look in 0.. {
        if done(look)? {
            return Ok(());
        }
        if Instant::now() > deadline {
            break;
        }
        thread::sleep(PAUSE);
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "its processes do not stop in time",
    ))
}
