//! How the kernel is to schedule a process, and where its memory is to lie.

use serde::{Deserialize, Serialize};

/// What `sched_setattr(2)` takes; the numbers are the kernel's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19.
    pub nice: i32,
    /// 1 to 99 for real-time policies, else 0.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub period: u64,
}

/// What `set_mempolicy(2)` takes; the numbers are the kernel's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*` with its flags.
    pub mode: u32,
    /// Nodes by number.
    pub nodes: Vec<u32>,
}

/// How far clocks of a time namespace are from the host's, in seconds and nanoseconds (time_namespaces(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffsets {
    /// `CLOCK_MONOTONIC`.
    pub monotonic: (i64, u32),
    /// `CLOCK_BOOTTIME`.
    pub boot: (i64, u32),
}

/// A security module that labels programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityModule {
    /// apparmor(7).
    AppArmor,
    /// selinux(8).
    SeLinux,
}
