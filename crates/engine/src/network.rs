//! The default bridge: made at the first need, its addresses, and containers' connections to it.
//!
//! A container's namespace is made here, not by the first process: the interface pair is born inside it with one
//! message, and the process enters a network that is ready.

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use conex_container::NetworkChoice;
use conex_network::nft::Ruleset;
use conex_network::{AddressAllocator, BridgePlan, BridgeRequest, EndpointPlan, InterfaceAddress, VETH_PREFIX};
use conex_network_driver::{BridgeDriver, Netns, NetworkDriver};
use serde::{Deserialize, Serialize};

use crate::containers::Container;
use crate::containers::create::random_id;
use crate::error::{Error, ErrorKind, Result};
use crate::settings::Settings;

/// Network namespaces that are kept ready.
const RESERVE: usize = 4;

/// A container's connection to the bridge, as it is recorded and inspected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// Id of the connection.
    pub(crate) id: String,
    /// What was made.
    pub(crate) plan: EndpointPlan,
}

/// A namespace that is ready for a container.
pub(crate) struct Connection {
    namespace: OwnedFd,
    endpoint: Option<Endpoint>,
}

impl Connection {
    /// The connection to the bridge, where there is one.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// Another descriptor of the namespace.
    pub(crate) fn namespace(&self) -> std::io::Result<OwnedFd> {
        self.namespace.as_fd().try_clone_to_owned()
    }

    /// Only the connection to the bridge.
    pub(crate) fn into_endpoint(self) -> Option<Endpoint> {
        self.endpoint
    }
}

/// The engine's network.
pub(crate) struct Network {
    driver: BridgeDriver,
    name: Option<String>,
    address: Option<InterfaceAddress>,
    bridge: Mutex<Option<Bridge>>,
}

struct Bridge {
    plan: BridgePlan,
    addresses: AddressAllocator,
}

