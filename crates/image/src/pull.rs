//! Pulling an image from a registry.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conex_reference::{Platform, Reference};
use conex_registry::Registry;

use crate::image::Image;
use bytes::BytesMut;
use conex_metadata::{Changes, Table};
use conex_reference::Digest;
use conex_registry::{Descriptor, FetchedManifest, Manifest, Quota, manifest};
use futures_util::{StreamExt, TryStreamExt};

use crate::config::ImageConfig;
use crate::error::{LayerError, PullError};
use crate::held::Held;
use crate::images::{Images, Keep};
use crate::index::Stored;
use crate::judge::{check_type, parse_manifest};
use crate::layers::{Source, Wanted};
use crate::lease::BlobLease;
use crate::names;
use crate::progress::{Progress, ProgressSink, Status};
use crate::records::{ImageRecord, Origin};
use crate::tag::encode;

/// What to pull and from where.
#[derive(Clone)]
pub struct PullRequest {
    /// The registry that the reference names, with the client's credentials.
    pub registry: Arc<dyn Registry>,
    /// With a tag or a digest.
    pub reference: Reference,
    /// Which image of an index.
    pub platform: Platform,
}

/// What a pull came to.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: Arc<Image>,
    /// Digest of the manifest or index that the reference names (`sha256:...`).
    pub digest: String,
    /// Whether the store had it under this name already.
    pub up_to_date: bool,
}

/// Indexes within indexes that are followed.
const DEEPEST: usize = 3;

/// After this the kernel writes files to the disk by itself (`dirty_expire_centisecs` of proc(5)). What came of a transfer
/// that took less time is discarded before the layers are synced, and need not be written then: it would come again as fast.
const WRITTEN_BACK: Duration = Duration::from_secs(30);

/// Largest configuration that is read.
const LARGEST_CONFIG: u64 = 8 << 20;

impl Images {
    /// Pulls an image. It is on disk, with its name, when this returns.
    pub async fn pull(&self, request: PullRequest, sink: ProgressSink) -> Result<Pulled, PullError> {
        let reference = &request.reference;
        let named = request.registry.manifest(reference).await?;
        let path = reference.path().to_owned();
        sink(Progress {
            id: Some(reference.tag_or_digest()),
            status: Status::PullingFrom(path),
        });
        let digest = named.digest;
        let top = named.bytes.clone();
        let (image_manifest, config, layers) = choose(&request, named).await?;
        let (config_bytes, parsed) = fetch_config(&request, &config).await?;
        let diff_ids = diff_ids(&parsed, &config, layers.len())?;
        let id = config.digest.to_string();
        let names = given(reference, digest);
        let origins = origins(reference, &layers, &diff_ids);
        let was_known = self.has(&id, &names, digest);
        let blobs: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
        let lease = BlobLease::new(&self.shared, blobs.clone());
        let wanted = layers
            .into_iter()
            .zip(diff_ids)
            .map(|(layer, diff_id)| wanted(&request, layer, diff_id))
            .collect();
        let held = self.fetch(wanted, &lease, &self.sink_of_layers(&id, &sink)).await?;
        // It may have been removed meanwhile, or a layer of it was lost.
        let known = was_known && self.has(&id, &names, digest) && held.iter().all(|layer| !layer.is_fresh);
        if known {
            self.keep_arrived(&blobs).await?;
        } else {
            let image = NewImage {
                id: id.clone(),
                config: parsed,
                config_bytes,
                manifest: Some(image_manifest.bytes.to_vec()),
                parent: None,
                names,
                target: Some(digest),
                index: (digest != image_manifest.digest).then(|| top.to_vec()),
                origins,
                blobs,
            };
            self.record(image, held).await?;
        }
        self.forget_transfers(&lease).await;
        warn_of_limit(&request, &sink);
        conclude(&sink, reference, digest, known);
        let image = self.shared.index().image(&id);
        let image = image.ok_or(PullError::Layer(LayerError::CutOff))?;
        Ok(Pulled {
            image,
            digest: digest.to_string(),
            up_to_date: known,
        })
    }

    /// Where the layers of an image are told of: an image that is here is not told of layer by layer.
    fn sink_of_layers(&self, id: &str, sink: &ProgressSink) -> ProgressSink {
        if self.shared.index().images.contains_key(id) {
            Arc::new(|_| ())
        } else {
            sink.clone()
        }
    }

