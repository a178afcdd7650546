//! Which addresses of a subnet are in use.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::address::Subnet;

/// An address that could not be had. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// All addresses are in use.
    #[error("no available IPv4 addresses on this network's address pools: {subnet}")]
    Exhausted {
        /// The subnet.
        subnet: Subnet,
    },
    /// The address that was asked for is in use, or is the first or last of the subnet.
    #[error("Address already in use")]
    InUse {
        /// The address.
        address: IpAddr,
    },
    /// The address that was asked for is not of the subnet.
    #[error("no configured subnet contains IP address {address}")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: Subnet,
    },
}

/// Hands out the addresses of one subnet.
///
/// The next address is the lowest free one behind the latest that was handed out, starting over at the end: an address
/// is used again as late as possible, so that what neighbours remember of its former owner has been forgotten. The
/// same calls give the same addresses.
#[derive(Debug, Clone)]
pub struct AddressAllocator {
    subnet: Subnet,
    /// Where addresses that nobody names are taken from.
    range: Subnet,
    used: BTreeSet<u128>,
    last: u128,
}

impl AddressAllocator {
    /// With all of a subnet's hosts free.
    pub fn new(subnet: Subnet) -> Self {
        Self {
            subnet,
            range: subnet,
            used: BTreeSet::new(),
            last: 0,
        }
    }

    /// The same that hands out addresses of this part of the subnet only; others can be reserved.
    #[must_use]
    pub fn within(self, range: Subnet) -> Self {
        Self { range, ..self }
    }

    /// The subnet.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Takes a free address.
    pub fn allocate(&mut self) -> Result<IpAddr, AllocateError> {
        let exhausted = AllocateError::Exhausted { subnet: self.subnet };
        let Some((first, last)) = self.assignable() else {
            return Err(exhausted);
        };
        let start = if self.last < last {
            (self.last + 1).max(first)
        } else {
            first
        };
        let free = self
            .first_free(start, last)
            .or_else(|| self.first_free(first, start - 1));
        let address = free.and_then(|offset| self.subnet.nth(offset));
        let (Some(offset), Some(address)) = (free, address) else {
            return Err(exhausted);
        };
        self.used.insert(offset);
        self.last = offset;
        Ok(address)
    }

    /// Takes this address: the gateway, one that a client names, or one that a running container has.
    pub fn reserve(&mut self, address: IpAddr) -> Result<(), AllocateError> {
        let Some(offset) = self.subnet.offset(address) else {
            return Err(AllocateError::Outside {
                address,
                subnet: self.subnet,
            });
        };
        // The first and the last are nobody's to have.
        let is_host = self
            .hosts()
            .is_some_and(|(first, last)| (first..=last).contains(&offset));
        if is_host && self.used.insert(offset) {
            Ok(())
        } else {
            Err(AllocateError::InUse { address })
        }
    }

    /// Gives an address back; `false` where it was not in use.
    pub fn release(&mut self, address: IpAddr) -> bool {
        self.subnet
            .offset(address)
            .is_some_and(|offset| self.used.remove(&offset))
    }

    /// Number of addresses in use.
    pub fn used(&self) -> usize {
        self.used.len()
    }

    /// Offsets of the first and the last address that a host may have. In IPv4 the first of the subnet names it and
    /// the last is broadcast; in IPv6 the first is the anycast address of its routers (RFC 4291, 2.6.1).
    fn hosts(&self) -> Option<(u128, u128)> {
        let last = self.subnet.last_offset();
        let last = if self.subnet.network().is_ipv4() {
            last.checked_sub(1)?
        } else {
            last
        };
        (last >= 1).then_some((1, last))
    }

    /// The same of the addresses that are handed out.
    fn assignable(&self) -> Option<(u128, u128)> {
        let (first, last) = self.hosts()?;
        let start = self.subnet.offset(self.range.network())?;
        let end = start.checked_add(self.range.last_offset())?;
        let (first, last) = (first.max(start), last.min(end));
        (first <= last).then_some((first, last))
    }

