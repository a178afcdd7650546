//! Holding layers.

use std::sync::Arc;

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
