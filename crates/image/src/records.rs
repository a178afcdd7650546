//! What the metadata store keeps of images and layers.

use conex_reference::Digest;
use serde::{Deserialize, Serialize};

/// Version of these shapes.
pub(crate) const VERSION: u32 = 1;

/// An image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// Version of this shape.
    pub(crate) version: u32,
    /// Keys of its layers, lowest first.
    pub(crate) layers: Vec<String>,
    /// Digest of the manifest that it came by, where it came by one.
    pub(crate) manifest: Option<String>,
    /// Digest of the manifest that was made of it for `index.json`, where it came by none or by one of Docker's type.
    #[serde(default)]
    pub(crate) layout: Option<String>,
    /// The image that it was made upon here.
    #[serde(default)]
    pub(crate) parent: Option<String>,
    /// Whether it was removed and is there for stopped containers alone.
    #[serde(default)]
    pub(crate) retained: bool,
    /// When it last got a tag, nanoseconds since 1970.
    pub(crate) last_tagged: Option<i64>,
}

/// Which registries have a layer, by its diff id: where it was pulled from and pushed to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OriginsRecord {
    /// Version of this shape.
    pub(crate) version: u32,
    /// Oldest first.
    pub(crate) origins: Vec<Origin>,
}

/// A blob of a layer in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The blob's.
    pub(crate) digest: Digest,
    /// Bytes of the blob.
    pub(crate) size: u64,
    /// The blob's, as the manifest had it.
    pub(crate) media_type: String,
    /// Complete name: `docker.io/library/busybox`.
    pub(crate) repository: String,
}

/// An unpacked layer. Its key is its diff id, or its chain id where it is bound to the layers below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// Version of this shape.
    pub(crate) version: u32,
    /// Its directory.
    pub(crate) name: String,
    /// Bytes of its files.
    pub(crate) size: u64,
    /// Whether its archive described the root directory.
    pub(crate) carries_root: bool,
    /// Whether there is something that gives its archive back; not known of layers of earlier versions.
    #[serde(default)]
    pub(crate) has_skeleton: Option<bool>,
}
