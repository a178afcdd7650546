//! Limits of what passes over a connection, on the host's end, which no process of the container reaches.
//!
//! ```text
//!                       host                                        container
//!   bridge <----------> conexID <------------------------------------> eth0
//!             to it:    root queue: tbf
//!             from it:  arrivals --mirred--> cxifbID: tbf --> back to conexID, as if it arrived now
//! ```
//!
//! What arrives at an interface has been received and cannot wait; so it is led over another interface (ifb), where it is
//! sent, and what is sent is queued. A kernel without such interfaces counts it and drops what is too much (police).
//!
//! An ifb does not go with the container's namespace. It carries the name of its bridge (`alias` of ip-link(8)), by which a
//! daemon that comes later knows what was left.

use std::io;

use conex_network::rate::Rate;
use conex_network::{EndpointPlan, ifb_beside};
use rustix::io::Errno;

use crate::bridge::{is, remove_link};
use crate::error::{DriverError, Result, netlink};
use crate::netlink::Socket;
use crate::{messages, traffic};

/// Gives a connection that has none yet the limits of its plan.
pub(crate) fn limit(host: &mut Socket, plan: &EndpointPlan) -> Result<()> {
    if let Some(rate) = plan.rates.ingress {
        limit_ingress(host, plan, rate)?;
    }
    if let Some(rate) = plan.rates.egress {
        limit_egress(host, plan, rate)?;
    }
    Ok(())
}

/// Gives a connection the limits of its plan, whatever it has.
pub(crate) fn change(host: &mut Socket, plan: &EndpointPlan) -> Result<()> {
    let name = &plan.host_interface;
    let index = index(host, name)?;
    limit(host, plan)?;
    let mut requests = Vec::new();
    if plan.rates.ingress.is_none() {
        requests.push(traffic::unlimit_sent(index));
    }
    if plan.rates.egress.is_none() {
        // Before what it leads to is gone: it would drop everything.
        requests.push(traffic::ignore_arrivals(index));
    }
    if !requests.is_empty() {
        host.request(&requests).map_err(netlink("unlimit interface", name))?;
    }
    if plan.rates.egress.is_none() {
        remove_ifb(host, name)?;
    }
    Ok(())
}

/// Removes the interface over which traffic was led; one that is not there is no error.
pub(crate) fn remove_ifb(host: &mut Socket, host_interface: &str) -> Result<()> {
    let ifb = ifb_beside(host_interface);
    remove_link(host, &ifb).map_err(netlink("remove interface", &ifb))
}

fn limit_ingress(host: &mut Socket, plan: &EndpointPlan, rate: Rate) -> Result<()> {
    let index = index(host, &plan.host_interface)?;
    host.request(&[traffic::limit_sent(index, rate)])
        .map_err(refused(plan, "sch_tbf"))
}

fn limit_egress(host: &mut Socket, plan: &EndpointPlan, rate: Rate) -> Result<()> {
    match redirect(host, plan, rate) {
        Err(DriverError::Unlimitable { .. }) => {
            remove_ifb(host, &plan.host_interface)?;
            police(host, plan, rate)
        }
        result => result,
    }
}

fn redirect(host: &mut Socket, plan: &EndpointPlan, rate: Rate) -> Result<()> {
    let ifb = ifb_beside(&plan.host_interface);
    // By one `send`, which a daemon that is killed has done or not.
    let created = host.request(&[
        messages::create_ifb(&ifb, plan.mtu),
        messages::set_alias(&ifb, &plan.bridge),
    ]);
    let is_new = match created {
        Ok(()) => true,
        Err(error) if is(&error, Errno::EXIST) => false,
        Err(error) => return Err(refused(plan, "ifb")(error)),
    };
    conex_sys::failpoint::hit("rates.after-ifb");
    let (from, over) = (index(host, &plan.host_interface)?, index(host, &ifb)?);
    host.request(&[
        messages::without_link_local(over),
        messages::link_up(over),
        traffic::limit_sent(over, rate),
    ])
    .map_err(refused(plan, "sch_tbf"))?;
    let mut requests = Vec::new();
    if is_new {
        // Of a policer, or of an earlier interface of this name.
        requests.push(traffic::ignore_arrivals(from));
    }
    requests.extend([traffic::watch_arrivals(from), traffic::redirect_arrivals(from, over)]);
    host.request(&requests)
        .map_err(refused(plan, "sch_ingress, cls_u32 or act_mirred"))
}

fn police(host: &mut Socket, plan: &EndpointPlan, rate: Rate) -> Result<()> {
    let from = index(host, &plan.host_interface)?;
    let requests = [
        traffic::ignore_arrivals(from),
        traffic::watch_arrivals(from),
        traffic::police_arrivals(from, rate),
    ];
    host.request(&requests)
        .map_err(refused(plan, "ifb with act_mirred, and act_police"))
}

fn index(host: &Socket, name: &str) -> Result<u32> {
    host.interface_index(name).map_err(netlink("find interface", name))
}

/// An interface, a queue, a filter or an action of a kind that the kernel does not know is refused in one of these ways.
fn refused(plan: &EndpointPlan, modules: &'static str) -> impl FnOnce(io::Error) -> DriverError {
    let interface = plan.host_interface.clone();
    move |source| match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::OPNOTSUPP) => DriverError::Unlimitable {
            interface,
            modules,
            source,
        },
        _ => netlink("limit interface", &interface)(source),
    }
}
