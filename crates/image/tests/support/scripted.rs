//! A store in a directory of its own, and a registry in memory.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conex_content::Content;
use conex_image::{Images, Keep, LayerError, PullError, PullRequest, Pulled, Settings};
use conex_metadata::{Metadata, Table};
use conex_reference::{Digest, Platform, Reference};
use conex_registry::{Blob, Descriptor, FetchedManifest, Registry, RegistryError};
use conex_snapshot::{Driver, OverlayMethod, Snapshots};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image store with what it stands upon.
pub(crate) struct Store {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) metadata: Metadata,
    pub(crate) images: Images,
    pub(crate) registry: Arc<Scripted>,
    keep: Keep,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self::keeping(Keep::UntilUnpacked)
    }

    /// A store that keeps compressed layers so long.
    pub(crate) fn keeping(keep: Keep) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metadata = Metadata::open(&dir.path().join("meta.redb")).unwrap();
        Self {
            images: open(dir.path(), &metadata, keep),
            metadata,
            dir,
            registry: Arc::default(),
            keep,
        }
    }

    /// Opens what is on disk once more, as after a restart.
    pub(crate) fn reopen(&mut self) {
        self.images = open(self.dir.path(), &self.metadata, self.keep);
    }

    pub(crate) async fn pull(&self, name: &str) -> Result<Pulled, PullError> {
        let request = PullRequest {
            registry: self.registry.clone(),
            reference: Reference::parse(name).unwrap().with_default_tag(),
            platform: Platform::of_machine("x86_64"),
        };
        self.images.pull(request, Arc::new(|_| {})).await
    }

    /// The error of a layer that cannot be pulled.
    pub(crate) async fn pull_broken(&self, name: &str) -> LayerError {
        match self.pull(name).await {
            Err(PullError::Layer(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Names of the layers' directories.
    pub(crate) fn layers(&self) -> Vec<PathBuf> {
        files(&self.dir.path().join("layers"))
    }

    /// Keys of a table on disk.
    pub(crate) fn keys(&self, table: Table) -> Vec<String> {
        self.metadata
            .load(table)
            .unwrap()
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    }

    /// Every image has all its layers.
    pub(crate) fn assert_complete(&self) {
        for image in self.images.list() {
            assert_eq!(image.layers.len(), image.config.rootfs.diff_ids.len(), "{image:?}");
            for layer in &image.layers {
                let path = self.dir.path().join("layers").join(layer.name.as_str());
                assert!(path.is_dir(), "{path:?} of {image:?}");
            }
        }
    }
}

fn open(dir: &Path, metadata: &Metadata, keep: Keep) -> Images {
    let images = Images::open(
        metadata.clone(),
        Content::open(&dir.join("content")).unwrap(),
        Snapshots::open(dir, Driver::Overlay(OverlayMethod::Detached)).unwrap(),
        Settings {
            concurrent_downloads: 1,
            keep,
            ..Settings::new(Platform::new("linux", "amd64", ""))
        },
    );
    images.unwrap()
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A registry that answers at once.
#[derive(Default)]
pub(crate) struct Scripted {
    manifests: Mutex<HashMap<String, FetchedManifest>>,
    blobs: Mutex<HashMap<String, Bytes>>,
    /// A blob that does not begin to come.
    pub(crate) stalled: Mutex<Option<Digest>>,
    /// Blobs that were asked for.
    pub(crate) asked: Mutex<Vec<Digest>>,
}

/// A layer as its manifest and configuration describe it, and the bytes that come.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) diff_id: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl Layer {
    pub(crate) fn new(archive: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(&archive),
            size: archive.len() as u64,
            diff_id: Digest::of(&archive),
            bytes: archive,
        }
    }

    /// Compressed on its way.
    pub(crate) fn gzip(archive: &[u8]) -> Self {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(archive).unwrap();
        Self {
            diff_id: Digest::of(archive),
            ..Self::new(encoder.finish().unwrap())
        }
    }
}

impl Scripted {
    /// Has an image of these layers, lowest first, under a tag.
    pub(crate) fn add(&self, name: &str, layers: &[Layer]) {
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "author": name,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string();
        let mut blobs = self.blobs.lock().unwrap();
        let descriptors: Vec<_> = layers
            .iter()
            .map(|layer| {
                blobs.insert(layer.digest.to_string(), layer.bytes.clone().into());
                serde_json::json!({
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": layer.digest.to_string(), "size": layer.size,
                })
            })
            .collect();
        let digest = Digest::of(config.as_bytes());
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": descriptors,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest.to_string(), "size": config.len(),
            },
        })
        .to_string();
        blobs.insert(digest.to_string(), config.into());
        let fetched = FetchedManifest {
            media_type: MANIFEST.to_owned(),
            digest: Digest::of(manifest.as_bytes()),
            bytes: manifest.into(),
        };
        let name = Reference::parse(name).unwrap().with_default_tag().to_string();
        self.manifests.lock().unwrap().insert(name, fetched);
    }
}

impl Registry for Scripted {
    fn manifest<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<FetchedManifest, RegistryError>> {
        let manifests = self.manifests.lock().unwrap();
        let by_digest = || {
            manifests
                .values()
                .find(|fetched| Some(fetched.digest) == reference.digest())
        };
        let manifest = manifests
            .get(&reference.to_string())
            .or_else(by_digest)
            .unwrap()
            .clone();
        async move { Ok(manifest) }.boxed()
    }

    fn blob<'a>(
        &'a self,
        _repository: &'a Reference,
        descriptor: &'a Descriptor,
        _offset: u64,
    ) -> BoxFuture<'a, Result<Blob, RegistryError>> {
        self.asked.lock().unwrap().push(descriptor.digest);
        let bytes = self.blobs.lock().unwrap()[&descriptor.digest.to_string()].clone();
        let pieces: Vec<_> = bytes
            .chunks(1000)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let blob = Blob {
            size: descriptor.size,
            stream: stream::iter(pieces).boxed(),
        };
        if *self.stalled.lock().unwrap() == Some(descriptor.digest) {
            return std::future::pending().boxed();
        }
        async move { Ok(blob) }.boxed()
    }
}

/// A member of an archive.
pub(crate) enum Member<'a> {
    File(&'a str),
    Symlink(&'a str, &'a str),
}

/// An archive, with names that tools would refuse to write.
pub(crate) fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for member in members {
        let (Member::File(name) | Member::Symlink(name, _)) = member;
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o644);
        let contents = match member {
            Member::File(name) => name.as_bytes(),
            Member::Symlink(_, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
                &[]
            }
        };
        header.set_size(contents.len() as u64);
        header.set_cksum();
        builder.append(&header, contents).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A layer with one file. With a directory in its name the directory is implied, so that the layer is bound to those
/// below it.
pub(crate) fn layer(file: &str) -> Layer {
    Layer::new(archive(&[Member::File(file)]))
}

/// Chain id of a layer upon one other chain.
pub(crate) fn chain_id(below: &str, diff_id: &Digest) -> String {
    let hash = Sha256::digest(format!("{below} {diff_id}").as_bytes());
    Digest::from_bytes(hash.into()).to_string()
}
