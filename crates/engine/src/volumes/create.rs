//! `POST /volumes/create`.

use std::collections::BTreeMap;

use conex_api_types as api;
use conex_volume::{LocalOptions, VolumeRecord, check_name};

use crate::containers::create::random_id;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::volumes::{ANONYMOUS, DRIVER, Volume, Volumes, failed, now};

/// A volume that is wanted.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) driver: &'a str,
    pub(super) options: Option<&'a BTreeMap<String, String>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
}

impl Engine {
    /// Makes a volume, or finds the one that has the name already. It is on disk when this returns.
    ///
    /// # Errors
    /// 400 for names and options that there cannot be, 404 for an unknown driver, 503 for a swarm's volume.
    pub async fn create_volume(&self, request: api::VolumeCreateRequest) -> Result<api::Volume> {
        if request.cluster_volume_spec.is_some() {
            let words = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this \
                         node to swarm and try again.";
            return Err(Error::new(ErrorKind::Unavailable, words));
        }
        let inner = self.inner.clone();
        let created = tokio::task::spawn_blocking(move || {
            let mut labels = request.labels;
            let mut name = request.name;
            if name.is_empty() {
                name = random_id()?;
                labels
                    .get_or_insert_default()
                    .insert(ANONYMOUS.to_owned(), String::new());
            }
            let wanted = Wanted {
                name: &name,
                driver: &request.driver,
                options: request.driver_opts.as_ref(),
                labels,
            };
            if inner.volumes.ensure(wanted)? {
                inner.events.volume("create", &name, &[]);
            }
            inner.volumes.inspect(&name)
        });
        created
            .await
            .map_err(|error| Error::new(ErrorKind::System, format!("create the volume: {error}")))?
    }
}

impl Wanted<'_> {
    /// Refuses drivers that there are none of.
    fn check_driver(&self) -> Result<()> {
        let (name, driver) = (self.name, self.driver);
        if matches!(driver, "" | DRIVER) {
            return Ok(());
        }
        let words = format!("create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found");
        Err(Error::new(ErrorKind::NotFound, words))
    }

    /// Refuses what there cannot be.
    pub(super) fn check(&self) -> Result<()> {
        let name = self.name;
        let of = |error: Error| Error::new(error.kind(), format!("create {name}: {}", error.message()));
        self.check_driver()?;
        check_name(name).map_err(failed).map_err(of)?;
        match self.options {
            Some(options) => LocalOptions::parse(options).map(drop).map_err(failed).map_err(of),
            None => Ok(()),
        }
    }
}

impl Volumes {
    /// Makes a volume where there is none of the name; whether it did. It blocks.
    pub(super) fn ensure(&self, wanted: Wanted<'_>) -> Result<bool> {
        let _changing = self.changing.blocking_lock();
        wanted.check_driver()?;
        // What is there stays as it is, whatever else is asked for.
        if self.lock().contains_key(wanted.name) {
            return Ok(false);
        }
        wanted.check()?;
        let record = VolumeRecord::new(wanted.name, now(), wanted.labels, wanted.options.cloned());
        self.store.create(&record).map_err(failed)?;
        self.lock().insert(record.name.clone(), Volume::new(record));
        Ok(true)
    }
}
