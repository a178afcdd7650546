//! `linux.resources`.

use oci_spec::runtime::{
    Linux, LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxNetwork, LinuxResources,
    LinuxThrottleDevice,
};

use super::{devices, unsupported};
use crate::defaults;
use crate::error::{Error, Result};
use crate::plan::{BlockIo, DeviceRule, DeviceWeight, HugePages, Rdma, Resources, Throttle, ThrottleKind};

/// What a new container is limited to.
pub(super) fn plan(linux: &Linux) -> Result<Resources> {
    match linux.resources() {
        None => Ok(Resources {
            devices: defaults::device_rules(),
            ..Resources::default()
        }),
        Some(resources) => Ok(Resources {
            devices: device_rules(resources)?,
            ..limits(resources)?
        }),
    }
}

/// The limits without the device rules, which stay what they are for as long as a container runs.
pub fn limits(resources: &LinuxResources) -> Result<Resources> {
    let mut planned = Resources::default();
    if let Some(memory) = resources.memory() {
        add_memory(&mut planned, memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        add_cpu(&mut planned, cpu);
    }
    if let Some(block_io) = resources.block_io() {
        planned.block_io = plan_block_io(block_io)?;
    }
    if let Some(network) = resources.network() {
        add_network(&mut planned, network);
    }
    planned.pids = resources
        .pids()
        .as_ref()
        .map(|pids| pids.limit())
        .filter(|limit| *limit != 0);
    let pages = resources.hugepage_limits().iter().flatten();
    planned.huge_pages = pages
        .map(|limit| HugePages {
            size: limit.page_size().clone(),
            limit: limit.limit(),
        })
        .collect();
    let rdma = resources.rdma().iter().flatten();
    planned.rdma = rdma
        .map(|(device, limit)| Rdma {
            device: device.clone(),
            handles: limit.hca_handles(),
            objects: limit.hca_objects(),
        })
        .collect();
    planned.rdma.sort_by(|one, other| one.device.cmp(&other.device));
    let unified = resources.unified().iter().flatten();
    planned.unified = unified.map(|(name, value)| (name.clone(), value.clone())).collect();
    planned.unified.sort();
    Ok(planned)
}

/// Kernel memory limits are gone from kernels and from runc, and pass without effect there as here; accounting has been
/// hierarchical in every kernel since 5.11.
fn add_memory(planned: &mut Resources, memory: &LinuxMemory) -> Result<()> {
    if memory.use_hierarchy() == Some(false) {
        return Err(unsupported("linux.resources.memory.useHierarchy false"));
    }
    // All ones is how -1 for "as it is" arrives from clients that have a signed number.
    planned.memory_swappiness = memory.swappiness().filter(|value| *value != u64::MAX);
    if let Some(value) = planned.memory_swappiness.filter(|value| *value > 100) {
        return Err(Error::Specification {
            field: "linux.resources.memory.swappiness",
            reason: format!("{value} is not between 0 and 100"),
        });
    }
    planned.memory = memory.limit();
    planned.memory_swap = memory.swap();
    planned.memory_reservation = memory.reservation();
    planned.memory_check = memory.check_before_update().unwrap_or(false);
    planned.oom_kill_disable = memory.disable_oom_killer();
    Ok(())
}

/// Zero and the empty list stand for "as it is" in what clients write.
fn add_cpu(planned: &mut Resources, cpu: &LinuxCpu) {
    let list = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
    planned.cpu_shares = cpu.shares().filter(|shares| *shares != 0);
    planned.cpu_quota = cpu.quota().filter(|quota| *quota != 0);
    planned.cpu_period = cpu.period().filter(|period| *period != 0);
    planned.cpu_burst = cpu.burst();
    planned.cpu_idle = cpu.idle();
    planned.cpu_rt_runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);
    planned.cpu_rt_period = cpu.realtime_period().filter(|period| *period != 0);
    planned.cpuset_cpus = list(cpu.cpus());
    planned.cpuset_mems = list(cpu.mems());
}

fn add_network(planned: &mut Resources, network: &LinuxNetwork) {
    planned.network_class = network.class_id().filter(|class| *class != 0);
    let priorities = network.priorities().iter().flatten();
    planned.network_priorities = priorities
        .map(|priority| (priority.name().clone(), priority.priority()))
        .collect();
}

