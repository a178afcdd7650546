//! `docker push`: an image's layers, configuration and manifest to a registry.
//!
//! ```text
//!   per layer, several at a time:
//!
//!   the repository has it? --no--> mount it from a neighbour? --no--> the blob by which it came: kept, or at its origin?
//!     "Layer already exists"         "Mounted from ..."                 |yes                |no
//!                                                                       v                   v
//!                                                         upload "Pushed"     skeleton + files --tar--> gzip --> upload
//!
//!   all layers there -> configuration -> manifest under the tag -> name@digest is a name of the image here too
//!   (of several images under one name: each manifest by its digest, then their index under the tag)
//! ```
//!
//! What registries have of a layer is remembered (`origins`): a layer that came from a registry is not sent back to it, and
//! is asked of it again for another one. An image whose layers all stay what they were keeps its manifest, hence its digest.
//! A layer whose blob nobody has any more is compressed while it is sent, and the registry learns its digest at the end; that
//! it is another one is told.

mod layer;
mod manifest;
mod source;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use conex_metadata::Changes;
use conex_reference::{Digest, Platform, Reference};
use conex_registry::{Client, Credentials, Descriptor, Destination};
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use crate::error::{PushError, SaveError};
use crate::image::Image;
use crate::images::Images;
use crate::index::{Index, Stored};
use crate::layers::tell;
use crate::layout::layers_of;
use crate::lease::{BlobLease, LayerLease};
use crate::names::{self, Meaning};
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
    /// Which of several images under the name; all of them where it is not said.
    pub platform: Option<Platform>,
}

/// A tag that is to be pushed.
struct Tagged {
    tag: String,
    /// Its name here, in its complete form.
    name: String,
    /// The images to be pushed, and what they came by.
    meaning: Meaning,
}

/// One push.
struct Push {
    images: Images,
    registries: Client,
    /// For the registry that is pushed to, and no other.
    credentials: Credentials,
    destination: Destination,
    sink: ProgressSink,
    slots: Semaphore,
    /// Registries that did not give a blob in time, or refused.
    silent: Mutex<HashSet<String>>,
    /// Layers that the repository is known to have by now, by diff id.
    placed: Mutex<HashMap<String, Descriptor>>,
}

/// An image whose layers stay while it is pushed.
struct Held {
    image: Arc<Image>,
    /// The manifest that it came by.
    manifest: Option<Vec<u8>>,
    _lease: LayerLease,
    _blobs: BlobLease,
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
        let tags = tags(&self.shared.index(), &request)?;
        let credentials = request.credentials;
        let destination = request.registries.destination(credentials.clone(), &repository).await?;
        let push = Push {
            images: self.clone(),
            registries: request.registries,
            credentials,
            destination,
            sink,
            slots: Semaphore::new(self.shared.settings.concurrent_uploads),
            silent: Mutex::default(),
            placed: Mutex::default(),
        };
        for tagged in tags {
            push.tag(&tagged).await?;
        }
        Ok(())
    }

    /// Gives what was pushed the name by which the registry has it, as far as it is still here, and keeps the index.
    async fn record_pushed(&self, pushed: Tagged, by_digest: String, index: Option<Bytes>) -> Result<(), PushError> {
        let images = self.clone();
        // A caller that goes away must not part memory from disk.
        let recording = tokio::spawn(async move {
            let _changes = images.shared.changes.lock().await;
            let (meaning, tagged) = {
                let index = images.shared.index();
                let mut meaning = pushed.meaning;
                meaning.images.retain(|id| index.images.contains_key(id));
                let is_same = |known: &&Meaning| known.images == meaning.images;
                let tagged = index.names.get(&pushed.name).filter(is_same).map(|_| pushed.name);
                (meaning, tagged)
            };
            if meaning.images.is_empty() {
                return Ok(());
            }
            if let Some(bytes) = index {
                images.shared.content.put(&bytes)?;
            }
            let names = || std::iter::once(&by_digest).chain(&tagged);
            let change = |changes, name: &String| names::change(changes, name, &meaning);
            images
                .shared
                .metadata
                .commit(names().fold(Changes::new(), change))
                .await?;
            let mut index = images.shared.index();
            let meanings = names().map(|name| (name.clone(), meaning.clone())).collect();
            images.name(&mut index, meanings);
            Ok(())
        });
        recording.await.map_err(|_| PushError::CutOff)?
    }
}

