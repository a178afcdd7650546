//! Bundles on disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oci_spec::runtime::Spec;
use serde::de::DeserializeOwned;

/// A bundle and its specification.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute path.
    pub(crate) path: PathBuf,
    /// `config.json` as it stands there.
    pub(crate) text: String,
    /// Its meaning.
    pub(crate) spec: Spec,
}

impl Bundle {
    /// Loads a bundle.
    pub(crate) fn load(path: &Path) -> Result<Bundle> {
        let path = fs::canonicalize(path).with_context(|| format!("open bundle {}", path.display()))?;
        let file = path.join("config.json");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let spec = parse(&text).with_context(|| format!("parse {}", file.display()))?;
        Ok(Bundle { path, text, spec })
    }
}

/// Parses JSON; an error names the field, and its place by line and column.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        // Following the path costs time that only a wrong text is worth.
        let mut deserializer = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            // What is wrong comes after its end.
            Ok(_) => error.into(),
            Err(error) => error.into(),
        }
    })
}
