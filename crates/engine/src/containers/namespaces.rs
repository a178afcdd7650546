//! Namespaces of other containers: `--ipc container:`, `--pid container:`.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use conex_container::Config;
use conex_container::namespaces::{OF_CONTAINER, joined};
use conex_container::state::State;
use conex_spec::plan::MountSource;
use conex_spec::{IpcChoice, MountRequest, NamespaceChoice};

use crate::containers::Container;
use crate::containers::launch::{Slots, system};
use crate::containers::task::{not_running, restarting};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};

/// Where POSIX shared memory is (shm_overview(7)).
const SHM: &str = "/dev/shm";

/// Gives the containers that are joined the ids that they are recorded by.
pub(crate) fn resolve(inner: &Inner, config: &mut Config) -> Result<()> {
    for mode in [&mut config.host.ipc_mode, &mut config.host.pid_mode] {
        let Some(name) = joined(mode) else { continue };
        let other = inner.containers.find(name);
        let other = other.map_err(|error| Error::new(ErrorKind::InvalidParameter, error.message()))?;
        *mode = format!("{OF_CONTAINER}{}", other.id);
    }
    Ok(())
}

/// The containers whose namespaces a container shares, those that are there.
pub(crate) fn others(engine: &Inner, config: &Config) -> Vec<Arc<Container>> {
    let host = &config.host;
    let modes = [&host.network_mode, &host.ipc_mode, &host.pid_mode];
    let names = modes.into_iter().filter_map(|mode| joined(mode));
    names.filter_map(|name| engine.containers.find(name).ok()).collect()
}

/// The IPC namespace of a container, and where that is another container's, the memory that goes with it.
pub(crate) fn ipc(engine: &Inner, config: &Config, slots: &mut Slots) -> Result<(IpcChoice, Option<MountRequest>)> {
    let own = match config.host.ipc_mode.as_str() {
        "host" => IpcChoice::Host,
        "none" => IpcChoice::None,
        "shareable" => IpcChoice::Shareable,
        mode => match joined(mode) {
            Some(other) => {
                return join_ipc(engine, config, other, slots).map_err(|error| {
                    let class = match error.kind() {
                        ErrorKind::NotFound => ErrorKind::InvalidParameter,
                        class => class,
                    };
                    refused(class, "IPC", &error)
                });
            }
            None => IpcChoice::Private,
        },
    };
    Ok((own, None))
}

/// The pid namespace of a container.
pub(crate) fn pid(engine: &Inner, config: &Config, slots: &mut Slots) -> Result<NamespaceChoice> {
    let mode = config.host.pid_mode.as_str();
    if mode == "host" {
        return Ok(NamespaceChoice::Host);
    }
    let Some(other) = joined(mode) else {
        return Ok(NamespaceChoice::New);
    };
    let mut join = || {
        let [namespace] = open(engine, other, ["pid"])?;
        if is_own(&namespace, "pid")? {
            return Ok(NamespaceChoice::Host);
        }
        Ok(NamespaceChoice::Enter(slots.add(namespace)))
    };
    // Docker's class, whatever the reason is.
    join().map_err(|error| refused(ErrorKind::System, "PID", &error))
}

/// Docker's words.
fn refused(class: ErrorKind, namespace: &str, error: &Error) -> Error {
    Error::new(
        class,
        format!("failed to join {namespace} namespace: {}", error.message()),
    )
}

fn join_ipc(
    engine: &Inner,
    config: &Config,
    other: &str,
    slots: &mut Slots,
) -> Result<(IpcChoice, Option<MountRequest>)> {
    let [ipc, mounts] = open(engine, other, ["ipc", "mnt"])?;
    let other = engine.containers.find(other)?;
    if !is_shared(&other.config) {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                other.id
            ),
        ));
    }
    if is_own(&ipc, "ipc")? {
        return Ok((IpcChoice::Host, None));
    }
    let choice = IpcChoice::Enter(slots.add(ipc));
    if mounts_shm(config) {
        return Ok((choice, None));
    }
    let source = MountSource::Elsewhere {
        namespace: slots.add(mounts),
        path: SHM.into(),
    };
    let request = MountRequest {
        source,
        ..MountRequest::bind(SHM, SHM)
    };
    Ok((choice, Some(request)))
}

/// Whether others may have a container's IPC namespace; it is theirs with its memory, so that must not be something else.
fn is_shared(config: &Config) -> bool {
    let mode = config.host.ipc_mode.as_str();
    (matches!(mode, "host" | "shareable") || joined(mode).is_some()) && !mounts_shm(config)
}

fn mounts_shm(config: &Config) -> bool {
    let is_shm = |target: &str| target.trim_end_matches('/') == SHM;
    config.mounts.iter().any(|mount| is_shm(mount.target()))
        || config.host.tmpfs.iter().flatten().any(|(target, _)| is_shm(target))
}

/// Opens namespaces of a container that runs.
fn open<const N: usize>(engine: &Inner, other: &str, kinds: [&str; N]) -> Result<[OwnedFd; N]> {
    let other = engine.containers.find(other)?;
    let pid = pid_of(&other)?;
    let mut opened = Vec::with_capacity(N);
    for kind in kinds {
        let path = format!("/proc/{pid}/ns/{kind}");
        // One that has just ended has none any more.
        let file = File::open(&path).map_err(|_| not_running(&other))?;
        opened.push(OwnedFd::from(file));
    }
    // The pid may have become another process's meanwhile, but not while the container runs.
    if pid_of(&other)? != pid {
        return Err(not_running(&other));
    }
    opened
        .try_into()
        .map_err(|_| Error::new(ErrorKind::System, "open the namespaces"))
}

fn pid_of(other: &Container) -> Result<i32> {
    match other.view().state {
        State::Running { pid, .. } => Ok(pid),
        state if state.is_restarting() => Err(restarting(&other.id)),
        _ => Err(not_running(other)),
    }
}

/// Whether a namespace is the host's, so that what is forbidden there is forbidden.
fn is_own(namespace: &OwnedFd, kind: &str) -> Result<bool> {
    let failed = || format!("look at the {kind} namespace");
    let there = rustix::fs::fstat(namespace).map_err(|error| system(failed())(error.into()))?;
    let own = std::fs::metadata(format!("/proc/self/ns/{kind}")).map_err(system(failed()))?;
    Ok((there.st_dev, there.st_ino) == (own.dev(), own.ino()))
}
