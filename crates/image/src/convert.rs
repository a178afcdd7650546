//! All layers, for another storage driver.
//!
//! ```text
//!   archive, from skeleton and files --> [ sha256 diff id | extract, skeleton ] --> a layer of the other driver, bound to those
//!                                                                                   below as the other driver needs it
//! ```
//!
//! A layer whose archive does not come back is copied as it is; its images cannot be saved afterwards, as they could not before.
//! Nothing is recorded here, so that layers and containers change drivers in one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use conex_metadata::{Changes, Table};
use conex_snapshot::{Binding, Layer, LayerName, Snapshots, Staging};

use crate::config::ImageConfig;
use crate::error::LayerError;
use crate::images::Images;
use crate::index::layer;
use crate::layers::{bind, on_blocking, stage};
use crate::pipeline::{self, Archive};
use crate::records::{ImageRecord, LayerRecord, VERSION};
use crate::remove::chain_ids;
use crate::tag::encode;

/// What the layers of all images are for another driver. They are in place, though not recorded.
#[derive(Debug, Default)]
pub struct Converted {
    /// By key.
    layers: BTreeMap<String, LayerRecord>,
    /// By the image's id.
    images: HashMap<String, ImageRecord>,
    /// Keys that there are no more.
    gone: Vec<String>,
}

impl Converted {
    /// What the metadata store is to be told.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let mut changes = Changes::new();
        for key in &self.gone {
            changes = changes.delete(Table::Layers, key.as_str());
        }
        for (key, record) in &self.layers {
            changes = changes.put(Table::Layers, key.as_str(), encode(record));
        }
        for (id, record) in &self.images {
            changes = changes.put(Table::Images, id.as_str(), encode(record));
        }
        changes
    }

    /// The layers of an image, top-most first.
    #[must_use]
    pub fn layers_of(&self, image: &str) -> Vec<Layer> {
        let keys = self.images.get(image).map(|record| record.layers.as_slice());
        let keys = keys.unwrap_or_default().iter().rev();
        keys.filter_map(|key| layer(self.layers.get(key)?)).collect()
    }

    /// Names of all layers.
    #[must_use]
    pub fn names(&self) -> HashSet<LayerName> {
        let records = self.layers.values();
        records.filter_map(|record| LayerName::parse(&record.name)).collect()
    }

    /// Number of images.
    #[must_use]
    pub fn count(&self) -> usize {
        self.images.len()
    }
}

/// A layer that is to be converted.
struct Old {
    diff_id: String,
    chain_id: String,
    record: LayerRecord,
    layer: Layer,
}

impl Images {
    /// Makes the layers of all images anew as another driver keeps them.
    ///
    /// # Errors
    /// A layer cannot be read or made; what was made is not recorded, and the next start discards it.
    pub async fn convert(&self, target: &Snapshots) -> Result<Converted, LayerError> {
        let mut converted = Converted::default();
        let all: Vec<(String, ImageRecord, Arc<ImageConfig>)> = {
            let index = self.shared.index();
            let all = index.holders();
            all.map(|(id, stored)| (id.clone(), stored.record.clone(), stored.config.clone()))
                .collect()
        };
        for (id, mut record, config) in all {
            record.layers = self
                .convert_image(&record, &config.rootfs.diff_ids, target, &mut converted)
                .await?;
            converted.images.insert(id, record);
        }
        let index = self.shared.index();
        let known = index.layers.keys();
        converted.gone = known
            .filter(|key| !converted.layers.contains_key(*key))
            .cloned()
            .collect();
        Ok(converted)
    }

    async fn convert_image(
        &self,
        record: &ImageRecord,
        diff_ids: &[String],
        target: &Snapshots,
        converted: &mut Converted,
    ) -> Result<Vec<String>, LayerError> {
        let (mut keys, mut below_old, mut below_new) = (Vec::new(), Vec::new(), Vec::new());
        let chain = chain_ids(diff_ids);
        for ((key, diff_id), chain_id) in record.layers.iter().zip(diff_ids).zip(chain) {
            let old = self.old(key, diff_id, chain_id)?;
            let present = [&old.diff_id, &old.chain_id]
                .into_iter()
                .skip(usize::from(target.binds_layers()));
            let present = present
                .into_iter()
                .find(|key| converted.layers.contains_key(*key))
                .cloned();
            let key = match present {
                Some(key) => key,
                None => {
                    let (key, record) = self.convert_layer(&old, target, &below_old, &below_new).await?;
                    conex_sys::failpoint::hit("migrate.layer");
                    converted.layers.insert(key.clone(), record);
                    key
                }
            };
            below_new.splice(0..0, converted.layers.get(&key).and_then(layer));
            below_old.insert(0, old.layer);
            keys.push(key);
        }
        Ok(keys)
    }

