//! Bundles on disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oci_spec::runtime::Spec;

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

/// Parses a specification.
pub(crate) fn parse(text: &str) -> Result<Spec> {
    Ok(serde_json::from_str(text)?)
}
