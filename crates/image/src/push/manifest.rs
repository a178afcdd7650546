//! The manifest of an image that is pushed.

use std::collections::BTreeSet;

use bytes::Bytes;
use conex_reference::{Digest, Platform};
use conex_registry::manifest::{
    DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
};
use conex_registry::{Descriptor, Manifest, manifest};
use serde::{Deserialize, Serialize};
use serde_json::ser::PrettyFormatter;

/// A manifest with its type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

/// How a layer's blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

/// The fields in the order in which Docker writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Entry<'a>,
    layers: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a str,
    size: u64,
    digest: Digest,
}

/// An index, its fields in the order in which Docker writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexDocument<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<IndexPart<'a>>,
}

#[derive(Serialize)]
struct IndexPart<'a> {
    #[serde(flatten)]
    entry: Entry<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a Platform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: String,
}

impl Made {
    /// The manifest that the image came by, where it says just this, so that its digest stays; else a new one.
    pub(super) fn of(own: Option<&[u8]>, config: &Bytes, layers: &[Descriptor]) -> Self {
        let config_digest = Digest::of(config);
        own.and_then(|bytes| kept(bytes, config_digest, layers))
            .unwrap_or_else(|| new(config, config_digest, layers))
    }

    /// The index that the images came by, where it names just these manifests, so that its digest stays; else a new one.
    pub(super) fn index(own: Option<&[u8]>, parts: &[(Self, Option<Platform>)]) -> Self {
        own.and_then(|bytes| kept_index(bytes, parts))
            .unwrap_or_else(|| new_index(parts))
    }
}

fn kept_index(bytes: &[u8], parts: &[(Made, Option<Platform>)]) -> Option<Made> {
    let Manifest::Index(entries) = manifest::parse("", bytes).ok()? else {
        return None;
    };
    let named: BTreeSet<Digest> = entries.iter().map(|entry| entry.descriptor.digest).collect();
    let pushed = parts.iter().map(|(made, _)| Digest::of(&made.bytes)).collect();
    let typed: Typed = serde_json::from_slice(bytes).ok()?;
    // OCI leaves the type out (OCI image specification, image-index.md).
    let media_type = Some(typed.media_type).filter(|own| !own.is_empty());
    (named == pushed).then(|| Made {
        media_type: media_type.unwrap_or_else(|| OCI_INDEX.to_owned()),
        bytes: bytes.to_vec(),
    })
}

/// Docker's list where all manifests are Docker's, else OCI's index.
fn new_index(parts: &[(Made, Option<Platform>)]) -> Made {
    let is_docker = parts.iter().all(|(made, _)| made.media_type == DOCKER_MANIFEST);
    let media_type = if is_docker { DOCKER_LIST } else { OCI_INDEX };
    let parts = parts.iter().map(|(made, platform)| IndexPart {
        entry: Entry {
            media_type: if made.media_type == DOCKER_MANIFEST {
                DOCKER_MANIFEST
            } else {
                OCI_MANIFEST
            },
            size: made.bytes.len() as u64,
            digest: Digest::of(&made.bytes),
        },
        platform: platform.as_ref(),
    });
    let document = IndexDocument {
        schema_version: 2,
        media_type,
        manifests: parts.collect(),
    };
    Made {
        media_type: media_type.to_owned(),
        bytes: pretty(&document),
    }
}

/// Indented as Docker does it.
fn pretty(document: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"   "));
    // Plain data into memory: there is nothing that could fail.
    let _ = document.serialize(&mut writer);
    bytes
}

fn kept(bytes: &[u8], config_digest: Digest, wanted: &[Descriptor]) -> Option<Made> {
    let Manifest::Image { config, layers } = manifest::parse("", bytes).ok()? else {
        return None;
    };
    let is_same = config.digest == config_digest
        && layers.len() == wanted.len()
        && layers
            .iter()
            .zip(wanted)
            .all(|(own, wanted)| own.digest == wanted.digest);
    let typed: Typed = serde_json::from_slice(bytes).ok()?;
    let media_type = match typed.media_type.as_str() {
        // OCI leaves it out (OCI image specification, manifest.md).
        "" if config.media_type == DOCKER_CONFIG => DOCKER_MANIFEST.to_owned(),
        "" => OCI_MANIFEST.to_owned(),
        own => own.to_owned(),
    };
    is_same.then(|| Made {
        media_type,
        bytes: bytes.to_vec(),
    })
}

