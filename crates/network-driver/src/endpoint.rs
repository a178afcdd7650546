//! A container's connection to a bridge.

use std::os::fd::AsFd;

use conex_network::{EndpointPlan, Icc, MacAddress};
use rustix::io::Errno;

use crate::bridge::{is, remove_link};
use crate::error::{Result, netlink};
use crate::messages::{self, Request};
use crate::namespace::Netns;
use crate::netlink::Socket;
use crate::replies;

/// A container that is on its bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// Hardware address in the container.
    pub mac: MacAddress,
    /// Index of the container's interface, in its namespace.
    pub interface_index: u32,
}

/// The part on the host: the pair of interfaces.
pub(crate) fn attach(host: &mut Socket, plan: &EndpointPlan, netns: &Netns) -> Result<()> {
    let bridge = host
        .interface_index(&plan.bridge)
        .map_err(netlink("find bridge", &plan.bridge))?;
    let mut requests = vec![messages::create_veth(plan, bridge, netns.as_fd())];
    if plan.icc == Icc::Denied {
        requests.push(messages::isolate_port(&plan.host_interface));
    }
    create(host, plan, &requests).map_err(netlink("create interface", &plan.host_interface))
}

/// The part in the container: address and route.
pub(crate) fn configure(plan: &EndpointPlan, netns: &mut Netns) -> Result<Connected> {
    let control = netns.control()?;
    let refused = |operation| netlink(operation, &plan.interface);
    let index = control
        .interface_index(&plan.interface)
        .map_err(refused("find interface"))?;
    let mut requests = vec![
        messages::without_link_local(index),
        messages::link_up(index),
        messages::add_address(index, plan.address),
    ];
    requests.extend(default_route(plan, index));
    control.request(&requests).map_err(refused("configure interface"))?;
    Ok(Connected {
        mac: plan.mac,
        interface_index: index,
    })
}

fn default_route(plan: &EndpointPlan, index: u32) -> Option<Request> {
    let gateway = plan.gateway.filter(|_| plan.is_default);
    gateway.map(|gateway| messages::set_default_route(index, gateway))
}

/// Has the default route lead over one connection, or takes it away.
pub(crate) fn set_default_route(plan: Option<&EndpointPlan>, netns: &mut Netns) -> Result<()> {
    let control = netns.control()?;
    let request = match plan {
        Some(plan) => {
            let index = control
                .interface_index(&plan.interface)
                .map_err(netlink("find interface", &plan.interface))?;
            default_route(plan, index)
        }
        None => None,
    };
    let requests = [request.unwrap_or_else(messages::delete_default_route)];
    control.request(&requests).map_err(netlink("set", "default route"))
}

/// Whether packets pass from the container to the bridge and from the host to the container.
///
/// Both interfaces have a carrier once both are up, but the bridge forwards for its port, and the host's interfaces leave
/// their state of dropping everything, only when a worker of the kernel has come to it; on a busy machine that is later
/// than a container's first packet, whose loss costs a second (TCP) or five (DNS). Asking has the kernel do it at once.
pub(crate) fn is_operational(host: &mut Socket, plan: &EndpointPlan) -> Result<bool> {
    // In this order: a bridge has a carrier as long as one of its ports forwards.
    let questions = [
        messages::get_link(&plan.host_interface),
        messages::get_link(&plan.bridge),
    ];
    let links = host
        .query(&questions, replies::link)
        .map_err(netlink("probe interface", &plan.host_interface))?;
    Ok(links.iter().all(|link| link.is_operational))
}

fn create(host: &mut Socket, plan: &EndpointPlan, requests: &[Request]) -> std::io::Result<()> {
    let error = match host.request(requests) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // Either interface may have the taken name. Where it is the one on the host, it was left by an attempt of this very
    // endpoint that was cut off.
    if is(&error, Errno::EXIST) && host.interface_index(&plan.host_interface).is_ok() {
        remove_link(host, &plan.host_interface)?;
        return host.request(requests);
    }
    if !is(&error, Errno::EXIST) {
        remove_link(host, &plan.host_interface)?;
    }
    Err(error)
}
