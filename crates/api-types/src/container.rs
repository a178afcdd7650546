//! Containers as they are listed, inspected and waited for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Empty, HealthConfig, HostConfig, PortBinding, null_default};

/// One line of `GET /containers/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerSummary {
    /// Id.
    pub id: String,
    /// Names with a leading slash.
    pub names: Vec<String>,
    /// The image as it was asked for.
    pub image: String,
    /// The image's id.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// Program and arguments.
    pub command: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Ports.
    pub ports: Vec<Port>,
    /// Bytes of the writable layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes of everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `running`.
    pub state: String,
    /// `Up 2 minutes`.
    pub status: String,
    /// Network mode.
    pub host_config: ContainerHostConfig,
    /// Networks.
    pub network_settings: ContainerNetworks,
    /// Mounts.
    pub mounts: Vec<MountPoint>,
}

/// What a list tells of the host configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerHostConfig {
    /// `bridge`, `host`, `none`.
    pub network_mode: String,
}

/// What a list tells of the networks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerNetworks {
    /// Name to settings.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// A port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Port {
    /// Address of the host.
    #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Port of the container.
    pub private_port: u16,
    /// Port of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_port: Option<u16>,
    /// `tcp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// A mount as it is listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Name of a volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Driver of a volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Options.
    pub mode: String,
    /// Whether it is writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// Propagation.
    pub propagation: String,
}

/// Addresses that are asked for; what is not said is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointIpamConfig {
    /// Address.
    #[serde(
        rename = "IPv4Address",
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv4_address: String,
    /// Address of IPv6.
    #[serde(
        rename = "IPv6Address",
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv6_address: String,
    /// Addresses besides that no router knows.
    #[serde(
        rename = "LinkLocalIPs",
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub link_local_ips: Vec<String>,
}

/// A container's connection to a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointSettings {
    /// Fixed addresses.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<EndpointIpamConfig>,
    /// Legacy links.
    pub links: Option<Vec<String>>,
    /// Names in the network's DNS.
    pub aliases: Option<Vec<String>>,
    /// MAC address.
    #[serde(deserialize_with = "null_default")]
    pub mac_address: String,
    /// Options of the driver.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// Priority of its gateway.
    #[serde(deserialize_with = "null_default")]
    pub gw_priority: i64,
    /// Id of the network.
    #[serde(rename = "NetworkID", deserialize_with = "null_default")]
    pub network_id: String,
    /// Id of the connection.
    #[serde(rename = "EndpointID", deserialize_with = "null_default")]
    pub endpoint_id: String,
    /// Gateway.
    #[serde(deserialize_with = "null_default")]
    pub gateway: String,
    /// Address.
    #[serde(rename = "IPAddress", deserialize_with = "null_default")]
    pub ip_address: String,
    /// Length of its prefix.
    #[serde(rename = "IPPrefixLen", deserialize_with = "null_default")]
    pub ip_prefix_len: u8,
    /// Gateway.
    #[serde(rename = "IPv6Gateway", deserialize_with = "null_default")]
    pub ipv6_gateway: String,
    /// Address.
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "null_default")]
    pub global_ipv6_address: String,
    /// Length of its prefix.
    #[serde(rename = "GlobalIPv6PrefixLen", deserialize_with = "null_default")]
    pub global_ipv6_prefix_len: u8,
    /// Names in the network's DNS.
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
}

