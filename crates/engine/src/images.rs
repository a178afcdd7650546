//! Images: pulled, loaded, listed, inspected, tagged, removed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use conex_api_types as api;
use conex_image::{FindError, Image, ProgressSink, Removal, Removed, User};
use conex_reference::{Platform, Reference};
use conex_registry::Credentials;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use crate::containers::Container;
use crate::engine::{Engine, ProgressStream};
use crate::error::{Error, ErrorKind, Result};
use crate::progress;
use crate::requests::{ImagesQuery, PullRequest};

/// An image that was not found, in Docker's words.
pub(crate) fn find_error(error: FindError) -> Error {
    let kind = match &error {
        FindError::NoSuchImage { .. } => ErrorKind::NotFound,
        _ => ErrorKind::InvalidParameter,
    };
    Error::new(kind, error.to_string())
}

fn invalid(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidParameter, error.to_string())
}

impl Engine {
    /// Pulls an image. What fails before the first line is an error of the request itself.
    pub async fn pull(&self, request: PullRequest) -> Result<ProgressStream> {
        let reference = reference(&request)?;
        let host = Platform::of_machine(&rustix::system::uname().machine().to_string_lossy());
        let platform = match request.platform.as_deref() {
            Some(text) => Platform::parse(text, &host).map_err(invalid)?,
            None => host,
        };
        let credentials = match request.auth.as_deref() {
            Some(header) => Credentials::from_header(header).map_err(invalid)?,
            None => Credentials::default(),
        };
        let (lines, stream) = mpsc::unbounded_channel();
        let sink = sink(lines.clone());
        let request = conex_image::PullRequest {
            registry: Arc::new(self.inner.registries.registry(credentials)),
            reference: reference.clone(),
            platform,
        };
        let inner = self.inner.clone();
        let pulling = tokio::spawn(async move {
            let outcome = inner.images.pull(request, sink).await;
            match outcome {
                Ok(pulled) => {
                    let name = reference.familiar();
                    inner.events.image("pull", &name, &reference.familiar_name());
                    tracing::info!(image = %name, id = %pulled.image.id, "pulled");
                }
                Err(error) => {
                    let kind = if error.is_not_found() {
                        ErrorKind::NotFound
                    } else {
                        ErrorKind::System
                    };
                    // The first line may not have been sent yet; then this becomes the request's own error.
                    let _ = lines.send(Line::Failure(Error::new(kind, error.to_string())));
                }
            }
        });
        // A client that goes away ends its pull: dropping the stream drops this guard.
        streamed(stream, AbortOnDrop(pulling)).await
    }

    /// Loads what `docker save` wrote.
    pub async fn load(&self, body: BoxStream<'static, io::Result<Bytes>>, quiet: bool) -> Result<ProgressStream> {
        let (lines, stream) = mpsc::unbounded_channel();
        let outer = sink(lines.clone());
        let sink: ProgressSink = Arc::new(move |progress| {
            let about_layers = matches!(progress.status, conex_image::Status::LoadingLayer { .. });
            if !(quiet && about_layers) {
                outer(progress);
            }
        });
        let inner = self.inner.clone();
        let loading = tokio::spawn(async move {
            match inner.images.load(body, sink).await {
                Ok(images) => {
                    for image in images {
                        inner
                            .events
                            .image("load", &image.id, image.repo_tags.first().unwrap_or(&image.id));
                    }
                }
                Err(error) => {
                    let _ = lines.send(Line::Failure(Error::new(ErrorKind::System, error.to_string())));
                }
            }
        });
        streamed(stream, AbortOnDrop(loading)).await
    }

    /// Lists images.
    pub async fn images(&self, query: ImagesQuery) -> Result<Vec<api::ImageSummary>> {
        query
            .filters
            .require_known(&["dangling", "label", "reference", "before", "since", "until"])
            .map_err(invalid)?;
        for later in ["before", "since", "until"] {
            if query.filters.values(later).is_some() {
                return Err(Error::new(
                    ErrorKind::NotImplemented,
                    format!("the filter {later} is not supported yet"),
                ));
            }
        }
        let images = self.inner.images.list();
        let matching = images.iter().filter(|image| matches(image, &query));
        let mut summaries: Vec<_> = matching.map(|image| summary(image)).collect();
        if query.shared_size {
            let shared = self.inner.images.usage().shared;
            for summary in &mut summaries {
                let bytes = shared.get(&summary.id).copied().unwrap_or(0);
                summary.shared_size = i64::try_from(bytes).unwrap_or(i64::MAX);
            }
        }
        if let Some(patterns) = query.filters.values("reference") {
            // Of an image with several names only those are shown that were asked for.
            for summary in &mut summaries {
                let asked = |tag: &String| patterns.iter().any(|pattern| matches_reference(tag, pattern));
                summary.repo_tags.retain(asked);
            }
        }
        Ok(summaries)
    }

