//! Images: pulled, loaded, imported, inspected, tagged, removed.

pub(crate) mod changes;
mod history;
mod import;
mod list;
mod manifests;
mod prune;
mod pull;
mod push;
mod save;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use conex_api_types as api;
use conex_image::{FindError, Image, ProgressSink, Removal, RemoveError, Removed, TagError, User, Which};
use conex_reference::{Platform, Reference};
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
        FindError::NoSuchImage { .. } | FindError::OtherPlatform { .. } | FindError::NoPlatform { .. } => {
            ErrorKind::NotFound
        }
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
    /// A platform as a client wrote it; what is not said is this machine's.
    pub(crate) fn parse_platform(&self, text: &str) -> Result<Platform> {
        Platform::parse(text, self.images.host()).map_err(invalid)
    }

    /// The platform that a client wrote, this machine's where none is said.
    pub(crate) fn platform_or_host(&self, text: Option<&str>) -> Result<Platform> {
        text.map_or_else(|| Ok(self.images.host().clone()), |text| self.parse_platform(text))
    }

    /// The containers as users of their images.
    pub(crate) fn users_of_images(&self) -> Vec<User> {
        let containers = self.containers.all();
        let user = |container: &Arc<Container>| User {
            container: container.id.clone(),
            image: container.image.clone(),
            running: container.view().state.is_up(),
        };
        containers.iter().map(user).collect()
    }

    /// Tells that something happened to an image, known by this name; with its labels, unless it is there no more.
    pub(crate) fn tell_of_image(&self, action: &str, id: &str, name: &str) {
        let found = self.images.find(id);
        let labels = found
            .map(|image| image.config.config.labels.clone())
            .unwrap_or_default();
        self.events.image(action, id, name, &labels);
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
    /// Loads what `docker save` wrote, or what of it is for a platform. What fails is told by the stream, as Docker does.
    ///
    /// # Errors
    /// 400 for half of a platform.
    pub async fn load(
        &self,
        body: ByteStream,
        quiet: bool,
        platform: Option<&api::Platform>,
    ) -> Result<ProgressStream> {
        let platform = platform.map(platform_of).transpose()?;
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
            match inner.images.load(body, platform.as_ref(), sink).await {
                Ok(images) => {
                    for image in images {
                        inner.tell_of_image("load", &image.id, image.repo_tags.first().unwrap_or(&image.id));
                    }
                }
                Err(error) => {
                    let _ = lines.send(Line::Failure(Error::new(ErrorKind::System, error.to_string())));
                }
            }
        });
        Ok(streamed_in_full(stream, AbortOnDrop(loading)).await)
    }

    /// Inspects an image, which has to be of a platform where one is given, with the manifests under its names.
    ///
    /// # Errors
    /// 404 for no such image or one of another platform, 400 for half of a platform.
    pub async fn image(
        &self,
        name: &str,
        platform: Option<&api::Platform>,
        manifests: bool,
    ) -> Result<api::ImageInspect> {
        let image = self.find_image_for(name, platform)?;
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
                cmd: run.cmd.clone().unwrap_or_default(),
                args_escaped: run.args_escaped,
                healthcheck: run
                    .healthcheck
                    .as_ref()
                    .and_then(|check| serde_json::to_value(check).ok()),
                volumes: set(&run.volumes),
                on_build: run.on_build.clone().unwrap_or_default(),
                working_dir: run.working_dir.clone(),
                entrypoint: run.entrypoint.clone().unwrap_or_default(),
                labels: run.labels.clone(),
                stop_signal: run.stop_signal.clone(),
                shell: run.shell.clone().unwrap_or_default(),
                of_container: None,
            },
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            os: config.os.clone(),
            os_version: config.os_version.clone(),
            size: i64::try_from(image.size).unwrap_or(i64::MAX),
            virtual_size: None,
            graph_driver: api::GraphDriver {
                data: BTreeMap::new(),
                name: self.inner.snapshots.driver().name().to_owned(),
            },
            root_fs: api::RootFs {
                kind: "layers".into(),
                layers: config.rootfs.diff_ids.clone(),
            },
            metadata: api::ImageMetadata {
                last_tag_time: last_tagged(&image),
            },
            manifests: manifests.then(|| self.inner.manifests(&image)),
        })
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// 400 for a name that is none, 404 where there is no such image.
    pub async fn tag_image(&self, name: &str, repo: &str, tag: &str) -> Result<()> {
        let Some(reference) = name_of(repo, tag)? else {
            return Err(invalid("the image is given no name"));
        };
        if reference.familiar_name() == "sha256" {
            return Err(invalid(
                "refusing to create an ambiguous tag using digest algorithm as name",
            ));
        }
        // What is no name is the name of nothing.
        let no_image = |error: FindError| Error::new(ErrorKind::NotFound, error.to_string());
        let tagged = self.inner.images.tag(name, &reference).await;
        let id = tagged.map_err(|error| match error {
            TagError::Find(error) => no_image(error),
            error => Error::new(ErrorKind::System, error.to_string()),
        })?;
        self.inner.tell_of_image("tag", &id, &reference.familiar());
        Ok(())
    }

    /// Takes a name from what it means, or removes it; with `prune` also the images that it was made upon and that nothing
    /// refers to. Where platforms are given, images of others keep the name.
    ///
    /// # Errors
    /// 404 for no such image or one of other platforms, 409 for what uses it, 400 for half of a platform.
    pub async fn remove_image(
        &self,
        name: &str,
        force: bool,
        prune: bool,
        platforms: &[api::Platform],
    ) -> Result<Vec<api::ImageDeleteResponse>> {
        let platforms = platforms.iter().map(platform_of).collect::<Result<Vec<Platform>>>()?;
        let which = match platforms.as_slice() {
            [] => Which::All,
            platforms => Which::Platforms(platforms),
        };
        let image = self.inner.images.find(name).ok();
        let removed = self.take_image(name, which, force, prune).await?;
        let removed = removed.into_iter();
        Ok(removed.map(|removed| self.removed(removed, image.as_deref())).collect())
    }

    /// The image of this name, which has to be built for a platform where one is wanted.
    fn find_image_for(&self, name: &str, wanted: Option<&api::Platform>) -> Result<Arc<Image>> {
        let wanted = wanted.map(platform_of).transpose()?;
        let found = self.inner.images.find_for(name, wanted.as_ref());
        found.map_err(find_error)
    }

    async fn take_image(&self, name: &str, which: Which<'_>, force: bool, prune: bool) -> Result<Vec<Removed>> {
        let users = || self.inner.users_of_images();
        let removal = Removal {
            name,
            which,
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

    /// Tells of a part of a removal. `before` is the image that was to be removed, as it was.
    fn removed(&self, removed: Removed, before: Option<&Image>) -> api::ImageDeleteResponse {
        match removed {
            Removed::Untagged { name, image } => {
                let known = before.filter(|before| before.id == image);
                let labels = known
                    .map(|known| known.config.config.labels.clone())
                    .unwrap_or_default();
                self.inner.events.image("untag", &image, &name, &labels);
                api::ImageDeleteResponse {
                    untagged: Some(name),
                    deleted: None,
                }
            }
            Removed::DeletedImage(id) => {
                self.inner.tell_of_image("delete", &id, &id);
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

/// A platform as a client wrote it as JSON.
pub(crate) fn platform_of(wanted: &api::Platform) -> Result<Platform> {
    if wanted.os.is_empty() || wanted.architecture.is_empty() {
        return Err(invalid("both OS and Architecture must be provided"));
    }
    Ok(Platform::new(&wanted.os, &wanted.architecture, &wanted.variant))
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
