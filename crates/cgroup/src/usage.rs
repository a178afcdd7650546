//! What a control group uses, as the kernel counts it (cgroup-v1/cpuacct.rst, memory.rst, pids.rst; cgroup-v2.rst).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::iter;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::cgroup::Cgroup;
use crate::layout::Version;

/// What a control group uses. What the kernel does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// CPU time.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// Processes and threads that there are.
    pub pids: Option<u64>,
    /// How many there may be; `None` for no limit.
    pub pids_limit: Option<u64>,
    /// Block I/O.
    pub io: IoUsage,
    /// Waits for CPUs, for memory and for I/O; version 2 only, where the kernel counts them.
    pub pressure: [Option<Pressure>; 3],
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

/// Block I/O, of which only devices that were used are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoUsage {
    /// Bytes.
    pub bytes: Vec<IoCount>,
    /// Operations.
    pub operations: Vec<IoCount>,
}

/// One figure of one block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoCount {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// What is counted, as version 1 calls it: `Read`, `Write`; on version 1 also `Sync`, `Async`, `Discard` and `Total`.
    pub operation: String,
    /// The figure.
    pub value: u64,
}

/// Time lost to waiting for a resource (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// By some of the processes.
    pub some: Stall,
    /// By all of them at once.
    pub full: Stall,
}

/// A part of the time, and all of it so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds.
    pub total: u64,
}

/// What version 1 counts user and system time in: `USER_HZ`, 100 on every architecture that is supported.
const TICK: u64 = 10_000_000;

impl Cgroup {
    /// What it uses now. A group that is gone uses nothing.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let files = Files {
            directories: self.directories(),
            last: Cell::new(0),
        };
        match self.version() {
            Version::V1 => files.usage_v1(),
            Version::V2 => files.usage_v2(),
        }
    }
}

/// The files of a group, which has a directory in each hierarchy.
struct Files<'a> {
    directories: &'a [PathBuf],
    /// The one that had the last: files of a controller are read one after the other.
    last: Cell<usize>,
}

impl Files<'_> {
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
            io: IoUsage {
                bytes: counts_v1(&self.text("blkio.throttle.io_service_bytes_recursive")),
                operations: counts_v1(&self.text("blkio.throttle.io_serviced_recursive")),
            },
            pressure: [None; 3],
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
            io: io_v2(&self.text("io.stat")),
            pressure: ["cpu.pressure", "memory.pressure", "io.pressure"].map(|file| pressure(&self.text(file))),
        }
    }

    /// A file in whichever of the directories has it; empty where none has.
    fn text(&self, file: &str) -> String {
        let last = self.last.get();
        let others = (0..self.directories.len()).filter(|index| *index != last);
        for index in iter::once(last).chain(others) {
            let path = self.directories.get(index).map(|directory| directory.join(file));
            if let Some(text) = path.and_then(|path| read(&path)) {
                self.last.set(index);
                return text;
            }
        }
        String::new()
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

/// A file of the kernel's, which says of none how long it is; `None` where it is not there or not told.
fn read(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let (mut bytes, mut length) = (vec![0; 4096], 0);
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        if length == bytes.len() {
            bytes.resize(length * 2, 0);
        }
    }
    bytes.truncate(length);
    String::from_utf8(bytes).ok()
}

fn of(table: &BTreeMap<String, u64>, key: &str) -> u64 {
    table.get(key).copied().unwrap_or(0)
}

/// Lines like `8:0 Read 4096`, and one without a device for all of them.
fn counts_v1(text: &str) -> Vec<IoCount> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (major, minor) = words.next()?.split_once(':')?;
        Some(IoCount {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            operation: words.next()?.to_owned(),
            value: words.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(line).collect()
}

/// Lines like `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn io_v2(text: &str) -> IoUsage {
    let mut usage = IoUsage::default();
    for line in text.lines() {
        let Some((device, figures)) = line.split_once(' ') else {
            continue;
        };
        let numbers = device.split_once(':');
        let Some((Ok(major), Ok(minor))) = numbers.map(|(major, minor)| (major.parse(), minor.parse())) else {
            continue;
        };
        for (key, value) in figures.split(' ').filter_map(|figure| figure.split_once('=')) {
            let (list, operation) = match key {
                "rbytes" => (&mut usage.bytes, "Read"),
                "wbytes" => (&mut usage.bytes, "Write"),
                "rios" => (&mut usage.operations, "Read"),
                "wios" => (&mut usage.operations, "Write"),
                _ => continue,
            };
            list.push(IoCount {
                major,
                minor,
                operation: operation.to_owned(),
                value: value.parse().unwrap_or(0),
            });
        }
    }
    usage
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same of `full`, which old kernels leave out for CPUs.
fn pressure(text: &str) -> Option<Pressure> {
    let stall = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let figure = |key: &str| {
            let mut figures = line.split_whitespace().filter_map(|figure| figure.split_once('='));
            figures.find(|(found, _)| *found == key).map(|(_, value)| value)
        };
        let percent = |key: &str| figure(key)?.parse().ok();
        Some(Stall {
            avg10: percent("avg10")?,
            avg60: percent("avg60")?,
            avg300: percent("avg300")?,
            total: figure("total")?.parse().ok()?,
        })
    };
    Some(Pressure {
        some: stall("some ")?,
        full: stall("full ").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(operation: &str, value: u64) -> IoCount {
        IoCount {
            major: 8,
            minor: 16,
            operation: operation.to_owned(),
            value,
        }
    }

    #[test]
    fn lines_of_devices_are_read() {
        let text = "8:16 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\nnonsense\n8:x rbytes=1\n";
        let usage = io_v2(text);
        assert_eq!(usage.bytes, [count("Read", 4096), count("Write", 512)]);
        assert_eq!(usage.operations, [count("Read", 2), count("Write", 1)]);
        let text = "8:16 Read 4096\n8:16 Discard 0\nTotal 4096\n";
        assert_eq!(counts_v1(text), [count("Read", 4096), count("Discard", 0)]);
    }

    #[test]
    fn pressure_is_read_where_the_kernel_counts_it() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.00 total=77\n";
        let read = pressure(text).unwrap();
        assert_eq!((read.some.avg10, read.some.avg60, read.some.total), (1.5, 0.2, 77));
        assert_eq!(read.full, Stall::default());
        assert_eq!(pressure(""), None);
    }
}
