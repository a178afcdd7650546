//! Decisions about networks: addresses, bridges, endpoints, the firewall's ruleset and the files of name resolution.
//!
//! Nothing here has an effect. What is known of the host (its routes, the address of a bridge that is there already,
//! the text of its `resolv.conf`) comes in as values; what is to be done goes out as plans, which
//! `conex-network-driver` carries out, and as text.
//!
//! ```text
//!   host routes, --bip, the bridge found  ->  BridgePlan    conex0, 172.17.0.1/16, mtu, masquerade, icc
//!   AddressAllocator::allocate            ->  EndpointPlan  conex<id> on conex0; eth0, 172.17.0.2/16, via 172.17.0.1
//!   a client's IPAM and options           ->  AddressPlan, BridgeOptions
//!   options and labels of rates           ->  rate::Rates   bytes per second and burst of each direction
//!   all BridgePlans, Publications         ->  nft::Ruleset  one table `ip conex`, replaced in one transaction
//!   EndpointPlan, extra hosts             ->  hosts         /etc/hosts
//!   the host's resolv.conf, --dns...      ->  resolv_conf   /etc/resolv.conf
//! ```
//!
//! Addresses are `IpAddr` all over, so that IPv6 needs no other types; plans are made for IPv4 only as yet. The ruleset
//! exists for nftables only; an iptables backend would be a second rendering of the same `Ruleset`.

pub mod dns;
pub mod hosts;
pub mod ipam;
pub mod nft;
pub mod options;
pub mod rate;
pub mod resolv_conf;

mod address;
mod allocator;
mod mac;
mod plan;
mod pools;
mod publish;

pub use address::{InterfaceAddress, ParseAddressError, Subnet};
pub use allocator::{AddressAllocator, AllocateError};
pub use mac::{MacAddress, ParseMacError};
pub use plan::{
    Access, BridgePlan, BridgeRequest, CONTAINER_INTERFACE, DEFAULT_BRIDGE, DEFAULT_MTU, EndpointPlan, IFB_PREFIX, Icc,
    Masquerade, PlanError, VETH_PREFIX, ifb_beside, interface_beside,
};
pub use pools::{AddressPool, choose_subnet, default_pools};
pub use publish::{HostPort, HostPorts, Protocol, Publication};
