//! The facade and what it is made of: opened in the order in which things depend on one another.

use std::fs;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use conex_api_types as api;
use conex_content::Content;
use conex_image::{Image, Images};
use conex_metadata::Metadata;
use conex_snapshot::Snapshots;
use conex_stream::ByteStream;
use futures_util::stream::BoxStream;

use crate::apparmor::AppArmor;
use crate::containers::execs::Execs;
use crate::containers::files::Files;
use crate::containers::records::Records;
use crate::containers::stats::HostTime;
use crate::containers::{Container, Containers, restore, upgrade};
use crate::count::Count;
use crate::descriptors::Descriptors;
use crate::error::{Error, ErrorKind, Result};
use crate::events::Events;
use crate::forwarder::Forwarder;
use crate::host::Host;
use crate::identity;
use crate::networks::Networks;
use crate::seccomp::Filters;
use crate::selinux::SeLinux;
use crate::settings::Settings;
use crate::storage;
use crate::template::Template;
use crate::user_namespaces;
use crate::volumes::Volumes;

/// A stream of progress lines; what fails after its beginning is its last line.
pub type ProgressStream = BoxStream<'static, api::ProgressMessage>;

/// The wait for a container.
pub type Waiting = Pin<Box<dyn Future<Output = Result<api::ContainerWaitResponse>> + Send + 'static>>;

/// A container's log on its way to a client.
pub struct Logs {
    /// Whether bytes come as they are; else in frames.
    pub tty: bool,
    /// The bytes, framed.
    pub stream: ByteStream,
}

/// The engine. Clones share it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

/// What the engine is made of.
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) host: Host,
    pub(crate) files: Files,
    pub(crate) records: Records,
    pub(crate) snapshots: Snapshots,
    pub(crate) images: Images,
    pub(crate) registries: conex_registry::Client,
    pub(crate) networks: Networks,
    pub(crate) volumes: Volumes,
    pub(crate) seccomp: Filters,
    pub(crate) apparmor: AppArmor,
    pub(crate) selinux: SeLinux,
    pub(crate) template: Template,
    pub(crate) descriptors: Descriptors,
    pub(crate) host_time: HostTime,
    pub(crate) events: Events,
    pub(crate) forwarder: Forwarder,
    /// The engine's own id.
    pub(crate) id: String,
    pub(crate) containers: Containers,
    pub(crate) execs: Execs,
    /// Monitors of removed containers that are still cleaning up.
    pub(crate) leaving: Count,
    /// Held by a prune of containers: there is one at a time.
    pub(crate) pruning: tokio::sync::Mutex<()>,
    /// Held by a prune of volumes.
    pub(crate) pruning_volumes: tokio::sync::Mutex<()>,
    /// Held by a prune of images.
    pub(crate) pruning_images: tokio::sync::Mutex<()>,
    /// Held from the choice of ids for a container until it is one.
    pub(crate) allotting: tokio::sync::Mutex<()>,
    /// Bytes that containers may write into their root file systems which do not ask for another limit.
    pub(crate) layer_size: Option<u64>,
    /// Held from the choice of a container's limit until it is one.
    pub(crate) limiting: tokio::sync::Mutex<()>,
    /// Held by a check of the stores.
    pub(crate) checking: Arc<tokio::sync::Mutex<()>>,
    /// An empty directory on which containers attach their root, each in its own mount namespace.
    pub(crate) root_mount_point: PathBuf,
}

/// How long an end in order waits for monitors of removed containers.
const FAREWELL: Duration = Duration::from_secs(2);

impl Engine {
    /// Opens the stores, finds the containers that run, and collects what crashes left.
    pub async fn open(settings: Settings) -> Result<Self> {
        let inner = tokio::task::spawn_blocking(move || open(settings))
            .await
            .map_err(|error| Error::new(ErrorKind::System, format!("open the engine: {error}")))??;
        let (stores, settings) = inner;
        let descriptors = Descriptors::raise();
        let template = Template::open(settings.shim.clone(), descriptors.inherited());
        let template = template.map_err(failed("start the template"))?;
        let inner = Arc::new(stores.with(settings, template, descriptors));
        restore::restore(&inner).await?;
        upgrade::start(&inner);
        let prepared = inner.clone();
        // In the background: requests that need no network do not wait for it, the first that does waits for the lock.
        tokio::task::spawn_blocking(move || {
            if prepared.networks.is_wanted()
                && let Err(error) = prepared.networks.prepare()
            {
                tracing::error!(%error, "prepare the networks; the first container that needs one tries again");
            }
        });
        Ok(Self { inner })
    }

    /// The engine to which its parts belong.
    pub(crate) fn of(inner: &Arc<Inner>) -> Self {
        Self { inner: inner.clone() }
    }

    /// Lets go of the host: containers go on, the bridge goes where none uses it.
    pub async fn close(&self) {
        // What a monitor leaves after that time the next start collects.
        self.inner.leaving.none(FAREWELL).await;
        let inner = self.inner.clone();
        let closed = tokio::task::spawn_blocking(move || {
            // Others may read the store while there is no daemon.
            inner.images.settle_layout();
            inner.networks.close();
            inner.leave_cgroups();
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "close the network");
        }
    }
}

struct Stores {
    host: Host,
    selinux: SeLinux,
    files: Files,
    metadata: Metadata,
    snapshots: Snapshots,
    layer_size: Option<u64>,
    images: Images,
    registries: conex_registry::Client,
    networks: Networks,
    volumes: Volumes,
    events: Events,
    id: String,
    root_mount_point: PathBuf,
}

