//! From a bundle's `config.json` (OCI runtime specification, "Configuration") to plans.
//!
//! A field that this program cannot honour is refused by name; none is passed over silently, but for those that the
//! specification or runc declare to have no effect.

mod devices;
mod hooks;
mod ids;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod scheduling;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, Process, Spec};

use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::limits::{OwnNamespaces, validate_sysctls};
use crate::plan::{
    CgroupPlan, ExecPlan, FdSlot, InitPlan, Namespace, Propagation, Root, Scope, SecurityModule, Step, UserNamespace,
};
use crate::process::{make_no_directory, oom_step, session_steps};
use crate::seccomp::{Listener, NEW_LISTENER, Profile, compile};

pub use self::hooks::hooks;
pub use self::ids::{IdMappings, IdRange};
pub use self::resources::limits;

/// Version of the specification that is followed.
pub const VERSION: &str = "1.2.0";

/// What a runtime adds to a specification.
#[derive(Debug, Clone)]
pub struct BundleContext {
    /// What the host offers.
    pub facts: HostFacts,
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle; relative paths of the specification begin there.
    pub bundle: PathBuf,
    /// Who makes the container's cgroup.
    pub cgroups: CgroupDriver,
    /// Whether the first process waits for `start` (`Step::AwaitStart`).
    pub await_start: bool,
}

/// Who makes the cgroups of containers, which decides what `linux.cgroupsPath` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The runtime itself: a path below each hierarchy's root.
    Files,
    /// systemd: `slice:prefix:name`.
    Systemd,
}

/// A planned bundle.
#[derive(Debug, Clone)]
pub struct BundlePlan {
    /// The plan.
    pub plan: InitPlan,
    /// What the caller hands over beside the plan, in the order of the slots.
    pub descriptors: Vec<Descriptor>,
    /// Who is to be given the listener of its filter.
    pub listener: Option<Listener>,
}

/// A descriptor that a plan names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descriptor {
    /// A namespace to be opened.
    Namespace(PathBuf),
    /// A user namespace to be made.
    UserNamespace(IdMappings),
    /// A copy of what is mounted at a path of the host (`open_tree(2)`, `OPEN_TREE_CLONE`).
    Tree {
        /// The path.
        path: PathBuf,
        /// Whether mounts below it come along.
        recursive: bool,
        /// Ids that it shows its files with.
        map: Option<MountIdMap>,
    },
    /// A seccomp filter to be put into a memfd.
    Seccomp(Vec<u8>),
    /// The fifo that `start` writes to.
    StartFifo,
}

/// Ids of a mount (mount_setattr(2), "ID-mapped mounts").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountIdMap {
    /// The map.
    pub ids: IdMappings,
    /// Whether mounts below have it as well.
    pub recursive: bool,
}

/// A planned process of a running container.
#[derive(Debug, Clone)]
pub struct ProcessPlan {
    /// The plan.
    pub plan: ExecPlan,
    /// What the caller hands over beside the plan, in the order of the slots.
    pub descriptors: Vec<Descriptor>,
    /// Who is to be given the listener of its filter.
    pub listener: Option<Listener>,
}

/// Descriptors as they are asked for.
#[derive(Debug, Default)]
struct Slots(Vec<Descriptor>);

impl Slots {
    fn add(&mut self, descriptor: Descriptor) -> FdSlot {
        let is_shared = matches!(descriptor, Descriptor::UserNamespace(_));
        let known = self.0.iter().position(|known| is_shared && *known == descriptor);
        let index = known.unwrap_or(self.0.len());
        if known.is_none() {
            self.0.push(descriptor);
        }
        // Nobody has that many mounts; who had would be told that one was not handed over.
        FdSlot(u16::try_from(index).unwrap_or(u16::MAX))
    }
}

