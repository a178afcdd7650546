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
        (
            asked(host.device_requests.as_ref()),
            "DeviceRequests",
            "a device driver",
        ),
        (host.cpu_count != 0, "CpuCount", "a limit of Windows"),
        (host.kernel_memory_tcp != 0, "KernelMemoryTCP", "a limit of TCP memory"),
    ];
    match refusals.into_iter().find(|(asked, _, _)| *asked) {
        Some((_, field, what)) => Err(unsupported(field, what)),
        None => namespaces::check(host),
    }
}

/// What no engine on Linux gives, in Docker's words.
fn impossible(host: &HostConfig) -> Result<(), Invalid> {
    match host.isolation.as_str() {
        "" | "default" => Ok(()),
        isolation => Err(Invalid::Field(format!(
            "invalid isolation ({isolation}): linux only supports 'default'"
        ))),
    }
}