    fn first_free(&self, from: u128, to: u128) -> Option<u128> {
        let mut candidate = from;
        if from > to {
            return None;
        }
        for used in self.used.range(from..=to) {
            if *used != candidate {
                break;
            }
            candidate = used.checked_add(1)?;
        }
        (candidate <= to).then_some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allocator(subnet: &str) -> AddressAllocator {
        AddressAllocator::new(subnet.parse().unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_follow_one_another_and_released_ones_wait_for_the_next_round() {
        let mut hosts = allocator("10.0.0.0/29");
        hosts.reserve(ip("10.0.0.1")).unwrap();
        assert_eq!(hosts.allocate(), Ok(ip("10.0.0.2")));
        assert_eq!(hosts.allocate(), Ok(ip("10.0.0.3")));
        assert!(hosts.release(ip("10.0.0.2")));
        assert!(!hosts.release(ip("10.0.0.2")));
        for expected in ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"] {
            assert_eq!(hosts.allocate(), Ok(ip(expected)));
        }
        assert!(matches!(hosts.allocate(), Err(AllocateError::Exhausted { .. })));
    }

    #[test]
    fn addresses_outside_or_in_use_are_refused_with_dockers_texts() {
        let mut hosts = allocator("172.17.0.0/16");
        hosts.reserve(ip("172.17.0.9")).unwrap();
        assert_eq!(
            hosts.reserve(ip("172.17.0.9")).unwrap_err().to_string(),
            "Address already in use"
        );
        let mut refused = |address| hosts.reserve(ip(address)).unwrap_err().to_string();
        for address in ["172.17.0.0", "172.17.255.255"] {
            assert_eq!(refused(address), "Address already in use");
        }
        for address in ["172.18.0.1", "fd00::1"] {
            assert_eq!(
                refused(address),
                format!("no configured subnet contains IP address {address}")
            );
        }
    }

    #[test]
    fn subnets_without_hosts_have_no_address() {
        for subnet in ["10.0.0.0/31", "10.0.0.0/32", "fd00::/128"] {
            assert!(allocator(subnet).allocate().is_err(), "{subnet}");
        }
        assert_eq!(allocator("10.0.0.0/30").allocate(), Ok(ip("10.0.0.1")));
        assert_eq!(allocator("fd00::/127").allocate(), Ok(ip("fd00::1")));
        assert_eq!(allocator("::/0").allocate(), Ok(ip("::1")));
    }

    #[test]
    fn addresses_that_nobody_names_are_of_the_range() {
        let mut hosts = allocator("10.0.0.0/24").within("10.0.0.128/30".parse().unwrap());
        hosts.reserve(ip("10.0.0.1")).unwrap();
        for expected in ["10.0.0.128", "10.0.0.129", "10.0.0.130", "10.0.0.131"] {
            assert_eq!(hosts.allocate(), Ok(ip(expected)));
        }
        assert!(hosts.allocate().is_err());
        hosts.release(ip("10.0.0.129"));
        assert_eq!(hosts.allocate(), Ok(ip("10.0.0.129")));
    }

    #[derive(Debug, Clone)]
    enum Call {
        Allocate,
        Reserve(u8),
        Release(u8),
    }

    fn calls() -> impl Strategy<Value = Vec<Call>> {
        let call = prop_oneof![
            3 => Just(Call::Allocate),
            1 => (0u8..20).prop_map(Call::Reserve),
            2 => (0u8..20).prop_map(Call::Release),
        ];
        proptest::collection::vec(call, 0..200)
    }

    proptest! {
        #[test]
        fn no_address_is_held_twice_and_a_free_one_is_always_found(calls in calls()) {
            let mut hosts = allocator("10.0.0.0/28");
            let mut held = BTreeSet::new();
            for call in calls {
                match call {
                    Call::Allocate => match hosts.allocate() {
                        Ok(address) => {
                            prop_assert!(hosts.subnet().contains(address));
                            prop_assert!(held.insert(address), "{address} was in use");
                        }
                        Err(_) => prop_assert_eq!(held.len(), 14),
                    },
                    Call::Reserve(last) => {
                        let address = IpAddr::from([10, 0, 0, last]);
                        let reserved = hosts.reserve(address).is_ok();
                        prop_assert_eq!(reserved, (1..15).contains(&last) && held.insert(address));
                    }
                    Call::Release(last) => {
                        let address = IpAddr::from([10, 0, 0, last]);
                        prop_assert_eq!(hosts.release(address), held.remove(&address));
                    }
                }
                prop_assert_eq!(hosts.used(), held.len());
            }
        }
    }
}
