//! What clients of older API versions mean by a request (Engine API, "Version history").

use conex_api_types::{ContainerCreateRequest, HostConfig};

use crate::answer::Failure;

/// Major and minor number.
type Version = (u32, u32);

/// The first version that makes what is mounted below a read-only bind read-only too.
pub(super) const RECURSIVE_READ_ONLY: Version = (1, 44);

/// The first version that asks for a platform.
pub(super) const PLATFORM: Version = (1, 41);

/// Gives fields the meaning that they have in a version of the API: those that it does not have yet are not read, unless
/// their absence would be missed. Returns what the client should know.
pub(super) fn adapt(request: &mut ContainerCreateRequest, version: Version) -> Result<Vec<String>, Failure> {
    adapt_host(&mut request.host_config, version);
    adapt_mounts(&mut request.host_config, version)?;
    let networks = &mut request.networking_config.endpoints_config;
    if version < (1, 44) {
        if networks.len() > 1 {
            let names: Vec<&str> = networks.keys().map(String::as_str).collect();
            return Err(Failure::bad_request(format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            )));
        }
        for settings in networks.values_mut().flatten() {
            settings.mac_address.clear();
        }
        if let Some(check) = &mut request.healthcheck {
            check.start_interval = 0;
        }
    }
    let mut warnings = Vec::new();
    if version >= (1, 44) && !request.mac_address.is_empty() {
        warnings.push(
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
                .to_owned(),
        );
    }
    Ok(warnings)
}

fn adapt_host(host: &mut HostConfig, version: Version) {
    if version < (1, 25) {
        // The client removes the container.
        host.auto_remove = false;
    }
    if version < (1, 40) {
        host.kernel_memory_tcp = 0;
        if host.ipc_mode.is_empty() {
            "shareable".clone_into(&mut host.ipc_mode);
        }
    }
    if version < (1, 42) {
        host.console_size = None;
    }
    if version < (1, 43) {
        host.annotations = None;
    }
}

fn adapt_mounts(host: &mut HostConfig, version: Version) -> Result<(), Failure> {
    let needs = |field: &str, version: &str| {
        let words = format!("{field} needs API v{version} or newer");
        Err(Failure::bad_request(words))
    };
    for mount in host.mounts.iter_mut().flatten() {
        if let Some(options) = &mut mount.bind_options {
            options.non_recursive &= version >= (1, 40);
            options.create_mountpoint &= version >= (1, 42);
            if options.read_only_force_recursive && mount.kind == "bind" && version < RECURSIVE_READ_ONLY {
                return needs("BindOptions.ReadOnlyForceRecursive", "1.44");
            }
            // As it is inspected then.
            options.read_only_non_recursive |= mount.read_only && version < RECURSIVE_READ_ONLY;
        }
        let subpath = mount.volume_options.as_ref().map_or("", |options| &options.subpath);
        if !subpath.is_empty() && version < (1, 45) {
            return needs("VolumeOptions.Subpath", "1.45");
        }
        if mount.kind == "image" && version < (1, 48) {
            return needs("Mount type \"Image\"", "1.48");
        }
    }
    Ok(())
}
