//! `POST /networks/{id}/connect` and `/disconnect`: of containers that run, and of those that will.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use conex_api_types as api;
use conex_container::{Config, NetworkChoice};
use conex_network_driver::{Netns, NetworkDriver, Resolver};

use crate::containers::task::{NetworkChange, Order};
use crate::containers::{Container, resolution};
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::networks::endpoint::{already_connected, default_of, has_names};
use crate::networks::records::{NetworkKind, NetworkRecord};
use crate::networks::{Endpoint, Networks, rates, settings, system};

impl Engine {
    /// Connects a container to a network. It is on disk when this returns, and done where the container runs.
    pub async fn connect_network(&self, reference: &str, request: api::NetworkConnectRequest) -> Result<()> {
        let container = self.container_of(&request.container)?;
        if matches!(container.config.network, NetworkChoice::Container(_)) {
            return Err(invalid(SHARED.to_owned()));
        }
        let record = self.inner.networks.record(reference)?;
        let settings = request.endpoint_config.unwrap_or_default();
        settings::read(&record, &settings)?;
        settings::check_links(&settings)?;
        let settings = conex_container::asked_for(settings).map_err(|error| invalid(error.to_string()))?;
        check_mode(&container, &record)?;
        rates::of(&container.config, &record, &settings)?;
        container
            .order(|reply| Order::Networks {
                change: NetworkChange::Connect {
                    network: record.name,
                    settings: Box::new(settings),
                },
                reply,
            })
            .await
    }

    /// Disconnects a container from a network, which may be gone where the container does not run.
    pub async fn disconnect_network(&self, reference: &str, request: api::NetworkDisconnectRequest) -> Result<()> {
        if request.force && request.container.is_empty() {
            return Err(invalid("invalid name: name is empty".to_owned()));
        }
        let container = match self.container_of(&request.container) {
            Err(error) if request.force && error.kind() == ErrorKind::NotFound => {
                // It is the network that is missed first then.
                self.inner.networks.record(reference)?;
                let words = format!("endpoint {} not found", request.container);
                return Err(Error::new(ErrorKind::NotFound, words));
            }
            found => found?,
        };
        let network = match self.inner.networks.record(reference) {
            Ok(record) => record.name,
            Err(error) if container.view().state.is_running() => {
                let is_forced = request.force && error.kind() == ErrorKind::NotFound;
                return Err(if is_forced {
                    not_connected(&container, reference, false)
                } else {
                    error
                });
            }
            // A connection is known by the network's name.
            Err(_) => reference.to_owned(),
        };
        container
            .order(|reply| Order::Networks {
                change: NetworkChange::Disconnect { network },
                reply,
            })
            .await
    }

    fn container_of(&self, reference: &str) -> Result<Arc<Container>> {
        if reference.is_empty() {
            return Err(invalid("invalid name or ID supplied: \"\"".to_owned()));
        }
        self.inner.containers.find(reference)
    }
}

fn invalid(words: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, words)
}

/// What a container has no connections of its own with.
const SHARED: &str =
    "container sharing network namespace with another container or host cannot be connected to any other network";

/// What a container cannot have others beside.
const PRIVATE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

/// Refuses connections that the container's own network leaves no room for, in Docker's words. The network of its mode is
/// no other.
fn check_mode(container: &Container, record: &NetworkRecord) -> Result<()> {
    let refuse = |words: &str| Err(invalid(words.to_owned()));
    match (&container.config.network, &record.kind) {
        (NetworkChoice::Host, NetworkKind::Host) | (NetworkChoice::None, NetworkKind::None) => Ok(()),
        (NetworkChoice::Host | NetworkChoice::Container(_), _) => refuse(SHARED),
        (_, NetworkKind::Host) => {
            refuse("cannot connect container to host network - container must be created in host network mode")
        }
        (_, NetworkKind::None) => refuse(PRIVATE),
        (NetworkChoice::None, _) if container.config.endpoints.contains_key("none") => refuse(PRIVATE),
        _ => Ok(()),
    }
}

