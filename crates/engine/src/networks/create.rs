//! `POST /networks/create`.

mod checks;

use conex_api_types as api;
use conex_network::ipam::AddressPlan;
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
        let subnets = checks::before_name(&request)?;
        let inner = self.inner.clone();
        // A client that goes away must not part memory from disk.
        let created = tokio::task::spawn_blocking(move || {
            let record = inner.networks.create(&request, subnets)?;
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

impl Networks {
    /// Makes a network: record, rules, bridge. What fails leaves nothing. It blocks.
    fn create(&self, request: &api::NetworkCreateRequest, subnets: Vec<AddressPlan>) -> Result<NetworkRecord> {
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
        checks::after_name(request)?;
        let record = self.plan(request, subnets)?;
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

    /// The addresses that are asked for; `None` where they are the engine's choice.
    fn asked_addresses(&self, mut subnets: Vec<AddressPlan>) -> Result<Option<AddressPlan>> {
        let forbidden = |words: &str| Err(Error::new(ErrorKind::Forbidden, words));
        let taken = self.lock().subnets();
        let is_taken = |(index, plan): (usize, &AddressPlan)| {
            let others = taken.iter().chain(subnets[..index].iter().map(|plan| &plan.subnet));
            others.into_iter().any(|other| other.overlaps(plan.subnet))
        };
        if subnets.iter().enumerate().any(is_taken) {
            return forbidden("invalid pool request: Pool overlaps with other one on this address space");
        }
        if subnets.len() > 1 {
            return forbidden("bridge driver doesn't support multiple subnets");
        }
        let Some(plan) = subnets.pop() else { return Ok(None) };
        let offset = plan.gateway.and_then(|gateway| plan.subnet.offset(gateway));
        if let (Some(gateway), Some(offset)) = (plan.gateway, offset)
            && (offset == 0 || offset == plan.subnet.last_offset())
        {
            let words = format!("failed to allocate gateway ({gateway}): Address already in use");
            return Err(Error::new(ErrorKind::System, words));
        }
        Ok(Some(plan))
    }

    fn plan(&self, request: &api::NetworkCreateRequest, subnets: Vec<AddressPlan>) -> Result<NetworkRecord> {
        let invalid = |words: String| Error::new(ErrorKind::InvalidParameter, words);
        let options = BridgeOptions::parse(&request.options).map_err(|error| invalid(error.to_string()))?;
        checks::address_driver(request, &subnets)?;
        checks::families(request)?;
        let asked = self.asked_addresses(subnets)?;
        checks::auxiliary(request)?;
        let addresses = match &asked {
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
