//! What the host offers: plain data, probed once at the start of a program and passed along.
//!
//! Who probes is the engine or the runtime; a decision takes the facts as they are, so that every fallback can be forced
//! by a changed value.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the kernel and the configuration of the host offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostFacts {
    /// Which hierarchy of control groups limits containers.
    pub cgroups: CgroupVersion,
    /// Version of the running kernel, `(major, minor)`.
    pub kernel: (u32, u32),
    /// Architecture of the kernel.
    pub architecture: Architecture,
    /// Whether the kernel has cgroup namespaces (4.6; `/proc/self/ns/cgroup` exists).
    pub cgroup_namespaces: bool,
    /// Whether overlayfs takes layers one by one (`lowerdir+`, 6.8).
    pub overlay_layer_append: bool,
    /// Whether `openat2(2)` exists (5.6).
    pub openat2: bool,
    /// Whether `mount_setattr(2)` exists (5.12).
    pub mount_setattr: bool,
    /// Whether the kernel filters system calls (`CONFIG_SECCOMP_FILTER`).
    pub seccomp: bool,
    /// Whether AppArmor is enabled, and its files are there.
    pub apparmor: bool,
    /// Whether SELinux is enabled.
    pub selinux: bool,
    /// Capabilities that the kernel knows, bit n for number n, and that are in our own bounding set.
    pub capabilities: u64,
    /// `/sys/devices/system/cpu/cpu<n>/thermal_throttle` of every CPU that has it; masked in containers.
    pub thermal_throttle: Vec<PathBuf>,
    /// Paths of `/proc` and `/sys` that are masked or read-only by default but do not exist on this kernel. Leaving them out
    /// of a plan saves the system calls that would find them absent each time.
    pub absent_paths: Vec<PathBuf>,
}

/// What the control groups of the host can limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each of them stands for itself")]
pub struct LimitFacts {
    /// Memory.
    pub memory: bool,
    /// Memory and swap together.
    pub swap: bool,
    /// Memory that is left to a group when it is scarce.
    pub memory_reservation: bool,
    /// How readily memory is swapped.
    pub swappiness: bool,
    /// Whether processes wait instead of being killed where memory is out.
    pub oom_kill_disable: bool,
    /// Shares of the CPUs.
    pub cpu_shares: bool,
    /// The period that a quota counts for.
    pub cpu_period: bool,
    /// CPU time in a period.
    pub cpu_quota: bool,
    /// CPU time of real-time processes.
    pub cpu_realtime: bool,
    /// Which CPUs and memory nodes.
    pub cpuset: bool,
    /// Processes and threads.
    pub pids: bool,
    /// Weight of block I/O.
    pub io_weight: bool,
    /// The same for single devices.
    pub io_weight_device: bool,
    /// Bytes and operations of block I/O in a second.
    pub io_rate: bool,
}

impl Default for HostFacts {
    /// A current kernel on x86_64 with the unified hierarchy and no security module.
    fn default() -> Self {
        HostFacts {
            cgroups: CgroupVersion::V2,
            kernel: (6, 12),
            architecture: Architecture::X86_64,
            cgroup_namespaces: true,
            overlay_layer_append: true,
            openat2: true,
            mount_setattr: true,
            seccomp: true,
            apparmor: false,
            selinux: false,
            capabilities: crate::capabilities::ALL,
            thermal_throttle: Vec::new(),
            absent_paths: Vec::new(),
        }
    }
}

/// Which hierarchy of control groups limits containers (cgroups(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupVersion {
    /// One hierarchy per controller, also where an empty unified one stands beside them (hybrid).
    V1,
    /// The unified hierarchy.
    #[default]
    V2,
}

/// Architecture of the kernel, in the names of `uname -m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// AMD64, with i386 and x32 as its sub-architectures.
    X86_64,
    /// ARM64, with 32-bit ARM as its sub-architecture.
    Aarch64,
}

impl Architecture {
    /// The architecture that this program was compiled for, `None` where seccomp tables are missing.
    pub const fn current() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// Parses `uname -m`.
    pub fn parse(machine: &str) -> Option<Self> {
        match machine {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }
}