/// `GET /containers/{id}/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerInspect {
    /// Id.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// Program.
    pub path: String,
    /// Arguments.
    pub args: Vec<String>,
    /// State.
    pub state: ContainerState,
    /// The image's id.
    pub image: String,
    /// Path on the host, empty where the container was never started.
    pub resolv_conf_path: String,
    /// As above.
    pub hostname_path: String,
    /// As above.
    pub hosts_path: String,
    /// As above.
    pub log_path: String,
    /// Name with a leading slash.
    pub name: String,
    /// How often it was started again.
    pub restart_count: i64,
    /// Storage driver.
    pub driver: String,
    /// `linux`.
    pub platform: String,
    /// SELinux.
    pub mount_label: String,
    /// SELinux.
    pub process_label: String,
    /// AppArmor.
    pub app_armor_profile: String,
    /// Execs that have not ended.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// As it was asked for.
    pub host_config: HostConfig,
    /// Storage.
    pub graph_driver: GraphDriver,
    /// Bytes of the writable layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes of everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Mounts.
    pub mounts: Vec<MountPoint>,
    /// As it was asked for, merged with the image.
    pub config: InspectConfig,
    /// Networks.
    pub network_settings: NetworkSettings,
}

/// The state of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerState {
    /// `created`, `running`, `exited`, ...
    pub status: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether it is frozen.
    pub paused: bool,
    /// Whether it waits to be started again.
    pub restarting: bool,
    /// Whether the kernel killed a process for memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Whether its removal failed.
    pub dead: bool,
    /// Pid on the host, 0 when it does not run.
    pub pid: i64,
    /// Exit code.
    pub exit_code: i64,
    /// Why it could not be started.
    pub error: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// What its health checks have shown, where it has some and was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// A container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Failures since the last success.
    pub failing_streak: i64,
    /// The last results, oldest first.
    pub log: Vec<HealthcheckResult>,
}

/// The result of a health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthcheckResult {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// Exit code; -1 where the check was not carried out to its end.
    pub exit_code: i64,
    /// What it wrote.
    pub output: String,
}

/// Storage of an image or a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GraphDriver {
    /// Directories.
    pub data: BTreeMap<String, String>,
    /// `overlay2`.
    pub name: String,
}

/// The configuration of a container as it is inspected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectConfig {
    /// Host name.
    pub hostname: String,
    /// Domain name.
    pub domainname: String,
    /// User.
    pub user: String,
    /// Whether the creator attached.
    pub attach_stdin: bool,
    /// As above.
    pub attach_stdout: bool,
    /// As above.
    pub attach_stderr: bool,
    /// Ports.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// With a terminal.
    pub tty: bool,
    /// With an open standard input.
    pub open_stdin: bool,
    /// Closed with the first client.
    pub stdin_once: bool,
    /// Environment.
    pub env: Vec<String>,
    /// Arguments.
    pub cmd: Option<Vec<String>>,
    /// Health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// The image as it was asked for.
    pub image: String,
    /// Paths of volumes.
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Working directory.
    pub working_dir: String,
    /// Program.
    pub entrypoint: Option<Vec<String>>,
    /// Triggers.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Signal of `stop`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds of `stop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Shell of a Dockerfile's shell forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Whether the command is one line already; for Windows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// Whether it has no network at all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub network_disabled: bool,
}

/// Networks of a container as they are inspected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Bridge.
    pub bridge: String,
    /// Id of the network namespace.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// Its path.
    pub sandbox_key: String,
    /// Published ports.
    pub ports: BTreeMap<String, Option<Vec<PortBinding>>>,
    /// Not used.
    pub hairpin_mode: bool,
    /// Not used.
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_ipv6_address: String,
    /// Not used.
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_ipv6_prefix_len: u8,
    /// Not used.
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary_ip_addresses: Option<Vec<Value>>,
    /// Not used.
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary_ipv6_addresses: Option<Vec<Value>>,
    /// Of the default bridge.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Of the default bridge.
    pub gateway: String,
    /// Of the default bridge.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Of the default bridge.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// Of the default bridge.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Of the default bridge.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// Of the default bridge.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// Of the default bridge.
    pub mac_address: String,
    /// All networks.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// `POST /containers/{id}/wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerWaitResponse {
    /// Exit code.
    pub status_code: i64,
    /// Why waiting failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ContainerWaitError>,
}

/// Why waiting failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerWaitError {
    /// Words.
    pub message: String,
}

/// `POST /containers/{id}/update`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerUpdateResponse {
    /// What the client should know.
    pub warnings: Option<Vec<String>>,
}
