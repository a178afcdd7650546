//! The first process of a container: which namespaces, which steps, and in which order.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::capabilities;
use crate::defaults::{self, MountChoices};
use crate::error::{Error, Result};
use crate::facts::CgroupVersion;
use crate::limits::{OwnNamespaces, rlimit_steps, validate_sysctls};
use crate::mount_options;
use crate::plan::{
    CgroupPlan, DeviceRule, InitPlan, Mount, MountAttributes, MountSource, Namespace, Propagation, Stdio, Step,
    UserNamespace,
};
use crate::process::{capability_sets, label_steps, oom_step, session_steps, tail};
use crate::request::{ContainerPlanRequest, DeviceRequest, IpcChoice, MountRequest, NamespaceChoice, Submounts};

/// Plans a container, or refuses it in Docker's words.
pub fn container_plan(request: &ContainerPlanRequest) -> Result<InitPlan> {
    let set = capabilities::adjust(&request.cap_add, &request.cap_drop, request.privileged)?;
    let namespaces = request.namespaces;
    let mounts = all_mounts(request)?;

    let mut steps = Vec::new();
    // Descriptors of namespaces are used up first: what is mounted later (sysfs, mqueue) shows the namespaces that its
    // mounter is in (sysfs(5), mq_overview(7)).
    steps.extend(enter(Namespace::Network, namespaces.network));
    if let IpcChoice::Enter(fd) = namespaces.ipc {
        steps.extend(enter(Namespace::Ipc, NamespaceChoice::Enter(fd)));
    }
    steps.extend(enter(Namespace::Uts, namespaces.uts));
    if request.hold {
        steps.push(Step::Hold);
    }
    // Both are written to the host's `/proc`; that of the container may be anything.
    steps.extend(oom_step(request.oom_score_adj)?);
    steps.extend(label_steps(&request.process));
    steps.extend(cgroup_steps(request));
    steps.extend(name_steps(request));
    steps.extend(root_steps(request, &mounts));
    steps.extend(mounts.into_iter().map(Step::Mount));
    steps.extend(dev_steps(request)?);
    // The terminal comes from the container's own devpts, which is mounted by now.
    steps.extend(session_steps(Some(&request.id), defaults::UMASK));
    if matches!(request.process.stdio, Stdio::Terminal { .. }) {
        steps.push(Step::Console);
    }
    steps.push(Step::PivotRoot);
    steps.extend(hardening_steps(request)?);
    // They may need CAP_SYS_RESOURCE, which the capability sets take away.
    steps.extend(rlimit_steps(&request.ulimits)?);
    let sets = capability_sets(set, &request.facts);
    if request.init {
        steps.push(Step::Init);
    }
    steps.extend(tail(&request.process, &request.hostname, sets, !request.privileged)?);

    Ok(InitPlan {
        namespaces: new_namespaces(request),
        pid_namespace: match namespaces.pid {
            NamespaceChoice::Enter(fd) => Some(fd),
            NamespaceChoice::New | NamespaceChoice::Host => None,
        },
        user_namespace: request.user_namespace.map(|fd| UserNamespace {
            fd,
            directory: request.root_mount_point.clone(),
        }),
        cgroup: Some(cgroup(request)?),
        stdio: request.process.stdio,
        preserved: 0,
        mount_label: request.mount_label.clone(),
        steps,
    })
}

fn enter(namespace: Namespace, choice: NamespaceChoice) -> Option<Step> {
    match choice {
        NamespaceChoice::Enter(fd) => Some(Step::EnterNamespace { namespace, fd }),
        NamespaceChoice::New | NamespaceChoice::Host => None,
    }
}

fn new_namespaces(request: &ContainerPlanRequest) -> Vec<Namespace> {
    let choices = request.namespaces;
    let mut made = vec![Namespace::Mount];
    let mut add = |namespace, wanted: bool| made.extend(wanted.then_some(namespace));
    add(Namespace::Pid, choices.pid == NamespaceChoice::New);
    add(Namespace::Uts, choices.uts == NamespaceChoice::New);
    add(Namespace::Ipc, own_ipc(choices.ipc));
    add(Namespace::Network, choices.network == NamespaceChoice::New);
    made
}

