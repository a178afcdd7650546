//! Limits of what passes over connections (`conex.rate.*`): where they are said, which goes first, and their change while
//! containers run.
//!
//! ```text
//!   DriverOpts of the connection     run --network name=N,driver-opt=..., network connect --driver-opt
//!   HostConfig.NetworkRates          update, create; of all connections of the container
//!   labels of the container          run --label
//!   options of the network           network create --opt
//! ```
//!
//! The first that names an option says its value. An update takes the options that it names out of the `DriverOpts` of the
//! connections that there are: what is said last holds.
//!
//! A change notes the new limits with the run, then tells the kernel, then records the container. A daemon that comes after
//! one that was killed in between finds the run's limits and the container's in disagreement, and gives the kernel the
//! container's.

use std::sync::Arc;

use conex_api_types as api;
use conex_container::{Config, NetworkChoice};
use conex_network::DEFAULT_MTU;
use conex_network::options::BridgeOptions;
use conex_network::rate::{self, RateError, RateOptions, Rates};
use conex_network_driver::NetworkDriver;

use crate::containers::Container;
use crate::containers::recovery::note_endpoints;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::records::{NetworkKind, NetworkRecord};
use crate::networks::{Endpoint, Networks, system};

/// Refuses options that are none, and limits of a container whose network is the host's or another container's.
pub(super) fn check(config: &Config) -> Result<()> {
    let mut said = of_container(config)?;
    for settings in config.endpoints.values() {
        said = said.or(of_settings(settings)?);
    }
    let whose = match &config.network {
        NetworkChoice::Host => "the host",
        NetworkChoice::Container(_) => "another container",
        NetworkChoice::Bridge | NetworkChoice::None | NetworkChoice::Named(_) => return Ok(()),
    };
    if said.is_empty() {
        return Ok(());
    }
    let words = format!("conflicting options: conex.rate.* and the network of {whose}, which has no limits of its own");
    Err(invalid(words))
}

/// The limits of a container's connection to a network.
pub(super) fn of(config: &Config, network: &NetworkRecord, settings: &api::EndpointSettings) -> Result<Rates> {
    let (defaults, mtu) = match &network.kind {
        NetworkKind::Bridge(bridge) => {
            let options = BridgeOptions::parse(&network.options).map_err(|error| invalid(error.to_string()))?;
            (options.rates, bridge.plan.mtu)
        }
        NetworkKind::DefaultBridge => (RateOptions::default(), DEFAULT_MTU),
        // Nothing passes on the one, and the other is checked elsewhere.
        NetworkKind::None | NetworkKind::Host => return Ok(Rates::default()),
    };
    let said = of_settings(settings)?.or(of_container(config)?).or(defaults);
    said.rates(mtu).map_err(refused)
}

/// The other options of connections that Docker's drivers know are not done.
fn of_settings(settings: &api::EndpointSettings) -> Result<RateOptions> {
    let mut names = settings.driver_opts.iter().flatten().map(|(name, _)| name);
    if let Some(other) = names.find(|name| !name.starts_with(rate::PREFIX)) {
        return Err(invalid(format!(
            "EndpointSettings: DriverOpts: {other} is not supported yet"
        )));
    }
    RateOptions::parse(settings.driver_opts.iter().flatten()).map_err(refused)
}

fn of_container(config: &Config) -> Result<RateOptions> {
    let rates = &config.host.network_rates;
    if let Some(other) = rates.keys().find(|name| !name.starts_with(rate::PREFIX)) {
        return Err(refused(RateError::Unknown(other.clone())));
    }
    let updated = RateOptions::parse(rates).map_err(refused)?;
    let labelled = RateOptions::parse(&config.labels).map_err(refused)?;
    Ok(updated.or(labelled))
}

fn refused(error: RateError) -> Error {
    invalid(error.to_string())
}

fn invalid(words: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, words)
}

impl Networks {
    /// Refuses limits that a container cannot have on the networks that it is on.
    pub(crate) fn check_rates(&self, config: &Config) -> Result<()> {
        check(config)?;
        let state = self.lock();
        for (name, settings) in &config.endpoints {
            // One that is not there is missed at the start.
            if let Ok(network) = state.find(name) {
                of(config, &network.record, settings)?;
            }
        }
        Ok(())
    }

    /// The connections as their container's limits would have them.
    fn limited(&self, config: &Config, endpoints: &[Endpoint]) -> Result<Vec<Endpoint>> {
        let state = self.lock();
        let limited = endpoints.iter().map(|endpoint| {
            let mut endpoint = endpoint.clone();
            if let Some(plan) = &mut endpoint.plan {
                let settings = config.endpoints.get(&endpoint.name).cloned().unwrap_or_default();
                plan.rates = of(config, &state.find(&endpoint.network)?.record, &settings)?;
            }
            Ok(endpoint)
        });
        limited.collect()
    }

    /// Gives connections the limits of their plans, where those were others before.
    fn change_rates(&self, container: &str, before: &[Endpoint], endpoints: &[Endpoint]) -> Result<()> {
        for endpoint in endpoints.iter().filter(|endpoint| !before.contains(endpoint)) {
            if let Some(plan) = &endpoint.plan {
                self.driver.change_rates(plan).map_err(system)?;
            }
            self.update(container, endpoint);
        }
        Ok(())
    }

    /// Removes what limited connections leave when their interfaces go with their namespace. It blocks.
    pub(super) fn forget_rates(&self, endpoint: &Endpoint) {
        let Some(plan) = &endpoint.plan else { return };
        if plan.rates.egress.is_some()
            && let Err(error) = self.driver.forget_rates(&plan.host_interface)
        {
            tracing::warn!(%error, interface = %plan.host_interface, "remove what limited a connection");
        }
    }
}

/// Gives a running container's connections the limits that its configuration asks for; the endpoints are those that it has
/// then. What fails leaves those of before. It blocks.
pub(crate) fn change(engine: &Inner, container: &Container, before: Vec<Endpoint>) -> Result<Vec<Endpoint>> {
    let networks = &engine.networks;
    let endpoints = networks.limited(&container.config, &before)?;
    if endpoints == before {
        return Ok(before);
    }
    note_endpoints(engine, container, &endpoints)?;
    conex_sys::failpoint::hit("rates.after-note");
    if let Err(error) = networks.change_rates(&container.id, &before, &endpoints) {
        // The first error says what went wrong.
        let undone = networks.change_rates(&container.id, &endpoints, &before);
        if let Err(error) = undone.and_then(|()| note_endpoints(engine, container, &before)) {
            tracing::warn!(%error, container = %container.id, "take back limits of connections");
        }
        return Err(error);
    }
    conex_sys::failpoint::hit("rates.after-change");
    Ok(endpoints)
}

/// The connections of a container that is found running, with the limits that it is to have: a change may have been cut off.
pub(crate) async fn settle(engine: &Arc<Inner>, container: &Arc<Container>, found: Vec<Endpoint>) -> Vec<Endpoint> {
    let (inner, changed, before) = (engine.clone(), container.clone(), found.clone());
    let settled = tokio::task::spawn_blocking(move || change(&inner, &changed, before)).await;
    let failed = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, container = %container.id, "limit the connections of a running container");
    };
    match settled {
        Ok(Ok(endpoints)) => return endpoints,
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
    found
}