fn open(settings: Settings) -> Result<(Stores, Settings)> {
    let host = Host::probe().map_err(failed("probe the host"))?;
    let selinux = SeLinux::open(settings.selinux, &host.facts)?;
    let files = Files::new(&settings.data_root, &settings.exec_root);
    let root_mount_point = settings.exec_root.join("root");
    for dir in [files.data(), files.run(), &root_mount_point] {
        fs::create_dir_all(dir).map_err(failed(&format!("create {}", dir.display())))?;
    }
    let opened = |what: &'static str| {
        move |error: Box<dyn std::error::Error + Send + Sync>| {
            let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            Error::new(ErrorKind::System, format!("open the {what}: {error}{cause}")).caused_by(error)
        }
    };
    let metadata = Metadata::open(&settings.data_root.join("meta.redb"))
        .map_err(|error| opened("metadata store")(error.into()))?;
    let content =
        Content::open(&settings.data_root.join("content")).map_err(|error| opened("content store")(error.into()))?;
    let (driver, options) = storage::choose(&settings, &metadata, &host)?;
    let snapshots = Snapshots::open(&settings.data_root, driver)
        .map_err(|error| opened("layer store")(error.into()))?
        .with_limits_by(options.method().unwrap_or_default());
    selinux.label_layers(snapshots.layers())?;
    let layer_size = storage::layer_size(&snapshots, &options)?;
    user_namespaces::check(&settings, &snapshots)?;
    storage::migrate::conclude(&metadata, &snapshots, &files)?;
    let images = Images::open(metadata.clone(), content, snapshots.clone(), of_images(&settings))
        .map_err(|error| opened("image store")(error.into()))?;
    let registries = registries(&settings)?;
    let networks = Networks::open(&settings, &metadata)?;
    let volumes = Volumes::open(&settings, &metadata, &snapshots)?;
    let events = Events::open(&settings.data_root.join("events")).map_err(failed("open the journal of events"))?;
    let id = identity::engine_id(&settings.data_root.join("engine-id")).map_err(failed("read the engine's id"))?;
    Ok((
        Stores {
            host,
            selinux,
            files,
            metadata,
            snapshots,
            layer_size,
            images,
            registries,
            networks,
            volumes,
            events,
            id,
            root_mount_point,
        },
        settings,
    ))
}

/// The settings of the image store.
pub(crate) fn of_images(settings: &Settings) -> conex_image::Settings {
    conex_image::Settings {
        host: conex_reference::Platform::of_machine(&rustix::system::uname().machine().to_string_lossy()),
        concurrent_downloads: settings.concurrent_downloads,
        concurrent_uploads: settings.concurrent_uploads,
        limits: settings.layer_limits,
        keep: settings.content_keep,
    }
}

/// The client of registries, as the daemon was told about them.
fn registries(settings: &Settings) -> Result<conex_registry::Client> {
    conex_registry::Client::new(conex_registry::ClientConfig {
        mirrors: settings.registry_mirrors.clone(),
        insecure: settings.insecure_registries.clone(),
        proxies: conex_registry::Proxies {
            http: proxy("HTTP_PROXY"),
            https: proxy("HTTPS_PROXY"),
            no_proxy: proxy("NO_PROXY").unwrap_or_default(),
        },
        certificates: ["/etc/conex/certs.d", "/etc/docker/certs.d"]
            .map(PathBuf::from)
            .to_vec(),
        user_agent: concat!("conex/", env!("CARGO_PKG_VERSION")).to_owned(),
        limits: conex_registry::Limits {
            attempts: settings.transfer_attempts,
            connections: settings.concurrent_downloads,
            ..conex_registry::Limits::default()
        },
    })
    .map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))
}

/// A proxy variable, in either case.
pub(crate) fn proxy(name: &str) -> Option<String> {
    std::env::var(name)
        .or_else(|_| std::env::var(name.to_lowercase()))
        .ok()
        .filter(|value| !value.is_empty())
}

fn failed(operation: &str) -> impl FnOnce(io::Error) -> Error {
    let operation = operation.to_owned();
    move |error| Error::new(ErrorKind::System, format!("{operation}: {error}")).caused_by(error)
}

impl Stores {
    fn with(self, settings: Settings, template: Template, descriptors: Descriptors) -> Inner {
        Inner {
            seccomp: Filters::new(self.host.facts.clone()),
            apparmor: AppArmor::new(&self.host.facts),
            selinux: self.selinux,
            host: self.host,
            files: self.files,
            records: Records::new(self.metadata),
            snapshots: self.snapshots,
            images: self.images,
            registries: self.registries,
            networks: self.networks,
            volumes: self.volumes,
            root_mount_point: self.root_mount_point,
            forwarder: Forwarder::open(&settings.data_root),
            settings,
            template,
            descriptors,
            host_time: HostTime::default(),
            events: self.events,
            id: self.id,
            containers: Containers::default(),
            execs: Execs::default(),
            pruning: tokio::sync::Mutex::default(),
            pruning_volumes: tokio::sync::Mutex::default(),
            pruning_images: tokio::sync::Mutex::default(),
            allotting: tokio::sync::Mutex::default(),
            layer_size: self.layer_size,
            limiting: tokio::sync::Mutex::default(),
            checking: Arc::default(),
            leaving: Count::default(),
        }
    }
}

impl Inner {
    /// An image by name or id, or Docker's error.
    pub(crate) fn find_image(&self, name: &str) -> Result<Arc<Image>> {
        self.images.find(name).map_err(crate::images::find_error)
    }

    /// The image that a container was made of, removed since or not.
    pub(crate) fn image_of(&self, container: &Container) -> Result<Arc<Image>> {
        let image = self.images.find_of_container(&container.image);
        image.map_err(crate::images::find_error)
    }
}
