//! The subnets that networks are given when nobody names one.

use std::net::{IpAddr, Ipv4Addr};

use crate::address::Subnet;

/// A range that is cut into subnets of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    /// The range.
    pub base: Subnet,
    /// Length of the prefix of each subnet.
    pub size: u8,
}

impl AddressPool {
    /// Its subnets, in order. A size that is shorter than the range's prefix yields none.
    pub fn subnets(self) -> impl Iterator<Item = Subnet> {
        let step = Subnet::containing(self.base.network(), self.size)
            .filter(|_| self.size >= self.base.prefix())
            .map(|first| first.last_offset());
        let mut next = step.map(|_| 0u128);
        std::iter::from_fn(move || {
            let offset = next?;
            let subnet = Subnet::containing(self.base.nth(offset)?, self.size);
            next = offset.checked_add(step?).and_then(|last| last.checked_add(1));
            subnet
        })
    }
}

/// A prefix shorter than this is a default route or part of one split in two, as VPN clients do, and says nothing
/// about which addresses are in use.
const SHORTEST_MEANINGFUL_PREFIX: u8 = 4;

/// Docker's pools: `172.17.0.0/16` to `172.31.0.0/16`, then `192.168.0.0/20` and on.
pub fn default_pools() -> Vec<AddressPool> {
    let pool = |a, b, prefix, size| {
        let base = Subnet::containing(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix)?;
        Some(AddressPool { base, size })
    };
    let pools = [
        pool(172, 17, 16, 16),
        pool(172, 18, 16, 16),
        pool(172, 19, 16, 16),
        pool(172, 20, 14, 16),
        pool(172, 24, 14, 16),
        pool(172, 28, 14, 16),
        pool(192, 168, 16, 20),
    ];
    pools.into_iter().flatten().collect()
}

/// The first subnet of the pools that overlaps nothing that is taken; `None` where all do.
pub fn choose_subnet(pools: &[AddressPool], taken: &[Subnet]) -> Option<Subnet> {
    let taken: Vec<_> = taken
        .iter()
        .filter(|subnet| subnet.prefix() >= SHORTEST_MEANINGFUL_PREFIX)
        .collect();
    pools
        .iter()
        .flat_map(|pool| pool.subnets())
        .find(|subnet| !taken.iter().any(|other| other.overlaps(*subnet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnets(texts: &[&str]) -> Vec<Subnet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn chosen(taken: &[&str]) -> Option<String> {
        choose_subnet(&default_pools(), &subnets(taken)).map(|subnet| subnet.to_string())
    }

    #[test]
    fn the_first_subnet_is_dockers() {
        assert_eq!(chosen(&[]).as_deref(), Some("172.17.0.0/16"));
    }

    #[test]
    fn subnets_that_overlap_a_route_are_passed_over() {
        assert_eq!(chosen(&["172.17.42.0/24"]).as_deref(), Some("172.18.0.0/16"));
        assert_eq!(chosen(&["172.16.0.0/12"]).as_deref(), Some("192.168.0.0/20"));
        assert_eq!(
            chosen(&["172.16.0.0/12", "192.168.1.0/24"]).as_deref(),
            Some("192.168.16.0/20")
        );
        assert_eq!(chosen(&["172.16.0.0/12", "192.168.0.0/16"]), None);
    }

    #[test]
    fn a_default_route_and_its_halves_take_nothing() {
        assert_eq!(
            chosen(&["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "fd00::/8"]).as_deref(),
            Some("172.17.0.0/16")
        );
    }

    #[test]
    fn a_pool_is_cut_into_all_its_subnets() {
        let pool = AddressPool {
            base: "172.20.0.0/14".parse().unwrap(),
            size: 16,
        };
        let texts: Vec<_> = pool.subnets().map(|subnet| subnet.to_string()).collect();
        assert_eq!(
            texts,
            ["172.20.0.0/16", "172.21.0.0/16", "172.22.0.0/16", "172.23.0.0/16"]
        );
        let inverted = AddressPool {
            base: "172.20.0.0/14".parse().unwrap(),
            size: 8,
        };
        assert_eq!(inverted.subnets().count(), 0);
        let whole = AddressPool {
            base: "::/0".parse().unwrap(),
            size: 0,
        };
        assert_eq!(whole.subnets().count(), 1);
    }
}
