//! Archives of images, whole and broken, as `load` takes them.

use conex_tests::{hex, layer_of};
use serde_json::{Value, json};

/// An image as an archive has it.
#[derive(Clone)]
pub(crate) struct Saved {
    names: Vec<&'static str>,
    config: Vec<u8>,
    layers: Vec<Vec<u8>>,
}

impl Saved {
    /// An image of uncompressed layers, lowest first, with these fields of a configuration.
    pub(crate) fn new(names: &[&'static str], mut fields: Value, layers: &[Vec<u8>]) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
        fields["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        Self {
            names: names.to_vec(),
            config: fields.to_string().into_bytes(),
            layers: layers.to_vec(),
        }
    }

    /// Its configuration.
    pub(crate) fn config(&self) -> Vec<u8> {
        self.config.clone()
    }

    /// Its id, `sha256:...`.
    pub(crate) fn id(&self) -> String {
        format!("sha256:{}", hex(&self.config))
    }

    /// The names of its files, and their contents.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let layers = self
            .layers
            .iter()
            .map(|layer| (format!("{}.tar", hex(layer)), layer.clone()));
        let config = (format!("{}.json", hex(&self.config)), self.config.clone());
        layers.chain([config]).collect()
    }

    /// Its part of `manifest.json`.
    pub(crate) fn entry(&self) -> Value {
        let layers: Vec<String> = self.layers.iter().map(|layer| format!("{}.tar", hex(layer))).collect();
        json!({"Config": format!("{}.json", hex(&self.config)), "RepoTags": self.names, "Layers": layers})
    }
}

/// The archive of these images, as `docker save` wrote them before there were OCI layouts.
pub(crate) fn archive(images: &[&Saved]) -> Vec<u8> {
    let entries: Vec<Value> = images.iter().map(|image| image.entry()).collect();
    with_manifest(images, Value::from(entries).to_string().as_bytes())
}

/// The files of these images beside another `manifest.json`.
pub(crate) fn with_manifest(images: &[&Saved], manifest: &[u8]) -> Vec<u8> {
    let mut files: Vec<(String, Vec<u8>)> = images.iter().flat_map(|image| image.files()).collect();
    files.push(("manifest.json".to_owned(), manifest.to_vec()));
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    layer_of(&files)
}

/// A layer of one file.
pub(crate) fn layer(name: &str, content: &str) -> Vec<u8> {
    layer_of(&[(name, content.as_bytes())])
}
