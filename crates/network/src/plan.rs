//! What a bridge and a container's connection to it are to be.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::{InterfaceAddress, Subnet};
use crate::mac::MacAddress;
use crate::pools::{choose_subnet, default_pools};
use crate::rate::Rates;

/// Name of the default bridge.
pub const DEFAULT_BRIDGE: &str = "conex0";

/// What the names of all host-side interfaces begin with.
pub const VETH_PREFIX: &str = "conex";

/// What the names of the interfaces begin with over which the traffic of limited containers is led; the rest is that of the
/// host-side interface.
pub const IFB_PREFIX: &str = "cxifb";

/// What the names of a container's interfaces begin with; a number follows.
pub const CONTAINER_INTERFACE: &str = "eth";

/// Docker's maximum transmission unit where none is configured, in bytes.
pub const DEFAULT_MTU: u32 = 1500;

/// The kernel's IFNAMSIZ without the terminating zero (netdevice(7)).
const LONGEST_INTERFACE_NAME: usize = 15;

/// Whether containers on one bridge reach one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Icc {
    /// They do; the default.
    Allowed,
    /// They reach the host and the outside only.
    Denied,
}

/// Whether packets to the outside carry the host's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Masquerade {
    /// They do; the default.
    On,
    /// They keep the container's address, for networks that are routed.
    Off,
}

/// What is reached from a bridge, and from where it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// The outside; the default.
    #[default]
    Open,
    /// The host and the containers of the bridge only.
    Internal,
}

/// A bridge or an endpoint that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A name that the kernel would refuse, or that means something to nft(8).
    #[error("invalid interface name {name:?}")]
    InterfaceName {
        /// The name.
        name: String,
    },
    /// An address that the bridge cannot have: not IPv4, or the first or last of its subnet.
    #[error("invalid bridge address {address}")]
    BridgeAddress {
        /// The address.
        address: InterfaceAddress,
    },
    /// Routes of the host cover every subnet that there is to choose from.
    #[error("all predefined address pools have been fully subnetted")]
    NoSubnet,
    /// An endpoint's address that is not of the bridge's subnet.
    #[error("address {address} is outside subnet {subnet} of bridge {bridge}")]
    EndpointAddress {
        /// The address.
        address: IpAddr,
        /// The bridge's subnet.
        subnet: Subnet,
        /// The bridge.
        bridge: String,
    },
}

/// What is known and wanted when a bridge is planned.
#[derive(Debug, Clone)]
pub struct BridgeRequest<'a> {
    /// Name of the interface.
    pub name: &'a str,
    /// The address that the user wants it to have (`--bip`).
    pub address: Option<InterfaceAddress>,
    /// The address that a bridge of this name has already; running containers depend on it.
    pub existing: Option<InterfaceAddress>,
    /// Destinations of the host's routes, except those over this bridge.
    pub routes: &'a [Subnet],
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
    /// Whether packets to the outside carry the host's address.
    pub masquerade: Masquerade,
    /// Whether its containers reach one another.
    pub icc: Icc,
    /// What is reached from it.
    pub access: Access,
}

impl<'a> BridgeRequest<'a> {
    /// With Docker's defaults.
    pub fn new(name: &'a str, routes: &'a [Subnet]) -> Self {
        let (masquerade, icc) = (Masquerade::On, Icc::Allowed);
        Self {
            name,
            address: None,
            existing: None,
            routes,
            mtu: DEFAULT_MTU,
            masquerade,
            icc,
            access: Access::Open,
        }
    }
}

/// A bridge with the containers' gateway on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePlan {
    /// Name of the interface.
    pub name: String,
    /// Its address and its subnet.
    pub gateway: InterfaceAddress,
    /// Its hardware address. A bridge without one of its own takes that of a port, and changes it with its ports.
    pub mac: MacAddress,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
    /// Whether packets to the outside carry the host's address.
    pub masquerade: Masquerade,
    /// Whether its containers reach one another.
    pub icc: Icc,
    /// What is reached from it.
    #[serde(default)]
    pub access: Access,
}

impl BridgePlan {
    /// With the address that is asked for, else the one that it has, else the first of the default pools that is free.
    pub fn new(request: &BridgeRequest<'_>) -> Result<Self, PlanError> {
        check_interface_name(request.name)?;
        let gateway = match request.address.or(request.existing) {
            Some(address) => check_bridge_address(address)?,
            None => {
                let subnet = choose_subnet(&default_pools(), request.routes).ok_or(PlanError::NoSubnet)?;
                let first = subnet
                    .nth(1)
                    .and_then(|address| InterfaceAddress::new(address, subnet.prefix()));
                first.ok_or(PlanError::NoSubnet)?
            }
        };
        let mac = MacAddress::of_address(gateway.address());
        let BridgeRequest {
            mtu,
            masquerade,
            icc,
            access,
            ..
        } = *request;
        Ok(Self {
            name: request.name.to_owned(),
            gateway,
            mac,
            mtu,
            masquerade,
            icc,
            access,
        })
    }

