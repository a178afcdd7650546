//! From a bundle's `config.json` (OCI runtime specification, "Configuration") to plans.
//!
//! A field that this program cannot honour is refused by name; none is passed over silently, but for those that the
//! specification or runc declare to have no effect.

mod devices;
mod hooks;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod scheduling;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Process, Spec};

use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::limits::{OwnNamespaces, validate_sysctls};
use crate::plan::{CgroupPlan, ExecPlan, FdSlot, InitPlan, Namespace, Propagation, Root, Step};
use crate::process::{oom_step, session_steps};
use crate::seccomp::{Profile, compile};

pub use self::hooks::hooks;
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
    /// Whether the first process waits for `start` (`Step::AwaitStart`).
    pub await_start: bool,
}

/// A planned bundle.
#[derive(Debug, Clone)]
pub struct BundlePlan {
    /// The plan.
    pub plan: InitPlan,
    /// What the caller hands over beside the plan, in the order of the slots.
    pub descriptors: Vec<Descriptor>,
    /// A pid namespace that the caller has to enter itself before it starts the plan: only its children get there
    /// (setns(2)).
    pub pid_namespace: Option<PathBuf>,
}

/// A descriptor that a plan names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descriptor {
    /// A namespace to be opened.
    Namespace(PathBuf),
    /// A seccomp filter to be put into a memfd.
    Seccomp(Vec<u8>),
    /// The fifo that `start` writes to.
    StartFifo,
}

/// A planned process of a running container.
#[derive(Debug, Clone)]
pub struct ProcessPlan {
    /// The plan.
    pub plan: ExecPlan,
    /// What the caller hands over beside the plan, in the order of the slots.
    pub descriptors: Vec<Descriptor>,
}

/// Descriptors as they are asked for.
#[derive(Debug, Default)]
struct Slots(Vec<Descriptor>);

impl Slots {
    fn add(&mut self, descriptor: Descriptor) -> FdSlot {
        // A plan has fewer descriptors than kinds of namespaces, plus two.
        let slot = FdSlot(u16::try_from(self.0.len()).unwrap_or(u16::MAX));
        self.0.push(descriptor);
        slot
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
    let mounts = mounts::plan(spec, context)?;
    let rootfs = context.bundle.join(root.path());

    let mut steps = namespaces.enter;
    // Both are written to the host's `/proc`; that of the container may be anything.
    steps.extend(oom_step(process.oom_score_adj())?);
    steps.extend(process::labels(process, &context.facts)?);
    steps.push(Step::JoinCgroup);
    // After joining, so that the container's cgroup becomes the namespace's root (cgroup_namespaces(7)).
    steps.extend(namespaces.cgroup);
    steps.extend(names(spec));
    steps.push(Step::SetPropagation(root_propagation(linux)?));
    // The root is mounted over itself: pivot_root wants a mount (pivot_root(2)), and nothing else of the host is needed.
    steps.push(Step::AttachRoot {
        root: Root::Directory(rootfs.clone()),
        at: rootfs,
    });
    steps.extend(mounts.iter().cloned().map(Step::Mount));
    steps.extend(devices::steps(linux, &mounts, &context.facts)?);
    steps.extend(session_steps(Some(&context.id), process::umask(process)));
    steps.extend(process::console(process));
    if runs_hooks_before_pivot(spec) {
        // "createRuntime ... after the runtime environment has been created, before pivot_root".
        steps.push(Step::Hold);
    }
    steps.extend(hooks::create_container(spec, context)?);
    steps.push(Step::PivotRoot);
    steps.extend(hardening(linux, &namespaces.own, root.readonly().unwrap_or(false))?);
    let filter = filter(linux, context, &mut slots)?;
    let fifo = context.await_start.then(|| slots.add(Descriptor::StartFifo));
    let late = process::Late {
        filter,
        fifo,
        hooks: hooks::start_container(spec, context)?,
    };
    steps.extend(process::tail((linux, process), &context.facts, late)?);

    let cgroup = CgroupPlan {
        path: cgroup_path(linux, &context.id),
        resources: resources::plan(linux)?,
    };
    let plan = InitPlan {
        // The runtime enters it itself, by its path.
        pid_namespace: None,
        user_namespace: None,
        namespaces: namespaces.new,
        cgroup: Some(cgroup),
        stdio: process::stdio(process)?,
        steps,
    };
    Ok(BundlePlan {
        plan,
        descriptors: slots.0,
        pid_namespace: namespaces.pid_path,
    })
}

/// Plans a process in a running container, with the container's own filter.
pub fn exec_from_oci(spec: &Spec, process: &Process, context: &BundleContext) -> Result<ProcessPlan> {
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let mut slots = Slots::default();
    let mut steps = session_steps(None, process::umask(process));
    steps.extend(process::console(process));
    let filter = filter(linux, context, &mut slots)?;
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
    Ok(ProcessPlan {
        plan: ExecPlan {
            initial_affinity,
            stdio: process::stdio(process)?,
            steps,
        },
        descriptors: slots.0,
    })
}

/// Path of a container's cgroup below each hierarchy's root.
pub fn cgroup_path(linux: &Linux, id: &str) -> PathBuf {
    match linux.cgroups_path() {
        Some(path) if !path.as_os_str().is_empty() => Path::new("/").join(path),
        _ => Path::new("/").join(id),
    }
}

fn names(spec: &Spec) -> impl Iterator<Item = Step> {
    let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let host = given(spec.hostname()).map(Step::SetHostname);
    host.into_iter()
        .chain(given(spec.domainname()).map(Step::SetDomainname))
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
    let given = [
        (
            "linux.uidMappings",
            linux.uid_mappings().as_ref().is_some_and(|list| !list.is_empty()),
        ),
        (
            "linux.gidMappings",
            linux.gid_mappings().as_ref().is_some_and(|list| !list.is_empty()),
        ),
        (
            "linux.netDevices",
            linux.net_devices().as_ref().is_some_and(|list| !list.is_empty()),
        ),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(unsupported(*field)),
        None => Ok(()),
    }
}

fn root_propagation(linux: &Linux) -> Result<Propagation> {
    match linux.rootfs_propagation().as_deref() {
        None | Some("" | "slave" | "rslave") => Ok(Propagation::Slave),
        Some("private" | "rprivate") => Ok(Propagation::Private),
        Some(other) => Err(unsupported(format!("linux.rootfsPropagation {other:?}"))),
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

/// The specification's filter has the fields of Docker's format, and is read as such.
fn filter(linux: &Linux, context: &BundleContext, slots: &mut Slots) -> Result<Option<Step>> {
    let Some(seccomp) = linux.seccomp() else {
        return Ok(None);
    };
    let json = serde_json::to_string(seccomp).map_err(|error| Error::SeccompDecode {
        reason: error.to_string(),
    })?;
    let profile = Profile::parse(&json)?;
    let program = compile(&profile, context.facts.architecture)?;
    Ok(Some(Step::Seccomp {
        filter: slots.add(Descriptor::Seccomp(program)),
        flags: profile.flags,
    }))
}
