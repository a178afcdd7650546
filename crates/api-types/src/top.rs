//! `GET /containers/{id}/top`.

use serde::{Deserialize, Serialize};

/// The processes of a container as `ps` shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerTopResponse {
    /// One row for each process.
    pub processes: Vec<Vec<String>>,
    /// Names of the columns.
    pub titles: Vec<String>,
}