fn own_ipc(choice: IpcChoice) -> bool {
    matches!(choice, IpcChoice::Private | IpcChoice::Shareable | IpcChoice::None)
}

/// Joining comes before unsharing, so that the container's cgroup becomes the namespace's root (cgroup_namespaces(7)).
fn cgroup_steps(request: &ContainerPlanRequest) -> Vec<Step> {
    let mut steps = vec![Step::JoinCgroup];
    let by_default = match request.facts.cgroups {
        CgroupVersion::V1 => NamespaceChoice::Host,
        CgroupVersion::V2 => NamespaceChoice::New,
    };
    match request.namespaces.cgroup.unwrap_or(by_default) {
        NamespaceChoice::New if request.facts.cgroup_namespaces => steps.push(Step::UnshareCgroup),
        NamespaceChoice::New | NamespaceChoice::Host => {}
        choice @ NamespaceChoice::Enter(_) => steps.extend(enter(Namespace::Cgroup, choice)),
    }
    steps
}

fn name_steps(request: &ContainerPlanRequest) -> Vec<Step> {
    if request.namespaces.uts != NamespaceChoice::New {
        return Vec::new();
    }
    let mut steps = Vec::new();
    if !request.hostname.is_empty() {
        steps.push(Step::SetHostname(request.hostname.clone()));
    }
    if !request.domainname.is_empty() {
        steps.push(Step::SetDomainname(request.domainname.clone()));
    }
    steps
}

fn root_steps(request: &ContainerPlanRequest, mounts: &[Mount]) -> [Step; 2] {
    // The kernel refuses pivot_root onto a mount that shares its peer group with the parent (pivot_root(2)), and no mount of
    // ours may reach the host, so propagation is cut before the first mount. One bind that wants the host's later mounts
    // keeps the way from there open for all; the others are cut one by one then (`propagation` of each mount).
    let follows_host = mounts.iter().any(|mount| mount.propagation == Some(Propagation::Slave));
    let propagation = if follows_host {
        Propagation::Slave
    } else {
        Propagation::Private
    };
    [
        Step::SetPropagation(propagation),
        Step::AttachRoot {
            root: request.root.clone(),
            // The process of a user namespace stands there and may not know the way.
            at: match request.user_namespace {
                Some(_) => PathBuf::from("."),
                None => request.root_mount_point.clone(),
            },
        },
    ]
}

/// The default mounts that the client does not replace, then the client's, parents before children.
fn all_mounts(request: &ContainerPlanRequest) -> Result<Vec<Mount>> {
    let mut wanted = Vec::new();
    for mount in &request.mounts {
        wanted.push(requested_mount(mount, request.facts.mount_setattr)?);
    }
    for (target, options) in &request.tmpfs {
        wanted.push(mount_options::tmpfs(Path::new(target), options)?);
    }
    if request.namespaces.ipc == IpcChoice::Host && !wanted.iter().any(|mount| mount.target == Path::new("/dev/shm")) {
        wanted.push(requested_mount(&MountRequest::bind("/dev/shm", "/dev/shm"), false)?);
    }
    let mut targets = BTreeSet::new();
    for mount in &mut wanted {
        mount.target = normalise(&mount.target)?;
        if !targets.insert(mount.target.clone()) {
            return Err(Error::DuplicateMount {
                target: mount.target.clone(),
            });
        }
    }
    // What was cloned outside of the container's mount namespace still shares its mounts with the host's.
    let cloned_outside = request.user_namespace.is_some();
    if cloned_outside || wanted.iter().any(|mount| mount.propagation == Some(Propagation::Slave)) {
        for mount in wanted.iter_mut().filter(|mount| is_bind(mount)) {
            mount.propagation = mount.propagation.or(Some(Propagation::Private));
        }
    }
    // A stable sort by depth: a parent is mounted before what lies in it, siblings in the client's order.
    wanted.sort_by_key(|mount| mount.target.components().count());

    let mut mounts = defaults::mounts(mount_choices(request));
    let own_dev = targets.contains(Path::new("/dev"));
    let replaced = |mount: &Mount| targets.contains(&mount.target) || (own_dev && mount.target.starts_with("/dev"));
    mounts.retain(|mount| !replaced(mount));
    mounts.extend(wanted);
    Ok(mounts)
}

