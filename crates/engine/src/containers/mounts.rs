//! What is mounted into a container beside its root file system: binds, volumes, and files of the engine's own.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use conex_container::{BindPropagation, MountChoice, NetworkChoice, Relabel};
use conex_spec::plan::{MountSource, Propagation};
use conex_spec::security::SecurityOptions;
use conex_spec::selinux::NESTED;
use conex_spec::{IpcChoice, MountRequest, Submounts};
use conex_sys::mount::{self, Attributes};
use conex_sys::selinux::INTERFACE;

use crate::containers::Container;
use crate::containers::launch::{Slots, system};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::selinux;

/// Something that is mounted into a container beside its root file system.
pub(crate) struct HostMount {
    /// What is asked of the plan.
    pub(crate) request: MountRequest,
    /// The source as a detached mount where its path is not to be trusted a second time: a part of a volume, whose links
    /// others may change.
    pub(crate) tree: Option<OwnedFd>,
    /// For whom SELinux is to label it, if at all.
    pub(crate) relabel: Option<Relabel>,
}

/// What is mounted, for a plan that names descriptors.
pub(crate) fn planned(engine: &Inner, container: &Container, slots: &mut Slots) -> Result<Vec<MountRequest>> {
    let mounts = all(engine, container)?.into_iter();
    let label = selinux::mount_label(engine, container);
    let planned = mounts.map(|mount| {
        let HostMount {
            mut request,
            tree,
            relabel,
        } = mount;
        if let (MountSource::Bind { path, .. }, Some(whom), Some(label)) = (&request.source, relabel, label) {
            selinux::relabel(path, tree.as_ref(), (label, whom))?;
        }
        let tree = match tree {
            None if container.map.is_some() => clone_bind(&request)?,
            tree => tree,
        };
        if let Some(tree) = tree {
            request.source = MountSource::Detached { fd: slots.add(tree) };
        }
        Ok(request)
    });
    planned.collect()
}

/// The files by which a container's processes see that there is SELinux, and ask it.
pub(crate) fn nested(label: Option<&str>, options: &SecurityOptions) -> Option<MountRequest> {
    let is_wanted = label.is_some() && options.labels.iter().any(|option| option == NESTED);
    is_wanted.then(|| MountRequest {
        no_suid: true,
        no_exec: true,
        ..MountRequest::bind(INTERFACE, INTERFACE)
    })
}

/// The host's message queues, for a container in a user namespace that shares them. Only who has rights over an IPC namespace
/// can mount those that are in it (mq_overview(7)).
pub(crate) fn host_queues(container: &Container, ipc: IpcChoice, slots: &mut Slots) -> Result<Option<MountRequest>> {
    const AT: &str = "/dev/mqueue";
    if container.map.is_none() || ipc != IpcChoice::Host {
        return Ok(None);
    }
    let attributes = Attributes::NO_SUID
        .with(Attributes::NO_DEV, true)
        .with(Attributes::NO_EXEC, true);
    let mounted = mount::new_file_system("mqueue", "mqueue", &[], attributes).map_err(system(format!("mount {AT}")))?;
    Ok(Some(MountRequest {
        source: MountSource::Detached { fd: slots.add(mounted) },
        ..MountRequest::bind(AT, AT)
    }))
}

/// What a bind shows, as a detached mount: the process of a user namespace may have no way to it.
fn clone_bind(request: &MountRequest) -> Result<Option<OwnedFd>> {
    let MountSource::Bind { path, recursive } = &request.source else {
        return Ok(None);
    };
    let cloned = conex_sys::path::open_place(path).and_then(|place| mount::clone_tree(place.as_fd(), *recursive));
    let words = format!("mount {} on {}", path.display(), request.target.display());
    cloned.map(Some).map_err(system(words))
}

/// What is mounted into a container beside its root file system.
pub(crate) fn all(engine: &Inner, container: &Container) -> Result<Vec<HostMount>> {
    // Who shares another container's network shares its names.
    let (names, whom) = match &container.config.network {
        NetworkChoice::Container(other) => (other, Relabel::ForAll),
        _ => (&container.id, Relabel::ForOne),
    };
    let dir = engine.files.dir(names);
    let asked = &container.config.mounts;
    let mut mounts = Vec::new();
    for (name, target) in [
        ("resolv.conf", "/etc/resolv.conf"),
        ("hostname", "/etc/hostname"),
        ("hosts", "/etc/hosts"),
    ] {
        // A bind of the client's goes before ours.
        if !asked.iter().any(|mount| mount.target() == target) {
            let bind = MountRequest::bind(dir.join(name), target);
            let request = MountRequest {
                read_only: container.config.host.readonly_rootfs,
                ..bind
            };
            mounts.push(HostMount {
                request,
                tree: None,
                relabel: Some(whom),
            });
        }
    }
    for mount in asked {
        let tree = match mount {
            MountChoice::Volume(volume) if !volume.subpath.is_empty() => Some(engine.volumes.clone_subpath(volume)?),
            _ => None,
        };
        let request = mount_request(engine, mount)?;
        let relabel = mount.relabel();
        mounts.push(HostMount { request, tree, relabel });
    }
    Ok(mounts)
}

fn planned_submounts(submounts: conex_container::Submounts) -> Submounts {
    match submounts {
        conex_container::Submounts::ReadOnly => Submounts::ReadOnly,
        conex_container::Submounts::ForcedReadOnly => Submounts::ForcedReadOnly,
        conex_container::Submounts::Unchanged => Submounts::Unchanged,
    }
}

fn mount_request(engine: &Inner, choice: &MountChoice) -> Result<MountRequest> {
    match choice {
        MountChoice::Bind {
            source,
            target,
            read_only,
            submounts,
            recursive,
            create,
            propagation,
            ..
        } => {
            ensure_source(source, *create)?;
            Ok(MountRequest {
                source: MountSource::Bind {
                    path: PathBuf::from(source),
                    recursive: *recursive,
                },
                read_only: *read_only,
                submounts: planned_submounts(*submounts),
                propagation: match propagation {
                    BindPropagation::Private => None,
                    BindPropagation::Slave => Some(Propagation::Slave),
                    BindPropagation::Shared => Some(Propagation::Shared),
                },
                ..MountRequest::bind(source, target)
            })
        }
        MountChoice::Volume(volume) => Ok(MountRequest {
            read_only: volume.read_only,
            ..MountRequest::bind(engine.volumes.path(volume), &volume.target)
        }),
        MountChoice::Tmpfs {
            target,
            size,
            mode,
            read_only,
            exec,
        } => {
            let mut options = vec![format!("mode={:o}", if *mode == 0 { 0o1777 } else { *mode })];
            if *size > 0 {
                options.push(format!("size={size}"));
            }
            let source = MountSource::FileSystem {
                kind: "tmpfs".to_owned(),
                source: "tmpfs".to_owned(),
                options: options.join(","),
            };
            Ok(MountRequest {
                source,
                read_only: *read_only,
                no_suid: true,
                no_dev: true,
                no_exec: !exec,
                ..MountRequest::bind("/", target)
            })
        }
    }
}

/// `-v` makes a directory that is not there, `--mount` does not.
pub(crate) fn ensure_source(source: &str, create: bool) -> Result<()> {
    match std::fs::metadata(source) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => std::fs::create_dir_all(source)
            .map_err(|error| {
                Error::new(
                    ErrorKind::System,
                    format!("error while creating mount source path '{source}': {error}"),
                )
            }),
        Err(_) => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("invalid mount config for type \"bind\": bind source path does not exist: {source}"),
        )),
    }
}
