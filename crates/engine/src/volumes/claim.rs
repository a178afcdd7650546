//! A new container's volumes: found, made, filled, and kept from being removed until the container is recorded.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, PoisonError};

use conex_container::{Config, VolumeChoice};
use conex_image::Image;
use conex_metadata::Changes;
use conex_sys::path;
use conex_sys::userns::IdMap;
use conex_volume::{Staged, VolumeRecord};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::containers::create::random_id;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::volumes::create::Wanted;
use crate::volumes::{ANONYMOUS, Volume, failed, no_such_volume, now};

/// The volumes of a container that is being made. Dropped before `publish`, those that nobody named are gone again.
pub(crate) struct Claim {
    engine: Arc<Inner>,
    container: String,
    /// Those that are there.
    names: Vec<String>,
    /// Those that nobody named.
    unnamed: Vec<(VolumeRecord, Staged)>,
    is_published: bool,
}

impl Claim {
    /// Claims the volumes of a configuration for a container, making those that are not there. It blocks.
    pub(crate) fn new(engine: &Arc<Inner>, container: &str, config: &mut Config) -> Result<Self> {
        let mut claim = Self {
            engine: engine.clone(),
            container: container.to_owned(),
            names: Vec::new(),
            unnamed: Vec::new(),
            is_published: false,
        };
        for volume in config.mounted_volumes_mut() {
            if volume.name.is_empty() {
                claim.make_unnamed(volume)?;
            } else {
                claim.take_named(volume)?;
            }
        }
        Ok(claim)
    }

    fn make_unnamed(&mut self, volume: &mut VolumeChoice) -> Result<()> {
        let name = random_id()?;
        volume.labels.insert(ANONYMOUS.to_owned(), String::new());
        let wanted = Wanted {
            name: &name,
            driver: &volume.driver,
            options: Some(&volume.options),
            labels: None,
        };
        wanted.check()?;
        let options = Some(volume.options.clone()).filter(|options| !options.is_empty());
        let record = VolumeRecord::new(&name, now(), Some(volume.labels.clone()), options);
        let staged = self.engine.volumes.store.stage(&name).map_err(failed)?;
        self.unnamed.push((record, staged));
        volume.name = name;
        Ok(())
    }

    fn take_named(&mut self, volume: &VolumeChoice) -> Result<()> {
        let engine = &self.engine;
        // Removed by somebody between the two, it is made once more.
        loop {
            let wanted = Wanted {
                name: &volume.name,
                driver: &volume.driver,
                options: Some(&volume.options).filter(|options| !options.is_empty()),
                labels: Some(volume.labels.clone()).filter(|labels| !labels.is_empty()),
            };
            if engine.volumes.ensure(wanted)? {
                engine.events.volume("create", &volume.name, &[]);
            }
            if let Some(found) = engine.volumes.lock().get_mut(&volume.name) {
                found.users.insert(self.container.clone());
                self.names.push(volume.name.clone());
                return Ok(());
            }
        }
    }

    /// Fills the empty ones with what the image has where they are mounted, with the ids of a user namespace. It blocks.
    pub(crate) fn fill(&self, image: &Image, config: &Config, map: Option<&IdMap>) -> Result<()> {
        let filled = |volume: &&VolumeChoice| !volume.no_copy && volume.subpath.is_empty();
        let volumes: Vec<&VolumeChoice> = config.mounted_volumes().filter(filled).collect();
        if volumes.is_empty() {
            return Ok(());
        }
        let engine = &self.engine;
        let done = engine.snapshots.read(&image.layers, |root| {
            volumes.iter().try_for_each(|volume| self.fill_one(root, volume, map))
        });
        done.map_err(|error| Error::new(ErrorKind::System, error.to_string()).caused_by(error))?
    }

    fn fill_one(&self, root: BorrowedFd<'_>, volume: &VolumeChoice, map: Option<&IdMap>) -> Result<()> {
        let opened = path::open_in(root, Path::new(&volume.target), OFlags::PATH | OFlags::DIRECTORY);
        let source = match opened {
            Ok(source) => source,
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NOTDIR)) => return Ok(()),
            Err(error) => {
                let words = format!("open {} of the image: {error}", volume.target);
                return Err(Error::new(ErrorKind::System, words));
            }
        };
        let unnamed = self.unnamed.iter().find(|(record, _)| record.name == volume.name);
        match unnamed {
            Some((record, staged)) if record.options.is_none() => staged.fill(source.as_fd(), map).map_err(failed),
            // A device is filled by the first that mounts it under a name.
            Some(_) => Ok(()),
            None => self.fill_named(&volume.name, source.as_fd(), map),
        }
    }

    fn fill_named(&self, name: &str, source: BorrowedFd<'_>, map: Option<&IdMap>) -> Result<()> {
        let volumes = &self.engine.volumes;
        let user = format!("filled by {}", self.container);
        let filled = volumes.wake(name, &user).and_then(|()| {
            let busy = volumes.lock().get(name).map(|volume| volume.busy.clone());
            let busy = busy.ok_or_else(|| no_such_volume(name))?;
            let _busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
            volumes.store.fill(name, source, map).map_err(failed)
        });
        if let Some(volume) = volumes.lock().get_mut(name) {
            volume.running.remove(&user);
        }
        volumes.rest(name);
        filled
    }

    /// What is committed together with the container.
    pub(crate) fn changes(&self) -> Changes {
        let store = &self.engine.volumes.store;
        let records = self.unnamed.iter().map(|(record, _)| record);
        records.fold(Changes::new(), |changes, record| store.recorded(changes, record))
    }

    /// The container is recorded: its volumes are there. It blocks.
    pub(crate) fn publish(mut self) {
        self.is_published = true;
        let mut made = BTreeMap::new();
        for (record, staged) in self.unnamed.drain(..) {
            if let Err(error) = staged.publish() {
                tracing::error!(%error, volume = %record.name, "publish a volume; the next start of the daemon does it");
            }
            let mut volume = Volume::new(record.clone());
            volume.users.insert(self.container.clone());
            made.insert(record.name, volume);
        }
        for name in made.keys() {
            self.engine.events.volume("create", name, &[]);
        }
        self.engine.volumes.lock().append(&mut made);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_published {
            return;
        }
        let mut state = self.engine.volumes.lock();
        for name in &self.names {
            if let Some(volume) = state.get_mut(name) {
                volume.users.remove(&self.container);
            }
        }
    }
}
