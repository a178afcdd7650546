//! `GET /containers/{id}/stats`: what a container uses.
//!
//! ```text
//!   stream --> Reader --> Opened: usage of the cgroup     (files that stay open: a reading costs no way to them)
//!                     --> /proc/<pid>/net/dev             (which would hold the network namespace if it stayed open)
//!                     --> HostTime                        (one for all readers)
//! ```
//!
//! Each stream reads for itself, a second apart: who is not looked at costs nothing. A reading of files that are open takes
//! less than to hand it to another thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use conex_api_types as api;
use conex_cgroup::{Figures, IoCount, Pressure, Stall, Usage, UsageReader};
use conex_container::NetworkChoice;
use conex_container::state::State;
use conex_spec::CgroupVersion;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::containers::Container;
use crate::descriptors::Leave;
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};

/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long files stay open: what an update brought is seen by the next.
const OPEN_FOR: Duration = Duration::from_secs(30);

/// How Docker writes a time that is none.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Nanoseconds of a tick of `/proc/stat`: `USER_HZ`, 100 on every architecture that is supported.
const TICK: u64 = 10_000_000;

/// How often a client wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatsKind {
    /// Every second until the container is gone.
    Stream,
    /// Once, with the figures of a second before.
    Once,
    /// Once, at once.
    OneShot,
}

impl Engine {
    /// What a container uses; zeros while it does not run.
    pub async fn stats(&self, id: &str, kind: StatsKind) -> Result<BoxStream<'static, api::ContainerStats>> {
        let container = self.inner.containers.find(id)?;
        let mut reader = Reader::new(&self.inner, &container);
        let first = reader.read().await?;
        let running = container.view().state.is_running();
        match kind {
            StatsKind::OneShot if !running => Ok(stream::iter([first]).boxed()),
            // Docker does not say whose they are.
            StatsKind::OneShot => Ok(stream::iter([api::ContainerStats {
                id: String::new(),
                name: String::new(),
                ..first
            }])
            .boxed()),
            StatsKind::Once if !running => Ok(stream::iter([first]).boxed()),
            StatsKind::Once => {
                tokio::time::sleep(INTERVAL).await;
                let last = Last::of(&first);
                Ok(stream::iter([last.before(reader.read().await?)]).boxed())
            }
            StatsKind::Stream => {
                let last = Last::of(&first);
                let later = stream::unfold((reader, last), |(mut reader, last)| async move {
                    // The end of the wait for its removal is the end of the stream.
                    if !reader.wait().await {
                        return None;
                    }
                    let next = last.before(reader.read().await.ok()?);
                    let last = Last::of(&next);
                    Some((next, (reader, last)))
                });
                Ok(stream::iter([first]).chain(later).boxed())
            }
        }
    }
}

/// What a reading is told together with the next.
struct Last {
    read: String,
    cpu: api::CpuStats,
}

impl Last {
    fn of(stats: &api::ContainerStats) -> Self {
        Self {
            read: stats.read.clone(),
            cpu: stats.cpu_stats.clone(),
        }
    }

    fn before(self, stats: api::ContainerStats) -> api::ContainerStats {
        api::ContainerStats {
            precpu_stats: self.cpu,
            preread: self.read,
            ..stats
        }
    }
}

/// Reads what one container uses.
struct Reader {
    engine: Arc<Inner>,
    container: Arc<Container>,
    opened: Option<Opened>,
}

/// The files of one run of a container.
struct Opened {
    /// How often it had ended before.
    run: u64,
    since: Instant,
    cgroup: UsageReader,
    /// Leave to keep them open; without it they are opened at each reading.
    kept: Option<Leave>,
}

impl Reader {
    fn new(engine: &Arc<Inner>, container: &Arc<Container>) -> Self {
        Self {
            engine: engine.clone(),
            container: container.clone(),
            opened: None,
        }
    }

    /// Waits for the next reading; whether there is one: the container is not gone.
    async fn wait(&self) -> bool {
        let mut view = self.container.watch();
        let gone = view.wait_for(|view| matches!(view.state, State::Gone));
        tokio::time::timeout(INTERVAL, gone).await.is_err()
    }

