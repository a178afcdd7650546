//! `docker save`: images as one archive, which is an OCI layout with Docker's `manifest.json` beside it.
//!
//! Layers come back byte for byte, from their skeletons and their files (`conex_archive::Skeleton`); each is checked against
//! its diff id while it is written, and the archive breaks off where one is not what it was.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use conex_archive::{Entry, Kind, Mtime, Skeleton, TarWriter};
use conex_reference::{AnyReference, Digest, Platform, Reference};
use conex_registry::Descriptor;
use conex_registry::manifest::{OCI_INDEX, OCI_MANIFEST};
use serde_json::{Value, json};

use crate::error::{FindError, SaveError};
use crate::find::{Named, resolve};
use crate::hashing::Hashing;
use crate::image::Image;
use crate::images::Images;
use crate::index::Index;
use crate::layout::{self, LAYER};
use crate::lease::LayerLease;
use crate::names::Meaning;

/// What is to be saved.
#[derive(Debug, Clone, Default)]
pub struct SaveRequest {
    /// Names or ids. A name without a tag means all tags of its repository.
    pub names: Vec<String>,
    /// Which of several images under a name; all of them where it is not said.
    pub platform: Option<Platform>,
    /// Layers of this image, by name or id, are left out: whoever loads the archive has them.
    pub since: Option<String>,
}

/// An image that was asked for.
struct Asked {
    image: Arc<Image>,
    /// The names of which it is the image, or that which is meant where no platform is said.
    names: Vec<Reference>,
    /// Whether it is one of several images under one of the names that were asked for.
    is_one_of_several: bool,
}

/// An image that is to be saved.
struct Chosen {
    image: Arc<Image>,
    names: Vec<Reference>,
    is_one_of_several: bool,
    config: Vec<u8>,
}

/// A layer whose archive can be given back.
pub(crate) struct LayerSource {
    diff_id: Digest,
    skeleton: Skeleton,
    root: PathBuf,
}

/// Images that are about to be saved; their layers stay meanwhile.
pub struct Saving {
    chosen: Vec<Chosen>,
    /// Ids of the images under each name that has several.
    several: Vec<(Reference, Vec<String>)>,
    layers: Vec<LayerSource>,
    /// Diff ids of layers that are left out.
    left_out: HashSet<String>,
    _lease: LayerLease,
}

impl std::fmt::Debug for Saving {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Saving").finish_non_exhaustive()
    }
}

impl Images {
    /// Chooses images by names or ids.
    ///
    /// # Errors
    /// There is no such image, or one has a layer that cannot be given back.
    pub async fn save(&self, request: &SaveRequest) -> Result<Saving, SaveError> {
        let uses = self.shared.uses.read().await;
        let (asked, left_out, lease) = {
            let mut index = self.shared.index();
            let asked = choose(&index, request)?;
            let since = request.since.as_deref().map(|since| base(&index, since)).transpose()?;
            let stored = asked
                .images
                .iter()
                .filter_map(|asked| index.images.get(&asked.image.id));
            let keys = stored.flat_map(|stored| stored.record.layers.clone()).collect();
            let lease = LayerLease::new(&self.shared, &mut index, keys);
            (asked, since.unwrap_or_default(), lease)
        };
        drop(uses);
        let images = self.clone();
        let opening = tokio::task::spawn_blocking(move || images.open_saving(asked, left_out, lease));
        opening.await.map_err(|_| SaveError::CutOff)?
    }

