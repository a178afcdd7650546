//! Whether the stores are what the records say: every blob against its digest, every layer against its diff id, every
//! reference against what it refers to.
//!
//! Nothing is changed and nobody is held up. What changes meanwhile is looked at again before it counts as wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::thread;
use std::time::Duration;

use conex_content::ContentError;
use conex_reference::{Digest, Reference};
use conex_snapshot::SnapshotError;

use crate::collect::unreferenced_blobs;
use crate::error::SaveError;
use crate::images::{Images, Keep};
use crate::index::{Index, layer};
use crate::lease::LayerLease;

/// How often, and how long apart, `index.json` is looked at before it counts as wrong.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: String,
    /// What.
    pub problem: String,
    /// What it is to the store.
    pub(crate) fault: Fault,
}

/// What can be wrong, as a repair takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// `index.json` or `oci-layout`.
    Layout,
    /// A configuration or a manifest of an image.
    Document { image: String, digest: Digest },
    /// A layer of an image as a blob.
    LayerBlob { digest: Digest, size: u64 },
    /// A blob that no image has.
    Unreferenced(Digest),
    /// A file of the content store that is none of its own.
    Stray(String),
    /// A layer that is not what its image says, by key.
    Layer(String),
    /// A directory of a layer that no record names.
    UnrecordedLayer(String),
    /// A name of no image.
    Name { name: String, image: String },
    /// The index that a name came by.
    Target { name: String, digest: Digest },
    /// What nobody can make right.
    Record,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Images.
    pub images: u64,
    /// Blobs.
    pub blobs: u64,
    /// Layers.
    pub layers: u64,
}

/// A check broke off.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The content store cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The layer store cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Takes what is found.
pub(crate) type Told<'a> = &'a mut dyn FnMut(Finding);

impl Images {
    /// Looks at everything, and tells what is wrong as it is found. Blocks on the disk.
    ///
    /// # Errors
    /// The stores cannot be read.
    pub fn check(&self, told: Told<'_>) -> Result<Checked, CheckError> {
        self.check_layout(told)?;
        let images = self.check_records(told);
        let blobs = self.check_blobs(told)?;
        let layers = self.check_layers(told);
        self.check_strays(told)?;
        Ok(Checked { images, blobs, layers })
    }

    fn check_layout(&self, told: Told<'_>) -> Result<(), CheckError> {
        let content = &self.shared.content;
        let mut wrong = |file: &str, problem: &str| {
            told(Finding {
                place: format!("content/{file}"),
                problem: problem.to_owned(),
                fault: Fault::Layout,
            });
        };
        if !content.is_marked() {
            wrong("oci-layout", "is not what it was");
        }
        let wanted = self.shared.layout_index();
        for _ in 0..TRIES {
            let found = content.read_index()?;
            if found.is_some_and(|found| found == self.shared.layout_index()) {
                return Ok(());
            }
            // What changed is written soon.
            thread::sleep(PAUSE);
        }
        // Names that change all the time are no damage.
        if wanted == self.shared.layout_index() {
            let is_there = content.read_index()?.is_some();
            wrong(
                "index.json",
                if is_there {
                    "does not say what the store has"
                } else {
                    "is gone"
                },
            );
        }
        Ok(())
    }

    /// Each image's layers, each name's image.
    fn check_records(&self, told: Told<'_>) -> u64 {
        let index = self.shared.index();
        for (id, stored) in index.holders() {
            let place = || format!("image {}", index.called(id));
            if index.damaged.contains_key(id) {
                // Its configuration is told as the blob that it is.
                continue;
            }
            let (layers, diff_ids) = (stored.record.layers.len(), stored.config.rootfs.diff_ids.len());
            if layers != diff_ids {
                told(Finding {
                    place: place(),
                    problem: format!("its record has {layers} layers, its configuration {diff_ids}"),
                    fault: Fault::Record,
                });
            }
            for key in stored
                .record
                .layers
                .iter()
                .filter(|key| !index.layers.contains_key(*key))
            {
                told(Finding {
                    place: place(),
                    problem: format!("its layer {key} is not recorded"),
                    fault: Fault::Layer(key.clone()),
                });
            }
        }
        for (name, meaning) in index.names.iter() {
            let is_there = |id: &&String| index.images.contains_key(*id) || index.damaged.contains_key(*id);
            for id in meaning.images.iter().filter(|id| !is_there(id)) {
                told(Finding {
                    place: format!("name {name}"),
                    problem: format!("there is no image {id}"),
                    fault: Fault::Name {
                        name: name.clone(),
                        image: id.clone(),
                    },
                });
            }
        }
        index.holders().count() as u64
    }

