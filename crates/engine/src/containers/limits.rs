//! From the limits that a client asks for to those of a control group.

use std::collections::BTreeMap;

use conex_api_types::{HostConfig, ThrottleDevice};
use conex_cgroup::RealTime;
use conex_container::Config;
use conex_spec::plan::{BlockIo, DeviceWeight, Resources, Throttle, ThrottleKind};
use conex_spec::{CgroupVersion, device_rules};
use rustix::fs::{FileType, major, minor};

use crate::containers::{Container, plan};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};

/// Begins the name of an annotation whose value goes into a file of the container's group as it is; version 2 only.
const RAW: &str = "conex.cgroup.";

/// Period that `NanoCpus` is expressed in, microseconds.
const PERIOD: i64 = 100_000;

/// The shortest quota that the kernel takes, microseconds.
const LEAST_QUOTA: i64 = 1_000;

/// The limits of a container. Devices are looked up by their paths.
///
/// # Errors
/// A device that is not there, or is none.
pub(crate) fn resources(host: &HostConfig) -> Result<Resources> {
    let positive = |value: i64| (value > 0).then_some(value);
    let counted = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let set = |value: i64| (value != 0).then_some(value);
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (quota, period) = match positive(host.nano_cpus) {
        Some(nano) => ((nano / (1_000_000_000 / PERIOD)).max(LEAST_QUOTA), PERIOD),
        None => (host.cpu_quota, host.cpu_period),
    };
    let memory = positive(host.memory);
    Ok(Resources {
        memory,
        // Docker allows as much swap as memory where nothing is said.
        memory_swap: match host.memory_swap {
            0 => memory.map(|memory| memory * 2),
            swap => Some(swap),
        },
        memory_reservation: positive(host.memory_reservation),
        memory_swappiness: host.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        oom_kill_disable: host.oom_kill_disable.filter(|disable| *disable),
        cpu_shares: counted(host.cpu_shares),
        cpu_quota: set(quota),
        cpu_period: counted(period),
        cpu_rt_runtime: set(host.cpu_realtime_runtime),
        cpu_rt_period: counted(host.cpu_realtime_period),
        cpuset_cpus: text(&host.cpuset_cpus),
        cpuset_mems: text(&host.cpuset_mems),
        pids: host.pids_limit.and_then(positive),
        block_io: block_io(host)?,
        unified: raw(host.annotations.as_ref())?,
        ..Resources::default()
    })
}

/// Refuses at creation what a start would refuse whatever the host has by then.
///
/// # Errors
/// Annotations that name no file of a controller, or a host whose version of control groups has none.
pub(crate) fn check(engine: &Inner, config: &Config) -> Result<()> {
    let raw = raw(config.host.annotations.as_ref())?;
    match raw.first() {
        Some((file, _)) if engine.host.facts.cgroups == CgroupVersion::V1 => {
            let words =
                format!("annotation {RAW}{file}: this host has version 1 of control groups, which has no such files");
            Err(Error::new(ErrorKind::InvalidParameter, words))
        }
        _ => Ok(()),
    }
}

/// Gives the group of all containers the real-time CPU time that the daemon was told, before one of them asks for some.
pub(crate) fn give_real_time(engine: &Inner, container: &Container) -> Result<()> {
    let host = &container.config.host;
    let time = engine.settings.real_time;
    if (host.cpu_realtime_period, host.cpu_realtime_runtime) == (0, 0) || time == RealTime::default() {
        return Ok(());
    }
    let path = engine.next_place(container).map_err(plan::invalid)?.path;
    let parent = path.parent().unwrap_or(&path);
    let given = engine.host.cgroups.give_real_time(parent, time);
    given.map_err(|error| Error::new(ErrorKind::System, error.to_string()).caused_by(error))
}

/// Those of a container whose limits have been changed, as they are to be written: what was taken back since, and is nowhere
/// among the new ones, is set to none.
pub(crate) fn changed(before: &Config, after: &Config) -> Result<Resources> {
    let mut resources = resources(&after.host)?;
    resources.pids = resources.pids.or(after.host.pids_limit.map(|_| -1));
    resources.oom_kill_disable = after.host.oom_kill_disable;
    // A device that is gone has no limit to take back.
    let former = block_io(&before.host).unwrap_or_default();
    let now = &mut resources.block_io;
    for device in former.devices {
        if !now.devices.iter().any(|kept| kept.device == device.device) {
            now.devices.push(DeviceWeight {
                weight: Some(0),
                ..device
            });
        }
    }
    for throttle in former.throttles {
        let same = |kept: &Throttle| (kept.device, kept.kind) == (throttle.device, throttle.kind);
        if !now.throttles.iter().any(same) {
            now.throttles.push(Throttle { rate: 0, ..throttle });
        }
    }
    if before.host.device_cgroup_rules != after.host.device_cgroup_rules {
        let rules = after.host.device_cgroup_rules.clone().unwrap_or_default();
        let devices = plan::devices(after)?;
        resources.devices = device_rules(after.host.privileged, &devices, &rules).map_err(plan::invalid)?;
    }
    Ok(resources)
}

