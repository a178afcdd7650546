//! `mounts`, in the listed order.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount as OciMount, Spec};

use super::{BundleContext, unsupported};
use crate::error::{Error, Result};
use crate::mount_options;
use crate::plan::{Mount, MountSource};

pub(super) fn plan(spec: &Spec, context: &BundleContext) -> Result<Vec<Mount>> {
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref());
    let label = label.filter(|label| !label.is_empty());
    if label.is_some() && !context.facts.selinux {
        return Err(Error::Specification {
            field: "linux.mountLabel",
            reason: "selinux is disabled or not supported on this host".to_string(),
        });
    }
    let mounts = spec.mounts().iter().flatten();
    mounts
        .map(|mount| {
            let mut planned = one(mount, &context.bundle)?;
            if let (Some(label), MountSource::FileSystem { kind, options, .. }) = (label, &mut planned.source)
                && LABELLED.contains(&kind.as_str())
            {
                let separator = if options.is_empty() { "" } else { "," };
                options.push_str(&format!("{separator}context={label}"));
            }
            Ok(planned)
        })
        .collect()
}

/// File systems whose files a container owns; the others have labels of their own.
const LABELLED: [&str; 3] = ["tmpfs", "mqueue", "devpts"];

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
