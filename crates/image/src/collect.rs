//! Opening the store: what a crash left is collected.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};

use conex_content::{Content, ContentError};
use conex_metadata::{Changes, Metadata, Table};
use conex_reference::Digest;
use conex_snapshot::{LayerName, Snapshots};
use serde::de::DeserializeOwned;

use crate::config::ImageConfig;
use crate::documents::{self, Sources};
use crate::error::OpenError;
use crate::images::{Images, Keep, Settings};
use crate::index::{Index, Shared, Stored};
use crate::layout::{self, Blobs, Layout};
use crate::names::Meaning;
use crate::records::{ImageRecord, LayerRecord};
use crate::tag::encode;

impl Images {
    /// Opens the store over the others, and removes layers and blobs that nothing refers to.
    pub fn open(
        metadata: Metadata,
        content: Content,
        snapshots: Snapshots,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let mut index = Index::new(settings.host.clone());
        for (key, bytes) in metadata.load(Table::Layers)? {
            let record: LayerRecord = parse(&key, &bytes)?;
            index.layers.insert(key, record);
        }
        let mut is_whole = true;
        for (id, bytes) in metadata.load(Table::Images)? {
            let record: ImageRecord = parse(&id, &bytes)?;
            is_whole &= add_image(&mut index, &content, id, record)? == Manifests::Whole;
        }
        load_names(&metadata, &mut index)?;
        for (diff_id, bytes) in metadata.load(Table::Origins)? {
            let record = parse(&diff_id, &bytes)?;
            index.origins.insert(diff_id, record);
        }
        drop_orphans(&metadata, &mut index);
        let kept: HashSet<LayerName> = index
            .layers
            .values()
            .filter_map(|record| LayerName::parse(&record.name))
            .collect();
        snapshots.retain(&kept)?;
        make_manifests(&metadata, &content, &snapshots, &mut index)?;
        // A manifest that is damaged does not say what its image has.
        if is_whole {
            for digest in unreferenced_blobs(&content, &index, settings.keep)? {
                content.remove(&digest)?;
            }
        }
        let (layout, orders) = Layout::new();
        let shared = Arc::new(Shared {
            metadata,
            content,
            snapshots,
            settings,
            index: Mutex::new(index),
            changes: Arc::default(),
            uses: Arc::default(),
            layout,
        });
        layout::keep_written(&shared, orders);
        Ok(Self { shared })
    }
}

fn load_names(metadata: &Metadata, index: &mut Index) -> Result<(), OpenError> {
    for (name, bytes) in metadata.load(Table::Tags)? {
        let meaning = Meaning::decode(&bytes).map_err(|source| OpenError::Record {
            key: name.clone(),
            source,
        })?;
        index.names.set(name, meaning);
    }
    Ok(())
}

/// Blobs that no image has, nobody relies on, or that are not kept.
pub(crate) fn unreferenced_blobs(content: &Content, index: &Index, keep: Keep) -> Result<Vec<Digest>, ContentError> {
    let holders = || index.holders().map(|(_, stored)| &stored.blobs);
    let mut referenced: HashSet<&Digest> = holders().flat_map(|blobs| &blobs.documents).collect();
    referenced.extend(index.names.iter().filter_map(|(_, meaning)| meaning.target.as_ref()));
    referenced.extend(index.leased_blobs.keys());
    if keep == Keep::Always {
        referenced.extend(holders().flat_map(|blobs| blobs.layers.iter().map(|(digest, _)| digest)));
    }
    let mut found = content.list()?;
    found.retain(|digest| !referenced.contains(digest));
    Ok(found)
}

/// Whether an image's manifests are what their digests say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manifests {
    Whole,
    Damaged,
}

