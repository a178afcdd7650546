//! `POST /commit`: an image of what a container changed.
//!
//! ```text
//!   hold        its processes are frozen, where they run and the client wants it
//!   capture     the writable layer --tar--> digest, files, skeleton                 one pass over it
//!   let go      they go on
//!   record      layer, image and name in one transaction
//! ```

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conex_api_types as api;
use conex_archive::{Omitted, TarWriter, pack_layer};
use conex_image::{Base, Creation, Healthcheck, History, Image, ImageConfig, MadeLayer, RunConfig, WriteArchive};
use conex_reference::Reference;
use conex_snapshot::{Layer, Own, Snapshots};
use conex_sys::userns::IdMap;
use serde_json::json;

use crate::containers::access;
use crate::containers::task::Order;
use crate::containers::{Container, no_such_container};
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::images::{changes, invalid, name_of};
use crate::requests::CommitRequest;

/// Files of the engine's own that it mounts something on; where the image has none, an empty one is made.
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Directories that these are in, and that file systems of the engine's own are mounted on.
const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];

/// Mode of a directory that the engine makes.
const DIRECTORY_MODE: u32 = 0o755;

impl Engine {
    /// Makes an image of a container; its id. It is on disk when this returns.
    ///
    /// # Errors
    /// 400 for a name or a change that cannot be, 404 for a container or image that is not there, 409 for a container that
    /// is being removed, 500 where its files cannot be read or kept.
    pub async fn commit_container(&self, request: CommitRequest) -> Result<String> {
        let inner = self.inner.clone();
        // A client that goes away must not leave processes frozen.
        let committing = tokio::spawn(async move { commit(&inner, request).await });
        committing
            .await
            .map_err(|error| Error::new(ErrorKind::System, "commit the container").caused_by(error))?
    }
}

async fn commit(inner: &Arc<Inner>, mut request: CommitRequest) -> Result<String> {
    let name = name_of(&request.repo, &request.tag)?;
    let instructions = changes::parse(&request.changes)?;
    if request.container.is_empty() {
        return Err(invalid("invalid name or ID supplied: \"\""));
    }
    let container = inner.containers.find(&request.container)?;
    require_there(&container)?;
    let base = inner.images.base(&container.image).await;
    let base = base.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("No such image: {}", container.image)))?;
    let own = run_config(&container);
    let mut run = request.config.take().map_or_else(|| own.clone(), asked_for);
    changes::apply(&mut run, instructions)?;
    changes::fill_in(&mut run, &own);

    let layer = capture(inner, &container, &base, &request).await?;
    let cmd = container.config.cmd.as_deref().unwrap_or_default();
    let created = jiff::Timestamp::now().to_string();
    let entry = History {
        created: created.clone(),
        created_by: cmd.join(" "),
        author: request.author.clone(),
        comment: request.comment.clone(),
        empty_layer: false,
    };
    let mut config = config(&base.image, run, created, request.author);
    if request.squash {
        // What the layers were made by is still told; they are one by now.
        let made_by = base.image.config.history.iter().cloned();
        let within = |entry| History {
            empty_layer: true,
            ..entry
        };
        config.history = made_by.map(within).collect();
    }
    let image = inner.images.create(Creation {
        base: Some(base).filter(|_| !request.squash),
        layer,
        config,
        entry,
        name: name.clone(),
    });
    let image = image.await.map_err(failed)?;
    tell(inner, &container, &image, name.as_ref(), &request.comment);
    Ok(image.id.clone())
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::System, error.to_string()).caused_by(error)
}

fn require_there(container: &Container) -> Result<()> {
    match container.view().state.status() {
        "removing" => Err(Error::new(
            ErrorKind::Conflict,
            format!("You cannot commit container {} which is being removed", container.id),
        )),
        _ => Ok(()),
    }
}

