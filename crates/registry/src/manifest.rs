//! What a manifest means: an index of images for several platforms, or one image.
//!
//! OCI image specification 1.1 (image-index.md, manifest.md) and Docker's manifest list and schema 2, which differ
//! only in their media types.

use conex_reference::{Digest, Platform, Reference};
use serde::Deserialize;

/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Configuration of one of Docker's plugins.
const PLUGIN_CONFIG: &str = "application/vnd.docker.plugin.v1+json";
/// Docker's layer, compressed by gzip.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Media types of Docker's schema 1, which no engine of today takes.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// What `Accept` says when a manifest is asked for.
pub const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

/// A reference to content by type, digest and size (OCI image specification, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The content's type.
    #[serde(default)]
    pub media_type: String,
    /// Its SHA-256.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A manifest, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// Manifests to choose from.
    Index(Vec<IndexEntry>),
    /// One image.
    Image {
        /// Its configuration, whose digest is the image's id.
        config: Descriptor,
        /// Its layers, lowest first.
        layers: Vec<Descriptor>,
    },
}

/// One manifest of an index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IndexEntry {
    /// The manifest, which may be an index again.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// What it was built for, where the index says so.
    #[serde(default)]
    pub platform: Option<Platform>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not with the fields that its type demands.
    #[error("invalid manifest: {source}")]
    Malformed {
        /// What the JSON parser found.
        #[from]
        source: serde_json::Error,
    },
    /// An image of before 2017.
    #[error("{}", schema_1(.of.as_deref()))]
    Schema1 {
        /// The image, where it has a name.
        of: Option<String>,
    },
    /// Something else than an image: a chart, a plugin, a signature.
    #[error("Encountered remote {media_type:?}({class}) when fetching")]
    NoImage {
        /// Media type of its configuration.
        media_type: String,
        /// What Docker calls things of this type.
        class: &'static str,
    },
    /// A model, for which Docker has a command of its own.
    #[error("AI models are not yet supported by the Engine, please use \"docker model pull/run\" instead")]
    Model,
    /// Neither an image nor an index, or both at once.
    #[error("unsupported manifest media type and no default available: {media_type}")]
    Unsupported {
        /// What it calls itself.
        media_type: String,
    },
    /// The index has nothing for this platform.
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoMatch {
        /// The platform wanted.
        platform: Platform,
    },
}

impl ManifestError {
    /// The error with the name of the image, where its text has one.
    #[must_use]
    pub fn naming(self, reference: &Reference) -> Self {
        match self {
            Self::Schema1 { .. } => Self::Schema1 {
                of: Some(reference.to_string()),
            },
            other => other,
        }
    }
}

fn schema_1(of: Option<&str>) -> String {
    let suggestion = of.map(|name| {
        format!(" Suggest the author of {name} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2.")
    });
    format!(
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed.{} \
         More information at https://docs.docker.com/go/deprecated-image-specs/",
        suggestion.unwrap_or_default()
    )
}

/// Refuses what has another configuration than an image's. Registries of old had no types, and gave names to none.
pub fn check_config(config: &Descriptor) -> Result<(), ManifestError> {
    let media_type = config.media_type.as_str();
    let is_image = [
        OCI_CONFIG,
        DOCKER_CONFIG,
        "application/octet-stream",
        "application/json",
        "text/html",
        "",
    ];
    if is_image.contains(&media_type) {
        return Ok(());
    }
    if media_type.to_lowercase().starts_with("application/vnd.docker.ai.") {
        return Err(ManifestError::Model);
    }
    Err(ManifestError::NoImage {
        media_type: media_type.to_owned(),
        class: if media_type == PLUGIN_CONFIG {
            "plugin"
        } else {
            "unknown"
        },
    })
}

/// Any manifest, before it is known which.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<Vec<IndexEntry>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    fs_layers: Option<serde_json::Value>,
}

