//! Bringing all layers of an image in at once, and holding them until the image is recorded.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use conex_archive::Extracted;
use conex_content::Partial;
use conex_reference::Digest;
use conex_snapshot::{Binding, Layer, Snapshots, Staging};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::BoxStream;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::arrived::{Arrived, Unpacked};
use crate::error::{LayerError, PullError};
use crate::held::{Held, InFlight};
use crate::images::{Images, Keep};
use crate::index::{Flight, layer};
use crate::load::file_stream;
use crate::pipeline::{self, Arriving};
use crate::progress::{Progress, ProgressSink, Status};
use crate::records::LayerRecord;
use crate::remove::chain_ids;

/// Where a layer's blob comes from, from a place in it on: asked for only when the layer is not there.
pub(crate) type OpenBlob = Box<
    dyn Fn(u64) -> BoxFuture<'static, Result<BoxStream<'static, Result<Bytes, LayerError>>, LayerError>> + Send + Sync,
>;

/// A layer that an image needs.
pub(crate) struct Wanted {
    /// First twelve digits of the blob's digest, for progress.
    pub(crate) short: String,
    /// Digest that the blob must have; `None` where nothing promised one.
    pub(crate) blob: Option<Digest>,
    /// Bytes of the blob.
    pub(crate) size: u64,
    /// Digest that the archive must have.
    pub(crate) diff_id: String,
    /// Where it comes from.
    pub(crate) source: Source,
    /// Whether this is a load, whose words differ.
    pub(crate) local: bool,
}

/// Where a layer that is not here comes from.
pub(crate) enum Source {
    /// From its blob.
    Blob(OpenBlob),
    /// It was unpacked before anybody asked for it.
    Arrived(Arc<Arrived>),
    /// From nowhere: it has to be here.
    Nowhere,
}

/// How often a blob is fetched whose bytes are not what its digest says: they may have been changed on the way.
const ATTEMPTS: usize = 2;

/// Bytes of a layer that are worth a sync of their own.
const WRITTEN_BACK_EARLY: u64 = 16 << 20;

/// The record of a layer, once it is in place.
type Placed = Option<LayerRecord>;

impl Images {
    /// Brings all layers in; they are in place, though not recorded, when this returns.
    pub(crate) async fn bring_in(&self, wanted: Vec<Wanted>, sink: &ProgressSink) -> Result<Vec<Held>, PullError> {
        self.require_depth(wanted.len())?;
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
                let held = layer.bring_in(wanted).await?;
                publish.send_replace(Some(held.record.clone()));
                Ok::<_, LayerError>(held)
            });
            below.push(outcome);
        }
        let mut held = Vec::new();
        let mut failure = None;
        for outcome in join_all(tasks).await {
            match outcome {
                Ok(layer) => held.push(layer),
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

    /// Has a layer of so many bytes go to the disk while others come. Nobody waits for it: the image's own sync does, at the end.
    pub(crate) fn write_back(&self, size: u64) {
        if size < WRITTEN_BACK_EARLY {
            return;
        }
        let snapshots = self.shared.snapshots.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = snapshots.sync() {
                tracing::warn!(%error, "write back a layer");
            }
        });
    }

    /// Refuses more layers than a root file system can be made of.
    pub(crate) fn require_depth(&self, layers: usize) -> Result<(), LayerError> {
        let driver = self.shared.snapshots.driver();
        match driver.most_layers() {
            Some(most) if layers > most => Err(LayerError::Depth {
                layers,
                driver: driver.name(),
                most,
            }),
            _ => Ok(()),
        }
    }
}

/// A layer's blob as it arrives.
type LayerStream = BoxStream<'static, Result<Bytes, LayerError>>;

/// Whether what there is of a blob is gone on with, or it is fetched from its beginning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Anew,
}

struct Task {
    images: Images,
    chain_id: String,
    below: Vec<watch::Receiver<Placed>>,
    slots: Arc<Semaphore>,
    sink: ProgressSink,
}

impl Task {
    async fn bring_in(self, wanted: Wanted) -> Result<Held, LayerError> {
        // Whoever has this flight waits for shorter chains only, and a download for nobody: no two pulls wait for each
        // other, in whatever order their images have the layers.
        let flight = self.begin(Flight::Layer(self.chain_id.clone()), &wanted).await;
        if !self.lacks_blob(&wanted)
            && let Some(present) = self.present(&wanted).await
        {
            return Ok(present);
        }
        let download = self.begin(Flight::Download(wanted.diff_id.clone()), &wanted).await;
        let Some(present) = self.present(&wanted).await else {
            return self.fetch(wanted, flight, download).await;
        };
        if self.lacks_blob(&wanted) {
            self.fetch_blob(&wanted).await?;
        }
        Ok(present)
    }

