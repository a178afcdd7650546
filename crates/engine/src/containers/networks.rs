//! A container's networks and ports as they are inspected and listed.

use std::collections::BTreeMap;

use conex_api_types as api;
use conex_container::state::{Exit, State};
use conex_container::{NetworkChoice, port_name};
use conex_network::Protocol;

use crate::containers::Container;
use crate::containers::task::View;
use crate::engine::{Engine, Inner};
use crate::networks::Endpoint;
use crate::networks::connect::is_awaited;
use crate::networks::endpoint::dns_names;

/// What `inspect` tells.
pub(crate) fn settings(engine: &Inner, container: &Container, view: &View) -> api::NetworkSettings {
    let mut settings = api::NetworkSettings {
        networks: of_inspect(engine, container, view),
        ..api::NetworkSettings::default()
    };
    let shared = matches!(container.config.network, NetworkChoice::Container(_));
    if let State::Running { pid, .. } = &view.state
        && !shared
    {
        settings.sandbox_id.clone_from(&container.id);
        settings.sandbox_key = format!("/proc/{pid}/ns/net");
        settings.ports = ports(container, view);
    }
    // The fields of before there were several networks tell of the default bridge only.
    if let Some(bridge) = settings.networks.get("bridge") {
        settings.endpoint_id.clone_from(&bridge.endpoint_id);
        settings.gateway.clone_from(&bridge.gateway);
        settings.ip_address.clone_from(&bridge.ip_address);
        settings.ip_prefix_len = bridge.ip_prefix_len;
        settings.mac_address.clone_from(&bridge.mac_address);
    }
    settings
}

fn of_inspect(engine: &Inner, container: &Container, view: &View) -> BTreeMap<String, api::EndpointSettings> {
    let networks = container.config.endpoints.iter().map(|(name, asked)| {
        let active = view.endpoints.iter().find(|endpoint| endpoint.name == *name);
        let mut settings = shown(asked, active);
        let record = engine.networks.record(name);
        let is_made = active.is_some() || (has_run(view) && !is_awaited(asked));
        // That of a network that is gone was made by a user.
        let has_names = record
            .as_ref()
            .map_or(is_awaited(asked), |record| record.user_bridge().is_some());
        let is_told = has_names && (is_made || is_awaited(asked));
        settings.dns_names = is_told.then(|| dns_names(container, asked));
        if let Ok(record) = record
            && is_made
        {
            settings.network_id = record.id;
        }
        (name.clone(), settings)
    });
    networks.collect()
}

/// What a list tells of the networks.
pub(crate) fn of_list(engine: &Inner, container: &Container, view: &View) -> BTreeMap<String, api::EndpointSettings> {
    let networks = container.config.endpoints.iter().map(|(name, asked)| {
        let active = view.endpoints.iter().find(|endpoint| endpoint.name == *name);
        let mut settings = api::EndpointSettings {
            aliases: None,
            links: None,
            dns_names: None,
            ..shown(asked, active)
        };
        if has_run(view)
            && !is_awaited(asked)
            && let Ok(record) = engine.networks.record(name)
        {
            settings.network_id = record.id;
        }
        (name.clone(), settings)
    });
    networks.collect()
}

/// Whether it was on its networks before: a start that failed does not count.
fn has_run(view: &View) -> bool {
    view.last.as_ref().is_some_and(Exit::has_run)
}

fn shown(asked: &api::EndpointSettings, active: Option<&Endpoint>) -> api::EndpointSettings {
    let mut settings = asked.clone();
    let Some(endpoint) = active else { return settings };
    settings.network_id.clone_from(&endpoint.network);
    settings.endpoint_id.clone_from(&endpoint.id);
    if let Some(plan) = &endpoint.plan {
        settings.mac_address = plan.mac.to_string();
        settings.gateway = plan.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        settings.ip_address = plan.address.address().to_string();
        settings.ip_prefix_len = plan.address.prefix();
    }
    settings
}

fn ports(container: &Container, view: &View) -> BTreeMap<String, Option<Vec<api::PortBinding>>> {
    if container.config.network == NetworkChoice::Host {
        return BTreeMap::new();
    }
    let exposed = container.config.exposed_ports.iter();
    let mut ports: BTreeMap<_, Option<Vec<_>>> = exposed.map(|port| (port.clone(), None)).collect();
    for published in view.endpoints.iter().flat_map(|endpoint| &endpoint.ports) {
        let name = port_name(published.port, published.host.protocol == Protocol::Udp);
        let binding = api::PortBinding {
            host_ip: published.host.address.to_string(),
            host_port: published.host.port.to_string(),
        };
        ports.entry(name).or_default().get_or_insert_default().push(binding);
    }
    ports
}

/// What a list tells of the ports.
pub(crate) fn ports_of_list(container: &Container, view: &View) -> Vec<api::Port> {
    if !view.state.is_running() {
        return Vec::new();
    }
    let mut listed = Vec::new();
    for (name, bindings) in ports(container, view) {
        let (number, kind) = name.split_once('/').unwrap_or((&name, "tcp"));
        let Ok(private_port) = number.parse() else { continue };
        let port = api::Port {
            private_port,
            kind: kind.to_owned(),
            ..api::Port::default()
        };
        match bindings {
            None => listed.push(port),
            Some(bindings) => listed.extend(bindings.into_iter().map(|binding| api::Port {
                ip: binding.host_ip,
                public_port: binding.host_port.parse().ok(),
                ..port.clone()
            })),
        }
    }
    listed
}

impl Engine {
    /// Whether a container is on a network that is named by its name, its id or the beginning of it.
    pub(crate) fn is_on(&self, container: &Container, network: &str) -> bool {
        let endpoints = &container.config.endpoints;
        let record = self.inner.networks.record(network);
        endpoints.contains_key(network) || record.is_ok_and(|record| endpoints.contains_key(&record.name))
    }
}
