//! `linux.namespaces`.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::{Descriptor, IdMappings, Slots, scheduling};
use crate::error::{Error, Result};
use crate::plan::{FdSlot, Namespace, Step};

/// What the list of namespaces comes to.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// Those that `clone3` makes.
    pub(super) new: Vec<Namespace>,
    /// Those that are not the host's.
    pub(super) own: Vec<Namespace>,
    /// Steps into existing ones.
    pub(super) enter: Vec<Step>,
    /// The step into a cgroup namespace, after the cgroup was joined.
    pub(super) cgroup: Option<Step>,
    /// The step into an existing mount namespace, after what is done on the host's `/proc` and cgroups.
    pub(super) mount: Option<Step>,
    /// An existing pid namespace.
    pub(super) pid: Option<FdSlot>,
    /// A user namespace.
    pub(super) user: Option<UserNamespace>,
}

/// A user namespace that is not the runtime's.
#[derive(Debug)]
pub(super) struct UserNamespace {
    pub(super) fd: FdSlot,
    /// Its map, where it is a new one.
    pub(super) map: Option<IdMappings>,
}

pub(super) fn plan(linux: &Linux, slots: &mut Slots) -> Result<Namespaces> {
    let mut planned = Namespaces::default();
    for namespace in linux.namespaces().iter().flatten() {
        let kind = kind(namespace.typ())?;
        if planned.own.contains(&kind) {
            let reason = format!("namespace {kind:?} is listed twice");
            return Err(Error::Specification {
                field: "linux.namespaces",
                reason,
            });
        }
        planned.own.push(kind);
        let path = namespace.path().clone().filter(|path| !path.as_os_str().is_empty());
        match (kind, path) {
            (Namespace::Cgroup, None) => planned.cgroup = Some(Step::UnshareCgroup),
            // Early, while `/proc` is the host's.
            (Namespace::Time, None) => planned.enter.push(Step::UnshareTime(scheduling::clocks(linux)?)),
            (Namespace::Pid, Some(path)) => planned.pid = Some(slots.add(Descriptor::Namespace(path))),
            (Namespace::User, path) => planned.user = Some(user(linux, path, slots)?),
            (kind, None) => planned.new.push(kind),
            (kind, Some(path)) => {
                let step = Step::EnterNamespace {
                    namespace: kind,
                    fd: slots.add(Descriptor::Namespace(path)),
                };
                match kind {
                    Namespace::Cgroup => planned.cgroup = Some(step),
                    Namespace::Mount => planned.mount = Some(step),
                    _ => planned.enter.push(step),
                }
            }
        }
    }
    if planned.user.is_none() && !has_no_map(linux) {
        return Err(Error::Specification {
            field: "linux.uidMappings",
            reason: "user namespace mappings specified, but user namespace isn't enabled in the config".to_string(),
        });
    }
    let has_offsets = linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty());
    if has_offsets && !planned.enter.iter().any(|step| matches!(step, Step::UnshareTime(_))) {
        return Err(Error::Specification {
            field: "linux.timeOffsets",
            reason: "there is no new time namespace".to_string(),
        });
    }
    if !planned.own.contains(&Namespace::Mount) {
        // Without one the container's mounts would land in the host's table.
        let reason = "a mount namespace is required".to_string();
        return Err(Error::Specification {
            field: "linux.namespaces",
            reason,
        });
    }
    Ok(planned)
}

/// A new user namespace has a map, one that exists has its own.
fn user(linux: &Linux, path: Option<PathBuf>, slots: &mut Slots) -> Result<UserNamespace> {
    let (users, groups) = (linux.uid_mappings(), linux.gid_mappings());
    match path {
        Some(path) => Ok(UserNamespace {
            fd: slots.add(Descriptor::Namespace(path)),
            map: None,
        }),
        None if has_no_map(linux) => Err(Error::Specification {
            field: "linux.uidMappings",
            reason: "a new user namespace needs mappings".to_string(),
        }),
        None => {
            let map = IdMappings::new(users, groups)?;
            Ok(UserNamespace {
                fd: slots.add(Descriptor::UserNamespace(map.clone())),
                map: Some(map),
            })
        }
    }
}

fn has_no_map(linux: &Linux) -> bool {
    let is_empty = |list: &Option<Vec<LinuxIdMapping>>| list.as_ref().is_none_or(Vec::is_empty);
    is_empty(linux.uid_mappings()) && is_empty(linux.gid_mappings())
}

fn kind(kind: LinuxNamespaceType) -> Result<Namespace> {
    match kind {
        LinuxNamespaceType::Mount => Ok(Namespace::Mount),
        LinuxNamespaceType::Cgroup => Ok(Namespace::Cgroup),
        LinuxNamespaceType::Uts => Ok(Namespace::Uts),
        LinuxNamespaceType::Ipc => Ok(Namespace::Ipc),
        LinuxNamespaceType::Pid => Ok(Namespace::Pid),
        LinuxNamespaceType::Network => Ok(Namespace::Network),
        LinuxNamespaceType::User => Ok(Namespace::User),
        LinuxNamespaceType::Time => Ok(Namespace::Time),
    }
}
