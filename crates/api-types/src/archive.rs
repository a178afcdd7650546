//! `X-Docker-Container-Path-Stat` of `/containers/{id}/archive`.

use serde::{Deserialize, Serialize};

/// What is at a path of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPathStat {
    /// Last component of the path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Kind and permissions in Go's bits (`io/fs.FileMode`).
    pub mode: u32,
    /// Time of the last change, RFC 3339.
    pub mtime: String,
    /// Where a symbolic link leads, every link on the way followed; else empty.
    pub link_target: String,
}
