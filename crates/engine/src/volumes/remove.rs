//! `DELETE /volumes/{name}`, and the volumes that go with their container.

use std::sync::Arc;

use conex_metadata::Changes;
use tokio::sync::OwnedMutexGuard;

use crate::containers::Container;
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::volumes::{Volume, Volumes, failed, no_such_volume};

impl Engine {
    /// Removes a volume that no container has. With `force` its absence is no error.
    ///
    /// # Errors
    /// 404 where there is none of the name, 409 where a container has it.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        let removed = tokio::task::spawn_blocking(move || match inner.volumes.remove(&name) {
            Ok(()) => {
                inner.events.volume("destroy", &name, &[]);
                Ok(())
            }
            Err(error) if force && error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        });
        removed
            .await
            .map_err(|error| Error::new(ErrorKind::System, format!("remove the volume: {error}")))?
    }
}

impl Volumes {
    /// Removes a volume. It blocks.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let _changing = self.changing.blocking_lock();
        let volume = self.take_out(name)?;
        self.store
            .unmount(name)
            .and_then(|()| self.store.remove(name))
            .map_err(|error| {
                self.lock().insert(name.to_owned(), volume);
                let error = failed(error);
                Error::new(error.kind(), format!("remove {name}: {}", error.message()))
            })
    }

    fn take_out(&self, name: &str) -> Result<Volume> {
        let mut state = self.lock();
        let volume = state.get(name).ok_or_else(|| no_such_volume(name))?;
        if !volume.users.is_empty() {
            let users: Vec<&str> = volume.users.iter().map(String::as_str).collect();
            let words = format!("remove {name}: volume is in use - [{}]", users.join(", "));
            return Err(Error::new(ErrorKind::Conflict, words));
        }
        state.remove(name).ok_or_else(|| no_such_volume(name))
    }
}

/// Volumes that go with their container: nobody named them, and nobody else has them.
pub(crate) struct Going {
    engine: Arc<Inner>,
    volumes: Vec<Volume>,
    /// Nobody makes a volume of the same name meanwhile.
    _changing: OwnedMutexGuard<()>,
}

impl Going {
    /// Those of a container; `None` where there are none.
    pub(crate) async fn with(engine: &Arc<Inner>, container: &Container) -> Option<Self> {
        let unnamed = container.config.mounted_volumes().filter(|volume| volume.anonymous);
        let unnamed: Vec<&str> = unnamed.map(|volume| volume.name.as_str()).collect();
        if unnamed.is_empty() {
            return None;
        }
        let changing = engine.volumes.changing.clone().lock_owned().await;
        let mut state = engine.volumes.lock();
        let is_its_own = |volume: &Volume| volume.users.iter().all(|user| *user == container.id);
        let (mut volumes, mut taken) = (Vec::new(), Vec::new());
        for name in unnamed {
            if state.get(name).is_some_and(is_its_own) {
                taken.extend(state.remove(name));
            }
        }
        volumes.append(&mut taken);
        drop(state);
        Some(Self {
            engine: engine.clone(),
            volumes,
            _changing: changing,
        })
    }

    /// What is committed together with the container's removal.
    pub(crate) fn changes(&self) -> Changes {
        let store = &self.engine.volumes.store;
        let names = self.volumes.iter().map(|volume| volume.record.name.as_str());
        names.fold(Changes::new(), |changes, name| store.removed(changes, name))
    }

    /// The removal is not to be.
    pub(crate) fn stay(self) {
        let mut state = self.engine.volumes.lock();
        for volume in self.volumes {
            state.insert(volume.record.name.clone(), volume);
        }
    }

    /// The removal is committed: they are discarded. It blocks.
    pub(crate) fn discard(self) {
        for volume in self.volumes {
            let name = &volume.record.name;
            let store = &self.engine.volumes.store;
            if let Err(error) = store.unmount(name).and_then(|()| store.discard(name)) {
                tracing::error!(%error, volume = %name, "discard a volume; the next start of the daemon does it");
            }
            self.engine.events.volume("destroy", name, &[]);
        }
    }
}
