//! What a control group uses, as the kernel counts it (cgroup-v1/cpuacct.rst, memory.rst, pids.rst; cgroup-v2.rst).

use std::collections::BTreeMap;
use std::fs;
use std::str::FromStr;

use crate::cgroup::Cgroup;
use crate::layout::Version;

/// What a control group uses. What the kernel does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// Processes and threads that there are.
    pub pids: Option<u64>,
    /// How many there may be; `None` for no limit.
    pub pids_limit: Option<u64>,
    /// Block I/O by device, version 2 only.
    pub io: Vec<IoUsage>,
}

/// CPU time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// All.
    pub total: u64,
    /// By CPU, version 1 only.
    pub by_cpu: Vec<u64>,
    /// Of this in the kernel.
    pub system_by_cpu: Vec<u64>,
    /// Of this in programs.
    pub user_by_cpu: Vec<u64>,
    /// In the kernel.
    pub system: u64,
    /// In programs.
    pub user: u64,
    /// Periods that had a quota.
    pub periods: u64,
    /// Those in which it was used up.
    pub throttled_periods: u64,
    /// Time lost by it.
    pub throttled: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Memory, caches included.
    pub count: MemoryCount,
    /// Memory and swap together on version 1, swap alone on version 2.
    pub swap: MemoryCount,
    /// Lines of `memory.stat`.
    pub stat: BTreeMap<String, u64>,
}

/// What is counted against one limit of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryCount {
    /// Used.
    pub usage: Option<u64>,
    /// The most that was used; of memory on version 1 only.
    pub max_usage: Option<u64>,
    /// How often the limit was met, version 1 only.
    pub failures: Option<u64>,
    /// The limit; `None` for none.
    pub limit: Option<u64>,
}

/// Block I/O of one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoUsage {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

/// What version 1 counts user and system time in: `USER_HZ`, 100 on every architecture that is supported.
const TICK: u64 = 10_000_000;

impl Cgroup {
    /// What it uses now. A group that is gone uses nothing.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match self.version() {
            Version::V1 => self.usage_v1(),
            Version::V2 => self.usage_v2(),
        }
    }

    fn usage_v1(&self) -> Usage {
        let ticks = self.table("cpuacct.stat");
        let cpu = self.table("cpu.stat");
        Usage {
            cpu: CpuUsage {
                total: self.number("cpuacct.usage").unwrap_or(0),
                by_cpu: self.list("cpuacct.usage_percpu"),
                system_by_cpu: self.list("cpuacct.usage_percpu_sys"),
                user_by_cpu: self.list("cpuacct.usage_percpu_user"),
                system: of(&ticks, "system").saturating_mul(TICK),
                user: of(&ticks, "user").saturating_mul(TICK),
                periods: of(&cpu, "nr_periods"),
                throttled_periods: of(&cpu, "nr_throttled"),
                throttled: of(&cpu, "throttled_time"),
            },
            memory: MemoryUsage {
                count: self.count_v1("memory"),
                swap: self.count_v1("memory.memsw"),
                stat: self.table("memory.stat"),
            },
            pids: self.number("pids.current"),
            pids_limit: self.number("pids.max"),
            io: Vec::new(),
        }
    }

    fn usage_v2(&self) -> Usage {
        let cpu = self.table("cpu.stat");
        let nanoseconds = |key: &str| of(&cpu, key).saturating_mul(1000);
        Usage {
            cpu: CpuUsage {
                total: nanoseconds("usage_usec"),
                by_cpu: Vec::new(),
                system_by_cpu: Vec::new(),
                user_by_cpu: Vec::new(),
                system: nanoseconds("system_usec"),
                user: nanoseconds("user_usec"),
                periods: of(&cpu, "nr_periods"),
                throttled_periods: of(&cpu, "nr_throttled"),
                throttled: nanoseconds("throttled_usec"),
            },
            memory: MemoryUsage {
                count: MemoryCount {
                    usage: self.number("memory.current"),
                    limit: self.number("memory.max"),
                    ..MemoryCount::default()
                },
                swap: MemoryCount {
                    usage: self.number("memory.swap.current"),
                    max_usage: self.number("memory.swap.peak"),
                    limit: self.number("memory.swap.max"),
                    ..MemoryCount::default()
                },
                stat: self.table("memory.stat"),
            },
            pids: self.number("pids.current"),
            pids_limit: self.number("pids.max"),
            io: self.text("io.stat").lines().filter_map(io_usage).collect(),
        }
    }

    /// A file in whichever of the directories has it; empty where none has.
    fn text(&self, file: &str) -> String {
        let mut texts = self
            .directories()
            .iter()
            .map(|directory| fs::read_to_string(directory.join(file)));
        texts.find_map(Result::ok).unwrap_or_default()
    }

    fn count_v1(&self, prefix: &str) -> MemoryCount {
        MemoryCount {
            usage: self.number(&format!("{prefix}.usage_in_bytes")),
            max_usage: self.number(&format!("{prefix}.max_usage_in_bytes")),
            failures: self.number(&format!("{prefix}.failcnt")),
            limit: self.number(&format!("{prefix}.limit_in_bytes")),
        }
    }

    fn list(&self, file: &str) -> Vec<u64> {
        let text = self.text(file);
        text.split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect()
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.text(file).trim().parse().ok()
    }

    fn table(&self, file: &str) -> BTreeMap<String, u64> {
        let text = self.text(file);
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let lines = lines.filter_map(|(key, value)| Some((key.to_owned(), u64::from_str(value.trim()).ok()?)));
        lines.collect()
    }
}

fn of(table: &BTreeMap<String, u64>, key: &str) -> u64 {
    table.get(key).copied().unwrap_or(0)
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn io_usage(line: &str) -> Option<IoUsage> {
    let (device, figures) = line.split_once(' ')?;
    let (major, minor) = device.split_once(':')?;
    let figure = |name: &str| {
        let mut figures = figures.split(' ').filter_map(|figure| figure.split_once('='));
        let found = figures.find(|(key, _)| *key == name);
        found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    };
    Some(IoUsage {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        read: figure("rbytes"),
        written: figure("wbytes"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_devices_are_read() {
        let line = "8:16 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=0 dios=0";
        let usage = io_usage(line).unwrap();
        assert_eq!(
            (usage.major, usage.minor, usage.read, usage.written),
            (8, 16, 4096, 512)
        );
        assert_eq!(io_usage("nonsense"), None);
    }
}
