//! What a manifest says, judged before anything that it names is fetched.

use conex_reference::Digest;
use conex_registry::{Descriptor, Manifest, ManifestError, manifest};

use crate::error::PullError;

/// Beginnings of the types of layers. How they are compressed is told by their bytes, whatever their type says of it: both their
/// digests are compared.
const LAYERS: [&str; 4] = [
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
    "application/vnd.docker.container.image.rootfs.",
    "application/octet-stream",
];

/// Refuses content that comes as an image where an index said an index, or the other way round.
pub(crate) fn check_type(promised: &Descriptor, media_type: &str) -> Result<(), PullError> {
    let is_index = |media_type: &str| match media_type {
        manifest::OCI_INDEX | manifest::DOCKER_LIST => Some(true),
        manifest::OCI_MANIFEST | manifest::DOCKER_MANIFEST => Some(false),
        _ => None,
    };
    match (is_index(&promised.media_type), is_index(media_type)) {
        (Some(promised_index), Some(index)) if promised_index != index => Err(PullError::Manifest {
            digest: promised.digest.to_string(),
            source: ManifestError::Unsupported {
                media_type: media_type.to_owned(),
            },
        }),
        _ => Ok(()),
    }
}

/// Parses the manifest of this digest, and refuses what is none of an image.
pub(crate) fn parse_manifest(media_type: &str, bytes: &[u8], digest: &Digest) -> Result<Manifest, PullError> {
    let wrong = |source: ManifestError| match source {
        ManifestError::Schema1 { .. } | ManifestError::Model => PullError::Unsuitable(source),
        source => PullError::Manifest {
            digest: digest.to_string(),
            source,
        },
    };
    let parsed = manifest::parse(media_type, bytes).map_err(wrong)?;
    let Manifest::Image { config, layers } = &parsed else {
        return Ok(parsed);
    };
    manifest::check_config(config).map_err(wrong)?;
    let is_layer = |media_type: &str| media_type.is_empty() || LAYERS.iter().any(|known| media_type.starts_with(known));
    match layers.iter().find(|layer| !is_layer(&layer.media_type)) {
        Some(layer) => Err(PullError::LayerType {
            layer: layer.digest.to_string(),
            media_type: layer.media_type.clone(),
            digest: digest.to_string(),
        }),
        None => Ok(parsed),
    }
}