/// Parses a manifest that came with this `Content-Type`.
///
/// The type decides where it is one of the four; registries that serve all as `application/json` make it a matter of
/// the document's own `mediaType` and fields. A document that could be read as both kinds is refused, so that it
/// cannot mean one thing to a scanner and another to us.
pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Manifest, ManifestError> {
    if SCHEMA_1.contains(&media_type) {
        return Err(ManifestError::Schema1 { of: None });
    }
    let fields: Fields = serde_json::from_slice(bytes)?;
    let own_type = fields.media_type.as_deref().unwrap_or_default();
    if fields.schema_version == 1 || fields.fs_layers.is_some() || SCHEMA_1.contains(&own_type) {
        return Err(ManifestError::Schema1 { of: None });
    }
    let unsupported = |media_type: &str| ManifestError::Unsupported {
        media_type: media_type.to_owned(),
    };
    let declared = [media_type, own_type]
        .into_iter()
        .find(|name| is_index(name) || is_image(name));
    let contradicts =
        declared == Some(media_type) && !own_type.is_empty() && is_index(own_type) != is_index(media_type);
    if contradicts {
        return Err(unsupported(own_type));
    }
    match (declared, fields.manifests, fields.config, fields.layers) {
        (Some(name), Some(manifests), None, None) if is_index(name) => Ok(Manifest::Index(manifests)),
        (Some(name), None, Some(config), Some(layers)) if is_image(name) => Ok(Manifest::Image { config, layers }),
        (None, Some(manifests), None, None) if own_type.is_empty() => Ok(Manifest::Index(manifests)),
        (None, None, Some(config), Some(layers)) if own_type.is_empty() => Ok(Manifest::Image { config, layers }),
        _ if own_type.is_empty() => Err(unsupported(media_type)),
        _ => Err(unsupported(own_type)),
    }
}

/// The entry of an index that suits a platform best; among equals the first, and what names no platform last.
pub fn select<'a>(entries: &'a [IndexEntry], platform: &Platform) -> Result<&'a IndexEntry, ManifestError> {
    let rank = |entry: &IndexEntry| match &entry.platform {
        Some(built_for) => platform.rank(built_for),
        None => Some(usize::MAX),
    };
    entries
        .iter()
        .filter_map(|entry| rank(entry).map(|rank| (rank, entry)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry)
        .ok_or_else(|| ManifestError::NoMatch {
            platform: platform.clone(),
        })
}

fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