    /// Whether the layer's blob is to be kept and is not here.
    fn lacks_blob(&self, wanted: &Wanted) -> bool {
        let shared = &self.images.shared;
        let is_here = |blob: &Digest| shared.content.contains(blob) || shared.index().arrived.contains(blob);
        shared.settings.keep == Keep::Always && wanted.blob.is_some_and(|blob| !is_here(&blob))
    }

    /// Fetches the blob of a layer that is unpacked already.
    async fn fetch_blob(&self, wanted: &Wanted) -> Result<(), LayerError> {
        let _slot = self.slots.acquire().await.map_err(|_| LayerError::CutOff)?;
        for attempt in [Attempt::First, Attempt::Anew] {
            let Some(partial) = self.partial(wanted).await? else {
                return Ok(());
            };
            let begun = partial.length();
            match self.receive_blob(wanted, partial).await {
                Err(LayerError::Blob { .. }) if begun > 0 && attempt == Attempt::First => {}
                received => return received,
            }
        }
        Ok(())
    }

    async fn receive_blob(&self, wanted: &Wanted, partial: Partial) -> Result<(), LayerError> {
        let begun = partial.length();
        let (chunks, arriving) = conex_stream::ChunkReader::new();
        let receiving = tokio::task::spawn_blocking(move || pipeline::digest_kept(partial, arriving));
        let broken = self.feed(wanted, begun, &chunks).await?;
        drop(chunks);
        let digest = receiving.await.map_err(|_| LayerError::CutOff)?;
        if let Some(error) = broken {
            return Err(error);
        }
        if wanted.blob != Some(digest?) {
            let content = self.images.shared.content.clone();
            let wrong = wanted.blob.unwrap_or_else(|| Digest::of(b""));
            on_blocking(move || Ok(content.discard_partial(&wrong)?)).await?;
            return Err(LayerError::Blob {
                digest: wrong.to_string(),
            });
        }
        self.note_arrival(wanted);
        Ok(())
    }

    /// Notes that a layer's blob came whole and right, where it is to be kept.
    fn note_arrival(&self, wanted: &Wanted) {
        let shared = &self.images.shared;
        if let Some(blob) = wanted.blob.filter(|_| shared.settings.keep == Keep::Always)
            && shared.content.is_partial_whole(&blob, wanted.size)
        {
            shared.index().arrived.insert(blob);
        }
    }

    /// The blob of a layer from a place on: what is kept of it, or what its source has.
    async fn open(&self, wanted: &Wanted, begun: u64) -> Result<LayerStream, LayerError> {
        let content = self.images.shared.content.clone();
        match wanted.blob.filter(|blob| content.contains(blob)) {
            Some(blob) => {
                let open = move || content.open_blob(&blob).map_err(std::io::Error::other);
                Ok(file_stream(open))
            }
            None => match &wanted.source {
                Source::Blob(open) => open(begun).await,
                Source::Arrived(_) | Source::Nowhere => Err(wanted.is_nowhere()),
            },
        }
    }

    /// Waits until no other pull has this flight.
    async fn begin(&self, flight: Flight, wanted: &Wanted) -> InFlight {
        let waiting = || tell(&self.sink, &wanted.short, Status::Waiting);
        self.images.begin(flight, waiting).await
    }

    /// A layer that is there already.
    async fn present(&self, wanted: &Wanted) -> Option<Held> {
        let keys: &[&String] = if self.images.shared.snapshots.binds_layers() {
            &[&self.chain_id]
        } else {
            &[&wanted.diff_id, &self.chain_id]
        };
        let held = self.images.hold_layer(keys).await?;
        if !wanted.local {
            tell(&self.sink, &wanted.short, Status::AlreadyExists);
        }
        Some(held)
    }

