//! What a client asks of a connection, checked against the network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use conex_api_types as api;
use conex_network::MacAddress;

use crate::error::{Error, ErrorKind, Result};
use crate::networks::records::{NetworkKind, NetworkRecord, UserBridge};

/// What is asked of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Address.
    pub(crate) address: Option<Ipv4Addr>,
    /// Hardware address.
    pub(crate) mac: Option<MacAddress>,
}

/// Several errors as Docker joins them.
pub(super) fn joined(errors: &[String]) -> Option<String> {
    match errors {
        [] => None,
        [one] => Some(one.clone()),
        many => {
            let lines: Vec<String> = many.iter().map(|error| format!("* {error}")).collect();
            Some(lines.join("\n"))
        }
    }
}

/// The address that settings name, as a text.
fn address_text(settings: &api::EndpointSettings) -> &str {
    settings.ipam_config.as_ref().map_or("", |config| &config.ipv4_address)
}

/// Said of an address in a subnet that the engine chose.
const UNCHOSEN: &str =
    "user specified IP address is supported only when connecting to networks with user configured subnets";

/// Addresses that are none, of the kinds that are refused by name where they are some.
fn check_others(settings: &api::EndpointSettings, errors: &mut Vec<String>) {
    let Some(ipam) = &settings.ipam_config else { return };
    if is_misread_ipv6(settings) {
        errors.push(format!("invalid IPv6 address: {}", ipam.ipv6_address));
    }
    for text in &ipam.link_local_ips {
        if text.parse().is_ok_and(|address: IpAddr| !address.is_unspecified()) {
            continue;
        }
        errors.push(format!("invalid link-local IP address: {text}"));
    }
}

fn is_misread_ipv6(settings: &api::EndpointSettings) -> bool {
    let text = settings.ipam_config.as_ref().map_or("", |ipam| &ipam.ipv6_address);
    !text.is_empty() && text.parse::<Ipv6Addr>().is_err()
}

/// Refuses links that are none, in Docker's words.
pub(super) fn check_links(settings: &api::EndpointSettings) -> Result<()> {
    for link in settings.links.iter().flatten() {
        let words = match link.split(':').count() {
            _ if link.is_empty() => "empty string specified for links".to_owned(),
            1 | 2 => continue,
            _ => format!("bad format for links: {link}"),
        };
        return Err(Error::new(ErrorKind::InvalidParameter, words));
    }
    Ok(())
}

/// Reads settings, or says in Docker's words what is wrong with them.
pub(crate) fn read(record: &NetworkRecord, settings: &api::EndpointSettings) -> Result<Asked> {
    let invalid = |words: String| Error::new(ErrorKind::InvalidParameter, words);
    let mut errors = Vec::new();
    let mut asked = Asked::default();
    let text = address_text(settings);
    let user = record.user_bridge();
    let chosen = user.filter(|user| user.chosen_by_user);
    if !text.is_empty() && user.is_none() {
        errors.push("user specified IP address is supported on user defined networks only".to_owned());
    }
    match text.parse() {
        _ if text.is_empty() => {}
        Ok(IpAddr::V4(address)) => asked.address = Some(address),
        _ => errors.push(format!("invalid IPv4 address: {text}")),
    }
    check_others(settings, &mut errors);
    let contains = |user: &UserBridge| {
        asked
            .address
            .is_some_and(|address| user.addresses.subnet.contains(address.into()))
    };
    match chosen {
        _ if text.is_empty() => {}
        None => errors.push(UNCHOSEN.to_owned()),
        Some(user) if !contains(user) => {
            errors.push(format!(
                "no configured subnet or ip-range contain the IP address {text}"
            ));
        }
        Some(_) => {}
    }
    if is_misread_ipv6(settings) {
        // There is no subnet of IPv6 that a user could have named.
        errors.push(UNCHOSEN.to_owned());
    }
    let has_aliases = settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty());
    if has_aliases && !matches!(record.kind, NetworkKind::Bridge(_)) {
        errors.push("network-scoped alias is supported only for containers in user defined networks".to_owned());
    }
    if let Some(words) = joined(&errors) {
        return Err(invalid(format!("invalid endpoint settings:\n{words}")));
    }
    if !settings.mac_address.is_empty() {
        let mac = settings.mac_address.parse();
        asked.mac = Some(mac.map_err(|_| invalid(format!("invalid MAC address {}", settings.mac_address)))?);
    }
    Ok(asked)
}