fn is_image(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{HEX}","size":7}}"#)
    }

    fn image(own_type: &str) -> String {
        let (config, layer) = (descriptor("c"), descriptor("l"));
        format!(r#"{{"schemaVersion":2{own_type},"config":{config},"layers":[{layer}]}}"#)
    }

    fn index(own_type: &str) -> String {
        let entry = descriptor(OCI_MANIFEST).replace('}', r#","platform":{"os":"linux","architecture":"amd64"}}"#);
        format!(r#"{{"schemaVersion":2{own_type},"manifests":[{entry}]}}"#)
    }

    fn entry(platform: Option<(&str, &str)>, size: u64) -> IndexEntry {
        let digest = Digest::of(b"");
        let descriptor = Descriptor {
            media_type: String::new(),
            digest,
            size,
        };
        IndexEntry {
            descriptor,
            platform: platform.map(|(name, variant)| Platform::new("linux", name, variant)),
        }
    }

    #[test]
    fn both_kinds_are_known_by_either_family_of_types() {
        for media_type in [OCI_MANIFEST, DOCKER_MANIFEST, "application/json", ""] {
            let parsed = parse(media_type, image("").as_bytes()).unwrap();
            assert!(
                matches!(parsed, Manifest::Image { layers, .. } if layers.len() == 1),
                "{media_type}"
            );
        }
        for media_type in [OCI_INDEX, DOCKER_LIST, "text/plain"] {
            let own = format!(r#","mediaType":"{OCI_INDEX}""#);
            let Manifest::Index(entries) = parse(media_type, index(&own).as_bytes()).unwrap() else {
                panic!("an index")
            };
            assert_eq!(entries[0].platform, Some(Platform::new("linux", "amd64", "")));
            assert_eq!(entries[0].descriptor.media_type, OCI_MANIFEST);
        }
    }

    #[test]
    fn a_document_that_could_be_both_is_refused() {
        let both = index("").replacen('{', &format!(r#"{{"config":{},"layers":[],"#, descriptor("c")), 1);
        for media_type in [OCI_INDEX, OCI_MANIFEST, ""] {
            assert!(
                matches!(
                    parse(media_type, both.as_bytes()),
                    Err(ManifestError::Unsupported { .. })
                ),
                "{media_type}"
            );
        }
        let lies = image(&format!(r#","mediaType":"{OCI_INDEX}""#));
        assert!(matches!(
            parse(OCI_MANIFEST, lies.as_bytes()),
            Err(ManifestError::Unsupported { .. })
        ));
        assert!(matches!(
            parse(OCI_INDEX, image("").as_bytes()),
            Err(ManifestError::Unsupported { .. })
        ));
    }

    #[test]
    fn what_no_engine_takes_any_more_is_refused_with_the_reason() {
        let schema_1 = r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#;
        assert!(matches!(
            parse("application/json", schema_1.as_bytes()),
            Err(ManifestError::Schema1 { .. })
        ));
        let error = parse(SCHEMA_1[1], b"no json").unwrap_err();
        assert!(error.to_string().contains("removed. More information"), "{error}");
        let named = error.naming(&Reference::parse("old:1").unwrap()).to_string();
        assert!(
            named.contains("removed. Suggest the author of docker.io/library/old:1 to"),
            "{named}"
        );
        let error = parse(OCI_MANIFEST, b"<html>").unwrap_err();
        assert!(error.to_string().starts_with("invalid manifest: "), "{error}");
        let foreign = r#"{"schemaVersion":2,"mediaType":"application/x","config":{}}"#;
        assert!(matches!(
            parse("", foreign.as_bytes()),
            Err(ManifestError::Malformed { .. })
        ));
        let error = parse("application/x", b"{}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unsupported manifest media type and no default available: application/x"
        );
    }

    #[test]
    fn what_is_no_image_is_refused_in_dockers_words() {
        let checked = |media_type: &str| {
            let config = Descriptor {
                media_type: media_type.to_owned(),
                digest: Digest::of(b""),
                size: 0,
            };
            check_config(&config).map_err(|error| error.to_string())
        };
        for media_type in [OCI_CONFIG, DOCKER_CONFIG, "", "application/octet-stream"] {
            assert_eq!(checked(media_type), Ok(()), "{media_type}");
        }
        for (media_type, words) in [
            (
                "application/vnd.cncf.helm.config.v1+json",
                "Encountered remote \"application/vnd.cncf.helm.config.v1+json\"(unknown) when fetching",
            ),
            (
                PLUGIN_CONFIG,
                "Encountered remote \"application/vnd.docker.plugin.v1+json\"(plugin) when fetching",
            ),
            (
                "application/vnd.docker.ai.model.config.v0.1+json",
                "AI models are not yet supported by the Engine, please use \"docker model pull/run\" instead",
            ),
        ] {
            assert_eq!(checked(media_type), Err(words.to_owned()));
        }
    }

    #[test]
    fn negative_sizes_and_foreign_digests_are_refused() {
        for (from, to) in [
            ("\"size\":7", "\"size\":-1"),
            ("sha256:", "sha512:"),
            (HEX, "../../etc/passwd"),
        ] {
            let json = image("").replace(from, to);
            assert!(
                matches!(
                    parse(OCI_MANIFEST, json.as_bytes()),
                    Err(ManifestError::Malformed { .. })
                ),
                "{to}"
            );
        }
    }

    #[test]
    fn the_best_entry_is_chosen_and_the_first_of_equals() {
        let entries = [
            entry(None, 0),
            entry(Some(("unknown", "")), 1),
            entry(Some(("arm", "v5")), 2),
            entry(Some(("arm", "v6")), 3),
            entry(Some(("amd64", "")), 4),
            entry(Some(("amd64", "")), 5),
        ];
        let chosen = |name: &str, variant: &str| {
            select(&entries, &Platform::new("linux", name, variant))
                .unwrap()
                .descriptor
                .size
        };
        assert_eq!(chosen("amd64", ""), 4);
        assert_eq!(chosen("arm", "v7"), 3);
        assert_eq!(chosen("s390x", ""), 0);
        let error = select(&entries[1..], &Platform::new("linux", "arm64", "v8")).map(|entry| entry.descriptor.size);
        assert_eq!(error.unwrap(), 3, "arm64 runs what was built for arm");
        let error = select(&entries[4..], &Platform::new("linux", "arm64", "v8")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no matching manifest for linux/arm64/v8 in the manifest list entries"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(OCI_MANIFEST, &bytes));
        }

        #[test]
        fn no_cut_of_a_manifest_makes_the_parser_panic(end in 0usize..200) {
            let text = index("");
            drop(parse("", &text.as_bytes()[..end.min(text.len())]));
        }
    }
}
