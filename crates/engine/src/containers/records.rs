//! Containers in the metadata store.

use conex_container::Config;
use conex_metadata::{Changes, CommitError, Metadata, Table};
use conex_snapshot::Limit;
use conex_spec::selinux::Labels;
use conex_sys::userns::IdMap;
use serde::{Deserialize, Serialize};

use crate::containers::Container;
use crate::containers::disk_limits::LimitRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::selinux::LabelsRecord;
use crate::user_namespaces::MapRecord;

/// Version of `ContainerRecord`.
const VERSION: u32 = 4;

/// Version of records without `labels`, which daemons before it read as well.
const UNLABELLED: u32 = 3;

/// Version of records without a `limit` either.
const UNLIMITED: u32 = 2;

/// Version of records without a `map` either.
const UNMAPPED: u32 = 1;

/// A container as it was created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// Version of this shape.
    pub(crate) version: u32,
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Name without the leading slash.
    pub(crate) name: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub(crate) created: String,
    /// The image's id.
    pub(crate) image: String,
    /// What was asked for, merged with the image.
    pub(crate) config: Config,
    /// The ids that its user namespace maps; since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) map: Option<MapRecord>,
    /// What it may write into its root file system; since version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<LimitRecord>,
    /// Its labels by SELinux; since version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<LabelsRecord>,
}

/// What is chosen for a container when it is created.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen<'a> {
    /// The ids of its user namespace.
    pub(crate) map: Option<&'a IdMap>,
    /// What it may write.
    pub(crate) limit: Option<Limit>,
    /// Its labels by SELinux.
    pub(crate) labels: Option<&'a Labels>,
}

impl ContainerRecord {
    /// A record of the version that it needs.
    pub(crate) fn new(
        (id, name): (String, String),
        created: String,
        image: String,
        config: Config,
        chosen: Chosen<'_>,
    ) -> Self {
        let version = match chosen {
            Chosen { labels: Some(_), .. } => VERSION,
            Chosen { limit: Some(_), .. } => UNLABELLED,
            Chosen { map: Some(_), .. } => UNLIMITED,
            Chosen { .. } => UNMAPPED,
        };
        Self {
            version,
            id,
            name,
            created,
            image,
            config,
            map: chosen.map.map(MapRecord::from),
            limit: chosen.limit.map(LimitRecord::from),
            labels: chosen.labels.map(LabelsRecord::from),
        }
    }
}

/// The containers' part of the metadata store.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    metadata: Metadata,
}

impl Records {
    /// In this store.
    pub(crate) fn new(metadata: Metadata) -> Self {
        Self { metadata }
    }

    /// Makes a container durable, and what comes with it. It is refused where the name is taken.
    pub(crate) async fn add(&self, record: &ContainerRecord, with: Changes) -> Result<()> {
        let bytes = serde_json::to_vec(record)
            .map_err(|error| Error::new(ErrorKind::System, "encode the container's record").caused_by(error))?;
        let changes = Changes::new()
            .require_absent(Table::Names, record.name.as_str())
            .require_present(Table::Images, record.image.as_str())
            .put(Table::Names, record.name.as_str(), record.id.as_str())
            .put(Table::Containers, record.id.as_str(), bytes)
            .and(with);
        self.metadata.commit(changes).await.map_err(|error| match &error {
            CommitError::Missing { key, .. } => Error::new(ErrorKind::NotFound, format!("No such image: {key}")),
            _ => store_error(error),
        })
    }

    /// Puts a changed container in the place of what it was. It is refused where the new name is taken.
    pub(crate) async fn replace(&self, before: &Container, container: &Container) -> Result<()> {
        let record = ContainerRecord::new(
            (container.id.clone(), container.name.clone()),
            container.created.clone(),
            container.image.clone(),
            container.config.clone(),
            Chosen {
                map: container.map.as_ref(),
                limit: container.limit,
                labels: container.labels.as_ref(),
            },
        );
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| Error::new(ErrorKind::System, "encode the container's record").caused_by(error))?;
        let mut changes = Changes::new()
            .require_present(Table::Containers, container.id.as_str())
            .put(Table::Containers, container.id.as_str(), bytes);
        if before.name != container.name {
            changes = changes
                .require_absent(Table::Names, container.name.as_str())
                .delete(Table::Names, before.name.as_str())
                .put(Table::Names, container.name.as_str(), container.id.as_str());
        }
        self.metadata.commit(changes).await.map_err(store_error)
    }

    /// Takes a container and its name out, and what goes with it.
    pub(crate) async fn remove(&self, container: &Container, with: Changes) -> Result<()> {
        let changes = Changes::new()
            .delete(Table::Containers, container.id.as_str())
            .delete(Table::Names, container.name.as_str())
            .and(with);
        self.metadata.commit(changes).await.map_err(store_error)
    }

    /// All containers.
    pub(crate) fn load(&self) -> Result<Vec<ContainerRecord>> {
        let rows = self
            .metadata
            .load(Table::Containers)
            .map_err(|error| Error::new(ErrorKind::System, "read the containers").caused_by(error))?;
        rows.iter().map(|(id, bytes)| parse(id, bytes)).collect()
    }
}

fn parse(id: &str, bytes: &[u8]) -> Result<ContainerRecord> {
    let record: ContainerRecord = serde_json::from_slice(bytes).map_err(|error| {
        Error::new(
            ErrorKind::System,
            format!("the record of container {id} is damaged: {error}"),
        )
    })?;
    if record.version > VERSION {
        return Err(Error::new(
            ErrorKind::System,
            format!(
                "the record of container {id} has version {}, this daemon knows {VERSION}",
                record.version
            ),
        ));
    }
    Ok(record)
}

fn store_error(error: CommitError) -> Error {
    let cause = std::error::Error::source(&error)
        .map(|source| format!(": {source}"))
        .unwrap_or_default();
    Error::new(ErrorKind::System, format!("{error}{cause}")).caused_by(error)
}
