//! Whether a process of the container was killed for want of memory.
//!
//! The control group counts it. That of a scope is removed by systemd as soon as it is empty, which may be before anybody
//! has read the count: then the kernel's log tells (kmsg, Documentation/ABI/testing/dev-kmsg), in which every such kill is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::monitor::state::{FIRST, Monitor};

/// The kernel's log, from when the container was started.
#[derive(Debug)]
pub(crate) struct KernelLog(File);

/// Longer than any record (`PRINTKRB_RECORD_MAX`).
const RECORD: usize = 8192;

impl KernelLog {
    /// A kernel may have no log for us, and then the count has to be read in time.
    pub(crate) fn open() -> Option<Self> {
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let mut log = File::options()
            .read(true)
            .custom_flags(nonblocking)
            .open("/dev/kmsg")
            .ok()?;
        log.seek(SeekFrom::End(0)).ok()?;
        Some(Self(log))
    }

    /// Whether a record says so of this scope, or of the process with this pid.
    fn tells_of_kill(&mut self, unit: &str, pid: i32) -> io::Result<bool> {
        let mut record = vec![0; RECORD];
        loop {
            match self.0.read(&mut record) {
                Ok(length) => {
                    if is_kill(&String::from_utf8_lossy(&record[..length]), unit, pid) {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // Records were overwritten before they were read.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::PIPE) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// `oom-kill:constraint=...,task_memcg=/system.slice/x.scope,task=sh,pid=12,uid=0`, of which there are few where there are many
/// kills, and `Memory cgroup out of memory: Killed process 12 (sh) ...`, which is always there (mm/oom_kill.c).
fn is_kill(record: &str, unit: &str, pid: i32) -> bool {
    let inside = record
        .split_once("task_memcg=")
        .is_some_and(|(_, group)| [',', '/'].iter().any(|end| group.contains(&format!("/{unit}{end}"))));
    inside && record.contains("oom-kill:")
        || record.contains(&format!("Memory cgroup out of memory: Killed process {pid} "))
        || record.contains(&format!("Out of memory: Killed process {pid} "))
}

impl Monitor {
    /// At the end of the first process, before anything else takes time.
    pub(crate) fn was_killed_for_memory(&mut self) -> bool {
        let Some(cgroup) = &self.cgroup else { return false };
        if let Some(known) = cgroup.counted_kill() {
            return known;
        }
        let first = self.processes.get(&FIRST).map_or(0, |process| process.pid);
        match (&mut self.kernel_log, cgroup.unit()) {
            // What cannot be read tells of no kill.
            (Some(log), Some(unit)) => log.tells_of_kill(unit, first).unwrap_or(false),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_tell_whose_process_was_killed() {
        let summary = "6,931,77,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=docker-ab.scope,mems_allowed=0,\
             oom_memcg=/system.slice/docker-ab.scope,task_memcg=/system.slice/docker-ab.scope,task=sh,pid=12,uid=0\n";
        assert!(is_kill(summary, "docker-ab.scope", 7));
        assert!(!is_kill(summary, "docker-b.scope", 7), "another scope");
        assert!(is_kill(
            &summary.replace("scope,task=", "scope/below,task="),
            "docker-ab.scope",
            7
        ));
        let line =
            "3,932,78,-;Memory cgroup out of memory: Killed process 12 (sh) total-vm:26844kB, anon-rss:16040kB\n";
        assert!(is_kill(line, "docker-ab.scope", 12));
        assert!(!is_kill(line, "docker-ab.scope", 1), "another process");
    }
}
