//! Networks and ports of a create request.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use conex_api_types::{ContainerCreateRequest, EndpointSettings, HostConfig};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::invalid::Invalid;

/// Which network a container is on first of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkChoice {
    /// The default bridge.
    #[default]
    Bridge,
    /// The host's.
    Host,
    /// None, but for the loopback.
    None,
    /// One that a user made, by its name or id.
    Named(String),
    /// That of another container, by its name or id.
    Container(String),
}

impl NetworkChoice {
    /// What a network mode means.
    pub(crate) fn parse(mode: &str, disabled: bool) -> Result<Self, Invalid> {
        match mode {
            _ if disabled => Ok(Self::None),
            "" | "default" | "bridge" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            other => match other.strip_prefix("container:") {
                Some("") => Err(Invalid::field(
                    "invalid network mode: invalid container format container:<name|id>",
                )),
                Some(container) => Ok(Self::Container(container.to_owned())),
                None => Ok(Self::Named(other.to_owned())),
            },
        }
    }

    /// The network's name in the API; `None` where the network is another container's.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Bridge => Some("bridge"),
            Self::Host => Some("host"),
            Self::None => Some("none"),
            Self::Named(name) => Some(name),
            Self::Container(_) => None,
        }
    }
}

/// A port that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    /// Port of the container.
    pub port: u16,
    /// Whether it is one of UDP; else of TCP.
    pub udp: bool,
    /// Address of the host, that of the network's option where absent.
    pub address: Option<Ipv4Addr>,
    /// Ports of the host, one of which it gets; an ephemeral one where absent.
    pub range: Option<RangeInclusive<u16>>,
}

/// The connections that a request asks for, by the names of their networks.
pub(crate) fn endpoints(
    request: &mut ContainerCreateRequest,
    choice: &NetworkChoice,
) -> Result<BTreeMap<String, EndpointSettings>, Invalid> {
    let mut endpoints = BTreeMap::new();
    let asked = std::mem::take(&mut request.networking_config.endpoints_config);
    for (name, settings) in asked {
        let name = if name == "default" { "bridge".to_owned() } else { name };
        endpoints.insert(name, asked_for(settings.unwrap_or_default())?);
    }
    let Some(main) = choice.name().filter(|_| !request.network_disabled) else {
        return Ok(BTreeMap::new());
    };
    let settings: &mut EndpointSettings = endpoints.entry(main.to_owned()).or_default();
    if !request.mac_address.is_empty() {
        if !settings.mac_address.is_empty() && settings.mac_address != request.mac_address {
            return Err(Invalid::field(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, \
                 or be left empty",
            ));
        }
        settings.mac_address.clone_from(&request.mac_address);
    }
    Ok(endpoints)
}

/// What a client can ask of a connection; the rest of the settings is told by the engine.
pub fn asked_for(settings: EndpointSettings) -> Result<EndpointSettings, Invalid> {
    let unsupported = |what: &str| {
        Err(Invalid::Unsupported {
            field: "EndpointSettings",
            what: what.to_owned(),
        })
    };
    if let Some(ipam) = &settings.ipam_config {
        if !ipam.ipv6_address.is_empty() {
            return unsupported("IPv6Address");
        }
        if !ipam.link_local_ips.is_empty() {
            return unsupported("LinkLocalIPs");
        }
    }
    Ok(EndpointSettings {
        ipam_config: settings.ipam_config,
        links: settings.links,
        aliases: settings.aliases,
        mac_address: settings.mac_address,
        driver_opts: settings.driver_opts,
        gw_priority: settings.gw_priority,
        ..EndpointSettings::default()
    })
}