    /// The subnet of its containers.
    pub fn subnet(&self) -> Subnet {
        self.gateway.subnet()
    }
}

/// A container's connection to a bridge: a pair of interfaces, one on each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPlan {
    /// The bridge.
    pub bridge: String,
    /// Name of the interface on the host, a port of the bridge.
    pub host_interface: String,
    /// Name of the interface in the container.
    pub interface: String,
    /// Hardware address in the container.
    pub mac: MacAddress,
    /// Address in the container.
    pub address: InterfaceAddress,
    /// Next hop to the outside; `None` where the bridge has no way there.
    pub gateway: Option<IpAddr>,
    /// Whether the container's default route goes there.
    #[serde(default)]
    pub is_default: bool,
    /// Maximum transmission unit in bytes, on both sides.
    pub mtu: u32,
    /// Whether other containers of the bridge are reached.
    pub icc: Icc,
    /// Limits of what passes.
    #[serde(default)]
    pub rates: Rates,
}

impl EndpointPlan {
    /// A connection with an address that was allocated; the hardware address follows from it.
    ///
    /// It is no container's default route. `interface` is the number of the interface in the container. `id` names the endpoint, not the container: it is new for each connection, because the interface of a
    /// container's earlier run may still be there, its namespace being dismantled.
    pub fn new(bridge: &BridgePlan, id: &str, interface: u32, address: IpAddr) -> Result<Self, PlanError> {
        let host_interface = host_interface(id)?;
        let subnet = bridge.subnet();
        let outside = || PlanError::EndpointAddress {
            address,
            subnet,
            bridge: bridge.name.clone(),
        };
        if !subnet.contains(address) {
            return Err(outside());
        }
        let address = InterfaceAddress::new(address, subnet.prefix()).ok_or_else(outside)?;
        Ok(Self {
            bridge: bridge.name.clone(),
            host_interface,
            interface: format!("{CONTAINER_INTERFACE}{interface}"),
            mac: MacAddress::of_address(address.address()),
            address,
            gateway: (bridge.access == Access::Open).then(|| bridge.gateway.address()),
            is_default: false,
            mtu: bridge.mtu,
            icc: bridge.icc,
            rates: Rates::default(),
        })
    }

    /// The same as the container's way to the outside.
    #[must_use]
    pub fn with_default_route(self) -> Self {
        Self {
            is_default: self.gateway.is_some(),
            ..self
        }
    }

    /// The same with another hardware address (`--mac-address`).
    #[must_use]
    pub fn with_mac(self, mac: MacAddress) -> Self {
        Self { mac, ..self }
    }

    /// The same with these limits.
    #[must_use]
    pub fn with_rates(self, rates: Rates) -> Self {
        Self { rates, ..self }
    }
}

/// Name of the interface over which the traffic of a limited container is led, beside its host-side interface.
pub fn ifb_beside(host_interface: &str) -> String {
    let id = host_interface.strip_prefix(VETH_PREFIX).unwrap_or(host_interface);
    format!("{IFB_PREFIX}{id}")
}

/// The host-side interface that such an interface is beside; `None` for a name that is no such.
pub fn interface_beside(ifb: &str) -> Option<String> {
    let id = ifb.strip_prefix(IFB_PREFIX).filter(|id| !id.is_empty())?;
    Some(format!("{VETH_PREFIX}{id}"))
}

fn host_interface(id: &str) -> Result<String, PlanError> {
    let room = LONGEST_INTERFACE_NAME - VETH_PREFIX.len();
    let short: String = id.chars().take(room).collect();
    let name = format!("{VETH_PREFIX}{short}");
    if short.is_empty() {
        Err(PlanError::InterfaceName { name })
    } else {
        check_interface_name(&name).map(|()| name)
    }
}

// Stricter than the kernel, which takes anything but slashes, colons and white space: the names also stand in the
// ruleset's text, where quotes, braces and a trailing asterisk have a meaning.
fn check_interface_name(name: &str) -> Result<(), PlanError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let valid = !name.is_empty() && name.len() <= LONGEST_INTERFACE_NAME && name.bytes().all(known);
    if valid && name != "." && name != ".." {
        return Ok(());
    }
    Err(PlanError::InterfaceName { name: name.to_owned() })
}

