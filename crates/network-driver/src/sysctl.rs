//! Kernel parameters of the network (`/proc/sys/net`, of the calling thread's namespace).

use std::fs;
use std::io;

use crate::error::{DriverError, Result};

const FORWARDING: &str = "net/ipv4/ip_forward";

/// Whether the host passed packets on between its interfaces before it had to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// It did.
    WasOn,
    /// It did not; it does now.
    TurnedOn,
}

/// Lets the host pass packets on (`net.ipv4.ip_forward`).
pub(crate) fn turn_forwarding_on() -> Result<Forwarding> {
    if read(FORWARDING)?.trim() != "0" {
        return Ok(Forwarding::WasOn);
    }
    write(FORWARDING, "1")?;
    Ok(Forwarding::TurnedOn)
}

/// Undoes what was turned on.
pub(crate) fn restore_forwarding(former: Forwarding) -> Result<()> {
    match former {
        Forwarding::WasOn => Ok(()),
        Forwarding::TurnedOn => write(FORWARDING, "0"),
    }
}

/// Keeps IPv6 from an interface. A container on a bridge that has no IPv6 network could otherwise reach the host by the
/// bridge's link-local address, past every rule for IPv4, and advertise itself as the host's router.
pub(crate) fn disable_ipv6(interface: &str) -> Result<()> {
    match write(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1") {
        // A kernel without IPv6.
        Err(DriverError::Sysctl { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Lets packets of the host's loopback leave over an interface (ip-sysctl, `route_localnet`): what the host sends to its
/// own published port at 127.0.0.1 is redirected to a container. The firewall keeps others from the loopback.
pub(crate) fn route_loopback(interface: &str) -> Result<()> {
    write(&format!("net/ipv4/conf/{interface}/route_localnet"), "1")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/sys/{path}")).map_err(|source| DriverError::Sysctl {
        operation: "read",
        path: path.to_owned(),
        source,
    })
}

fn write(path: &str, value: &str) -> Result<()> {
    fs::write(format!("/proc/sys/{path}"), value).map_err(|source| DriverError::Sysctl {
        operation: "write",
        path: path.to_owned(),
        source,
    })
}
