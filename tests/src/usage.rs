//! What the processes of a sandbox use: memory and descriptors, for tests that bound them.

use std::fs;
use std::path::Path;

use crate::Sandbox;
use crate::sandbox::MARK;

/// A process of a sandbox: the daemon, the template or a monitor.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Its command line.
    pub command: String,
    /// Its pid.
    pub pid: u32,
    /// Memory that it has now, KiB (`VmRSS` of proc_pid_status(5)).
    pub resident: u64,
    /// The most memory that it had, KiB (`VmHWM`).
    pub peak: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Sandbox {
    /// The daemon, templates and monitors: what inherited the daemon's environment. Containers are in their cgroups.
    pub fn usage(&self) -> Vec<Usage> {
        let mark = format!("{MARK}={}", self.dir().display());
        let is_marked = |directory: &Path| {
            fs::read(directory.join("environ")).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|entry| entry == mark.as_bytes())
            })
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let ours = processes.filter(|directory| is_marked(directory));
        ours.filter_map(|directory| Usage::of(&directory)).collect()
    }

    /// The daemon itself.
    pub fn daemon_usage(&self) -> Usage {
        let mut daemons = self
            .usage()
            .into_iter()
            .filter(|usage| usage.command.contains("--data-root"));
        daemons.next().expect("the daemon runs")
    }

    /// The monitors and the template they are forked from.
    pub fn shim_usage(&self) -> Vec<Usage> {
        let usage = self.usage().into_iter();
        usage.filter(|usage| usage.command.contains("conex-shim")).collect()
    }
}

impl Usage {
    /// `None` for a process that has ended meanwhile.
    fn of(directory: &Path) -> Option<Self> {
        let status = fs::read_to_string(directory.join("status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        let command = fs::read(directory.join("cmdline")).ok()?;
        Some(Self {
            command: String::from_utf8_lossy(&command).replace('\0', " "),
            pid: directory.file_name()?.to_str()?.parse().ok()?,
            resident: number("VmRSS:")?,
            peak: number("VmHWM:")?,
            descriptors: fs::read_dir(directory.join("fd")).ok()?.count(),
        })
    }
}
