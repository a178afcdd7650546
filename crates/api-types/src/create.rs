//! `POST /containers/create`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::host_config::HostConfig;
use crate::{Empty, EndpointSettings, null_default};

/// What a client wants created.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerCreateRequest {
    /// Host name, the short id where it is empty.
    #[serde(deserialize_with = "null_default")]
    pub hostname: String,
    /// NIS domain name.
    #[serde(deserialize_with = "null_default")]
    pub domainname: String,
    /// `user[:group]`.
    #[serde(deserialize_with = "null_default")]
    pub user: String,
    /// The client attaches to standard input.
    #[serde(deserialize_with = "null_default")]
    pub attach_stdin: bool,
    /// The client attaches to standard output.
    #[serde(deserialize_with = "null_default")]
    pub attach_stdout: bool,
    /// The client attaches to standard error.
    #[serde(deserialize_with = "null_default")]
    pub attach_stderr: bool,
    /// `port/protocol`.
    #[serde(deserialize_with = "null_default")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// With a terminal.
    #[serde(deserialize_with = "null_default")]
    pub tty: bool,
    /// Standard input is a pipe that clients can write to.
    #[serde(deserialize_with = "null_default")]
    pub open_stdin: bool,
    /// It is closed when the first client that attached leaves.
    #[serde(deserialize_with = "null_default")]
    pub stdin_once: bool,
    /// `NAME=value`; `NAME` takes it away.
    #[serde(deserialize_with = "null_default")]
    pub env: Vec<String>,
    /// Arguments, or the program.
    #[serde(deserialize_with = "one_or_many")]
    pub cmd: Option<Vec<String>>,
    /// Health check.
    pub healthcheck: Option<HealthConfig>,
    /// Windows only.
    #[serde(deserialize_with = "null_default")]
    pub args_escaped: bool,
    /// Name or id of the image.
    #[serde(deserialize_with = "null_default")]
    pub image: String,
    /// Paths of anonymous volumes.
    #[serde(deserialize_with = "null_default")]
    pub volumes: BTreeMap<String, Empty>,
    /// Absolute path.
    #[serde(deserialize_with = "null_default")]
    pub working_dir: String,
    /// Program and its first arguments.
    #[serde(deserialize_with = "one_or_many")]
    pub entrypoint: Option<Vec<String>>,
    /// No network at all.
    #[serde(deserialize_with = "null_default")]
    pub network_disabled: bool,
    /// Deprecated in API 1.44.
    #[serde(deserialize_with = "null_default")]
    pub mac_address: String,
    /// Triggers of a build.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    #[serde(deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
    /// Signal of `stop`.
    #[serde(deserialize_with = "null_default")]
    pub stop_signal: String,
    /// Seconds of `stop`.
    pub stop_timeout: Option<i64>,
    /// Shell of a Dockerfile's shell forms.
    pub shell: Option<Vec<String>>,
    /// What the host does for the container.
    #[serde(deserialize_with = "null_default")]
    pub host_config: HostConfig,
    /// Networks it is connected to.
    #[serde(deserialize_with = "null_default")]
    pub networking_config: NetworkingConfig,
}

/// A health check; times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthConfig {
    /// `["CMD", ...]`, `["CMD-SHELL", "..."]`, `["NONE"]`; empty inherits the image's.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Until a check counts as failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Failures in a row.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
    /// Grace at the start.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks during the grace.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
}

/// Networks that a container is connected to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkingConfig {
    /// Name to settings.
    #[serde(deserialize_with = "null_default")]
    pub endpoints_config: BTreeMap<String, Option<EndpointSettings>>,
}

/// What was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerCreateResponse {
    /// Its id.
    pub id: String,
    /// What the client should know.
    #[serde(deserialize_with = "null_default")]
    pub warnings: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A list, or one string as old clients send it.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    match value {
        None => Ok(None),
        Some(Value::String(one)) => Ok(Some(vec![one])),
        Some(many) => serde_json::from_value(many).map(Some).map_err(serde::de::Error::custom),
    }
}