fn check_bridge_address(address: InterfaceAddress) -> Result<InterfaceAddress, PlanError> {
    let subnet = address.subnet();
    let offset = subnet.offset(address.address());
    let is_host = offset.is_some_and(|offset| offset > 0 && offset < subnet.last_offset());
    if address.address().is_ipv4() && is_host {
        Ok(address)
    } else {
        Err(PlanError::BridgeAddress { address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnets(texts: &[&str]) -> Vec<Subnet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn bridge() -> BridgePlan {
        BridgePlan::new(&BridgeRequest::new(DEFAULT_BRIDGE, &[])).unwrap()
    }

    #[test]
    fn a_bridge_without_wishes_is_as_dockers() {
        let plan = bridge();
        assert_eq!(plan.gateway.to_string(), "172.17.0.1/16");
        assert_eq!(plan.mac.to_string(), "02:42:ac:11:00:01");
        assert_eq!(
            (plan.mtu, plan.masquerade, plan.icc),
            (1500, Masquerade::On, Icc::Allowed)
        );
    }

    #[test]
    fn the_wanted_address_goes_before_the_existing_one_and_that_before_a_new_one() {
        let routes = subnets(&["172.17.0.0/16"]);
        let mut request = BridgeRequest::new(DEFAULT_BRIDGE, &routes);
        assert_eq!(BridgePlan::new(&request).unwrap().gateway.to_string(), "172.18.0.1/16");
        request.existing = Some("172.30.0.1/16".parse().unwrap());
        assert_eq!(BridgePlan::new(&request).unwrap().gateway.to_string(), "172.30.0.1/16");
        request.address = Some("10.9.0.5/24".parse().unwrap());
        let plan = BridgePlan::new(&request).unwrap();
        assert_eq!(
            (plan.gateway.to_string().as_str(), plan.subnet().to_string().as_str()),
            ("10.9.0.5/24", "10.9.0.0/24")
        );
    }

    #[test]
    fn addresses_that_no_bridge_can_have_are_refused() {
        for address in [
            "10.9.0.0/24",
            "10.9.0.255/24",
            "10.9.0.1/32",
            "10.9.0.1/31",
            "fd00::1/64",
        ] {
            let mut request = BridgeRequest::new(DEFAULT_BRIDGE, &[]);
            request.address = Some(address.parse().unwrap());
            assert!(
                matches!(BridgePlan::new(&request), Err(PlanError::BridgeAddress { .. })),
                "{address}"
            );
        }
    }

    #[test]
    fn names_that_the_kernel_or_nft_would_misread_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a\"b",
            "eth*",
            "a:b",
            "sixteen-letters1",
            "a\nb",
        ] {
            let refused = BridgePlan::new(&BridgeRequest::new(name, &[]));
            assert_eq!(refused, Err(PlanError::InterfaceName { name: name.to_owned() }));
        }
        assert!(BridgePlan::new(&BridgeRequest::new("fifteen-letters", &[])).is_ok());
    }

    #[test]
    fn no_subnet_is_left_where_routes_cover_all_pools() {
        let routes = subnets(&["172.16.0.0/12", "192.168.0.0/16"]);
        assert_eq!(
            BridgePlan::new(&BridgeRequest::new(DEFAULT_BRIDGE, &routes)),
            Err(PlanError::NoSubnet)
        );
    }

    #[test]
    fn an_endpoint_takes_prefix_gateway_and_mtu_of_its_bridge() {
        let id = "0123456789abcdef0123456789abcdef";
        let plan = EndpointPlan::new(&bridge(), id, 0, "172.17.0.2".parse().unwrap()).unwrap();
        assert_eq!(plan.host_interface, "conex0123456789");
        assert_eq!(plan.interface, "eth0");
        assert_eq!(plan.address.to_string(), "172.17.0.2/16");
        assert_eq!(plan.gateway, Some("172.17.0.1".parse().unwrap()));
        assert_eq!(plan.mac.to_string(), "02:42:ac:11:00:02");
        let ifb = ifb_beside(&plan.host_interface);
        assert_eq!((ifb.as_str(), ifb.len()), ("cxifb0123456789", LONGEST_INTERFACE_NAME));
        assert_eq!(interface_beside(&ifb), Some(plan.host_interface.clone()));
        let mac = MacAddress::new([2, 0, 0, 0, 0, 1]);
        assert_eq!(plan.with_mac(mac).mac, mac);
    }

    #[test]
    fn an_endpoint_outside_the_subnet_or_without_an_id_is_refused() {
        let outside = EndpointPlan::new(&bridge(), "ab", 0, "10.0.0.2".parse().unwrap());
        assert!(matches!(outside, Err(PlanError::EndpointAddress { .. })));
        for id in ["", "ä", "a/b"] {
            assert!(
                EndpointPlan::new(&bridge(), id, 0, "172.17.0.2".parse().unwrap()).is_err(),
                "{id:?}"
            );
        }
    }
}
