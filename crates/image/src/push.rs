//! `docker push`: an image's layers, configuration and manifest to a registry.
//!
//! ```text
//!   per layer, several at a time:
//!
//!   the repository has it? --no--> mount it from a neighbour? --no--> skeleton + files --tar--> gzip --> upload
//!     "Layer already exists"         "Mounted from ..."                blocking thread            "Pushed"
//!
//!   all layers there -> configuration -> manifest under the tag -> name@digest is a name of the image here too
//! ```
//!
//! Compressed layers are not kept, so a layer is compressed while it is sent, and the registry learns its digest at the end.
//! What registries have of a layer is remembered (`origins`): a layer that came from a registry is not sent back to it,
//! and an image whose layers all stay what they were keeps its manifest, hence its digest.

mod layer;
mod manifest;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use conex_metadata::{Changes, Table};
use conex_reference::{Digest, Reference};
use conex_registry::{Client, Credentials, Descriptor, Destination, Manifest};
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use crate::error::{PushError, SaveError};
use crate::image::Image;
use crate::images::Images;
use crate::index::Index;
use crate::layers::tell;
use crate::lease::LayerLease;
use crate::progress::{Progress, ProgressSink, PushedTag, Status};
use crate::push::layer::Wanted;
use crate::push::manifest::Made;

/// What to push and where to.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// How registries are reached.
    pub registries: Client,
    /// Who pushes.
    pub credentials: Credentials,
    /// A name with a tag; without one, all tags of the repository.
    pub reference: Reference,
}

/// One push.
struct Push {
    images: Images,
    destination: Destination,
    sink: ProgressSink,
    slots: Semaphore,
    /// Layers that the repository is known to have by now, by diff id.
    placed: Mutex<HashMap<String, Descriptor>>,
}

/// An image whose layers stay while it is pushed.
struct Held {
    image: Arc<Image>,
    /// The manifest that it came by.
    manifest: Option<Vec<u8>>,
    _lease: LayerLease,
}

impl Images {
    /// Pushes an image under one name or all. What was pushed before an error stays in the registry.
    ///
    /// # Errors
    /// There is no such image or name, the registry refuses or cannot be reached, or a layer cannot be given back.
    pub async fn push(&self, request: PushRequest, sink: ProgressSink) -> Result<(), PushError> {
        let repository = request.reference.clone().without_tag_and_digest();
        let status = Status::PushingTo(repository.name());
        sink(Progress { id: None, status });
        let names = names(&self.shared.index(), &request.reference)?;
        let destination = request.registries.destination(request.credentials, &repository).await?;
        let push = Push {
            images: self.clone(),
            destination,
            sink,
            slots: Semaphore::new(self.shared.settings.concurrent_uploads),
            placed: Mutex::default(),
        };
        for (tag, id) in names {
            push.image(&tag, &id).await?;
        }
        Ok(())
    }

    /// Gives an image the name by which the registry has it, where it is still here.
    async fn record_pushed(&self, id: &str, name: String) -> Result<(), PushError> {
        let (images, id) = (self.clone(), id.to_owned());
        // A caller that goes away must not part memory from disk.
        let recording = tokio::spawn(async move {
            let _changes = images.shared.changes.lock().await;
            if !images.shared.index().images.contains_key(&id) {
                return Ok(());
            }
            let changes = Changes::new().put(Table::Tags, name.as_str(), id.as_str());
            images.shared.metadata.commit(changes).await?;
            images.shared.index().tags.insert(name, id);
            Ok(())
        });
        recording.await.map_err(|_| PushError::CutOff)?
    }
}

/// The tags that a reference means, with their images.
fn names(index: &Index, reference: &Reference) -> Result<Vec<(String, String)>, PushError> {
    let names = index.tags.iter().filter_map(|(name, id)| {
        let name = Reference::parse(name).ok()?;
        (name.name() == reference.name()).then_some((name, id))
    });
    let names: Vec<(Reference, &String)> = names.collect();
    if names.is_empty() {
        return Err(PushError::NoImage(reference.familiar_name()));
    }
    if reference.digest().is_some() {
        return Err(PushError::Digest);
    }
    let tags = names.iter().filter(|(name, _)| name.digest().is_none());
    let wanted = tags.filter(|(name, _)| reference.is_name_only() || name.tag() == reference.tag());
    let wanted: Vec<_> = wanted.map(|(name, id)| (name.tag_or_digest(), (*id).clone())).collect();
    match (wanted.is_empty(), reference.is_name_only()) {
        (false, _) => Ok(wanted),
        (true, true) => Err(PushError::NoTags(reference.familiar_name())),
        (true, false) => Err(PushError::NoTag(reference.familiar())),
    }
}