    /// Inspects an image.
    pub async fn image(&self, name: &str) -> Result<api::ImageInspect> {
        let image = self.inner.find_image(name)?;
        let config = &image.config;
        let run = &config.config;
        let set =
            |map: &BTreeMap<String, serde_json::Value>| map.keys().map(|key| (key.clone(), api::Empty {})).collect();
        Ok(api::ImageInspect {
            id: image.id.clone(),
            repo_tags: image.repo_tags.clone(),
            repo_digests: image.repo_digests.clone(),
            comment: config.comment.clone(),
            created: config.created.clone(),
            docker_version: config.docker_version.clone(),
            author: config.author.clone(),
            config: api::ImageConfig {
                user: run.user.clone(),
                exposed_ports: set(&run.exposed_ports),
                env: run.env.clone(),
                cmd: run.cmd.clone(),
                healthcheck: run
                    .healthcheck
                    .as_ref()
                    .and_then(|check| serde_json::to_value(check).ok()),
                volumes: set(&run.volumes),
                on_build: None,
                working_dir: run.working_dir.clone(),
                entrypoint: run.entrypoint.clone(),
                labels: run.labels.clone(),
                stop_signal: run.stop_signal.clone(),
            },
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            os: config.os.clone(),
            size: i64::try_from(image.size).unwrap_or(i64::MAX),
            graph_driver: api::GraphDriver {
                data: BTreeMap::new(),
                name: conex_snapshot::DRIVER.to_owned(),
            },
            root_fs: api::RootFs {
                kind: "layers".into(),
                layers: config.rootfs.diff_ids.clone(),
            },
            metadata: api::ImageMetadata {
                last_tag_time: last_tagged(&image),
            },
            ..api::ImageInspect::default()
        })
    }

    /// Gives an image another name.
    pub async fn tag_image(&self, name: &str, repo: &str, tag: &str) -> Result<()> {
        let image = self.inner.find_image(name)?;
        let reference = Reference::parse(repo).map_err(invalid)?;
        let reference = if tag.is_empty() {
            reference
        } else {
            reference.with_tag(tag).map_err(invalid)?
        };
        if reference.digest().is_some() {
            return Err(invalid("refusing to create a tag with a digest reference"));
        }
        let reference = reference.with_default_tag();
        let tagged = self.inner.images.tag(&image.id, &reference).await;
        tagged.map_err(|error| Error::new(ErrorKind::System, error.to_string()))?;
        self.inner.events.image("tag", &image.id, &reference.familiar());
        Ok(())
    }

    /// Takes a name from an image, or removes it.
    pub async fn remove_image(&self, name: &str, force: bool, _prune: bool) -> Result<Vec<api::ImageDeleteResponse>> {
        let users = || {
            let containers = self.inner.containers.all();
            let user = |container: &Arc<Container>| User {
                container: container.id.clone(),
                image: container.image.clone(),
                running: container.view().state.is_running(),
            };
            containers.iter().map(user).collect()
        };
        let removed = self
            .inner
            .images
            .remove(Removal {
                name,
                force,
                users: &users,
            })
            .await;
        let removed = removed.map_err(|error| {
            let kind = if error.is_not_found() {
                ErrorKind::NotFound
            } else if error.is_conflict() {
                ErrorKind::Conflict
            } else {
                ErrorKind::System
            };
            Error::new(kind, error.to_string())
        })?;
        Ok(removed.into_iter().map(|removed| self.removed(removed)).collect())
    }

