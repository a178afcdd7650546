//! Subnets and addresses of interfaces.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no subnet or no address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// There is no `/`, or what stands beside it is no address or no number.
    #[error("invalid CIDR address: {text}")]
    Syntax {
        /// The text.
        text: String,
    },
    /// The prefix is longer than the address.
    #[error("invalid CIDR address: {text}: prefix longer than {longest} bits")]
    Prefix {
        /// The text.
        text: String,
        /// Bits of an address of that family.
        longest: u8,
    },
}

/// A range of addresses that share a prefix, for example `172.17.0.0/16`; bits behind the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    network: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The subnet that an address lies in; `None` where the prefix is longer than the address.
    pub fn containing(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = bits(address);
        let mask = mask(bits, prefix)?;
        Some(Self {
            network: from_number(number(address) & mask, bits),
            prefix,
        })
    }

    /// First address; it names the subnet and belongs to no host in IPv4.
    pub fn network(self) -> IpAddr {
        self.network
    }

    /// Length of the prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether an address lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        Self::containing(address, self.prefix)
            .is_some_and(|other| other == self && address.is_ipv4() == self.network.is_ipv4())
    }

    /// Whether any address lies in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The address that lies `offset` behind the first; `None` behind the last.
    pub fn nth(self, offset: u128) -> Option<IpAddr> {
        (offset <= self.last_offset()).then(|| from_number(number(self.network) + offset, bits(self.network)))
    }

    /// How far an address of the subnet lies behind the first; `None` for one outside.
    pub fn offset(self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| number(address) - number(self.network))
    }

    /// Offset of the last address, in IPv4 that of broadcast.
    pub fn last_offset(self) -> u128 {
        let host_bits = u32::from(bits(self.network) - self.prefix);
        1u128.checked_shl(host_bits).map_or(u128::MAX, |count| count - 1)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = ParseAddressError;

    /// Reads `address/prefix`; bits behind the prefix are dropped, as Docker does with `--subnet`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse::<InterfaceAddress>()?.subnet())
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = ParseAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// An address together with the prefix of its subnet, for example `172.17.0.1/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct InterfaceAddress {
    address: IpAddr,
    subnet: Subnet,
}

impl InterfaceAddress {
    /// `None` where the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        Some(Self {
            address,
            subnet: Subnet::containing(address, prefix)?,
        })
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits.
    pub fn prefix(self) -> u8 {
        self.subnet.prefix
    }

    /// The subnet that it lies in.
    pub fn subnet(self) -> Subnet {
        self.subnet
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix())
    }
}

impl FromStr for InterfaceAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || ParseAddressError::Syntax { text: text.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(syntax)?;
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        // A number as Go reads it: `/024` is none.
        let has_zero = prefix.len() > 1 && prefix.starts_with('0');
        if prefix.is_empty() || has_zero || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(syntax());
        }
        let longest = bits(address);
        let outside = || ParseAddressError::Prefix {
            text: text.to_owned(),
            longest,
        };
        let prefix = prefix.parse().map_err(|_| outside())?;
        Self::new(address, prefix).ok_or_else(outside)
    }
}

impl From<InterfaceAddress> for String {
    fn from(address: InterfaceAddress) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for InterfaceAddress {
    type Error = ParseAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn from_number(number: u128, bits: u8) -> IpAddr {
    // Only numbers of that family's range come here, so that the upper bits of an IPv4 address are zero.
    if bits == 32 {
        Ipv4Addr::from_bits(number as u32).into()
    } else {
        Ipv6Addr::from_bits(number).into()
    }
}

fn mask(bits: u8, prefix: u8) -> Option<u128> {
    let host_bits = u32::from(bits.checked_sub(prefix)?);
    Some(u128::MAX.checked_shl(host_bits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn a_subnet_drops_the_bits_behind_its_prefix() {
        assert_eq!(subnet("172.17.3.4/16").to_string(), "172.17.0.0/16");
        assert_eq!(subnet("fd00::12:34/64").to_string(), "fd00::/64");
        assert_eq!(subnet("1.2.3.4/0").to_string(), "0.0.0.0/0");
    }

    #[test]
    fn an_interface_address_keeps_its_host_part() {
        let address: InterfaceAddress = "172.17.0.1/16".parse().unwrap();
        assert_eq!(address.to_string(), "172.17.0.1/16");
        assert_eq!(address.subnet(), subnet("172.17.0.0/16"));
    }

    #[test]
    fn texts_that_are_no_subnet_are_refused() {
        for text in [
            "",
            "172.17.0.1",
            "172.17.0.1/",
            "172.17.0.1/33",
            "172.17.0/16",
            "fd00::/129",
            "1.2.3.4/+8",
            "1.2.3.4/08",
            "a/8",
        ] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn overlap_is_found_in_both_directions_and_not_between_families() {
        assert!(subnet("172.17.0.0/16").overlaps(subnet("172.17.4.0/24")));
        assert!(subnet("172.17.4.0/24").overlaps(subnet("172.17.0.0/16")));
        assert!(subnet("0.0.0.0/0").overlaps(subnet("10.0.0.0/8")));
        assert!(!subnet("172.17.0.0/16").overlaps(subnet("172.18.0.0/16")));
        assert!(!subnet("0.0.0.0/0").overlaps(subnet("::/0")));
    }

    #[test]
    fn offsets_and_addresses_are_each_others_inverse() {
        let net = subnet("192.168.16.0/20");
        assert_eq!(net.last_offset(), 4095);
        assert_eq!(net.nth(4095).unwrap().to_string(), "192.168.31.255");
        assert_eq!(net.nth(4096), None);
        assert_eq!(net.offset("192.168.17.1".parse().unwrap()), Some(257));
        assert_eq!(net.offset("192.168.32.0".parse().unwrap()), None);
        assert_eq!(subnet("::/0").last_offset(), u128::MAX);
    }

    #[test]
    fn subnets_and_addresses_are_texts_in_json() {
        let address: InterfaceAddress = "10.1.2.3/24".parse().unwrap();
        let json = serde_json::to_string(&address).unwrap();
        assert_eq!(json, "\"10.1.2.3/24\"");
        assert_eq!(serde_json::from_str::<InterfaceAddress>(&json).unwrap(), address);
    }
}
