//! `mounts`, in the listed order.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount as OciMount, Spec};

use super::unsupported;
use crate::error::Result;
use crate::mount_options;
use crate::plan::{Mount, MountSource};

pub(super) fn plan(spec: &Spec, bundle: &Path) -> Result<Vec<Mount>> {
    spec.mounts().iter().flatten().map(|mount| one(mount, bundle)).collect()
}

fn one(mount: &OciMount, bundle: &Path) -> Result<Mount> {
    if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
        return Err(unsupported(format!(
            "the id mapping of the mount {}",
            mount.destination().display()
        )));
    }
    let options = mount_options::parse(mount.options().as_deref().unwrap_or_default())?;
    let kind = mount.typ().as_deref().unwrap_or_default();
    let bound = options.bind.or((kind == "bind").then_some(false));
    let source = match (bound, kind) {
        (Some(recursive), _) => MountSource::Bind {
            path: host_path(mount, bundle),
            recursive,
        },
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
    // Old specifications have targets without the leading slash; they begin at the root all the same.
    let target = Path::new("/").join(mount.destination());
    Ok(Mount {
        target,
        source,
        attributes: options.attributes,
        propagation: options.propagation,
    })
}

/// "Runtimes ... relative to the bundle".
fn host_path(mount: &OciMount, bundle: &Path) -> PathBuf {
    bundle.join(mount.source().as_deref().unwrap_or(Path::new("")))
}
