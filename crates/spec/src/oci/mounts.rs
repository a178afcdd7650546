//! `mounts`, in the listed order.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, Mount as OciMount, Spec};

use super::{BundleContext, Descriptor, IdMappings, MountIdMap, Slots};
use crate::error::{Error, Result};
use crate::mount_options::{self, ParsedOptions};
use crate::plan::{Mount, MountSource, Propagation};

/// What mounts depend on beside themselves.
pub(super) struct Surroundings<'a> {
    /// The bundle's.
    context: &'a BundleContext,
    /// Whether the container has a user namespace, and its map where that is a new one: sources of binds are opened by the
    /// runtime then, as the container's root may have no way to them.
    map: Option<&'a Option<IdMappings>>,
    /// Propagation of mounts that are copied from the host's table.
    propagation: Propagation,
}

impl<'a> Surroundings<'a> {
    pub(super) fn new(
        context: &'a BundleContext,
        map: Option<&'a Option<IdMappings>>,
        propagation: Propagation,
    ) -> Self {
        Self {
            context,
            map,
            propagation,
        }
    }
}

pub(super) fn plan(spec: &Spec, around: &Surroundings<'_>, slots: &mut Slots) -> Result<Vec<Mount>> {
    let mounts = spec.mounts().iter().flatten();
    mounts.map(|mount| one(mount, around, slots)).collect()
}

fn one(mount: &OciMount, around: &Surroundings<'_>, slots: &mut Slots) -> Result<Mount> {
    let refused = |reason: &str| Error::Specification {
        field: "mounts",
        reason: format!("{}: {reason}", mount.destination().display()),
    };
    let options = mount_options::parse(mount.options().as_deref().unwrap_or_default())?;
    let kind = mount.typ().as_deref().unwrap_or_default();
    let bound = options.bind.or((kind == "bind").then_some(false));
    if options.copy_up && kind != "tmpfs" {
        return Err(refused("tmpcopyup is for tmpfs only"));
    }
    if bound.is_some() && !options.data.is_empty() {
        return Err(refused(
            "bind mounts cannot have any filesystem-specific options applied",
        ));
    }
    let map = id_map(mount, &options, bound, around)?;
    let source = match (bound, kind) {
        _ if options.remount && !options.data.is_empty() => {
            return Err(refused("a file system cannot be given other options"));
        }
        _ if options.remount => MountSource::Remount,
        (Some(recursive), _) => {
            let path = host_path(mount, &around.context.bundle);
            // A bind is opened in the container's own copy of the host's table, but for three reasons not to: ids are
            // mapped by who has the right to, the container's root may have no way to the source, and what is to be
            // shared with the host must not have been cut off from it.
            let by_runtime = map.is_some() || around.map.is_some() || options.propagation == Some(Propagation::Shared);
            if by_runtime {
                let tree = Descriptor::Tree { path, recursive, map };
                MountSource::Detached { fd: slots.add(tree) }
            } else {
                MountSource::Bind { path, recursive }
            }
        }
        // On either layout the container sees its own cgroups.
        (None, "cgroup" | "cgroup2") => MountSource::Cgroup,
        (None, kind) => MountSource::FileSystem {
            kind: kind.to_string(),
            source: mount
                .source()
                .as_ref()
                .map_or_else(|| kind.to_string(), |path| path.display().to_string()),
            options: options.data.join(","),
        },
    };
    // What was copied outside of the container's mount namespace still shares its mounts with the host's.
    let is_outside = matches!(source, MountSource::Detached { .. });
    let by_default = is_outside.then_some(around.propagation);
    Ok(Mount {
        attributes: options.attributes,
        propagation: options.propagation.or(by_default),
        propagation_alone: options.propagation_alone && options.propagation.is_some(),
        copy_up: options.copy_up,
        // Old specifications have targets without the leading slash; they begin at the root all the same.
        ..Mount::new(Path::new("/").join(mount.destination()), source)
    })
}

/// "If idmap is specified without mappings, those of the container's user namespace are used."
fn id_map(
    mount: &OciMount,
    options: &ParsedOptions,
    bound: Option<bool>,
    around: &Surroundings<'_>,
) -> Result<Option<MountIdMap>> {
    let refused = |reason: &str| Error::Specification {
        field: "mounts",
        reason: format!("{}: {reason}", mount.destination().display()),
    };
    let (users, groups) = (mount.uid_mappings(), mount.gid_mappings());
    let is_empty = |list: &Option<Vec<LinuxIdMapping>>| list.as_ref().is_none_or(Vec::is_empty);
    let own = match (is_empty(users), is_empty(groups)) {
        (true, true) if options.id_map.is_none() => return Ok(None),
        (true, true) => None,
        (false, false) => Some(IdMappings::new(users, groups)?),
        _ => return Err(refused("uidMappings and gidMappings are given together or not at all")),
    };
    if bound.is_none() {
        return Err(refused("id-mapped mounts are only supported for bind mounts"));
    }
    let map = own.or_else(|| around.map.cloned().flatten());
    let map = map.ok_or_else(|| refused("idmap needs mappings, of its own or of the container's user namespace"))?;
    Ok(Some(MountIdMap {
        ids: map,
        recursive: options.id_map.unwrap_or(false),
    }))
}

/// "Runtimes ... relative to the bundle".
fn host_path(mount: &OciMount, bundle: &Path) -> PathBuf {
    bundle.join(mount.source().as_deref().unwrap_or(Path::new("")))
}