    fn check_blobs(&self, told: Told<'_>) -> Result<u64, CheckError> {
        let (content, keep) = (&self.shared.content, self.shared.settings.keep);
        let wanted = wanted_blobs(&self.shared.index(), keep);
        let mut checked = 0;
        for (digest, blob) in &wanted {
            let problem = match content.verify(digest) {
                Ok(true) => None,
                Ok(false) => Some("its contents are not what its digest says".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Some("is gone".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            checked += 1;
            // An image that was removed meanwhile took its blobs along.
            if let Some(problem) = problem
                && wanted_blobs(&self.shared.index(), keep).contains_key(digest)
            {
                told(Finding {
                    place: format!("{} {digest} of {}", blob.kind, listed(&blob.owners)),
                    problem,
                    fault: blob.fault.clone(),
                });
            }
        }
        // Those that a pull has are not in an image yet.
        let unreferenced = unreferenced_blobs(content, &self.shared.index(), keep)?;
        let _changes = self.shared.changes.blocking_lock();
        let still = unreferenced_blobs(content, &self.shared.index(), keep)?;
        for digest in unreferenced.into_iter().filter(|digest| still.contains(digest)) {
            told(Finding {
                place: format!("blob {digest}"),
                problem: "no image has it".to_owned(),
                fault: Fault::Unreferenced(digest),
            });
        }
        Ok(checked)
    }

    fn check_layers(&self, told: Told<'_>) -> u64 {
        let layers = layers_with_diff_ids(&self.shared.index());
        let mut checked = 0;
        for (key, diff_id) in &layers {
            let (record, place, _lease) = {
                let mut index = self.shared.index();
                let Some(record) = index.layers.get(key).cloned() else {
                    continue;
                };
                let owners = listed(&owners_of_layer(&index, key));
                let lease = LayerLease::new(&self.shared, &mut index, vec![key.clone()]);
                (record.clone(), format!("layer {} of {owners}", record.name), lease)
            };
            checked += 1;
            let Some(found) = layer(&record) else { continue };
            let problem = if !self.shared.snapshots.contains(&found.name) {
                Some("its directory is gone".to_owned())
            } else if record.has_skeleton == Some(false) {
                // There never was one, and nothing tells what its files were.
                None
            } else {
                self.layer_source(diff_id, &found)
                    .and_then(|source| source.write(&mut io::sink()))
                    .err()
                    .map(|error| problem_of_layer(&error))
            };
            if let Some(problem) = problem
                && self.shared.index().layers.get(key) == Some(&record)
            {
                told(Finding {
                    place,
                    problem,
                    fault: Fault::Layer(key.clone()),
                });
            }
        }
        checked
    }

    /// Files and directories that no record names.
    fn check_strays(&self, told: Told<'_>) -> Result<(), CheckError> {
        for path in self.shared.content.strays()? {
            told(Finding {
                place: format!("content/{path}"),
                problem: "it is no file of the content store".to_owned(),
                fault: Fault::Stray(path),
            });
        }
        for name in self.unrecorded_layers()? {
            told(Finding {
                place: format!("layers/{name}"),
                problem: "no record names this layer".to_owned(),
                fault: Fault::UnrecordedLayer(name),
            });
        }
        Ok(())
    }

    /// Directories of layers, and what gives their archives back, that no record names and nobody is about to record.
    pub(crate) fn unrecorded_layers(&self) -> Result<Vec<String>, SnapshotError> {
        let mut found = self.shared.snapshots.stored_names()?;
        let index = self.shared.index();
        let recorded = index.layers.values().map(|record| &record.name);
        let fresh = index.fresh.values().map(|fresh| &fresh.record.name);
        let known: BTreeSet<&String> = recorded.chain(fresh).collect();
        // What is just being unpacked has its name before it is known here.
        let is_under_way = !index.flights.is_empty();
        found.retain(|name| !known.contains(name) && !is_under_way);
        Ok(found)
    }
}

/// A blob that must be there.
struct WantedBlob {
    kind: &'static str,
    owners: BTreeSet<String>,
    fault: Fault,
}

fn wanted_blobs(index: &Index, keep: Keep) -> BTreeMap<Digest, WantedBlob> {
    let mut wanted = BTreeMap::new();
    for (id, stored) in index.holders() {
        let owner = index.called(id);
        for digest in &stored.blobs.documents {
            let blob = WantedBlob {
                kind: if digest.to_string() == *id {
                    "configuration"
                } else {
                    "manifest"
                },
                owners: BTreeSet::from([owner.clone()]),
                fault: Fault::Document {
                    image: id.clone(),
                    digest: *digest,
                },
            };
            wanted.insert(*digest, blob);
        }
        for (digest, size) in stored.blobs.layers.iter().filter(|_| keep == Keep::Always) {
            let blob = WantedBlob {
                kind: "compressed layer",
                owners: BTreeSet::from([owner.clone()]),
                fault: Fault::LayerBlob {
                    digest: *digest,
                    size: *size,
                },
            };
            let known = wanted.entry(*digest).or_insert(blob);
            known.owners.insert(owner.clone());
        }
    }
    for (name, meaning) in index.names.iter() {
        let Some(digest) = meaning.target else { continue };
        // A name of a registry that has a manifest of one image came by that.
        let is_kept = || index.holders().any(|(_, stored)| stored.record.own() == Some(digest));
        if wanted.contains_key(&digest) || is_kept() {
            continue;
        }
        let called = Reference::parse(name).map_or_else(|_| name.clone(), |name| name.familiar());
        let blob = WantedBlob {
            kind: "index",
            owners: BTreeSet::from([called]),
            fault: Fault::Target {
                name: name.clone(),
                digest,
            },
        };
        wanted.insert(digest, blob);
    }
    wanted
}

/// Recorded layers that images have, with the digests of their archives.
fn layers_with_diff_ids(index: &Index) -> BTreeMap<String, String> {
    let holders = index
        .holders()
        .filter(|(_, stored)| stored.record.layers.len() == stored.config.rootfs.diff_ids.len());
    let pairs = holders.flat_map(|(_, stored)| stored.record.layers.iter().zip(&stored.config.rootfs.diff_ids));
    pairs.map(|(key, diff_id)| (key.clone(), diff_id.clone())).collect()
}

fn owners_of_layer(index: &Index, key: &String) -> BTreeSet<String> {
    let owners = index.holders().filter(|(_, stored)| stored.record.layers.contains(key));
    owners.map(|(id, _)| index.called(id)).collect()
}

/// Names of images as they are told: `a:1, b:2`.
fn listed(owners: &BTreeSet<String>) -> String {
    let names: Vec<&str> = owners.iter().map(String::as_str).collect();
    names.join(", ")
}

fn problem_of_layer(error: &SaveError) -> String {
    match error {
        SaveError::NoSkeleton { .. } => "its reconstruction data are gone".to_owned(),
        SaveError::Layer { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
