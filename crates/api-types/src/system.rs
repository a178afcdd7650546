//! `GET /version`, `GET /info`, `GET /system/df` and `POST /auth`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ContainerSummary, ImageSummary, Volume};

/// Versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Version {
    /// What the engine is called.
    pub platform: BTreeMap<String, String>,
    /// Parts.
    pub components: Vec<ComponentVersion>,
    /// Version of the engine.
    pub version: String,
    /// Highest version of the API.
    pub api_version: String,
    /// Lowest version of the API.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// Commit that it was built from.
    pub git_commit: String,
    /// Clients print it; the compiler's name here.
    pub go_version: String,
    /// `linux`.
    pub os: String,
    /// `amd64`.
    pub arch: String,
    /// Release of the kernel.
    pub kernel_version: String,
    /// When it was built.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build_time: String,
}

/// Version of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ComponentVersion {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// More.
    pub details: BTreeMap<String, String>,
}

/// The engine and its host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SystemInfo {
    /// Identifies the engine.
    #[serde(rename = "ID")]
    pub id: String,
    /// All containers.
    pub containers: i64,
    /// Those that run.
    pub containers_running: i64,
    /// Those that are frozen.
    pub containers_paused: i64,
    /// Those that do not run.
    pub containers_stopped: i64,
    /// Images.
    pub images: i64,
    /// Storage driver.
    pub driver: String,
    /// Facts of it.
    pub driver_status: Vec<[String; 2]>,
    /// Plugins by kind.
    pub plugins: Plugins,
    /// What the host can limit.
    pub memory_limit: bool,
    /// As above.
    pub swap_limit: bool,
    /// As above.
    pub cpu_cfs_period: bool,
    /// As above.
    pub cpu_cfs_quota: bool,
    /// As above.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// As above.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// As above.
    pub pids_limit: bool,
    /// As above.
    pub oom_kill_disable: bool,
    /// `ip_forward`.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// Whether it logs in detail.
    pub debug: bool,
    /// Descriptors of the daemon.
    #[serde(rename = "NFd")]
    pub n_fd: i64,
    /// Threads of the daemon.
    pub n_goroutines: i64,
    /// RFC 3339.
    pub system_time: String,
    /// Log driver.
    pub logging_driver: String,
    /// `cgroupfs`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// Listeners of `events`.
    pub n_events_listener: i64,
    /// Release of the kernel.
    pub kernel_version: String,
    /// Name of the distribution.
    pub operating_system: String,
    /// Its version.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// `x86_64`.
    pub architecture: String,
    /// Where the index of images is.
    pub index_server_address: String,
    /// Registries.
    pub registry_config: RegistryConfig,
    /// CPUs.
    #[serde(rename = "NCPU")]
    pub ncpu: i64,
    /// Bytes of memory.
    pub mem_total: i64,
    /// Persistent state.
    pub docker_root_dir: String,
    /// Proxy.
    pub http_proxy: String,
    /// Proxy.
    pub https_proxy: String,
    /// Proxy.
    pub no_proxy: String,
    /// Host name.
    pub name: String,
    /// Labels of the daemon.
    pub labels: Vec<String>,
    /// Experimental features.
    pub experimental_build: bool,
    /// Version of the engine.
    pub server_version: String,
    /// Runtimes.
    pub runtimes: BTreeMap<String, Runtime>,
    /// The one that is used.
    pub default_runtime: String,
    /// Swarm state.
    pub swarm: Value,
    /// Whether containers outlive the daemon.
    pub live_restore_enabled: bool,
    /// Windows only.
    pub isolation: String,
    /// Name of the tiny init.
    pub init_binary: String,
    /// Security features.
    pub security_options: Vec<String>,
    /// What the administrator should know; `null` for nothing.
    pub warnings: Option<Vec<String>>,
    /// Commit of the runtime.
    pub runc_commit: Commit,
    /// Commit of containerd.
    pub containerd_commit: Commit,
    /// Commit of the init.
    pub init_commit: Commit,
    /// What writes the firewall's rules; clients older than API 1.49 are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firewall_backend: Option<FirewallBackend>,
    /// Where devices of the Container Device Interface are described.
    #[serde(rename = "CDISpecDirs")]
    pub cdi_spec_dirs: Vec<String>,
    /// What a swarm could give out.
    pub generic_resources: Option<Vec<Value>>,
    /// Whether packets on bridges pass through the firewall; clients older than API 1.50 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge_nf_iptables: Option<bool>,
    /// As above.
    #[serde(rename = "BridgeNfIp6tables", skip_serializing_if = "Option::is_none")]
    pub bridge_nf_ip6tables: Option<bool>,
}