    /// Brings the layers of these blobs in. What comes of the blobs is kept as long as it may be of use.
    async fn fetch(&self, wanted: Vec<Wanted>, blobs: &BlobLease, sink: &ProgressSink) -> Result<Vec<Held>, PullError> {
        let begun = Instant::now();
        let brought_in = self.bring_in(wanted, sink).await;
        let is_of_use = match &brought_in {
            Ok(_) => self.shared.settings.keep == Keep::Always || begun.elapsed() >= WRITTEN_BACK,
            // An image that cannot be had leaves nothing, least of all on a full disk.
            Err(error) => error.is_of_transfer(),
        };
        if !is_of_use {
            self.forget_transfers(blobs).await;
        }
        brought_in
    }

    async fn sync(&self) -> Result<(), PullError> {
        let snapshots = self.shared.snapshots.clone();
        conex_sys::failpoint::hit("image.before-sync");
        on_blocking(move || Ok(snapshots.sync()?)).await?;
        conex_sys::failpoint::hit("image.synced");
        Ok(())
    }

    /// Those of these blobs that arrived and are not published yet.
    fn arrived(&self, blobs: &[Digest]) -> Vec<Digest> {
        let index = self.shared.index();
        let arrived: BTreeSet<&Digest> = blobs.iter().filter(|blob| index.arrived.contains(*blob)).collect();
        arrived.into_iter().copied().collect()
    }

    /// Keeps the blobs of an image that is recorded already.
    pub(crate) async fn keep_arrived(&self, blobs: &[Digest]) -> Result<(), PullError> {
        let arrived = self.arrived(blobs);
        if arrived.is_empty() {
            return Ok(());
        }
        self.sync().await?;
        let _changes = self.shared.changes.lock().await;
        self.adopt(&arrived).await
    }

    /// Publishes blobs that arrived and are on disk. Whoever calls it holds `Shared::changes`.
    async fn adopt(&self, arrived: &[Digest]) -> Result<(), PullError> {
        // Another pull may have published some meanwhile.
        let left = self.arrived(arrived);
        if left.is_empty() {
            return Ok(());
        }
        let (content, adopted) = (self.shared.content.clone(), left.clone());
        conex_sys::failpoint::hit("blob.before-adopt");
        on_blocking(move || Ok(content.adopt_partials(&adopted)?)).await?;
        conex_sys::failpoint::hit("blob.adopted");
        let mut index = self.shared.index();
        index.arrived.retain(|digest| !left.contains(digest));
        Ok(())
    }

    /// Discards what came of blobs, unless another pull has them too.
    pub(crate) async fn forget_transfers(&self, lease: &BlobLease) {
        let (content, blobs) = (self.shared.content.clone(), lease.own());
        let discarded = on_blocking(move || {
            blobs.iter().try_for_each(|blob| content.discard_partial(blob))?;
            Ok(())
        });
        // What stays is discarded by a later pull or prune.
        if let Err(error) = discarded.await {
            tracing::warn!(%error, "discard what came of layers");
        }
    }

    /// Discards what came of blobs whose transfers broke off, and whose bytes nobody is fetching; how many bytes that was.
    pub async fn forget_broken_transfers(&self) -> Result<u64, PullError> {
        let content = self.shared.content.clone();
        on_blocking(move || Ok(content.discard_partials()?)).await
    }

    /// Whether the image is there under all these names, by this manifest or index.
    fn has(&self, id: &String, names: &[String], target: Digest) -> bool {
        let index = self.shared.index();
        let means_it = |name: &String| {
            let meaning = index.names.get(name);
            meaning.is_some_and(|meaning| meaning.target == Some(target) && meaning.images.contains(id))
        };
        index.images.contains_key(id) && names.iter().all(means_it)
    }

    /// Makes an image durable: files first, then one transaction.
    pub(crate) async fn record(&self, image: NewImage, held: Vec<Held>) -> Result<(), PullError> {
        let images = self.clone();
        // A caller that goes away must not part memory from disk.
        let recording = tokio::spawn(async move { images.publish(image, &held).await });
        recording.await.map_err(|_| LayerError::CutOff)?
    }

