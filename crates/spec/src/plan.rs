//! `InitPlan`: the ordered steps of a container's first process, and `ExecPlan`, those of a later one.
//!
//! A plan is data. It is made from a runtime specification (`crate::init_plan`, `crate::exec_plan`), can be
//! printed and compared, crosses the process boundary as JSON in a sealed memfd, and is carried out by
//! `conex-launch` between `clone3` and `execve`, one call into `conex-sys` per step.
//!
//! ```text
//!   parent (monitor, runtime)                child
//!   ------------------------------------    ------------------------------------------------
//!   make the cgroup, apply its limits (without systemd)
//!   clone3(plan.namespaces, CLONE_PIDFD) -> steps[0], steps[1], ...
//!                                            Step::JoinCgroup, with systemd: say "unplaced", wait for the go
//!   have a scope made around it, say go  ->
//!                                            Step::Hold: say "held", wait for the parent's go
//!   run hooks, say go                    ->
//!   end of file on the status pipe       <-  Step::Execute succeeds (close-on-exec), or
//!   {step, errno, detail}                <-  any step failed, then _exit
//! ```
//!
//! Descriptors that a plan needs travel beside it; a plan names them by `FdSlot`, their index.

mod resources;
mod scheduling;
mod scope;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::resources::{
    BlockIo, CgroupPlan, DeviceRule, DeviceWeight, HugePages, Rdma, Resources, Throttle, ThrottleKind,
};
pub use self::scheduling::{ClockOffsets, MemoryPolicy, Scheduler, SecurityModule};
pub use self::scope::Scope;

/// Index into the descriptors that were handed over together with the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdSlot(pub u16);

/// A kind of Linux namespace (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// cgroup_namespaces(7).
    Cgroup,
    /// ipc_namespaces(7).
    Ipc,
    /// mount_namespaces(7).
    Mount,
    /// network_namespaces(7).
    Network,
    /// pid_namespaces(7).
    Pid,
    /// time_namespaces(7).
    Time,
    /// user_namespaces(7).
    User,
    /// uts_namespaces(7).
    Uts,
}

/// Everything that the first process of a container does, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitPlan {
    /// Namespaces that `clone3` makes. `Cgroup` never stands here: it is unshared by a step, after the cgroup was joined.
    pub namespaces: Vec<Namespace>,
    /// The existing pid namespace that the process is made in. A process enters one only by its children (setns(2)), so this
    /// is the parent's part and no step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<FdSlot>,
    /// The existing user namespace that the process is made in, as its root; `None` leaves it in its parent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_namespace: Option<UserNamespace>,
    /// The cgroup that the parent makes before, and removes after, the process; `None` leaves it where its parent is.
    pub cgroup: Option<CgroupPlan>,
    /// Standard input, output and error.
    pub stdio: Stdio,
    /// How many of the parent's descriptors, from the fourth on, the program gets beside them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub preserved: u32,
    /// SELinux's label for the files of every file system that the steps make, but for those of the kernel's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_label: Option<String>,
    /// What the child does, in order; the last is `Step::Execute`.
    pub steps: Vec<Step>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A user namespace to make a process in. New namespaces of the process belong to it.
///
/// What needs rights on the host is the parent's part: `Step::Rlimit`, `Step::OomScoreAdj` and `Step::Label` are done when the
/// steps begin. The latter two are for a later process in any container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// The namespace; it maps an id 0 of users and one of groups.
    pub fd: FdSlot,
    /// Directory of the host in which the process begins, whether or not its user could reach it by name.
    pub directory: PathBuf,
}

/// Everything that a process started later in a running container does, in order.
///
/// The namespaces and the cgroup are those of the container's first process: the parent opens them by its pidfd
/// and joins them before the steps run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPlan {
    /// CPUs that the process is kept on until it has joined the cgroup, by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_affinity: Option<Vec<u32>>,
    /// Standard input, output and error.
    pub stdio: Stdio,
    /// How many of the parent's descriptors, from the fourth on, the program gets beside them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub preserved: u32,
    /// What the child does, in order; the last is `Step::Execute`.
    pub steps: Vec<Step>,
}

