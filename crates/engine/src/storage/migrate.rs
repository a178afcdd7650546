//! From one storage driver to another, while no daemon and no container runs.
//!
//! ```text
//!   note        "a migration": the next start discards in containers' directories what is not its driver's
//!   layers      each one's archive is unpacked anew, beside those that there are           nothing is recorded
//!   containers  what each has changed, beside what there is, under the other driver's names
//!   sync
//!   record      layers, images and the driver, in one transaction                           from here on it has happened
//!   forget      the earlier driver's layers and what containers had of it; the note
//! ```
//!
//! Killed before the transaction, the data root is the earlier driver's, after it the other's; what is not is discarded by
//! whoever comes next. Until then both take room.

use std::fs;
use std::io;
use std::path::Path;

use conex_content::Content;
use conex_image::{Converted, Images};
use conex_metadata::{Changes, Metadata, Table};
use conex_snapshot::{Limit, Own, Snapshots, StorageOptions};
use conex_sys::seqpacket::Socket;

use super::{DRIVER, MIGRATION, failed, is_used, noted, open, refused};
use crate::containers::disk_limits::{has_project, seed};
use crate::containers::files::Files;
use crate::containers::records::ContainerRecord;
use crate::engine::of_images;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::settings::Settings;

/// What a migration came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The earlier driver.
    pub from: String,
    /// The present one.
    pub to: String,
    /// Images that were converted.
    pub images: usize,
    /// Containers that had changed something.
    pub containers: usize,
}

/// Converts everything that the data root's storage driver has kept for the one that the settings name.
///
/// # Errors
/// A container or a daemon runs, a driver does not work here, or something cannot be read or written; then everything is
/// as it was.
pub async fn migrate(settings: Settings) -> Result<Migration> {
    let blocking = tokio::task::spawn_blocking(move || Stores::open(settings));
    let stores = blocking.await.map_err(failed)??;
    let (from, to) = (stores.old.driver().name(), stores.new.driver().name());
    let mut migration = Migration {
        from: from.to_owned(),
        to: to.to_owned(),
        images: 0,
        containers: 0,
    };
    if from == to {
        return Ok(migration);
    }
    // What the other driver cannot hold to its limit is refused before anything happens.
    let blocking = tokio::task::spawn_blocking(move || stores.containers().map(|containers| (stores, containers)));
    let (stores, containers) = blocking.await.map_err(failed)??;
    let note = Changes::new().put(Table::DataRoot, MIGRATION, to);
    stores.metadata.commit(note).await.map_err(failed)?;
    let converted = stores.images.convert(&stores.new).await.map_err(failed)?;
    migration.images = converted.count();
    let blocking = tokio::task::spawn_blocking(move || {
        let count = stores.convert_containers(&containers, &converted)?;
        stores.record(&containers, &converted)?;
        Ok::<usize, Error>(count)
    });
    migration.containers = blocking.await.map_err(failed)??;
    Ok(migration)
}

/// Discards in containers' directories what a migration has left there of another driver, if there was one.
pub(crate) fn conclude(metadata: &Metadata, snapshots: &Snapshots, files: &Files) -> Result<()> {
    if noted(metadata, MIGRATION)?.is_none() {
        return Ok(());
    }
    let entries = fs::read_dir(files.data()).map_err(reading(files.data()))?;
    for entry in entries {
        let entry = entry.map_err(reading(files.data()))?;
        snapshots.forget_others(&entry.path()).map_err(failed)?;
    }
    let forget = Changes::new().delete(Table::DataRoot, MIGRATION);
    metadata.commit(forget).wait().map_err(failed)
}

/// A container that is to be converted.
struct Converting {
    id: String,
    record: ContainerRecord,
    /// How the earlier driver holds it to its limit.
    before: Option<Limit>,
    /// How the new one does.
    after: Option<Limit>,
}

/// What a migration works on.
struct Stores {
    files: Files,
    metadata: Metadata,
    images: Images,
    old: Snapshots,
    new: Snapshots,
}

