//! The addresses of a network as a client asks for them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::{InterfaceAddress, Subnet};

/// A subnet that is asked for, as texts; what is not said is empty.
#[derive(Debug, Clone, Copy)]
pub struct SubnetRequest<'a> {
    /// `10.0.0.0/24`.
    pub subnet: &'a str,
    /// The part of it that containers get addresses from.
    pub range: &'a str,
    /// Address of the host.
    pub gateway: &'a str,
    /// Addresses that no container gets, by name.
    pub auxiliary: &'a BTreeMap<String, String>,
}

/// The addresses of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPlan {
    /// All of them.
    pub subnet: Subnet,
    /// The part that containers get addresses from, all where absent.
    pub range: Option<Subnet>,
    /// Address of the host, the first where absent.
    pub gateway: Option<IpAddr>,
    /// Addresses that no container gets.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

impl AddressPlan {
    /// A subnet without wishes.
    pub fn of(subnet: Subnet) -> Self {
        Self {
            subnet,
            range: None,
            gateway: None,
            auxiliary: BTreeMap::new(),
        }
    }

    /// Reads what is asked for; the errors are all that is wrong, in Docker's words.
    pub fn parse(request: &SubnetRequest<'_>) -> Result<Self, Vec<String>> {
        let asked = interface(request.subnet).map_err(|wrong| vec![format!("invalid subnet {wrong}")])?;
        let subnet = asked.subnet();
        let mut errors = Vec::new();
        let mut plan = Self::of(subnet);
        if asked.address() != subnet.network() {
            errors.push(format!("invalid subnet {asked}: it should be {subnet}"));
        }
        if !request.range.is_empty() {
            match range(request.range, subnet) {
                Ok(range) => plan.range = Some(range),
                Err(wrong) => errors.extend(wrong.into_iter().map(|wrong| format!("invalid ip-range {wrong}"))),
            }
        }
        if !request.gateway.is_empty() {
            match address(request.gateway, subnet) {
                Ok(gateway) => plan.gateway = Some(gateway),
                Err(wrong) => errors.push(format!("invalid gateway {}: {wrong}", request.gateway)),
            }
        }
        // Docker looks at an empty one only when it takes the address.
        for (name, text) in request.auxiliary.iter().filter(|(_, text)| !text.is_empty()) {
            match address(text, subnet) {
                Ok(address) => {
                    plan.auxiliary.insert(name.clone(), address);
                }
                Err(wrong) => errors.push(format!("invalid auxiliary address {name}: {wrong}")),
            }
        }
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }

    /// The bridge's own address; `None` where the subnet has no host.
    pub fn gateway(&self) -> Option<InterfaceAddress> {
        let address = match self.gateway {
            Some(address) => address,
            // As in Docker the first of the range.
            None => match self.range {
                Some(range) if range.network() != self.subnet.network() => range.network(),
                _ => self.subnet.nth(1)?,
            },
        };
        InterfaceAddress::new(address, self.subnet.prefix())
    }
}

fn interface(text: &str) -> Result<InterfaceAddress, String> {
    text.parse().map_err(|_| format!("{text}: invalid CIDR block notation"))
}

fn range(text: &str, parent: Subnet) -> Result<Subnet, Vec<String>> {
    let asked = interface(text).map_err(|wrong| vec![wrong])?;
    let range = asked.subnet();
    if range.network().is_ipv4() != parent.network().is_ipv4() {
        return Err(vec![format!("{text}: parent subnet is an {} block", family(parent))]);
    }
    let wrong = [
        (range.prefix() < parent.prefix())
            .then(|| format!("{text}: CIDR block is bigger than its parent subnet {parent}")),
        (asked.address() != range.network()).then(|| format!("{text}: it should be {range}")),
        (!parent.contains(asked.address())).then(|| format!("{text}: parent subnet {parent} doesn't contain ip-range")),
    ];
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    if wrong.is_empty() { Ok(range) } else { Err(wrong) }
}

