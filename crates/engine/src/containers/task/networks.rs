//! Orders that connect a container to networks, or disconnect it.
//!
//! ```text
//!   connect      kernel, run's record (state.json), container's record
//!   disconnect   container's record, kernel, run's record
//! ```
//!
//! A daemon that comes after one that was killed keeps the connections that both records have.

use std::sync::Arc;

use conex_api_types::EndpointSettings;
use conex_container::state::State;

use super::Task;
use crate::containers::{Container, recovery};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::{Endpoint, connect, dns};

/// What becomes of a connection.
pub(crate) enum NetworkChange {
    /// There is one to this network.
    Connect {
        network: String,
        settings: Box<EndpointSettings>,
    },
    /// There is none.
    Disconnect { network: String },
}

/// Makes or takes away one connection of a running container.
type Work = fn(&Inner, &Container, i32, Vec<Endpoint>, &str) -> Result<Vec<Endpoint>>;

impl Task {
    pub(super) async fn change_networks(&mut self, change: NetworkChange) -> Result<()> {
        match change {
            NetworkChange::Connect { network, settings } => self.connect(&network, *settings).await,
            NetworkChange::Disconnect { network } => self.disconnect(&network).await,
        }
    }

    async fn connect(&mut self, network: &str, settings: EndpointSettings) -> Result<()> {
        let State::Running { pid, .. } = self.state() else {
            let settings = connect::awaited(settings);
            let connected = connect::with_connection(&self.container, network, settings);
            return self.record(connected).await;
        };
        let connected = connect::with_connection(&self.container, network, settings);
        if self.container.config.endpoints.contains_key(network) {
            return connect::refuse_second(&self.engine, &self.container, network);
        }
        self.change(connected.clone(), pid, network, connect::plug).await?;
        conex_sys::failpoint::hit("connect.before-record");
        if let Err(error) = self.record(connected).await {
            let container = self.container.clone();
            if let Err(error) = self.change(container, pid, network, connect::unplug).await {
                tracing::warn!(%error, network, "undo a connection that could not be recorded");
            }
            return Err(error);
        }
        let made = self.run.iter().flat_map(|run| &run.endpoints);
        for endpoint in made.filter(|endpoint| endpoint.name == network) {
            self.engine.events.endpoint("connect", endpoint, &self.container.id);
        }
        Ok(())
    }

    async fn disconnect(&mut self, network: &str) -> Result<()> {
        let is_running = self.state().is_running();
        if !self.container.config.endpoints.contains_key(network) {
            return Err(connect::not_connected(&self.container, network, is_running));
        }
        if is_running && network == "host" {
            return Err(connect::created_on_host());
        }
        let endpoints = self.run.as_ref().map(|run| run.endpoints.clone()).unwrap_or_default();
        self.record(connect::without_connection(&self.container, network))
            .await?;
        conex_sys::failpoint::hit("disconnect.after-record");
        if let State::Running { pid, .. } = self.state() {
            self.change(self.container.clone(), pid, network, connect::unplug)
                .await?;
        }
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.name == network) {
            self.engine.events.endpoint("disconnect", endpoint, &self.container.id);
        }
        Ok(())
    }

    /// Notes that the connections of before the start have been made. It is told by inspection only: what fails is logged.
    pub(super) async fn settle_connections(&mut self) {
        let Some(settled) = connect::without_awaited(&self.container) else {
            return;
        };
        if let Err(error) = self.record(settled).await {
            tracing::warn!(%error, container = %self.container.id, "note the connections of a start");
        }
    }

    /// Puts a changed container in the place of what it was.
    pub(super) async fn record(&mut self, container: Arc<Container>) -> Result<()> {
        self.engine.records.replace(&self.container, &container).await?;
        self.engine.containers.replace(&self.container, container.clone());
        self.container = container;
        Ok(())
    }

    /// Changes the connections of the running container, and notes them.
    async fn change(&mut self, container: Arc<Container>, pid: i32, network: &str, work: Work) -> Result<()> {
        let Some(run) = &mut self.run else { return Ok(()) };
        let (engine, before, network) = (self.engine.clone(), run.endpoints.clone(), network.to_owned());
        let changed = tokio::task::spawn_blocking(move || {
            let endpoints = work(&engine, &container, pid, before, &network)?;
            recovery::note_endpoints(&engine, &container, &endpoints)?;
            let resolver = match engine.networks.resolvers.has(&container.id) {
                true => None,
                false => connect::open_resolver(&engine, pid, &endpoints)?,
            };
            Ok::<_, Error>((endpoints, resolver))
        });
        let failed =
            |error: &dyn std::fmt::Display| Error::new(ErrorKind::System, format!("change the connections: {error}"));
        let (endpoints, resolver) = changed.await.map_err(|error| failed(&error))??;
        if let Some(resolver) = resolver {
            dns::serve(&self.engine, &self.container.id, resolver).map_err(|error| failed(&error))?;
        }
        run.endpoints.clone_from(&endpoints);
        self.view.send_modify(|view| view.endpoints = endpoints);
        Ok(())
    }
}