fn tell(inner: &Inner, container: &Container, image: &Image, name: Option<&Reference>, comment: &str) {
    let familiar = name.map(Reference::familiar).unwrap_or_default();
    inner.tell_of_image("create", &image.id, &image.id);
    if name.is_some() {
        inner.tell_of_image("tag", &image.id, &familiar);
    }
    let details = [
        ("comment", comment.to_owned()),
        ("imageID", image.id.clone()),
        ("imageRef", familiar),
    ];
    inner.events.container(container, "commit", &details);
}

/// The base's platform with a configuration of its own.
fn config(base: &Image, run: RunConfig, created: String, author: String) -> ImageConfig {
    let base = &base.config;
    ImageConfig {
        created,
        author,
        architecture: base.architecture.clone(),
        variant: base.variant.clone(),
        os: base.os.clone(),
        os_version: base.os_version.clone(),
        config: run,
        ..ImageConfig::default()
    }
}

/// How a container was made to run, as an image says it.
fn run_config(container: &Container) -> RunConfig {
    let config = &container.config;
    let set = |names: &std::collections::BTreeSet<String>| names.iter().map(|name| (name.clone(), json!({}))).collect();
    RunConfig {
        user: config.user.clone(),
        exposed_ports: set(&config.exposed_ports),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        volumes: set(&config.volumes),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        stop_timeout: config.stop_timeout,
        healthcheck: config.healthcheck.as_ref().map(healthcheck),
        shell: config.shell.clone(),
        on_build: config.on_build.clone(),
        args_escaped: config.args_escaped,
    }
}

/// What a client wants the image's configuration to be; what it leaves out is the container's.
fn asked_for(request: api::ContainerCreateRequest) -> RunConfig {
    let set = |names: std::collections::BTreeMap<String, api::Empty>| {
        names.into_keys().map(|name| (name, json!({}))).collect()
    };
    RunConfig {
        user: request.user,
        exposed_ports: set(request.exposed_ports),
        env: request.env,
        entrypoint: request.entrypoint,
        cmd: request.cmd,
        volumes: set(request.volumes),
        working_dir: request.working_dir,
        labels: request.labels,
        stop_signal: request.stop_signal,
        stop_timeout: request.stop_timeout,
        healthcheck: request.healthcheck.as_ref().map(healthcheck),
        shell: request.shell,
        on_build: request.on_build,
        args_escaped: request.args_escaped,
    }
}

