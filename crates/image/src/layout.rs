//! The content store as an OCI image layout that other programs read in place.
//!
//! ```text
//!   names and images (metadata) --entries--> index.json        after each change of names, and at start
//!   image --listed--> its own manifest, where that is OCI's     (skopeo and umoci take no other by name)
//!               \---> one that is made: of Docker's schema 2 with OCI's media types, or of the
//!                     layers of the image it was made upon and uncompressed ones
//! ```
//!
//! `index.json` is derived, so a crash between a commit and the write is mended at the next start. A write that took a
//! time is followed by nine times that without one: a hundred changes at once cost a few writes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::iter;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use conex_content::{Content, ContentError};
use conex_reference::{Digest, Reference};
use conex_registry::manifest::{DOCKER_LAYER, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use conex_registry::{Descriptor, Manifest, manifest};
use serde_json::{Value, json};

use crate::config::ImageConfig;
use crate::images::Images;
use crate::index::{Index, Shared, Stored};
use crate::names::Meaning;
use crate::records::ImageRecord;

/// The type of layers that are not compressed.
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Media types of Docker's and what OCI calls the same.
const NAMES: [(&str, &str); 6] = [
    (DOCKER_MANIFEST, OCI_MANIFEST),
    (manifest::DOCKER_CONFIG, OCI_CONFIG),
    (DOCKER_LAYER, "application/vnd.oci.image.layer.v1.tar+gzip"),
    ("application/vnd.docker.image.rootfs.diff.tar", LAYER),
    (
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ),
    (
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ),
];

/// The manifest of an image that came without one, of these layers, lowest first.
pub(crate) fn made(id: &str, config_size: u64, layers: &[Descriptor]) -> Vec<u8> {
    let config = json!({"mediaType": OCI_CONFIG, "digest": id, "size": config_size});
    let layers = layers
        .iter()
        .map(|layer| json!({"mediaType": layer.media_type, "digest": layer.digest.to_string(), "size": layer.size}));
    let layers: Vec<Value> = layers.collect();
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers})
        .to_string()
        .into_bytes()
}

/// A layer that is not compressed, by its diff id.
pub(crate) fn uncompressed(diff_id: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: LAYER.to_owned(),
        digest: diff_id,
        size,
    }
}

/// The layers of the image that another one was made upon here, as its listed manifest has them.
pub(crate) fn base_layers(
    content: &Content,
    index: &Index,
    parent: Option<&String>,
    diff_ids: &[String],
) -> Vec<Descriptor> {
    let layers = || {
        let mut holders = index.holders();
        let (_, stored) = holders.find(|(id, _)| Some(*id) == parent)?;
        let digest = stored.record.listed()?;
        let bytes = content.read(&digest).ok().filter(|bytes| Digest::of(bytes) == digest)?;
        let own = &stored.config.rootfs.diff_ids;
        layers_of(&bytes).filter(|layers| layers.len() == own.len() && diff_ids.starts_with(own))
    };
    layers().unwrap_or_default()
}

/// A manifest of Docker's with OCI's media types; `None` for one that is OCI's already, or is none.
pub(crate) fn translated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(bytes).ok()?;
    let is_docker = |value: &Value| value["mediaType"].as_str().is_some_and(|kind| kind.contains("docker"));
    let layers = document["layers"].as_array();
    if !is_docker(&document) && !is_docker(&document["config"]) && !layers.is_some_and(|all| all.iter().any(is_docker))
    {
        return None;
    }
    document["mediaType"] = OCI_MANIFEST.into();
    translate(&mut document["config"]);
    document["layers"].as_array_mut()?.iter_mut().for_each(translate);
    Some(document.to_string().into_bytes())
}

fn translate(descriptor: &mut Value) {
    let known = NAMES.iter().find(|(docker, _)| descriptor["mediaType"] == **docker);
    if let Some((_, oci)) = known {
        descriptor["mediaType"] = (*oci).into();
    }
}

/// The layers of an image's manifest, lowest first.
pub(crate) fn layers_of(bytes: &[u8]) -> Option<Vec<Descriptor>> {
    match manifest::parse("", bytes).ok()? {
        Manifest::Image { layers, .. } => Some(layers),
        Manifest::Index(_) => None,
    }
}

/// The blobs that belong to an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Blobs {
    /// Its configuration and manifests, which are always kept.
    pub(crate) documents: Vec<Digest>,
    /// Its layers, with their sizes, which may be kept.
    pub(crate) layers: Vec<(Digest, u64)>,
}

