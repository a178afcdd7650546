//! Images as they are listed and inspected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::{Descriptor, Empty, GraphDriver, Platform, null_default};

/// One line of `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSummary {
    /// Containers that use it, -1 where they were not counted.
    pub containers: i64,
    /// Seconds since 1970.
    pub created: i64,
    /// Id.
    pub id: String,
    /// Labels; `null` where there are none.
    #[serde(serialize_with = "null_if_empty", deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
    /// Of a build.
    pub parent_id: String,
    /// Names with digests; `None` for a client older than API 1.43, where there are none.
    pub repo_digests: Option<Vec<String>>,
    /// Names with tags; `None` as above.
    pub repo_tags: Option<Vec<String>>,
    /// Bytes shared with other images, -1 where they were not counted.
    pub shared_size: i64,
    /// Bytes.
    pub size: i64,
    /// The same; clients older than API 1.44 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
    /// The manifests under its names, where they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<ImageManifestSummary>>,
}

/// A manifest that a name leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageManifestSummary {
    /// Its digest.
    #[serde(rename = "ID")]
    pub id: String,
    /// Type, digest and size.
    pub descriptor: Descriptor,
    /// Whether all that it names is here.
    pub available: bool,
    /// Bytes that it takes here.
    pub size: ManifestSize,
    /// `image`, `attestation` or `unknown`.
    pub kind: String,
    /// Of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_data: Option<ManifestImageData>,
    /// Of an attestation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attestation_data: Option<AttestationData>,
}

/// Bytes that a manifest takes with what it names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ManifestSize {
    /// What is stored as it is distributed, and what is unpacked.
    pub total: i64,
    /// What is stored as it is distributed.
    pub content: i64,
}

/// The image of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ManifestImageData {
    /// What it was built for.
    pub platform: Platform,
    /// Ids of the containers that use it.
    pub containers: Vec<String>,
    /// Bytes of its layers.
    pub size: UnpackedSize,
}

/// Bytes of unpacked layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UnpackedSize {
    /// The bytes.
    pub unpacked: i64,
}

/// How an image was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AttestationData {
    /// Digest of the image's manifest.
    #[serde(rename = "For")]
    pub of: String,
}

/// `GET /images/{name}/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageInspect {
    /// Id.
    pub id: String,
    /// Names with tags.
    pub repo_tags: Vec<String>,
    /// Names with digests.
    pub repo_digests: Vec<String>,
    /// Of a build.
    pub parent: String,
    /// Comment.
    pub comment: String,
    /// RFC 3339; empty where it is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// Version of the program that made it.
    pub docker_version: String,
    /// Author.
    pub author: String,
    /// How containers of it run.
    pub config: ImageConfig,
    /// `amd64`.
    pub architecture: String,
    /// `v7`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// `linux`.
    pub os: String,
    /// Version of the operating system; Windows mostly.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Bytes.
    pub size: i64,
    /// The same; clients older than API 1.44 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
    /// Storage.
    pub graph_driver: GraphDriver,
    /// Layers.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    /// Local facts.
    pub metadata: ImageMetadata,
    /// The manifests under its names, where they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<ImageManifestSummary>>,
}

fn null_if_empty<S, T>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    T: Serialize + Default + PartialEq,
{
    Some(value)
        .filter(|value| **value != T::default())
        .serialize(serializer)
}

/// How containers of an image run. Lists that are empty are told as `null`, or not at all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    /// User.
    pub user: String,
    /// Ports.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Environment.
    #[serde(serialize_with = "null_if_empty", deserialize_with = "null_default")]
    pub env: Vec<String>,
    /// Arguments.
    #[serde(serialize_with = "null_if_empty", deserialize_with = "null_default")]
    pub cmd: Vec<String>,
    /// Whether the command is one string already (Windows).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// Health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    /// Volumes.
    #[serde(serialize_with = "null_if_empty", deserialize_with = "null_default")]
    pub volumes: BTreeMap<String, Empty>,
    /// Instructions of builds upon this image.
    #[serde(serialize_with = "null_if_empty", deserialize_with = "null_default")]
    pub on_build: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// Program.
    #[serde(serialize_with = "null_if_empty", deserialize_with = "null_default")]
    pub entrypoint: Vec<String>,
    /// Labels.
    #[serde(serialize_with = "null_if_empty", deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
    /// Signal of `stop`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Shell of a Dockerfile's shell forms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// What clients older than API 1.50 are told besides.
    #[serde(flatten)]
    pub of_container: Option<ConfigOfContainer>,
}

/// Fields of a container's configuration that say nothing of an image: clients older than API 1.50 read them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigOfContainer {
    /// Empty.
    pub hostname: String,
    /// Empty.
    pub domainname: String,
    /// No.
    pub attach_stdin: bool,
    /// No.
    pub attach_stdout: bool,
    /// No.
    pub attach_stderr: bool,
    /// No.
    pub tty: bool,
    /// No.
    pub open_stdin: bool,
    /// No.
    pub stdin_once: bool,
    /// Empty.
    pub image: String,
}

/// Layers of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Diff ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// Local facts of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageMetadata {
    /// RFC 3339.
    pub last_tag_time: String,
}

/// One entry of `GET /images/{name}/history`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageHistoryItem {
    /// Comment.
    pub comment: String,
    /// Seconds since 1970.
    pub created: i64,
    /// What made it.
    pub created_by: String,
    /// Id of the image that ends here, `<missing>` where none is known.
    pub id: String,
    /// Bytes of the layer.
    pub size: i64,
    /// Names of that image; `null` where it has none.
    pub tags: Option<Vec<String>>,
}

/// One thing that `DELETE /images/{name}` removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageDeleteResponse {
    /// A name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untagged: Option<String>,
    /// An image or a layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
}