fn mount_choices(request: &ContainerPlanRequest) -> MountChoices {
    let own_shm = matches!(request.namespaces.ipc, IpcChoice::Private | IpcChoice::Shareable);
    MountChoices {
        writable_sys: request.privileged,
        writable_cgroups: request.writable_cgroups,
        shm_size: own_shm.then(|| request.shm_size.unwrap_or(defaults::SHM_SIZE)),
    }
}

fn is_bind(mount: &Mount) -> bool {
    matches!(mount.source, MountSource::Bind { .. } | MountSource::Detached { .. })
}

fn requested_mount(request: &MountRequest, recursive_attributes: bool) -> Result<Mount> {
    if request.propagation == Some(Propagation::Shared) {
        return Err(Error::Unsupported {
            feature: format!("shared propagation of {}", request.target.display()),
        });
    }
    if request.submounts == Submounts::ForcedReadOnly && !recursive_attributes {
        return Err(Error::Unsupported {
            feature: format!("read-only mounts below {}", request.target.display()),
        });
    }
    Ok(Mount {
        attributes: MountAttributes {
            read_only: request.read_only,
            no_suid: request.no_suid,
            no_dev: request.no_dev,
            no_exec: request.no_exec,
            recursive: request.read_only && request.submounts != Submounts::Unchanged && recursive_attributes,
            ..MountAttributes::default()
        },
        propagation: request
            .propagation
            .filter(|propagation| *propagation != Propagation::Private),
        ..Mount::new(&request.target, request.source.clone())
    })
}

/// Resolves `.` and `..` as text: a target names a place below the root whatever the image's links say, and two spellings
/// of one place are found equal.
fn normalise(target: &Path) -> Result<PathBuf> {
    let mut normal = PathBuf::from("/");
    for component in target.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            Component::Normal(name) => normal.push(name),
            Component::Prefix(_) => {
                return Err(Error::MountTarget {
                    target: target.to_path_buf(),
                });
            }
        }
    }
    if !target.is_absolute() || normal == Path::new("/") {
        return Err(Error::MountTarget {
            target: target.to_path_buf(),
        });
    }
    Ok(normal)
}

/// Nodes and links of `/dev`, unless the client mounted one of its own.
fn dev_steps(request: &ContainerPlanRequest) -> Result<Vec<Step>> {
    for device in &request.devices {
        access(&device.device.target, &device.access)?;
    }
    let own_dev = |mount: &MountRequest| mount.target == Path::new("/dev");
    if request.mounts.iter().any(own_dev) {
        return Ok(Vec::new());
    }
    let given = request.devices.iter().map(|device| device.device.clone());
    let mut steps: Vec<Step> = defaults::devices()
        .into_iter()
        .filter(|default| {
            !request
                .devices
                .iter()
                .any(|device| device.device.target == default.target)
        })
        .chain(given)
        .map(Step::Device)
        .collect();
    steps.extend(defaults::links(&request.facts));
    Ok(steps)
}

/// Parameters are written before `/proc/sys` becomes read-only; the root becomes read-only when nothing is made in it
/// any more.
fn hardening_steps(request: &ContainerPlanRequest) -> Result<Vec<Step>> {
    let mut steps = sysctl_steps(request)?;
    let present = |path: &PathBuf| !request.facts.absent_paths.contains(path);
    let default_masked = || {
        if request.privileged {
            Vec::new()
        } else {
            defaults::masked_paths(&request.facts)
        }
    };
    let default_readonly = || {
        if request.privileged {
            Vec::new()
        } else {
            defaults::readonly_paths()
        }
    };
    let masked = request.masked_paths.clone().unwrap_or_else(default_masked);
    let readonly = request.readonly_paths.clone().unwrap_or_else(default_readonly);
    steps.extend(readonly.into_iter().filter(present).map(Step::ReadonlyPath));
    steps.extend(masked.into_iter().filter(present).map(Step::Mask));
    if request.readonly_root {
        steps.push(Step::ReadonlyRoot);
    }
    Ok(steps)
}