    fn open_saving(&self, asked: Choice, left_out: HashSet<String>, lease: LayerLease) -> Result<Saving, SaveError> {
        let (mut chosen, mut layers, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for asked in asked.images {
            let image = asked.image;
            for (diff_id, layer) in image.config.rootfs.diff_ids.iter().zip(image.layers.iter().rev()) {
                if seen.insert(diff_id.clone()) {
                    layers.push(self.layer_source(diff_id, layer)?);
                }
            }
            chosen.push(Chosen {
                config: self.read_config(&image)?,
                image,
                names: asked.names,
                is_one_of_several: asked.is_one_of_several,
            });
        }
        Ok(Saving {
            chosen,
            several: asked.several,
            layers,
            left_out,
            _lease: lease,
        })
    }

    /// What gives a layer's archive back. Blocks on the disk.
    pub(crate) fn layer_source(&self, diff_id: &str, layer: &conex_snapshot::Layer) -> Result<LayerSource, SaveError> {
        let lacking = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => SaveError::NoSkeleton {
                layer: diff_id.to_owned(),
            },
            _ => SaveError::Layer {
                layer: diff_id.to_owned(),
                source,
            },
        };
        let file = self.shared.snapshots.open_skeleton(&layer.name).map_err(lacking)?;
        Ok(LayerSource {
            diff_id: Digest::parse(diff_id).map_err(|_| SaveError::CutOff)?,
            skeleton: Skeleton::open(file).map_err(lacking)?,
            root: self.shared.snapshots.path(&layer.name),
        })
    }
}

impl LayerSource {
    /// Bytes of the archive.
    pub(crate) fn size(&self) -> u64 {
        self.skeleton.size()
    }

    /// Writes the archive; what is not what it was is an error.
    pub(crate) fn write(&self, output: &mut dyn Write) -> Result<(), SaveError> {
        let failed = |source| SaveError::Layer {
            layer: self.diff_id.to_string(),
            source,
        };
        let root = File::open(&self.root).map_err(failed)?;
        let mut hashing = Hashing::new(output).map_err(failed)?;
        self.skeleton.assemble(root.as_fd(), &mut hashing).map_err(failed)?;
        if hashing.finish().map_err(failed)? == self.diff_id {
            return Ok(());
        }
        Err(failed(io::Error::new(
            io::ErrorKind::InvalidData,
            "its files are not what they were",
        )))
    }
}

