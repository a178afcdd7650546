//! Opening the store: what a crash left is collected.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use conex_content::Content;
use conex_metadata::{Changes, Metadata, Table};
use conex_reference::Digest;
use conex_snapshot::{LayerName, Snapshots};
use serde::de::DeserializeOwned;

use crate::error::OpenError;
use crate::images::{Images, Settings};
use crate::index::{Index, Shared, Stored};
use crate::names::Meaning;
use crate::records::{ImageRecord, LayerRecord};

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
        let mut blobs = HashSet::new();
        for (id, bytes) in metadata.load(Table::Images)? {
            let record: ImageRecord = parse(&id, &bytes)?;
            blobs.extend(Digest::parse(&id));
            blobs.extend(
                record
                    .manifest
                    .as_deref()
                    .and_then(|manifest| Digest::parse(manifest).ok()),
            );
            let config = match Digest::parse(&id) {
                Ok(digest) => parse(&id, &content.read(&digest)?)?,
                Err(_) => continue,
            };
            let images = if record.retained {
                &mut index.retained
            } else {
                &mut index.images
            };
            let config = Arc::new(config);
            images.insert(id, Stored { record, config });
        }
        load_names(&metadata, &mut index)?;
        blobs.extend(index.names.iter().filter_map(|(_, meaning)| meaning.target));
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
        for digest in content.list()? {
            if !blobs.contains(&digest) {
                content.remove(&digest)?;
            }
        }
        let shared = Shared {
            metadata,
            content,
            snapshots,
            settings,
            index: Mutex::new(index),
            changes: Arc::default(),
            uses: Arc::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
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