/// The tags that are meant, with their images.
fn tags(index: &Index, request: &PushRequest) -> Result<Vec<Tagged>, PushError> {
    let reference = &request.reference;
    let names = index.names.iter().filter_map(|(name, meaning)| {
        let name = Reference::parse(name).ok()?;
        (name.name() == reference.name()).then_some((name, meaning))
    });
    let names: Vec<(Reference, &Meaning)> = names.collect();
    if names.is_empty() {
        return Err(PushError::NoImage(reference.familiar_name()));
    }
    if reference.digest().is_some() {
        return Err(PushError::Digest);
    }
    let tags = names.iter().filter(|(name, _)| name.digest().is_none());
    let wanted = tags.filter(|(name, _)| reference.is_name_only() || name.tag() == reference.tag());
    let tagged = |(name, meaning): &(Reference, &Meaning)| {
        let images = match &request.platform {
            None => meaning.images.clone(),
            Some(platform) => vec![index.suited(meaning, platform)?.clone()],
        };
        Some(Tagged {
            tag: name.tag_or_digest(),
            name: name.to_string(),
            meaning: Meaning {
                target: meaning.target,
                images,
            },
        })
    };
    let wanted: Vec<Tagged> = wanted.filter_map(tagged).collect();
    match (wanted.is_empty(), reference.is_name_only()) {
        (false, _) => Ok(wanted),
        (true, true) => Err(PushError::NoTags(reference.familiar_name())),
        (true, false) => Err(PushError::NoTag(reference.familiar())),
    }
}

impl Push {
    /// An image under its tag, or several by their digests and their index under the tag.
    async fn tag(&self, tagged: &Tagged) -> Result<(), PushError> {
        if let [id] = tagged.meaning.images.as_slice() {
            let made = self.image(id).await?;
            return self.conclude(tagged, made, None).await;
        }
        let mut parts = Vec::new();
        for id in &tagged.meaning.images {
            let made = self.image(id).await?;
            let digest = Digest::of(&made.bytes).to_string();
            let bytes = Bytes::from(made.bytes.clone());
            self.destination.put_manifest(&digest, &made.media_type, bytes).await?;
            let image = self.images.shared.index().image(id);
            parts.push((made, image.map(|image| image.config.platform())));
        }
        parts.sort_by_cached_key(|(_, platform)| platform.as_ref().map(ToString::to_string));
        let content = &self.images.shared.content;
        let own = tagged.meaning.target.filter(|target| content.contains(target));
        let own = own.map(|target| content.read(&target)).transpose()?;
        let index = Made::index(own.as_deref(), &parts);
        let bytes = Bytes::from(index.bytes.clone());
        self.conclude(tagged, index, Some(bytes)).await
    }

    /// Sends what an image is made of, and makes its manifest.
    async fn image(&self, id: &str) -> Result<Made, PushError> {
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
                own: own.map(|own| own[at].clone()),
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
        Ok(made)
    }

    /// The last step: the manifest or index under its tag.
    async fn conclude(&self, tagged: &Tagged, made: Made, index: Option<Bytes>) -> Result<(), PushError> {
        let digest = Digest::of(&made.bytes);
        let tag = tagged.tag.as_str();
        let pushed = PushedTag {
            tag: tag.to_owned(),
            digest: digest.to_string(),
            size: made.bytes.len(),
        };
        let bytes = Bytes::from(made.bytes);
        self.destination.put_manifest(tag, &made.media_type, bytes).await?;
        let name = self.destination.repository().clone().with_digest(digest);
        let recorded = Tagged {
            tag: tag.to_owned(),
            name: tagged.name.clone(),
            meaning: Meaning {
                target: Some(digest),
                images: tagged.meaning.images.clone(),
            },
        };
        self.images.record_pushed(recorded, name.to_string(), index).await?;
        for status in [Status::TagPushed(pushed.clone()), Status::PushResult(pushed)] {
            (self.sink)(Progress { id: None, status });
        }
        Ok(())
    }

    async fn hold(&self, id: &str) -> Result<Held, PushError> {
        let shared = &self.images.shared;
        let uses = shared.uses.read().await;
        let (image, manifest, lease, blobs) = {
            let mut index = shared.index();
            let gone = || PushError::NoImage(self.destination.repository().familiar_name());
            let image = index.image(id).ok_or_else(gone)?;
            let Stored { record, blobs, .. } = index.images.get(id).ok_or_else(gone)?;
            let (keys, manifest) = (record.layers.clone(), record.manifest.clone());
            let blobs = blobs.all().copied().collect();
            (image, manifest, LayerLease::new(shared, &mut index, keys), blobs)
        };
        let blobs = BlobLease::new(shared, blobs);
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
            _blobs: blobs,
        })
    }

    /// What the repository has of a layer.
    fn placed(&self, diff_id: &str) -> Option<Descriptor> {
        let placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.get(diff_id).cloned()
    }
}
