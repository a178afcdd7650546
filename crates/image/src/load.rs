//! `docker load`: archives of images, as `docker save` writes them, and OCI layouts.
//!
//! The order of an archive's members is anybody's, so its documents are kept aside first, where no other load sees them, and go
//! at the end. What looks like a layer is unpacked while it arrives, and is kept besides only where compressed layers are.

mod archive;
mod files;
mod saved;

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use conex_content::Aside;
use conex_reference::{Digest, Platform, Reference};
use conex_stream::ByteStream;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::config::ImageConfig;
use crate::error::{FindError, LayerError, LoadError, PullError};
use crate::held::Held;
use crate::image::Image;
use crate::images::{Images, Keep};
use crate::layers::{Source, Wanted};
use crate::lease::BlobLease;
use crate::load::archive::read_archive;
use crate::load::files::{Files, Member, blob_path};
use crate::load::saved::{Saved, saved_images};
use crate::progress::{Progress, ProgressSink, Status};
use crate::pull::NewImage;
use crate::remove::chain_ids;

impl Images {
    /// Loads all images of an archive, compressed or not, or those of one platform. They are on disk when this returns.
    pub async fn load(
        &self,
        body: ByteStream,
        platform: Option<&Platform>,
        sink: ProgressSink,
    ) -> Result<Vec<Arc<Image>>, LoadError> {
        let (chunks, feeding) = conex_stream::reader(body);
        let images = self.clone();
        let reading = tokio::task::spawn_blocking(move || read_archive(chunks, &images));
        feeding.await;
        let files = reading
            .await
            .map_err(|error| LoadError::Read(io::Error::other(error)))??;
        let mut saved = saved_images(&files)?;
        if let Some(platform) = platform {
            saved = of_platform(&files, saved, platform)?;
        }
        let planned = saved.into_iter().map(|saved| Planned::new(&files, saved));
        let planned: Vec<Planned> = planned.collect::<Result<_, _>>()?;
        let chains = planned.iter().flat_map(Planned::chains);
        files.expect(chains, self.shared.snapshots.binds_layers());
        // An archive that has something wrong with it leaves nothing of what is right.
        let mut ready = Vec::new();
        for image in planned {
            ready.push(self.prepare(&files, image, &sink).await?);
        }
        // What was kept aside need not come to the disk with what is recorded.
        drop(files);
        let mut images = Vec::new();
        for image in ready {
            images.push(self.record_ready(image, &sink).await?);
        }
        Ok(images)
    }

    /// Brings an image in up to where it is recorded.
    async fn prepare(&self, files: &Files, planned: Planned, sink: &ProgressSink) -> Result<Ready, LoadError> {
        let Planned {
            saved,
            config,
            config_bytes,
        } = planned;
        let mut wanted = Vec::new();
        for (path, diff_id) in saved.layers.iter().zip(config.rootfs.diff_ids.clone()) {
            wanted.push(match files.find(path) {
                Ok(member) => wanted_layer(member, diff_id),
                // Whoever loads the archive has it.
                Err(LoadError::Missing { .. }) => local(0, diff_id, Source::Nowhere),
                Err(error) => return Err(error),
            });
        }
        let held = self.bring_in(wanted, sink).await?;
        let kept = self.keep_loaded(files, &saved.layers).await?;
        let id = Digest::of(&config_bytes).to_string();
        // The manifest by which it was pulled says more.
        let is_known = self
            .shared
            .index()
            .images
            .get(&id)
            .is_some_and(|known| known.record.manifest.is_some());
        let blob = |digest: &Digest| -> Result<Vec<u8>, LoadError> { files.read(&blob_path(digest)) };
        let manifest = saved.manifest.filter(|_| !is_known).as_ref().map(blob);
        let index = saved.index.as_ref().map(blob);
        let names = saved.names;
        let image = NewImage {
            id,
            config,
            config_bytes,
            manifest: manifest.transpose()?,
            target: saved.index,
            index: index.transpose()?,
            parent: None,
            names: names.iter().map(ToString::to_string).collect(),
            origins: Vec::new(),
            blobs: Vec::new(),
        };
        Ok(Ready {
            image,
            held,
            names,
            _kept: kept,
        })
    }

    async fn record_ready(&self, ready: Ready, sink: &ProgressSink) -> Result<Arc<Image>, LoadError> {
        let Ready {
            image,
            held,
            names,
            _kept,
        } = ready;
        let id = image.id.clone();
        self.record(image, held).await?;
        let statuses = names.iter().map(|name| Status::LoadedName(name.familiar()));
        let nameless = names.is_empty().then(|| Status::LoadedId(id.clone()));
        for status in statuses.chain(nameless) {
            sink(Progress { id: None, status });
        }
        let image = self.shared.index().image(&id);
        image.ok_or(LoadError::Image(PullError::Layer(LayerError::CutOff)))
    }