impl Blobs {
    /// The blobs of an image, of which these are the manifests.
    pub(crate) fn of<'a>(id: &str, manifests: impl Iterator<Item = (Digest, &'a [u8])>) -> Self {
        let mut blobs = Self::default();
        blobs.documents.extend(Digest::parse(id));
        for (digest, bytes) in manifests {
            blobs.add_manifest(digest, bytes);
        }
        blobs
    }

    /// Adds a manifest, and the layers that it has.
    pub(crate) fn add_manifest(&mut self, digest: Digest, bytes: &[u8]) {
        self.documents.push(digest);
        let layers = layers_of(bytes).unwrap_or_default();
        self.layers
            .extend(layers.iter().map(|layer| (layer.digest, layer.size)));
        self.layers.sort_unstable();
        self.layers.dedup();
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Digest> {
        self.documents
            .iter()
            .chain(self.layers.iter().map(|(digest, _)| digest))
    }
}

impl ImageRecord {
    /// The manifest that the image came by.
    pub(crate) fn own(&self) -> Option<Digest> {
        Digest::parse(self.manifest.as_deref()?).ok()
    }

    /// The manifest that `index.json` lists under the image's names.
    pub(crate) fn listed(&self) -> Option<Digest> {
        let digest = self.layout.as_deref().or(self.manifest.as_deref());
        digest.and_then(|digest| Digest::parse(digest).ok())
    }

    /// All manifests of the image.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = Digest> {
        let all = [&self.manifest, &self.layout];
        all.into_iter()
            .flatten()
            .filter_map(|digest| Digest::parse(digest).ok())
    }
}

/// An entry of `index.json`, but for the size of what it is of.
struct Entry {
    digest: Digest,
    media_type: &'static str,
    platform: Option<Value>,
    annotations: BTreeMap<&'static str, String>,
}

/// Which of the indexes by which names came are OCI's, and which Docker's.
type Kinds = HashMap<Digest, &'static str>;

/// What `index.json` lists: what a name came by where that is an index, else the manifests of its images; names by digests where
/// their images have no other, and images without a name. The one place where names become manifests.
fn entries(index: &Index, kinds: &Kinds) -> Vec<Entry> {
    let is_tagged = |id: &String| index.names.of_image(id).any(|name| !name.contains('@'));
    let mut entries = Vec::new();
    for (text, meaning) in index.names.iter() {
        let Ok(name) = Reference::parse(text) else { continue };
        if name.digest().is_some() && meaning.images.iter().any(is_tagged) {
            continue;
        }
        entries.extend(entries_of_name(index, kinds, &name, meaning));
    }
    let mut nameless: Vec<(&String, &Stored)> = index
        .holders()
        .filter(|(id, _)| index.names.of_image(id).next().is_none())
        .collect();
    nameless.sort_by_key(|(id, _)| *id);
    let plain = |(_, stored): &(&String, &Stored)| Some(stored.entry(stored.record.listed()?, OCI_MANIFEST));
    entries.extend(nameless.iter().filter_map(plain));
    entries
}

fn entries_of_name(index: &Index, kinds: &Kinds, name: &Reference, meaning: &Meaning) -> Vec<Entry> {
    // Who knows OCI's types alone is not to take a name for two images: one entry has the name by which such programs ask.
    let full = BTreeMap::from([("io.containerd.image.name", name.to_string())]);
    let mut both = full.clone();
    both.insert("org.opencontainers.image.ref.name", name.familiar());
    let mut entries = Vec::new();
    if let Some((digest, kind)) = meaning.target.and_then(|target| Some((target, *kinds.get(&target)?))) {
        let is_oci = kind == OCI_INDEX;
        entries.push(Entry {
            digest,
            media_type: kind,
            platform: None,
            annotations: if is_oci { both.clone() } else { full.clone() },
        });
        if is_oci {
            return entries;
        }
    }
    let mut names = [both].into_iter().chain(iter::repeat(full.clone()));
    for id in &meaning.images {
        let Some((_, stored)) = index.holders().find(|(holder, _)| *holder == id) else {
            continue;
        };
        let Some(listed) = stored.record.listed() else { continue };
        if let Some(own) = stored.record.own().filter(|own| *own != listed) {
            entries.push(stored.entry(own, DOCKER_MANIFEST).named(full.clone()));
        }
        let named = names.next().unwrap_or_default();
        entries.push(stored.entry(listed, OCI_MANIFEST).named(named));
    }
    entries
}

impl Entry {
    fn named(self, annotations: BTreeMap<&'static str, String>) -> Self {
        Self { annotations, ..self }
    }
}

impl Stored {
    /// An entry of a manifest of the image, without a name.
    fn entry(&self, digest: Digest, media_type: &'static str) -> Entry {
        Entry {
            digest,
            media_type,
            platform: Some(platform(&self.config)).filter(|platform| platform["architecture"] != ""),
            annotations: BTreeMap::new(),
        }
    }
}

fn platform(config: &ImageConfig) -> Value {
    let mut platform = json!({"architecture": config.architecture, "os": config.os});
    if !config.variant.is_empty() {
        platform["variant"] = config.variant.as_str().into();
    }
    platform
}

