//! `HostConfig`: what the host does for a container.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::null_default;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero_mode(mode: &u32) -> bool {
    *mode == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// All fields of API 1.50.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostConfig {
    /// `host:container[:options]`.
    pub binds: Option<Vec<String>>,
    /// File that the id is written to; the client's business.
    #[serde(rename = "ContainerIDFile", deserialize_with = "null_default")]
    pub container_id_file: String,
    /// Log driver.
    #[serde(deserialize_with = "null_default")]
    pub log_config: LogConfig,
    /// `default`, `none`, `host`, `bridge`, `container:<id>`, a name.
    #[serde(deserialize_with = "null_default")]
    pub network_mode: String,
    /// Limits of its connections, by their options (`conex.rate.egress`); Docker has no such field. In an update, an empty
    /// value takes an option back.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub network_rates: BTreeMap<String, String>,
    /// Published ports.
    #[serde(deserialize_with = "null_default")]
    pub port_bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
    /// When it is started again.
    #[serde(deserialize_with = "null_default")]
    pub restart_policy: RestartPolicy,
    /// Remove it when it ends.
    #[serde(deserialize_with = "null_default")]
    pub auto_remove: bool,
    /// Volume driver.
    #[serde(deserialize_with = "null_default")]
    pub volume_driver: String,
    /// Containers whose volumes it takes.
    pub volumes_from: Option<Vec<String>>,
    /// Rows and columns.
    pub console_size: Option<[u16; 2]>,
    /// Metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Capabilities.
    pub cap_add: Option<Vec<String>>,
    /// Capabilities.
    pub cap_drop: Option<Vec<String>>,
    /// `host`, `private`, empty for the default.
    #[serde(deserialize_with = "null_default")]
    pub cgroupns_mode: String,
    /// Name servers.
    #[serde(deserialize_with = "null_default")]
    pub dns: Vec<String>,
    /// Options of `resolv.conf`.
    #[serde(deserialize_with = "null_default")]
    pub dns_options: Vec<String>,
    /// Search domains.
    #[serde(deserialize_with = "null_default")]
    pub dns_search: Vec<String>,
    /// `name:address`.
    pub extra_hosts: Option<Vec<String>>,
    /// Additional groups.
    pub group_add: Option<Vec<String>>,
    /// IPC namespace.
    #[serde(deserialize_with = "null_default")]
    pub ipc_mode: String,
    /// Obsolete.
    #[serde(deserialize_with = "null_default")]
    pub cgroup: String,
    /// Legacy links.
    pub links: Option<Vec<String>>,
    /// `/proc/self/oom_score_adj`.
    #[serde(deserialize_with = "null_default")]
    pub oom_score_adj: i64,
    /// Pid namespace.
    #[serde(deserialize_with = "null_default")]
    pub pid_mode: String,
    /// All capabilities and devices.
    #[serde(deserialize_with = "null_default")]
    pub privileged: bool,
    /// Publish every exposed port.
    #[serde(deserialize_with = "null_default")]
    pub publish_all_ports: bool,
    /// Read-only root.
    #[serde(deserialize_with = "null_default")]
    pub readonly_rootfs: bool,
    /// Security options.
    pub security_opt: Option<Vec<String>>,
    /// Options of the storage driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_opt: Option<BTreeMap<String, String>>,
    /// Path to options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs: Option<BTreeMap<String, String>>,
    /// UTS namespace.
    #[serde(rename = "UTSMode", deserialize_with = "null_default")]
    pub uts_mode: String,
    /// User namespace.
    #[serde(deserialize_with = "null_default")]
    pub userns_mode: String,
    /// Bytes of `/dev/shm`.
    #[serde(deserialize_with = "null_default")]
    pub shm_size: i64,
    /// Kernel parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysctls: Option<BTreeMap<String, String>>,
    /// Runtime.
    #[serde(deserialize_with = "null_default")]
    pub runtime: String,
    /// Windows only.
    #[serde(deserialize_with = "null_default")]
    pub isolation: String,
    /// Relative CPU weight.
    #[serde(deserialize_with = "null_default")]
    pub cpu_shares: i64,
    /// Bytes.
    #[serde(deserialize_with = "null_default")]
    pub memory: i64,
    /// CPUs in units of 10⁻⁹.
    #[serde(deserialize_with = "null_default")]
    pub nano_cpus: i64,
    /// Parent cgroup.
    #[serde(deserialize_with = "null_default")]
    pub cgroup_parent: String,
    /// Relative I/O weight.
    #[serde(deserialize_with = "null_default")]
    pub blkio_weight: u16,
    /// Per device.
    pub blkio_weight_device: Option<Vec<WeightDevice>>,
    /// Per device.
    pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
    /// Per device.
    pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
    /// Per device.
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
    /// Per device.
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
    /// Microseconds.
    #[serde(deserialize_with = "null_default")]
    pub cpu_period: i64,
    /// Microseconds per period.
    #[serde(deserialize_with = "null_default")]
    pub cpu_quota: i64,
    /// Real-time scheduling.
    #[serde(deserialize_with = "null_default")]
    pub cpu_realtime_period: i64,
    /// Real-time scheduling.
    #[serde(deserialize_with = "null_default")]
    pub cpu_realtime_runtime: i64,
    /// List of CPUs.
    #[serde(deserialize_with = "null_default")]
    pub cpuset_cpus: String,
    /// List of memory nodes.
    #[serde(deserialize_with = "null_default")]
    pub cpuset_mems: String,
    /// Devices of the host.
    pub devices: Option<Vec<DeviceMapping>>,
    /// Rules of the device controller.
    pub device_cgroup_rules: Option<Vec<String>>,
    /// Devices of drivers (GPUs).
    pub device_requests: Option<Vec<Value>>,
    /// Deprecated.
    #[serde(
        rename = "KernelMemoryTCP",
        deserialize_with = "null_default",
        skip_serializing_if = "is_zero"
    )]
    pub kernel_memory_tcp: i64,
    /// Soft limit in bytes.
    #[serde(deserialize_with = "null_default")]
    pub memory_reservation: i64,
    /// Memory and swap in bytes, -1 for unlimited swap.
    #[serde(deserialize_with = "null_default")]
    pub memory_swap: i64,
    /// 0 to 100.
    pub memory_swappiness: Option<i64>,
    /// No OOM killer.
    pub oom_kill_disable: Option<bool>,
    /// Number of tasks.
    pub pids_limit: Option<i64>,
    /// Limits of the process.
    pub ulimits: Option<Vec<Ulimit>>,
    /// Windows only.
    #[serde(deserialize_with = "null_default")]
    pub cpu_count: i64,
    /// Windows only.
    #[serde(deserialize_with = "null_default")]
    pub cpu_percent: i64,
    /// Windows only.
    #[serde(rename = "IOMaximumIOps", deserialize_with = "null_default")]
    pub io_maximum_iops: u64,
    /// Windows only.
    #[serde(rename = "IOMaximumBandwidth", deserialize_with = "null_default")]
    pub io_maximum_bandwidth: u64,
    /// Mounts in their long form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<Mount>>,
    /// Instead of the default masked paths.
    pub masked_paths: Option<Vec<String>>,
    /// Instead of the default read-only paths.
    pub readonly_paths: Option<Vec<String>>,
    /// With a tiny init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
}

