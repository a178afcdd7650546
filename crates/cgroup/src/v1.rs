//! Limits as files of version 1 (Documentation/admin-guide/cgroup-v1).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use conex_spec::plan::{CgroupPlan, DeviceRule, Resources};

use crate::cgroup::{CgroupError, Lines, make_directory, processes, write};

/// Controllers that every container joins where the host has them: what counts, kills, freezes and guards.
const ALWAYS: [&str; 6] = ["memory", "cpu", "cpuacct", "pids", "devices", "freezer"];

/// The directories that a plan needs.
pub(crate) fn directories(
    controllers: &BTreeMap<String, PathBuf>,
    plan: &CgroupPlan,
) -> Result<Vec<PathBuf>, CgroupError> {
    let resources = &plan.resources;
    for (controller, needed) in [
        ("memory", resources.memory.is_some()),
        ("cpu", resources.cpu_quota.is_some() || resources.cpu_shares.is_some()),
        ("cpuset", needs_cpuset(resources)),
        ("pids", resources.pids.is_some_and(|pids| pids > 0)),
        ("devices", !resources.devices.is_empty()),
    ] {
        if needed && !controllers.contains_key(controller) {
            return Err(CgroupError::NoController { controller });
        }
    }
    let mut directories = Vec::new();
    for (name, point) in controllers {
        if ALWAYS.contains(&name.as_str()) || (name == "cpuset" && needs_cpuset(resources)) {
            directories.push(below(point, &plan.path));
        }
    }
    directories.sort();
    directories.dedup();
    // The memory controller tells of kills (`oom_killed`), so it is asked first.
    let memory = controllers.get("memory").map(|point| below(point, &plan.path));
    directories.sort_by_key(|directory| Some(directory) != memory.as_ref());
    Ok(directories)
}

fn needs_cpuset(resources: &Resources) -> bool {
    resources.cpuset_cpus.is_some() || resources.cpuset_mems.is_some()
}

fn below(point: &Path, path: &Path) -> PathBuf {
    point.join(path.strip_prefix("/").unwrap_or(path))
}

/// Writes limits of a cgroup that has processes. They had no cpuset of their own until one is asked for.
pub(crate) fn update(controllers: &BTreeMap<String, PathBuf>, plan: &CgroupPlan) -> Result<(), CgroupError> {
    let cpuset = controllers.get("cpuset").filter(|_| needs_cpuset(&plan.resources));
    let Some(cpuset) = cpuset.map(|point| below(point, &plan.path)).filter(|dir| !dir.exists()) else {
        return apply(controllers, plan);
    };
    make_directory(&cpuset)?;
    let moved = apply(controllers, plan).and_then(|()| move_processes(controllers, plan, &cpuset));
    if moved.is_err() {
        // Empty where nothing was moved; else it goes with the container.
        let _ = fs::remove_dir(&cpuset);
    }
    moved
}

/// Moves all processes of the cgroup into another hierarchy's; those that are forked meanwhile are met in the next round.
fn move_processes(controllers: &BTreeMap<String, PathBuf>, plan: &CgroupPlan, to: &Path) -> Result<(), CgroupError> {
    let failed = |source| CgroupError::Operate {
        operation: "list the processes of",
        path: to.to_owned(),
        source,
    };
    let Some(from) = controllers.get("pids").or_else(|| controllers.get("memory")) else {
        return Ok(());
    };
    let from = below(from, &plan.path);
    for _ in 0..ROUNDS {
        let there = processes(to).map_err(failed)?;
        let left = processes(&from).map_err(failed)?;
        let mut left = left.into_iter().filter(|pid| !there.contains(pid)).peekable();
        if left.peek().is_none() {
            break;
        }
        for pid in left {
            // One that ended meanwhile need not be moved.
            let _ = write(to, "cgroup.procs", &pid.to_string());
        }
    }
    Ok(())
}

/// How often processes are looked for that were forked while others were moved.
const ROUNDS: usize = 20;

/// Writes the limits.
pub(crate) fn apply(controllers: &BTreeMap<String, PathBuf>, plan: &CgroupPlan) -> Result<(), CgroupError> {
    let resources = &plan.resources;
    let directory = |controller: &str| controllers.get(controller).map(|point| below(point, &plan.path));
    if let Some(memory) = directory("memory") {
        apply_memory(&memory, resources)?;
    }
    if let Some(cpu) = directory("cpu") {
        apply_cpu(&cpu, resources)?;
    }
    if let (Some(point), true) = (controllers.get("cpuset"), needs_cpuset(resources)) {
        apply_cpuset(point, &plan.path, resources)?;
    }
    if let (Some(pids), Some(limit)) = (directory("pids"), resources.pids) {
        write(&pids, "pids.max", &unlimited(limit))?;
    }
    if let Some(devices) = directory("devices") {
        apply_devices(&devices, &resources.devices)?;
    }
    Ok(())
}

fn unlimited(limit: i64) -> String {
    if limit <= 0 {
        "max".to_owned()
    } else {
        limit.to_string()
    }
}

/// The limit of memory.
const MEMORY: &str = "memory.limit_in_bytes";

fn apply_memory(directory: &Path, resources: &Resources) -> Result<(), CgroupError> {
    let set = |file: &str, limit: Option<i64>| match limit {
        Some(limit) => write(directory, file, &limit.to_string()),
        None => Ok(()),
    };
    // memory+swap must never be below memory: where it is, the kernel refuses, and memory is raised after it.
    let lowered = set(MEMORY, resources.memory);
    set("memory.memsw.limit_in_bytes", resources.memory_swap)?;
    if lowered.is_err() {
        set(MEMORY, resources.memory)?;
    }
    if let Some(limit) = resources.memory_reservation {
        write(directory, "memory.soft_limit_in_bytes", &limit.to_string())?;
    }
    Ok(())
}

fn apply_cpu(directory: &Path, resources: &Resources) -> Result<(), CgroupError> {
    if let Some(shares) = resources.cpu_shares {
        write(directory, "cpu.shares", &shares.to_string())?;
    }
    if let Some(period) = resources.cpu_period {
        write(directory, "cpu.cfs_period_us", &period.to_string())?;
    }
    if let Some(quota) = resources.cpu_quota {
        write(directory, "cpu.cfs_quota_us", &quota.to_string())?;
    }
    Ok(())
}

/// A new cpuset is empty and takes no process until it has CPUs and memory nodes; its parents as well.
fn apply_cpuset(point: &Path, path: &Path, resources: &Resources) -> Result<(), CgroupError> {
    let mut directory = point.to_path_buf();
    for component in path.strip_prefix("/").unwrap_or(path).components() {
        let parent = directory.clone();
        directory.push(component);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let value = fs::read_to_string(directory.join(file)).unwrap_or_default();
            if value.trim().is_empty() {
                let inherited = fs::read_to_string(parent.join(file)).unwrap_or_default();
                write(&directory, file, inherited.trim())?;
            }
        }
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        write(&directory, "cpuset.cpus", cpus)?;
    }
    if let Some(mems) = &resources.cpuset_mems {
        write(&directory, "cpuset.mems", mems)?;
    }
    Ok(())
}

fn apply_devices(directory: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    if rules.is_empty() {
        return Ok(());
    }
    let (mut deny, mut allow) = (
        Lines::open(directory, "devices.deny")?,
        Lines::open(directory, "devices.allow")?,
    );
    for rule in rules {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let text = match rule.kind {
            'a' => "a".to_owned(),
            kind => format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), rule.access),
        };
        if rule.allow { &mut allow } else { &mut deny }.write(&text)?;
    }
    Ok(())
}