/// Commit of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Commit {
    /// The commit or the version.
    #[serde(rename = "ID")]
    pub id: String,
    /// The same; clients older than API 1.49 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

/// What writes the firewall's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct FirewallBackend {
    /// `nftables`.
    pub driver: String,
}

/// Plugins by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Plugins {
    /// Of volumes.
    pub volume: Vec<String>,
    /// Of networks.
    pub network: Vec<String>,
    /// Of authorization.
    pub authorization: Option<Vec<String>>,
    /// Of logs.
    pub log: Vec<String>,
}

/// Registries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RegistryConfig {
    /// Networks that are asked without TLS.
    #[serde(rename = "InsecureRegistryCIDRs")]
    pub insecure_registry_cidrs: Vec<String>,
    /// By name.
    pub index_configs: BTreeMap<String, IndexConfig>,
    /// Of Docker Hub; `null` for none.
    pub mirrors: Option<Vec<String>>,
    /// Of layers that are not for everybody; never any, and clients older than API 1.47 only.
    #[serde(
        rename = "AllowNondistributableArtifactsCIDRs",
        skip_serializing_if = "Option::is_none"
    )]
    pub nondistributable_cidrs: Option<Value>,
    /// As above.
    #[serde(
        rename = "AllowNondistributableArtifactsHostnames",
        skip_serializing_if = "Option::is_none"
    )]
    pub nondistributable_hostnames: Option<Value>,
}

/// A registry that is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexConfig {
    /// Host and port.
    pub name: String,
    /// Base addresses that are asked before it.
    pub mirrors: Vec<String>,
    /// Whether only TLS with a known certificate will do.
    pub secure: bool,
    /// Whether it is Docker Hub.
    pub official: bool,
}

/// A runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// Program.
    pub path: String,
}

/// `POST /auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthResponse {
    /// `Login Succeeded`.
    pub status: String,
    /// In the place of a password from now on, empty for none.
    pub identity_token: String,
}

/// Every byte of the data root (`GET /conex/system/df`, of Conex alone).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Bytes of all rows.
    pub size: u64,
    /// What takes them.
    pub rows: Vec<DiskUsageRow>,
}

/// Something of the data root that takes bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DiskUsageRow {
    /// What it is: `layer`, `writable layer`, `volume` and the like.
    pub kind: String,
    /// Its name on disk; empty for what has none.
    pub name: String,
    /// Names of images or of a container that have it.
    pub of: Vec<String>,
    /// Bytes of the blocks that it has.
    pub size: u64,
}

/// A line of what a check of the stores tells (`POST /conex/system/check`, of Conex alone): findings, then a summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckLine {
    /// Something is wrong.
    Finding(CheckFinding),
    /// The last line.
    Summary(CheckSummary),
}

/// Something that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CheckFinding {
    /// Where: `layer 0123456789ab of busybox:latest`.
    pub place: String,
    /// What.
    pub problem: String,
    /// Whether it is right again.
    pub repaired: bool,
    /// What was done about it, or why nothing could be; empty where no repair was asked for.
    pub repair: String,
}

/// What a check came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CheckSummary {
    /// Images that were looked at.
    pub images: u64,
    /// Blobs whose digests were compared.
    pub blobs: u64,
    /// Layers whose files were read.
    pub layers: u64,
    /// Containers whose records were looked at.
    pub containers: u64,
    /// Volumes whose records were looked at.
    pub volumes: u64,
    /// What is wrong.
    pub findings: u64,
    /// How much of it is right again.
    pub repaired: u64,
}

/// `GET /system/df`; what was not asked for is not there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DataUsage {
    /// Bytes of all layers of images, each counted once.
    pub layers_size: i64,
    /// Images, with their containers and what they share.
    pub images: Option<Vec<ImageSummary>>,
    /// Containers, with their sizes.
    pub containers: Option<Vec<ContainerSummary>>,
    /// Volumes, with their sizes.
    pub volumes: Option<Vec<Volume>>,
    /// What builds keep.
    pub build_cache: Option<Vec<Value>>,
}