/// How the standard descriptors of a process are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdio {
    /// Three pipes; standard input is `/dev/null` unless `stdin` is set.
    Pipes {
        /// Whether standard input is a pipe that a client can write to.
        stdin: bool,
    },
    /// A pseudo-terminal of the container's own devpts (pts(4)).
    Terminal {
        /// Rows at the start; 0 when unknown.
        rows: u16,
        /// Columns at the start; 0 when unknown.
        columns: u16,
    },
    /// Those of the parent, unchanged (the runtime command line without a terminal).
    Inherit,
}

/// One step. Paths called `target` are inside the new root and are resolved beneath it
/// (`openat2` with `RESOLVE_IN_ROOT`), never by a host path that the image could redirect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `setns(2)` into the namespace behind a descriptor.
    EnterNamespace {
        /// Its kind, checked by the kernel.
        namespace: Namespace,
        /// The namespace.
        fd: FdSlot,
    },
    /// Move the calling process into the plan's cgroup: on v1 by writing 0 to each `tasks`, nothing where `clone3` did it.
    JoinCgroup,
    /// `unshare(CLONE_NEWCGROUP)`, after the cgroup was joined so that it becomes the namespace's root.
    UnshareCgroup,
    /// `sethostname(2)`.
    SetHostname(String),
    /// `setdomainname(2)`.
    SetDomainname(String),
    /// Change the propagation of `/` and all below it, before anything is mounted.
    SetPropagation(Propagation),
    /// Attach the root file system at `at`, an existing directory of the host, in the container's mount namespace.
    AttachRoot {
        /// Where the root comes from.
        root: Root,
        /// An existing directory of the host; afterwards it is the root beneath which all targets are resolved.
        at: PathBuf,
    },
    /// Mount something beneath the new root.
    Mount(Mount),
    /// Make a device node beneath the new root, or bind the host's where `mknod` is not permitted.
    Device(Device),
    /// Make a symbolic link beneath the new root; one that exists already is left alone.
    Symlink {
        /// Path of the link.
        target: PathBuf,
        /// What the link says.
        contents: PathBuf,
    },
    /// Open a pseudo-terminal in the container's devpts, send its master to the parent, make the slave the
    /// controlling terminal and bind it to `/dev/console`.
    Console,
    /// `pivot_root(2)` into the new root and detach the old one.
    PivotRoot,
    /// Move the new root over the old one and `chroot(2)` into it: for a host whose own root cannot be pivoted away from, as a
    /// ramdisk's (initramfs). The old root stays mounted below, and a process with CAP_SYS_CHROOT finds the way to it.
    MoveRoot,
    /// Hide a path: `/dev/null` over a file, an empty read-only tmpfs over a directory; absent paths are skipped.
    Mask(PathBuf),
    /// Make a path read-only by a bind mount on itself; absent paths are skipped.
    ReadonlyPath(PathBuf),
    /// Make the root mount read-only.
    ReadonlyRoot,
    /// Give the root mount this propagation, without those below it.
    RootPropagation(Propagation),
    /// Write a kernel parameter (sysctl(8)), name with dots.
    Sysctl {
        /// Name, for example `net.ipv4.ip_unprivileged_port_start`.
        name: String,
        /// Value, written as it is.
        value: String,
    },
    /// `setrlimit(2)` by name (`RLIMIT_NOFILE`).
    Rlimit {
        /// Name as in getrlimit(2).
        name: String,
        /// Soft limit, `u64::MAX` for none.
        soft: u64,
        /// Hard limit, `u64::MAX` for none.
        hard: u64,
    },
    /// Write `/proc/self/oom_score_adj`.
    OomScoreAdj(i32),
    /// Run programs, one after the other, with the container's state on standard input; the first that fails ends the start.
    Hooks {
        /// Which of the specification's points this is.
        point: String,
        /// The programs.
        hooks: Vec<Hook>,
        /// The state, a JSON object that the pid is added to: the process's own as it sees itself.
        state: String,
    },
    /// Tell the parent that everything up to here is done, and wait for its go. Here the systemd driver and OCI `create` hold the process.
    Hold,
    /// Join a new session keyring of this name (`KEYCTL_JOIN_SESSION_KEYRING`, keyctl(2)), so that the container does not
    /// see its parent's keys. A kernel without keyrings (`ENOSYS`, or `EPERM` in a nested sandbox) is passed over.
    SessionKeyring(String),
    /// Look the program up as `Execute` would and fail as it would, without executing it. OCI `create` reports a missing
    /// program this way, before the process waits in `AwaitStart`.
    FindProgram {
        /// The program; searched in the `PATH` of `env` when it has no slash.
        program: String,
        /// `NAME=value`.
        env: Vec<String>,
    },
    /// Report success to the parent by closing the status pipe, so that its `start` returns with the process alive, then
    /// block in `read(2)` of one byte from the fifo. The descriptor is open for reading *and* writing (fifo(7)): the read
    /// blocks although nobody has it open for writing, and outlives the parent. What fails after this step is not
    /// reported; the process ends with 127 or 126.
    AwaitStart {
        /// The fifo.
        fifo: FdSlot,
    },
    /// Have the program labelled by a security module, from its execution on, and with SELinux the keys that are made before.
    /// It is part of what is done outside.
    Label {
        /// Which module.
        module: SecurityModule,
        /// A profile's name or a security context; an empty one takes a context away.
        label: String,
    },
    /// `sched_setattr(2)`.
    Scheduler(Scheduler),
    /// `ioprio_set(2)`: class and level in one number.
    IoPriority(u16),
    /// `set_mempolicy(2)`.
    MemoryPolicy(MemoryPolicy),
    /// `personality(2)`.
    Personality(u32),
    /// `sched_setaffinity(2)`, CPUs by number.
    CpuAffinity(Vec<u32>),
    /// Unshare the time namespace: the program, not the process before it, is in the new one.
    UnshareTime(ClockOffsets),
    /// `setsid(2)`.
    NewSession,
    /// Set uid, gid and supplementary groups. Names are looked up in the container's own `/etc/passwd` and `/etc/group`.
    User(UserSpec),
    /// `umask(2)`.
    Umask(u32),
    /// Set the bounding, permitted, effective, inheritable and ambient sets (capabilities(7)).
    Capabilities(Capabilities),
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    NoNewPrivileges,
    /// Change to the working directory; `create` makes it where it is absent, as Docker does.
    WorkingDirectory {
        /// Absolute path in the container.
        path: PathBuf,
        /// Whether an absent directory is made.
        create: bool,
    },
    /// Install the seccomp filter behind a descriptor: an array of `struct sock_filter` (seccomp(2)).
    Seccomp {
        /// Sealed memfd with the program.
        filter: FdSlot,
        /// Flags of `SECCOMP_SET_MODE_FILTER`. With `SECCOMP_FILTER_FLAG_NEW_LISTENER` the parent takes the listener, and the
        /// process waits until it has done with it what it has to.
        flags: u32,
    },
    /// Have `Execute` run the program by an init, which hands signals on to it and reaps orphans (`conex_sys::init`). It comes
    /// before a filter, which may forbid memfd_create(2).
    Init,
    /// `execve(2)`; the program is searched in the `PATH` of `env` when its name has no slash.
    Execute {
        /// Arguments; the first names the program.
        argv: Vec<String>,
        /// `NAME=value`; `HOME` is added from the user's entry where it is absent.
        env: Vec<String>,
    },
}