impl Saving {
    /// Ids and first names of the images.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.chosen.iter().map(|chosen| chosen.image.id.as_str())
    }

    /// Writes the archive. Blocks.
    ///
    /// # Errors
    /// A layer cannot be given back, or nobody reads any more.
    pub fn write(&self, output: &mut dyn Write) -> Result<(), SaveError> {
        let mut archive = TarWriter::new(output);
        for directory in ["blobs/", "blobs/sha256/"] {
            archive.append(&member(directory, Kind::Directory, 0))?;
        }
        let left_out = |layer: &&LayerSource| self.left_out.contains(&layer.diff_id.to_string());
        for layer in self.layers.iter().filter(|layer| !left_out(layer)) {
            let entry = member(&blob(&layer.diff_id), Kind::File, layer.skeleton.size());
            archive.append_written(&entry, |output| layer.write(output))?;
        }
        let (mut entries, mut manifests) = (Vec::new(), Vec::new());
        let mut described: BTreeMap<&str, Value> = BTreeMap::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for chosen in &self.chosen {
            let manifest = self.manifest(chosen);
            let (config_digest, digest) = (Digest::of(&chosen.config), Digest::of(&manifest));
            put(&mut archive, &blob(&config_digest), &chosen.config)?;
            put(&mut archive, &blob(&digest), &manifest)?;
            manifests.push(self.legacy(chosen));
            described.insert(&chosen.image.id, descriptor(OCI_MANIFEST, &digest, manifest.len()));
            let top = chosen.image.config.rootfs.diff_ids.last();
            for name in &chosen.names {
                let (tag, top) = (name.tag_or_digest(), top.map_or("", |id| &id["sha256:".len()..]));
                let tags = repositories.entry(name.familiar_name()).or_default();
                tags.insert(tag, top.to_owned());
            }
        }
        for chosen in &self.chosen {
            entries.extend(self.index_entries(chosen, &described, &mut archive)?);
        }
        put(&mut archive, "index.json", &index(&entries))?;
        put(
            &mut archive,
            "manifest.json",
            Value::from(manifests).to_string().as_bytes(),
        )?;
        put(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        if !repositories.is_empty() {
            put(&mut archive, "repositories", json!(repositories).to_string().as_bytes())?;
        }
        archive.finish()?;
        Ok(())
    }

    /// The image's entries of `index.json`: one for each name. Those of a name with several images are of an index.
    fn index_entries(
        &self,
        chosen: &Chosen,
        described: &BTreeMap<&str, Value>,
        archive: &mut TarWriter<&mut dyn Write>,
    ) -> io::Result<Vec<Value>> {
        let Some(plain) = described.get(chosen.image.id.as_str()) else {
            return Ok(Vec::new());
        };
        if chosen.names.is_empty() {
            // It is told of by the names that it shares with others.
            return Ok(if chosen.is_one_of_several {
                Vec::new()
            } else {
                vec![plain.clone()]
            });
        }
        let mut entries = Vec::new();
        for name in &chosen.names {
            let Some((_, images)) = self.several.iter().find(|(several, _)| several == name) else {
                entries.push(named(plain, name));
                continue;
            };
            let part = |chosen: &Chosen| {
                let mut part = described.get(chosen.image.id.as_str())?.clone();
                part["platform"] = json!(chosen.image.config.platform());
                Some(part)
            };
            let parts = self.chosen.iter().filter(|chosen| images.contains(&chosen.image.id));
            let bytes = index(&parts.filter_map(part).collect::<Vec<_>>());
            let digest = Digest::of(&bytes);
            put(archive, &blob(&digest), &bytes)?;
            entries.push(named(&descriptor(OCI_INDEX, &digest, bytes.len()), name));
        }
        Ok(entries)
    }

    /// The image's layers as descriptors, lowest first.
    fn descriptors(&self, chosen: &Chosen) -> Vec<Value> {
        let ids = chosen.image.config.rootfs.diff_ids.iter();
        ids.map(|id| json!({"mediaType": LAYER, "digest": id, "size": self.size(id)}))
            .collect()
    }

    /// Bytes of a layer's archive.
    fn size(&self, diff_id: &str) -> u64 {
        let layer = self.layers.iter().find(|layer| layer.diff_id.to_string() == diff_id);
        layer.map_or(0, |layer| layer.skeleton.size())
    }

    fn manifest(&self, chosen: &Chosen) -> Vec<u8> {
        let ids = chosen.image.config.rootfs.diff_ids.iter();
        let layers = ids.filter_map(|id| Some(layout::uncompressed(Digest::parse(id).ok()?, self.size(id))));
        let layers: Vec<Descriptor> = layers.collect();
        layout::made(&chosen.image.id, chosen.config.len() as u64, &layers)
    }

    /// The image's part of `manifest.json`.
    fn legacy(&self, chosen: &Chosen) -> Value {
        let path = |id: &str| format!("blobs/sha256/{}", id.trim_start_matches("sha256:"));
        let ids = &chosen.image.config.rootfs.diff_ids;
        let names: Vec<String> = chosen.names.iter().map(Reference::familiar).collect();
        let layers: Vec<String> = ids.iter().map(|id| path(id)).collect();
        let sources: serde_json::Map<String, Value> = ids.iter().cloned().zip(self.descriptors(chosen)).collect();
        let names = if names.is_empty() { Value::Null } else { json!(names) };
        json!({"Config": path(&chosen.image.id), "RepoTags": names, "Layers": layers, "LayerSources": sources})
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
}

/// An index of these descriptors.
fn index(entries: &[Value]) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        .to_string()
        .into_bytes()
}

/// A descriptor under a name.
fn named(entry: &Value, name: &Reference) -> Value {
    let mut entry = entry.clone();
    entry["annotations"] = json!({
        "io.containerd.image.name": name.to_string(),
        "org.opencontainers.image.ref.name": name.tag_or_digest(),
    });
    entry
}

/// What names and ids mean.
#[derive(Default)]
struct Choice {
    /// Each image once.
    images: Vec<Asked>,
    several: Vec<(Reference, Vec<String>)>,
}