fn plan_block_io(block_io: &LinuxBlockIo) -> Result<BlockIo> {
    const FIELD: &str = "linux.resources.blockIO";
    let weights = block_io.weight_device().iter().flatten();
    let devices = weights.map(|weight| {
        Ok(DeviceWeight {
            device: device_number(FIELD, weight.major(), weight.minor())?,
            weight: weight.weight().filter(|weight| *weight != 0),
            leaf_weight: weight.leaf_weight().filter(|weight| *weight != 0),
        })
    });
    let throttles = |list: &Option<Vec<LinuxThrottleDevice>>, kind| -> Result<Vec<Throttle>> {
        let list = list.iter().flatten();
        list.map(|throttle| {
            Ok(Throttle {
                device: device_number(FIELD, throttle.major(), throttle.minor())?,
                kind,
                rate: throttle.rate(),
            })
        })
        .collect()
    };
    Ok(BlockIo {
        weight: block_io.weight().filter(|weight| *weight != 0),
        leaf_weight: block_io.leaf_weight().filter(|weight| *weight != 0),
        devices: devices.collect::<Result<_>>()?,
        throttles: [
            throttles(block_io.throttle_read_bps_device(), ThrottleKind::ReadBytes)?,
            throttles(block_io.throttle_write_bps_device(), ThrottleKind::WriteBytes)?,
            throttles(block_io.throttle_read_iops_device(), ThrottleKind::ReadOperations)?,
            throttles(block_io.throttle_write_iops_device(), ThrottleKind::WriteOperations)?,
        ]
        .concat(),
    })
}

fn device_number(field: &'static str, major: i64, minor: i64) -> Result<(u32, u32)> {
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok((major, minor)),
        _ => Err(Error::Specification {
            field,
            reason: format!("{major}:{minor} is no device number"),
        }),
    }
}

/// The specification's rules after "deny all", then those that every container needs, as runc orders them.
fn device_rules(resources: &LinuxResources) -> Result<Vec<DeviceRule>> {
    let given = resources.devices().iter().flatten().map(device_rule);
    let given = given.collect::<Result<Vec<_>>>()?;
    let mut rules = defaults::device_rules();
    // The first of the default rules is the denial.
    rules.splice(1..1, given);
    Ok(rules)
}

fn device_rule(rule: &LinuxDeviceCgroup) -> Result<DeviceRule> {
    const FIELD: &str = "linux.resources.devices";
    let refused = |reason: String| Error::Specification { field: FIELD, reason };
    // -1 stands for all, as the absent number does.
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| refused(format!("{number} is no device number"))),
    };
    let kind = match rule.typ() {
        Some(LinuxDeviceType::P) => return Err(refused("a fifo is no device".to_string())),
        kind => kind.map_or('a', devices::kind),
    };
    let access = rule.access().clone().filter(|access| !access.is_empty());
    let access = access.unwrap_or_else(|| "rwm".to_string());
    if !access.chars().all(|letter| "rwm".contains(letter)) {
        return Err(refused(format!("{access:?} is more than r, w and m")));
    }
    Ok(DeviceRule {
        allow: rule.allow(),
        kind,
        major: number(rule.major())?,
        minor: number(rule.minor())?,
        access,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: serde_json::Value) -> LinuxResources {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_device_number_that_is_none_is_refused_and_not_taken_for_all() {
        for (number, expected) in [(-1, Ok(None)), (5, Ok(Some(5))), (-2, Err(())), (1_i64 << 32, Err(()))] {
            let given = resources(serde_json::json!({"devices": [{"allow": true, "type": "c", "major": number}]}));
            let planned = device_rules(&given).map(|rules| rules[1].major).map_err(|_| ());
            assert_eq!(planned, expected, "{number}");
        }
    }

    #[test]
    fn every_limit_of_block_devices_is_planned() {
        let given = resources(serde_json::json!({"blockIO": {
            "weight": 300,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 1, "rate": 2}]
        }}));
        let planned = limits(&given).unwrap().block_io;
        assert_eq!((planned.weight, planned.devices[0].weight), (Some(300), Some(500)));
        let throttles: Vec<_> = planned
            .throttles
            .iter()
            .map(|one| (one.device, one.kind, one.rate))
            .collect();
        assert_eq!(
            throttles,
            [
                ((8, 0), ThrottleKind::ReadBytes, 1),
                ((8, 1), ThrottleKind::WriteOperations, 2)
            ]
        );
    }

    #[test]
    fn impossible_limits_are_refused_by_their_field() {
        for (given, field) in [
            (
                serde_json::json!({"memory": {"swappiness": 101}}),
                "linux.resources.memory.swappiness",
            ),
            (
                serde_json::json!({"memory": {"useHierarchy": false}}),
                "linux.resources.memory.useHierarchy",
            ),
            (
                serde_json::json!({"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]}}),
                "linux.resources.blockIO",
            ),
        ] {
            let error = limits(&resources(given)).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
