//! `GET /containers/{id}/stats`: what a container uses.
//!
//! Each reader reads for itself, a second apart, a few small files of the kernel on a thread that is not kept: who is not
//! looked at costs nothing.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use conex_api_types as api;
use conex_cgroup::{IoCount, Pressure, Stall, Usage};
use conex_container::NetworkChoice;
use conex_container::state::State;
use conex_spec::CgroupVersion;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::containers::Container;
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};

/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

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
        let first = read(&self.inner, &container).await?;
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
                let second = read(&self.inner, &container).await?;
                Ok(stream::iter([after(&first, second)]).boxed())
            }
            StatsKind::Stream => {
                let state = (self.inner.clone(), container, Some(first.clone()), first);
                let stream = stream::unfold(state, |(engine, container, at_once, last)| async move {
                    if let Some(first) = at_once {
                        return Some((first, (engine, container, None, last)));
                    }
                    let mut view = container.watch();
                    let gone = view.wait_for(|view| matches!(view.state, State::Gone));
                    // The end of the wait for its removal is the end of the stream.
                    let Err(_) = tokio::time::timeout(INTERVAL, gone).await else {
                        return None;
                    };
                    let next = after(&last, read(&engine, &container).await.ok()?);
                    Some((next.clone(), (engine, container, None, next)))
                });
                Ok(stream.boxed())
            }
        }
    }
}

fn after(before: &api::ContainerStats, mut stats: api::ContainerStats) -> api::ContainerStats {
    stats.precpu_stats = before.cpu_stats.clone();
    stats.preread.clone_from(&before.read);
    stats
}

async fn read(engine: &Arc<Inner>, container: &Arc<Container>) -> Result<api::ContainerStats> {
    let (reader, read) = (engine.clone(), container.clone());
    let done = tokio::task::spawn_blocking(move || read_now(&reader, &read)).await;
    done.map_err(|error| Error::new(ErrorKind::System, "read what a container uses").caused_by(error))
}

fn read_now(engine: &Inner, container: &Container) -> api::ContainerStats {
    let empty = api::ContainerStats {
        name: format!("/{}", container.name),
        id: container.id.clone(),
        read: NEVER.to_owned(),
        preread: NEVER.to_owned(),
        ..api::ContainerStats::default()
    };
    let Some(pid) = container.view().state.pid() else {
        return empty;
    };
    let usage = engine.cgroup(container).usage();
    api::ContainerStats {
        read: jiff::Timestamp::now().to_string(),
        pids_stats: api::PidsStats {
            current: usage.pids,
            limit: Some(usage.pids_limit.unwrap_or(u64::MAX)),
        },
        blkio_stats: blkio(&usage, engine.host.facts.cgroups),
        cpu_stats: cpu(&usage, engine.host.cpus),
        memory_stats: memory(&usage, engine.host.memory),
        networks: match container.config.network {
            // The interfaces of the host are not the container's.
            NetworkChoice::Host => BTreeMap::new(),
            _ => networks(&fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default()),
        },
        pressure_stats: pressure(&usage),
        ..empty
    }
}

fn cpu(usage: &Usage, cpus: usize) -> api::CpuStats {
    let cpu = &usage.cpu;
    api::CpuStats {
        cpu_usage: api::CpuUsage {
            total_usage: cpu.total,
            percpu_usage: cpu.by_cpu.clone(),
            usage_in_kernelmode: cpu.system,
            usage_in_usermode: cpu.user,
        },
        system_cpu_usage: system_cpu(&fs::read_to_string("/proc/stat").unwrap_or_default()),
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
