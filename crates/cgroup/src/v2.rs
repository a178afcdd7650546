//! Limits as files of version 2 (Documentation/admin-guide/cgroup-v2.rst).
//!
//! Each file that is set is opened, written and closed once; one of devices is written once for each device, because the kernel
//! takes one line with each write(2). Nothing is looked at before.

mod block_io;

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use conex_spec::plan::{CgroupPlan, DeviceRule, HugePages, Resources};

use conex_sys::bpf;

use crate::cgroup::{CgroupError, make_directory, write};
use crate::devices;
use crate::layout::below;
use crate::v1::apply_rdma;

pub(crate) use block_io::io_weight;

/// Controllers that are enabled for containers where the kernel has them.
const CONTROLLERS: [&str; 7] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma"];

/// The directory of a plan.
pub(crate) fn directory(root: &Path, plan: &CgroupPlan) -> PathBuf {
    below(root, &plan.path)
}

/// Enables the controllers on the way down, and makes what is absent of it.
pub(crate) fn enable_above(root: &Path, plan: &CgroupPlan) -> Result<(), CgroupError> {
    let relative = plan.path.strip_prefix("/").unwrap_or(&plan.path);
    let above = relative.parent().unwrap_or(Path::new(""));
    // What is enabled at the end of the way is so on all of it, as it is from the second container on.
    if missing(root, &root.join(above)).is_empty() {
        return Ok(());
    }
    let mut directory = root.to_path_buf();
    for component in above.components() {
        enable(&directory)?;
        directory.push(component);
        make_directory(&directory)?;
    }
    enable(&directory)
}

fn enable(directory: &Path) -> Result<(), CgroupError> {
    let missing = missing(directory, directory);
    if missing.is_empty() {
        Ok(())
    } else {
        write(directory, "cgroup.subtree_control", &missing.join(" "))
    }
}

/// What is written to enable controllers that one group has and another does not hand down.
fn missing(has: &Path, hands_down: &Path) -> Vec<String> {
    let read = |directory: &Path, file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    let available = read(has, "cgroup.controllers");
    let enabled = read(hands_down, "cgroup.subtree_control");
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    let missing = CONTROLLERS
        .iter()
        .filter(|name| has(&available, name) && !has(&enabled, name));
    missing.map(|name| format!("+{name}")).collect()
}

/// Refuses limits that there are not, or that the caller wants to be refused.
pub(crate) fn check(root: &Path, plan: &CgroupPlan) -> Result<(), CgroupError> {
    let resources = &plan.resources;
    refuse_version_1(resources)?;
    match resources.memory.filter(|limit| resources.memory_check && *limit > 0) {
        Some(limit) => check_memory(&directory(root, plan), limit),
        None => Ok(()),
    }
}

/// Writes the limits, and guards the devices.
pub(crate) fn apply(root: &Path, plan: &CgroupPlan) -> Result<(), CgroupError> {
    let directory = directory(root, plan);
    check(root, plan)?;
    apply_limits(&directory, &plan.resources)?;
    guard(&directory, &plan.resources.devices, bpf::attach_device_program)
}

/// Writes other limits to a group that has processes, after `check`.
pub(crate) fn update(root: &Path, plan: &CgroupPlan) -> Result<(), CgroupError> {
    let directory = directory(root, plan);
    apply_limits(&directory, &plan.resources)?;
    guard(&directory, &plan.resources.devices, bpf::replace_device_programs)
}

