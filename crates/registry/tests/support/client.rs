//! A client with short limits, and the image that it pulls.

#![allow(dead_code, reason = "no test needs all of it")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

use conex_reference::{Digest, Reference};
use conex_registry::{
    Client, ClientConfig, Credentials, Descriptor, HttpRegistry, Limits, Registry as _, RegistryError,
};
use futures_util::StreamExt as _;

use crate::registries::faulty::Faulty;
use crate::registries::image::{Content, Image};

/// The one layer of the image.
pub(crate) const LAYER: &[u8] = &[7; 100_000];

pub(crate) fn config() -> ClientConfig {
    let limits = Limits {
        stall: Duration::from_millis(300),
        response: Duration::from_secs(2),
        connect: Duration::from_secs(2),
        attempts: 3,
        pause: Duration::from_millis(5),
        ..Limits::default()
    };
    ClientConfig {
        limits,
        user_agent: "conex/test".to_owned(),
        ..ClientConfig::default()
    }
}

pub(crate) fn anonymous() -> HttpRegistry {
    Client::new(config()).unwrap().registry(Credentials::default())
}

pub(crate) fn account(username: &str, password: &str) -> Credentials {
    Credentials {
        username: username.to_owned(),
        password: password.to_owned(),
        ..Credentials::default()
    }
}

pub(crate) fn reference(faulty: &Faulty, rest: &str) -> Reference {
    Reference::parse(&format!("{}/{rest}", faulty.domain())).unwrap()
}

pub(crate) fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: String::new(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}

/// A registry with `a:latest`, whose only layer is `LAYER`.
pub(crate) fn with_image() -> (Faulty, Content, Reference) {
    let faulty = Faulty::start();
    let manifest = faulty.add("a", "latest", &Image::of_layers(&[LAYER]));
    let reference = reference(&faulty, "a:latest");
    (faulty, manifest, reference)
}

pub(crate) async fn read(
    registry: &HttpRegistry,
    reference: &Reference,
    offset: u64,
) -> Result<Vec<u8>, RegistryError> {
    let blob = registry.blob(reference, &descriptor(LAYER), offset).await?;
    assert_eq!(blob.size, LAYER.len() as u64);
    let mut stream = blob.stream;
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all)
}
