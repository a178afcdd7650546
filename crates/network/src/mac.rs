//! Hardware addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address: {text}")]
pub struct ParseMacError {
    text: String,
}

/// A hardware address of an Ethernet interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// From its six bytes.
    pub fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// `02:42:` and the four bytes of an IPv4 address (of an IPv6 address the last four).
    ///
    /// The first byte says "locally administered, unicast". An address that is given to another container later keeps
    /// its hardware address this way, so that no neighbour's ARP entry is ever wrong and none has to be told.
    pub fn of_address(address: IpAddr) -> Self {
        let [a, b, c, d] = match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(address) => (address.to_bits() as u32).to_be_bytes(),
        };
        Self([0x02, 0x42, a, b, c, d])
    }

    /// Its six bytes.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = ParseMacError;

    /// Reads six bytes in hexadecimal, separated by `:` or by `-`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParseMacError { text: text.to_owned() };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(invalid)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() {
            Err(invalid())
        } else {
            Ok(Self(bytes))
        }
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hardware_address_is_made_of_the_ip_address() {
        assert_eq!(
            MacAddress::of_address("172.17.0.2".parse().unwrap()).to_string(),
            "02:42:ac:11:00:02"
        );
        assert_eq!(
            MacAddress::of_address("fd00::1:2".parse().unwrap()).to_string(),
            "02:42:00:01:00:02"
        );
    }

    #[test]
    fn hardware_addresses_are_read_in_the_forms_that_clients_write() {
        let mac = MacAddress::new([0x02, 0x42, 0xac, 0x11, 0, 0xff]);
        assert_eq!("02:42:ac:11:00:ff".parse(), Ok(mac));
        assert_eq!("02-42-AC-11-00-FF".parse(), Ok(mac));
        for text in [
            "",
            "02:42",
            "02:42:ac:11:00:f",
            "02:42:ac:11:00:ff:00",
            "0g:42:ac:11:00:ff",
            "+2:42:ac:11:00:ff",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }
}
