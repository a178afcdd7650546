//! Links of before networks had names (`--link`): on the default bridge a container gets the other's address and names in
//! `/etc/hosts`, and variables that tell of its ports and its environment. On networks that users made, links are names
//! for the name server instead.

use std::net::IpAddr;
use std::sync::Arc;

use conex_container::state::State;
use conex_container::{Config, NetworkChoice};
use conex_network::hosts::ExtraHost;

use crate::containers::Container;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};

/// Variables of the other container that are its own business.
const PRIVATE: [&str; 2] = ["HOME", "PATH"];

/// Gives links the ids of their containers: their names may change.
pub(crate) fn resolve(engine: &Inner, config: &mut Config) -> Result<()> {
    for link in config.host.links.iter_mut().flatten() {
        let (target, alias) = split(link);
        let found = engine.containers.find(target).map_err(|error| {
            let words = format!("could not get container for {target}: {}", error.message());
            Error::new(ErrorKind::InvalidParameter, words)
        })?;
        if matches!(found.config.network, NetworkChoice::Host) {
            let words = "conflicting options: host type networking can't be used with links. This would result in \
                         undefined behavior";
            return Err(Error::new(ErrorKind::InvalidParameter, words));
        }
        *link = format!("{}:{alias}", found.id);
    }
    Ok(())
}

/// The links as they are inspected.
pub(crate) fn shown(engine: &Inner, container: &Container) -> Option<Vec<String>> {
    let links = container.config.host.links.as_ref()?.iter();
    let shown = links.filter_map(|link| {
        let (target, alias) = split(link);
        let target = engine.containers.find(target).ok()?;
        Some(format!("/{}:/{}/{alias}", target.name, container.name))
    });
    Some(shown.collect())
}

/// `container:alias`, or the container alone.
fn split(link: &str) -> (&str, &str) {
    let (target, alias) = link.split_once(':').unwrap_or((link, link));
    // As an inspected container has it: `/container:/own name/alias`.
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    (target.trim_start_matches('/'), alias.trim_start_matches('/'))
}

/// Another container at the end of a link.
struct Linked {
    container: Arc<Container>,
    alias: String,
    address: IpAddr,
}

/// The other containers; those that do not run refuse the start.
fn linked(engine: &Inner, container: &Container) -> Result<Vec<Linked>> {
    if container.config.network != NetworkChoice::Bridge {
        return Ok(Vec::new());
    }
    let links = container.config.host.links.iter().flatten().map(|link| {
        let (target, alias) = split(link);
        let other = engine.containers.find(target)?;
        let view = other.view();
        let address = view
            .endpoints
            .iter()
            .find(|endpoint| endpoint.name == "bridge")
            .and_then(crate::networks::Endpoint::address);
        match address.filter(|_| matches!(view.state, State::Running { .. })) {
            Some(address) => Ok(Linked {
                container: other,
                alias: alias.to_owned(),
                address,
            }),
            None => Err(Error::new(
                ErrorKind::System,
                format!(
                    "Cannot link to a non running container: /{} AS /{}/{alias}",
                    other.name, container.name
                ),
            )),
        }
    });
    links.collect()
}

/// Lines of `/etc/hosts`: the alias, the host name and the name of each.
pub(crate) fn hosts(engine: &Inner, container: &Container) -> Result<Vec<ExtraHost>> {
    let hosts = linked(engine, container)?.into_iter().map(|linked| {
        let hostname = super::resolution::hostname(engine, &linked.container);
        let mut names = vec![linked.alias.clone()];
        for name in [&hostname, &linked.container.name] {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        ExtraHost {
            name: names.join(" "),
            address: linked.address,
        }
    });
    Ok(hosts.collect())
}

/// Variables that tell of each.
pub(crate) fn environment(engine: &Inner, container: &Container) -> Result<Vec<String>> {
    let linked = linked(engine, container)?;
    Ok(linked.iter().flat_map(|linked| variables(container, linked)).collect())
}

fn variables(container: &Container, linked: &Linked) -> Vec<String> {
    let prefix = linked.alias.to_uppercase().replace('-', "_");
    let address = linked.address;
    let mut ports: Vec<(u16, &str)> = linked
        .container
        .config
        .exposed_ports
        .iter()
        .filter_map(|port| {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            Some((number.parse().ok()?, protocol))
        })
        .collect();
    ports.sort_by_key(|(number, protocol)| (*protocol != "tcp", *number));
    let mut variables = Vec::new();
    if let Some((number, protocol)) = ports.first() {
        variables.push(format!("{prefix}_PORT={protocol}://{address}:{number}"));
    }
    for (number, protocol) in ports {
        let port = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        variables.extend([
            format!("{port}={protocol}://{address}:{number}"),
            format!("{port}_ADDR={address}"),
            format!("{port}_PORT={number}"),
            format!("{port}_PROTO={protocol}"),
        ]);
    }
    variables.push(format!("{prefix}_NAME=/{}/{}", container.name, linked.alias));
    for variable in &linked.container.config.env {
        if let Some((name, value)) = variable.split_once('=')
            && !PRIVATE.contains(&name)
        {
            variables.push(format!("{prefix}_ENV_{name}={value}"));
        }
    }
    variables
}
