//! Networks in the metadata store.

use std::collections::BTreeMap;

use conex_metadata::{Changes, CommitError, Metadata, Table};
use conex_network::BridgePlan;
use conex_network::ipam::AddressPlan;
use serde::{Deserialize, Serialize};

use crate::containers::create::random_id;
use crate::error::{Error, ErrorKind, Result};

/// Version of `NetworkRecord`.
const VERSION: u32 = 1;

/// A network as it was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    /// Version of this shape.
    pub(crate) version: u32,
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Name.
    pub(crate) name: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub(crate) created: String,
    /// What it is.
    pub(crate) kind: NetworkKind,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Options as they were asked for.
    pub(crate) options: BTreeMap<String, String>,
}

/// What a network is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NetworkKind {
    /// The default bridge; its addresses are those of the interface.
    DefaultBridge,
    /// The host's network.
    Host,
    /// The loopback only.
    None,
    /// A bridge that a user made.
    Bridge(Box<UserBridge>),
}

/// A bridge that a user made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UserBridge {
    /// The interface.
    pub(crate) plan: BridgePlan,
    /// Its addresses.
    pub(crate) addresses: AddressPlan,
    /// Whether the user named the subnet.
    pub(crate) chosen_by_user: bool,
    /// Options of the address driver.
    pub(crate) ipam_options: Option<BTreeMap<String, String>>,
    /// As it was asked for.
    pub(crate) attachable: bool,
}

impl NetworkRecord {
    /// A record of the present version, made now.
    pub(crate) fn new(name: &str, kind: NetworkKind) -> Result<Self> {
        Ok(Self {
            version: VERSION,
            id: random_id()?,
            name: name.to_owned(),
            created: jiff::Timestamp::now().to_string(),
            kind,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        })
    }

    /// The driver's name in the API.
    pub(crate) fn driver(&self) -> &'static str {
        match self.kind {
            NetworkKind::DefaultBridge | NetworkKind::Bridge(_) => "bridge",
            NetworkKind::Host => "host",
            NetworkKind::None => "null",
        }
    }

    /// Whether it is there without anybody having made it.
    pub(crate) fn is_predefined(&self) -> bool {
        !matches!(self.kind, NetworkKind::Bridge(_))
    }

    /// The bridge that a user made.
    pub(crate) fn user_bridge(&self) -> Option<&UserBridge> {
        match &self.kind {
            NetworkKind::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }
}

/// Reads all networks; those that are predefined are made where they are not there yet, so that their ids stay.
pub(crate) fn load(metadata: &Metadata) -> Result<Vec<NetworkRecord>> {
    let rows = metadata
        .load(Table::Networks)
        .map_err(|error| Error::new(ErrorKind::System, "read the networks").caused_by(error))?;
    let mut records: Vec<NetworkRecord> = rows.iter().map(|(id, bytes)| parse(id, bytes)).collect::<Result<_>>()?;
    let mut changes = Changes::new();
    let mut missing = false;
    for (name, kind) in [
        ("none", NetworkKind::None),
        ("host", NetworkKind::Host),
        ("bridge", NetworkKind::DefaultBridge),
    ] {
        if records.iter().any(|record| record.name == name) {
            continue;
        }
        let record = NetworkRecord::new(name, kind)?;
        changes = changes.put(Table::Networks, record.id.as_str(), encode(&record)?);
        records.push(record);
        missing = true;
    }
    if missing {
        metadata.commit(changes).wait().map_err(store_error)?;
    }
    Ok(records)
}

/// Makes a network durable. It blocks.
pub(crate) fn add(metadata: &Metadata, record: &NetworkRecord) -> Result<()> {
    let changes = Changes::new().put(Table::Networks, record.id.as_str(), encode(record)?);
    metadata.commit(changes).wait().map_err(store_error)
}

/// Takes a network out. It blocks.
pub(crate) fn remove(metadata: &Metadata, id: &str) -> Result<()> {
    let changes = Changes::new().delete(Table::Networks, id);
    metadata.commit(changes).wait().map_err(store_error)
}

fn encode(record: &NetworkRecord) -> Result<Vec<u8>> {
    serde_json::to_vec(record)
        .map_err(|error| Error::new(ErrorKind::System, "encode the network's record").caused_by(error))
}

fn parse(id: &str, bytes: &[u8]) -> Result<NetworkRecord> {
    let damaged = |reason: String| Error::new(ErrorKind::System, format!("the record of network {id} {reason}"));
    let record: NetworkRecord =
        serde_json::from_slice(bytes).map_err(|error| damaged(format!("is damaged: {error}")))?;
    if record.version > VERSION {
        let version = record.version;
        return Err(damaged(format!("has version {version}, this daemon knows {VERSION}")));
    }
    Ok(record)
}

fn store_error(error: CommitError) -> Error {
    Error::new(ErrorKind::System, error.to_string()).caused_by(error)
}
