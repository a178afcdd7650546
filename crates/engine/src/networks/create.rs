//! `POST /networks/create`.

use conex_api_types as api;
use conex_network::ipam::{AddressPlan, SubnetRequest};
use conex_network::options::BridgeOptions;
use conex_network::{Access, BridgePlan, BridgeRequest, choose_subnet, default_pools};
use conex_network_driver::NetworkDriver;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::records::{self, NetworkKind, NetworkRecord, UserBridge};
use crate::networks::{Network, Networks, system};

/// What the names of bridges begin with where a user names none; the beginning of the network's id follows, as in Docker.
const BRIDGE_PREFIX: &str = "br-";

impl Engine {
    /// Makes a network. It is on disk, and its bridge is there, when this returns.
    pub async fn create_network(&self, request: api::NetworkCreateRequest) -> Result<api::NetworkCreateResponse> {
        check(&request)?;
        let inner = self.inner.clone();
        // A client that goes away must not part memory from disk.
        let created = tokio::task::spawn_blocking(move || {
            let record = inner.networks.create(&request)?;
            inner
                .events
                .network("create", &record.id, &record.name, record.driver(), None);
            Ok(record.id)
        });
        let id = created
            .await
            .map_err(|error| Error::new(ErrorKind::System, format!("create the network: {error}")))??;
        Ok(api::NetworkCreateResponse {
            id,
            warning: String::new(),
        })
    }
}

/// What is refused whatever the state of the host.
fn check(request: &api::NetworkCreateRequest) -> Result<()> {
    let invalid = |words: String| Err(Error::new(ErrorKind::InvalidParameter, words));
    let forbidden = |words: String| Err(Error::new(ErrorKind::Forbidden, words));
    let unsupported = |field: &str, what: &str| invalid(format!("{field}: {what} is not supported yet"));
    let name = request.name.as_str();
    if name.trim().is_empty() {
        return invalid("invalid name: name is empty".to_owned());
    }
    if name.contains(|c: char| c.is_control()) {
        return invalid(format!("invalid name: {name:?}"));
    }
    if matches!(name, "bridge" | "host" | "none" | "default") {
        return forbidden(format!("operation is not permitted on predefined {name} network "));
    }
    match request.scope.as_str() {
        "" | "local" => {}
        "swarm" => return forbidden("cannot create a swarm scoped network when swarm is not active".to_owned()),
        other => return unsupported("Scope", other),
    }
    if request.ingress {
        return forbidden("Ingress network can only be global scope network".to_owned());
    }
    if request.config_only {
        return unsupported("ConfigOnly", "a network that is only a configuration");
    }
    if let Some(from) = request.config_from.as_ref().filter(|from| !from.network.is_empty()) {
        let words = format!("configuration network {:?} does not exist", from.network);
        return Err(Error::new(ErrorKind::NotFound, words));
    }
    match request.driver.as_str() {
        "" | "default" | "bridge" => {}
        driver @ ("host" | "null") => return forbidden(format!("only one instance of {driver:?} network is allowed")),
        "overlay" => {
            return forbidden(
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this \
                 node to swarm and try again."
                    .to_owned(),
            );
        }
        driver @ ("macvlan" | "ipvlan") => return unsupported("Driver", &format!("the driver {driver}")),
        driver => return Err(Error::new(ErrorKind::NotFound, format!("plugin {driver:?} not found"))),
    }
    match (request.enable_ipv4 != Some(false), request.enable_ipv6 == Some(true)) {
        (false, false) => invalid("IPv4 or IPv6 must be enabled".to_owned()),
        (false, true) => unsupported("EnableIPv4", "a network without IPv4"),
        (true, true) => unsupported("EnableIPv6", "a network with IPv6"),
        (true, false) => Ok(()),
    }
}

/// The addresses that are asked for; `None` where they are the engine's choice.
fn addresses(request: &api::NetworkCreateRequest) -> Result<Option<AddressPlan>> {
    let invalid = |words: String| Error::new(ErrorKind::InvalidParameter, words);
    let Some(ipam) = &request.ipam else { return Ok(None) };
    if !matches!(ipam.driver.as_str(), "" | "default") {
        let words = format!("plugin {:?} not found", ipam.driver);
        return Err(Error::new(ErrorKind::NotFound, words));
    }
    let configs = ipam.config.as_deref().unwrap_or_default();
    let mut plans = Vec::new();
    let mut errors = Vec::new();
    for config in configs.iter().filter(|config| **config != api::IpamConfig::default()) {
        let parsed = AddressPlan::parse(&SubnetRequest {
            subnet: &config.subnet,
            range: &config.ip_range,
            gateway: &config.gateway,
            auxiliary: &config.auxiliary_addresses,
        });
        match parsed {
            Ok(plan) => plans.push(plan),
            Err(wrong) => errors.extend(wrong),
        }
    }
    if let Some(words) = joined(&errors) {
        return Err(invalid(format!("invalid network config:\n{words}")));
    }
    if let Some(plan) = plans.iter().find(|plan| !plan.subnet.network().is_ipv4()) {
        let words = format!("IPAM: the IPv6 subnet {} is not supported yet", plan.subnet);
        return Err(invalid(words));
    }
    if plans.len() > 1 {
        let words = "bridge driver doesn't support multiple subnets";
        return Err(Error::new(ErrorKind::Forbidden, words));
    }
    Ok(plans.pop())
}

