//! `linux.resources`.

use oci_spec::runtime::{Linux, LinuxDeviceCgroup, LinuxMemory, LinuxResources};

use super::{devices, unsupported};
use crate::defaults;
use crate::error::Result;
use crate::plan::{DeviceRule, Resources};

pub(super) fn plan(linux: &Linux) -> Result<Resources> {
    let mut planned = Resources {
        devices: defaults::device_rules(),
        ..Resources::default()
    };
    let Some(resources) = linux.resources() else {
        return Ok(planned);
    };
    refuse_unsupported(resources)?;
    if let Some(memory) = resources.memory() {
        refuse_unsupported_memory(memory)?;
        planned.memory = memory.limit();
        planned.memory_swap = memory.swap();
        planned.memory_reservation = memory.reservation();
    }
    if let Some(cpu) = resources.cpu() {
        planned.cpu_shares = cpu.shares().filter(|shares| *shares != 0);
        planned.cpu_quota = cpu.quota().filter(|quota| *quota != 0);
        planned.cpu_period = cpu.period().filter(|period| *period != 0);
        planned.cpuset_cpus = cpu.cpus().clone().filter(|cpus| !cpus.is_empty());
        planned.cpuset_mems = cpu.mems().clone().filter(|mems| !mems.is_empty());
    }
    planned.pids = resources
        .pids()
        .as_ref()
        .map(|pids| pids.limit())
        .filter(|limit| *limit != 0);
    let mut unified: Vec<(String, String)> = resources
        .unified()
        .iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    unified.sort();
    planned.unified = unified;
    planned.devices = device_rules(resources);
    Ok(planned)
}

/// The specification's rules after "deny all", then those that every container needs, as runc orders them.
fn device_rules(resources: &LinuxResources) -> Vec<DeviceRule> {
    let mut rules = defaults::device_rules();
    // The first of the default rules is the denial.
    rules.splice(1..1, resources.devices().iter().flatten().map(device_rule));
    rules
}

fn device_rule(rule: &LinuxDeviceCgroup) -> DeviceRule {
    let number = |number: Option<i64>| number.and_then(|value| u32::try_from(value).ok());
    DeviceRule {
        allow: rule.allow(),
        kind: rule.typ().map_or('a', devices::kind),
        major: number(rule.major()),
        minor: number(rule.minor()),
        access: rule
            .access()
            .clone()
            .filter(|access| !access.is_empty())
            .unwrap_or_else(|| "rwm".to_string()),
    }
}

fn refuse_unsupported(resources: &LinuxResources) -> Result<()> {
    let json = |value: Option<serde_json::Value>| {
        value.is_some_and(|value| value.as_object().is_some_and(|map| !map.is_empty()))
    };
    let given = [
        (
            "linux.resources.blockIO",
            json(
                resources
                    .block_io()
                    .as_ref()
                    .and_then(|value| serde_json::to_value(value).ok()),
            ),
        ),
        (
            "linux.resources.network",
            json(
                resources
                    .network()
                    .as_ref()
                    .and_then(|value| serde_json::to_value(value).ok()),
            ),
        ),
        (
            "linux.resources.rdma",
            resources.rdma().as_ref().is_some_and(|map| !map.is_empty()),
        ),
        (
            "linux.resources.hugepageLimits",
            resources
                .hugepage_limits()
                .as_ref()
                .is_some_and(|limits| !limits.is_empty()),
        ),
        (
            "linux.resources.cpu.realtimeRuntime",
            resources
                .cpu()
                .as_ref()
                .is_some_and(|cpu| cpu.realtime_runtime().is_some_and(|value| value != 0)),
        ),
        (
            "linux.resources.cpu.burst",
            resources
                .cpu()
                .as_ref()
                .is_some_and(|cpu| cpu.burst().is_some_and(|value| value != 0)),
        ),
        (
            "linux.resources.cpu.idle",
            resources
                .cpu()
                .as_ref()
                .is_some_and(|cpu| cpu.idle().is_some_and(|value| value != 0)),
        ),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(unsupported(*field)),
        None => Ok(()),
    }
}

/// Kernel memory limits are gone from kernels and from runc, and pass without effect there as here.
fn refuse_unsupported_memory(memory: &LinuxMemory) -> Result<()> {
    if memory.swappiness().is_some() {
        return Err(unsupported("linux.resources.memory.swappiness"));
    }
    if memory.disable_oom_killer().unwrap_or(false) {
        return Err(unsupported("linux.resources.memory.disableOOMKiller"));
    }
    Ok(())
}