/// Docker lets every user of a container with its own network bind low ports and send echo requests, but for the latter in a
/// user namespace: the kernel refuses groups that are not mapped.
const NETWORK_SYSCTLS: [(&str, &str); 2] = [
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    (PING_GROUPS, "0 2147483647"),
];

/// Who may send echo requests (icmp(7)).
const PING_GROUPS: &str = "net.ipv4.ping_group_range";

fn sysctl_steps(request: &ContainerPlanRequest) -> Result<Vec<Step>> {
    let choices = request.namespaces;
    let own = OwnNamespaces {
        network: choices.network != NamespaceChoice::Host,
        ipc: choices.ipc != IpcChoice::Host,
        uts: choices.uts != NamespaceChoice::Host,
    };
    validate_sysctls(&request.sysctls, own)?;
    let mut values = request.sysctls.clone();
    if own.network {
        let given = |(name, _): &(&str, &str)| request.user_namespace.is_none() || *name != PING_GROUPS;
        for (name, value) in NETWORK_SYSCTLS.into_iter().filter(given) {
            values.entry(name.to_string()).or_insert_with(|| value.to_string());
        }
    }
    Ok(values
        .into_iter()
        .map(|(name, value)| Step::Sysctl { name, value })
        .collect())
}

fn cgroup(request: &ContainerPlanRequest) -> Result<CgroupPlan> {
    let mut resources = request.resources.clone();
    resources.devices = device_rules(request.privileged, &request.devices, &request.device_cgroup_rules)?;
    Ok(CgroupPlan {
        path: request.cgroup_path.clone(),
        scope: request.scope.clone(),
        resources,
    })
}

/// Which devices a container may use: the defaults, its own, and what rules add.
///
/// # Errors
/// A rule that is none.
pub fn device_rules(privileged: bool, devices: &[DeviceRequest], rules: &[String]) -> Result<Vec<DeviceRule>> {
    let mut all = if privileged {
        defaults::allow_all_devices()
    } else {
        defaults::device_rules()
    };
    let given = devices.iter().filter(|_| !privileged).map(|given| DeviceRule {
        allow: true,
        kind: given.device.kind,
        major: Some(given.device.major),
        minor: Some(given.device.minor),
        access: given.access.clone(),
    });
    all.extend(given);
    for rule in rules {
        all.push(parse_device_rule(rule)?);
    }
    Ok(all)
}

/// Parses `c 189:* rwm`.
fn parse_device_rule(text: &str) -> Result<DeviceRule> {
    let refused = || Error::DeviceRule { rule: text.to_string() };
    let [kind, numbers, access] = text.split(' ').collect::<Vec<_>>()[..] else {
        return Err(refused());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(refused)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| refused()),
    };
    let kind = match kind {
        "a" => 'a',
        "b" => 'b',
        "c" => 'c',
        _ => return Err(refused()),
    };
    if access.is_empty() || access.len() > 3 || !access.chars().all(|letter| "rwm".contains(letter)) {
        return Err(refused());
    }
    Ok(DeviceRule {
        allow: true,
        kind,
        major: number(major)?,
        minor: number(minor)?,
        access: access.to_string(),
    })
}

fn access(target: &Path, access: &str) -> Result<()> {
    let mut seen = BTreeSet::new();
    let valid = !access.is_empty()
        && access
            .chars()
            .all(|letter| "rwm".contains(letter) && seen.insert(letter));
    if valid {
        Ok(())
    } else {
        Err(Error::DeviceAccess {
            target: target.to_path_buf(),
            access: access.to_string(),
        })
    }
}