/// Settings of a connection that is made at the container's next start. Until then its names are told and its network is
/// not, as in Docker; the mark is a list of names, which the engine tells and nobody asks for.
pub(crate) fn awaited(settings: api::EndpointSettings) -> api::EndpointSettings {
    api::EndpointSettings {
        dns_names: Some(Vec::new()),
        ..settings
    }
}

/// Whether a connection is made at the container's next start only.
pub(crate) fn is_awaited(settings: &api::EndpointSettings) -> bool {
    settings.dns_names.is_some()
}

/// The container whose connections have all been made; `None` where they had been before. It is not recorded yet.
pub(crate) fn without_awaited(container: &Container) -> Option<Arc<Container>> {
    if !container.config.endpoints.values().any(is_awaited) {
        return None;
    }
    let mut changed = container.clone();
    for settings in changed.config.endpoints.values_mut() {
        settings.dns_names = None;
    }
    Some(Arc::new(changed))
}

/// The container with another connection; it is not recorded yet.
pub(crate) fn with_connection(container: &Container, network: &str, settings: api::EndpointSettings) -> Arc<Container> {
    let mut changed = container.clone();
    changed.config.endpoints.insert(network.to_owned(), settings);
    Arc::new(changed)
}

/// The container without a connection; it is not recorded yet.
pub(crate) fn without_connection(container: &Container, network: &str) -> Arc<Container> {
    let mut changed = container.clone();
    changed.config.endpoints.remove(network);
    Arc::new(changed)
}

/// Docker's words for a connection that is not there, which are not the same of a container that runs.
pub(crate) fn not_connected(container: &Container, network: &str, is_running: bool) -> Error {
    let the = if is_running { "" } else { "the " };
    Error::new(
        ErrorKind::Forbidden,
        format!("container {} is not connected to {the}network {network}", container.id),
    )
}

/// Docker's words for a container whose processes are on the host's network.
pub(crate) fn created_on_host() -> Error {
    invalid("cannot disconnect container from host network - container was created in host network mode".to_owned())
}

/// Refuses a second connection of a running container.
pub(crate) fn refuse_second(engine: &Inner, container: &Container, network: &str) -> Result<()> {
    let record = engine.networks.record(network)?;
    Err(already_connected(&container.name, &record))
}

/// Connects a running container; the endpoints are those that it has then. It blocks.
pub(crate) fn plug(
    engine: &Inner,
    container: &Container,
    pid: i32,
    mut endpoints: Vec<Endpoint>,
    network: &str,
) -> Result<Vec<Endpoint>> {
    let networks = &engine.networks;
    let settings = container.config.endpoints.get(network).cloned().unwrap_or_default();
    let mut namespace = Netns::from_fd(namespace_of(pid)?);
    let number = free_number(&endpoints);
    let endpoint = networks.plan_endpoint(container, network, &settings, number)?;
    let made = match &endpoint.plan {
        Some(plan) => networks.driver.connect(plan, &mut namespace).map(drop).map_err(system),
        None => Ok(()),
    };
    if let Err(error) = made {
        networks.release(&container.id, &[endpoint]);
        return Err(error);
    }
    let before = endpoints.clone();
    endpoints.push(endpoint.clone());
    let settled = networks
        .elect(container, &mut namespace, &mut endpoints)
        .and_then(|()| resolution::rewrite(engine, container, &before, &endpoints));
    match settled {
        Ok(()) => Ok(endpoints),
        Err(error) => {
            endpoints = before;
            networks.withdraw(container, &endpoint);
            // The first error says what went wrong.
            let _ = networks.elect(container, &mut namespace, &mut endpoints);
            Err(error)
        }
    }
}

/// Disconnects a running container; the endpoints are those that it has then. It blocks.
pub(crate) fn unplug(
    engine: &Inner,
    container: &Container,
    pid: i32,
    endpoints: Vec<Endpoint>,
    network: &str,
) -> Result<Vec<Endpoint>> {
    let networks = &engine.networks;
    let before = endpoints.clone();
    let (gone, mut left): (Vec<_>, Vec<_>) = endpoints.into_iter().partition(|endpoint| endpoint.name == network);
    for endpoint in &gone {
        networks.withdraw(container, endpoint);
    }
    let mut namespace = Netns::from_fd(namespace_of(pid)?);
    networks.elect(container, &mut namespace, &mut left)?;
    resolution::rewrite(engine, container, &before, &left)?;
    Ok(left)
}

