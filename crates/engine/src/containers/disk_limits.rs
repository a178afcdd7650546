//! Limits of what containers write into their root file systems (`--storage-opt size`, `overlay2.size` of the daemon).
//!
//! ```text
//!   created     how it is held to its limit is chosen and recorded: what cannot be had is refused here
//!   started     the limit is set, with what it needs made where that is absent            conex_snapshot
//!   removed     it is taken away, and then the container's directory
//! ```

use std::path::Path;
use std::sync::Arc;

use conex_container::{Config, storage};
use conex_snapshot::{Limit, LimitedBy, Own};
use serde::{Deserialize, Serialize};
use tokio::sync::MutexGuard;

use crate::containers::Container;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};

/// A limit as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LimitRecord {
    /// Bytes.
    bytes: u64,
    by: ByRecord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ByRecord {
    /// Of this number.
    Project(u32),
    Disk,
    Subvolume,
}

impl From<Limit> for LimitRecord {
    fn from(limit: Limit) -> Self {
        let by = match limit.by {
            LimitedBy::Project(number) => ByRecord::Project(number),
            LimitedBy::Disk => ByRecord::Disk,
            LimitedBy::Subvolume => ByRecord::Subvolume,
        };
        Self { bytes: limit.bytes, by }
    }
}

impl From<LimitRecord> for Limit {
    fn from(record: LimitRecord) -> Self {
        let by = match record.by {
            ByRecord::Project(number) => LimitedBy::Project(number),
            ByRecord::Disk => LimitedBy::Disk,
            ByRecord::Subvolume => LimitedBy::Subvolume,
        };
        Self {
            bytes: record.bytes,
            by,
        }
    }
}

impl Container {
    /// What is its own, in this directory, to be looked at without labels.
    pub(crate) fn own<'a>(&self, directory: &'a Path) -> Own<'a> {
        Own {
            directory,
            limit: self.limit,
            label: None,
        }
    }
}

/// How a new container is held to its limit; nothing where it has none. No other's is chosen until what comes with it
/// is dropped.
pub(crate) async fn choose<'a>(
    inner: &'a Arc<Inner>,
    id: &str,
    config: &Config,
) -> Result<(Option<Limit>, Option<MutexGuard<'a, ()>>)> {
    let invalid = |words: String| Error::new(ErrorKind::InvalidParameter, words);
    let asked = storage::layer_size(&config.host).map_err(|error| invalid(error.to_string()))?;
    let Some(bytes) = asked.or(inner.layer_size).filter(|bytes| *bytes > 0) else {
        return Ok((None, None));
    };
    let held = inner.limiting.lock().await;
    let (engine, seed) = (inner.clone(), seed(id));
    let chosen = tokio::task::spawn_blocking(move || {
        let containers = engine.containers.all();
        let is_taken = |number| containers.iter().any(|other| has_project(other.limit, number));
        engine.snapshots.limit(bytes, seed, is_taken)
    });
    let chosen = chosen
        .await
        .map_err(|error| Error::new(ErrorKind::System, "choose a limit").caused_by(error))?;
    let limit = chosen.map_err(|error| invalid(error.to_string()).caused_by(error))?;
    Ok((Some(limit), Some(held)))
}

/// Whether a limit is that of this project.
pub(crate) fn has_project(limit: Option<Limit>, number: u32) -> bool {
    limit.is_some_and(|limit| limit.by == LimitedBy::Project(number))
}

/// Where the search for a project begins: ids are random, so that engines which share a file system hardly meet.
pub(crate) fn seed(id: &str) -> u32 {
    id.get(..8)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or_default()
}
