//! Volumes: the objects that clients make and name, and which containers have them.
//!
//! ```text
//!   record (metadata store)       survives everything
//!   users, running (memory)       which containers have it, and which of them run: rebuilt from the containers' records
//!   device (kernel)               mounted for the first container that runs, taken off after the last
//! ```
//!
//! A container's creation claims its volumes, so that nobody removes them meanwhile; those that nobody named are committed in
//! the transaction that commits the container, and their removal in the one that removes it.

mod claim;
mod create;
mod list;
mod prune;
mod remove;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conex_container::VolumeChoice;
use conex_metadata::Metadata;
use conex_snapshot::Snapshots;
use conex_volume::{LocalOptions, VolumeError, VolumeRecord};

pub(crate) use crate::volumes::claim::Claim;
pub(crate) use crate::volumes::remove::Going;

use crate::containers::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::settings::Settings;

/// The only driver.
pub(crate) const DRIVER: &str = "local";

/// Label of volumes that nobody named; Docker's.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// All volumes of the engine.
pub(crate) struct Volumes {
    store: conex_volume::Volumes,
    state: Mutex<BTreeMap<String, Volume>>,
    /// Held by whoever makes or removes volumes that have a name.
    changing: Arc<tokio::sync::Mutex<()>>,
}

struct Volume {
    record: VolumeRecord,
    /// Ids of the containers that have it, running or not.
    users: BTreeSet<String>,
    /// Ids of those that run, or are being filled from.
    running: BTreeSet<String>,
    /// Held by whoever mounts, unmounts or fills it.
    busy: Arc<Mutex<()>>,
}

impl Volume {
    fn new(record: VolumeRecord) -> Self {
        Self {
            record,
            users: BTreeSet::new(),
            running: BTreeSet::new(),
            busy: Arc::default(),
        }
    }

    fn device(&self) -> Result<Option<LocalOptions>> {
        match &self.record.options {
            Some(options) => LocalOptions::parse(options).map_err(failed),
            None => Ok(None),
        }
    }
}

impl Volumes {
    /// Opens the volumes, and finishes what a crash left unfinished. It blocks.
    pub(crate) fn open(settings: &Settings, metadata: &Metadata, snapshots: &Snapshots) -> Result<Self> {
        let (store, records) =
            conex_volume::Volumes::open(&settings.data_root, metadata.clone(), snapshots.clone()).map_err(failed)?;
        let volumes = records
            .into_iter()
            .map(|record| (record.name.clone(), Volume::new(record)));
        let owner = settings.user_map.as_ref().and_then(|map| map.outside((0, 0)));
        Ok(Self {
            store: store.owned_by(owner),
            state: Mutex::new(volumes.collect()),
            changing: Arc::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Volume>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of a volume, or the path in it that is mounted.
    pub(crate) fn path(&self, volume: &VolumeChoice) -> PathBuf {
        let data = self.store.data(&volume.name);
        if volume.subpath.is_empty() {
            data
        } else {
            data.join(&volume.subpath)
        }
    }

    /// Names of all volumes.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.lock().keys().cloned().collect()
    }

    /// The directory that containers see.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.store.data(name)
    }

    /// A path in a volume as a detached mount.
    pub(crate) fn clone_subpath(&self, volume: &VolumeChoice) -> Result<OwnedFd> {
        self.store.clone_subpath(&volume.name, &volume.subpath).map_err(failed)
    }

    /// Notes a container of an earlier life of the daemon.
    pub(crate) fn adopt(&self, container: &Container, runs: bool) {
        let mut state = self.lock();
        for volume in container.config.mounted_volumes() {
            let Some(volume) = state.get_mut(&volume.name) else {
                tracing::warn!(container = %container.id, volume = %volume.name, "the volume of a container is gone");
                continue;
            };
            volume.users.insert(container.id.clone());
            if runs {
                volume.running.insert(container.id.clone());
            }
        }
    }

    /// Takes off devices that nobody uses: their containers ended while there was no daemon. It blocks.
    pub(crate) fn collect(&self) {
        let idle: Vec<String> = {
            let state = self.lock();
            let idle = state.values().filter(|volume| volume.running.is_empty());
            let devices = idle.filter(|volume| matches!(volume.device(), Ok(Some(_))));
            devices.map(|volume| volume.record.name.clone()).collect()
        };
        for name in idle {
            self.rest(&name);
        }
    }

    /// Mounts what has to be mounted before a container runs. It blocks.
    pub(crate) fn begin(&self, container: &Container) -> Result<()> {
        for volume in container.config.mounted_volumes() {
            self.wake(&volume.name, &container.id)?;
        }
        Ok(())
    }

    /// Takes off what only this container used. It blocks.
    pub(crate) fn end(&self, container: &Container) {
        for volume in container.config.mounted_volumes() {
            if let Some(volume) = self.lock().get_mut(&volume.name) {
                volume.running.remove(&container.id);
            }
            self.rest(&volume.name);
        }
    }

    fn wake(&self, name: &str, user: &str) -> Result<()> {
        let (busy, device) = {
            let mut state = self.lock();
            let volume = state.get_mut(name).ok_or_else(|| no_such_volume(name))?;
            volume.running.insert(user.to_owned());
            (volume.busy.clone(), volume.device()?)
        };
        let Some(device) = device else { return Ok(()) };
        let _busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.mount(name, &device).map_err(failed)
    }

    fn rest(&self, name: &str) {
        let busy = match self.lock().get(name) {
            Some(volume) if matches!(volume.device(), Ok(Some(_))) => volume.busy.clone(),
            _ => return,
        };
        let _busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lock().get(name).is_some_and(|volume| !volume.running.is_empty()) {
            return;
        }
        if let Err(error) = self.store.unmount(name) {
            tracing::warn!(%error, volume = name, "take the device of a volume off");
        }
    }

    /// Forgets a container.
    pub(crate) fn release(&self, container: &Container) {
        let mut state = self.lock();
        for volume in container.config.mounted_volumes() {
            if let Some(volume) = state.get_mut(&volume.name) {
                volume.users.remove(&container.id);
            }
        }
    }
}

/// Docker's words for a volume that is not there.
fn no_such_volume(name: &str) -> Error {
    let get = if name.is_empty() {
        "get".to_owned()
    } else {
        format!("get {name}")
    };
    Error::new(ErrorKind::NotFound, format!("{get}: no such volume"))
}

fn failed(error: VolumeError) -> Error {
    let kind = match error {
        VolumeError::Invalid(_) => ErrorKind::InvalidParameter,
        _ => ErrorKind::System,
    };
    Error::new(kind, error.to_string()).caused_by(error)
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
