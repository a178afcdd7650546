//! Networks: the objects that clients make and name, their addresses, and the connections of containers to them.
//!
//! ```text
//!   record (metadata store)        what a user made; survives everything
//!   State (memory)                 who is connected where: addresses, ports; rebuilt from the runs' records
//!   bridges, nftables table        made at the first need from both; a daemon that comes later makes them so again
//! ```
//!
//! `kernel` is held by whoever changes bridges or the whole table, `state` for decisions only, never while the kernel is
//! asked: a container's start waits for no other. A network's record is written before its bridge is made and deleted
//! after that is removed, so that a daemon that is killed in between leaves a network that is whole at the next start.

pub(crate) mod connect;
mod create;
pub(crate) mod dns;
pub(crate) mod endpoint;
pub(crate) mod list;
mod ports;
pub(crate) mod rates;
mod records;
mod remove;
pub(crate) mod settings;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use conex_metadata::Metadata;
use conex_network::nft::Ruleset;
use conex_network::{
    AddressAllocator, BridgePlan, BridgeRequest, HostPort, HostPorts, InterfaceAddress, Publication, Subnet,
};
use conex_network_driver::{BridgeDriver, DriverError, NetworkDriver};

pub(crate) use crate::networks::endpoint::{Connection, Endpoint};

use crate::error::{Error, ErrorKind, Result};
use crate::networks::dns::Resolvers;
use crate::networks::ports::PortHold;
use crate::networks::records::{NetworkKind, NetworkRecord};
use crate::settings::Settings;

/// Network namespaces that are kept ready.
const RESERVE: usize = 4;

/// All networks of the engine.
pub(crate) struct Networks {
    driver: BridgeDriver,
    metadata: Metadata,
    default_bridge: Option<String>,
    default_address: Option<InterfaceAddress>,
    kernel: Mutex<()>,
    state: Mutex<State>,
    /// The name servers of containers.
    pub(crate) resolvers: Resolvers,
    /// Which of several addresses of a name goes first.
    turn: AtomicUsize,
}

#[derive(Default)]
struct State {
    networks: BTreeMap<String, Network>,
    ports: HostPorts,
    holds: HashMap<HostPort, PortHold>,
    /// Whether bridges and table are there.
    prepared: bool,
}

struct Network {
    record: NetworkRecord,
    /// The interface and its addresses; of the default bridge once it is there.
    bridge: Option<Bridge>,
    /// Container id to its connection.
    endpoints: BTreeMap<String, Endpoint>,
}

struct Bridge {
    plan: BridgePlan,
    addresses: AddressAllocator,
}

