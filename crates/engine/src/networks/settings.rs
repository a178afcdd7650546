//! What a client asks of a connection, checked against the network.

use std::net::{IpAddr, Ipv4Addr};

use conex_api_types as api;
use conex_network::MacAddress;

use crate::error::{Error, ErrorKind, Result};
use crate::networks::create::joined;
use crate::networks::records::{NetworkKind, NetworkRecord};

/// What is asked of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Address.
    pub(crate) address: Option<Ipv4Addr>,
    /// Hardware address.
    pub(crate) mac: Option<MacAddress>,
}

/// The address that settings name, as a text.
fn address_text(settings: &api::EndpointSettings) -> &str {
    let config = settings.ipam_config.as_ref().and_then(|config| config.as_object());
    let address = config.and_then(|config| config.get("IPv4Address"));
    address.and_then(|address| address.as_str()).unwrap_or_default()
}

/// Reads settings, or says in Docker's words what is wrong with them.
pub(crate) fn read(record: &NetworkRecord, settings: &api::EndpointSettings) -> Result<Asked> {
    let invalid = |words: String| Error::new(ErrorKind::InvalidParameter, words);
    let mut errors = Vec::new();
    let mut asked = Asked::default();
    let text = address_text(settings);
    let user = record.user_bridge();
    if !text.is_empty() {
        match text.parse() {
            Ok(IpAddr::V4(address)) => asked.address = Some(address),
            _ => errors.push(format!("invalid IPv4 address: {text}")),
        }
        if user.is_none() {
            errors.push("user specified IP address is supported on user defined networks only".to_owned());
        }
        if !user.is_some_and(|user| user.chosen_by_user) {
            errors.push(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
                    .to_owned(),
            );
        } else if let (Some(user), Some(address)) = (user, asked.address)
            && !user.addresses.subnet.contains(address.into())
        {
            errors.push(format!(
                "no configured subnet or ip-range contain the IP address {address}"
            ));
        }
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