/// Plans the first process of a bundle.
pub fn from_oci(spec: &Spec, context: &BundleContext) -> Result<BundlePlan> {
    validate_version(spec.version())?;
    let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    let root = spec.root().as_ref().ok_or_else(|| missing("root"))?;
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    refuse_unsupported(linux)?;

    let mut slots = Slots::default();
    let namespaces = namespaces::plan(linux, &mut slots)?;
    let propagation = root_propagation(linux)?;
    let map = namespaces.user.as_ref().map(|user| &user.map);
    let around = mounts::Surroundings::new(context, map, propagation.inherited);
    let mounts = mounts::plan(spec, &around, &mut slots)?;
    let rootfs = context.bundle.join(root.path());

    let mut steps = namespaces.enter;
    // Both are written to the host's `/proc`; that of the container may be anything.
    steps.extend(oom_step(process.oom_score_adj())?);
    steps.extend(process::labels(process, &context.facts)?);
    steps.push(Step::JoinCgroup);
    // After joining, so that the container's cgroup becomes the namespace's root (cgroup_namespaces(7)).
    steps.extend(namespaces.cgroup);
    steps.extend(names(spec));
    // Paths of the host are its paths from here on; the root becomes that of all who are in it.
    steps.extend(namespaces.mount);
    steps.push(Step::SetPropagation(propagation.inherited));
    steps.push(attach_root(&rootfs, namespaces.user.is_some(), &mut slots));
    steps.extend(mounts.iter().cloned().map(Step::Mount));
    steps.extend(devices::steps(linux, &mounts, &context.facts)?);
    steps.extend(session_steps(Some(&context.id), process::umask(process)));
    steps.extend(process::console(process));
    if runs_hooks_before_pivot(spec) {
        // "createRuntime ... after the runtime environment has been created, before pivot_root".
        steps.push(Step::Hold);
    }
    steps.extend(unlabelled(hooks::create_container(spec, context)?, &steps));
    steps.push(Step::PivotRoot);
    steps.extend(hardening(linux, &namespaces.own, root.readonly().unwrap_or(false))?);
    steps.extend(propagation.of_root.map(Step::RootPropagation));
    let (filter, listener) = filter(linux, context, &mut slots)?;
    let fifo = context.await_start.then(|| slots.add(Descriptor::StartFifo));
    let late = process::Late {
        filter,
        fifo,
        hooks: hooks::start_container(spec, context)?,
    };
    steps.extend(process::tail((linux, process), &context.facts, late)?);

    let plan = InitPlan {
        pid_namespace: namespaces.pid,
        user_namespace: namespaces.user.map(|user| UserNamespace {
            fd: user.fd,
            directory: rootfs,
        }),
        namespaces: namespaces.new,
        cgroup: Some(cgroup(linux, context)?),
        stdio: process::stdio(process)?,
        preserved: 0,
        mount_label: mount_label(linux, &context.facts)?,
        steps,
    };
    Ok(BundlePlan {
        plan,
        descriptors: slots.0,
        listener,
    })
}

/// Plans a process in a running container, with the container's own filter.
pub fn exec_from_oci(spec: &Spec, process: &Process, context: &BundleContext) -> Result<ProcessPlan> {
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let mut slots = Slots::default();
    let mut steps = session_steps(None, process::umask(process));
    steps.extend(process::console(process));
    let (filter, listener) = filter(linux, context, &mut slots)?;
    steps.extend(oom_step(process.oom_score_adj())?);
    steps.extend(process::labels(process, &context.facts)?);
    let affinity = process
        .exec_cpu_affinity()
        .as_ref()
        .map(scheduling::affinity)
        .transpose()?;
    let (initial_affinity, affinity) = affinity.unwrap_or_default();
    steps.extend(affinity.map(Step::CpuAffinity));
    let late = process::Late {
        filter,
        ..process::Late::default()
    };
    steps.extend(process::tail((linux, process), &context.facts, late)?);
    make_no_directory(&mut steps);
    Ok(ProcessPlan {
        plan: ExecPlan {
            initial_affinity,
            stdio: process::stdio(process)?,
            preserved: 0,
            steps,
        },
        descriptors: slots.0,
        listener,
    })
}

