//! The files of an archive: documents are kept aside, layers are unpacked already.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use conex_content::Aside;
use conex_reference::Digest;

use crate::arrived::Arrived;
use crate::error::{LoadError, PullError};
use crate::held::Held;

/// Largest JSON file of an archive that is parsed.
const LARGEST_JSON: u64 = 8 << 20;

/// The files of an archive.
#[derive(Default)]
pub(super) struct Files {
    by_path: HashMap<String, Member>,
    /// Symbolic links: old archives share layers by them.
    links: HashMap<String, String>,
    /// Layers that were here when they came.
    held: Vec<Held>,
}

/// A file of an archive.
pub(super) struct Member {
    /// Of its bytes; nothing where a layer broke off before it was known.
    pub(super) digest: Option<Digest>,
    /// Bytes.
    pub(super) size: u64,
    /// Its bytes, where they were kept.
    pub(super) aside: Option<Arc<Aside>>,
    /// What was unpacked of it.
    pub(super) layer: Option<Arc<Arrived>>,
}

impl Member {
    /// A file whose bytes are kept.
    pub(super) fn aside(aside: Aside) -> Self {
        Self {
            digest: Some(*aside.digest()),
            size: aside.size(),
            aside: Some(Arc::new(aside)),
            layer: None,
        }
    }
}

impl Files {
    pub(super) fn insert(&mut self, path: String, member: Member) {
        self.by_path.insert(path, member);
    }

    pub(super) fn link(&mut self, path: String, target: String) {
        self.links.insert(path, target);
    }

    /// Holds a layer that need not be unpacked as long as these files are there.
    pub(super) fn hold(&mut self, layer: Held) {
        self.held.push(layer);
    }

    /// Files and links.
    pub(super) fn len(&self) -> usize {
        self.by_path.len() + self.links.len()
    }

    /// Whether there is a file of this path.
    pub(super) fn contains(&self, path: &str) -> bool {
        self.by_path.contains_key(self.followed(path))
    }

    /// A file, which has to be what its name says where that is a digest.
    pub(super) fn find(&self, path: &str) -> Result<&Member, LoadError> {
        let path = self.followed(path);
        let missing = || LoadError::Missing { path: path.to_owned() };
        let member = self.by_path.get(path).ok_or_else(missing)?;
        match (promised(path), member.digest) {
            (Some(promised), Some(actual)) if promised != actual => Err(LoadError::Digest {
                path: path.to_owned(),
                actual,
            }),
            _ => Ok(member),
        }
    }

    /// Tells the layers in how many chains they are.
    pub(super) fn expect<'a>(&self, layers: impl Iterator<Item = (&'a String, String)>, binds_always: bool) {
        let mut chains: HashMap<&str, HashSet<String>> = HashMap::new();
        for (path, chain) in layers {
            chains.entry(self.followed(path)).or_default().insert(chain);
        }
        for (path, chains) in chains {
            if let Some(layer) = self.by_path.get(path).and_then(|member| member.layer.as_ref()) {
                layer.expect(chains.len(), binds_always);
            }
        }
    }

    fn followed<'a>(&'a self, path: &'a str) -> &'a str {
        self.links.get(path).map_or(path, String::as_str)
    }

    /// The bytes of a file that is parsed.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, LoadError> {
        let member = self.find(path)?;
        if member.size > LARGEST_JSON {
            return Err(LoadError::TooLarge {
                path: path.to_owned(),
                limit: LARGEST_JSON,
            });
        }
        match &member.aside {
            Some(aside) => Ok(aside.read().map_err(PullError::from)?),
            None => Err(LoadError::NoDocument { path: path.to_owned() }),
        }
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, LoadError> {
        serde_json::from_slice(&self.read(path)?).map_err(|source| LoadError::Format {
            path: path.to_owned(),
            source,
        })
    }
}

/// The digest that a file of this name must have: that of a blob of an OCI layout, and of a configuration as `docker save`
/// writes it.
pub(super) fn promised(path: &str) -> Option<Digest> {
    let hex = match path.strip_prefix("blobs/sha256/") {
        Some(hex) => hex,
        None => path.strip_suffix(".json")?,
    };
    Digest::parse(&format!("sha256:{hex}")).ok()
}

/// Where an OCI layout has a blob.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
