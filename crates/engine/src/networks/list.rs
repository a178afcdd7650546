//! `GET /networks` and `GET /networks/{id}`.

use std::collections::BTreeMap;

use conex_api_types as api;
use conex_network::{Access, BridgePlan};

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::matching;
use crate::networks::Network;
use crate::networks::records::{NetworkKind, UserBridge};

/// Filters of a list that are understood.
const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// Whether a list tells who is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connected {
    /// It does.
    Shown,
    /// Only an inspection does.
    Hidden,
}

impl Engine {
    /// Lists networks.
    pub fn networks(&self, filters: &api::Filters, tell: Connected) -> Result<Vec<api::NetworkResource>> {
        let invalid = |error: api::FiltersError| Error::new(ErrorKind::InvalidParameter, error.to_string());
        filters.require_known(&FILTERS).map_err(invalid)?;
        check_values(filters)?;
        let state = self.inner.networks.lock();
        let mut networks: Vec<&Network> = state
            .networks
            .values()
            .filter(|network| matches(network, filters))
            .collect();
        networks.sort_by(|one, other| one.record.created.cmp(&other.record.created));
        let listed = |network| match tell {
            Connected::Shown => resource(network),
            Connected::Hidden => api::NetworkResource {
                containers: BTreeMap::new(),
                ..resource(network)
            },
        };
        Ok(networks.into_iter().map(listed).collect())
    }

    /// Inspects a network; `scope` is one that it must have, where one is named.
    pub fn inspect_network(&self, reference: &str, scope: &str) -> Result<api::NetworkResource> {
        if !matches!(scope, "" | "local") {
            return Err(super::no_such_network(reference));
        }
        let state = self.inner.networks.lock();
        Ok(resource(state.find(reference)?))
    }
}

fn check_values(filters: &api::Filters) -> Result<()> {
    let invalid = |words: String| Err(Error::new(ErrorKind::InvalidParameter, words));
    let dangling = filters.values("dangling").unwrap_or_default();
    if dangling.len() > 1 {
        return invalid("got more than one value for filter key \"dangling\"".to_owned());
    }
    for value in dangling {
        if !matches!(value.as_str(), "true" | "1" | "false" | "0") {
            return invalid(
                "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")".to_owned(),
            );
        }
    }
    for value in filters.values("type").unwrap_or_default() {
        if !matches!(value.as_str(), "builtin" | "custom") {
            return invalid(format!("invalid filter: 'type'='{value}'"));
        }
    }
    Ok(())
}

fn matches(network: &Network, filters: &api::Filters) -> bool {
    let record = &network.record;
    matching::labels(&record.labels, filters)
        && filters.iter().all(|(filter, values)| {
            // Docker takes no value for all of them, but for that of the type.
            (values.is_empty() && filter != "type")
                || filter == "label"
                || values.iter().any(|value| match filter.as_str() {
                    "driver" => record.driver() == value,
                    "id" => record.id.starts_with(value.as_str()),
                    "name" => matching::name(&record.name, value),
                    "scope" => value == "local",
                    "type" => record.is_predefined() == (value == "builtin"),
                    "dangling" => {
                        let dangling = !record.is_predefined() && network.endpoints.is_empty();
                        dangling == matches!(value.as_str(), "true" | "1")
                    }
                    _ => false,
                })
        })
}

fn resource(network: &Network) -> api::NetworkResource {
    let record = &network.record;
    let user = record.user_bridge();
    let default = match (&record.kind, &network.bridge) {
        (NetworkKind::DefaultBridge, Some(bridge)) => Some(&bridge.plan),
        _ => None,
    };
    let containers = network.endpoints.iter().map(|(container, endpoint)| {
        let plan = endpoint.plan.as_ref();
        let shown = api::NetworkContainer {
            name: endpoint.container.clone(),
            endpoint_id: endpoint.id.clone(),
            mac_address: plan.map(|plan| plan.mac.to_string()).unwrap_or_default(),
            ipv4_address: plan.map(|plan| plan.address.to_string()).unwrap_or_default(),
            ipv6_address: String::new(),
        };
        (container.clone(), shown)
    });
    api::NetworkResource {
        name: record.name.clone(),
        id: record.id.clone(),
        created: record.created.clone(),
        scope: "local".into(),
        driver: record.driver().into(),
        enable_ipv4: true,
        ipam: api::Ipam {
            driver: "default".into(),
            options: user.and_then(|user| user.ipam_options.clone()),
            config: user.map(user_addresses).or_else(|| default.map(default_addresses)),
        },
        internal: user.is_some_and(|user| user.plan.access == Access::Internal),
        attachable: user.is_some_and(|user| user.attachable),
        containers: containers.collect(),
        options: default.map_or_else(|| record.options.clone(), default_options),
        labels: record.labels.clone(),
        ..api::NetworkResource::default()
    }
}

fn user_addresses(bridge: &UserBridge) -> Vec<api::IpamConfig> {
    let addresses = &bridge.addresses;
    let auxiliary = addresses.auxiliary.iter();
    // Of a subnet that the user named, only what the user named.
    let gateway = match bridge.chosen_by_user {
        true => addresses.gateway,
        false => Some(bridge.plan.gateway.address()),
    };
    vec![api::IpamConfig {
        subnet: addresses.subnet.to_string(),
        ip_range: addresses.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: auxiliary
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    }]
}

fn default_addresses(plan: &BridgePlan) -> Vec<api::IpamConfig> {
    vec![api::IpamConfig {
        subnet: plan.subnet().to_string(),
        gateway: plan.gateway.address().to_string(),
        ..api::IpamConfig::default()
    }]
}

/// What the default bridge is made with, as Docker tells it.
fn default_options(plan: &BridgePlan) -> BTreeMap<String, String> {
    let options = [
        ("com.docker.network.bridge.default_bridge", "true"),
        ("com.docker.network.bridge.enable_icc", "true"),
        ("com.docker.network.bridge.enable_ip_masquerade", "true"),
        ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
        ("com.docker.network.bridge.name", plan.name.as_str()),
        ("com.docker.network.driver.mtu", &plan.mtu.to_string()),
    ];
    let owned = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    BTreeMap::from(owned)
}