    async fn fetch(&self, wanted: Wanted, flight: InFlight, download: InFlight) -> Result<Held, LayerError> {
        let slot = match self.slots.try_acquire() {
            Ok(slot) => slot,
            Err(_) => {
                tell(&self.sink, &wanted.short, Status::Waiting);
                self.slots.acquire().await.map_err(|_| LayerError::CutOff)?
            }
        };
        let partial = self.partial(&wanted).await?;
        let is_kept_while_it_comes = partial.is_some();
        // What was kept does not count.
        let mut left = ATTEMPTS + usize::from(partial.as_ref().is_some_and(|partial| partial.length() > 0));
        let mut unpacked = self.unpack(&wanted, partial).await;
        if unpacked.is_err()
            && let Some(blob) = wanted.blob
            && self.images.shared.content.contains(&blob)
        {
            tracing::warn!(%blob, "a blob that is kept cannot be unpacked; it is fetched anew");
            self.images.shared.content.remove(&blob)?;
            unpacked = self.unpack(&wanted, self.partial(&wanted).await?).await;
        }
        while let Err(LayerError::Blob { digest }) = &unpacked
            && !wanted.local
            && left > 1
        {
            tracing::warn!(digest, "what came of a layer is not right; it is fetched anew");
            left -= 1;
            unpacked = self.unpack(&wanted, self.partial(&wanted).await?).await;
        }
        drop(slot);
        let named = |error: LayerError| error.of(&wanted);
        let (staging, extracted) = unpacked.map_err(named)?;
        self.images.write_back(extracted.size);
        if is_kept_while_it_comes {
            self.note_arrival(&wanted);
        }
        let placed = self
            .place(&wanted, extracted, staging, (flight, download))
            .await
            .map_err(named)?;
        if !wanted.local {
            tell(&self.sink, &wanted.short, Status::PullComplete);
        }
        Ok(placed)
    }

    /// What an earlier transfer has left of a blob, where a digest says what it will be.
    async fn partial(&self, wanted: &Wanted) -> Result<Option<Partial>, LayerError> {
        let Some(digest) = wanted.blob else { return Ok(None) };
        let (content, size) = (self.images.shared.content.clone(), wanted.size);
        on_blocking(move || match content.contains(&digest) {
            // It is kept, and need not come.
            true => Ok(None),
            false => Ok(content.partial(&digest, size)?),
        })
        .await
    }

    /// Fetches and unpacks a layer. What came of its blob stays for the next attempt where the transfer breaks off, and
    /// until its image is recorded.
    async fn unpack(&self, wanted: &Wanted, partial: Option<Partial>) -> Result<(Staging, Extracted), LayerError> {
        let unpacked = self.unpack_after(wanted, partial).await;
        // What came before a transfer broke off is right as far as anybody knows.
        if let (Err(error), Some(digest)) = (&unpacked, wanted.blob)
            && !error.is_of_transfer()
        {
            let content = self.images.shared.content.clone();
            on_blocking(move || Ok(content.discard_partial(&digest)?)).await?;
        }
        unpacked
    }

    async fn unpack_after(
        &self,
        wanted: &Wanted,
        partial: Option<Partial>,
    ) -> Result<(Staging, Extracted), LayerError> {
        if let Source::Arrived(layer) = &wanted.source {
            let layer = layer.clone();
            let Unpacked { staging, outcome } = on_blocking(move || layer.take()).await?;
            let (current, total) = (wanted.size, wanted.size);
            tell(&self.sink, &wanted.short, Status::LoadingLayer { current, total });
            return checked(wanted, staging, outcome);
        }
        let begun = partial.as_ref().map_or(0, Partial::length);
        let shared = self.images.shared.clone();
        let (staging, root, skeleton) = on_blocking(move || stage(&shared.snapshots)).await?;
        let (sink, short, total, local) = (self.sink.clone(), wanted.short.clone(), wanted.size, wanted.local);
        let unpacked = Arc::new(move |current: u64| {
            let status = if local {
                Status::LoadingLayer { current, total }
            } else {
                Status::Extracting { current, total }
            };
            tell(&sink, &short, status);
        });
        let blob = match wanted.blob {
            Some(_) => Arriving::Promised(partial),
            None => Arriving::Unknown,
        };
        let pipeline = pipeline::start(root, skeleton, blob, self.images.shared.settings.limits, unpacked);
        let broken = self.feed(wanted, begun, &pipeline.chunks).await?;
        drop(pipeline.chunks);
        if !wanted.local && broken.is_none() {
            tell(&self.sink, &wanted.short, Status::VerifyingChecksum);
            tell(&self.sink, &wanted.short, Status::DownloadComplete);
        }
        let outcome = pipeline.outcome.await.map_err(|_| LayerError::CutOff)?;
        if let Some(error) = broken {
            return Err(error);
        }
        checked(wanted, staging, outcome)
    }

