//! `DELETE /networks/{id}` and `POST /networks/prune`.

use conex_api_types as api;
use conex_network_driver::NetworkDriver;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::matching;
use crate::networks::records::{self, NetworkRecord};
use crate::networks::{Network, Networks};
use crate::requests::Timestamp;

impl Engine {
    /// Removes a network that no running container is on.
    pub async fn remove_network(&self, reference: &str) -> Result<()> {
        let (inner, reference) = (self.inner.clone(), reference.to_owned());
        let removed = tokio::task::spawn_blocking(move || {
            let record = inner.networks.remove(&reference)?;
            inner
                .events
                .network("destroy", &record.id, &record.name, record.driver(), None);
            Ok(())
        });
        removed
            .await
            .map_err(|error| Error::new(ErrorKind::System, format!("remove the network: {error}")))?
    }

    /// Removes all networks of users that no container is on and that match the filters.
    pub async fn prune_networks(
        &self,
        filters: &api::Filters,
        until: Option<Timestamp>,
    ) -> Result<api::NetworkPruneResponse> {
        let mut deleted = Vec::new();
        for network in self.networks_unused_by_any() {
            let created: jiff::Timestamp = network.created.parse().unwrap_or_default();
            let young = until.is_some_and(|until| created.as_second() >= until.seconds);
            if young || !matching::labels(&network.labels, filters) {
                continue;
            }
            match self.remove_network(&network.id).await {
                Ok(()) => deleted.push(network.name),
                // Somebody was quicker, with a container or with another removal.
                Err(error) => tracing::debug!(%error, network = %network.name, "prune a network"),
            }
        }
        self.inner.events.pruned("network", 0);
        Ok(api::NetworkPruneResponse {
            networks_deleted: Some(deleted).filter(|deleted| !deleted.is_empty()),
        })
    }

    /// Networks of users that no container is on, running or not.
    fn networks_unused_by_any(&self) -> Vec<NetworkRecord> {
        let containers = self.inner.containers.all();
        let on = |name: &str| {
            containers
                .iter()
                .any(|container| container.config.endpoints.contains_key(name))
        };
        let state = self.inner.networks.lock();
        let unused = state
            .networks
            .values()
            .filter(|network| !network.record.is_predefined() && !on(&network.record.name));
        unused.map(|network| network.record.clone()).collect()
    }
}

impl Networks {
    fn remove(&self, reference: &str) -> Result<NetworkRecord> {
        let _kernel = self.lock_kernel();
        let network = self.take_out(reference)?;
        let record = network.record.clone();
        self.tear_down(&record);
        conex_sys::failpoint::hit("network.before-removal");
        match records::remove(&self.metadata, &record.id) {
            Ok(()) => Ok(record),
            Err(error) => {
                self.lock().networks.insert(record.id.clone(), network);
                Err(error)
            }
        }
    }

    fn take_out(&self, reference: &str) -> Result<Network> {
        let forbidden = |words: String| Error::new(ErrorKind::Forbidden, words);
        let mut state = self.lock();
        let network = state.find(reference)?;
        let name = &network.record.name;
        if network.record.is_predefined() {
            return Err(forbidden(format!(
                "{name} is a pre-defined network and cannot be removed"
            )));
        }
        if !network.endpoints.is_empty() {
            let active = network.endpoints.values();
            let active: Vec<String> = active
                .map(|endpoint| format!("name:\"{}\" id:\"{}\"", endpoint.container, &endpoint.id[..12]))
                .collect();
            let words = format!(
                "error while removing network: network {name} has active endpoints ({})",
                active.join(", ")
            );
            return Err(forbidden(words));
        }
        let id = network.record.id.clone();
        state
            .networks
            .remove(&id)
            .ok_or_else(|| super::no_such_network(reference))
    }

    /// Removes bridge and rules of a network that is not in the state any more. The caller holds `kernel`.
    pub(super) fn tear_down(&self, record: &NetworkRecord) {
        let Some(bridge) = record.user_bridge() else { return };
        if let Err(error) = self.driver.remove_bridge(&bridge.plan.name) {
            tracing::warn!(%error, bridge = %bridge.plan.name, "remove the bridge of a network");
        }
        if let Err(error) = self.apply_ruleset() {
            tracing::warn!(%error, "take the rules of a network back");
        }
    }
}
