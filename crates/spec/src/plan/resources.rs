//! A control group and its limits, independent of the kernel's layout.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Scope;

/// A control group and its limits; `conex-cgroup` maps it to v1 or v2 files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// Path below each hierarchy's root, for example `/conex/<id>`.
    pub path: PathBuf,
    /// The unit of systemd that it belongs to, where systemd makes it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: Option<Scope>,
    /// The limits.
    pub resources: Resources,
}

/// Limits of a control group; `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Memory limit in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Option<i64>,
    /// Memory plus swap in bytes, -1 for unlimited.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_swap: Option<i64>,
    /// Soft memory limit in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_reservation: Option<i64>,
    /// Whether a memory limit below what is used already is refused on version 2 too, where the kernel would kill.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_check: bool,
    /// Preference for swapping, 0 to 100; version 1 only.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_swappiness: Option<u64>,
    /// Whether processes wait for memory instead of being killed; only version 1 can make them.
    #[serde(skip_serializing_if = "is_default")]
    pub oom_kill_disable: Option<bool>,
    /// Relative CPU weight as v1 shares, 2 to 262144.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_shares: Option<u64>,
    /// CFS quota in microseconds per period.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_quota: Option<i64>,
    /// CFS period in microseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_period: Option<u64>,
    /// What a period may save up for later ones, in microseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_burst: Option<u64>,
    /// 1 for a group that gets only time that nobody else wants.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_idle: Option<i64>,
    /// Real-time microseconds per real-time period; version 1 only.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_rt_runtime: Option<i64>,
    /// Real-time period in microseconds; version 1 only.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_rt_period: Option<u64>,
    /// CPUs, list format of cpuset(7).
    #[serde(skip_serializing_if = "is_default")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, list format of cpuset(7).
    #[serde(skip_serializing_if = "is_default")]
    pub cpuset_mems: Option<String>,
    /// Number of tasks, -1 for unlimited.
    #[serde(skip_serializing_if = "is_default")]
    pub pids: Option<i64>,
    /// Block devices.
    #[serde(skip_serializing_if = "is_default")]
    pub block_io: BlockIo,
    /// Huge pages by their size.
    #[serde(skip_serializing_if = "is_default")]
    pub huge_pages: Vec<HugePages>,
    /// RDMA devices.
    #[serde(skip_serializing_if = "is_default")]
    pub rdma: Vec<Rdma>,
    /// Class of the packets that are sent (`net_cls.classid`); version 1 only.
    #[serde(skip_serializing_if = "is_default")]
    pub network_class: Option<u32>,
    /// Priority of packets by interface (`net_prio.ifpriomap`); version 1 only.
    #[serde(skip_serializing_if = "is_default")]
    pub network_priorities: Vec<(String, u32)>,
    /// Device rules in order; the first is usually "deny all".
    #[serde(skip_serializing_if = "is_default")]
    pub devices: Vec<DeviceRule>,
    /// Raw files of the unified hierarchy, name and value.
    #[serde(skip_serializing_if = "is_default")]
    pub unified: Vec<(String, String)>,
}

/// What is not limited need not travel.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Limits of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIo {
    /// Weight beside other groups, 10 to 1000.
    #[serde(skip_serializing_if = "is_default")]
    pub weight: Option<u16>,
    /// Weight of the own processes beside groups below; version 1 with a scheduler that knows it.
    #[serde(skip_serializing_if = "is_default")]
    pub leaf_weight: Option<u16>,
    /// Weights for single devices.
    #[serde(skip_serializing_if = "is_default")]
    pub devices: Vec<DeviceWeight>,
    /// Rates.
    #[serde(skip_serializing_if = "is_default")]
    pub throttles: Vec<Throttle>,
}

impl BlockIo {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        is_default(self)
    }
}

/// Weight for one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// Major and minor number.
    pub device: (u32, u32),
    /// As `BlockIo::weight`; 0 for that of the group.
    pub weight: Option<u16>,
    /// As `BlockIo::leaf_weight`.
    pub leaf_weight: Option<u16>,
}

/// Rate for one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Major and minor number.
    pub device: (u32, u32),
    /// What is counted.
    pub kind: ThrottleKind,
    /// How much of it per second; 0 for no limit.
    pub rate: u64,
}

/// What a throttle counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleKind {
    /// Bytes read.
    ReadBytes,
    /// Bytes written.
    WriteBytes,
    /// Read operations.
    ReadOperations,
    /// Write operations.
    WriteOperations,
}

/// Limit of the huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugePages {
    /// The size as the kernel writes it: `2MB`.
    pub size: String,
    /// Bytes, -1 for unlimited.
    pub limit: i64,
}

/// Limits of one RDMA device; `None` for no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rdma {
    /// Name of the device.
    pub device: String,
    /// Handles.
    pub handles: Option<u32>,
    /// Objects.
    pub objects: Option<u32>,
}

/// One rule of the device controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Whether access is allowed.
    pub allow: bool,
    /// `a`, `b` or `c`.
    pub kind: char,
    /// Major number, `None` for all.
    pub major: Option<u32>,
    /// Minor number, `None` for all.
    pub minor: Option<u32>,
    /// Any of `r`, `w`, `m`.
    pub access: String,
}
