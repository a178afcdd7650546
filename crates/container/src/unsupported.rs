//! Fields that are known and not honoured yet: refused by name where they ask for something.

use conex_api_types::{ContainerCreateRequest, HostConfig};

use crate::invalid::Invalid;
use crate::userns::UsernsMode;
use crate::{health, namespaces, restart, storage};

/// Refuses what would otherwise be ignored.
pub(crate) fn refuse(request: &ContainerCreateRequest) -> Result<(), Invalid> {
    health::check(request.healthcheck.as_ref())?;
    refuse_host(&request.host_config)
}

/// What a container keeps that is there already.
pub(crate) fn refuse_change(host: &HostConfig) -> Result<(), Invalid> {
    match &host.storage_opt {
        Some(options) if !options.is_empty() => Err(unsupported("StorageOpt", "another limit than at creation")),
        _ => Ok(()),
    }
}

fn unsupported(field: &'static str, what: impl Into<String>) -> Invalid {
    Invalid::Unsupported {
        field,
        what: what.into(),
    }
}

fn asked<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

#[expect(clippy::too_many_lines, reason = "a flat table")]
pub(crate) fn refuse_host(host: &HostConfig) -> Result<(), Invalid> {
    restart::check(host)?;
    impossible(host)?;
    UsernsMode::parse(&host.userns_mode)?;
    storage::layer_size(host)?;
    let refusals = [
        (
            !matches!(host.runtime.as_str(), "" | "conex" | "runc"),
            "Runtime",
            "another runtime",
        ),
        (!host.cgroup.is_empty(), "Cgroup", "a shared cgroup"),
        (host.blkio_weight != 0, "BlkioWeight", "an I/O weight"),
        (
            asked(host.blkio_weight_device.as_ref()),
            "BlkioWeightDevice",
            "an I/O weight",
        ),
        (
            asked(host.blkio_device_read_bps.as_ref()),
            "BlkioDeviceReadBps",
            "an I/O limit",
        ),
        (
            asked(host.blkio_device_write_bps.as_ref()),
            "BlkioDeviceWriteBps",
            "an I/O limit",
        ),
        (
            asked(host.blkio_device_read_iops.as_ref()),
            "BlkioDeviceReadIOps",
            "an I/O limit",
        ),
        (
            asked(host.blkio_device_write_iops.as_ref()),
            "BlkioDeviceWriteIOps",
            "an I/O limit",
        ),
        (
            host.cpu_realtime_period != 0,
            "CpuRealtimePeriod",
            "real-time scheduling",
        ),
        (
            host.cpu_realtime_runtime != 0,
            "CpuRealtimeRuntime",
            "real-time scheduling",
        ),
        (
            asked(host.device_requests.as_ref()),
            "DeviceRequests",
            "a device driver",
        ),
        (
            host.memory_swappiness.is_some_and(|value| value != -1),
            "MemorySwappiness",
            "swappiness",
        ),
        (
            host.oom_kill_disable == Some(true),
            "OomKillDisable",
            "disabling the OOM killer",
        ),
        (host.cpu_count != 0, "CpuCount", "a limit of Windows"),
        (host.cpu_percent != 0, "CpuPercent", "a limit of Windows"),
        (host.io_maximum_iops != 0, "IOMaximumIOps", "a limit of Windows"),
        (
            host.io_maximum_bandwidth != 0,
            "IOMaximumBandwidth",
            "a limit of Windows",
        ),
        (host.kernel_memory_tcp != 0, "KernelMemoryTCP", "a limit of TCP memory"),
    ];
    match refusals.into_iter().find(|(asked, _, _)| *asked) {
        Some((_, field, what)) => Err(unsupported(field, what)),
        None => namespaces::check(host),
    }
}

/// What no engine on Linux gives, in Docker's words.
fn impossible(host: &HostConfig) -> Result<(), Invalid> {
    let isolation = host.isolation.as_str();
    let refusal = (!matches!(isolation, "" | "default"))
        .then(|| format!("invalid isolation ({isolation}): linux only supports 'default'"));
    let swappiness = host.memory_swappiness.filter(|value| !(-1..=100).contains(value));
    let refusal = refusal
        .or_else(|| swappiness.map(|value| format!("Invalid value: {value}, valid memory swappiness range is 0-100")));
    let refusal = refusal.or_else(|| {
        (host.cpu_realtime_period > 0 && host.cpu_realtime_runtime > host.cpu_realtime_period)
            .then(|| "cpu real-time runtime cannot be higher than cpu real-time period".to_owned())
    });
    refusal.map_or(Ok(()), |words| Err(Invalid::Field(words)))
}
