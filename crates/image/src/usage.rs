//! The disk that images take.

use std::collections::HashMap;

use crate::images::Images;
use crate::index::{Index, Stored};

/// What all images take together, and what each of them shares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all layers, each counted once.
    pub layers: u64,
    /// By the image's id: bytes of those of its layers that another image has too.
    pub shared: HashMap<String, u64>,
}

/// What lies in the stores, by its name there, and who has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Images of a layer, by its directory.
    pub layers: HashMap<String, Vec<String>>,
    /// Blobs, by digest (`sha256:...`).
    pub blobs: HashMap<String, BlobPlace>,
}

/// A blob that images have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobPlace {
    /// `configuration`, `manifest` or `compressed layer`.
    pub kind: &'static str,
    /// The images.
    pub images: Vec<String>,
}

impl Places {
    fn add(&mut self, index: &Index, id: &str, stored: &Stored) {
        let image = index.called(id);
        for record in stored.record.layers.iter().filter_map(|key| index.layers.get(key)) {
            let images = self.layers.entry(record.name.clone()).or_default();
            images.push(image.clone());
        }
        let documents = stored.blobs.documents.iter().map(|digest| {
            let digest = digest.to_string();
            let kind = if digest == id { "configuration" } else { "manifest" };
            (digest, kind)
        });
        let layers = stored.blobs.layers.iter();
        let layers = layers.map(|(digest, _)| (digest.to_string(), "compressed layer"));
        for (digest, kind) in documents.chain(layers) {
            let images = Vec::new();
            let place = self.blobs.entry(digest).or_insert(BlobPlace { kind, images });
            place.images.push(image.clone());
        }
    }
}

impl Images {
    /// What images have in the stores.
    #[must_use]
    pub fn places(&self) -> Places {
        let index = self.shared.index();
        let mut places = Places::default();
        for (id, stored) in index.holders() {
            places.add(&index, id, stored);
        }
        for (name, meaning) in index.names.iter() {
            let Some(target) = meaning.target else { continue };
            let place = BlobPlace {
                kind: "manifest",
                images: Vec::new(),
            };
            let place = places.blobs.entry(target.to_string()).or_insert(place);
            if place.images.is_empty() {
                place.images.push(name.clone());
            }
        }
        places
    }

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