fn block_io(host: &HostConfig) -> Result<BlockIo> {
    let weights = host.blkio_weight_device.iter().flatten();
    let devices = weights.map(|one| {
        Ok(DeviceWeight {
            device: block_device(&one.path)?,
            weight: Some(one.weight),
            leaf_weight: None,
        })
    });
    let rates: [(&Option<Vec<ThrottleDevice>>, ThrottleKind); 4] = [
        (&host.blkio_device_read_bps, ThrottleKind::ReadBytes),
        (&host.blkio_device_write_bps, ThrottleKind::WriteBytes),
        (&host.blkio_device_read_iops, ThrottleKind::ReadOperations),
        (&host.blkio_device_write_iops, ThrottleKind::WriteOperations),
    ];
    let rates = rates
        .into_iter()
        .flat_map(|(list, kind)| list.iter().flatten().map(move |one| (one, kind)));
    let throttles = rates.map(|(one, kind)| {
        Ok(Throttle {
            device: block_device(&one.path)?,
            kind,
            rate: one.rate,
        })
    });
    Ok(BlockIo {
        weight: Some(host.blkio_weight).filter(|weight| *weight > 0),
        leaf_weight: None,
        devices: devices.collect::<Result<_>>()?,
        throttles: throttles.collect::<Result<_>>()?,
    })
}

/// Major and minor number of a block device.
fn block_device(path: &str) -> Result<(u32, u32)> {
    let refuse = |reason: &dyn std::fmt::Display| {
        let words = format!("limit the I/O of the device \"{path}\": {reason}");
        Error::new(ErrorKind::InvalidParameter, words)
    };
    let stat = rustix::fs::stat(path).map_err(|error| refuse(&error))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => Ok((major(stat.st_rdev), minor(stat.st_rdev))),
        _ => Err(refuse(&"not a block device")),
    }
}

/// Files of version 2 that annotations name, and what is written to them.
fn raw(annotations: Option<&BTreeMap<String, String>>) -> Result<Vec<(String, String)>> {
    let all = annotations.into_iter().flatten();
    let named = all.filter_map(|(name, value)| Some((name.strip_prefix(RAW)?, value)));
    let files = named.map(|(file, value)| {
        // Those of the group itself would move, freeze or kill processes behind the engine's back.
        let is_limit = file
            .split_once('.')
            .is_some_and(|(controller, rest)| controller != "cgroup" && !controller.is_empty() && !rest.is_empty());
        if is_limit && !file.contains('/') {
            return Ok((file.to_owned(), value.clone()));
        }
        let words = format!("invalid annotation {RAW}{file}: not the name of a controller's file");
        Err(Error::new(ErrorKind::InvalidParameter, words))
    });
    files.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use super::*;

    fn of(host: HostConfig) -> Resources {
        resources(&host).unwrap()
    }

    #[test]
    fn half_a_cpu_is_half_a_period() {
        let limits = of(HostConfig {
            nano_cpus: 500_000_000,
            ..HostConfig::default()
        });
        assert_eq!((limits.cpu_quota, limits.cpu_period), (Some(50_000), Some(100_000)));
        let limits = of(HostConfig {
            nano_cpus: 1,
            ..HostConfig::default()
        });
        assert_eq!(limits.cpu_quota, Some(1_000));
    }

    #[test]
    fn memory_comes_with_as_much_swap() {
        for (memory_swap, swap) in [(0, 128 << 20), (-1, -1), (96 << 20, 96 << 20)] {
            let limits = of(HostConfig {
                memory: 64 << 20,
                memory_swap,
                ..HostConfig::default()
            });
            assert_eq!((limits.memory, limits.memory_swap), (Some(64 << 20), Some(swap)));
        }
    }

    #[test]
    fn annotations_name_files_of_controllers_only() {
        let annotated = |name: &str| HostConfig {
            annotations: Some([(name.to_owned(), "5".to_owned())].into()),
            ..HostConfig::default()
        };
        let file = ("memory.high".to_owned(), "5".to_owned());
        assert_eq!(of(annotated("conex.cgroup.memory.high")).unified, [file]);
        assert!(of(annotated("some.other")).unified.is_empty());
        for name in ["cgroup.procs", "../x.y", "memory", ".max", "memory."] {
            let refused = resources(&annotated(&format!("conex.cgroup.{name}"))).unwrap_err();
            assert!(refused.message().starts_with("invalid annotation"), "{name}");
        }
    }

    #[test]
    fn what_is_no_block_device_is_refused() {
        let throttled = |path: &str| HostConfig {
            blkio_device_read_bps: Some(vec![ThrottleDevice {
                path: path.to_owned(),
                rate: 1,
            }]),
            ..HostConfig::default()
        };
        let words = |path: &str| resources(&throttled(path)).unwrap_err().message().to_owned();
        assert!(words("/dev/null").ends_with("not a block device"));
        assert!(words("/nosuch").contains("No such file or directory"));
    }
}