    /// Sends the blob into its pipeline as it arrives, from a place on; returns what broke it off.
    async fn feed(
        &self,
        wanted: &Wanted,
        begun: u64,
        chunks: &mpsc::Sender<std::io::Result<Bytes>>,
    ) -> Result<Option<LayerError>, LayerError> {
        let mut blob = self.open(wanted, begun).await?;
        let mut arrived = begun;
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
            // What is read of a wrong blob is bounded by what was promised.
            if let Some(digest) = wanted.blob.filter(|_| arrived > wanted.size) {
                let _ = chunks.send(Err(std::io::ErrorKind::InvalidData.into())).await;
                let digest = digest.to_string();
                return Ok(Some(LayerError::Blob { digest }));
            }
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
        extracted: Extracted,
        mut staging: Staging,
        (flight, download): (InFlight, InFlight),
    ) -> Result<Held, LayerError> {
        let always = self.images.shared.snapshots.binds_layers();
        let bound = (always || !extracted.is_free()) && !self.below.is_empty();
        let key = if bound {
            self.chain_id.clone()
        } else {
            wanted.diff_id.clone()
        };
        let (below, download) = if bound {
            // Another image may have the layer below those that this one waits for.
            drop(download);
            (self.layers_below().await?, None)
        } else {
            (Vec::new(), Some(download))
        };
        let shared = self.images.shared.clone();
        // The flights end when it is published.
        on_blocking(move || {
            bind(&mut staging, &below, &extracted)?;
            let held = Held::publish(shared, key, staging, &extracted)?;
            drop((flight, download));
            Ok(held)
        })
        .await
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
            layers.extend(placed.as_ref().and_then(layer));
        }
        Ok(layers)
    }
}

impl Wanted {
    /// It is not here, and there is nobody to ask for it.
    fn is_nowhere(&self) -> LayerError {
        let layer = self.diff_id.clone();
        if self.local {
            LayerError::LeftOut { layer }
        } else {
            LayerError::Missing { diff_id: layer }
        }
    }
}

/// An unpacked layer that is what was promised.
fn checked(
    wanted: &Wanted,
    staging: Staging,
    outcome: Result<pipeline::Outcome, LayerError>,
) -> Result<(Staging, Extracted), LayerError> {
    let archive = check(wanted, outcome?)?;
    if !archive.has_skeleton {
        staging.discard_skeleton()?;
    }
    Ok((staging, archive.extracted))
}

/// What was unpacked, if it is what was promised. A blob that is not right explains an archive that cannot be read.
fn check(wanted: &Wanted, outcome: pipeline::Outcome) -> Result<pipeline::Archive, LayerError> {
    let promised = wanted.blob.map(|digest| digest.to_string());
    if let Some(digest) = promised.filter(|digest| Some(digest) != outcome.blob.as_ref()) {
        return Err(if outcome.size < wanted.size {
            LayerError::Truncated {
                digest,
                actual: outcome.size,
                expected: wanted.size,
            }
        } else {
            LayerError::Blob { digest }
        });
    }
    if let Some(digest) = wanted.blob.filter(|_| outcome.size != wanted.size) {
        return Err(LayerError::Size {
            digest: digest.to_string(),
            actual: outcome.size,
            expected: wanted.size,
        });
    }
    let archive = outcome.archive?;
    if archive.diff_id != wanted.diff_id {
        return Err(LayerError::DiffId {
            expected: wanted.diff_id.clone(),
            actual: archive.diff_id,
        });
    }
    Ok(archive)
}

/// A directory to unpack a layer into, and a file for its skeleton.
pub(crate) fn stage(snapshots: &Snapshots) -> Result<(Staging, OwnedFd, File), LayerError> {
    let staging = snapshots.stage()?;
    let skeleton = staging.create_skeleton()?;
    let root = staging.dir().try_clone_to_owned().map_err(|_| LayerError::CutOff)?;
    Ok((staging, root, skeleton))
}

/// Completes a layer from those below it (top-most first).
pub(crate) fn bind(staging: &mut Staging, below: &[Layer], extracted: &Extracted) -> Result<(), LayerError> {
    let links = extracted.links.iter();
    let links: Vec<_> = links.map(|link| (link.link.clone(), link.target.clone())).collect();
    let binding = Binding {
        implied: &extracted.implied,
        links: &links,
        carries_root: extracted.carries_root,
    };
    Ok(staging.bind(below, binding)?)
}

pub(crate) async fn on_blocking<T: Send + 'static>(
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