impl Networks {
    /// Opens the driver and reads the networks; nothing is made on the host yet.
    pub(crate) fn open(settings: &Settings, metadata: &Metadata) -> Result<Self> {
        let address = settings.bip.as_deref().map(str::parse).transpose();
        let address = address.map_err(|error| Error::new(ErrorKind::InvalidParameter, format!("bip: {error}")))?;
        let mut state = State::default();
        for record in records::load(metadata)? {
            if matches!(record.kind, NetworkKind::DefaultBridge) && settings.bridge.is_none() {
                continue;
            }
            state.networks.insert(record.id.clone(), Network::new(record)?);
        }
        Ok(Self {
            driver: BridgeDriver::open(RESERVE).map_err(system)?,
            metadata: metadata.clone(),
            default_bridge: settings.bridge.clone(),
            default_address: address,
            kernel: Mutex::default(),
            state: Mutex::new(state),
            resolvers: Resolvers::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Whether there is anything to make on the host before a container needs it.
    pub(crate) fn is_wanted(&self) -> bool {
        let state = self.lock();
        self.default_bridge.is_some() || !state.bridges().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_kernel(&self) -> MutexGuard<'_, ()> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes bridges and the firewall's table, or finds them; so that no container waits for it.
    pub(crate) fn prepare(&self) -> Result<()> {
        if self.lock().prepared {
            return Ok(());
        }
        let _kernel = self.lock_kernel();
        if self.lock().prepared {
            return Ok(());
        }
        if let Some(name) = &self.default_bridge {
            let plan = self.plan_default_bridge(name)?;
            self.lock().open_default_bridge(plan)?;
        }
        self.apply_ruleset()?;
        for plan in self.lock().bridges() {
            match self.driver.ensure_bridge(&plan) {
                Err(error) if Some(&plan.name) != self.default_bridge.as_ref() => {
                    tracing::error!(%error, bridge = %plan.name, "make the bridge of a network");
                }
                made => {
                    made.map_err(system)?;
                }
            }
        }
        self.lock().prepared = true;
        Ok(())
    }

    fn plan_default_bridge(&self, name: &str) -> Result<BridgePlan> {
        let mut taken = self.driver.probe_routes(name).map_err(system)?;
        taken.extend(self.lock().subnets());
        let existing = self.driver.probe_bridge(name).map_err(system)?;
        let request = BridgeRequest {
            address: self.default_address,
            existing: existing.and_then(|facts| facts.address),
            ..BridgeRequest::new(name, &taken)
        };
        BridgePlan::new(&request).map_err(|error| Error::new(ErrorKind::System, error.to_string()))
    }

    /// Replaces the table by what the present state asks for. The caller holds `kernel`.
    fn apply_ruleset(&self) -> Result<()> {
        let ruleset = {
            let state = self.lock();
            Ruleset {
                bridges: state.bridges(),
                published: state.published(),
            }
        };
        self.driver.apply_ruleset(&ruleset).map_err(system)
    }

    /// Removes interfaces of ours that no running container has: what a crash left before a container was there.
    pub(crate) fn collect(&self) {
        let (kept, bridges) = {
            let state = self.lock();
            (state.host_interfaces(), state.bridges())
        };
        let mut bridges: Vec<String> = bridges.into_iter().map(|plan| plan.name).collect();
        bridges.extend(self.default_bridge.clone());
        let interfaces = match self.driver.host_interfaces(&bridges) {
            Ok(interfaces) => interfaces,
            Err(error) => return tracing::warn!(%error, "look for interfaces that were left"),
        };
        for interface in interfaces.iter().filter(|interface| !kept.contains(interface)) {
            if let Err(error) = self.driver.disconnect(interface) {
                tracing::warn!(%error, %interface, "remove an interface that was left");
            }
        }
    }

    /// Removes bridges and table where nothing uses them; networks that users made are made again at the next start.
    pub(crate) fn close(&self) {
        let _kernel = self.lock_kernel();
        let (bridges, in_use) = {
            let state = self.lock();
            if !state.prepared {
                return;
            }
            let bridges: Vec<String> = state.idle_bridges();
            (bridges, state.networks.values().any(Network::is_in_use))
        };
        for bridge in bridges {
            if let Err(error) = self.driver.remove_bridge(&bridge) {
                tracing::warn!(%error, "remove a bridge at the end");
            }
        }
        if !in_use && let Err(error) = self.driver.remove_ruleset() {
            tracing::warn!(%error, "remove the table at the end");
        }
    }

    /// Address of the default bridge, for `host-gateway`.
    pub(crate) fn gateway(&self) -> Option<IpAddr> {
        let state = self.lock();
        let bridge = state
            .networks
            .values()
            .find(|network| matches!(network.record.kind, NetworkKind::DefaultBridge));
        let bridge = bridge.and_then(|network| network.bridge.as_ref());
        bridge.map(|bridge| bridge.plan.gateway.address())
    }
}

impl State {
    /// A network by its id, its name, or a prefix of its id that only it has.
    fn find(&self, reference: &str) -> Result<&Network> {
        if let Some(network) = self.networks.get(reference) {
            return Ok(network);
        }
        if let Some(network) = self.networks.values().find(|network| network.record.name == reference) {
            return Ok(network);
        }
        let matches = self.networks.values();
        let matches: Vec<&Network> = matches
            .filter(|network| network.record.id.starts_with(reference))
            .collect();
        match matches.as_slice() {
            [] => Err(no_such_network(reference)),
            [network] => Ok(network),
            several => {
                let count = several.len();
                let words = format!("network {reference} is ambiguous ({count} matches found based on ID prefix)");
                Err(Error::new(ErrorKind::InvalidParameter, words))
            }
        }
    }

    fn bridges(&self) -> Vec<BridgePlan> {
        let bridges = self.networks.values().filter_map(|network| network.bridge.as_ref());
        bridges.map(|bridge| bridge.plan.clone()).collect()
    }

    fn subnets(&self) -> Vec<Subnet> {
        self.bridges().iter().map(BridgePlan::subnet).collect()
    }

    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.networks.values().flat_map(|network| network.endpoints.values())
    }

    fn published(&self) -> Vec<Publication> {
        self.endpoints().flat_map(|endpoint| endpoint.ports.clone()).collect()
    }

    fn host_interfaces(&self) -> Vec<String> {
        let plans = self.endpoints().filter_map(|endpoint| endpoint.plan.as_ref());
        plans.map(|plan| plan.host_interface.clone()).collect()
    }

    fn idle_bridges(&self) -> Vec<String> {
        let idle = self.networks.values().filter(|network| !network.is_in_use());
        idle.filter_map(|network| network.bridge.as_ref().map(|bridge| bridge.plan.name.clone()))
            .collect()
    }

    /// Notes the addresses of the default bridge, and takes those of containers that run already.
    fn open_default_bridge(&mut self, plan: BridgePlan) -> Result<()> {
        let default = self
            .networks
            .values_mut()
            .find(|network| matches!(network.record.kind, NetworkKind::DefaultBridge));
        let Some(network) = default else { return Ok(()) };
        let mut bridge = Bridge::new(plan, None)?;
        for endpoint in network.endpoints.values() {
            bridge.adopt(endpoint);
        }
        network.bridge = Some(bridge);
        Ok(())
    }
}

impl Network {
    fn new(record: NetworkRecord) -> Result<Self> {
        let bridge = record
            .user_bridge()
            .map(|bridge| Bridge::new(bridge.plan.clone(), Some(&bridge.addresses)))
            .transpose()?;
        Ok(Self {
            record,
            bridge,
            endpoints: BTreeMap::new(),
        })
    }

    fn is_in_use(&self) -> bool {
        self.bridge.is_some() && !self.endpoints.is_empty()
    }
}

impl Bridge {
    fn new(plan: BridgePlan, asked: Option<&conex_network::ipam::AddressPlan>) -> Result<Self> {
        let mut addresses = AddressAllocator::new(plan.subnet());
        if let Some(range) = asked.and_then(|asked| asked.range) {
            addresses = addresses.within(range);
        }
        addresses
            .reserve(plan.gateway.address())
            .map_err(|error| Error::new(ErrorKind::System, error.to_string()))?;
        for (name, address) in asked.iter().flat_map(|asked| &asked.auxiliary) {
            addresses.reserve(*address).map_err(|error| {
                let text = format!("failed to allocate secondary ip address ({name}:{address}): {error}");
                Error::new(ErrorKind::System, text)
            })?;
        }
        Ok(Self { plan, addresses })
    }

    /// Takes the address of a container that runs already.
    fn adopt(&mut self, endpoint: &Endpoint) {
        let Some(plan) = &endpoint.plan else { return };
        if let Err(error) = self.addresses.reserve(plan.address.address()) {
            tracing::warn!(%error, address = %plan.address, "keep the address of a running container");
        }
    }
}

/// Docker's words for a network that is not there.
pub(crate) fn no_such_network(reference: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("network {reference} not found"))
}

fn system(error: DriverError) -> Error {
    Error::new(ErrorKind::System, error.to_string()).caused_by(error)
}