/// Gives the group the program of its rules, if it has any.
fn guard(
    directory: &Path,
    rules: &[DeviceRule],
    attach: fn(BorrowedFd<'_>, &[u64]) -> std::io::Result<()>,
) -> Result<(), CgroupError> {
    if rules.is_empty() {
        return Ok(());
    }
    let failed = |source| CgroupError::Operate {
        operation: "guard the devices of",
        path: directory.to_owned(),
        source,
    };
    let opened = File::open(directory).map_err(failed)?;
    attach(opened.as_fd(), &devices::program(rules)).map_err(failed)
}

fn apply_limits(directory: &Path, resources: &Resources) -> Result<(), CgroupError> {
    for (file, value) in values(resources) {
        write(directory, file, &value)?;
    }
    apply_cpu_time(directory, resources)?;
    block_io::apply(directory, &resources.block_io)?;
    for HugePages { size, limit } in &resources.huge_pages {
        let limit = unlimited(*limit);
        write(directory, &format!("hugetlb.{size}.max"), &limit)?;
        match write(directory, &format!("hugetlb.{size}.rsvd.max"), &limit) {
            // Kernels before 5.7 do not limit what is reserved.
            Err(error) if error.is_absent() => {}
            written => written?,
        }
    }
    apply_rdma(directory, &resources.rdma)?;
    let mut raw = resources.unified.iter();
    raw.try_for_each(|(file, value)| write(directory, file, value))
}

/// Limits that are files of version 1 only.
fn refuse_version_1(resources: &Resources) -> Result<(), CgroupError> {
    let real_time = resources.cpu_rt_runtime.is_some() || resources.cpu_rt_period.is_some();
    let devices = &resources.block_io.devices;
    let leaf = resources.block_io.leaf_weight.is_some() || devices.iter().any(|one| one.leaf_weight.is_some());
    let given = [
        ("memory swappiness", resources.memory_swappiness.is_some()),
        ("disabling the OOM killer", resources.oom_kill_disable == Some(true)),
        ("real-time CPU time", real_time),
        ("a leaf weight of block I/O", leaf),
        ("a class of packets", resources.network_class.is_some()),
        ("a priority of packets", !resources.network_priorities.is_empty()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((limit, _)) => Err(CgroupError::NotOffered { limit, version: 2 }),
        None => Ok(()),
    }
}

/// Version 1 refuses by itself a limit that cannot be met; here processes would be killed until it is.
fn check_memory(directory: &Path, limit: i64) -> Result<(), CgroupError> {
    let text = fs::read_to_string(directory.join("memory.current")).unwrap_or_default();
    match text.trim().parse::<i64>() {
        Ok(usage) if usage > limit => Err(CgroupError::MemoryInUse { limit, usage }),
        _ => Ok(()),
    }
}

/// A burst may not exceed the quota, and each is held against the other as it is now: the burst goes first where the quota is
/// refused.
fn apply_cpu_time(directory: &Path, resources: &Resources) -> Result<(), CgroupError> {
    let set = |file: &str, value: Option<&String>| value.map_or(Ok(()), |value| write(directory, file, value));
    let (quota, burst) = (quota(resources), resources.cpu_burst.map(|burst| burst.to_string()));
    let early = set("cpu.max", quota.as_ref());
    if early.is_err() && burst.is_none() {
        return early;
    }
    set("cpu.max.burst", burst.as_ref())?;
    early.or_else(|_| set("cpu.max", quota.as_ref()))
}

fn unlimited(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// Version 2 counts swap alone, Docker's option counts both together.
pub(crate) fn swap(resources: &Resources) -> Option<i64> {
    resources.memory_swap.map(|both| {
        if both < 0 {
            both
        } else {
            (both - resources.memory.unwrap_or(0)).max(0)
        }
    })
}

/// Microseconds, and of how many.
fn quota(resources: &Resources) -> Option<String> {
    if resources.cpu_quota.is_none() && resources.cpu_period.is_none() {
        return None;
    }
    let quota = resources
        .cpu_quota
        .filter(|quota| *quota > 0)
        .map_or_else(|| "max".to_owned(), |quota| quota.to_string());
    Some(format!("{quota} {}", resources.cpu_period.unwrap_or(100_000)))
}

/// File names and values of what is limited, but for CPU time, block I/O, huge pages and RDMA.
fn values(resources: &Resources) -> Vec<(&'static str, String)> {
    let mut values = Vec::new();
    let limit = unlimited;
    if let Some(memory) = resources.memory {
        values.push(("memory.max", limit(memory)));
    }
    if let Some(swap) = swap(resources) {
        values.push(("memory.swap.max", limit(swap)));
    }
    if let Some(reservation) = resources.memory_reservation {
        values.push(("memory.low", limit(reservation)));
    }
    if let Some(shares) = resources.cpu_shares.filter(|shares| *shares > 0) {
        values.push(("cpu.weight", weight(shares).to_string()));
    }
    if let Some(idle) = resources.cpu_idle {
        values.push(("cpu.idle", idle.to_string()));
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        values.push(("cpuset.cpus", cpus.clone()));
    }
    if let Some(mems) = &resources.cpuset_mems {
        values.push(("cpuset.mems", mems.clone()));
    }
    if let Some(pids) = resources.pids {
        values.push(("pids.max", if pids <= 0 { "max".to_owned() } else { pids.to_string() }));
    }
    values
}

/// Weight 1 to 10000 for shares 2 to 262144, with the default of one (1024) at that of the other (100): a parabola over the
/// logarithms, as runtimes have agreed since the linear map starved groups beside others of the default weight.
pub(crate) fn weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        shares => {
            #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
            let logarithm = (shares as f64).log2();
            let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 10000"
            )]
            let weight = (10_f64.powf(exponent) - 1e-9).ceil() as u64;
            weight
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_map_onto_the_whole_range_of_weights() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(1024), 100, "the default is the default");
        assert_eq!(weight(512), 59);
        assert_eq!(weight(262_144), 10_000);
    }

    #[test]
    fn what_only_version_1_has_is_refused() {
        let resources = Resources {
            memory_swappiness: Some(10),
            ..Resources::default()
        };
        let refused = refuse_version_1(&resources).unwrap_err().to_string();
        assert!(refused.starts_with("memory swappiness cannot be set"), "{refused}");
    }

    #[test]
    fn swap_is_counted_alone() {
        let resources = Resources {
            memory: Some(64 << 20),
            memory_swap: Some(96 << 20),
            ..Resources::default()
        };
        assert_eq!(
            values(&resources),
            [
                ("memory.max", "67108864".to_owned()),
                ("memory.swap.max", "33554432".to_owned())
            ]
        );
    }

    #[test]
    fn a_quota_is_written_with_its_period() {
        let resources = Resources {
            cpu_quota: Some(50_000),
            ..Resources::default()
        };
        assert_eq!(quota(&resources).unwrap(), "50000 100000");
    }
}
