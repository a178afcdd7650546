//! `GET /distribution/{name}/json`: what a registry has under a name.

use bytes::BytesMut;
use conex_api_types as api;
use conex_reference::{AnyReference, Reference};
use conex_registry::{
    Descriptor, FetchedManifest, HttpRegistry, Manifest, ManifestError, Registry, RegistryError, manifest,
};
use futures_util::StreamExt;
use serde::Deserialize;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::images::{credentials, invalid};

/// Largest configuration that is read.
const LARGEST_CONFIG: u64 = 8 << 20;

/// As much of a manifest or an index as is told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    platform: Option<api::Platform>,
}

impl Engine {
    /// The descriptor and the platforms of what a registry has under a name.
    ///
    /// # Errors
    /// 400 for a name that is none, 401 and 403 where the registry wants to know more of who asks, 404 where it has nothing.
    pub async fn distribution(&self, name: &str, auth: Option<&str>) -> Result<api::DistributionInspect> {
        let reference = match AnyReference::parse(name).map_err(invalid)? {
            AnyReference::Named(reference) => reference.with_default_tag(),
            AnyReference::Id(_) => return Err(invalid("no manifest found for full image ID")),
        };
        let registry = self.inner.registries.registry(credentials(auth));
        let fetched = registry.look_up(&reference).await.map_err(told)?;
        let parsed = manifest::parse(&fetched.media_type, &fetched.bytes);
        let parsed = parsed.map_err(|error| {
            let kind = match error {
                ManifestError::Schema1 { .. } => ErrorKind::InvalidParameter,
                _ => ErrorKind::System,
            };
            Error::new(kind, error.naming(&reference).to_string())
        })?;
        let document: Document = serde_json::from_slice(&fetched.bytes)
            .map_err(|error| Error::new(ErrorKind::System, format!("invalid manifest: {error}")))?;
        let platforms: Vec<api::Platform> = match &parsed {
            Manifest::Index(_) => {
                let entries = document.manifests.into_iter();
                entries.map(|entry| entry.platform.unwrap_or_default()).collect()
            }
            Manifest::Image { config, .. } => built_for(&registry, &reference, config).await.into_iter().collect(),
        };
        Ok(api::DistributionInspect {
            descriptor: descriptor(fetched, document.media_type),
            platforms: Some(platforms).filter(|platforms| !platforms.is_empty()),
        })
    }
}

fn descriptor(fetched: FetchedManifest, own_type: String) -> api::Descriptor {
    api::Descriptor {
        media_type: if own_type.is_empty() {
            fetched.media_type
        } else {
            own_type
        },
        digest: fetched.digest.to_string(),
        size: fetched.bytes.len() as u64,
    }
}

/// What the configuration says; nothing where it cannot be read, which is no reason to keep the descriptor back.
async fn built_for(registry: &HttpRegistry, reference: &Reference, config: &Descriptor) -> Option<api::Platform> {
    if config.size > LARGEST_CONFIG {
        return None;
    }
    let mut stream = registry.blob(reference, config, 0).await.ok()?.stream;
    let mut bytes = BytesMut::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.ok()?);
    }
    let platform: api::Platform = serde_json::from_slice(&bytes).ok()?;
    (!platform.os.is_empty() || !platform.architecture.is_empty()).then_some(platform)
}

/// What a registry said, as an answer of ours.
fn told(error: RegistryError) -> Error {
    let kind = match error.kind() {
        _ if matches!(error, RegistryError::AccessDenied { .. }) => ErrorKind::Forbidden,
        conex_registry::ErrorKind::NotFound => ErrorKind::NotFound,
        conex_registry::ErrorKind::Unauthorized => ErrorKind::Unauthorized,
        _ => ErrorKind::System,
    };
    let words = match &error {
        RegistryError::NoCredentials { .. } => error.to_string(),
        _ => error.plain(),
    };
    Error::new(kind, words).caused_by(error)
}
