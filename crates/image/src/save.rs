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
use conex_reference::{AnyReference, Digest, Reference};
use conex_registry::manifest::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::{FindError, SaveError};
use crate::find::{Named, resolve};
use crate::image::Image;
use crate::images::Images;
use crate::index::Index;
use crate::lease::LayerLease;

/// The type of layers that are not compressed.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image and the names that it was asked for by.
type Asked = (Arc<Image>, Vec<Reference>);

/// An image that is to be saved.
struct Chosen {
    image: Arc<Image>,
    names: Vec<Reference>,
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
    layers: Vec<LayerSource>,
    _lease: LayerLease,
}

impl std::fmt::Debug for Saving {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Saving").finish_non_exhaustive()
    }
}

impl Images {
    /// Chooses images by names or ids. A name without a tag means all tags of its repository.
    ///
    /// # Errors
    /// There is no such image, or one has a layer that cannot be given back.
    pub async fn save(&self, names: &[String]) -> Result<Saving, SaveError> {
        let uses = self.shared.uses.read().await;
        let (chosen, lease) = {
            let mut index = self.shared.index();
            let chosen = choose(&index, names)?;
            let stored = chosen.iter().filter_map(|(image, _)| index.images.get(&image.id));
            let keys = stored.flat_map(|stored| stored.record.layers.clone()).collect();
            let lease = LayerLease::new(&self.shared, &mut index, keys);
            (chosen, lease)
        };
        drop(uses);
        let images = self.clone();
        let opening = tokio::task::spawn_blocking(move || images.open_saving(chosen, lease));
        opening.await.map_err(|_| SaveError::CutOff)?
    }

    fn open_saving(&self, images: Vec<Asked>, lease: LayerLease) -> Result<Saving, SaveError> {
        let (mut chosen, mut layers, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (image, names) in images {
            for (diff_id, layer) in image.config.rootfs.diff_ids.iter().zip(image.layers.iter().rev()) {
                if seen.insert(diff_id.clone()) {
                    layers.push(self.layer_source(diff_id, layer)?);
                }
            }
            let config = self.read_config(&image)?;
            chosen.push(Chosen { image, names, config });
        }
        Ok(Saving {
            chosen,
            layers,
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
        let mut hashed = Hashed {
            output,
            hash: Sha256::new(),
        };
        self.skeleton.assemble(root.as_fd(), &mut hashed).map_err(failed)?;
        if Digest::from_bytes(hashed.hash.finalize().into()) == self.diff_id {
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
        for layer in &self.layers {
            let entry = member(&blob(&layer.diff_id), Kind::File, layer.skeleton.size());
            archive.append_written(&entry, |output| layer.write(output))?;
        }
        let (mut entries, mut manifests) = (Vec::new(), Vec::new());
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for chosen in &self.chosen {
            let manifest = self.manifest(chosen);
            let (config_digest, digest) = (Digest::of(&chosen.config), Digest::of(&manifest));
            put(&mut archive, &blob(&config_digest), &chosen.config)?;
            put(&mut archive, &blob(&digest), &manifest)?;
            manifests.push(self.legacy(chosen));
            entries.extend(index_entries(chosen, &digest, manifest.len()));
            let top = chosen.image.config.rootfs.diff_ids.last();
            for name in &chosen.names {
                let (tag, top) = (name.tag_or_digest(), top.map_or("", |id| &id["sha256:".len()..]));
                let tags = repositories.entry(name.familiar_name()).or_default();
                tags.insert(tag, top.to_owned());
            }
        }
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
        put(&mut archive, "index.json", index.to_string().as_bytes())?;
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

    /// The image's layers as descriptors, lowest first.
    fn descriptors(&self, chosen: &Chosen) -> Vec<Value> {
        let size = |id: &String| {
            let layer = self.layers.iter().find(|layer| layer.diff_id.to_string() == *id);
            layer.map_or(0, |layer| layer.skeleton.size())
        };
        let ids = chosen.image.config.rootfs.diff_ids.iter();
        ids.map(|id| json!({"mediaType": LAYER, "digest": id, "size": size(id)}))
            .collect()
    }

    fn manifest(&self, chosen: &Chosen) -> Vec<u8> {
        let config = json!({"mediaType": OCI_CONFIG, "digest": chosen.image.id, "size": chosen.config.len()});
        let layers = self.descriptors(chosen);
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers})
            .to_string()
            .into_bytes()
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

/// The image's entries of `index.json`: one for each name.
fn index_entries(chosen: &Chosen, digest: &Digest, size: usize) -> Vec<Value> {
    let plain = json!({"mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": size});
    if chosen.names.is_empty() {
        return vec![plain];
    }
    let named = |name: &Reference| {
        let mut entry = plain.clone();
        entry["annotations"] = json!({
            "io.containerd.image.name": name.to_string(),
            "org.opencontainers.image.ref.name": name.tag_or_digest(),
        });
        entry
    };
    chosen.names.iter().map(named).collect()
}

/// The images that names and ids mean, each once, with the names that were asked for.
fn choose(index: &Index, names: &[String]) -> Result<Vec<Asked>, FindError> {
    let mut chosen: Vec<Asked> = Vec::new();
    for name in names {
        for (id, reference) in meant(index, name)? {
            let at = match chosen.iter().position(|(image, _)| image.id == id) {
                Some(at) => at,
                None => {
                    let Some(image) = index.image(&id) else { continue };
                    chosen.push((image, Vec::new()));
                    chosen.len() - 1
                }
            };
            chosen[at].1.extend(reference);
        }
    }
    Ok(chosen)
}

fn meant(index: &Index, name: &str) -> Result<Vec<(String, Option<Reference>)>, FindError> {
    if let Ok(AnyReference::Named(reference)) = AnyReference::parse(name)
        && reference.clone().with_default_tag() != reference
    {
        let of_repository = |text: &String| {
            let other = Reference::parse(text).ok()?;
            (other.name() == reference.name() && other.digest().is_none()).then_some(other)
        };
        let tags = index.tags.iter();
        let all: Vec<_> = tags
            .filter_map(|(text, id)| Some((id.clone(), Some(of_repository(text)?))))
            .collect();
        if !all.is_empty() {
            return Ok(all);
        }
    }
    let (id, named) = resolve(index, name)?;
    let tagged = match named {
        Named::Reference(reference) => Some(reference).filter(|reference| reference.digest().is_none()),
        Named::Id => None,
    };
    Ok(vec![(id, tagged)])
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

/// Hashes what is written.
struct Hashed<'a> {
    output: &'a mut dyn Write,
    hash: Sha256,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write_all(bytes)?;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
