//! What no network can be, in the order in which Docker looks: a client is told of the same one of several faults.

use conex_api_types as api;
use conex_network::ipam::{AddressPlan, SubnetRequest};

use crate::error::{Error, ErrorKind, Result};
use crate::networks::settings::joined;

/// What a network cannot be that depends on a swarm.
const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect \
                          this node to swarm and try again.";

fn invalid(words: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, words)
}

fn forbidden(words: impl Into<String>) -> Error {
    Error::new(ErrorKind::Forbidden, words)
}

fn unsupported(field: &str, what: &str) -> Error {
    invalid(format!("{field}: {what} is not supported yet"))
}

fn no_plugin(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("plugin {name:?} not found"))
}

/// What is looked at before the names of the other networks. Returns the subnets that are asked for.
pub(super) fn before_name(request: &api::NetworkCreateRequest) -> Result<Vec<AddressPlan>> {
    let name = request.name.as_str();
    if matches!(name, "bridge" | "host" | "none" | "default") {
        let words = format!("operation is not permitted on predefined {name} network ");
        return Err(forbidden(words));
    }
    if request.driver == "overlay" {
        return Err(forbidden(NO_MANAGER));
    }
    let subnets = subnets(request)?;
    if name.trim().is_empty() {
        return Err(invalid("invalid name: name is empty"));
    }
    if name.contains(|c: char| c.is_control()) {
        return Err(invalid(format!("invalid name: {name:?}")));
    }
    Ok(subnets)
}

fn subnets(request: &api::NetworkCreateRequest) -> Result<Vec<AddressPlan>> {
    let configs = request.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
    let mut plans = Vec::new();
    let mut errors = Vec::new();
    for config in configs {
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
    match joined(&errors) {
        Some(words) => Err(invalid(format!("invalid network config:\n{words}"))),
        None => Ok(plans),
    }
}

/// What is looked at once the name is known to be free.
pub(super) fn after_name(request: &api::NetworkCreateRequest) -> Result<()> {
    check_configuration(request)?;
    match request.driver.as_str() {
        "" | "bridge" | "host" | "null" => {}
        driver @ ("macvlan" | "ipvlan") => return Err(unsupported("Driver", &format!("the driver {driver}"))),
        driver => return Err(no_plugin(driver)),
    }
    if request.ingress {
        return Err(forbidden("Ingress network can only be global scope network"));
    }
    if let Some(from) = from(request) {
        let words = format!("configuration network {from:?} does not exist");
        return Err(Error::new(ErrorKind::NotFound, words));
    }
    match request.scope.as_str() {
        "" | "local" => {}
        "swarm" => {
            return Err(forbidden(
                "cannot create a swarm scoped network when swarm is not active",
            ));
        }
        other => return Err(unsupported("Scope", other)),
    }
    if let driver @ ("host" | "null") = request.driver.as_str() {
        return Err(forbidden(format!("only one instance of {driver:?} network is allowed")));
    }
    Ok(())
}

/// Whether it has addresses of a version of IP at all.
pub(super) fn families(request: &api::NetworkCreateRequest) -> Result<()> {
    match (request.enable_ipv4 != Some(false), request.enable_ipv6 == Some(true)) {
        (false, false) => Err(invalid("IPv4 or IPv6 must be enabled")),
        (false, true) => Err(unsupported("EnableIPv4", "a network without IPv4")),
        (true, true) => Err(unsupported("EnableIPv6", "a network with IPv6")),
        (true, false) => Ok(()),
    }
}

/// The network that the configuration is to come from.
fn from(request: &api::NetworkCreateRequest) -> Option<&str> {
    let from = request.config_from.as_ref().map(|from| from.network.as_str());
    from.filter(|from| !from.is_empty())
}

fn check_configuration(request: &api::NetworkCreateRequest) -> Result<()> {
    if from(request).is_none() {
        return match request.config_only {
            true => Err(unsupported("ConfigOnly", "a network that is only a configuration")),
            false => Ok(()),
        };
    }
    if request.config_only {
        return Err(forbidden(
            "a configuration network cannot depend on another configuration network",
        ));
    }
    let has_own = request.ipam.as_ref().is_some_and(|ipam| {
        let is_default = matches!(ipam.driver.as_str(), "" | "default");
        !is_default
            || ipam.config.as_ref().is_some_and(|configs| !configs.is_empty())
            || ipam.options.as_ref().is_some_and(|options| !options.is_empty())
    });
    let chooses = request.enable_ipv4 == Some(false) || request.enable_ipv6 == Some(true);
    if has_own || chooses || !request.labels.is_empty() {
        return Err(forbidden(
            "user specified configurations are not supported if the network depends on a configuration network",
        ));
    }
    if !request.options.is_empty() {
        return Err(forbidden(
            "network driver options are not supported if the network depends on a configuration network",
        ));
    }
    Ok(())
}

/// Who gives the addresses.
pub(super) fn address_driver(request: &api::NetworkCreateRequest, subnets: &[AddressPlan]) -> Result<()> {
    match request.ipam.as_ref().map_or("", |ipam| ipam.driver.as_str()) {
        "" | "default" => {}
        "null" if subnets.is_empty() => return Err(invalid("ipv4 pool is empty")),
        "null" => {
            return Err(invalid(
                "null ipam driver does not handle specific address pool requests",
            ));
        }
        other => return Err(no_plugin(other)),
    }
    match subnets.iter().find(|plan| !plan.subnet.network().is_ipv4()) {
        Some(plan) => Err(unsupported("IPAM", &format!("the IPv6 subnet {}", plan.subnet))),
        None => Ok(()),
    }
}

/// Addresses that nothing is to have and that are none.
pub(super) fn auxiliary(request: &api::NetworkCreateRequest) -> Result<()> {
    let configs = request.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
    let mut addresses = configs.flat_map(|config| &config.auxiliary_addresses);
    match addresses.find(|(_, address)| address.is_empty()) {
        Some((name, _)) => Err(invalid(format!(
            "non parsable secondary ip address ({name}:) passed for network {}",
            request.name
        ))),
        None => Ok(()),
    }
}