    /// Makes blobs of the layers of an archive, where layers are kept; they stay while what is returned lives.
    async fn keep_loaded(&self, files: &Files, layers: &[String]) -> Result<Option<BlobLease>, LoadError> {
        if self.shared.settings.keep == Keep::UntilUnpacked {
            return Ok(None);
        }
        // Those that are left out are here already.
        let files: Vec<Arc<Aside>> = layers
            .iter()
            .filter_map(|path| files.find(path).ok()?.aside.clone())
            .collect();
        let lease = BlobLease::new(&self.shared, files.iter().map(|file| *file.digest()).collect());
        let content = self.shared.content.clone();
        let publishing = tokio::task::spawn_blocking(move || files.iter().try_for_each(|file| file.publish(&content)));
        let published = publishing
            .await
            .map_err(|error| LoadError::Read(io::Error::other(error)))?;
        published.map_err(PullError::from)?;
        Ok(Some(lease))
    }
}

/// An image of the archive, with its configuration.
struct Planned {
    saved: Saved,
    config: ImageConfig,
    config_bytes: Vec<u8>,
}

impl Planned {
    fn new(files: &Files, saved: Saved) -> Result<Self, LoadError> {
        let config_bytes = files.read(&saved.config)?;
        let config: ImageConfig = serde_json::from_slice(&config_bytes).map_err(|source| LoadError::Format {
            path: saved.config.clone(),
            source,
        })?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != saved.layers.len() || diff_ids.iter().any(|id| Digest::parse(id).is_err()) {
            return Err(PullError::Layers {
                digest: Digest::of(&config_bytes).to_string(),
                diff_ids: diff_ids.len(),
                layers: saved.layers.len(),
            }
            .into());
        }
        Ok(Self {
            saved,
            config,
            config_bytes,
        })
    }

    /// Paths of its layers, with the chain that ends with each.
    fn chains(&self) -> impl Iterator<Item = (&String, String)> {
        self.saved.layers.iter().zip(chain_ids(&self.config.rootfs.diff_ids))
    }
}

/// An image whose layers are in place.
struct Ready {
    image: NewImage,
    held: Vec<Held>,
    names: Vec<Reference>,
    /// Blobs of its layers, which stay until it is recorded.
    _kept: Option<BlobLease>,
}

/// The images for a platform: of those that an index leads to the one that suits it best.
fn of_platform(files: &Files, saved: Vec<Saved>, platform: &Platform) -> Result<Vec<Saved>, LoadError> {
    let mut chosen: Vec<(usize, Saved)> = Vec::new();
    let mut lacking = None;
    for image in saved {
        let config: ImageConfig = files.json(&image.config)?;
        let Some(rank) = platform.rank(&config.platform()) else {
            lacking.get_or_insert(image);
            continue;
        };
        let same = |(_, other): &&mut (usize, Saved)| image.index.is_some() && other.index == image.index;
        match chosen.iter_mut().find(same) {
            Some(other) if other.0 <= rank => {}
            Some(other) => *other = (rank, image),
            None => chosen.push((rank, image)),
        }
    }
    match lacking {
        Some(image) if chosen.is_empty() => Err(FindError::NoPlatform {
            name: image.names.first().map_or(image.config, Reference::familiar),
            wanted: platform.to_string(),
        }
        .into()),
        _ => Ok(chosen.into_iter().map(|(_, image)| image).collect()),
    }
}

/// A layer that the archive has.
fn wanted_layer(member: &Member, diff_id: String) -> Wanted {
    let source = match (&member.layer, &member.aside) {
        (Some(layer), _) => Source::Arrived(layer.clone()),
        (None, Some(file)) => {
            let file = file.clone();
            Source::Blob(Box::new(move |_| {
                let file = file.clone();
                Box::pin(async move { Ok(file_stream(move || file.open().map_err(io::Error::other))) })
            }))
        }
        // It was here when it came, and is held.
        (None, None) => Source::Nowhere,
    };
    local(member.size, diff_id, source)
}

fn local(size: u64, diff_id: String, source: Source) -> Wanted {
    Wanted {
        short: Digest::parse(&diff_id).map_or_else(|_| diff_id.clone(), |digest| digest.short()),
        blob: None,
        size,
        diff_id,
        source,
        local: true,
    }
}

/// A file as a stream, read on blocking threads.
pub(crate) fn file_stream(
    open: impl Fn() -> io::Result<File> + Clone + Send + 'static,
) -> BoxStream<'static, Result<Bytes, LayerError>> {
    let failed = |error: io::Error| {
        LayerError::Extract(conex_archive::ExtractError::Archive(conex_archive::ArchiveError::Read(
            error,
        )))
    };
    let chunks = stream::unfold(None, move |file: Option<File>| {
        let open = open.clone();
        async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut file = match file {
                    Some(file) => file,
                    None => open()?,
                };
                let mut chunk = vec![0; 128 * 1024];
                let count = file.read(&mut chunk)?;
                chunk.truncate(count);
                Ok((chunk, file))
            });
            match read.await.map_err(io::Error::other).and_then(|read| read) {
                Ok((chunk, _)) if chunk.is_empty() => None,
                Ok((chunk, file)) => Some((Ok(Bytes::from(chunk)), Some(file))),
                Err(error) => Some((Err(failed(error)), None)),
            }
        }
    });
    chunks.boxed()
}