fn choose(index: &Index, request: &SaveRequest) -> Result<Choice, FindError> {
    let mut choice = Choice::default();
    for text in &request.names {
        for (name, meaning) in meant(index, text)? {
            let ids = match &request.platform {
                None => meaning.images.clone(),
                Some(_) if name.is_none() => {
                    vec![resolve(index, text)?.chosen(index, text, request.platform.as_ref())?]
                }
                Some(platform) => {
                    let familiar = name.as_ref().map_or_else(|| text.clone(), Reference::familiar);
                    vec![resolve(index, &familiar)?.chosen(index, &familiar, Some(platform))?]
                }
            };
            choice.add(index, name, ids);
        }
    }
    Ok(choice)
}

impl Choice {
    fn add(&mut self, index: &Index, name: Option<Reference>, ids: Vec<String>) {
        let meaning = Meaning {
            target: None,
            images: ids,
        };
        let preferred = index.preferred(&meaning).cloned();
        let is_several = name.is_some() && meaning.images.len() > 1;
        for id in &meaning.images {
            let at = match self.images.iter().position(|asked| asked.image.id == *id) {
                Some(at) => at,
                None => {
                    let Some(image) = index.image(id) else { continue };
                    self.images.push(Asked {
                        image,
                        names: Vec::new(),
                        is_one_of_several: false,
                    });
                    self.images.len() - 1
                }
            };
            let asked = &mut self.images[at];
            asked.is_one_of_several |= is_several;
            let named = name.as_ref().filter(|_| preferred.as_ref() == Some(id));
            if let Some(name) = named.filter(|name| !asked.names.contains(name)) {
                asked.names.push(name.clone());
            }
        }
        let is_new = |name: &Reference| self.several.iter().all(|(known, _)| known != name);
        if let Some(name) = name.filter(|name| is_several && is_new(name)) {
            self.several.push((name, meaning.images));
        }
    }
}

/// Names and what they mean; a name without a tag is all tags of its repository.
fn meant(index: &Index, text: &str) -> Result<Vec<(Option<Reference>, Meaning)>, FindError> {
    if let Ok(AnyReference::Named(reference)) = AnyReference::parse(text)
        && reference.clone().with_default_tag() != reference
    {
        let of_repository = |text: &String| {
            let other = Reference::parse(text).ok()?;
            (other.name() == reference.name() && other.digest().is_none()).then_some(other)
        };
        let tags = index.names.iter();
        let all: Vec<_> = tags
            .filter_map(|(text, meaning)| Some((Some(of_repository(text)?), meaning.clone())))
            .collect();
        if !all.is_empty() {
            return Ok(all);
        }
    }
    // What is not there is told as it was asked for.
    let named = resolve(index, text).map_err(|error| match error {
        FindError::NoSuchImage { .. } => FindError::NoSuchImage { name: text.to_owned() },
        error => error,
    })?;
    let meaning = named.meaning(index);
    let tagged = match named {
        Named::Name(reference) => Some(reference).filter(|reference| reference.digest().is_none()),
        Named::Id(_) => None,
    };
    Ok(vec![(tagged, meaning)])
}

/// Diff ids of the layers that whoever has this image has, whatever the platform.
fn base(index: &Index, text: &str) -> Result<HashSet<String>, FindError> {
    let images = resolve(index, text)?.meaning(index).images;
    let stored = images.iter().filter_map(|id| index.images.get(id));
    Ok(stored
        .flat_map(|stored| stored.config.rootfs.diff_ids.clone())
        .collect())
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn put(archive: &mut TarWriter<&mut dyn Write>, path: &str, bytes: &[u8]) -> io::Result<()> {
    archive.append_file(&member(path, Kind::File, bytes.len() as u64), bytes)
}

fn member(path: &str, kind: Kind, size: u64) -> Entry {
    Entry {
        sparse: None,
        path: path.as_bytes().to_vec(),
        link: Vec::new(),
        kind,
        mode: if kind == Kind::Directory { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        size,
        mtime: Mtime::default(),
        major: 0,
        minor: 0,
        xattrs: Vec::new(),
    }
}