impl Stores {
    fn open(settings: Settings) -> Result<Self> {
        let Some(wanted) = settings.storage.driver.clone() else {
            let words = "a migration needs the storage driver to migrate to: --storage-driver";
            return Err(Error::new(ErrorKind::InvalidParameter, words));
        };
        let host = Host::probe().map_err(failed)?;
        let files = Files::new(&settings.data_root, &settings.exec_root);
        for dir in [files.data(), files.run()] {
            fs::create_dir_all(dir).map_err(reading(dir))?;
        }
        refuse_running(&files)?;
        let metadata = Metadata::open(&settings.data_root.join("meta.redb")).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
            let words = format!("{error}{}", cause.unwrap_or_default());
            Error::new(ErrorKind::System, words).caused_by(error)
        })?;
        let prior = noted(&metadata, DRIVER)?;
        let prior = match prior {
            Some(prior) => prior,
            None if is_used(&metadata)? => super::DEFAULT.to_owned(),
            None => wanted.clone(),
        };
        let options = StorageOptions::parse(&settings.storage.options).map_err(super::unusable)?;
        let target = open(&wanted, &settings, &options, &host)?;
        let old = open(&prior, &settings, &options, &host)?;
        let old = Snapshots::open(&settings.data_root, old)
            .map_err(failed)?
            .with_limits_by(options.method().unwrap_or_default());
        let new = old.with_driver(target);
        let content = Content::open(&settings.data_root.join("content")).map_err(failed)?;
        let images = Images::open(metadata.clone(), content, old.clone(), of_images(&settings)).map_err(failed)?;
        // What an earlier migration began.
        conclude(&metadata, &old, &files)?;
        Ok(Self {
            files,
            metadata,
            images,
            old,
            new,
        })
    }

    /// All containers, and how the new driver holds each to its limit.
    fn containers(&self) -> Result<Vec<Converting>> {
        let mut containers = Vec::new();
        for (id, bytes) in self.metadata.load(Table::Containers).map_err(failed)? {
            let record: ContainerRecord = serde_json::from_slice(&bytes).map_err(failed)?;
            let before = record.limit.map(Limit::from);
            containers.push(Converting {
                id,
                record,
                before,
                after: None,
            });
        }
        for index in 0..containers.len() {
            let Converting { id, record, before, .. } = &containers[index];
            let Some(limit) = before else { continue };
            let is_taken = |number| {
                let mut limits = containers.iter().flat_map(|other| [other.before, other.after]);
                limits.any(|limit| has_project(limit, number))
            };
            let chosen = self.new.limit(limit.bytes, seed(id), is_taken);
            containers[index].after = Some(chosen.map_err(|error| {
                let words = format!("container {} has a limit: {error}", record.name);
                refused(words).caused_by(error)
            })?);
        }
        Ok(containers)
    }

    /// Gives each container what it has changed, as the new driver has it; how many that were.
    fn convert_containers(&self, containers: &[Converting], converted: &Converted) -> Result<usize> {
        let mut count = 0;
        for container in containers {
            let image = &container.record.image;
            let layers = self.images.find_of_container(image);
            let layers = layers.map(|image| image.layers.clone()).unwrap_or_default();
            let dir = self.files.dir(&container.id);
            let own = |limit| Own {
                directory: &dir,
                limit,
                label: None,
            };
            let Some(changed) = self.old.difference(&layers, own(container.before)).map_err(failed)? else {
                continue;
            };
            let layers = converted.layers_of(image);
            self.new
                .take_over(&layers, own(container.after), &changed)
                .map_err(failed)?;
            conex_sys::failpoint::hit("migrate.container");
            count += 1;
        }
        Ok(count)
    }

    fn record(&self, containers: &[Converting], converted: &Converted) -> Result<()> {
        self.new.sync().map_err(failed)?;
        conex_sys::failpoint::hit("migrate.before-record");
        let driver = self.new.driver().name();
        let mut changes = converted.changes().put(Table::DataRoot, DRIVER, driver);
        for Converting { id, record, after, .. } in containers {
            let Some(limit) = *after else { continue };
            let record = ContainerRecord {
                limit: Some(limit.into()),
                ..record.clone()
            };
            let bytes = serde_json::to_vec(&record).map_err(failed)?;
            changes = changes.put(Table::Containers, id.as_str(), bytes);
        }
        self.metadata.commit(changes).wait().map_err(failed)?;
        conex_sys::failpoint::hit("migrate.recorded");
        self.new.retain(&converted.names()).map_err(failed)?;
        conclude(&self.metadata, &self.new, &self.files)
    }
}

/// Containers that run have their roots mounted from what would be discarded.
fn refuse_running(files: &Files) -> Result<()> {
    for entry in fs::read_dir(files.run()).map_err(reading(files.run()))? {
        let id = entry
            .map_err(reading(files.run()))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if Socket::connect(&files.control_socket(&id)).is_ok() {
            let words = format!("container {id} runs: stop all containers before the storage driver is changed");
            return Err(refused(words));
        }
    }
    Ok(())
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let words = format!("read {}", path.display());
    move |error| Error::new(ErrorKind::System, format!("{words}: {error}")).caused_by(error)
}
