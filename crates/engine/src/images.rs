//! Images: pulled, loaded, imported, inspected, tagged, removed.

pub(crate) mod changes;
mod history;
mod import;
mod list;
mod prune;
mod pull;
mod push;
mod save;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use conex_api_types as api;
use conex_image::{FindError, Image, ProgressSink, Removal, RemoveError, Removed, User};
use conex_reference::Reference;
use conex_registry::Credentials;
use conex_stream::ByteStream;
use tokio::sync::mpsc;

use crate::containers::Container;
use crate::engine::{Engine, Inner, ProgressStream};
use crate::error::{Error, ErrorKind, Result};
use crate::images::stream::{AbortOnDrop, Line, sink, streamed_in_full};

/// An image that was not found, in Docker's words.
pub(crate) fn find_error(error: FindError) -> Error {
    let kind = match &error {
        FindError::NoSuchImage { .. } => ErrorKind::NotFound,
        _ => ErrorKind::InvalidParameter,
    };
    Error::new(kind, error.to_string())
}

pub(crate) fn invalid(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidParameter, error.to_string())
}

/// What a client says of itself. What cannot be read counts as nothing said, as in Docker.
pub(crate) fn credentials(header: Option<&str>) -> Credentials {
    let read = header.map(Credentials::from_header).transpose();
    read.unwrap_or_default().unwrap_or_default()
}

impl Inner {
    /// The containers as users of their images.
    fn users_of_images(&self) -> Vec<User> {
        let containers = self.containers.all();
        let user = |container: &Arc<Container>| User {
            container: container.id.clone(),
            image: container.image.clone(),
            running: container.view().state.is_running(),
        };
        containers.iter().map(user).collect()
    }

    /// Removes images that were kept only for containers that are gone.
    pub(crate) async fn collect_images(&self) {
        let users = || self.users_of_images();
        if let Err(error) = self.images.collect_retained(&users).await {
            tracing::warn!(%error, "remove an image whose last container is gone");
        }
    }
}

/// The name that an image which is made here gets; `None` where it gets none.
pub(crate) fn name_of(repo: &str, tag: &str) -> Result<Option<Reference>> {
    if repo.is_empty() {
        // A tag alone names nothing.
        return match tag {
            "" => Ok(None),
            tag => Err(invalid(format!("the tag {tag:?} has no repository"))),
        };
    }
    let reference = Reference::parse(repo).map_err(invalid)?;
    if reference.digest().is_some() {
        return Err(invalid("cannot import digest reference"));
    }
    let reference = match tag {
        "" => reference,
        tag => reference.with_tag(tag).map_err(invalid)?,
    };
    Ok(Some(reference.with_default_tag()))
}

impl Engine {
    /// Loads what `docker save` wrote. What fails is told by the stream, as Docker does.
    pub async fn load(&self, body: ByteStream, quiet: bool) -> ProgressStream {
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
        streamed_in_full(stream, AbortOnDrop(loading)).await
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
            parent: image.parent.clone().unwrap_or_default(),
            comment: comment(&image),
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
                on_build: run.on_build.clone(),
                working_dir: run.working_dir.clone(),
                entrypoint: run.entrypoint.clone(),
                labels: run.labels.clone(),
                stop_signal: run.stop_signal.clone(),
                shell: run.shell.clone(),
            },
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            os: config.os.clone(),
            size: i64::try_from(image.size).unwrap_or(i64::MAX),
            virtual_size: None,
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

    /// Takes a name from an image, or removes it; with `prune` also the images that it was made upon and that nothing
    /// refers to.
    pub async fn remove_image(&self, name: &str, force: bool, prune: bool) -> Result<Vec<api::ImageDeleteResponse>> {
        let removed = self.take_image(name, force, prune).await?;
        Ok(removed.into_iter().map(|removed| self.removed(removed)).collect())
    }

    async fn take_image(&self, name: &str, force: bool, prune: bool) -> Result<Vec<Removed>> {
        let users = || self.inner.users_of_images();
        let removal = Removal {
            name,
            force,
            prune,
            users: &users,
        };
        self.inner.images.remove(removal).await.map_err(|error| {
            let words = error.to_string();
            match error {
                RemoveError::Find(error) => find_error(error),
                error if error.is_conflict() => Error::new(ErrorKind::Conflict, words),
                _ => Error::new(ErrorKind::System, words),
            }
        })
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
            Removed::DeletedLayer { id, .. } => api::ImageDeleteResponse {
                untagged: None,
                deleted: Some(id),
            },
        }
    }
}

/// What was said of the image, or of the last that was done to it.
fn comment(image: &Image) -> String {
    let config = &image.config;
    let last = config.history.last().filter(|_| config.comment.is_empty());
    last.map_or(&config.comment, |entry| &entry.comment).clone()
}

fn last_tagged(image: &Image) -> String {
    let time = image
        .last_tagged
        .and_then(|nanoseconds| jiff::Timestamp::from_nanosecond(nanoseconds).ok());
    time.map_or_else(|| crate::containers::files::NEVER.to_owned(), |time| time.to_string())
}
