//! Bringing all layers of an image in at once, and holding them until the image is recorded.

use std::sync::Arc;

use bytes::Bytes;
use conex_snapshot::{Layer, LayerName, Staging};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::BoxStream;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::error::{LayerError, PullError};
use crate::images::Images;
use crate::index::{Fresh, Shared, layer};
use crate::pipeline;
use crate::progress::{Progress, ProgressSink, Status};
use crate::records::{LayerRecord, VERSION};
use crate::remove::chain_ids;

/// Where a layer's blob comes from: asked for only when the layer is not there.
pub(crate) type OpenBlob = Box<
    dyn Fn() -> BoxFuture<'static, Result<BoxStream<'static, Result<Bytes, LayerError>>, LayerError>> + Send + Sync,
>;

/// A layer that an image needs.
pub(crate) struct Wanted {
    /// First twelve digits of the blob's digest, for progress.
    pub(crate) short: String,
    /// Digest that the blob must have; `None` where nothing promised one.
    pub(crate) blob: Option<String>,
    /// Bytes of the blob.
    pub(crate) size: u64,
    /// Digest that the archive must have.
    pub(crate) diff_id: String,
    /// Where it comes from.
    pub(crate) open: OpenBlob,
    /// Whether this is a load, whose words differ.
    pub(crate) local: bool,
}

/// Layers that are held for an image; given up when dropped before they were recorded.
pub(crate) struct Held {
    shared: Arc<Shared>,
    /// Keys, lowest first.
    pub(crate) keys: Vec<String>,
    /// Those of them that are not recorded yet.
    pub(crate) fresh: Vec<(String, LayerRecord)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut index = self.shared.index();
        for key in &self.keys {
            if let Some(count) = index.leases.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    index.leases.remove(key);
                }
            }
        }
        for (key, record) in &self.fresh {
            let Some(fresh) = index.fresh.get_mut(key) else {
                continue;
            };
            fresh.holders -= 1;
            if fresh.holders > 0 {
                continue;
            }
            index.fresh.remove(key);
            if !index.layers.contains_key(key)
                && let Some(name) = LayerName::parse(&record.name)
                && let Err(error) = self.shared.snapshots.remove(&name)
            {
                tracing::warn!(%error, "a layer is left to the next start");
            }
        }
    }
}

/// A layer's key and record, once it is in place.
type Placed = Option<(String, LayerRecord)>;

impl Images {
    /// Brings all layers in; they are in place, though not recorded, when this returns.
    pub(crate) async fn bring_in(&self, wanted: Vec<Wanted>, sink: &ProgressSink) -> Result<Held, PullError> {
        let slots = Arc::new(Semaphore::new(self.shared.settings.concurrent_downloads));
        let diff_ids: Vec<String> = wanted.iter().map(|wanted| wanted.diff_id.clone()).collect();
        let chain = chain_ids(&diff_ids);
        for wanted in wanted.iter().filter(|wanted| !wanted.local) {
            tell(sink, &wanted.short, Status::PullingLayer);
        }
        // Each layer's outcome is published for those above it, which may be bound to it.
        let mut below: Vec<watch::Receiver<Placed>> = Vec::new();
        let mut tasks = Vec::new();
        for (wanted, chain_id) in wanted.into_iter().zip(chain) {
            let (publish, outcome) = watch::channel(None);
            let layer = Task {
                images: self.clone(),
                chain_id,
                below: below.clone(),
                slots: slots.clone(),
                sink: sink.clone(),
            };
            tasks.push(async move {
                let placed = layer.bring_in(wanted).await?;
                publish.send_replace(Some((placed.0.clone(), placed.1.clone())));
                Ok::<_, LayerError>(placed)
            });
            below.push(outcome);
        }
        let mut held = Held {
            shared: self.shared.clone(),
            keys: Vec::new(),
            fresh: Vec::new(),
        };
        let mut failure = None;
        for outcome in join_all(tasks).await {
            match outcome {
                Ok((key, record, is_fresh)) => {
                    if is_fresh {
                        held.fresh.push((key.clone(), record));
                    }
                    held.keys.push(key);
                }
                // A layer that waited for one that failed has nothing of its own to tell.
                Err(LayerError::CutOff) if failure.is_some() => {}
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(held),
        }
    }
}

struct Task {
    images: Images,
    chain_id: String,
    below: Vec<watch::Receiver<Placed>>,
    slots: Arc<Semaphore>,
    sink: ProgressSink,
}

impl Task {
    async fn bring_in(self, wanted: Wanted) -> Result<(String, LayerRecord, bool), LayerError> {
        // A second pull of the same layer waits for the first.
        let flight = self
            .images
            .shared
            .index()
            .flights
            .entry(wanted.diff_id.clone())
            .or_default()
            .clone();
        let guard = match flight.try_lock() {
            Ok(guard) => guard,
            Err(_) => {
                tell(&self.sink, &wanted.short, Status::Waiting);
                flight.lock().await
            }
        };
        let diff_id = wanted.diff_id.clone();
        let outcome = match self.present(&diff_id) {
            Some(present) => {
                if !wanted.local {
                    tell(&self.sink, &wanted.short, Status::AlreadyExists);
                }
                Ok(present)
            }
            None => self.fetch(wanted).await,
        };
        drop(guard);
        let mut index = self.images.shared.index();
        // Kept only while somebody else holds it too: the map's own, and this one.
        if Arc::strong_count(&flight) == 2 {
            index.flights.remove(&diff_id);
        }
        outcome
    }

