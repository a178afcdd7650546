//! Holding layers and blobs.

use std::sync::Arc;

use conex_reference::Digest;

use crate::index::{Index, Shared};

/// Layers that are not removed while this lives.
pub(crate) struct LayerLease {
    shared: Arc<Shared>,
    keys: Vec<String>,
}

impl LayerLease {
    /// Holds the layers of these keys. `index` is that of `shared`, locked.
    pub(crate) fn new(shared: &Arc<Shared>, index: &mut Index, keys: Vec<String>) -> Self {
        for key in &keys {
            *index.leases.entry(key.clone()).or_default() += 1;
        }
        Self {
            shared: shared.clone(),
            keys,
        }
    }
}

impl Drop for LayerLease {
    fn drop(&mut self) {
        let mut index = self.shared.index();
        for key in &self.keys {
            if let Some(count) = index.leases.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    index.leases.remove(key);
                }
            }
        }
    }
}

/// Blobs that are not removed while this lives, whether an image has them yet or not.
pub(crate) struct BlobLease {
    shared: Arc<Shared>,
    digests: Vec<Digest>,
}

impl BlobLease {
    /// Holds these blobs. One that is given twice is held twice.
    pub(crate) fn new(shared: &Arc<Shared>, digests: Vec<Digest>) -> Self {
        let mut index = shared.index();
        for digest in &digests {
            *index.leased_blobs.entry(*digest).or_default() += 1;
        }
        drop(index);
        Self {
            shared: shared.clone(),
            digests,
        }
    }

    /// Those of the blobs that nobody else holds.
    pub(crate) fn own(&self) -> Vec<Digest> {
        let index = self.shared.index();
        let held = |digest: &Digest| self.digests.iter().filter(|other| *other == digest).count();
        let is_own = |digest: &&Digest| {
            index
                .leased_blobs
                .get(*digest)
                .is_none_or(|count| *count <= held(digest))
        };
        self.digests.iter().filter(is_own).copied().collect()
    }
}

impl Drop for BlobLease {
    fn drop(&mut self) {
        let mut index = self.shared.index();
        for digest in &self.digests {
            let Some(count) = index.leased_blobs.get_mut(digest) else {
                continue;
            };
            *count -= 1;
            if *count > 0 {
                continue;
            }
            index.leased_blobs.remove(digest);
            index.arrived.remove(digest);
            // Its image was removed meanwhile, or was not recorded.
            if self.shared.content.contains(digest)
                && !index.has_blob(digest)
                && let Err(error) = self.shared.content.remove(digest)
            {
                tracing::warn!(%error, "a blob is left to the next start");
            }
        }
    }
}
