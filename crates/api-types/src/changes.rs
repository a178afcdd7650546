//! `GET /containers/{id}/changes`.

use serde::{Serialize, Serializer};

/// One path of a container's file system that is not as it is in its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FilesystemChange {
    /// Absolute, within the container.
    pub path: String,
    /// What became of it.
    #[serde(serialize_with = "number")]
    pub kind: ChangeKind,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is another: 0.
    #[default]
    Modified,
    /// It is new: 1.
    Added,
    /// It is gone: 2.
    Deleted,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn number<S: Serializer>(kind: &ChangeKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*kind as u8)
}