impl Push {
    async fn image(&self, tag: &str, id: &str) -> Result<(), PushError> {
        let held = self.hold(id).await?;
        let own = held.manifest.as_deref().and_then(layers_of);
        let diff_ids = &held.image.config.rootfs.diff_ids;
        let mut wanted: Vec<Wanted> = Vec::new();
        for (at, layer) in held.image.layers.iter().enumerate() {
            let at = diff_ids.len() - 1 - at;
            let own = own.as_ref().filter(|own| own.len() == diff_ids.len());
            let layer = Wanted {
                diff_id: diff_ids[at].clone(),
                layer: layer.clone(),
                size: held.image.layer_sizes[at],
                own: own.map(|own| own[at].digest),
            };
            tell(&self.sink, &layer.short(), Status::Preparing);
            if wanted.iter().all(|other| other.diff_id != layer.diff_id) {
                wanted.push(layer);
            }
        }
        try_join_all(wanted.iter().map(|layer| self.layer(layer))).await?;
        let layers: Vec<Descriptor> = diff_ids.iter().filter_map(|diff_id| self.placed(diff_id)).collect();
        let config = Bytes::from(self.images.read_config(&held.image)?);
        let made = Made::of(held.manifest.as_deref(), &config, &layers);
        self.destination.put_blob(config).await?;
        self.conclude(tag, id, made).await
    }

    /// The last step: the manifest under its tag.
    async fn conclude(&self, tag: &str, id: &str, made: Made) -> Result<(), PushError> {
        let digest = Digest::of(&made.bytes);
        let pushed = PushedTag {
            tag: tag.to_owned(),
            digest: digest.to_string(),
            size: made.bytes.len(),
        };
        let bytes = Bytes::from(made.bytes);
        self.destination.put_manifest(tag, &made.media_type, bytes).await?;
        let name = self.destination.repository().clone().with_digest(digest);
        self.images.record_pushed(id, name.to_string()).await?;
        for status in [Status::TagPushed(pushed.clone()), Status::PushResult(pushed)] {
            (self.sink)(Progress { id: None, status });
        }
        Ok(())
    }

    async fn hold(&self, id: &str) -> Result<Held, PushError> {
        let shared = &self.images.shared;
        let uses = shared.uses.read().await;
        let (image, manifest, lease) = {
            let mut index = shared.index();
            let gone = || PushError::NoImage(self.destination.repository().familiar_name());
            let image = index.image(id).ok_or_else(gone)?;
            let record = &index.images.get(id).ok_or_else(gone)?.record;
            let (keys, manifest) = (record.layers.clone(), record.manifest.clone());
            (image, manifest, LayerLease::new(shared, &mut index, keys))
        };
        let digest = manifest.and_then(|digest| Digest::parse(&digest).ok());
        let manifest = digest.map(|digest| shared.content.read(&digest)).transpose()?;
        drop(uses);
        // A layer that the store lost is told now and not by a manifest without it.
        if image.layers.len() != image.config.rootfs.diff_ids.len() {
            return Err(SaveError::CutOff.into());
        }
        Ok(Held {
            image,
            manifest,
            _lease: lease,
        })
    }

    /// What the repository has of a layer.
    fn placed(&self, diff_id: &str) -> Option<Descriptor> {
        let placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.get(diff_id).cloned()
    }
}

/// The layers of a manifest, lowest first.
fn layers_of(manifest: &[u8]) -> Option<Vec<Descriptor>> {
    match conex_registry::manifest::parse("", manifest).ok()? {
        Manifest::Image { layers, .. } => Some(layers),
        Manifest::Index(_) => None,
    }
}