/// Several errors as Docker joins them.
pub(crate) fn joined(errors: &[String]) -> Option<String> {
    match errors {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(
            many.iter()
                .map(|error| format!("* {error}"))
                .collect::<Vec<_>>()
                .join("\n"),
        ),
    }
}

impl Networks {
    /// Makes a network: record, rules, bridge. What fails leaves nothing. It blocks.
    fn create(&self, request: &api::NetworkCreateRequest) -> Result<NetworkRecord> {
        self.prepare()?;
        let _kernel = self.lock_kernel();
        let exists = |name: &str| {
            let words = format!("network with name {name} already exists");
            Err(Error::new(ErrorKind::Conflict, words))
        };
        if self
            .lock()
            .networks
            .values()
            .any(|network| network.record.name == request.name)
        {
            return exists(&request.name);
        }
        let record = self.plan(request)?;
        let network = Network::new(record.clone())?;
        conex_sys::failpoint::hit("network.before-record");
        records::add(&self.metadata, &record)?;
        conex_sys::failpoint::hit("network.after-record");
        self.lock().networks.insert(record.id.clone(), network);
        if let Err(error) = self.bring_up(&record) {
            self.lock().networks.remove(&record.id);
            self.tear_down(&record);
            records::remove(&self.metadata, &record.id)?;
            return Err(error);
        }
        conex_sys::failpoint::hit("network.after-bridge");
        Ok(record)
    }

    /// The table comes first: no packet passes a bridge without its rules.
    fn bring_up(&self, record: &NetworkRecord) -> Result<()> {
        self.apply_ruleset()?;
        match record.user_bridge() {
            Some(bridge) => self.driver.ensure_bridge(&bridge.plan).map(drop).map_err(system),
            None => Ok(()),
        }
    }

    fn plan(&self, request: &api::NetworkCreateRequest) -> Result<NetworkRecord> {
        let invalid = |words: String| Error::new(ErrorKind::InvalidParameter, words);
        let options = BridgeOptions::parse(&request.options).map_err(|error| invalid(error.to_string()))?;
        let asked = addresses(request)?;
        let addresses = match &asked {
            Some(plan) if self.lock().subnets().iter().any(|other| other.overlaps(plan.subnet)) => {
                let words = "invalid pool request: Pool overlaps with other one on this address space";
                return Err(Error::new(ErrorKind::Forbidden, words));
            }
            Some(plan) => plan.clone(),
            None => self.choose_addresses()?,
        };
        let mut record = NetworkRecord::new(&request.name, NetworkKind::None)?;
        let name = match &options.name {
            Some(name) => name.clone(),
            None => format!("{BRIDGE_PREFIX}{}", &record.id[..12]),
        };
        self.refuse_taken_bridge(&record, &name)?;
        let no_host = || invalid(format!("invalid subnet {}: it has no host", addresses.subnet));
        let plan = BridgePlan::new(&BridgeRequest {
            address: Some(addresses.gateway().ok_or_else(no_host)?),
            mtu: options.mtu,
            masquerade: options.masquerade,
            icc: options.icc,
            access: if request.internal {
                Access::Internal
            } else {
                Access::Open
            },
            ..BridgeRequest::new(&name, &[])
        });
        record.kind = NetworkKind::Bridge(Box::new(UserBridge {
            plan: plan.map_err(|error| invalid(error.to_string()))?,
            addresses,
            chosen_by_user: asked.is_some(),
            ipam_options: request.ipam.as_ref().and_then(|ipam| ipam.options.clone()),
            attachable: request.attachable,
        }));
        record.labels.clone_from(&request.labels);
        record.options.clone_from(&request.options);
        Ok(record)
    }

    /// The first subnet of the default pools that neither a network nor a route of the host has.
    fn choose_addresses(&self) -> Result<AddressPlan> {
        let mut taken = self.driver.probe_routes("").map_err(system)?;
        taken.extend(self.lock().subnets());
        let none = || {
            let words = "all predefined address pools have been fully subnetted";
            Error::new(ErrorKind::InvalidParameter, words)
        };
        choose_subnet(&default_pools(), &taken)
            .map(AddressPlan::of)
            .ok_or_else(none)
    }

    fn refuse_taken_bridge(&self, record: &NetworkRecord, name: &str) -> Result<()> {
        let state = self.lock();
        let owner = state
            .networks
            .values()
            .find(|network| network.bridge.as_ref().is_some_and(|bridge| bridge.plan.name == name));
        match owner {
            Some(owner) => Err(Error::new(
                ErrorKind::Forbidden,
                format!(
                    "cannot create network {} ({name}): conflicts with network {} ({name}): networks have same bridge name",
                    record.id, owner.record.id
                ),
            )),
            None => Ok(()),
        }
    }
}
