//! What a control group uses, as the kernel counts it (cgroup-v1/cpuacct.rst, memory.rst, pids.rst; cgroup-v2.rst).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::iter;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
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

/// What version 1 tells of memory, and of memory and swap: used, the most that was, failures, limit.
const MEMORY_V1: [&str; 4] = [
    "memory.usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.failcnt",
    "memory.limit_in_bytes",
];
const SWAP_V1: [&str; 4] = [
    "memory.memsw.usage_in_bytes",
    "memory.memsw.max_usage_in_bytes",
    "memory.memsw.failcnt",
    "memory.memsw.limit_in_bytes",
];

/// How much is read of what a group uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figures {
    /// All of [`Usage`].
    All,
    /// Without swap, and without what each CPU spent in the kernel and in programs.
    Main,
}

impl Cgroup {
    /// What it uses now, all of it. A group that is gone uses nothing.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage_reader(Figures::All).read()
    }

    /// For who wants to know again and again.
    #[must_use]
    pub fn usage_reader(&self, figures: Figures) -> UsageReader {
        UsageReader {
            version: self.version(),
            directories: self.directories().to_vec(),
            figures,
            files: HashMap::new(),
            last: 0,
            buffer: Vec::new(),
        }
    }
}

/// Reads what a group uses. Its files stay open, some fifteen, so that a reading costs no way to them: a tenth of the time. One
/// that was not there is not looked for again.
#[derive(Debug)]
pub struct UsageReader {
    version: Version,
    /// One in each hierarchy.
    directories: Vec<PathBuf>,
    figures: Figures,
    files: HashMap<&'static str, Option<File>>,
    /// The directory that had the last file: those of a controller are read one after the other.
    last: usize,
    buffer: Vec<u8>,
}

impl UsageReader {
    /// What the group uses now. One that is gone uses nothing.
    pub fn read(&mut self) -> Usage {
        match self.version {
            Version::V1 => self.usage_v1(),
            Version::V2 => self.usage_v2(),
        }
    }

    fn usage_v1(&mut self) -> Usage {
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
                count: self.count_v1(&MEMORY_V1),
                swap: self.count_v1(&SWAP_V1),
                stat: self.table("memory.stat"),
            },
            pids: self.number("pids.current"),
            pids_limit: self.number("pids.max"),
            io: IoUsage {
                bytes: counts_v1(self.text("blkio.throttle.io_service_bytes_recursive")),
                operations: counts_v1(self.text("blkio.throttle.io_serviced_recursive")),
            },
            pressure: [None; 3],
        }
    }

    fn usage_v2(&mut self) -> Usage {
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
            io: io_v2(self.text("io.stat")),
            pressure: ["cpu.pressure", "memory.pressure", "io.pressure"].map(|file| pressure(self.text(file))),
        }
    }

    /// A file in whichever of the directories has it; empty where none has.
    fn text(&mut self, name: &'static str) -> &str {
        if !self.files.contains_key(name)
            && let Ok(file) = self.open(name)
        {
            self.files.insert(name, file);
        }
        let file = self.files.get(name).and_then(Option::as_ref);
        // Of a group that is gone the kernel tells nothing any more.
        file.and_then(|file| reread(file, &mut self.buffer).ok())
            .unwrap_or_default()
    }

    /// `None` where there is none or nobody asked for it; an error where that is not sure, as when the process has no descriptor
    /// left.
    fn open(&mut self, name: &str) -> io::Result<Option<File>> {
        if self.figures == Figures::Main && is_more(name) {
            return Ok(None);
        }
        let others = (0..self.directories.len()).filter(|index| *index != self.last);
        for index in iter::once(self.last).chain(others) {
            let Some(directory) = self.directories.get(index) else {
                continue;
            };
            match File::open(directory.join(name)) {
                Ok(file) => {
                    self.last = index;
                    return Ok(Some(file));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn count_v1(&mut self, [usage, max_usage, failures, limit]: &[&'static str; 4]) -> MemoryCount {
        MemoryCount {
            usage: self.number(usage),
            max_usage: self.number(max_usage),
            failures: self.number(failures),
            limit: self.number(limit),
        }
    }

    fn list(&mut self, file: &'static str) -> Vec<u64> {
        let text = self.text(file);
        text.split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect()
    }

    fn number(&mut self, file: &'static str) -> Option<u64> {
        self.text(file).trim().parse().ok()
    }

    fn table(&mut self, file: &'static str) -> BTreeMap<String, u64> {
        let text = self.text(file);
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let lines = lines.filter_map(|(key, value)| Some((key.to_owned(), u64::from_str(value.trim()).ok()?)));
        lines.collect()
    }
}

/// Reads a file of a group from its beginning, where the kernel tells what is so now: it is one record (`seq_file`), told whole in one
/// read that has room for it. The text replaces what was in the buffer, which grows as it needs to.
fn reread<'a>(file: &File, buffer: &'a mut Vec<u8>) -> io::Result<&'a str> {
    loop {
        let room = buffer.len();
        match file.read_at(buffer, 0) {
            Ok(length) if length < room => {
                return str::from_utf8(&buffer[..length])
                    .map_err(|error| io::Error::new(ErrorKind::InvalidData, error));
            }
            Ok(_) => buffer.resize((room * 2).max(4096), 0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a file is read for `Figures::All` only.
fn is_more(file: &str) -> bool {
    ["memory.memsw.", "memory.swap.", "cpuacct.usage_percpu_"]
        .iter()
        .any(|prefix| file.starts_with(prefix))
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
    fn a_file_that_is_read_again_tells_what_is_so_now() {
        let comm = File::open("/proc/thread-self/comm").unwrap();
        let mut buffer = Vec::new();
        for name in ["first", "second-one", "3"] {
            std::fs::write("/proc/thread-self/comm", name).unwrap();
            assert_eq!(reread(&comm, &mut buffer).unwrap(), format!("{name}\n"));
        }
        // Longer than the buffer, and just as long.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for length in [0, 4095, 4096, 4097, 16384, 5] {
            std::fs::write(&path, "x".repeat(length)).unwrap();
            assert_eq!(reread(&File::open(&path).unwrap(), &mut buffer).unwrap().len(), length);
        }
    }

    #[test]
    fn a_reader_tells_what_is_so_now_of_the_figures_that_are_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).unwrap();
        let reader = |figures| UsageReader {
            version: Version::V2,
            directories: vec![directory.path().to_owned()],
            figures,
            files: HashMap::new(),
            last: 0,
            buffer: Vec::new(),
        };
        write("pids.current", "3\n");
        write("memory.swap.current", "4096\n");
        let (mut main, mut all) = (reader(Figures::Main), reader(Figures::All));
        assert_eq!((main.read().pids, main.read().memory.swap.usage), (Some(3), None));
        assert_eq!(all.read().memory.swap.usage, Some(4096));
        write("pids.current", "12\n");
        write("pids.max", "20\n");
        let usage = main.read();
        assert_eq!(
            (usage.pids, usage.pids_limit),
            (Some(12), None),
            "one that was not there is not looked for"
        );
        assert_eq!(reader(Figures::Main).read().pids_limit, Some(20));
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
