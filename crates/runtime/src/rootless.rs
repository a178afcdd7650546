//! Callers without rights on the host, and what they do without.
//!
//! One who is not root makes a container by moving into its user namespace first, which maps the caller's own ids and no
//! others; what follows is what root does, in there. Control groups are not to be had for most of them.

use std::fs;

use anyhow::{Context, Result, bail};
use conex_cgroup::{Cgroup, Layout};
use conex_spec::plan::{CgroupPlan, InitPlan, Resources, Step, UserSpec};
use conex_sys::process::SingleThreaded;
use conex_sys::userns;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use crate::arguments::Global;

/// Whether control groups may be denied: `--rootless`, by default where the caller is not the host's root.
pub(crate) fn lets_cgroups_be_denied(global: &Global) -> bool {
    global.rootless.unwrap_or_else(|| !is_root_of_host())
}

fn is_root_of_host() -> bool {
    let is_all = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    rustix::process::geteuid().is_root() && fs::read_to_string("/proc/self/uid_map").is_ok_and(is_all)
}

/// Moves this process into the user namespace that a specification asks for, and takes it out of the specification. Nothing is
/// done for root.
pub(crate) fn enter(spec: &mut Spec) -> Result<()> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root() {
        return Ok(());
    }
    let Some(linux) = spec.linux_mut().as_mut() else {
        return Ok(());
    };
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    let mut asked = namespaces.extract_if(.., |namespace| namespace.typ() == LinuxNamespaceType::User);
    let Some(namespace) = asked.next() else {
        bail!("rootless container requires user namespaces")
    };
    drop(asked);
    if namespace.path().is_some() {
        bail!("joining an existing user namespace is not supported for a caller who is not root");
    }
    let inside = (
        own("UID", linux.uid_mappings(), user.as_raw())?,
        own("GID", linux.gid_mappings(), group.as_raw())?,
    );
    let proof = SingleThreaded::verify().context("make a user namespace")?;
    userns::enter_alone(&proof, inside).context("make a user namespace")?;
    linux.set_namespaces(Some(namespaces));
    linux.set_uid_mappings(None);
    linux.set_gid_mappings(None);
    Ok(())
}

/// What the caller's own id is in the namespace.
fn own(kind: &str, mappings: &Option<Vec<LinuxIdMapping>>, id: u32) -> Result<u32> {
    match mappings.as_deref() {
        None | Some([]) => bail!("rootless containers requires at least one {kind} mapping"),
        Some([one]) if one.host_id() == id && one.size() == 1 => Ok(one.container_id()),
        Some(_) => bail!(
            "{kind} mappings other than that of the caller's own id ({id}) alone are not supported for a caller who is not root"
        ),
    }
}

/// Leaves groups as they are where the namespace denies a change.
pub(crate) fn keep_groups(steps: &mut [Step], is_denied: bool) -> Result<()> {
    for step in steps.iter_mut().filter(|_| is_denied) {
        let Step::User(UserSpec::Ids { uid, gid, additional }) = step else {
            continue;
        };
        if !additional.is_empty() {
            bail!("cannot set any additional groups in a rootless container");
        }
        let (uid, gid) = (*uid, *gid);
        *step = Step::User(UserSpec::WithoutGroups { uid, gid });
    }
    Ok(())
}

/// Does without what is denied of a container's control group: the guard of its devices, and the group itself where it is not
/// asked for by its path, and no limit either.
pub(crate) fn settle_cgroup(plan: &mut InitPlan, is_named: bool) -> Result<()> {
    let Some(wanted) = &mut plan.cgroup else {
        return Ok(());
    };
    if !is_root_of_host() {
        // Only root of the host sets rules for devices (cgroup-v1/devices.rst, bpf(2)).
        wanted.resources.devices.clear();
    }
    if is_named || !is_denied(wanted)? {
        return Ok(());
    }
    if let Some(limit) = limit(&wanted.resources) {
        bail!("cannot set {limit} limit: container could not join or create cgroup");
    }
    plan.cgroup = None;
    Ok(())
}

/// Whether the kernel denies the control group, limits or no limits. What else is wrong with it is told when it is made.
fn is_denied(wanted: &CgroupPlan) -> Result<bool> {
    let layout = Layout::probe().context("probe the cgroups")?;
    let bare = CgroupPlan {
        resources: Resources::default(),
        ..wanted.clone()
    };
    match Cgroup::create(&layout, &bare) {
        Ok(mut made) => made.remove().map(|()| false).context("remove the cgroup again"),
        Err(error) => Ok(error.is_denied()),
    }
}

/// Which controller the first limit belongs to.
fn limit(resources: &Resources) -> Option<&'static str> {
    let without_devices = Resources {
        devices: Vec::new(),
        ..resources.clone()
    };
    let named = [
        ("memory", resources.memory.is_some() || resources.memory_swap.is_some()),
        ("pids", resources.pids.is_some()),
        ("cpu", resources.cpu_shares.is_some() || resources.cpu_quota.is_some()),
        (
            "cpuset",
            resources.cpuset_cpus.is_some() || resources.cpuset_mems.is_some(),
        ),
        ("resource", without_devices != Resources::default()),
    ];
    named.into_iter().find_map(|(name, is_set)| is_set.then_some(name))
}
