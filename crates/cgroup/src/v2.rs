//! Limits as files of version 2 (Documentation/admin-guide/cgroup-v2.rst).

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use conex_spec::plan::{CgroupPlan, Resources};

use crate::cgroup::{CgroupError, write};
use crate::devices;

/// Controllers that are enabled for containers where the kernel has them.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// Enables the controllers on the way down, and names the directory.
pub(crate) fn prepare(root: &Path, plan: &CgroupPlan) -> Result<Vec<PathBuf>, CgroupError> {
    let relative = plan.path.strip_prefix("/").unwrap_or(&plan.path);
    let mut directory = root.to_path_buf();
    for component in relative.parent().unwrap_or(Path::new("")).components() {
        enable(&directory)?;
        directory.push(component);
        fs::create_dir(&directory).or_else(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(CgroupError::Operate {
                operation: "create",
                path: directory.clone(),
                source,
            }),
        })?;
    }
    enable(&directory)?;
    Ok(vec![root.join(relative)])
}

fn enable(directory: &Path) -> Result<(), CgroupError> {
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    let missing: Vec<String> = CONTROLLERS
        .iter()
        .filter(|name| has(&available, name) && !has(&enabled, name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        write(directory, "cgroup.subtree_control", &missing.join(" "))
    }
}

/// Writes the limits.
pub(crate) fn apply(root: &Path, plan: &CgroupPlan) -> Result<(), CgroupError> {
    let directory = root.join(plan.path.strip_prefix("/").unwrap_or(&plan.path));
    let resources = &plan.resources;
    for (file, value) in values(resources) {
        write(&directory, file, &value)?;
    }
    for (file, value) in &resources.unified {
        write(&directory, file, value)?;
    }
    if !resources.devices.is_empty() {
        let failed = |source| CgroupError::Operate {
            operation: "guard the devices of",
            path: directory.clone(),
            source,
        };
        let opened = File::open(&directory).map_err(failed)?;
        let program = devices::program(&resources.devices);
        conex_sys::bpf::attach_device_program(opened.as_fd(), &program).map_err(failed)?;
    }
    Ok(())
}

/// File names and values of what is limited.
fn values(resources: &Resources) -> Vec<(&'static str, String)> {
    let mut values = Vec::new();
    let limit = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    if let Some(memory) = resources.memory {
        values.push(("memory.max", limit(memory)));
    }
    if let Some(both) = resources.memory_swap {
        // Version 2 counts swap alone, Docker's option counts both together.
        let swap = if both < 0 {
            both
        } else {
            (both - resources.memory.unwrap_or(0)).max(0)
        };
        values.push(("memory.swap.max", limit(swap)));
    }
    if let Some(reservation) = resources.memory_reservation {
        values.push(("memory.low", limit(reservation)));
    }
    if let Some(shares) = resources.cpu_shares.filter(|shares| *shares > 0) {
        values.push(("cpu.weight", weight(shares).to_string()));
    }
    if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
        let quota = resources
            .cpu_quota
            .filter(|quota| *quota > 0)
            .map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        values.push((
            "cpu.max",
            format!("{quota} {}", resources.cpu_period.unwrap_or(100_000)),
        ));
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

/// Weight 1 to 10000 for shares 2 to 262144, linear as runtimes agreed on.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_map_onto_the_whole_range_of_weights() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(1024), 39);
        assert_eq!(weight(262_144), 10_000);
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
        assert_eq!(values(&resources), [("cpu.max", "50000 100000".to_owned())]);
    }
}
