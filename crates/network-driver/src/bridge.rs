//! Bridges on the host.

use std::io;

use conex_network::{BridgePlan, InterfaceAddress};
use rustix::io::Errno;

use crate::error::{DriverError, Result, netlink};
use crate::netlink::Socket;
use crate::replies::Link;
use crate::sysctl::{self, Forwarding};
use crate::{facts, messages};

/// First bytes of the hardware address that a bridge is created with; tells our own from one that the user made.
const OWN_MAC_PREFIX: [u8; 2] = [0x02, 0x42];

/// A bridge that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeFacts {
    /// Its first IPv4 address.
    pub address: Option<InterfaceAddress>,
}

/// Where a bridge came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeOrigin {
    /// It was made.
    Created,
    /// It was there and is used.
    Adopted,
}

/// What bringing a bridge about changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeChange {
    /// Whether it was made.
    pub origin: BridgeOrigin,
    /// Whether the host was made to pass packets on.
    pub forwarding: Forwarding,
}

/// The bridge of a name; `None` where there is no interface of that name.
pub(crate) fn probe(host: &mut Socket, name: &str) -> Result<Option<BridgeFacts>> {
    let Some(link) = find(host, name)? else { return Ok(None) };
    let address = facts::addresses(host, link.index)?.first().copied();
    Ok(Some(BridgeFacts { address }))
}

/// Makes a bridge be as planned, whatever of it is there: each step can be repeated, so that it does not matter where
/// an earlier attempt was cut off. A bridge that the user made keeps its hardware address, its MTU and its IPv6.
pub(crate) fn ensure(host: &mut Socket, plan: &BridgePlan) -> Result<BridgeChange> {
    let created = match host.request(&[messages::create_bridge(plan)]) {
        Ok(()) => true,
        Err(error) if is(&error, Errno::EXIST) => false,
        Err(error) => return Err(netlink("create bridge", &plan.name)(error)),
    };
    let gone = || netlink("find bridge", &plan.name)(Errno::NODEV.into());
    let link = find(host, &plan.name)?.ok_or_else(gone)?;
    sysctl::route_loopback(&plan.name)?;
    let mut requests = Vec::new();
    if link.mac.starts_with(&OWN_MAC_PREFIX) {
        sysctl::disable_ipv6(&plan.name)?;
        requests.push(messages::set_mtu(link.index, plan.mtu));
    }
    let addresses = facts::addresses(host, link.index)?;
    if !addresses.contains(&plan.gateway) {
        requests.extend(
            addresses
                .iter()
                .map(|address| messages::delete_address(link.index, *address)),
        );
        requests.push(messages::add_address(link.index, plan.gateway));
    }
    requests.push(messages::link_up(link.index));
    host.request(&requests)
        .map_err(netlink("configure bridge", &plan.name))?;
    let forwarding = sysctl::turn_forwarding_on()?;
    Ok(BridgeChange {
        origin: if created {
            BridgeOrigin::Created
        } else {
            BridgeOrigin::Adopted
        },
        forwarding,
    })
}

/// Removes a bridge; one that is not there is no error.
pub(crate) fn remove(host: &mut Socket, name: &str) -> Result<()> {
    if find(host, name)?.is_none() {
        return Ok(());
    }
    remove_link(host, name).map_err(netlink("remove bridge", name))
}

/// Removes an interface; one that is not there, or has just gone by itself, is no error.
pub(crate) fn remove_link(host: &mut Socket, name: &str) -> io::Result<()> {
    match host.request(&[messages::delete_link(name)]) {
        Err(error) if is(&error, Errno::NODEV) => Ok(()),
        result => result,
    }
}

pub(crate) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn find(host: &mut Socket, name: &str) -> Result<Option<Link>> {
    match facts::links(host)?.into_iter().find(|link| link.name == name) {
        Some(link) if link.kind != "bridge" => Err(DriverError::NotABridge { name: name.to_owned() }),
        link => Ok(link),
    }
}
