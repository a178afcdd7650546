//! An image as it is listed and inspected.

use std::sync::Arc;

use conex_snapshot::Layer;

use crate::config::ImageConfig;

/// An image of the store, as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:...`, the digest of its configuration.
    pub id: String,
    /// Its configuration, parsed.
    pub config: Arc<ImageConfig>,
    /// Bytes of its unpacked layers.
    pub size: u64,
    /// Bytes of each of its unpacked layers, lowest first.
    pub layer_sizes: Vec<u64>,
    /// The image that it was made upon here.
    pub parent: Option<String>,
    /// Its layers, top-most first, for `conex_snapshot::Snapshots::rootfs`.
    pub layers: Vec<Layer>,
    /// Familiar names with tags (`busybox:latest`), sorted.
    pub repo_tags: Vec<String>,
    /// Familiar names with digests (`busybox@sha256:...`), sorted.
    pub repo_digests: Vec<String>,
    /// When it last got a tag, nanoseconds since 1970; `None` for never.
    pub last_tagged: Option<i128>,
}