fn healthcheck(check: &api::HealthConfig) -> Healthcheck {
    Healthcheck {
        test: check.test.clone(),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}

/// Makes a layer of the writable one, or one of all that the container shows, with the processes frozen meanwhile where
/// they are to be.
async fn capture(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    base: &Base,
    request: &CommitRequest,
) -> Result<MadeLayer> {
    let _only = container.capture.lock().await;
    let is_held = request.pause && container.order(|reply| Order::Hold { reply }).await?;
    let captured = if request.squash {
        capture_all(inner, container, base).await
    } else {
        capture_layer(inner, container, base).await
    };
    if is_held && let Err(error) = container.order(|reply| Order::LetGo { reply }).await {
        tracing::warn!(container = %container.id, %error, "let a container go on after a commit");
    }
    captured
}

async fn capture_layer(inner: &Arc<Inner>, container: &Container, base: &Base) -> Result<MadeLayer> {
    let readable = access::readable(container).await?;
    let (snapshots, layers) = (inner.snapshots.clone(), base.image.layers.clone());
    let dir = inner.files.dir(&container.id);
    let (map, limit) = (container.map.clone(), container.limit);
    let write: WriteArchive = Box::new(move |output| {
        let _readable = readable;
        let own = Own {
            directory: &dir,
            limit,
            label: None,
        };
        write(&snapshots, &layers, (own, map), output)
    });
    let layer = inner.images.write_layer(base, write).await.map_err(failed)?;
    still_there(inner, container, layer)
}

/// A layer of all that a container shows.
async fn capture_all(inner: &Arc<Inner>, container: &Arc<Container>, base: &Base) -> Result<MadeLayer> {
    let (snapshots, layers) = (inner.snapshots.clone(), base.image.layers.clone());
    let (mut writer, body) = conex_stream::writer();
    let map = container.map.clone();
    let packing = access::with_bare_root(inner, container, move |root| {
        if let Err(error) = write_all(&snapshots, &layers, (root.as_fd(), map), &mut writer) {
            writer.fail(error);
        }
        Ok(())
    });
    let (packed, layer) = tokio::join!(packing, inner.images.read_layer(body, |_| {}));
    packed?;
    still_there(inner, container, layer.map_err(failed)?)
}

/// A removal takes the container out before it touches its files: what was read meanwhile is nothing.
fn still_there(inner: &Inner, container: &Container, layer: MadeLayer) -> Result<MadeLayer> {
    match inner.containers.find(&container.id) {
        Ok(_) => Ok(layer),
        Err(_) => Err(no_such_container(&container.id)),
    }
}

/// Writes what a container has changed, with the ids of its user namespace.
fn write(
    snapshots: &Snapshots,
    layers: &[Layer],
    (own, map): (Own<'_>, Option<IdMap>),
    output: &mut dyn io::Write,
) -> io::Result<()> {
    let mut archive = TarWriter::new(output).with_map(map.clone());
    let difference = snapshots.difference(layers, own).map_err(io::Error::other)?;
    // A container that was never started has none.
    if let Some(difference) = difference {
        let changed = File::open(difference.path())?;
        let omitted = omitted(snapshots, layers, difference.path(), map.as_ref())?;
        pack_layer(changed.as_fd(), &omitted, &mut archive)?;
    }
    archive.finish().map(|_| ())
}

/// Writes all that a container's root shows.
fn write_all(
    snapshots: &Snapshots,
    layers: &[Layer],
    (root, map): (BorrowedFd<'_>, Option<IdMap>),
    output: &mut dyn io::Write,
) -> io::Result<()> {
    let shown = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
    let mut omitted = omitted(snapshots, layers, &shown, map.as_ref())?;
    omitted.root = false;
    let mut own = HashSet::new();
    for path in omitted.hollow {
        // What the image has is no less there for being empty.
        if snapshots
            .shown(layers, Path::new(OsStr::from_bytes(&path)))
            .map_err(io::Error::other)?
            .is_none()
        {
            own.insert(path);
        }
    }
    omitted.hollow = own;
    let mut archive = TarWriter::new(output).with_map(map);
    pack_layer(root, &omitted, &mut archive)?;
    archive.finish().map(|_| ())
}

/// What in a writable layer is the engine's and not the container's, as far as it is as the engine made it.
fn omitted(snapshots: &Snapshots, layers: &[Layer], upper: &Path, map: Option<&IdMap>) -> io::Result<Omitted> {
    let below = |path: &str| snapshots.shown(layers, Path::new(path)).map_err(io::Error::other);
    let (mut objects, mut hollow) = (HashSet::new(), HashSet::new());
    for path in FILES {
        let found = look(&upper.join(path))?;
        if found.is_some_and(|found| found.is_file() && found.len() == 0) && below(path)?.is_none() {
            objects.insert(path.as_bytes().to_vec());
        }
    }
    for path in DIRECTORIES {
        if let Some(found) = look(&upper.join(path))?
            && found.is_dir()
            && is_like(&found, below(path)?.as_ref(), map)
        {
            hollow.insert(path.as_bytes().to_vec());
        }
    }
    let root = snapshots.shown_root(layers).map_err(io::Error::other)?;
    Ok(Omitted {
        objects,
        hollow,
        root: is_like(&fs::metadata(upper)?, root.as_ref(), map),
    })
}

fn look(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        found => found.map(Some),
    }
}

/// Whether a directory has owner and mode of the layers' own, or those that the engine gives where they have none.
fn is_like(found: &fs::Metadata, below: Option<&fs::Metadata>, map: Option<&IdMap>) -> bool {
    let attributes = |found: &fs::Metadata| (found.mode() & 0o7777, (found.uid(), found.gid()));
    let (mode, owner) = attributes(found);
    let owner = map.map_or(owner, |map| map.inside(owner));
    (mode, owner) == below.map_or((DIRECTORY_MODE, (0, 0)), attributes)
}
