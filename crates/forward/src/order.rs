//! What the daemon and the forwarder say to each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use conex_container::logging::Remote;
use serde::{Deserialize, Serialize};

/// Daemon to forwarder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Order {
    /// Forward a log, from its cursor on.
    Follow(Box<Follow>),
    /// Nothing is written to a log any more: it is done when all has arrived.
    Ended {
        /// Its name.
        name: String,
    },
}

/// Forwarder to daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum News {
    /// All of a log that has ended has arrived.
    Done {
        /// Its name.
        name: String,
        /// The number of the order by which it was followed.
        number: u64,
    },
}

/// A log that is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// What it is called between daemon and forwarder.
    pub name: String,
    /// Tells orders of one name apart.
    #[serde(default)]
    pub number: u64,
    /// The newest file of the spool.
    pub log: PathBuf,
    /// Where it is noted what has arrived.
    pub cursor: PathBuf,
    /// Whether it is still written to.
    pub live: bool,
    /// Who gets it.
    pub to: Remote,
    /// What entries say of where they are from.
    pub about: About,
}

/// Where entries are from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The tag.
    pub tag: String,
    /// The host's name.
    pub hostname: String,
    /// The container's id.
    pub container_id: String,
    /// Its name, without a slash.
    pub container_name: String,
    /// The id of its image.
    pub image_id: String,
    /// The name that the image was asked for by.
    pub image_name: String,
    /// Its program and arguments.
    pub command: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Labels and variables that were chosen.
    pub attributes: BTreeMap<String, String>,
}
