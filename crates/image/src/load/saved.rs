//! What an archive says that it holds: `manifest.json` of `docker save`, `index.json` of an OCI layout, or both.

use std::collections::HashMap;

use conex_reference::{Digest, Platform, Reference};
use conex_registry::{Descriptor, Manifest};
use serde::Deserialize;

use crate::error::{LoadError, PullError};
use crate::judge::parse_manifest;
use crate::load::files::{Files, blob_path};
use crate::pull::check_size;

/// Indexes within indexes that are followed.
const DEEPEST: usize = 3;

/// Entries of indexes that are followed, each as often as it is listed.
const MOST: usize = 10_000;

/// The platform of what is no image: attestations.
const UNKNOWN: &str = "unknown";

/// One image.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    /// Path of its configuration.
    pub(super) config: String,
    /// The names that it gets.
    pub(super) names: Vec<Reference>,
    /// Paths of its layers, lowest first.
    pub(super) layers: Vec<String>,
    /// Its manifest, where the archive is an OCI layout.
    pub(super) manifest: Option<Digest>,
    /// The index by which the names mean it and others.
    pub(super) index: Option<Digest>,
}

/// An image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// `index.json` of an OCI layout, or an index within it.
#[derive(Deserialize)]
struct Layout {
    manifests: Vec<LayoutEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutEntry {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// The images of an archive.
pub(super) fn saved_images(files: &Files) -> Result<Vec<Saved>, LoadError> {
    let has_index = files.contains("index.json");
    if !files.contains("manifest.json") {
        return if has_index {
            layout(files)
        } else {
            Err(LoadError::NoManifest)
        };
    }
    let entries: Vec<DockerEntry> = files.json("manifest.json")?;
    let mut images = Vec::new();
    for entry in entries {
        let names = entry.repo_tags.iter().flatten();
        let names = names.map(|name| Ok(Reference::parse(name)?.with_default_tag()));
        images.push(Saved {
            config: entry.config,
            names: names.collect::<Result<_, LoadError>>()?,
            layers: entry.layers,
            manifest: None,
            index: None,
        });
    }
    if has_index {
        // Beside Docker's list it says what else names mean.
        let told = layout(files)?;
        for image in &mut images {
            let config = files.find(&image.config)?.digest;
            let same = |other: &&Saved| files.find(&other.config).is_ok_and(|file| file.digest == config);
            for other in told.iter().filter(same) {
                image.manifest = image.manifest.or(other.manifest);
                if let Some(index) = other.index {
                    image.index = Some(index);
                    let new = other.names.iter().filter(|name| !image.names.contains(name));
                    let new: Vec<Reference> = new.cloned().collect();
                    image.names.extend(new);
                }
            }
        }
    }
    Ok(images)
}

/// The images of an OCI layout (OCI image layout specification).
fn layout(files: &Files) -> Result<Vec<Saved>, LoadError> {
    let layout: Layout = files.json("index.json")?;
    let mut images = Vec::new();
    let mut left = MOST;
    for entry in layout.manifests {
        let names = name(&entry.annotations)?;
        let found = found(files, &entry, None, DEEPEST, &mut left)?;
        images.extend(found.into_iter().map(|image| Saved {
            names: names.clone().into_iter().collect(),
            ..image
        }));
    }
    Ok(images)
}

/// The images that an entry leads to, whose index is the outermost. Those of an index need not all be there.
fn found(
    files: &Files,
    entry: &LayoutEntry,
    index: Option<Digest>,
    depth: usize,
    left: &mut usize,
) -> Result<Vec<Saved>, LoadError> {
    let path = blob_path(&entry.digest);
    *left = left.checked_sub(1).ok_or_else(|| LoadError::TooMany {
        path: path.clone(),
        limit: MOST,
    })?;
    if index.is_some() && !files.contains(&path) || is_attestation(entry) {
        return Ok(Vec::new());
    }
    let bytes = files.read(&path)?;
    if let Some(size) = entry.size {
        let promised = Descriptor {
            media_type: entry.media_type.clone(),
            digest: entry.digest,
            size,
        };
        check_size(&promised, bytes.len() as u64)?;
    }
    match parse_manifest(&entry.media_type, &bytes, &entry.digest)? {
        Manifest::Image { config, layers } => {
            for promised in layers.iter().chain([&config]) {
                match files.find(&blob_path(&promised.digest)) {
                    Ok(file) => check_size(promised, file.size)?,
                    // A layer may be here already.
                    Err(LoadError::Missing { .. }) if promised != &config => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(vec![Saved {
                config: blob_path(&config.digest),
                names: Vec::new(),
                layers: layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
                manifest: Some(entry.digest),
                index,
            }])
        }
        Manifest::Index(_) if depth == 0 => Err(PullError::Nested {
            digest: entry.digest.to_string(),
        }
        .into()),
        Manifest::Index(_) => {
            let inner: Layout = files.json(&path)?;
            let index = index.or(Some(entry.digest));
            let mut images = Vec::new();
            for entry in &inner.manifests {
                images.extend(found(files, entry, index, depth - 1, left)?);
            }
            Ok(images)
        }
    }
}

fn is_attestation(entry: &LayoutEntry) -> bool {
    let platform = entry.platform.as_ref();
    platform.is_some_and(|platform| platform.os == UNKNOWN && platform.architecture == UNKNOWN)
}

/// The name of an entry: containerd's annotation, or OCI's where it is more than a tag.
fn name(annotations: &HashMap<String, String>) -> Result<Option<Reference>, LoadError> {
    let own = annotations.get("io.containerd.image.name");
    let reference = annotations.get("org.opencontainers.image.ref.name");
    let name = own.or(reference.filter(|name| name.contains([':', '/', '@'])));
    Ok(name
        .map(|name| Reference::parse(name))
        .transpose()?
        .map(Reference::with_default_tag))
}
