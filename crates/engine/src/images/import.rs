//! `POST /images/create` with a source: a root file system becomes an image of one layer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conex_api_types as api;
use conex_image::{CreateError, Creation, History, Image, ImageConfig, LayerError, RunConfig};
use conex_reference::Reference;
use conex_stream::ByteStream;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::engine::{Engine, Inner, ProgressStream};
use crate::error::{Error, ErrorKind, Result};
use crate::images::stream::{AbortOnDrop, Line, streamed};
use crate::images::{changes, invalid, name_of};
use crate::progress;
use crate::requests::{ImportRequest, ImportSource};

/// Bytes between two lines that tell how far a download is.
const STEP: u64 = 512 << 10;

/// Where lines go.
type Lines = mpsc::UnboundedSender<Line>;

impl Engine {
    /// Makes an image of the archive of a root file system, compressed or not. The last line is the image's id.
    ///
    /// # Errors
    /// 400 for a name, a change or a platform that cannot be; what the source's server says; 500 for what is no archive.
    pub async fn import(&self, request: ImportRequest) -> Result<ProgressStream> {
        let name = name_of(&request.repo, &request.tag)?;
        let platform = self.inner.platform_or_host(request.platform.as_deref())?;
        if platform.os != "linux" {
            return Err(invalid("operating system is not supported"));
        }
        let mut run = RunConfig::default();
        changes::apply(&mut run, changes::parse(&request.changes)?)?;
        let comment = match (&request.message, &request.source) {
            (message, _) if !message.is_empty() => message.clone(),
            (_, ImportSource::Body(_)) => "Imported from -".to_owned(),
            (_, ImportSource::Url(url)) => format!("Imported from {url}"),
        };
        let config = ImageConfig {
            comment,
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            config: run,
            ..ImageConfig::default()
        };
        let (lines, stream) = mpsc::unbounded_channel();
        let inner = self.inner.clone();
        let importing = tokio::spawn(async move {
            let line = match import(&inner, request.source, config, name, &lines).await {
                Ok(image) => {
                    inner.tell_of_image("import", &image.id, &image.id);
                    Line::Progress(api::ProgressMessage {
                        status: Some(image.id.clone()),
                        ..api::ProgressMessage::default()
                    })
                }
                Err(error) => Line::Failure(error),
            };
            // A client that went away is told nothing more.
            let _ = lines.send(line);
        });
        streamed(stream, AbortOnDrop(importing)).await
    }
}

async fn import(
    inner: &Arc<Inner>,
    source: ImportSource,
    mut config: ImageConfig,
    name: Option<Reference>,
    lines: &Lines,
) -> Result<Arc<Image>> {
    let layer = match source {
        ImportSource::Body(body) => inner.images.read_layer(body, |_| {}).await,
        ImportSource::Url(url) => {
            let body = download(inner, &url, lines).await?;
            inner.images.read_layer(body, |_| {}).await
        }
    };
    let layer = layer.map_err(CreateError::from).map_err(refused)?;
    let created = jiff::Timestamp::now().to_string();
    config.created.clone_from(&created);
    let entry = History {
        created,
        comment: config.comment.clone(),
        ..History::default()
    };
    let creation = Creation {
        base: None,
        layer,
        config,
        entry,
        name: name.clone(),
    };
    let image = inner.images.create(creation).await.map_err(refused)?;
    if let Some(name) = name {
        inner.tell_of_image("tag", &image.id, &name.familiar());
    }
    Ok(image)
}

/// Docker's words, where it is the archive that is wrong.
fn refused(error: CreateError) -> Error {
    let words = match &error {
        CreateError::Layer(LayerError::Extract(cause)) => cause.to_string(),
        other => other.to_string(),
    };
    Error::new(ErrorKind::System, words).caused_by(error)
}

/// The archive behind a URL; how much of it has come is told.
async fn download(inner: &Inner, url: &str, lines: &Lines) -> Result<ByteStream> {
    let url = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let download = inner.registries.download(&url).await.map_err(|error| {
        let kind = match error.status() {
            Some(400) => ErrorKind::InvalidParameter,
            Some(401) => ErrorKind::Unauthorized,
            Some(403) => ErrorKind::Forbidden,
            Some(404) => ErrorKind::NotFound,
            _ => ErrorKind::System,
        };
        Error::new(kind, error.to_string())
    })?;
    let tell = |lines: &Lines, line| {
        // A client that went away is told nothing more.
        let _ = lines.send(Line::Progress(line));
    };
    tell(
        lines,
        api::ProgressMessage {
            status: Some(format!("Downloading from {url}")),
            ..api::ProgressMessage::default()
        },
    );
    let (lines, total) = (lines.clone(), download.size.unwrap_or(0));
    let (arrived, told) = (AtomicU64::new(0), AtomicU64::new(0));
    let told_chunks = download.stream.map(move |chunk| {
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        let current = arrived.fetch_add(length, Ordering::Relaxed) + length;
        if current == total || current - told.load(Ordering::Relaxed) >= STEP {
            told.store(current, Ordering::Relaxed);
            tell(&lines, progress::importing(current, total));
        }
        chunk.map_err(std::io::Error::other)
    });
    Ok(told_chunks.boxed())
}
