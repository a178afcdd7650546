//! Where a container's files are, and what the engine itself writes there.
//!
//! ```text
//!   <data-root>/containers/<id>/          made at the first start (a created container is a record only)
//!       upper/ work/                      the writable layer (overlayfs)
//!       hostname hosts resolv.conf        bound into the container
//!       <id>-json.log[.n[.gz]]            the log, written by the monitor
//!       local-logs/container.log[.n[.gz]] as above, of the driver `local` and of those that send it elsewhere
//!       local-logs/cursor.json            Position: what has arrived elsewhere
//!       state.json                        StateRecord: what the latest start began with
//!       exit.json                         ExitRecord: how the latest run ended, written by the monitor
//!       held                              its processes are frozen for the time of a commit
//!       health.json                       Health: what its checks have shown
//!       stopped                           a client ended it, and it is to stay so
//!   <exec-root>/containers/<id>/          of a run
//!       control.sock monitor.json         the monitor's
//! ```

use std::path::{Path, PathBuf};

use conex_container::state::Exit;
use serde::{Deserialize, Serialize};

use crate::cgroups::Place;
use crate::networks::Endpoint;

/// The time of what never happened, as the Engine API writes it.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// What the engine notes about the latest start.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    /// How the run before ended.
    pub(crate) before: Option<Exit>,
    /// The run that was begun.
    pub(crate) run: Option<RunRecord>,
    /// Why the latest start failed.
    pub(crate) failed: Option<Exit>,
    /// How many times its policy had it started again, this start included.
    #[serde(default)]
    pub(crate) restarts: u32,
}

/// A run that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// The boot of the host that it belongs to.
    pub(crate) boot_id: String,
    /// When it was begun, RFC 3339 with nanoseconds, UTC; nothing in what an older daemon noted.
    #[serde(default)]
    pub(crate) begun_at: Option<String>,
    /// Where its cgroup is; nothing in what an older daemon noted.
    #[serde(default)]
    pub(crate) cgroup: Option<Place>,
    /// Its connections to networks.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// Names every file of a container.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    data: PathBuf,
    run: PathBuf,
}

impl Files {
    /// Below the two roots.
    pub(crate) fn new(data_root: &Path, exec_root: &Path) -> Self {
        Self {
            data: data_root.join("containers"),
            run: exec_root.join("containers"),
        }
    }

    /// Directory of all containers' persistent files.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Directory of all containers' run-time files.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// A container's persistent files.
    pub(crate) fn dir(&self, id: &str) -> PathBuf {
        self.data.join(id)
    }

    /// The newest file of a log that log shippers read, too.
    pub(crate) fn json_log(&self, id: &str) -> PathBuf {
        self.data.join(id).join(format!("{id}-json.log"))
    }

    /// The newest file of a log that only the engine reads.
    pub(crate) fn local_log(&self, id: &str) -> PathBuf {
        self.data.join(id).join("local-logs/container.log")
    }

    /// `StateRecord`.
    pub(crate) fn state_file(&self, id: &str) -> PathBuf {
        self.data.join(id).join("state.json")
    }

    /// `ExitRecord`.
    pub(crate) fn exit_file(&self, id: &str) -> PathBuf {
        self.data.join(id).join("exit.json")
    }

    /// Present while a commit has its processes frozen.
    pub(crate) fn hold_mark(&self, id: &str) -> PathBuf {
        self.data.join(id).join("held")
    }

    /// Present from the stop that a client wants to the next start.
    pub(crate) fn stop_mark(&self, id: &str) -> PathBuf {
        self.data.join(id).join("stopped")
    }

    /// `Health`.
    pub(crate) fn health_file(&self, id: &str) -> PathBuf {
        self.data.join(id).join("health.json")
    }

    /// Run-time files of a run.
    pub(crate) fn run_dir(&self, id: &str) -> PathBuf {
        self.run.join(id)
    }

    /// The monitor's socket.
    pub(crate) fn control_socket(&self, id: &str) -> PathBuf {
        self.run.join(id).join("control.sock")
    }

    /// `MonitorRecord`.
    pub(crate) fn monitor_file(&self, id: &str) -> PathBuf {
        self.run.join(id).join("monitor.json")
    }
}
