//! Limits as files of version 1 (Documentation/admin-guide/cgroup-v1).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use conex_spec::plan::{
    BlockIo, CgroupPlan, DeviceRule, DeviceWeight, HugePages, Rdma, Resources, Throttle, ThrottleKind,
};

use crate::cgroup::{CgroupError, Lines, make_directory, processes, write};
use crate::layout::{NAMED, RealTime, UNIFIED, below};

/// Controllers that every container joins where the host has them: what counts, kills, freezes and guards.
const ALWAYS: [&str; 7] = ["memory", "cpu", "cpuacct", "pids", "devices", "freezer", "blkio"];

/// Where a scope has directories besides: systemd manages the one, and knows the processes of its units by the others.
const OF_SYSTEMD: [&str; 3] = ["blkio", NAMED, UNIFIED];

/// Controllers that limits are written to, and whether any is.
fn needs(resources: &Resources) -> [(&'static str, bool); 10] {
    let cpu = [resources.cpu_quota.is_some(), resources.cpu_shares.is_some()];
    let real_time = resources.cpu_rt_runtime.is_some() || resources.cpu_rt_period.is_some();
    let rare = real_time || resources.cpu_burst.is_some() || resources.cpu_idle.is_some();
    let swappiness = resources.memory_swappiness.is_some() || resources.oom_kill_disable == Some(true);
    [
        ("memory", resources.memory.is_some() || swappiness),
        ("cpu", cpu.contains(&true) || rare),
        (
            "cpuset",
            resources.cpuset_cpus.is_some() || resources.cpuset_mems.is_some(),
        ),
        ("pids", resources.pids.is_some_and(|pids| pids > 0)),
        ("devices", !resources.devices.is_empty()),
        ("blkio", !resources.block_io.is_empty()),
        ("hugetlb", !resources.huge_pages.is_empty()),
        ("rdma", !resources.rdma.is_empty()),
        ("net_cls", resources.network_class.is_some()),
        ("net_prio", !resources.network_priorities.is_empty()),
    ]
}

/// Directories of a path in the hierarchies of some controllers, those of controllers mounted together once. The memory
/// controller is asked most, for what was killed, so its own is first.
pub(crate) fn directories(
    controllers: &BTreeMap<String, PathBuf>,
    path: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<PathBuf> {
    let wanted = controllers.iter().filter(|(name, _)| is_wanted(name));
    let mut directories: Vec<PathBuf> = wanted.map(|(_, point)| below(point, path)).collect();
    directories.sort();
    directories.dedup();
    let memory = controllers.get("memory").map(|point| below(point, path));
    directories.sort_by_key(|directory| Some(directory) != memory.as_ref());
    directories
}

/// The directories that a plan needs.
pub(crate) fn directories_of(
    controllers: &BTreeMap<String, PathBuf>,
    plan: &CgroupPlan,
) -> Result<Vec<PathBuf>, CgroupError> {
    let mut joined = ALWAYS.to_vec();
    if plan.scope.is_some() {
        joined.extend(OF_SYSTEMD);
    }
    for (controller, _) in needs(&plan.resources).into_iter().filter(|(_, needed)| *needed) {
        if !controllers.contains_key(controller) {
            return Err(CgroupError::NoController { controller });
        }
        joined.push(controller);
    }
    Ok(directories(controllers, &plan.path, |name| joined.contains(&name)))
}

/// Writes limits of a cgroup that has processes. It is not in a hierarchy that nothing was limited by so far.
pub(crate) fn update(controllers: &BTreeMap<String, PathBuf>, plan: &CgroupPlan) -> Result<(), CgroupError> {
    let mut new = directories_of(controllers, plan)?;
    new.retain(|directory| !directory.exists());
    let made = new.iter().try_for_each(|directory| make_directory(directory));
    let applied = made.and_then(|()| apply_limits(controllers, plan));
    let guarded = applied.and_then(|()| match controllers.get("devices") {
        Some(point) if !plan.resources.devices.is_empty() => {
            update_devices(&below(point, &plan.path), &plan.resources.devices)
        }
        _ => Ok(()),
    });
    let moved = guarded.and_then(|()| {
        let mut new = new.iter();
        new.try_for_each(|directory| move_processes(controllers, plan, directory))
    });
    if moved.is_err() {
        for directory in &new {
            // Empty where nothing was moved; else it goes with the container.
            let _ = fs::remove_dir(directory);
        }
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

/// Writes the limits, and guards the devices.
pub(crate) fn apply(controllers: &BTreeMap<String, PathBuf>, plan: &CgroupPlan) -> Result<(), CgroupError> {
    apply_limits(controllers, plan)?;
    match controllers.get("devices") {
        Some(point) if !plan.resources.devices.is_empty() => {
            apply_devices(&below(point, &plan.path), &plan.resources.devices)
        }
        _ => Ok(()),
    }
}

fn apply_limits(controllers: &BTreeMap<String, PathBuf>, plan: &CgroupPlan) -> Result<(), CgroupError> {
    if !plan.resources.unified.is_empty() {
        return Err(CgroupError::NotOffered {
            limit: "a raw file of version 2",
            version: 1,
        });
    }
    let resources = &plan.resources;
    let directory = |controller: &str| controllers.get(controller).map(|point| below(point, &plan.path));
    if let Some(memory) = directory("memory") {
        apply_memory(&memory, resources)?;
    }
    if let Some(cpu) = directory("cpu") {
        apply_cpu(&cpu, resources)?;
    }
    if let (Some(pids), Some(limit)) = (directory("pids"), resources.pids) {
        write(&pids, "pids.max", &unlimited(limit))?;
    }
    for (controller, _) in needs(resources).into_iter().filter(|(_, needed)| *needed) {
        let Some(directory) = directory(controller) else {
            continue;
        };
        match controller {
            "cpuset" => apply_cpuset(&controllers[controller], &plan.path, resources)?,
            "blkio" => apply_block_io(&directory, &resources.block_io)?,
            "hugetlb" => apply_huge_pages(&directory, &resources.huge_pages)?,
            "rdma" => apply_rdma(&directory, &resources.rdma)?,
            "net_cls" | "net_prio" => apply_network(&directory, controller, resources)?,
            _ => {}
        }
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
    set("memory.soft_limit_in_bytes", resources.memory_reservation)?;
    if let Some(swappiness) = resources.memory_swappiness {
        write(directory, "memory.swappiness", &swappiness.to_string())?;
    }
    if let Some(disable) = resources.oom_kill_disable {
        write(directory, "memory.oom_control", if disable { "1" } else { "0" })?;
    }
    Ok(())
}

fn apply_cpu(directory: &Path, resources: &Resources) -> Result<(), CgroupError> {
    let set = |file: &str, value: Option<String>| value.map_or(Ok(()), |value| write(directory, file, &value));
    let text = |value: Option<u64>| value.map(|value| value.to_string());
    let signed = |value: Option<i64>| value.map(|value| value.to_string());
    set("cpu.shares", text(resources.cpu_shares))?;
    set("cpu.idle", signed(resources.cpu_idle))?;
    let period = || set("cpu.cfs_period_us", text(resources.cpu_period));
    let burst = || set("cpu.cfs_burst_us", text(resources.cpu_burst));
    // Each is held against the others as they are now: what the kernel refuses at first may fit after the quota.
    let early = [period(), burst()];
    set("cpu.cfs_quota_us", signed(resources.cpu_quota))?;
    let [early_period, early_burst] = early.map(|written| written.is_err());
    if early_period {
        period()?;
    }
    if early_burst {
        burst()?;
    }
    set("cpu.rt_period_us", text(resources.cpu_rt_period))?;
    set("cpu.rt_runtime_us", signed(resources.cpu_rt_runtime))
}

/// Gives the groups down to `path` real-time CPU time for those below them, which a group needs that is to have some
/// (scheduler/sched-rt-group.rst).
pub(crate) fn give_real_time(cpu: &Path, path: &Path, time: RealTime) -> Result<(), CgroupError> {
    let mut directory = cpu.to_path_buf();
    for component in path.strip_prefix("/").unwrap_or(path).components() {
        directory.push(component);
        make_directory(&directory)?;
        let files = [("cpu.rt_period_us", time.period), ("cpu.rt_runtime_us", time.runtime)];
        for (file, value) in files.into_iter().filter_map(|(file, value)| Some((file, value?))) {
            write(&directory, file, &value.to_string())?;
        }
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
    let (mut deny, mut allow) = (
        Lines::open(directory, "devices.deny")?,
        Lines::open(directory, "devices.allow")?,
    );
    for rule in rules {
        let text = match rule.kind {
            'a' => "a".to_owned(),
            _ => format!("{} {}", whose(rule), rule.access),
        };
        if rule.allow { &mut allow } else { &mut deny }.write(&text)?;
    }
    Ok(())
}

/// Kind and numbers of the devices that a rule is for, as the kernel writes them.
fn whose(rule: &DeviceRule) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    format!("{} {}:{}", rule.kind, number(rule.major), number(rule.minor))
}

/// Makes rules of those that there are, without a moment in which a device that stays allowed is not. The first one is
/// "deny all"; all others allow.
fn update_devices(directory: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    let allowed: Vec<&DeviceRule> = rules.iter().filter(|rule| rule.allow).collect();
    if let Some(rule) = allowed.iter().find(|rule| rule.kind == 'a') {
        return apply_devices(directory, std::slice::from_ref(rule));
    }
    let file = directory.join("devices.list");
    let listed = fs::read_to_string(&file).map_err(|source| CgroupError::Operate {
        operation: "read",
        path: file,
        source,
    })?;
    let mut deny = Lines::open(directory, "devices.deny")?;
    for line in listed.lines() {
        let Some((devices, access)) = line.rsplit_once(' ') else {
            continue;
        };
        let kept = |letter: &char| {
            let mut same = allowed.iter().filter(|rule| whose(rule) == devices);
            same.any(|rule| rule.access.contains(*letter))
        };
        let gone: String = access.chars().filter(|letter| !kept(letter)).collect();
        if !gone.is_empty() {
            deny.write(&format!("{devices} {gone}"))?;
        }
    }
    let allowed: Vec<DeviceRule> = allowed.into_iter().cloned().collect();
    apply_devices(directory, &allowed)
}

/// The scheduler decides how weights are called, and whether there are any (block/bfq-iosched.rst).
fn apply_block_io(directory: &Path, limits: &BlockIo) -> Result<(), CgroupError> {
    let [weight, by_device] = if directory.join("blkio.bfq.weight").exists() {
        ["blkio.bfq.weight", "blkio.bfq.weight_device"]
    } else {
        ["blkio.weight", "blkio.weight_device"]
    };
    let set = |file: &str, value: Option<u16>| value.map_or(Ok(()), |value| write(directory, file, &value.to_string()));
    set(weight, limits.weight)?;
    set("blkio.leaf_weight", limits.leaf_weight)?;
    for DeviceWeight {
        device: (major, minor),
        weight,
        leaf_weight,
    } in &limits.devices
    {
        for (file, weight) in [(by_device, weight), ("blkio.leaf_weight_device", leaf_weight)] {
            if let Some(weight) = weight {
                write(directory, file, &format!("{major}:{minor} {weight}"))?;
            }
        }
    }
    for Throttle {
        device: (major, minor),
        kind,
        rate,
    } in &limits.throttles
    {
        let file = match kind {
            ThrottleKind::ReadBytes => "blkio.throttle.read_bps_device",
            ThrottleKind::WriteBytes => "blkio.throttle.write_bps_device",
            ThrottleKind::ReadOperations => "blkio.throttle.read_iops_device",
            ThrottleKind::WriteOperations => "blkio.throttle.write_iops_device",
        };
        write(directory, file, &format!("{major}:{minor} {rate}"))?;
    }
    Ok(())
}

/// Pages in use, and those that were reserved, which kernels before 5.7 do not limit.
fn apply_huge_pages(directory: &Path, limits: &[HugePages]) -> Result<(), CgroupError> {
    for HugePages { size, limit } in limits {
        write(directory, &format!("hugetlb.{size}.limit_in_bytes"), &limit.to_string())?;
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        if directory.join(&reserved).exists() {
            write(directory, &reserved, &limit.to_string())?;
        }
    }
    Ok(())
}

/// The same file on both versions (cgroup-v1/rdma.rst).
pub(crate) fn apply_rdma(directory: &Path, limits: &[Rdma]) -> Result<(), CgroupError> {
    if limits.is_empty() {
        return Ok(());
    }
    let mut file = Lines::open(directory, "rdma.max")?;
    let limit = |limit: Option<u32>| limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
    for Rdma {
        device,
        handles,
        objects,
    } in limits
    {
        file.write(&format!(
            "{device} hca_handle={} hca_object={}",
            limit(*handles),
            limit(*objects)
        ))?;
    }
    Ok(())
}

fn apply_network(directory: &Path, controller: &str, resources: &Resources) -> Result<(), CgroupError> {
    if let (Some(class), "net_cls") = (resources.network_class, controller) {
        write(directory, "net_cls.classid", &class.to_string())?;
    }
    if controller == "net_prio" {
        for (interface, priority) in &resources.network_priorities {
            write(directory, "net_prio.ifpriomap", &format!("{interface} {priority}"))?;
        }
    }
    Ok(())
}