/// Takes in an image, with its documents as they are on disk.
fn add_image(index: &mut Index, content: &Content, id: String, record: ImageRecord) -> Result<Manifests, OpenError> {
    let read = |digest: &Digest| -> Result<Option<Vec<u8>>, ContentError> {
        match content.read(digest) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(|bytes| Some(bytes).filter(|bytes| Digest::of(bytes) == *digest)),
        }
    };
    let mut manifests: Vec<(Digest, Vec<u8>)> = Vec::new();
    for digest in record.manifests() {
        // One that is not what it was says nothing of layers, and stays until it is repaired.
        manifests.push((digest, read(&digest)?.unwrap_or_default()));
    }
    let whole = if manifests.iter().any(|(_, bytes)| bytes.is_empty()) {
        Manifests::Damaged
    } else {
        Manifests::Whole
    };
    let manifests = manifests.iter().map(|(digest, bytes)| (*digest, bytes.as_slice()));
    let blobs = Arc::new(Blobs::of(&id, manifests));
    let Ok(digest) = Digest::parse(&id) else {
        return Ok(whole);
    };
    let config: Option<ImageConfig> = read(&digest)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let images = match &config {
        None => {
            tracing::error!(
                image = id,
                "the configuration of an image is damaged: it cannot be used until it is pulled again or repaired"
            );
            &mut index.damaged
        }
        Some(_) if record.retained => &mut index.retained,
        Some(_) => &mut index.images,
    };
    let config = Arc::new(config.unwrap_or_default());
    images.insert(id, Stored { record, config, blobs });
    Ok(whole)
}

/// Makes the manifests that the layout needs of images that came in before there was one.
fn make_manifests(
    metadata: &Metadata,
    content: &Content,
    snapshots: &Snapshots,
    index: &mut Index,
) -> Result<(), OpenError> {
    let mut changes = Changes::new();
    let mut made = Vec::new();
    for (id, stored) in index.images.iter().chain(&index.retained) {
        if stored.record.layout.is_some() {
            continue;
        }
        let Some(bytes) = make_manifest(content, snapshots, index, id, stored) else {
            continue;
        };
        let mut stored = stored.clone();
        let digest = content.put(&bytes)?;
        stored.record.layout = Some(digest.to_string());
        let mut blobs = Blobs::clone(&stored.blobs);
        blobs.add_manifest(digest, &bytes);
        stored.blobs = Arc::new(blobs);
        changes = changes.put(Table::Images, id.as_str(), encode(&stored.record));
        made.push((id.clone(), stored));
    }
    if made.is_empty() {
        return Ok(());
    }
    if let Err(error) = metadata.commit(changes).wait() {
        tracing::warn!(%error, "manifests of images for index.json are left to the next start");
        return Ok(());
    }
    for (id, stored) in made {
        let images = if stored.record.retained {
            &mut index.retained
        } else {
            &mut index.images
        };
        images.insert(id, stored);
    }
    Ok(())
}

/// The manifest that the layout needs of an image, where that is not its own. Blocks on the disk.
pub(crate) fn make_manifest(
    content: &Content,
    snapshots: &Snapshots,
    index: &Index,
    id: &str,
    stored: &Stored,
) -> Option<Vec<u8>> {
    let own = match stored.record.own() {
        None => None,
        Some(digest) => Some(content.read(&digest).ok().filter(|bytes| Digest::of(bytes) == digest)?),
    };
    let layers = stored.config.rootfs.diff_ids.iter().zip(&stored.record.layers);
    let name = |key: &String| LayerName::parse(&index.layers.get(key)?.name);
    let sources = Sources {
        id,
        config_size: content.size(&Digest::parse(id).ok()?).ok()?,
        manifest: own.as_deref(),
        base: layout::base_layers(
            content,
            index,
            stored.record.parent.as_ref(),
            &stored.config.rootfs.diff_ids,
        ),
        layers: layers.map(|(diff_id, key)| (diff_id.clone(), name(key))).collect(),
    };
    documents::make(snapshots, &sources)
}

/// Takes out layers that no image has: their last image was removed while a pull held them that then failed.
fn drop_orphans(metadata: &Metadata, index: &mut Index) {
    let used: HashSet<&String> = index.holders().flat_map(|(_, stored)| &stored.record.layers).collect();
    let orphans: Vec<String> = index.layers.keys().filter(|key| !used.contains(key)).cloned().collect();
    if orphans.is_empty() {
        return;
    }
    let delete = |changes: Changes, key: &String| changes.delete(Table::Layers, key.as_str());
    match metadata.commit(orphans.iter().fold(Changes::new(), delete)).wait() {
        Ok(()) => index.layers.retain(|key, _| !orphans.contains(key)),
        Err(error) => tracing::warn!(%error, "layers without an image are left to the next start"),
    }
}

fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, OpenError> {
    serde_json::from_slice(bytes).map_err(|source| OpenError::Record {
        key: key.to_owned(),
        source,
    })
}
