//! What the engine wants of a container, in the terms of the Engine API but with everything looked up already.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::facts::HostFacts;
use crate::plan::{Device, FdSlot, MountSource, Propagation, Resources, Root, Scope, Stdio};

/// A container to be planned. `crate::container_plan` validates it as Docker does.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerPlanRequest {
    /// What the host offers.
    pub facts: HostFacts,
    /// The container's id, 64 hexadecimal digits.
    pub id: String,
    /// Host name: set in a new UTS namespace, and the value of `HOSTNAME`; empty for neither.
    pub hostname: String,
    /// NIS domain name, set in a new UTS namespace; empty leaves the host's.
    pub domainname: String,
    /// Where the root file system comes from.
    pub root: Root,
    /// An existing directory of the host on which the root is attached in the container's mount namespace.
    pub root_mount_point: PathBuf,
    /// Namespaces.
    pub namespaces: NamespaceChoices,
    /// The user namespace whose root the container's is, `None` for the host's. Binds of the host are to be detached mounts
    /// then: the process could not reach their paths.
    pub user_namespace: Option<FdSlot>,
    /// The process.
    pub process: ProcessRequest,
    /// Whether an init is the first process, and the process its child (`--init`).
    pub init: bool,
    /// Capabilities to add to Docker's default set, in any spelling (`--cap-add`).
    pub cap_add: Vec<String>,
    /// Capabilities to take away, in any spelling (`--cap-drop`).
    pub cap_drop: Vec<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--security-opt writable-cgroups=true`.
    pub writable_cgroups: bool,
    /// Whether the root is mounted read-only (`--read-only`).
    pub readonly_root: bool,
    /// SELinux's label for the container's own files.
    pub mount_label: Option<String>,
    /// Paths and options of `--tmpfs`.
    pub tmpfs: BTreeMap<String, String>,
    /// Size of `/dev/shm` in bytes, `None` for 64 MiB.
    pub shm_size: Option<u64>,
    /// Limits of the process (`--ulimit`).
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters (`--sysctl`).
    pub sysctls: BTreeMap<String, String>,
    /// Paths to hide instead of Docker's default ones.
    pub masked_paths: Option<Vec<PathBuf>>,
    /// Paths to make read-only instead of Docker's default ones.
    pub readonly_paths: Option<Vec<PathBuf>>,
    /// Devices of the host (`--device`; all of them for a privileged container).
    pub devices: Vec<DeviceRequest>,
    /// Rules of the device controller (`--device-cgroup-rule`), for example `c 189:* rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// Volumes, binds, and the engine's own `hosts`, `hostname` and `resolv.conf`.
    pub mounts: Vec<MountRequest>,
    /// Limits; the device rules are filled in by the plan.
    pub resources: Resources,
    /// Path of the container's cgroup below each hierarchy's root, for example `/conex/<id>`.
    pub cgroup_path: PathBuf,
    /// The unit of systemd that this is the path of, where systemd makes the cgroup.
    pub scope: Option<Scope>,
    /// `/proc/self/oom_score_adj`, `None` leaves the parent's.
    pub oom_score_adj: Option<i32>,
    /// Whether the first process waits for its parent before anything else happens (`Step::Hold`).
    pub hold: bool,
}

/// A process of a container: what `run` and `exec` have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRequest {
    /// `user`, `uid`, `user:group`, `uid:gid`, empty for root.
    pub user: String,
    /// `--group-add`, names or numbers.
    pub group_add: Vec<String>,
    /// `NAME=value`, image and client merged. `PATH`, `HOSTNAME` and `TERM` are added by the plan where they are absent.
    pub env: Vec<String>,
    /// Program and arguments, entrypoint and command merged.
    pub argv: Vec<String>,
    /// Absolute path in the container, empty for `/`.
    pub working_directory: String,
    /// Terminal or pipes.
    pub stdio: Stdio,
    /// The compiled seccomp filter, `None` for `unconfined`. Ignored for privileged processes.
    pub seccomp: Option<FdSlot>,
    /// The label that AppArmor is to confine it by, `None` leaves that of the engine. One that is not loaded fails.
    pub apparmor: Option<String>,
    /// The context that SELinux is to confine it by, `None` leaves it to the policy.
    pub selinux: Option<String>,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: bool,
}