/// Docker's schema 2, as Docker writes it; OCI where a layer is compressed in a way that schema 2 has no name for.
fn new(config: &Bytes, config_digest: Digest, layers: &[Descriptor]) -> Made {
    let is_oci = layers.iter().any(|layer| compression(layer) != Compression::Gzip);
    let (media_type, config_type) = if is_oci {
        (OCI_MANIFEST, OCI_CONFIG)
    } else {
        (DOCKER_MANIFEST, DOCKER_CONFIG)
    };
    let layer_type = |layer: &Descriptor| match compression(layer) {
        _ if !is_oci => DOCKER_LAYER,
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    };
    let entry = |layer| Entry {
        media_type: layer_type(layer),
        size: layer.size,
        digest: layer.digest,
    };
    let document = Document {
        schema_version: 2,
        media_type,
        config: Entry {
            media_type: config_type,
            size: config.len() as u64,
            digest: config_digest,
        },
        layers: layers.iter().map(entry).collect(),
    };
    Made {
        media_type: media_type.to_owned(),
        bytes: pretty(&document),
    }
}

/// Told by the type that the manifest gave it; of one that says nothing, gzip is the rule.
fn compression(layer: &Descriptor) -> Compression {
    let name = layer.media_type.as_str();
    if name.ends_with("zstd") {
        Compression::Zstd
    } else if name.ends_with(".tar") {
        Compression::None
    } else {
        Compression::Gzip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &[u8] = b"{}";

    fn layer(media_type: &str, content: &[u8]) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(content),
            size: content.len() as u64,
        }
    }

    fn config() -> Bytes {
        Bytes::from_static(CONFIG)
    }

    #[test]
    fn a_manifest_is_written_as_docker_writes_it() {
        let made = Made::of(None, &config(), &[layer(DOCKER_LAYER, b"a")]);
        assert_eq!(made.media_type, DOCKER_MANIFEST);
        let expected = format!(
            r#"{{
   "schemaVersion": 2,
   "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
   "config": {{
      "mediaType": "application/vnd.docker.container.image.v1+json",
      "size": 2,
      "digest": "{}"
   }},
   "layers": [
      {{
         "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
         "size": 1,
         "digest": "{}"
      }}
   ]
}}"#,
            Digest::of(CONFIG),
            Digest::of(b"a")
        );
        assert_eq!(String::from_utf8(made.bytes).unwrap(), expected);
    }

    #[test]
    fn layers_that_docker_has_no_type_for_make_it_an_oci_manifest() {
        let zstd = layer("application/vnd.oci.image.layer.v1.tar+zstd", b"z");
        let made = Made::of(None, &config(), &[layer(DOCKER_LAYER, b"a"), zstd]);
        assert_eq!(made.media_type, OCI_MANIFEST);
        let Manifest::Image { layers, config } = manifest::parse(&made.media_type, &made.bytes).unwrap() else {
            panic!("an image");
        };
        let types: Vec<&str> = layers.iter().map(|layer| layer.media_type.as_str()).collect();
        let prefix = "application/vnd.oci.image.layer.v1.tar";
        assert_eq!(types, [format!("{prefix}+gzip"), format!("{prefix}+zstd")]);
        assert_eq!(config.media_type, OCI_CONFIG);
    }

    #[test]
    fn the_manifest_that_an_image_came_by_is_kept_where_it_says_the_same() {
        let layers = [layer("", b"a"), layer("", b"b")];
        let entry = |content: &[u8]| format!(r#"{{"digest":"{}","size":1}}"#, Digest::of(content));
        let own = |own_type: &str, layers: &str| {
            let config = entry(CONFIG);
            format!(
                r#"{{"schemaVersion":2{own_type},"layers":[{layers}],"config":{config},"annotations":{{"a":"b"}}}}"#
            )
        };
        let both = format!("{},{}", entry(b"a"), entry(b"b"));
        let text = own("", &both);
        let made = Made::of(Some(text.as_bytes()), &config(), &layers);
        assert_eq!(
            (made.media_type.as_str(), made.bytes.as_slice()),
            (OCI_MANIFEST, text.as_bytes())
        );
        let text = own(&format!(r#","mediaType":"{DOCKER_MANIFEST}""#), &both);
        assert_eq!(
            Made::of(Some(text.as_bytes()), &config(), &layers).media_type,
            DOCKER_MANIFEST
        );
        for other in [entry(b"a"), format!("{},{}", entry(b"b"), entry(b"a"))] {
            let text = own("", &other);
            assert_ne!(
                Made::of(Some(text.as_bytes()), &config(), &layers).bytes,
                text.as_bytes()
            );
        }
        let text = own("", &both);
        assert_ne!(
            Made::of(Some(text.as_bytes()), &Bytes::from_static(b"other"), &layers).bytes,
            text.as_bytes()
        );
        assert_eq!(
            Made::of(Some(b"no json"), &config(), &layers),
            Made::of(None, &config(), &layers)
        );
    }
}