impl Network {
    /// Opens the driver; nothing is made on the host yet.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        let address = settings.bip.as_deref().map(str::parse).transpose();
        let address = address.map_err(|error| Error::new(ErrorKind::InvalidParameter, format!("bip: {error}")))?;
        let driver = BridgeDriver::open(RESERVE).map_err(system)?;
        Ok(Self {
            driver,
            name: settings.bridge.clone(),
            address,
            bridge: Mutex::new(None),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bridge>> {
        self.bridge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the bridge and the firewall's table, or finds them; so that no container waits for it.
    pub(crate) fn prepare(&self) -> Result<()> {
        let mut bridge = self.lock();
        if bridge.is_none() {
            *bridge = Some(self.make_bridge()?);
        }
        Ok(())
    }

    fn make_bridge(&self) -> Result<Bridge> {
        let Some(name) = &self.name else {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "network bridge not found: the daemon runs with --bridge none",
            ));
        };
        let routes = self.driver.probe_routes(name).map_err(system)?;
        let existing = self.driver.probe_bridge(name).map_err(system)?;
        let request = BridgeRequest {
            address: self.address,
            existing: existing.and_then(|facts| facts.address),
            ..BridgeRequest::new(name, &routes)
        };
        let plan = BridgePlan::new(&request).map_err(|error| Error::new(ErrorKind::System, error.to_string()))?;
        self.driver
            .apply_ruleset(&Ruleset {
                bridges: vec![plan.clone()],
            })
            .map_err(system)?;
        self.driver.ensure_bridge(&plan).map_err(system)?;
        let mut addresses = AddressAllocator::new(plan.subnet());
        addresses
            .reserve(plan.gateway.address())
            .map_err(|error| Error::new(ErrorKind::System, error.to_string()))?;
        Ok(Bridge { plan, addresses })
    }

    /// A namespace for a container; `None` where it uses the host's.
    pub(crate) fn connect(&self, container: &Container) -> Result<Option<Connection>> {
        match container.config.network {
            NetworkChoice::Host => Ok(None),
            NetworkChoice::None => {
                let namespace = self.driver.take_namespace().map_err(system)?.into_fd();
                Ok(Some(Connection {
                    namespace,
                    endpoint: None,
                }))
            }
            NetworkChoice::Bridge => self.connect_to_bridge().map(Some),
        }
    }

    fn connect_to_bridge(&self) -> Result<Connection> {
        let mut namespace = self.driver.take_namespace().map_err(system)?;
        let endpoint = self.plan_endpoint()?;
        match self.driver.connect(&endpoint.plan, &mut namespace) {
            Ok(_) => Ok(Connection {
                namespace: Netns::into_fd(namespace),
                endpoint: Some(endpoint),
            }),
            Err(error) => {
                self.release(&endpoint);
                Err(system(error))
            }
        }
    }

    fn plan_endpoint(&self) -> Result<Endpoint> {
        self.prepare()?;
        let mut bridge = self.lock();
        let Some(bridge) = bridge.as_mut() else {
            return Err(Error::new(ErrorKind::System, "the bridge was removed"));
        };
        let address = bridge
            .addresses
            .allocate()
            .map_err(|error| Error::new(ErrorKind::System, error.to_string()))?;
        let id = random_id()?;
        match EndpointPlan::new(&bridge.plan, &id, address) {
            Ok(plan) => Ok(Endpoint { id, plan }),
            Err(error) => {
                bridge.addresses.release(address);
                Err(Error::new(ErrorKind::System, error.to_string()))
            }
        }
    }

    /// Takes the address of a container that runs already.
    pub(crate) fn adopt(&self, endpoint: &Endpoint) {
        let outcome = self.prepare().and_then(|()| {
            let mut bridge = self.lock();
            let Some(bridge) = bridge.as_mut() else { return Ok(()) };
            let reserved = bridge.addresses.reserve(endpoint.plan.address.address());
            reserved.map_err(|error| Error::new(ErrorKind::System, error.to_string()))
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, address = %endpoint.plan.address, "keep the address of a running container");
        }
    }

    /// Gives an address back. The interfaces go with the namespace.
    pub(crate) fn release(&self, endpoint: &Endpoint) {
        if let Some(bridge) = self.lock().as_mut() {
            bridge.addresses.release(endpoint.plan.address.address());
        }
    }

    /// Removes interfaces of ours that no running container has: what a crash left before a container was there.
    pub(crate) fn collect(&self, kept: &[Endpoint]) {
        let interfaces = match self.driver.host_interfaces(VETH_PREFIX) {
            Ok(interfaces) => interfaces,
            Err(error) => return tracing::warn!(%error, "look for interfaces that were left"),
        };
        for interface in interfaces {
            if kept.iter().any(|endpoint| endpoint.plan.host_interface == interface) || !self.is_ours(&interface) {
                continue;
            }
            if let Err(error) = self.driver.disconnect(&interface) {
                tracing::warn!(%error, %interface, "remove an interface that was left");
            }
        }
    }

    /// Whether an interface is a port of our bridge: another daemon on this host has interfaces of the same names.
    fn is_ours(&self, interface: &str) -> bool {
        let master = fs::read_link(format!("/sys/class/net/{interface}/master"));
        master.is_ok_and(|master| master.file_name().and_then(|name| name.to_str()) == self.name.as_deref())
    }

    /// Removes bridge and table where nothing uses them.
    pub(crate) fn close(&self, in_use: bool) {
        let Some(bridge) = self.lock().take() else { return };
        if in_use {
            return;
        }
        for (what, removed) in [
            ("bridge", self.driver.remove_bridge(&bridge.plan.name)),
            ("table", self.driver.remove_ruleset()),
        ] {
            if let Err(error) = removed {
                tracing::warn!(%error, "remove the {what} at the end");
            }
        }
    }

    /// Address of the bridge, for `host-gateway`.
    pub(crate) fn gateway(&self) -> Option<IpAddr> {
        self.lock().as_ref().map(|bridge| bridge.plan.gateway.address())
    }
}

fn system(error: conex_network_driver::DriverError) -> Error {
    let cause = std::error::Error::source(&error)
        .map(|source| format!(": {source}"))
        .unwrap_or_default();
    let text = error.to_string();
    let text = if text.contains(cause.trim_start_matches(": ")) {
        text
    } else {
        format!("{text}{cause}")
    };
    Error::new(
        ErrorKind::System,
        format!("failed to set up container networking: {text}"),
    )
    .caused_by(error)
}
