//! The descriptors that plans name.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use conex_spec::oci::{self, Descriptor, IdMappings};
use conex_sys::mount;
use conex_sys::process::SingleThreaded;
use conex_sys::userns::{self, IdMap, IdRange};

/// Opens or makes what a plan asks for, in the order of the slots.
pub(crate) fn open(wanted: &[Descriptor], fifo: Option<&Path>) -> Result<Vec<OwnedFd>> {
    wanted.iter().map(|descriptor| one(descriptor, fifo)).collect()
}

fn user_namespace(map: &IdMappings) -> Result<OwnedFd> {
    let range = |(inside, outside, count): &oci::IdRange| IdRange {
        inside: *inside,
        outside: *outside,
        count: *count,
    };
    let map = IdMap {
        users: map.users.iter().map(range).collect(),
        groups: map.groups.iter().map(range).collect(),
    };
    let proof = SingleThreaded::verify().context("make a user namespace")?;
    userns::make(&proof, &map).context("make a user namespace")
}

fn one(descriptor: &Descriptor, fifo: Option<&Path>) -> Result<OwnedFd> {
    match descriptor {
        Descriptor::Namespace(path) => Ok(File::open(path)
            .with_context(|| format!("open namespace {}", path.display()))?
            .into()),
        Descriptor::UserNamespace(map) => user_namespace(map),
        Descriptor::Tree { path, recursive, map } => {
            let place = conex_sys::path::open_place(path).with_context(|| format!("open {}", path.display()))?;
            let tree = mount::clone_tree(place.as_fd(), *recursive)
                .with_context(|| format!("copy the mount {}", path.display()))?;
            if let Some(map) = map {
                let namespace = user_namespace(&map.ids)?;
                mount::map_ids(tree.as_fd(), namespace.as_fd(), map.recursive)
                    .with_context(|| format!("map the ids of the mount {}", path.display()))?;
            }
            Ok(tree)
        }
        Descriptor::Seccomp(program) => conex_sys::memfd::sealed("seccomp", program).context("keep the seccomp filter"),
        Descriptor::StartFifo => {
            let path = fifo.context("there is no fifo to wait at")?;
            // For reading and writing, so that neither opening nor reading ends for want of a writer (fifo(7)).
            let file = OpenOptions::new().read(true).write(true).open(path);
            Ok(file.with_context(|| format!("open {}", path.display()))?.into())
        }
    }
}
