//! What registries know of images.

use serde::{Deserialize, Serialize};

use crate::null_default;

/// `GET /distribution/{name}/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DistributionInspect {
    /// The manifest or index that the name means.
    pub descriptor: Descriptor,
    /// What it was built for; `null` where nothing says so.
    pub platforms: Option<Vec<Platform>>,
}

/// Content by type, digest and size (OCI image specification, descriptor.md).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Descriptor {
    /// Its type.
    pub media_type: String,
    /// `sha256:...`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// An operating system and an architecture (OCI image specification, image-index.md).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// `amd64`.
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
    /// `linux`.
    #[serde(deserialize_with = "null_default")]
    pub os: String,
    /// Version of the operating system; Windows only.
    #[serde(
        rename = "os.version",
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// What it must be able to do; Windows only.
    #[serde(
        rename = "os.features",
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// `v7`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// One line of `GET /images/search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    /// How many like it.
    pub star_count: i64,
    /// Whether it is one of Docker's own.
    pub is_official: bool,
    /// Name of the repository.
    pub name: String,
    /// `false`, whatever the index says; nobody keeps it up.
    pub is_automated: bool,
    /// What it is.
    pub description: String,
}
