//! `events`: what a container uses, once or again and again, and that it was short of memory.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use conex_cgroup::{IoCount, MemoryCount, OomWatch, Pressure, Stall, Usage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::arguments::{Flag, Global, Order, Parsed};
use crate::container::{Container, Status};

const FLAGS: [Flag; 2] = [Flag::Value("interval", None), Flag::Switch("stats", None)];

const INTERVAL: Duration = Duration::from_secs(5);

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &FLAGS, Order::Mixed)?;
    let id = arguments.only("<container-id>")?;
    let interval = match arguments.value("interval") {
        None => INTERVAL,
        Some(text) => Duration::from_nanos(u64::try_from(conex_units::duration::parse(text)?).unwrap_or(0)),
    };
    if interval.is_zero() {
        bail!("duration interval must be greater than 0");
    }
    let container = Container::load(global, id)?;
    if container.status() == Status::Stopped {
        bail!("container with id {id} is not running");
    }
    if arguments.is_set("stats") {
        tell(id, "stats", Some(&document(&container)))?;
        return Ok(0);
    }
    follow(&container, interval).map(|()| 0)
}

/// Tells until the container ends.
fn follow(container: &Container, interval: Duration) -> Result<()> {
    let cgroup = container.cgroup();
    let watch = OomWatch::new(&cgroup).context("watch the memory of the cgroup")?;
    let short = if watch.is_urgent() {
        PollFlags::PRI
    } else {
        PollFlags::IN
    };
    let pidfd = container.pidfd()?;
    let id = &container.record.id;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).context("wait")?;
        let mut polled = [PollFd::new(&watch, short), PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Err(Errno::INTR) => continue,
            outcome => outcome.context("wait for events")?,
        };
        let [woken, ended] = polled.map(|one| !one.revents().is_empty());
        if (woken || ended) && watch.happened().context("read the events of the cgroup")? {
            tell(id, "oom", None)?;
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            tell(id, "stats", Some(&document(container)))?;
            next += interval;
        }
    }
}

fn tell(id: &str, kind: &str, data: Option<&Value>) -> Result<()> {
    let mut event = json!({"type": kind, "id": id});
    if let Some(data) = data {
        event["data"] = data.clone();
    }
    let mut output = std::io::stdout().lock();
    writeln!(output, "{event}")
        .and_then(|()| output.flush())
        .context("write the event")
}

/// In the shape of runc's (`types.Stats`).
fn document(container: &Container) -> Value {
    let mut document = of_cgroup(&container.cgroup().usage());
    if let Some(group) = &container.record.resctrl {
        document["intel_rdt"] = group.document();
    }
    document
}

fn of_cgroup(usage: &Usage) -> Value {
    let (cpu, memory) = (&usage.cpu, &usage.memory);
    let [of_cpu, of_memory, of_io] = usage.pressure.map(|pressure| pressure.as_ref().map(psi));
    let mut processors = json!({"total": cpu.total, "kernel": cpu.system, "user": cpu.user});
    // Version 2 does not count by processor.
    for (name, times) in [
        ("percpu", &cpu.by_cpu),
        ("percpu_kernel", &cpu.system_by_cpu),
        ("percpu_user", &cpu.user_by_cpu),
    ] {
        if !times.is_empty() {
            processors[name] = json!(times);
        }
    }
    let mut document = json!({
        "cpu": {
            "usage": processors,
            "throttling": {
                "periods": cpu.periods, "throttledPeriods": cpu.throttled_periods, "throttledTime": cpu.throttled,
            },
        },
        "memory": {
            "cache": memory.stat.get("cache").or(memory.stat.get("file")).copied().unwrap_or(0),
            "usage": count(&memory.count),
            "swap": count(&memory.swap),
            "raw": memory.stat,
        },
        "pids": {"current": usage.pids, "limit": usage.pids_limit.unwrap_or(0)},
        "blkio": {},
    });
    for (name, counts) in [
        ("ioServiceBytesRecursive", &usage.io.bytes),
        ("ioServicedRecursive", &usage.io.operations),
    ] {
        if !counts.is_empty() {
            document["blkio"][name] = counts.iter().map(io).collect();
        }
    }
    for (resource, pressure) in [("cpu", of_cpu), ("memory", of_memory), ("blkio", of_io)] {
        if let Some(pressure) = pressure {
            document[resource]["psi"] = pressure;
        }
    }
    document
}

fn io(count: &IoCount) -> Value {
    json!({"major": count.major, "minor": count.minor, "op": count.operation, "value": count.value})
}

fn psi(pressure: &Pressure) -> Value {
    let stall = |stall: &Stall| json!({"avg10": stall.avg10, "avg60": stall.avg60, "avg300": stall.avg300, "total": stall.total});
    json!({"some": stall(&pressure.some), "full": stall(&pressure.full)})
}

fn count(memory: &MemoryCount) -> Value {
    let mut counts = json!({
        "limit": memory.limit.unwrap_or(u64::MAX), "usage": memory.usage.unwrap_or(0),
        "failcnt": memory.failures.unwrap_or(0),
    });
    if let Some(most) = memory.max_usage {
        counts["max"] = json!(most);
    }
    counts
}