/// Log driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LogConfig {
    /// Its name, empty for the default.
    #[serde(rename = "Type", deserialize_with = "null_default")]
    pub kind: String,
    /// Its options.
    #[serde(deserialize_with = "null_default")]
    pub config: BTreeMap<String, String>,
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortBinding {
    /// Address of the host.
    #[serde(deserialize_with = "null_default")]
    pub host_ip: String,
    /// Port of the host.
    #[serde(deserialize_with = "null_default")]
    pub host_port: String,
}

/// When a container is started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// `no`, `always`, `on-failure`, `unless-stopped`.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Of `on-failure`.
    #[serde(deserialize_with = "null_default")]
    pub maximum_retry_count: i64,
}

/// A block device's part of the I/O.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WeightDevice {
    /// Path of the device on the host.
    #[serde(deserialize_with = "null_default")]
    pub path: String,
    /// 10 to 1000.
    #[serde(deserialize_with = "null_default")]
    pub weight: u16,
}

/// What a block device takes in a second at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ThrottleDevice {
    /// Path of the device on the host.
    #[serde(deserialize_with = "null_default")]
    pub path: String,
    /// Bytes or operations; 0 for no limit.
    #[serde(deserialize_with = "null_default")]
    pub rate: u64,
}

/// A device of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceMapping {
    /// Path on the host.
    #[serde(deserialize_with = "null_default")]
    pub path_on_host: String,
    /// Path in the container.
    #[serde(deserialize_with = "null_default")]
    pub path_in_container: String,
    /// `rwm`.
    #[serde(deserialize_with = "null_default")]
    pub cgroup_permissions: String,
}

/// A limit of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ulimit {
    /// `nofile`.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Soft limit.
    #[serde(deserialize_with = "null_default")]
    pub soft: i64,
    /// Hard limit.
    #[serde(deserialize_with = "null_default")]
    pub hard: i64,
}

/// What is no limit of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UlimitError(String);

impl std::fmt::Display for UlimitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid ulimit argument: {}", self.0)
    }
}

impl std::error::Error for UlimitError {}

impl FromStr for Ulimit {
    type Err = UlimitError;

    /// Docker's notation: `name=soft[:hard]`, -1 for no limit.
    fn from_str(text: &str) -> Result<Self, UlimitError> {
        let wrong = || UlimitError(text.to_owned());
        let (name, values) = text.split_once('=').ok_or_else(wrong)?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let number = |value: &str| value.parse::<i64>().map_err(|_| wrong());
        Ok(Self {
            name: name.to_owned(),
            soft: number(soft)?,
            hard: number(hard)?,
        })
    }
}

/// A mount in its long form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, `image`, `cluster`, `npipe`.
    #[serde(rename = "Type", deserialize_with = "null_default")]
    pub kind: String,
    /// Path or name.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Path in the container.
    #[serde(deserialize_with = "null_default")]
    pub target: String,
    /// Read-only.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Not used on Linux.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub consistency: String,
    /// Of binds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// Of volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// Of tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// Options of a bind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BindOptions {
    /// `rprivate`, `rslave`, `rshared` and the same without `r`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub propagation: String,
    /// Without what is mounted below.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub non_recursive: bool,
    /// Make the source where it is absent.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub create_mountpoint: bool,
    /// What is mounted below stays writable.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub read_only_non_recursive: bool,
    /// An error where what is mounted below cannot be made read-only.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub read_only_force_recursive: bool,
}

/// Options of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeOptions {
    /// Do not fill it from the image.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub no_copy: bool,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Driver that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<DriverConfig>,
    /// Path within the volume.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub subpath: String,
}

/// A driver and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DriverConfig {
    /// Name.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, String>>,
}

/// Options of a tmpfs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TmpfsOptions {
    /// Bytes.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub size_bytes: i64,
    /// Permission bits.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero_mode")]
    pub mode: u32,
    /// Further options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<Vec<String>>>,
}
