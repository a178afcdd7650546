//! The manifests that a name leads to: those of the images here, and what else the index has that the name came by.

use std::collections::HashMap;
use std::sync::Arc;

use conex_reference::{Digest, Platform};
use conex_registry::Descriptor;
use conex_registry::manifest::{DOCKER_CONFIG, DOCKER_MANIFEST, OCI_MANIFEST};
use serde::Deserialize;

use crate::image::Image;
use crate::images::Images;
use crate::names::Meaning;

/// What annotates an entry of an index that tells how another was built (BuildKit, "Image attestation storage").
const KIND: &str = "vnd.docker.reference.type";
const OF: &str = "vnd.docker.reference.digest";
const ATTESTATION: &str = "attestation-manifest";

/// One manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSummary {
    /// Type, digest and size.
    pub descriptor: Descriptor,
    /// What it is.
    pub kind: ManifestKind,
    /// Bytes of what is stored of it: the manifest, its configuration, compressed layers.
    pub content: u64,
}

/// What a manifest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestKind {
    /// An image.
    Image {
        /// What it was built for.
        platform: Platform,
        /// The image, where it is here.
        image: Option<Arc<Image>>,
    },
    /// How another image was built.
    Attestation {
        /// Digest of that image's manifest.
        of: Digest,
    },
    /// Something else.
    Unknown,
}

/// An image with the digest of its manifest, where it has one.
type Here = (Option<Digest>, Arc<Image>);

/// An index, as far as its entries are told apart.
#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// A manifest's own words.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    media_type: String,
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl Images {
    /// The manifests under the names of an image, in the order of the index where they came by one. Blocks on the disk.
    #[must_use]
    pub fn manifests(&self, image: &Image) -> Vec<ManifestSummary> {
        let (target, mut here) = self.together(image);
        let mut summaries = Vec::new();
        let index = target.and_then(|target| self.shared.content.read(&target).ok());
        let index: Option<Index> = index.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        for entry in index.into_iter().flat_map(|index| index.manifests) {
            let found = here
                .iter()
                .position(|(digest, _)| *digest == Some(entry.descriptor.digest));
            summaries.push(match found {
                Some(at) => self.summary(entry.descriptor, here.remove(at).1),
                None => entry.absent(),
            });
        }
        for (digest, image) in here {
            if let Some(descriptor) = digest.and_then(|digest| self.descriptor(&digest)) {
                summaries.push(self.summary(descriptor, image));
            }
        }
        summaries
    }

    /// The images that share a name with this one, itself among them, with their manifests; and what they came by.
    fn together(&self, image: &Image) -> (Option<Digest>, Vec<Here>) {
        let index = self.shared.index();
        let meanings = index.names.of_image(&image.id).filter_map(|name| index.names.get(name));
        let largest = meanings.max_by_key(|meaning| (meaning.images.len(), meaning.target.is_some()));
        let meaning = largest.cloned().unwrap_or_else(|| Meaning::of(&image.id));
        let here = meaning.images.iter().filter_map(|id| {
            let manifest = index.images.get(id)?.record.manifest.as_deref();
            Some((manifest.and_then(|digest| Digest::parse(digest).ok()), index.image(id)?))
        });
        (meaning.target, here.collect())
    }

    fn summary(&self, descriptor: Descriptor, image: Arc<Image>) -> ManifestSummary {
        let content = descriptor.size + self.content_of(&descriptor.digest);
        ManifestSummary {
            descriptor,
            kind: ManifestKind::Image {
                platform: image.config.platform(),
                image: Some(image),
            },
            content,
        }
    }

    /// Bytes of what is stored of what a manifest names.
    fn content_of(&self, manifest: &Digest) -> u64 {
        let fields = self.fields(manifest);
        let named = fields
            .into_iter()
            .flat_map(|fields| fields.layers.into_iter().chain([fields.config]));
        named
            .filter_map(|blob| self.shared.content.size(&blob.digest).ok())
            .sum()
    }

    fn fields(&self, manifest: &Digest) -> Option<Fields> {
        serde_json::from_slice(&self.shared.content.read(manifest).ok()?).ok()
    }

    fn descriptor(&self, digest: &Digest) -> Option<Descriptor> {
        let fields = self.fields(digest)?;
        // OCI leaves the type out (OCI image specification, manifest.md).
        let usual = if fields.config.media_type == DOCKER_CONFIG {
            DOCKER_MANIFEST
        } else {
            OCI_MANIFEST
        };
        Some(Descriptor {
            media_type: Some(fields.media_type)
                .filter(|own| !own.is_empty())
                .unwrap_or_else(|| usual.to_owned()),
            digest: *digest,
            size: self.shared.content.size(digest).ok()?,
        })
    }
}

impl Entry {
    /// The summary of what is not here.
    fn absent(self) -> ManifestSummary {
        let is_attestation = self.annotations.get(KIND).is_some_and(|kind| kind == ATTESTATION);
        let of = self.annotations.get(OF).and_then(|of| Digest::parse(of).ok());
        let kind = match (of.filter(|_| is_attestation), self.platform) {
            (Some(of), _) => ManifestKind::Attestation { of },
            (None, Some(platform)) => ManifestKind::Image { platform, image: None },
            (None, None) => ManifestKind::Unknown,
        };
        ManifestSummary {
            descriptor: self.descriptor,
            kind,
            content: 0,
        }
    }
}