    /// A layer that is there already, leased.
    fn present(&self, diff_id: &str) -> Option<(String, LayerRecord, bool)> {
        let mut index = self.images.shared.index();
        for key in [diff_id, self.chain_id.as_str()] {
            if let Some(record) = index.layers.get(key).cloned() {
                *index.leases.entry(key.to_owned()).or_default() += 1;
                return Some((key.to_owned(), record, false));
            }
            if let Some(fresh) = index.fresh.get_mut(key) {
                fresh.holders += 1;
                let record = fresh.record.clone();
                *index.leases.entry(key.to_owned()).or_default() += 1;
                return Some((key.to_owned(), record, true));
            }
        }
        None
    }

    async fn fetch(&self, wanted: Wanted) -> Result<(String, LayerRecord, bool), LayerError> {
        let slot = match self.slots.try_acquire() {
            Ok(slot) => slot,
            Err(_) => {
                tell(&self.sink, &wanted.short, Status::Waiting);
                self.slots.acquire().await.map_err(|_| LayerError::CutOff)?
            }
        };
        let shared = self.images.shared.clone();
        let staging = on_blocking(move || Ok(shared.snapshots.stage()?)).await?;
        let root = staging.dir().try_clone_to_owned().map_err(|_| LayerError::CutOff)?;
        let (sink, short, total, local) = (self.sink.clone(), wanted.short.clone(), wanted.size, wanted.local);
        let unpacked = Arc::new(move |current: u64| {
            let status = if local {
                Status::LoadingLayer { current, total }
            } else {
                Status::Extracting { current, total }
            };
            tell(&sink, &short, status);
        });
        let pipeline = pipeline::start(root, unpacked);
        let broken = self.feed(&wanted, &pipeline.chunks).await?;
        drop((pipeline.chunks, slot));
        if !wanted.local && broken.is_none() {
            tell(&self.sink, &wanted.short, Status::VerifyingChecksum);
            tell(&self.sink, &wanted.short, Status::DownloadComplete);
        }
        let outcome = pipeline.outcome.await.map_err(|_| LayerError::CutOff)?;
        if let Some(error) = broken {
            return Err(error);
        }
        let outcome = outcome?;
        check(&wanted, &outcome)?;
        let placed = self.place(&wanted, outcome, staging).await?;
        if !wanted.local {
            tell(&self.sink, &wanted.short, Status::PullComplete);
        }
        Ok(placed)
    }

    /// Sends the blob into its pipeline as it arrives; returns what broke it off.
    async fn feed(
        &self,
        wanted: &Wanted,
        chunks: &mpsc::Sender<std::io::Result<Bytes>>,
    ) -> Result<Option<LayerError>, LayerError> {
        let mut blob = (wanted.open)().await?;
        let mut arrived = 0;
        while let Some(chunk) = blob.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    // The pipeline may have ended for a reason of its own.
                    let _ = chunks.send(Err(std::io::Error::other(error.to_string()))).await;
                    return Ok(Some(error));
                }
            };
            arrived += chunk.len() as u64;
            if !wanted.local {
                let status = Status::Downloading {
                    current: arrived,
                    total: wanted.size,
                };
                tell(&self.sink, &wanted.short, status);
            }
            if chunks.send(Ok(chunk)).await.is_err() {
                break;
            }
        }
        Ok(None)
    }

    /// Publishes an unpacked layer, bound to those below it where its archive leaves something for them to say.
    async fn place(
        &self,
        wanted: &Wanted,
        outcome: pipeline::Outcome,
        staging: Staging,
    ) -> Result<(String, LayerRecord, bool), LayerError> {
        let extracted = outcome.extracted;
        let bound = !extracted.is_free() && !self.below.is_empty();
        let key = if bound {
            self.chain_id.clone()
        } else {
            wanted.diff_id.clone()
        };
        let below = if bound { self.layers_below().await? } else { Vec::new() };
        let digits = key["sha256:".len()..].to_owned();
        let name = on_blocking(move || {
            if bound || !extracted.links.is_empty() {
                let links: Vec<_> = extracted
                    .links
                    .into_iter()
                    .map(|link| (link.link, link.target))
                    .collect();
                staging.bind(&below, &extracted.implied, &links)?;
            }
            Ok(staging.publish(&digits)?)
        })
        .await?;
        let record = LayerRecord {
            version: VERSION,
            name: name.as_str().to_owned(),
            size: extracted.size,
            carries_root: extracted.carries_root,
        };
        let mut index = self.images.shared.index();
        index.fresh.insert(
            key.clone(),
            Fresh {
                record: record.clone(),
                holders: 1,
            },
        );
        *index.leases.entry(key.clone()).or_default() += 1;
        Ok((key, record, true))
    }

    /// The layers below, top-most first, once they are in place.
    async fn layers_below(&self) -> Result<Vec<Layer>, LayerError> {
        let mut layers = Vec::new();
        for outcome in self.below.iter().rev() {
            let mut outcome = outcome.clone();
            let placed = outcome
                .wait_for(Option::is_some)
                .await
                .map_err(|_| LayerError::CutOff)?;
            layers.extend(placed.as_ref().and_then(|(_, record)| layer(record)));
        }
        Ok(layers)
    }
}

fn check(wanted: &Wanted, outcome: &pipeline::Outcome) -> Result<(), LayerError> {
    if let Some(digest) = wanted.blob.as_ref().filter(|digest| **digest != outcome.blob) {
        return Err(LayerError::Blob { digest: digest.clone() });
    }
    if outcome.diff_id != wanted.diff_id {
        return Err(LayerError::DiffId {
            expected: wanted.diff_id.clone(),
            actual: outcome.diff_id.clone(),
        });
    }
    Ok(())
}

async fn on_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LayerError> + Send + 'static,
) -> Result<T, LayerError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LayerError::CutOff)?
}

/// One event of a layer.
pub(crate) fn tell(sink: &ProgressSink, id: &str, status: Status) {
    sink(Progress {
        id: Some(id.to_owned()),
        status,
    });
}
