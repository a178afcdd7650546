//! Connections of containers: planned, made in the kernel, adopted by a daemon that comes later, and given back.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};

use conex_api_types as api;
use conex_container::NetworkChoice;
use conex_network::options::BridgeOptions;
use conex_network::{AllocateError, EndpointPlan, Publication};
use conex_network_driver::{Netns, NetworkDriver, Resolver};
use serde::{Deserialize, Serialize};

use crate::containers::Container;
use crate::containers::create::random_id;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::records::NetworkRecord;
use crate::networks::{Networks, ports, rates, settings, system};

/// A container's connection to a network, as it is recorded and inspected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// Id of the connection.
    pub(crate) id: String,
    /// Id of the network.
    pub(crate) network: String,
    /// Name of the network.
    pub(crate) name: String,
    /// Driver of the network.
    pub(crate) driver: String,
    /// Name of the container.
    pub(crate) container: String,
    /// What was made; nothing on the host's network and on none.
    pub(crate) plan: Option<EndpointPlan>,
    /// Ports that are published at it.
    pub(crate) ports: Vec<Publication>,
    /// Names in the network's DNS; of networks that users made.
    pub(crate) names: Vec<String>,
    /// Names that it has for other containers of the network (`container:alias`).
    pub(crate) links: Vec<String>,
    /// Higher goes first where the container's way to the outside is chosen.
    pub(crate) priority: i64,
}

impl Endpoint {
    /// Its address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.plan.as_ref().map(|plan| plan.address.address())
    }

    /// Whether it is the container's way to the outside.
    pub(crate) fn is_default(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.is_default)
    }
}

/// A network that is ready for a container.
pub(crate) struct Connection {
    /// `None` where it is the host's.
    namespace: Option<OwnedFd>,
    endpoints: Vec<Endpoint>,
    resolver: Option<Resolver>,
}

impl Connection {
    /// The network of another container.
    pub(crate) fn shared(namespace: OwnedFd) -> Self {
        Self {
            namespace: Some(namespace),
            endpoints: Vec::new(),
            resolver: None,
        }
    }

    /// The sockets of the container's name server, where it has one of ours.
    pub(crate) fn take_resolver(&mut self) -> Option<Resolver> {
        self.resolver.take()
    }

    /// The connections to networks.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Another descriptor of the namespace; `None` where it is the host's.
    pub(crate) fn namespace(&self) -> std::io::Result<Option<OwnedFd>> {
        self.namespace
            .as_ref()
            .map(|namespace| namespace.as_fd().try_clone_to_owned())
            .transpose()
    }

    /// Only the connections.
    pub(crate) fn into_endpoints(self) -> Vec<Endpoint> {
        self.endpoints
    }
}

/// Whether names of containers are known on one of these connections.
pub(crate) fn has_names(endpoints: &[Endpoint]) -> bool {
    endpoints.iter().any(|endpoint| !endpoint.names.is_empty())
}

