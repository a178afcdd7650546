//! Layers that are held for an image until it is recorded, and whose turn it is to bring one in.

use std::sync::Arc;

use conex_archive::Extracted;
use conex_snapshot::{LayerName, Staging};
use tokio::sync::OwnedMutexGuard;

use crate::error::LayerError;
use crate::images::Images;
use crate::index::{Flight, Fresh, Shared};
use crate::records::{LayerRecord, VERSION};

/// A layer that is held for an image: not removed meanwhile, and given up when dropped before it was recorded.
pub(crate) struct Held {
    shared: Arc<Shared>,
    /// Its key.
    pub(crate) key: String,
    /// Its record.
    pub(crate) record: LayerRecord,
    /// Whether it is not recorded yet.
    pub(crate) is_fresh: bool,
}

impl Held {
    /// Publishes a layer that was just unpacked, under its key. Held from then on, so that it is given up even if nobody
    /// waits for it any more.
    pub(crate) fn publish(
        shared: Arc<Shared>,
        key: String,
        staging: Staging,
        extracted: &Extracted,
    ) -> Result<Self, LayerError> {
        conex_sys::failpoint::hit("layer.before-publish");
        let name = staging.publish(&key["sha256:".len()..])?;
        let record = LayerRecord {
            version: VERSION,
            has_skeleton: Some(shared.snapshots.open_skeleton(&name).is_ok()),
            name: name.as_str().to_owned(),
            size: extracted.size,
            carries_root: extracted.carries_root,
        };
        conex_sys::failpoint::hit("layer.published");
        let mut index = shared.index();
        let fresh = Fresh {
            record: record.clone(),
            holders: 1,
        };
        index.fresh.insert(key.clone(), fresh);
        *index.leases.entry(key.clone()).or_default() += 1;
        drop(index);
        Ok(Self {
            shared,
            key,
            record,
            is_fresh: true,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut index = self.shared.index();
        if let Some(count) = index.leases.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                index.leases.remove(&self.key);
            }
        }
        if !self.is_fresh {
            return;
        }
        let Some(fresh) = index.fresh.get_mut(&self.key) else {
            return;
        };
        fresh.holders -= 1;
        if fresh.holders > 0 {
            return;
        }
        index.fresh.remove(&self.key);
        // It may have been recorded.
        if index.layers.get(&self.key) != Some(&self.record)
            && let Some(name) = LayerName::parse(&self.record.name)
            && let Err(error) = self.shared.snapshots.remove(&name)
        {
            tracing::warn!(%error, "a layer is left to the next start");
        }
    }
}

impl Shared {
    /// Discards what is left of a layer whose directory is another one now.
    pub(crate) fn forget_lost(&self, old: Option<LayerRecord>, new: &LayerRecord) {
        let old = old.filter(|old| old.name != new.name);
        if let Some(name) = old.and_then(|old| LayerName::parse(&old.name))
            && let Err(error) = self.snapshots.remove(&name)
        {
            tracing::warn!(%error, "a layer is left to the next start");
        }
    }

    /// Whether the layer is recorded with another directory, which containers may have. Only a repair, which knows who has
    /// it, puts another in its place.
    pub(crate) fn has_in_place(&self, layer: &Held) -> bool {
        let index = self.index();
        let recorded = index
            .layers
            .get(&layer.key)
            .filter(|record| record.name != layer.record.name);
        recorded
            .and_then(|record| LayerName::parse(&record.name))
            .is_some_and(|name| self.snapshots.contains(&name))
    }
}

/// A flight of this pull; the next one begins when it is dropped.
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    flight: Flight,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut index = self.shared.index();
        // Kept only while somebody waits for it.
        if index
            .flights
            .get(&self.flight)
            .is_some_and(|flight| Arc::strong_count(flight) == 1)
        {
            index.flights.remove(&self.flight);
        }
    }
}

impl Images {
    /// Waits until nobody else has this flight; `waiting` is told where somebody has.
    pub(crate) async fn begin(&self, flight: Flight, waiting: impl FnOnce()) -> InFlight {
        let shared = self.shared.clone();
        let lock = shared.index().flights.entry(flight.clone()).or_default().clone();
        let mut begun = InFlight {
            shared,
            flight,
            guard: None,
        };
        begun.guard = match lock.clone().try_lock_owned() {
            Ok(guard) => Some(guard),
            Err(_) => {
                waiting();
                Some(lock.lock_owned().await)
            }
        };
        begun
    }

    /// A layer that is there already, by the first of these keys that there is.
    pub(crate) async fn hold_layer(&self, keys: &[&String]) -> Option<Held> {
        // A removal has chosen its layers already.
        let _uses = self.shared.uses.read().await;
        let mut index = self.shared.index();
        let (key, record, is_fresh) = keys.iter().find_map(|key| {
            let is_there = |record: &&LayerRecord| {
                let name = LayerName::parse(&record.name);
                !index.lost.contains(*key) && name.is_some_and(|name| self.shared.snapshots.contains(&name))
            };
            if let Some(record) = index.layers.get(*key).filter(is_there) {
                return Some(((*key).clone(), record.clone(), false));
            }
            let fresh = index.fresh.get_mut(*key)?;
            fresh.holders += 1;
            Some(((*key).clone(), fresh.record.clone(), true))
        })?;
        *index.leases.entry(key.clone()).or_default() += 1;
        Some(Held {
            shared: self.shared.clone(),
            key,
            record,
            is_fresh,
        })
    }

    /// The layers of an image, lowest first; `None` where there is no such image.
    pub(crate) async fn hold_layers_of(&self, id: &str) -> Option<Vec<Held>> {
        let _uses = self.shared.uses.read().await;
        let mut index = self.shared.index();
        let stored = index.images.get(id).or_else(|| index.retained.get(id))?;
        let keys = stored.record.layers.clone();
        let layers: Option<Vec<(String, LayerRecord)>> = keys
            .into_iter()
            .map(|key| index.layers.get(&key).cloned().map(|record| (key, record)))
            .collect();
        let hold = |(key, record): (String, LayerRecord)| {
            *index.leases.entry(key.clone()).or_default() += 1;
            Held {
                shared: self.shared.clone(),
                key,
                record,
                is_fresh: false,
            }
        };
        Some(layers?.into_iter().map(hold).collect())
    }
}
