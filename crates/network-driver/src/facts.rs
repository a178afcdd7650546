//! What is there already.

use conex_network::{InterfaceAddress, Subnet};

use crate::error::{Result, netlink};
use crate::messages;
use crate::netlink::Socket;
use crate::replies::{self, Link};

/// Destinations of all routes of all tables, but for default routes and those over one interface.
pub(crate) fn routes(host: &mut Socket, except: &str) -> Result<Vec<Subnet>> {
    // An interface that is not there has no routes either.
    let except = host.interface_index(except).unwrap_or(0);
    let routes = host
        .dump(&messages::dump_routes(), replies::route)
        .map_err(netlink("list", "routes"))?;
    let mut destinations: Vec<_> = routes
        .into_iter()
        .filter(|(interface, destination)| (except == 0 || *interface != except) && destination.prefix() > 0)
        .map(|(_, destination)| destination)
        .collect();
    destinations.sort_unstable();
    destinations.dedup();
    Ok(destinations)
}

/// All interfaces.
pub(crate) fn links(host: &mut Socket) -> Result<Vec<Link>> {
    host.dump(&messages::dump_links(), replies::link)
        .map_err(netlink("list", "interfaces"))
}

/// IPv4 addresses of an interface.
pub(crate) fn addresses(host: &mut Socket, interface: u32) -> Result<Vec<InterfaceAddress>> {
    let addresses = host
        .dump(&messages::dump_addresses(), replies::address)
        .map_err(netlink("list", "addresses"))?;
    let of_interface = addresses
        .into_iter()
        .filter(|(index, _)| *index == interface)
        .map(|(_, address)| address);
    Ok(of_interface.filter(|address| address.address().is_ipv4()).collect())
}
