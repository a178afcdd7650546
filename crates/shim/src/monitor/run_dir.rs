//! The run's directory, by descriptor: whoever removed it has given this run up, and a new one under its name is another's.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use conex_protocol::message::MonitorRecord;
use conex_sys::seqpacket::Listener;

use crate::monitor::finish::publish;

/// `<exec-root>/containers/<id>`. The directory itself is removed by the daemon.
pub(crate) struct RunDir(OwnedFd);

impl RunDir {
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()).into()
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Binds `control.sock`; fails where the directory was removed, and where another monitor is in it.
    pub(crate) fn listen(&self) -> io::Result<Listener> {
        Listener::bind(&self.path("control.sock"))
    }

    /// Publishes `monitor.json`.
    pub(crate) fn record(&self, record: &MonitorRecord) -> io::Result<()> {
        publish(&self.path("monitor.json"), &serde_json::to_vec(record)?)
    }

    /// Removes what a monitor has in it.
    pub(crate) fn clear(&self) {
        for name in ["control.sock", "monitor.json"] {
            // Absent where the run did not get that far, or the daemon was quicker.
            let _ = fs::remove_file(self.path(name));
        }
    }
}