/// A program that is run at a point of a container's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path.
    pub path: PathBuf,
    /// Arguments, the program's name first; empty for the path.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Seconds that it may take.
    pub timeout: Option<u64>,
}

/// Propagation of mounts (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// `MS_PRIVATE`, recursively.
    Private,
    /// `MS_SLAVE`, recursively.
    Slave,
    /// `MS_SHARED`, recursively.
    Shared,
    /// `MS_UNBINDABLE`, recursively.
    Unbindable,
}

/// Where a root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// A detached mount (`fsmount(2)`), handed over as a descriptor.
    Detached(FdSlot),
    /// An overlay that the child mounts by `mount(2)`, for kernels without `lowerdir+` (before 6.8).
    /// Layer names are relative to `base`, which keeps the option string within one page.
    Overlay {
        /// Directory that all other paths are relative to.
        base: PathBuf,
        /// Lower directories, top-most first.
        lower: Vec<PathBuf>,
        /// Upper directory.
        upper: PathBuf,
        /// Work directory.
        work: PathBuf,
        /// Whether `volatile` is set (overlayfs, "Volatile mount").
        volatile: bool,
    },
    /// A directory of the host, bound recursively (an OCI bundle).
    Directory(PathBuf),
}

/// One mount beneath the new root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Path in the container; absent components are made.
    pub target: PathBuf,
    /// What is mounted.
    pub source: MountSource,
    /// Per-mount attributes.
    pub attributes: MountAttributes,
    /// Propagation of the new mount, `None` for the default.
    pub propagation: Option<Propagation>,
    /// Whether the propagation is that of the mount alone, and not of those below it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub propagation_alone: bool,
    /// Whether a new file system begins with a copy of what the root has at its target.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy_up: bool,
}

