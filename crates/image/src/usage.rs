//! The disk that images take.

use std::collections::HashMap;

use crate::images::Images;

/// What all images take together, and what each of them shares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all layers, each counted once.
    pub layers: u64,
    /// By the image's id: bytes of those of its layers that another image has too.
    pub shared: HashMap<String, u64>,
}

impl Images {
    /// The disk that images take, from what was counted when they came in.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let index = self.shared.index();
        let mut users: HashMap<&str, usize> = HashMap::new();
        for layer in index.holders().flat_map(|(_, image)| &image.record.layers) {
            *users.entry(layer).or_default() += 1;
        }
        let size = |layer: &str| index.layers.get(layer).map_or(0, |record| record.size);
        let shared = index.images.iter().map(|(id, image)| {
            let shared = image.record.layers.iter().filter(|layer| users[layer.as_str()] > 1);
            (id.clone(), shared.map(|layer| size(layer)).sum())
        });
        Usage {
            layers: users.keys().map(|layer| size(layer)).sum(),
            shared: shared.collect(),
        }
    }
}
