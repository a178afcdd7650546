//! What prunes removed.

use serde::{Deserialize, Serialize};

use crate::ImageDeleteResponse;

/// `POST /containers/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainersPruned {
    /// Ids; `null` where there was nothing to remove.
    pub containers_deleted: Option<Vec<String>>,
    /// Bytes of their writable layers.
    pub space_reclaimed: u64,
}

/// `POST /images/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImagesPruned {
    /// Names, images and layers; `null` where there was nothing to remove.
    pub images_deleted: Option<Vec<ImageDeleteResponse>>,
    /// Bytes of the layers.
    pub space_reclaimed: u64,
}