    fn removed(&self, removed: Removed) -> api::ImageDeleteResponse {
        match removed {
            Removed::Untagged { name, image } => {
                self.inner.events.image("untag", &image, &name);
                api::ImageDeleteResponse {
                    untagged: Some(name),
                    deleted: None,
                }
            }
            Removed::DeletedImage(id) => {
                self.inner.events.image("delete", &id, &id);
                api::ImageDeleteResponse {
                    untagged: None,
                    deleted: Some(id),
                }
            }
            Removed::DeletedLayer(id) => api::ImageDeleteResponse {
                untagged: None,
                deleted: Some(id),
            },
        }
    }
}

fn reference(request: &PullRequest) -> Result<Reference> {
    let reference = Reference::parse(&request.from_image).map_err(invalid)?;
    let reference = if request.tag.is_empty() {
        reference
    } else {
        reference.with_tag_or_digest(&request.tag).map_err(invalid)?
    };
    Ok(reference.with_default_tag())
}

fn last_tagged(image: &Image) -> String {
    let time = image
        .last_tagged
        .and_then(|nanoseconds| jiff::Timestamp::from_nanosecond(nanoseconds).ok());
    time.map_or_else(|| crate::containers::files::NEVER.to_owned(), |time| time.to_string())
}

fn summary(image: &Image) -> api::ImageSummary {
    let created: jiff::Timestamp = image.config.created.parse().unwrap_or_default();
    api::ImageSummary {
        containers: -1,
        created: created.as_second(),
        id: image.id.clone(),
        labels: image.config.config.labels.clone(),
        parent_id: String::new(),
        repo_digests: image.repo_digests.clone(),
        repo_tags: image.repo_tags.clone(),
        shared_size: -1,
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
    }
}

fn matches(image: &Image, query: &ImagesQuery) -> bool {
    query.filters.iter().all(|(filter, values)| {
        values.iter().any(|value| match filter.as_str() {
            "dangling" => image.repo_tags.is_empty() == matches!(value.as_str(), "1" | "true"),
            "label" => match value.split_once('=') {
                Some((name, wanted)) => image
                    .config
                    .config
                    .labels
                    .get(name)
                    .is_some_and(|label| label == wanted),
                None => image.config.config.labels.contains_key(value),
            },
            "reference" => image.repo_tags.iter().any(|tag| matches_reference(tag, value)),
            _ => false,
        })
    })
}

/// A pattern with `*` and `?`, with or without a tag.
fn matches_reference(tag: &str, pattern: &str) -> bool {
    let name = tag.rsplit_once(':').map_or(tag, |(name, _)| name);
    glob(pattern.as_bytes(), tag.as_bytes()) || glob(pattern.as_bytes(), name.as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        // As in a shell, a star does not cross a slash.
        ([b'*', rest @ ..], _) => {
            glob(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(first, tail)| *first != b'/' && glob(pattern, tail))
        }
        ([b'?', rest @ ..], [first, tail @ ..]) if *first != b'/' => glob(rest, tail),
        ([wanted, rest @ ..], [first, tail @ ..]) if wanted == first => glob(rest, tail),
        _ => false,
    }
}

enum Line {
    Progress(api::ProgressMessage),
    Failure(Error),
}

fn sink(lines: mpsc::UnboundedSender<Line>) -> ProgressSink {
    Arc::new(move |event| {
        // A client that went away is told nothing more.
        let _ = lines.send(Line::Progress(progress::line(event)));
    })
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for the first line: a failure that comes first is the request's own.
async fn streamed(mut lines: mpsc::UnboundedReceiver<Line>, work: AbortOnDrop) -> Result<ProgressStream> {
    let first = match lines.recv().await {
        Some(Line::Failure(error)) => return Err(error),
        Some(Line::Progress(line)) => Some(line),
        None => None,
    };
    // The work lives as long as its stream.
    let rest = futures_util::stream::unfold((lines, work), |(mut lines, work)| async move {
        let line = match lines.recv().await? {
            Line::Progress(line) => line,
            Line::Failure(error) => progress::failure(error.message()),
        };
        Some((line, (lines, work)))
    });
    Ok(futures_util::stream::iter(first).chain(rest).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_with_and_without_their_tags() {
        assert!(matches_reference("busybox:latest", "busybox"));
        assert!(matches_reference("busybox:latest", "busy*:l?test"));
        assert!(matches_reference("a/b:1", "*/b"));
        assert!(!matches_reference("a/b:1", "*b"));
    }
}