/// The name of a container and its other names in a network's DNS, as Docker lists them.
pub(crate) fn dns_names(container: &Container, settings: &api::EndpointSettings) -> Vec<String> {
    let mut names = vec![container.name.clone()];
    let hostname = Some(&container.config.hostname).filter(|name| !name.is_empty());
    let short = container.short_id().to_owned();
    let more = settings.aliases.iter().flatten().chain([&short]).chain(hostname);
    for name in more {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

impl Networks {
    /// Makes a container's network ready, in its namespace where one was made for it: all its connections, and its published
    /// ports. What fails leaves nothing.
    pub(crate) fn connect(&self, container: &Container, own: Option<OwnedFd>) -> Result<Connection> {
        let mut namespace = match (&container.config.network, own) {
            (NetworkChoice::Host, _) => None,
            (_, None) => Some(self.driver.take_namespace().map_err(system)?),
            (_, Some(own)) => {
                let mut own = Netns::from_fd(own);
                own.loopback_up().map_err(system)?;
                Some(own)
            }
        };
        let mut endpoints = Vec::new();
        let connected = self
            .connect_all(container, namespace.as_mut(), &mut endpoints)
            .and_then(|()| self.open_resolver(namespace.as_ref(), &endpoints));
        match connected {
            Ok(resolver) => Ok(Connection {
                namespace: namespace.map(Netns::into_fd),
                endpoints,
                resolver,
            }),
            Err(error) => {
                self.release(&container.id, &endpoints);
                Err(setup_failed(error))
            }
        }
    }

    fn connect_all(
        &self,
        container: &Container,
        mut namespace: Option<&mut Netns>,
        endpoints: &mut Vec<Endpoint>,
    ) -> Result<()> {
        let config = &container.config;
        let main = config.network.name().unwrap_or_default();
        let is_main = |name: &str| name == main || self.lock().find(main).is_ok_and(|found| found.record.name == name);
        let mut asked: Vec<_> = config.endpoints.iter().collect();
        // Without a default bridge its containers have the loopback only.
        asked.retain(|(name, _)| name.as_str() != "bridge" || self.default_bridge.is_some());
        // The first interface is that of the network mode.
        asked.sort_by_key(|(name, _)| !is_main(name));
        for (number, (name, settings)) in (0u32..).zip(asked) {
            endpoints.push(self.plan_endpoint(container, name, settings, number)?);
        }
        let default = default_of(endpoints);
        for endpoint in endpoints.iter_mut() {
            if Some(&endpoint.id) == default.as_ref() {
                endpoint.plan = endpoint.plan.take().map(EndpointPlan::with_default_route);
            }
            if let (Some(plan), Some(namespace)) = (&endpoint.plan, &mut namespace) {
                self.driver.connect(plan, namespace).map_err(system)?;
            }
        }
        let Some(published) = endpoints.iter_mut().find(|endpoint| endpoint.is_default()) else {
            return Ok(());
        };
        published.ports = self.publish_at(container, published)?;
        self.update(&container.id, published);
        Ok(())
    }

    /// Opens the sockets of a name server where one of the connections is to a network that a user made.
    pub(crate) fn open_resolver(&self, namespace: Option<&Netns>, endpoints: &[Endpoint]) -> Result<Option<Resolver>> {
        match namespace {
            Some(namespace) if has_names(endpoints) => self.driver.open_resolver(namespace).map(Some).map_err(system),
            _ => Ok(None),
        }
    }

    /// Publishes a container's ports at one of its connections.
    pub(super) fn publish_at(&self, container: &Container, endpoint: &Endpoint) -> Result<Vec<Publication>> {
        let requests = container.config.published();
        let Some(plan) = endpoint.plan.as_ref().filter(|_| !requests.is_empty()) else {
            return Ok(Vec::new());
        };
        let default = self.host_binding(&endpoint.network);
        self.publish(plan, &requests, default)
            .map_err(|reason| ports::not_published(&container.name, &endpoint.id, &reason))
    }

    /// The host's address that ports are published at where a client names none.
    fn host_binding(&self, network: &str) -> Ipv4Addr {
        let state = self.lock();
        let options = state.networks.get(network).map(|network| &network.record.options);
        let options = options.and_then(|options| BridgeOptions::parse(options).ok());
        options.map_or(Ipv4Addr::UNSPECIFIED, |options| options.host_binding)
    }

    /// Takes an address, and notes the connection. Its interface is `eth<number>`.
    pub(super) fn plan_endpoint(
        &self,
        container: &Container,
        network: &str,
        settings: &api::EndpointSettings,
        number: u32,
    ) -> Result<Endpoint> {
        self.prepare()?;
        let id = random_id()?;
        let mut state = self.lock();
        let found = state.find(network)?;
        let asked = settings::read(&found.record, settings)?;
        let rates = rates::of(&container.config, &found.record, settings)?;
        let key = found.record.id.clone();
        let Some(network) = state.networks.get_mut(&key) else {
            return Err(super::no_such_network(network));
        };
        if network.endpoints.contains_key(&container.id) {
            return Err(already_connected(&container.name, &network.record));
        }
        let label = format!("{} ({key})", network.record.name);
        let plan = match &mut network.bridge {
            Some(bridge) => Some(bridge.plan_endpoint(&id, number, &asked, &label)?.with_rates(rates)),
            None => None,
        };
        let names = match network.record.user_bridge() {
            Some(_) => dns_names(container, settings),
            None => Vec::new(),
        };
        let endpoint = Endpoint {
            id,
            network: key,
            name: network.record.name.clone(),
            driver: network.record.driver().to_owned(),
            container: container.name.clone(),
            plan,
            ports: Vec::new(),
            names,
            links: settings.links.clone().unwrap_or_default(),
            priority: settings.gw_priority,
        };
        network.endpoints.insert(container.id.clone(), endpoint.clone());
        Ok(endpoint)
    }

    /// Notes what became of a connection.
    pub(super) fn update(&self, container: &str, endpoint: &Endpoint) {
        if let Some(network) = self.lock().networks.get_mut(&endpoint.network) {
            network.endpoints.insert(container.to_owned(), endpoint.clone());
        }
    }

    /// Takes the connection of a container that runs already; `false` where its network is not there any more.
    pub(crate) fn adopt(&self, container: &str, endpoint: &Endpoint) -> bool {
        let mut state = self.lock();
        let Some(network) = state.networks.get_mut(&endpoint.network) else {
            return false;
        };
        if let Some(bridge) = &mut network.bridge {
            bridge.adopt(endpoint);
        }
        network.endpoints.insert(container.to_owned(), endpoint.clone());
        state.adopt_ports(&endpoint.ports);
        true
    }

    /// Gives connections back. The interfaces go with the namespace. It blocks where ports are published or what is sent is
    /// limited.
    pub(crate) fn release(&self, container: &str, endpoints: &[Endpoint]) {
        for endpoint in endpoints {
            self.unpublish(&endpoint.ports);
            self.forget_rates(endpoint);
            let mut state = self.lock();
            let Some(network) = state.networks.get_mut(&endpoint.network) else {
                continue;
            };
            // A later connection of the same container is not this one.
            if network
                .endpoints
                .get(container)
                .is_some_and(|noted| noted.id != endpoint.id)
            {
                continue;
            }
            network.endpoints.remove(container);
            if let (Some(bridge), Some(address)) = (&mut network.bridge, endpoint.address()) {
                bridge.addresses.release(address);
            }
        }
    }

    /// Lets the connections of a container carry its new name; those of networks that users made are found by it.
    pub(crate) fn rename(&self, container: &Container) {
        let mut state = self.lock();
        for network in state.networks.values_mut() {
            let name = network.record.name.clone();
            if let Some(endpoint) = network.endpoints.get_mut(&container.id) {
                endpoint.container.clone_from(&container.name);
                if let Some(settings) = container.config.endpoints.get(&name)
                    && !endpoint.names.is_empty()
                {
                    endpoint.names = dns_names(container, settings);
                }
            }
        }
    }
}

impl super::Bridge {
    /// `label` is how the network is told where it has no address left.
    fn plan_endpoint(&mut self, id: &str, number: u32, asked: &settings::Asked, label: &str) -> Result<EndpointPlan> {
        let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::System, error.to_string());
        let address = match asked.address {
            Some(address) => {
                let address = IpAddr::V4(address);
                self.addresses
                    .reserve(address)
                    .map_err(|error| not_allocated(&error, label))?;
                address
            }
            None => self
                .addresses
                .allocate()
                .map_err(|error| not_allocated(&error, label))?,
        };
        match EndpointPlan::new(&self.plan, id, number, address) {
            Ok(plan) => Ok(match asked.mac {
                Some(mac) => plan.with_mac(mac),
                None => plan,
            }),
            Err(error) => {
                self.addresses.release(address);
                Err(failed(&error))
            }
        }
    }
}

fn not_allocated(error: &AllocateError, label: &str) -> Error {
    match error {
        AllocateError::InUse { .. } => Error::new(ErrorKind::Forbidden, error.to_string()),
        AllocateError::Exhausted { .. } => {
            let words = format!("no available IPv4 addresses on this network's address pools: {label}");
            Error::new(ErrorKind::System, words)
        }
        AllocateError::Outside { .. } => Error::new(ErrorKind::System, error.to_string()),
    }
}

/// Id of the connection that the default route goes over: the highest priority, then the first name.
pub(super) fn default_of(endpoints: &[Endpoint]) -> Option<String> {
    let open = endpoints
        .iter()
        .filter(|endpoint| endpoint.plan.as_ref().is_some_and(|plan| plan.gateway.is_some()));
    let chosen = open.min_by_key(|endpoint| (std::cmp::Reverse(endpoint.priority), endpoint.name.clone()));
    chosen.map(|endpoint| endpoint.id.clone())
}

/// A second connection to the same network, in Docker's words.
pub(super) fn already_connected(container: &str, network: &NetworkRecord) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        format!(
            "endpoint with name {container} already exists in network {}",
            network.name
        ),
    )
}

fn setup_failed(error: Error) -> Error {
    let words = format!("failed to set up container networking: {}", error.message());
    Error::new(error.kind(), words).caused_by(error)
}
