//! The documents of an image: its configuration, the manifest that it came by, and one for the layout where that is no OCI
//! manifest.

use conex_archive::Skeleton;
use conex_content::{Content, ContentError};
use conex_reference::Digest;
use conex_registry::Descriptor;
use conex_snapshot::{Layer, LayerName, Snapshots};

use crate::error::{LayerError, PullError, SaveError};
use crate::held::Held;
use crate::images::{Images, Keep};
use crate::index::layer;
use crate::layout::{self, Blobs};
use crate::lease::BlobLease;
use crate::pull::NewImage;

/// Documents that are on disk.
pub(crate) struct Documents {
    /// Digest of the manifest that the image came by.
    pub(crate) manifest: Option<String>,
    /// Digest of the one that was made.
    pub(crate) layout: Option<String>,
    /// All blobs of the image.
    pub(crate) blobs: Blobs,
}

/// What a manifest for the layout is made of.
pub(crate) struct Sources<'a> {
    /// The image.
    pub(crate) id: &'a str,
    /// Bytes of its configuration.
    pub(crate) config_size: u64,
    /// The manifest that it came by.
    pub(crate) manifest: Option<&'a [u8]>,
    /// The layers of the image that it was made upon here.
    pub(crate) base: Vec<Descriptor>,
    /// Diff ids and directories of all its layers, lowest first.
    pub(crate) layers: Vec<(String, Option<LayerName>)>,
}

impl Images {
    /// Writes the documents of an image.
    pub(crate) async fn put_documents(&self, image: &NewImage, held: &[Held]) -> Result<Documents, PullError> {
        let (content, snapshots) = (self.shared.content.clone(), self.shared.snapshots.clone());
        let (id, config, manifest) = (image.id.clone(), image.config_bytes.clone(), image.manifest.clone());
        let names = held.iter().map(|held| LayerName::parse(&held.record.name));
        let layers = image.config.rootfs.diff_ids.iter().cloned().zip(names).collect();
        let (base, index) = (self.base_of(image), image.index.clone());
        let putting = tokio::task::spawn_blocking(move || {
            content.put(&config)?;
            index.map(|bytes| content.put(&bytes)).transpose()?;
            let sources = Sources {
                id: &id,
                config_size: config.len() as u64,
                manifest: manifest.as_deref(),
                base,
                layers,
            };
            put(&content, &snapshots, &sources)
        });
        Ok(putting.await.map_err(|_| LayerError::CutOff)??)
    }

    fn base_of(&self, image: &NewImage) -> Vec<Descriptor> {
        let diff_ids = &image.config.rootfs.diff_ids;
        layout::base_layers(
            &self.shared.content,
            &self.shared.index(),
            image.parent.as_ref(),
            diff_ids,
        )
    }
}

/// Layers that were written as blobs stay while this lives.
type MadeLayers = Option<BlobLease>;

impl Images {
    /// Writes the layers of an image that came without a manifest as blobs, where layers are kept. Those of the image that it was
    /// made upon are blobs of that.
    pub(crate) async fn keep_made_layers(&self, image: &NewImage, held: &[Held]) -> Result<MadeLayers, PullError> {
        if self.shared.settings.keep == Keep::UntilUnpacked || image.manifest.is_some() {
            return Ok(None);
        }
        let diff_ids = image.config.rootfs.diff_ids.iter();
        let layers: Vec<(Digest, Layer)> = diff_ids
            .zip(held)
            .skip(self.base_of(image).len())
            .filter_map(|(diff_id, held)| Some((Digest::parse(diff_id).ok()?, layer(&held.record)?)))
            .collect();
        let lease = BlobLease::new(&self.shared, layers.iter().map(|(digest, _)| *digest).collect());
        let images = self.clone();
        let writing = tokio::task::spawn_blocking(move || {
            for (digest, layer) in &layers {
                match images.write_layer_blob(digest, layer) {
                    // There is no manifest either that would name it.
                    Ok(()) | Err(SaveError::NoSkeleton { .. }) => {}
                    Err(SaveError::Content(error)) => return Err(PullError::from(error)),
                    Err(error) => return Err(LayerError::Keep(Box::new(error)).into()),
                }
            }
            Ok(())
        });
        writing.await.map_err(|_| LayerError::CutOff)??;
        Ok(Some(lease))
    }

    /// Writes a layer's archive as a blob, unless it is there. Blocks.
    pub(crate) fn write_layer_blob(&self, diff_id: &Digest, layer: &Layer) -> Result<(), SaveError> {
        let content = &self.shared.content;
        if content.contains(diff_id) {
            return Ok(());
        }
        let source = self.layer_source(&diff_id.to_string(), layer)?;
        let mut ingest = content.ingest()?;
        source.write(&mut ingest)?;
        ingest.commit(Some(diff_id))?;
        Ok(())
    }
}

/// Writes the manifests of an image.
pub(crate) fn put(content: &Content, snapshots: &Snapshots, sources: &Sources<'_>) -> Result<Documents, ContentError> {
    let own = sources.manifest;
    let own_digest = own.map(|bytes| content.put(bytes)).transpose()?;
    let made = make(snapshots, sources);
    let made_digest = made.as_deref().map(|bytes| content.put(bytes)).transpose()?;
    let manifests = [own_digest.zip(own), made_digest.zip(made.as_deref())];
    let blobs = Blobs::of(sources.id, manifests.into_iter().flatten());
    let text = |digest: Digest| digest.to_string();
    Ok(Documents {
        manifest: own_digest.map(text),
        layout: made_digest.map(text),
        blobs,
    })
}

/// A manifest for the layout; `None` where the image's own is one, or where the sizes of its layers are not known because one
/// of them cannot be given back.
pub(crate) fn make(snapshots: &Snapshots, sources: &Sources<'_>) -> Option<Vec<u8>> {
    if let Some(own) = sources.manifest {
        return layout::translated(own);
    }
    let made = sources.layers.iter().skip(sources.base.len()).map(|(diff_id, name)| {
        let skeleton = snapshots.open_skeleton(name.as_ref()?).ok()?;
        let size = Skeleton::open(skeleton).ok()?.size();
        Some(layout::uncompressed(Digest::parse(diff_id).ok()?, size))
    });
    let layers: Option<Vec<Descriptor>> = sources.base.iter().cloned().map(Some).chain(made).collect();
    Some(layout::made(sources.id, sources.config_size, &layers?))
}
