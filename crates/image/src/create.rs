//! Images that are made here, of one new layer upon those of another image, or upon none.
//!
//! ```text
//!   archive --blocks--> [ sha256 diff id | extract, skeleton ] --> layers/tmp-<n>      its digest is known at its end only:
//!                                                                  a layer of this digest that is there already is taken
//! ```
//!
//! From there on it is as with a pull: one transaction records layer, image and name.

use std::sync::Arc;

use conex_reference::{Digest, Reference};
use conex_snapshot::Staging;
use conex_stream::ByteStream;
use futures_util::StreamExt;

use crate::config::{History, ImageConfig};
use crate::error::{CreateError, LayerError};
use crate::held::Held;
use crate::image::Image;
use crate::images::Images;
use crate::index::Flight;
use crate::layers::{bind, on_blocking, stage};
use crate::pipeline::{self, Archive, Arriving, WriteArchive};
use crate::pull::NewImage;
use crate::remove::chain_ids;

/// Digest of an archive without members: 1024 zeros.
const EMPTY: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// A layer that was made here. It is given up where no image is made of it.
pub struct MadeLayer {
    held: Held,
    diff_id: String,
}

/// What an image is made upon; its layers stay while this lives.
pub struct Base {
    /// The image.
    pub image: Arc<Image>,
    layers: Vec<Held>,
}

/// An image that is to be made.
pub struct Creation {
    /// Upon this; it becomes the image's parent.
    pub base: Option<Base>,
    /// Its layer. One without members is left out where there are others.
    pub layer: MadeLayer,
    /// Its configuration; layers and history are filled in.
    pub config: ImageConfig,
    /// How the layer came about; it follows the base's own history.
    pub entry: History,
    /// The name that it gets, with a tag.
    pub name: Option<Reference>,
}

impl Images {
    /// An image to make another upon; `None` where there is none of this id.
    pub async fn base(&self, id: &str) -> Option<Base> {
        let layers = self.hold_layers_of(id).await?;
        let image = self.shared.index().image(id)?;
        Some(Base { image, layers })
    }

    /// Makes a layer upon an image of an archive while it is written, on a blocking thread.
    ///
    /// # Errors
    /// The archive cannot be written or unpacked.
    pub async fn write_layer(&self, base: &Base, write: WriteArchive) -> Result<MadeLayer, LayerError> {
        let shared = self.shared.clone();
        let (staging, root, skeleton) = on_blocking(move || stage(&shared.snapshots)).await?;
        let archive = pipeline::run_written(root, skeleton, write).await?;
        self.keep_layer(Some(&base.image), staging, archive).await
    }

    /// Makes a layer upon nothing of an archive that arrives, compressed or not; `told` is called with the number of bytes so far.
    ///
    /// # Errors
    /// The stream breaks off, or is no archive that can be unpacked.
    pub async fn read_layer(
        &self,
        mut body: ByteStream,
        told: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<MadeLayer, LayerError> {
        let shared = self.shared.clone();
        let (staging, root, skeleton) = on_blocking(move || stage(&shared.snapshots)).await?;
        let pipeline = pipeline::start(
            root,
            skeleton,
            Arriving::Unknown,
            self.shared.settings.limits,
            Arc::new(told),
        );
        while let Some(chunk) = body.next().await {
            let is_last = chunk.is_err();
            // The pipeline may have ended for a reason of its own.
            if pipeline.chunks.send(chunk).await.is_err() || is_last {
                break;
            }
        }
        drop(pipeline.chunks);
        let outcome = pipeline.outcome.await.map_err(|_| LayerError::CutOff)??;
        self.keep_layer(None, staging, outcome.archive?).await
    }

    /// Publishes a layer, unless it is there already.
    async fn keep_layer(
        &self,
        base: Option<&Arc<Image>>,
        mut staging: Staging,
        archive: Archive,
    ) -> Result<MadeLayer, LayerError> {
        conex_sys::failpoint::hit("layer.unpacked");
        let diff_id = archive.diff_id;
        // Drivers that keep whole trees need what is below.
        let base = base.filter(|_| self.shared.snapshots.binds_layers());
        let key = base.map_or_else(|| diff_id.clone(), |base| chain_id_upon(base, &diff_id));
        let below = base.map(|base| base.layers.clone()).unwrap_or_default();
        let flight = self.begin(Flight::Download(key.clone()), || {}).await;
        if let Some(held) = self.hold_layer(&[&key]).await {
            on_blocking(move || {
                drop(staging);
                Ok(())
            })
            .await?;
            return Ok(MadeLayer { held, diff_id });
        }
        let shared = self.shared.clone();
        let held = on_blocking(move || {
            if !archive.has_skeleton {
                staging.discard_skeleton()?;
            }
            // Hard links to what only layers below could have are refused where there are none.
            bind(&mut staging, &below, &archive.extracted)?;
            let held = Held::publish(shared, key, staging, &archive.extracted)?;
            drop(flight);
            Ok(held)
        })
        .await?;
        Ok(MadeLayer { held, diff_id })
    }

    /// Makes an image. It is on disk, with its name, when this returns.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub async fn create(&self, creation: Creation) -> Result<Arc<Image>, CreateError> {
        let Creation {
            base,
            layer,
            mut config,
            mut entry,
            name,
        } = creation;
        let is_empty = base.is_some() && layer.diff_id == EMPTY;
        let (parent, mut held) = match base {
            Some(base) => (Some(base.image), base.layers),
            None => (None, Vec::new()),
        };
        if let Some(parent) = &parent {
            config.rootfs.diff_ids.clone_from(&parent.config.rootfs.diff_ids);
            config.history.clone_from(&parent.config.history);
        }
        self.require_depth(held.len() + usize::from(!is_empty))?;
        "layers".clone_into(&mut config.rootfs.kind);
        entry.empty_layer = is_empty;
        config.history.push(entry);
        if !is_empty {
            config.rootfs.diff_ids.push(layer.diff_id);
            held.push(layer.held);
        }
        let config_bytes = serde_json::to_vec(&config)?;
        let id = Digest::of(&config_bytes).to_string();
        let image = NewImage {
            id: id.clone(),
            config,
            config_bytes,
            manifest: None,
            target: None,
            index: None,
            parent: parent.map(|parent| parent.id.clone()),
            origins: Vec::new(),
            blobs: Vec::new(),
            names: name.iter().map(ToString::to_string).collect(),
        };
        self.record(image, held).await?;
        let image = self.shared.index().image(&id);
        image.ok_or(CreateError::Gone(id))
    }
}

/// Chain id of a layer upon those of an image.
fn chain_id_upon(base: &Image, diff_id: &str) -> String {
    let mut diff_ids = base.config.rootfs.diff_ids.clone();
    diff_ids.push(diff_id.to_owned());
    chain_ids(&diff_ids).pop().unwrap_or_default()
}