/// A process to be started in a running container.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecPlanRequest {
    /// What the host offers.
    pub facts: HostFacts,
    /// The process; its seccomp filter is the container's.
    pub process: ProcessRequest,
    /// Host name of the container, for `HOSTNAME`.
    pub hostname: String,
    /// The container's `--cap-add`.
    pub cap_add: Vec<String>,
    /// The container's `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// Whether the container is privileged.
    pub container_privileged: bool,
    /// `exec --privileged`.
    pub privileged: bool,
    /// The container's own limits, which an exec has too.
    pub ulimits: Vec<Ulimit>,
    /// `/proc/self/oom_score_adj` of the container.
    pub oom_score_adj: Option<i32>,
}

/// Which namespaces the container has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceChoices {
    /// Network; `New` is an empty one without even a loopback that is up.
    pub network: NamespaceChoice,
    /// System V IPC and POSIX message queues, and with them `/dev/shm`.
    pub ipc: IpcChoice,
    /// Processes.
    pub pid: NamespaceChoice,
    /// Host name.
    pub uts: NamespaceChoice,
    /// Control groups; `None` takes Docker's default: the host's on v1, an own one on v2.
    pub cgroup: Option<NamespaceChoice>,
}

impl Default for NamespaceChoices {
    fn default() -> Self {
        NamespaceChoices {
            network: NamespaceChoice::New,
            ipc: IpcChoice::Private,
            pid: NamespaceChoice::New,
            uts: NamespaceChoice::New,
            cgroup: None,
        }
    }
}

/// Where a namespace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceChoice {
    /// A new one.
    New,
    /// The host's.
    Host,
    /// An existing one, handed over as a descriptor.
    Enter(FdSlot),
}

/// Where the IPC namespace comes from (`--ipc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpcChoice {
    /// A new one with its own `/dev/shm`.
    Private,
    /// A new one with its own `/dev/shm` that other containers may join.
    Shareable,
    /// A new one without `/dev/shm`.
    None,
    /// The host's, and the host's `/dev/shm`.
    Host,
    /// That of another container; its `/dev/shm` stands among the mounts.
    Enter(FdSlot),
}

/// One limit of `setrlimit(2)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// Name without prefix in lower case: `nofile`.
    pub name: String,
    /// Soft limit, -1 for none.
    pub soft: i64,
    /// Hard limit, -1 for none.
    pub hard: i64,
}

/// A device of the host given to the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRequest {
    /// The node to make, with the numbers and the mode of the host's.
    pub device: Device,
    /// What the device controller permits: any of `r`, `w`, `m`.
    pub access: String,
}

/// A mount of the engine's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// What is mounted.
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Whether it is read-only.
    pub read_only: bool,
    /// What becomes of the mounts below it where it is read-only.
    pub submounts: Submounts,
    /// `None` is Docker's default, private.
    pub propagation: Option<Propagation>,
    /// `MOUNT_ATTR_NOSUID`.
    pub no_suid: bool,
    /// `MOUNT_ATTR_NODEV`.
    pub no_dev: bool,
    /// `MOUNT_ATTR_NOEXEC`.
    pub no_exec: bool,
}

/// What a read-only bind does to the mounts below it (`bind-recursive` of `docker run --mount`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submounts {
    /// Read-only too where the kernel can do that (`mount_setattr(2)`): Docker's default since 25.
    ReadOnly,
    /// Read-only too, or an error (`readonly`).
    ForcedReadOnly,
    /// Unchanged (`writable`).
    Unchanged,
}

impl MountRequest {
    /// A writable bind of a host path with all that is mounted below it.
    pub fn bind(path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        MountRequest {
            source: MountSource::Bind {
                path: path.into(),
                recursive: true,
            },
            target: target.into(),
            read_only: false,
            submounts: Submounts::ReadOnly,
            propagation: None,
            no_suid: false,
            no_dev: false,
            no_exec: false,
        }
    }
}
