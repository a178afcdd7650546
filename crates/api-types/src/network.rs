//! Networks: `/networks` and its operations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EndpointSettings, null_default};

/// A network as it is listed and inspected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkResource {
    /// Name.
    pub name: String,
    /// Id.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// `local`.
    pub scope: String,
    /// `bridge`, `host`, `null`.
    pub driver: String,
    /// Whether it has IPv4 addresses.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    /// Whether it has IPv6 addresses.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Whether it is shut off from the outside.
    pub internal: bool,
    /// Whether containers outside a swarm's services may join.
    pub attachable: bool,
    /// Whether it is a swarm's routing mesh.
    pub ingress: bool,
    /// The network that its configuration came from.
    pub config_from: ConfigReference,
    /// Whether it is a configuration only.
    pub config_only: bool,
    /// Container id to its connection.
    pub containers: BTreeMap<String, NetworkContainer>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Addresses of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ipam {
    /// `default`.
    #[serde(deserialize_with = "null_default")]
    pub driver: String,
    /// Options of that driver.
    pub options: Option<BTreeMap<String, String>>,
    /// Subnets.
    pub config: Option<Vec<IpamConfig>>,
}

/// A subnet of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamConfig {
    /// `10.0.0.0/24`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// The part of it that containers get addresses from.
    #[serde(
        rename = "IPRange",
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ip_range: String,
    /// Address of the host.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Addresses that no container gets, by name.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// Names the network that a configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigReference {
    /// Its name.
    #[serde(deserialize_with = "null_default")]
    pub network: String,
}

/// A container on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkContainer {
    /// The container's name.
    pub name: String,
    /// Id of the connection.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// MAC address.
    pub mac_address: String,
    /// Address with its prefix.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// Address with its prefix.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// `POST /networks/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkCreateRequest {
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Names are unique in any case.
    #[serde(deserialize_with = "null_default")]
    pub check_duplicate: bool,
    /// Driver, `bridge` where it is empty.
    #[serde(deserialize_with = "null_default")]
    pub driver: String,
    /// `local`.
    #[serde(deserialize_with = "null_default")]
    pub scope: String,
    /// Whether it is shut off from the outside.
    #[serde(deserialize_with = "null_default")]
    pub internal: bool,
    /// Whether containers outside a swarm's services may join.
    #[serde(deserialize_with = "null_default")]
    pub attachable: bool,
    /// A swarm's routing mesh.
    #[serde(deserialize_with = "null_default")]
    pub ingress: bool,
    /// A configuration only.
    #[serde(deserialize_with = "null_default")]
    pub config_only: bool,
    /// The network that its configuration comes from.
    pub config_from: Option<ConfigReference>,
    /// Addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Option<Ipam>,
    /// Whether it has IPv4 addresses; it does where nothing is said.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: Option<bool>,
    /// Whether it has IPv6 addresses.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: Option<bool>,
    /// Options of the driver.
    #[serde(deserialize_with = "null_default")]
    pub options: BTreeMap<String, String>,
    /// Labels.
    #[serde(deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
}

/// What was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkCreateResponse {
    /// Its id.
    pub id: String,
    /// What the client should know.
    pub warning: String,
}

/// `POST /networks/{id}/connect`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkConnectRequest {
    /// The container.
    #[serde(deserialize_with = "null_default")]
    pub container: String,
    /// How.
    pub endpoint_config: Option<EndpointSettings>,
}

/// `POST /networks/{id}/disconnect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkDisconnectRequest {
    /// The container.
    #[serde(deserialize_with = "null_default")]
    pub container: String,
    /// Whatever state it is in.
    #[serde(deserialize_with = "null_default")]
    pub force: bool,
}

/// `POST /networks/prune`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkPruneResponse {
    /// Names of what was deleted.
    pub networks_deleted: Option<Vec<String>>,
}