    fn old(&self, key: &str, diff_id: &str, chain_id: String) -> Result<Old, LayerError> {
        let record = self.shared.index().layers.get(key).cloned();
        let found = record.and_then(|record| Some((layer(&record)?, record)));
        let (layer, record) = found.ok_or_else(|| LayerError::Missing {
            diff_id: diff_id.to_owned(),
        })?;
        Ok(Old {
            diff_id: diff_id.to_owned(),
            chain_id,
            record,
            layer,
        })
    }

    /// Makes a layer of the other driver upon those that it has below; its key and record.
    async fn convert_layer(
        &self,
        old: &Old,
        target: &Snapshots,
        below_old: &[Layer],
        below_new: &[Layer],
    ) -> Result<(String, LayerRecord), LayerError> {
        let unpacked = self.unpack_again(old, target).await;
        let (mut staging, archive) = match unpacked {
            Ok(unpacked) => unpacked,
            Err(error) if is_full(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(layer = old.diff_id, %error, "a layer's archive does not come back; its files are copied");
                return self.copy_layer(old, target, below_old, below_new).await;
            }
        };
        let bound = (target.binds_layers() || !archive.extracted.is_free()) && !below_new.is_empty();
        let key = if bound { &old.chain_id } else { &old.diff_id }.clone();
        let below = if bound { below_new.to_vec() } else { Vec::new() };
        on_blocking(move || {
            bind(&mut staging, &below, &archive.extracted)?;
            let record = LayerRecord {
                version: VERSION,
                name: publish(staging, &key)?,
                size: archive.extracted.size,
                carries_root: archive.extracted.carries_root,
                has_skeleton: Some(archive.has_skeleton),
            };
            Ok((key, record))
        })
        .await
    }

    async fn unpack_again(&self, old: &Old, target: &Snapshots) -> Result<(Staging, Archive), LayerError> {
        let source = self.layer_source(&old.diff_id, &old.layer);
        let source = source.map_err(|error| LayerError::Pack(io::Error::other(error)))?;
        let target = target.clone();
        let (staging, root, skeleton) = on_blocking(move || stage(&target)).await?;
        let write = Box::new(move |output: &mut dyn io::Write| source.write(output).map_err(io::Error::other));
        let archive = pipeline::run_written(root, skeleton, write).await?;
        if archive.diff_id != old.diff_id {
            return Err(LayerError::DiffId {
                expected: old.diff_id.clone(),
                actual: archive.diff_id,
            });
        }
        if !archive.has_skeleton {
            staging.discard_skeleton()?;
        }
        Ok((staging, archive))
    }

    /// As above, from the files of the layer as they are.
    async fn copy_layer(
        &self,
        old: &Old,
        target: &Snapshots,
        below_old: &[Layer],
        below_new: &[Layer],
    ) -> Result<(String, LayerRecord), LayerError> {
        let (source, target) = (self.shared.snapshots.clone(), target.clone());
        let (layer, record, key) = (old.layer.clone(), old.record.clone(), old.chain_id.clone());
        let (below_old, below_new) = (below_old.to_vec(), below_new.to_vec());
        on_blocking(move || {
            let mut staging = target.stage()?;
            staging.copy_of(&source, &layer, &below_old)?;
            let binding = Binding {
                carries_root: record.carries_root,
                ..Binding::default()
            };
            staging.bind(&below_new, binding)?;
            let name = publish(staging, &key)?;
            let has_skeleton = Some(false);
            Ok((
                key,
                LayerRecord {
                    name,
                    has_skeleton,
                    ..record
                },
            ))
        })
        .await
    }
}

fn publish(staging: Staging, key: &str) -> Result<String, LayerError> {
    let digest = key.strip_prefix("sha256:").unwrap_or(key);
    Ok(staging.publish(digest)?.as_str().to_owned())
}

/// Whether there is no room, which a copy would not have either.
fn is_full(error: &LayerError) -> bool {
    let kind = match error {
        LayerError::Snapshot(error) => error.kind(),
        LayerError::Pack(error) | LayerError::Skeleton(error) => error.kind(),
        _ => return false,
    };
    kind == io::ErrorKind::StorageFull
}