fn cgroup(linux: &Linux, context: &BundleContext) -> Result<CgroupPlan> {
    let scope = match context.cgroups {
        CgroupDriver::Files => None,
        CgroupDriver::Systemd => Some(scope(linux, &context.id)?),
    };
    Ok(CgroupPlan {
        path: match &scope {
            Some(scope) => scope.path()?,
            None => cgroup_path(linux, &context.id),
        },
        scope,
        resources: resources::plan(linux)?,
    })
}

/// The scope that a container's cgroup is.
fn scope(linux: &Linux, id: &str) -> Result<Scope> {
    let given = linux.cgroups_path().as_deref().unwrap_or(Path::new(""));
    Scope::parse(&given.to_string_lossy(), id)
}

/// Path of a container's cgroup below each hierarchy's root; `..` does not lead out of it.
pub fn cgroup_path(linux: &Linux, id: &str) -> PathBuf {
    let given = linux
        .cgroups_path()
        .as_deref()
        .filter(|path| !path.as_os_str().is_empty());
    let mut clean = PathBuf::from("/");
    for part in given.unwrap_or(Path::new(id)).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

fn names(spec: &Spec) -> impl Iterator<Item = Step> {
    let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let host = given(spec.hostname()).map(Step::SetHostname);
    host.into_iter()
        .chain(given(spec.domainname()).map(Step::SetDomainname))
}

/// Hooks that are of the runtime: what the container's program is labelled with by SELinux is not theirs.
fn unlabelled(hooks: Option<Step>, before: &[Step]) -> Vec<Step> {
    let is_label = |step: &&Step| {
        matches!(
            step,
            Step::Label {
                module: SecurityModule::SeLinux,
                ..
            }
        )
    };
    let (Some(hooks), Some(label)) = (&hooks, before.iter().find(is_label)) else {
        return Vec::from_iter(hooks);
    };
    let none = Step::Label {
        module: SecurityModule::SeLinux,
        label: String::new(),
    };
    vec![none, hooks.clone(), label.clone()]
}

/// What is not labelled where it was to be would be open to others.
fn mount_label(linux: &Linux, facts: &HostFacts) -> Result<Option<String>> {
    match linux.mount_label().clone().filter(|label| !label.is_empty()) {
        Some(_) if !facts.selinux => Err(Error::NoSeLinux),
        label => Ok(label),
    }
}

fn missing(field: &'static str) -> Error {
    Error::Specification {
        field,
        reason: "is required".to_string(),
    }
}

fn unsupported(feature: impl Into<String>) -> Error {
    Error::Unsupported {
        feature: feature.into(),
    }
}

fn validate_version(version: &str) -> Result<()> {
    // Semantic versioning: what follows the three numbers names a build or a state before the release.
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Option<Vec<u32>> = numbers.split('.').map(|number| number.parse().ok()).collect();
    if matches!(numbers.as_deref(), Some([1, _, _])) {
        return Ok(());
    }
    Err(Error::Specification {
        field: "ociVersion",
        reason: format!("{version:?} is no version 1.x.y"),
    })
}

fn refuse_unsupported(linux: &Linux) -> Result<()> {
    match linux.net_devices() {
        Some(list) if !list.is_empty() => Err(unsupported("linux.netDevices")),
        _ => Ok(()),
    }
}

/// `linux.rootfsPropagation`.
struct RootPropagation {
    /// Of the copy of the host's mounts that everything is mounted in.
    inherited: Propagation,
    /// Of the container's root, once it is one.
    of_root: Option<Propagation>,
}

/// The root is private until it is one (pivot_root(2)), and no mount of ours may reach the host: the copy of its table follows
/// it at most. A bind that is to be shared with the host is copied from there.
fn root_propagation(linux: &Linux) -> Result<RootPropagation> {
    let (inherited, of_root) = match linux.rootfs_propagation().as_deref() {
        None | Some("" | "slave" | "rslave") => (Propagation::Slave, None),
        Some("private" | "rprivate") => (Propagation::Private, None),
        Some("shared" | "rshared") => (Propagation::Slave, Some(Propagation::Shared)),
        Some("unbindable" | "runbindable") => (Propagation::Slave, Some(Propagation::Unbindable)),
        Some(other) => {
            return Err(Error::Specification {
                field: "linux.rootfsPropagation",
                reason: format!("{other:?} is no propagation"),
            });
        }
    };
    Ok(RootPropagation { inherited, of_root })
}

/// The root is mounted over itself: pivot_root wants a mount (pivot_root(2)), and nothing else of the host is needed. The root of
/// a user namespace stands there already, and may not know the way.
fn attach_root(rootfs: &Path, is_mapped: bool, slots: &mut Slots) -> Step {
    if !is_mapped {
        return Step::AttachRoot {
            root: Root::Directory(rootfs.to_path_buf()),
            at: rootfs.to_path_buf(),
        };
    }
    let tree = Descriptor::Tree {
        path: rootfs.to_path_buf(),
        recursive: true,
        map: None,
    };
    Step::AttachRoot {
        root: Root::Detached(slots.add(tree)),
        at: PathBuf::from("."),
    }
}

fn runs_hooks_before_pivot(spec: &Spec) -> bool {
    let some = |hooks: &Option<Vec<oci_spec::runtime::Hook>>| hooks.as_ref().is_some_and(|list| !list.is_empty());
    spec.hooks()
        .as_ref()
        .is_some_and(|hooks| some(hooks.prestart()) || some(hooks.create_runtime()))
}

/// Parameters are written before `/proc/sys` becomes read-only.
fn hardening(linux: &Linux, own: &[Namespace], readonly_root: bool) -> Result<Vec<Step>> {
    let sysctls: BTreeMap<String, String> = linux
        .sysctl()
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let has = |namespace| own.contains(&namespace);
    let owned = OwnNamespaces {
        network: has(Namespace::Network),
        ipc: has(Namespace::Ipc),
        uts: has(Namespace::Uts),
    };
    validate_sysctls(&sysctls, owned)?;
    let mut steps: Vec<Step> = sysctls
        .into_iter()
        .map(|(name, value)| Step::Sysctl { name, value })
        .collect();
    let paths = |list: &Option<Vec<String>>| list.iter().flatten().map(PathBuf::from).collect::<Vec<_>>();
    steps.extend(paths(linux.readonly_paths()).into_iter().map(Step::ReadonlyPath));
    steps.extend(paths(linux.masked_paths()).into_iter().map(Step::Mask));
    if readonly_root {
        steps.push(Step::ReadonlyRoot);
    }
    Ok(steps)
}

/// A filter's step, and who listens to it.
type Filter = (Option<Step>, Option<Listener>);

/// The specification's filter has the fields of Docker's format, and is read as such.
fn filter(linux: &Linux, context: &BundleContext, slots: &mut Slots) -> Result<Filter> {
    let Some(seccomp) = linux.seccomp() else {
        return Ok((None, None));
    };
    let json = serde_json::to_string(seccomp).map_err(|error| Error::SeccompDecode {
        reason: error.to_string(),
    })?;
    let profile = Profile::parse(&json)?;
    let program = compile(&profile, context.facts.architecture)?;
    let flags = if profile.notifies() {
        // The one thread needs no synchronising, and the kernel has no room for both answers (seccomp(2)).
        profile.flags & !TSYNC | NEW_LISTENER
    } else {
        profile.flags
    };
    let step = Step::Seccomp {
        filter: slots.add(Descriptor::Seccomp(program)),
        flags,
    };
    Ok((Some(step), profile.listener.filter(|_| flags & NEW_LISTENER != 0)))
}

/// `SECCOMP_FILTER_FLAG_TSYNC`.
const TSYNC: u32 = 1;
