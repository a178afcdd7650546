//! A layer's blob as it came: kept here, or asked of a registry that has it, so that the layer keeps its digest.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conex_reference::Reference;
use conex_registry::{Credentials, Descriptor, ErrorKind, Registry, Upload};
use conex_stream::ByteStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use tokio::time::timeout;

use crate::error::PushError;
use crate::layers::tell;
use crate::load::file_stream;
use crate::progress::{ProgressSink, Status};
use crate::push::Push;
use crate::push::layer::Wanted;

/// How long a registry that has the blob is waited for before the layer is compressed anew.
const PATIENCE: Duration = Duration::from_secs(10);

impl Push {
    /// Sends a layer as the blob by which its image came; `None` where nobody has that any more.
    pub(super) async fn send_as_it_came(&self, wanted: &Wanted) -> Result<Option<Descriptor>, PushError> {
        let Some(own) = &wanted.own else { return Ok(None) };
        let content = self.images.shared.content.clone();
        if content.contains(&own.digest) {
            let digest = own.digest;
            let open = move || content.open_blob(&digest).map_err(io::Error::other);
            let kept = move || file_stream(open.clone()).map_err(io::Error::other).boxed();
            if let Some(sent) = self.send_blob(wanted, own, Box::new(kept)).await? {
                return Ok(Some(sent));
            }
        }
        let origins = self.images.origins_of(&wanted.diff_id).into_iter();
        for origin in origins.filter(|origin| origin.digest == own.digest) {
            let Ok(repository) = Reference::parse(&origin.repository) else {
                continue;
            };
            let Some(open) = self.ask_origin(repository, own.clone()).await else {
                continue;
            };
            if let Some(sent) = self.send_blob(wanted, own, open).await? {
                return Ok(Some(sent));
            }
        }
        Ok(None)
    }

    /// A blob of a repository; `None` where it does not begin to come. A registry that is silent is not waited for twice.
    async fn ask_origin(&self, repository: Reference, own: Descriptor) -> Option<OpenBlob> {
        let domain = repository.domain().to_owned();
        if self
            .silent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&domain)
        {
            return None;
        }
        let credentials = match domain == self.destination.repository().domain() {
            true => self.credentials.clone(),
            false => Credentials::default(),
        };
        let registry = self.registries.registry(credentials);
        let first = match timeout(PATIENCE, registry.blob(&repository, &own, 0)).await {
            Ok(Ok(first)) => first,
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => return None,
            _ => {
                self.silent
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(domain);
                return None;
            }
        };
        let first = Mutex::new(Some(first.stream));
        Some(Box::new(move || {
            let begun = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(begun) = begun {
                return begun.map_err(io::Error::other).boxed();
            }
            let (registry, repository, own) = (registry.clone(), repository.clone(), own.clone());
            let again = async move { registry.blob(&repository, &own, 0).await.map(|blob| blob.stream) };
            again.into_stream().try_flatten().map_err(io::Error::other).boxed()
        }))
    }

    /// Sends a blob; `None` where its source fails or has something else.
    async fn send_blob(
        &self,
        wanted: &Wanted,
        own: &Descriptor,
        open: OpenBlob,
    ) -> Result<Option<Descriptor>, PushError> {
        let blob = AsItCame {
            open,
            has_failed: Arc::default(),
            total: own.size,
            short: wanted.short(),
            sink: self.sink.clone(),
        };
        match self.destination.upload(&blob).await {
            Ok(uploaded) if uploaded.digest == own.digest => {
                self.remember(wanted, own.clone()).await?;
                Ok(Some(own.clone()))
            }
            Ok(_) => Ok(None),
            Err(_) if blob.has_failed.load(Ordering::Relaxed) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

type OpenBlob = Box<dyn Fn() -> ByteStream + Send + Sync>;

/// A blob that is sent as it is.
struct AsItCame {
    open: OpenBlob,
    /// Whether it could not be read.
    has_failed: Arc<AtomicBool>,
    total: u64,
    short: String,
    sink: ProgressSink,
}

impl Upload for AsItCame {
    fn open(&self) -> ByteStream {
        let (sink, short, total) = (self.sink.clone(), self.short.clone(), self.total);
        let (has_failed, sent) = (self.has_failed.clone(), AtomicU64::new(0));
        let told = (self.open)().inspect(move |chunk| match chunk {
            Ok(chunk) => {
                let current = sent.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
                tell(&sink, &short, Status::Pushing { current, total });
            }
            Err(_) => has_failed.store(true, Ordering::Relaxed),
        });
        told.boxed()
    }

    fn retrying_in(&self, seconds: u64) {
        tell(&self.sink, &self.short, Status::RetryingIn(seconds));
    }
}
