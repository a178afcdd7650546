//! `POST /volumes/prune`.

use std::collections::BTreeMap;

use conex_api_types as api;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::matching;
use crate::volumes::ANONYMOUS;

/// Filters of a prune that are understood.
const FILTERS: [&str; 3] = ["all", "label", "label!"];

impl Engine {
    /// Removes the volumes that no container has: those that nobody named, or with the filter `all` (or `all_by_default`, as
    /// clients of before API 1.42 mean it) all of them.
    ///
    /// # Errors
    /// 400 for a filter that there is none of, 409 where another prune is under way.
    pub async fn prune_volumes(&self, filters: &api::Filters, all_by_default: bool) -> Result<api::VolumesPruned> {
        let invalid = |words: String| Error::new(ErrorKind::InvalidParameter, words);
        filters
            .require_known(&FILTERS)
            .map_err(|error| invalid(error.to_string()))?;
        let all = match filters.values("all").unwrap_or_default() {
            [] => all_by_default,
            [value] => truth(value).ok_or_else(|| {
                invalid(format!(
                    "invalid filter 'all': strconv.ParseBool: parsing {value:?}: invalid syntax"
                ))
            })?,
            values => {
                let values = values.join(" ");
                return Err(invalid(format!(
                    "invalid filter 'all=[{values}]': only one value is expected"
                )));
            }
        };
        let Ok(_only) = self.inner.pruning_volumes.try_lock() else {
            return Err(Error::new(ErrorKind::Conflict, "a prune operation is already running"));
        };
        let unused: Vec<String> = {
            let state = self.inner.volumes.lock();
            let unused = state.values().filter(|volume| {
                let labels = volume.record.labels.clone().unwrap_or_default();
                // As in Docker those with options stay: what is on a device is not the engine's alone.
                volume.users.is_empty()
                    && volume.record.options.as_ref().is_none_or(BTreeMap::is_empty)
                    && (all || labels.contains_key(ANONYMOUS))
                    && matching::labels(&labels, filters)
            });
            unused.map(|volume| volume.record.name.clone()).collect()
        };
        let mut pruned = api::VolumesPruned::default();
        for name in unused {
            let (inner, counted) = (self.inner.clone(), name.clone());
            let bytes = tokio::task::spawn_blocking(move || inner.volumes.usage(&counted)).await;
            // One that a container has taken meanwhile, or that is gone, is none that was asked for.
            if self.remove_volume(&name, false).await.is_ok() {
                pruned.volumes_deleted.push(name);
                pruned.space_reclaimed += bytes.ok().flatten().unwrap_or(0);
            }
        }
        self.inner.events.pruned("volume", pruned.space_reclaimed);
        Ok(pruned)
    }
}

/// As Go's `strconv.ParseBool` reads it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