/// The network namespace of a running container.
pub(crate) fn namespace_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/net");
    File::open(&path)
        .map(OwnedFd::from)
        .map_err(|error| Error::new(ErrorKind::System, format!("open {path}: {error}")))
}

/// Opens the sockets of a running container's name server, where it is on a network that a user made. It blocks.
pub(crate) fn open_resolver(engine: &Inner, pid: i32, endpoints: &[Endpoint]) -> Result<Option<Resolver>> {
    if !has_names(endpoints) {
        return Ok(None);
    }
    let namespace = Netns::from_fd(namespace_of(pid)?);
    engine.networks.open_resolver(Some(&namespace), endpoints)
}

/// The lowest number that no interface of the container has.
fn free_number(endpoints: &[Endpoint]) -> u32 {
    let taken = |number: u32| {
        let name = format!("{}{number}", conex_network::CONTAINER_INTERFACE);
        let mut plans = endpoints.iter().filter_map(|endpoint| endpoint.plan.as_ref());
        plans.any(|plan| plan.interface == name)
    };
    (0..).find(|number| !taken(*number)).unwrap_or_default()
}

impl Networks {
    /// A network's record.
    pub(crate) fn record(&self, reference: &str) -> Result<NetworkRecord> {
        self.lock().find(reference).map(|network| network.record.clone())
    }

    /// Takes a connection of a running container away.
    fn withdraw(&self, container: &Container, endpoint: &Endpoint) {
        if let Some(plan) = &endpoint.plan
            && let Err(error) = self.driver.disconnect(&plan.host_interface)
        {
            tracing::warn!(%error, container = %container.id, "remove the interface of a connection");
        }
        self.release(&container.id, std::slice::from_ref(endpoint));
    }

    /// Checks the networks of a container that is to be made, and gives them the names that they are recorded under.
    pub(crate) fn resolve(&self, config: &mut Config) -> Result<()> {
        let state = self.lock();
        let mut endpoints = BTreeMap::new();
        for (reference, settings) in std::mem::take(&mut config.endpoints) {
            let found = match state.find(&reference) {
                // It may be made before the start, which says so otherwise, as in Docker.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    endpoints.insert(reference, settings);
                    continue;
                }
                found => found?,
            };
            let name = found.record.name.clone();
            settings::read(&found.record, &settings).map_err(|error| {
                let words = format!("invalid config for network {reference}: {}", error.message());
                Error::new(error.kind(), words)
            })?;
            endpoints.insert(name, settings);
        }
        config.endpoints = endpoints;
        drop(state);
        self.check_rates(config)
    }

    /// Chooses the connection to the outside anew, and moves route and ports there where it is another than before.
    fn elect(&self, container: &Container, namespace: &mut Netns, endpoints: &mut [Endpoint]) -> Result<()> {
        let chosen = default_of(endpoints);
        let before = endpoints.iter().find(|endpoint| endpoint.is_default());
        if before.map(|endpoint| &endpoint.id) == chosen.as_ref() {
            return Ok(());
        }
        for endpoint in endpoints.iter_mut() {
            self.unpublish(&std::mem::take(&mut endpoint.ports));
            let is_chosen = Some(&endpoint.id) == chosen.as_ref();
            if let Some(plan) = &mut endpoint.plan {
                plan.is_default = is_chosen;
            }
            self.update(&container.id, endpoint);
        }
        let default = endpoints.iter_mut().find(|endpoint| endpoint.is_default());
        let plan = default.as_ref().and_then(|endpoint| endpoint.plan.as_ref());
        self.driver.set_default_route(plan, namespace).map_err(system)?;
        let Some(endpoint) = default else { return Ok(()) };
        endpoint.ports = self.publish_at(container, endpoint)?;
        self.update(&container.id, endpoint);
        Ok(())
    }
}