    /// What it uses now; zeros while it does not run.
    async fn read(&mut self) -> Result<api::ContainerStats> {
        let (pid, run) = {
            let view = self.container.view();
            (view.state.pid(), view.exits)
        };
        let of_this_run = |opened: &Opened| pid.is_some() && opened.run == run && opened.since.elapsed() < OPEN_FOR;
        let opened = self.opened.take().filter(of_this_run);
        let Some(pid) = pid else {
            return Ok(unread(&self.container));
        };
        let (engine, container) = (self.engine.clone(), self.container.clone());
        let read = move |mut opened: Opened| {
            let stats = opened.read(&engine, &container, pid);
            (stats, Some(opened).filter(|opened| opened.kept.is_some()))
        };
        let (stats, opened) = match opened {
            Some(opened) => read(opened),
            None => {
                let (engine, container) = (self.engine.clone(), self.container.clone());
                let done = tokio::task::spawn_blocking(move || read(Opened::new(&engine, &container, run)));
                done.await
                    .map_err(|error| Error::new(ErrorKind::System, "read what a container uses").caused_by(error))?
            }
        };
        self.opened = opened;
        Ok(stats)
    }
}

fn unread(container: &Container) -> api::ContainerStats {
    api::ContainerStats {
        name: format!("/{}", container.name),
        id: container.id.clone(),
        read: NEVER.to_owned(),
        preread: NEVER.to_owned(),
        ..api::ContainerStats::default()
    }
}

impl Opened {
    fn new(engine: &Inner, container: &Container, run: u64) -> Self {
        Self {
            run,
            since: Instant::now(),
            cgroup: engine.cgroup(container).usage_reader(Figures::Main),
            kept: engine.descriptors.of_reader(),
        }
    }

    fn read(&mut self, engine: &Inner, container: &Container, pid: i32) -> api::ContainerStats {
        let usage = self.cgroup.read();
        api::ContainerStats {
            read: jiff::Timestamp::now().to_string(),
            pids_stats: api::PidsStats {
                current: usage.pids,
                limit: Some(usage.pids_limit.unwrap_or(u64::MAX)),
            },
            blkio_stats: blkio(&usage, engine.host.facts.cgroups),
            cpu_stats: cpu(&usage, engine.host_time.now(), engine.host.cpus),
            memory_stats: memory(&usage, engine.host.memory),
            networks: match container.config.network {
                // The interfaces of the host are not the container's.
                NetworkChoice::Host => BTreeMap::new(),
                _ => networks(&text_of(&format!("/proc/{pid}/net/dev")).unwrap_or_default()),
            },
            pressure_stats: pressure(&usage),
            ..unread(container)
        }
    }
}

/// Nanoseconds of CPU time of the host, all CPUs and their idleness together, and when they were read.
#[derive(Debug, Default)]
pub(crate) struct HostTime(Mutex<Option<(Instant, Option<u64>)>>);

impl HostTime {
    /// As the kernel counts it: what was read within the last tick is so still.
    fn now(&self) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = last.filter(|(at, _)| at.elapsed() < Duration::from_nanos(TICK));
        let read = || (Instant::now(), system_cpu(&text_of("/proc/stat").unwrap_or_default()));
        last.insert(fresh.unwrap_or_else(read)).1
    }
}

