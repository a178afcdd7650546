//! `POST /containers/prune`: removes what does not run.

use std::sync::Arc;

use conex_api_types as api;

use crate::containers::Container;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::matching;
use crate::requests::{RemoveRequest, Timestamp};

impl Engine {
    /// Removes the containers that do not run, were made before `until` and are meant by the filters (`label`, `label!`).
    pub async fn prune_containers(
        &self,
        filters: &api::Filters,
        until: Option<Timestamp>,
    ) -> Result<api::ContainersPruned> {
        let invalid = |error: api::FiltersError| Error::new(ErrorKind::InvalidParameter, error.to_string());
        filters.require_known(&["label", "label!", "until"]).map_err(invalid)?;
        let until = until.and_then(Timestamp::to_jiff);
        let Ok(_only) = self.inner.pruning.try_lock() else {
            return Err(Error::new(ErrorKind::Conflict, "a prune operation is already running"));
        };
        let mut pruned = api::ContainersPruned::default();
        for container in self.inner.containers.all() {
            if !is_meant(&container, filters, until.as_ref()) {
                continue;
            }
            let bytes = self.sizes(&container).await.map_or(0, |(bytes, _)| bytes);
            // One that was started or removed meanwhile is none that was asked for.
            if self.remove(&container.id, RemoveRequest::default()).await.is_ok() {
                pruned
                    .containers_deleted
                    .get_or_insert_default()
                    .push(container.id.clone());
                pruned.space_reclaimed += u64::try_from(bytes).unwrap_or(0);
            }
        }
        self.inner.events.pruned("container", pruned.space_reclaimed);
        Ok(pruned)
    }
}

fn is_meant(container: &Arc<Container>, filters: &api::Filters, until: Option<&jiff::Timestamp>) -> bool {
    let created = container.created.parse::<jiff::Timestamp>();
    let old = until.is_none_or(|until| created.is_ok_and(|created| created < *until));
    !container.view().state.is_up() && matching::labels(&container.config.labels, filters) && old
}