fn address(text: &str, parent: Subnet) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if address.is_ipv4() != parent.network().is_ipv4() {
        return Err(format!("parent subnet is an {} block", family(parent)));
    }
    if parent.contains(address) {
        Ok(address)
    } else {
        Err(format!("parent subnet {parent} doesn't contain this address"))
    }
}

fn family(subnet: Subnet) -> &'static str {
    if subnet.network().is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(subnet: &str, range: &str, gateway: &str, auxiliary: &[(&str, &str)]) -> Result<AddressPlan, String> {
        let auxiliary = auxiliary
            .iter()
            .map(|(name, address)| ((*name).to_owned(), (*address).to_owned()))
            .collect();
        let request = SubnetRequest {
            subnet,
            range,
            gateway,
            auxiliary: &auxiliary,
        };
        AddressPlan::parse(&request).map_err(|errors| errors.join("; "))
    }

    #[test]
    fn what_is_wrong_is_told_in_dockers_words() {
        let net = "10.1.2.0/24";
        for (found, words) in [
            (
                parse("foo", "", "", &[]),
                "invalid subnet foo: invalid CIDR block notation",
            ),
            (
                parse("10.1.2.3/24", "", "", &[]),
                "invalid subnet 10.1.2.3/24: it should be 10.1.2.0/24",
            ),
            (
                parse("10.1.2.0/33", "", "", &[]),
                "invalid subnet 10.1.2.0/33: invalid CIDR block notation",
            ),
            (parse(net, "", "foo", &[]), "invalid gateway foo: invalid address"),
            (
                parse(net, "", "10.2.0.1", &[]),
                "invalid gateway 10.2.0.1: parent subnet 10.1.2.0/24 doesn't contain this address",
            ),
            (
                parse(net, "10.3.0.0/25", "", &[]),
                "invalid ip-range 10.3.0.0/25: parent subnet 10.1.2.0/24 doesn't contain ip-range",
            ),
            (
                parse(net, "10.1.0.0/16", "", &[]),
                "invalid ip-range 10.1.0.0/16: CIDR block is bigger than its parent subnet 10.1.2.0/24; invalid ip-range \
                 10.1.0.0/16: parent subnet 10.1.2.0/24 doesn't contain ip-range",
            ),
            (
                parse(net, "10.1.2.3/25", "", &[]),
                "invalid ip-range 10.1.2.3/25: it should be 10.1.2.0/25",
            ),
            (
                parse(net, "10.1.0.7/16", "", &[]),
                "invalid ip-range 10.1.0.7/16: CIDR block is bigger than its parent subnet 10.1.2.0/24; invalid ip-range \
                 10.1.0.7/16: it should be 10.1.0.0/16; invalid ip-range 10.1.0.7/16: parent subnet 10.1.2.0/24 doesn't \
                 contain ip-range",
            ),
            (
                parse("10.1.2.3/24", "", "fd00::1", &[]),
                "invalid subnet 10.1.2.3/24: it should be 10.1.2.0/24; invalid gateway fd00::1: parent subnet is an IPv4 \
                 block",
            ),
            (
                parse(net, "", "", &[("a", "foo")]),
                "invalid auxiliary address a: invalid address",
            ),
            (
                parse(net, "x", "y", &[]),
                "invalid ip-range x: invalid CIDR block notation; invalid gateway y: invalid address",
            ),
        ] {
            assert_eq!(found, Err(words.to_owned()));
        }
    }

    #[test]
    fn the_host_has_the_first_address_unless_another_is_asked_for() {
        let gateway = |plan: AddressPlan| plan.gateway().unwrap().to_string();
        assert_eq!(gateway(parse("10.1.2.0/24", "", "", &[]).unwrap()), "10.1.2.1/24");
        assert_eq!(
            gateway(parse("10.1.2.0/24", "", "10.1.2.254", &[]).unwrap()),
            "10.1.2.254/24"
        );
        assert_eq!(
            gateway(parse("10.1.2.0/24", "10.1.2.0/25", "", &[]).unwrap()),
            "10.1.2.1/24"
        );
    }
}