    async fn publish(&self, image: NewImage, held: &[Held]) -> Result<(), PullError> {
        let fresh = held
            .iter()
            .filter(|layer| layer.is_fresh && !self.shared.has_in_place(layer));
        let fresh: Vec<&Held> = fresh.collect();
        let _made = self.keep_made_layers(&image, held).await?;
        let arrived = self.arrived(&image.blobs);
        if !fresh.is_empty() || !arrived.is_empty() {
            self.sync().await?;
        }
        // From here on no removal of the same image takes the blobs away.
        let _changes = self.shared.changes.lock().await;
        self.adopt(&arrived).await?;
        let documents = self.put_documents(&image, held).await?;
        let keys = held.iter().map(|layer| layer.key.clone()).collect();
        // An image that is here already stays what was made upon another.
        let known = self
            .shared
            .index()
            .images
            .get(&image.id)
            .and_then(|stored| stored.record.parent.clone());
        let record = ImageRecord {
            layout: documents.layout,
            ..ImageRecord::new(keys, documents.manifest, image.parent.or(known))
        };
        let mut changes = Changes::new().put(Table::Images, image.id.as_str(), encode(&record));
        for layer in &fresh {
            changes = changes.put(Table::Layers, layer.key.as_str(), encode(&layer.record));
        }
        let meanings = self.meanings(&image.names, image.target, &image.id, &image.config.platform());
        for (name, meaning) in &meanings {
            changes = names::change(changes, name, meaning);
        }
        let origins = self.with_origins(image.origins);
        for (diff_id, record) in &origins {
            changes = changes.put(Table::Origins, diff_id.as_str(), encode(record));
        }
        conex_sys::failpoint::hit("image.before-record");
        self.shared.metadata.commit(changes).await?;
        conex_sys::failpoint::hit("image.recorded");
        let mut index = self.shared.index();
        index.origins.extend(origins);
        for layer in &fresh {
            let old = index.layers.insert(layer.key.clone(), layer.record.clone());
            self.shared.forget_lost(old, &layer.record);
        }
        self.name(&mut index, meanings);
        index.retained.remove(&image.id);
        index.damaged.remove(&image.id);
        index.images.insert(
            image.id,
            Stored {
                record,
                config: Arc::new(image.config),
                blobs: Arc::new(documents.blobs),
            },
        );
        drop(index);
        self.shared.layout.changed();
        Ok(())
    }
}

async fn on_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LayerError::CutOff)?
}

/// Tells how much may still be pulled, where that is little.
fn warn_of_limit(request: &PullRequest, sink: &ProgressSink) {
    if let Some(quota) = request.registry.quota().filter(Quota::is_low) {
        let status = Status::LowQuota(quota);
        sink(Progress { id: None, status });
    }
}

/// The last lines of a pull.
fn conclude(sink: &ProgressSink, reference: &Reference, digest: Digest, known: bool) {
    sink(Progress {
        id: None,
        status: Status::Digest(digest.to_string()),
    });
    let familiar = reference.familiar();
    let status = if known {
        Status::UpToDate(familiar)
    } else {
        Status::DownloadedNewer(familiar)
    };
    sink(Progress { id: None, status });
}

/// An image that is ready to be recorded.
pub(crate) struct NewImage {
    /// `sha256:...`.
    pub(crate) id: String,
    /// Parsed.
    pub(crate) config: ImageConfig,
    /// Byte for byte.
    pub(crate) config_bytes: Vec<u8>,
    /// Byte for byte, where there is one.
    pub(crate) manifest: Option<Vec<u8>>,
    /// The image that it was made upon here.
    pub(crate) parent: Option<String>,
    /// Complete names.
    pub(crate) names: Vec<String>,
    /// Digest of the manifest or index that the names came by.
    pub(crate) target: Option<Digest>,
    /// The index, byte for byte, where it is one.
    pub(crate) index: Option<Vec<u8>>,
    /// Where a registry has its layers, by diff id.
    pub(crate) origins: Vec<(String, Origin)>,
    /// The blobs by which its layers came.
    pub(crate) blobs: Vec<Digest>,
}

/// The names that a pull gives: the tag that was asked for, and the digest.
fn given(reference: &Reference, digest: Digest) -> Vec<String> {
    let by_digest = reference
        .clone()
        .without_tag_and_digest()
        .with_digest(digest)
        .to_string();
    if reference.digest().is_some() {
        vec![by_digest]
    } else {
        vec![reference.to_string(), by_digest]
    }
}