/// Options that say nothing where the network is the host's or another container's, in Docker's words.
pub(crate) fn check_mode(request: &ContainerCreateRequest, choice: &NetworkChoice) -> Result<(), Invalid> {
    let host = &request.host_config;
    let linked = host.links.as_ref().is_some_and(|links| !links.is_empty());
    let conflict = |words: &str| Err(Invalid::Field(format!("conflicting options: {words}")));
    match choice {
        NetworkChoice::Host if linked => {
            conflict("host type networking can't be used with links. This would result in undefined behavior")
        }
        NetworkChoice::Host if !request.mac_address.is_empty() => conflict("mac-address and the network mode"),
        NetworkChoice::Container(_) => {
            let published = host.publish_all_ports || host.port_bindings.values().flatten().flatten().next().is_some();
            let conflicts = [
                (
                    linked,
                    "container type network can't be used with links. This would result in undefined behavior",
                ),
                (!request.hostname.is_empty(), "hostname and the network mode"),
                (!host.dns.is_empty(), "dns and the network mode"),
                (
                    host.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()),
                    "custom host-to-IP mapping and the network mode",
                ),
                (!request.mac_address.is_empty(), "mac-address and the network mode"),
                (published, "port publishing and the container type network mode"),
                (
                    !request.exposed_ports.is_empty(),
                    "port exposing and the container type network mode",
                ),
            ];
            match conflicts.into_iter().find(|(asked, _)| *asked) {
                Some((_, words)) => conflict(words),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Checks the ports, and adds those that are published to those that are exposed.
pub(crate) fn check_ports(host: &HostConfig, exposed: &mut BTreeSet<String>) -> Result<(), Invalid> {
    let requests = requests(host, &BTreeSet::new())?;
    exposed.extend(requests.iter().map(|request| port_name(request.port, request.udp)));
    Ok(())
}

/// `80/tcp`.
pub fn port_name(port: u16, udp: bool) -> String {
    format!("{port}/{}", if udp { "udp" } else { "tcp" })
}

impl Config {
    /// The ports that are to be published, those of the image too where all are.
    pub fn published(&self) -> Vec<PortRequest> {
        // They were checked when the container was made.
        requests(&self.host, &self.exposed_ports).unwrap_or_default()
    }
}

fn requests(host: &HostConfig, exposed: &BTreeSet<String>) -> Result<Vec<PortRequest>, Invalid> {
    let mut requests = Vec::new();
    for (name, bindings) in &host.port_bindings {
        let (port, udp) = container_port(name)?;
        for binding in bindings.iter().flatten() {
            requests.push(PortRequest {
                port,
                udp,
                address: address(&binding.host_ip)?,
                range: host_ports(&binding.host_port)?,
            });
        }
    }
    if host.publish_all_ports {
        for name in exposed {
            // An image may expose what is no port.
            let Ok((port, udp)) = container_port(name) else {
                continue;
            };
            if !requests
                .iter()
                .any(|request| (request.port, request.udp) == (port, udp))
            {
                requests.push(PortRequest {
                    port,
                    udp,
                    address: None,
                    range: None,
                });
            }
        }
    }
    Ok(requests)
}

fn container_port(name: &str) -> Result<(u16, bool), Invalid> {
    let invalid = || Invalid::Field(format!("invalid port specification: {name:?}"));
    let (port, protocol) = name.split_once('/').unwrap_or((name, "tcp"));
    let port = port
        .parse()
        .map_err(|_| Invalid::Field(format!("invalid port specification: {port:?}")))?;
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => Ok((port, false)),
        "udp" => Ok((port, true)),
        "sctp" => Err(Invalid::Unsupported {
            field: "PortBindings",
            what: "publishing ports of SCTP".to_owned(),
        }),
        _ => Err(invalid()),
    }
}

fn address(text: &str) -> Result<Option<Ipv4Addr>, Invalid> {
    match text.parse::<IpAddr>() {
        _ if text.is_empty() => Ok(None),
        Ok(IpAddr::V4(address)) => Ok(Some(address)),
        Ok(IpAddr::V6(address)) => Err(Invalid::Unsupported {
            field: "PortBindings",
            what: format!("publishing ports at the IPv6 address {address}"),
        }),
        Err(_) => Err(Invalid::Field(format!("invalid IP address: {text}"))),
    }
}

fn host_ports(text: &str) -> Result<Option<RangeInclusive<u16>>, Invalid> {
    let invalid = || Invalid::Field(format!("invalid port specification: {text:?}"));
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None if matches!(text, "" | "0") => return Ok(None),
        None => (number(text)?, number(text)?),
    };
    if first == 0 || first > last {
        return Err(invalid());
    }
    Ok(Some(first..=last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Vec<PortRequest>, String> {
        let host: HostConfig = serde_json::from_str(json).unwrap();
        requests(&host, &BTreeSet::from(["53/udp".to_owned(), "80/tcp".to_owned()])).map_err(|error| error.to_string())
    }

    #[test]
    fn ports_are_read_with_their_addresses_and_ranges() {
        let json = r#"{"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8000-8010"}],"90/udp":[{}]}}"#;
        let ports = parsed(json).unwrap();
        assert_eq!(ports[0].range, Some(8000..=8010));
        assert_eq!(ports[0].address, Some(Ipv4Addr::LOCALHOST));
        assert_eq!((ports[1].port, ports[1].udp, ports[1].range.clone()), (90, true, None));
        let all = parsed(r#"{"PublishAllPorts":true,"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}"#).unwrap();
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn ports_that_are_none_are_refused_in_dockers_words() {
        for (key, binding, words) in [
            (
                "80/tcp",
                r#"{"HostPort":"99999"}"#,
                "invalid port specification: \"99999\"",
            ),
            ("80/tcp", r#"{"HostPort":"9-8"}"#, "invalid port specification: \"9-8\""),
            ("foo", r#"{"HostPort":"80"}"#, "invalid port specification: \"foo\""),
            (
                "80/sctp",
                "{}",
                "PortBindings: publishing ports of SCTP is not supported yet",
            ),
            ("80", r#"{"HostIp":"x"}"#, "invalid IP address: x"),
        ] {
            let json = format!(r#"{{"PortBindings":{{"{key}":[{binding}]}}}}"#);
            assert_eq!(parsed(&json), Err(words.to_owned()));
        }
    }
}