/// A file of procfs, which says of none how long it is: nothing asks for it first.
fn text_of(path: &str) -> io::Result<String> {
    let mut text = String::with_capacity(4096);
    File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn cpu(usage: &Usage, host_time: Option<u64>, cpus: usize) -> api::CpuStats {
    let cpu = &usage.cpu;
    api::CpuStats {
        cpu_usage: api::CpuUsage {
            total_usage: cpu.total,
            percpu_usage: cpu.by_cpu.clone(),
            usage_in_kernelmode: cpu.system,
            usage_in_usermode: cpu.user,
        },
        system_cpu_usage: host_time,
        online_cpus: u32::try_from(cpus).ok(),
        throttling_data: api::ThrottlingData {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled,
        },
    }
}

fn memory(usage: &Usage, host: u64) -> api::MemoryStats {
    let memory = &usage.memory;
    api::MemoryStats {
        usage: memory.count.usage,
        max_usage: memory.count.max_usage,
        stats: memory.stat.clone(),
        failcnt: memory.count.failures.filter(|failures| *failures > 0),
        limit: Some(memory.count.limit.map_or(host, |limit| limit.min(host))),
    }
}

/// Docker's lists: those of version 1 are there without devices too, those of version 2 only with some.
fn blkio(usage: &Usage, cgroups: CgroupVersion) -> api::BlkioStats {
    let entries = |counts: &[IoCount], operation: fn(&str) -> String| -> Vec<api::BlkioEntry> {
        let entries = counts.iter().map(|count| api::BlkioEntry {
            major: count.major,
            minor: count.minor,
            op: operation(&count.operation),
            value: count.value,
        });
        entries.collect()
    };
    let io = &usage.io;
    match cgroups {
        CgroupVersion::V1 => {
            let none = || Some(Vec::new());
            api::BlkioStats {
                io_service_bytes_recursive: Some(entries(&io.bytes, str::to_owned)),
                io_serviced_recursive: Some(entries(&io.operations, str::to_owned)),
                io_queue_recursive: none(),
                io_service_time_recursive: none(),
                io_wait_time_recursive: none(),
                io_merged_recursive: none(),
                io_time_recursive: none(),
                sectors_recursive: none(),
            }
        }
        CgroupVersion::V2 => api::BlkioStats {
            io_service_bytes_recursive: Some(entries(&io.bytes, str::to_ascii_lowercase))
                .filter(|entries| !entries.is_empty()),
            ..api::BlkioStats::default()
        },
    }
}

fn pressure(usage: &Usage) -> Option<api::PressureStats> {
    let stall = |stall: Stall| api::Stall {
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
        total: stall.total,
    };
    let of = |pressure: Pressure| api::Pressure {
        some: stall(pressure.some),
        full: stall(pressure.full),
    };
    let [cpu, memory, io] = usage.pressure.map(|pressure| pressure.map(of));
    let stats = api::PressureStats { cpu, memory, io };
    Some(stats).filter(|stats| *stats != api::PressureStats::default())
}

/// CPU time of the host: user, nice, system, idle, iowait, irq and softirq of all CPUs (`proc_stat(5)`).
fn system_cpu(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks = line
        .split_whitespace()
        .take(7)
        .filter_map(|ticks| ticks.parse::<u64>().ok());
    Some(ticks.sum::<u64>().saturating_mul(TICK))
}

/// Interfaces of `/proc/<pid>/net/dev` (`proc_pid_net(5)`), but for the loopback.
fn networks(text: &str) -> BTreeMap<String, api::NetworkStats> {
    let mut networks = BTreeMap::new();
    for line in text.lines().skip(2) {
        let Some((name, figures)) = line.split_once(':') else {
            continue;
        };
        let figures: Vec<u64> = figures
            .split_whitespace()
            .filter_map(|figure| figure.parse().ok())
            .collect();
        let name = name.trim();
        if name == "lo" || figures.len() < 16 {
            continue;
        }
        let stats = api::NetworkStats {
            rx_bytes: figures[0],
            rx_packets: figures[1],
            rx_errors: figures[2],
            rx_dropped: figures[3],
            tx_bytes: figures[8],
            tx_packets: figures[9],
            tx_errors: figures[10],
            tx_dropped: figures[11],
        };
        networks.insert(name.to_owned(), stats);
    }
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let stat = "cpu  1 2 3 4 5 6 7 800 900 0\ncpu0 1 2 3 4 5 6 7 0 0 0\n";
        assert_eq!(system_cpu(stat), Some(28 * TICK));
        let dev = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                   eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let networks = networks(dev);
        assert_eq!(networks.keys().collect::<Vec<_>>(), ["eth0"]);
        let eth0 = networks["eth0"];
        assert_eq!(
            (eth0.rx_bytes, eth0.rx_packets, eth0.rx_errors, eth0.rx_dropped),
            (10, 2, 3, 4)
        );
        assert_eq!(
            (eth0.tx_bytes, eth0.tx_packets, eth0.tx_errors, eth0.tx_dropped),
            (50, 6, 7, 8)
        );
    }
}