/// Where a later push finds the layers.
fn origins(reference: &Reference, layers: &[Descriptor], diff_ids: &[String]) -> Vec<(String, Origin)> {
    let origin = |layer: &Descriptor| Origin {
        digest: layer.digest,
        size: layer.size,
        media_type: layer.media_type.clone(),
        repository: reference.name(),
    };
    diff_ids.iter().cloned().zip(layers.iter().map(origin)).collect()
}

/// The diff ids of a configuration, one for each layer.
fn diff_ids(parsed: &ImageConfig, config: &Descriptor, layers: usize) -> Result<Vec<String>, PullError> {
    let diff_ids = parsed.rootfs.diff_ids.clone();
    if diff_ids.len() == layers && diff_ids.iter().all(|id| Digest::parse(id).is_ok()) {
        return Ok(diff_ids);
    }
    Err(PullError::Layers {
        digest: config.digest.to_string(),
        diff_ids: diff_ids.len(),
        layers,
    })
}

/// Follows indexes to the platform's image.
async fn choose(
    request: &PullRequest,
    named: FetchedManifest,
) -> Result<(FetchedManifest, Descriptor, Vec<Descriptor>), PullError> {
    let mut fetched = named;
    for _ in 0..DEEPEST {
        let parsed = parse_manifest(&fetched.media_type, &fetched.bytes, &fetched.digest);
        match parsed.map_err(|error| error.naming(&request.reference))? {
            Manifest::Image { config, layers } => return Ok((fetched, config, layers)),
            Manifest::Index(entries) => {
                let entry = manifest::select(&entries, &request.platform).map_err(PullError::Unsuitable)?;
                let reference = request
                    .reference
                    .clone()
                    .without_tag_and_digest()
                    .with_digest(entry.descriptor.digest);
                fetched = request.registry.manifest(&reference).await?;
                check_type(&entry.descriptor, &fetched.media_type)?;
                check_size(&entry.descriptor, fetched.bytes.len() as u64)?;
            }
        }
    }
    Err(PullError::Nested {
        digest: fetched.digest.to_string(),
    })
}

/// What has the right digest may still not be as long as was said.
pub(crate) fn check_size(promised: &Descriptor, actual: u64) -> Result<(), PullError> {
    if promised.size == actual {
        return Ok(());
    }
    Err(PullError::Size {
        digest: promised.digest.to_string(),
        actual,
        expected: promised.size,
    })
}

async fn fetch_config(request: &PullRequest, config: &Descriptor) -> Result<(Vec<u8>, ImageConfig), PullError> {
    let wrong = || PullError::Config {
        digest: config.digest.to_string(),
    };
    if config.size > LARGEST_CONFIG {
        return Err(wrong());
    }
    let mut bytes = read(request, config).await?;
    if Digest::of(&bytes) != config.digest {
        // It may have been changed on the way.
        bytes = read(request, config).await?;
    }
    if Digest::of(&bytes) != config.digest {
        return Err(wrong());
    }
    check_size(config, bytes.len() as u64)?;
    let parsed = serde_json::from_slice(&bytes).map_err(|source| PullError::ConfigFormat {
        digest: config.digest.to_string(),
        source,
    })?;
    Ok((bytes.to_vec(), parsed))
}

async fn read(request: &PullRequest, blob: &Descriptor) -> Result<BytesMut, PullError> {
    let mut stream = request.registry.blob(&request.reference, blob, 0).await?.stream;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

fn wanted(request: &PullRequest, layer: Descriptor, diff_id: String) -> Wanted {
    let (registry, repository) = (request.registry.clone(), request.reference.clone());
    Wanted {
        short: layer.digest.short(),
        blob: Some(layer.digest),
        size: layer.size,
        diff_id,
        local: false,
        source: Source::Blob(Box::new(move |offset| {
            let (registry, repository, layer) = (registry.clone(), repository.clone(), layer.clone());
            Box::pin(async move {
                let blob = registry.blob(&repository, &layer, offset).await?;
                Ok(blob.stream.map_err(LayerError::from).boxed())
            })
        })),
    }
}