impl Images {
    /// Waits until the content store's `index.json` says what the store has. Blocks.
    pub fn settle_layout(&self) {
        self.shared.layout.settle();
    }
}

impl Shared {
    /// `index.json` as it is to be. What is not there is left out, since its size is not known.
    pub(crate) fn layout_index(&self) -> Vec<u8> {
        let kinds = self.kinds_of_targets();
        let entries = entries(&self.index(), &kinds);
        let described = entries.iter().filter_map(|entry| {
            let size = self.content.size(&entry.digest).ok()?;
            let mut described =
                json!({"mediaType": entry.media_type, "digest": entry.digest.to_string(), "size": size});
            if let Some(platform) = &entry.platform {
                described["platform"] = platform.clone();
            }
            if !entry.annotations.is_empty() {
                described["annotations"] = json!(entry.annotations);
            }
            Some(described)
        });
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described.collect::<Vec<_>>()})
            .to_string()
            .into_bytes()
    }

    /// What the indexes are that names came by.
    fn kinds_of_targets(&self) -> Kinds {
        let targets: HashSet<Digest> = {
            let index = self.index();
            let manifests: HashSet<Digest> = index
                .holders()
                .flat_map(|(_, stored)| stored.record.manifests())
                .collect();
            let targets = index.names.iter().filter_map(|(_, meaning)| meaning.target);
            targets.filter(|target| !manifests.contains(target)).collect()
        };
        let kind = |target: Digest| {
            let document: Value = serde_json::from_slice(&self.content.read(&target).ok()?).ok()?;
            document["manifests"].as_array()?;
            let is_docker = document["mediaType"] == DOCKER_LIST;
            Some((target, if is_docker { DOCKER_LIST } else { OCI_INDEX }))
        };
        targets.into_iter().filter_map(kind).collect()
    }

    fn write_layout(&self) -> Result<(), ContentError> {
        let wanted = self.layout_index();
        if self.content.read_index()?.is_none_or(|found| found != wanted) {
            self.content.write_index(&wanted)?;
        }
        Ok(())
    }
}

/// Whoever is told of changes and writes `index.json`.
#[derive(Debug)]
pub(crate) struct Layout(Sender<Order>);

#[derive(Debug)]
enum Order {
    /// Names or images changed.
    Changed,
    /// Somebody waits until what changed is written.
    Settle(Sender<()>),
}

/// The end of the queue of orders.
pub(crate) struct Orders(Receiver<Order>);

impl Layout {
    /// A queue, of which nobody takes orders yet.
    pub(crate) fn new() -> (Self, Orders) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), Orders(receiver))
    }

    /// Has `index.json` written soon.
    pub(crate) fn changed(&self) {
        // A thread that is gone leaves it to the next start.
        let _ = self.0.send(Order::Changed);
    }

    /// Waits until `index.json` says what the store has. Blocks.
    pub(crate) fn settle(&self) {
        let (written, waiting) = mpsc::channel();
        let _ = self.0.send(Order::Settle(written));
        // As above.
        let _ = waiting.recv();
    }
}

/// Writes `index.json` once, and on a thread of its own whenever it is to say something else.
pub(crate) fn keep_written(shared: &Arc<Shared>, orders: Orders) {
    let shared = Arc::downgrade(shared);
    let started = thread::Builder::new()
        .name("layout".to_owned())
        .spawn(move || write_after_changes(&shared, &orders.0));
    if let Err(error) = started {
        tracing::error!(%error, "start the thread that writes index.json; it stays as it is");
    }
}

fn write_after_changes(shared: &Weak<Shared>, orders: &Receiver<Order>) {
    let mut waiting = Vec::new();
    loop {
        let begun = Instant::now();
        let Some(present) = shared.upgrade() else { return };
        if let Err(error) = present.write_layout() {
            tracing::warn!(%error, "index.json of the content store is not what the store has; the next change tries again");
        }
        drop(present);
        waiting.drain(..).for_each(|waiting: Sender<()>| {
            // Whoever went away does not wait.
            let _ = waiting.send(());
        });
        let next = begun + begun.elapsed() * 10;
        let Ok(order) = orders.recv() else { return };
        let mut is_waited_for = note(order, &mut waiting);
        while !is_waited_for {
            let left = next.saturating_duration_since(Instant::now());
            match orders.recv_timeout(left) {
                Ok(order) => is_waited_for = note(order, &mut waiting),
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
        // Those that came meanwhile are served by the same write.
        while let Ok(order) = orders.try_recv() {
            note(order, &mut waiting);
        }
    }
}

/// Whether somebody waits.
fn note(order: Order, waiting: &mut Vec<Sender<()>>) -> bool {
    match order {
        Order::Changed => false,
        Order::Settle(written) => {
            waiting.push(written);
            true
        }
    }
}