impl Mount {
    /// A mount with nothing out of the ordinary.
    #[must_use]
    pub fn new(target: impl Into<PathBuf>, source: MountSource) -> Self {
        Self {
            target: target.into(),
            source,
            attributes: MountAttributes::default(),
            propagation: None,
            propagation_alone: false,
            copy_up: false,
        }
    }
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A new instance of a file system.
    FileSystem {
        /// Type as in filesystems(5).
        kind: String,
        /// Device or a name to show.
        source: String,
        /// Options of the file system itself, joined by commas (`mode=755,size=65536k`), which part nothing between double
        /// quotes.
        options: String,
    },
    /// Nothing new: attributes of what is mounted there already are changed.
    Remount,
    /// A path of the host.
    Bind {
        /// The path on the host.
        path: PathBuf,
        /// Whether mounts below it come along.
        recursive: bool,
    },
    /// A detached mount (`open_tree(2)`, `OPEN_TREE_CLONE`), handed over as a descriptor.
    Detached {
        /// The descriptor.
        fd: FdSlot,
    },
    /// A directory of another container, as it is seen there.
    Elsewhere {
        /// The other container's mount namespace.
        namespace: FdSlot,
        /// The path there.
        path: PathBuf,
    },
    /// The container's view of its cgroups: one `cgroup2` mount on v2, one read-only mount per controller on v1.
    Cgroup,
}

impl MountSource {
    /// Whether it shows what is mounted elsewhere already, with attributes of its own.
    #[must_use]
    pub fn is_existing(&self) -> bool {
        !matches!(self, Self::FileSystem { .. } | Self::Cgroup)
    }
}

/// Attributes of one mount (mount_setattr(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountAttributes {
    /// `MOUNT_ATTR_RDONLY`.
    pub read_only: bool,
    /// `MOUNT_ATTR_NOSUID`.
    pub no_suid: bool,
    /// `MOUNT_ATTR_NODEV`.
    pub no_dev: bool,
    /// `MOUNT_ATTR_NOEXEC`.
    pub no_exec: bool,
    /// `MOUNT_ATTR_RELATIME` (false), `MOUNT_ATTR_STRICTATIME` (true).
    pub strict_atime: bool,
    /// `MOUNT_ATTR_NOATIME`.
    pub no_atime: bool,
    /// Whether the attributes apply to mounts below as well.
    pub recursive: bool,
    /// What else is changed of the mount.
    #[serde(default, skip_serializing_if = "AttributeChange::is_empty")]
    pub more: AttributeChange,
    /// What is changed of the mount and of all below it.
    #[serde(default, skip_serializing_if = "AttributeChange::is_empty")]
    pub tree: AttributeChange,
}

/// `MOUNT_ATTR_*` bits (mount_setattr(2)) that are set and taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeChange {
    /// Set.
    pub set: u64,
    /// Taken away.
    pub clear: u64,
}

impl AttributeChange {
    /// Changes nothing.
    pub const NONE: Self = Self { set: 0, clear: 0 };

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path in the container.
    pub target: PathBuf,
    /// `c`, `b` or `p`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The host's node, which is bound where none can be made; `None` where it is called as in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserSpec {
    /// As a client typed it: `user`, `uid`, `user:group`, `uid:gid` or empty for root; `additional` are names or numbers.
    Named {
        /// The text.
        user: String,
        /// Groups beyond those of `/etc/group` (`--group-add`).
        additional: Vec<String>,
    },
    /// Numbers only (an OCI specification).
    Ids {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Supplementary groups, exactly these.
        additional: Vec<u32>,
    },
    /// Numbers, in a user namespace that denies a change of groups (user_namespaces(7)): they stay those of its maker.
    WithoutGroups {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Capability sets as bit masks, bit n for capability number n (capabilities(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Bounding set.
    pub bounding: u64,
    /// Effective set. Dropped by the kernel at `execve` for a user other than root unless ambient.
    pub effective: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Ambient set.
    pub ambient: u64,
}
