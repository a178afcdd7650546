//! Execs.

use serde::{Deserialize, Serialize};

use crate::null_default;

/// `POST /containers/{id}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecCreateRequest {
    /// `user[:group]`.
    #[serde(deserialize_with = "null_default")]
    pub user: String,
    /// With all capabilities.
    #[serde(deserialize_with = "null_default")]
    pub privileged: bool,
    /// With a terminal.
    #[serde(deserialize_with = "null_default")]
    pub tty: bool,
    /// Rows and columns.
    pub console_size: Option<[u16; 2]>,
    /// Client to process.
    #[serde(deserialize_with = "null_default")]
    pub attach_stdin: bool,
    /// Process to client.
    #[serde(deserialize_with = "null_default")]
    pub attach_stderr: bool,
    /// Process to client.
    #[serde(deserialize_with = "null_default")]
    pub attach_stdout: bool,
    /// Unused by the engine.
    #[serde(deserialize_with = "null_default")]
    pub detach: bool,
    /// Key sequence.
    #[serde(deserialize_with = "null_default")]
    pub detach_keys: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_default")]
    pub env: Vec<String>,
    /// Absolute path.
    #[serde(deserialize_with = "null_default")]
    pub working_dir: String,
    /// Program and arguments.
    #[serde(deserialize_with = "null_default")]
    pub cmd: Vec<String>,
}

/// `POST /exec/{id}/start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecStartRequest {
    /// Do not attach.
    #[serde(deserialize_with = "null_default")]
    pub detach: bool,
    /// The client expects a terminal.
    #[serde(deserialize_with = "null_default")]
    pub tty: bool,
    /// Rows and columns.
    pub console_size: Option<[u16; 2]>,
}

/// An id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IdResponse {
    /// The id.
    pub id: String,
}

/// `GET /exec/{id}/json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecInspect {
    /// The exec's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Whether it runs.
    pub running: bool,
    /// Exit code, `null` before it ended.
    pub exit_code: Option<i64>,
    /// What it runs.
    pub process_config: ProcessConfig,
    /// Whether standard input is attached.
    pub open_stdin: bool,
    /// Whether standard error is attached.
    pub open_stderr: bool,
    /// Whether standard output is attached.
    pub open_stdout: bool,
    /// Whether it ended.
    pub can_remove: bool,
    /// The container.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Key sequence.
    pub detach_keys: String,
    /// Pid on the host, 0 when it does not run.
    pub pid: i64,
}

/// What an exec runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessConfig {
    /// With a terminal.
    pub tty: bool,
    /// Program.
    pub entrypoint: String,
    /// Arguments.
    pub arguments: Vec<String>,
    /// With all capabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// As whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
}
