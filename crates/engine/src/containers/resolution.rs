//! `hosts`, `hostname` and `resolv.conf` of a container, written anew at each start.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use conex_container::NetworkChoice;
use conex_network::hosts::{self, ExtraHost, OwnHost};
use conex_network::resolv_conf::{self, Ipv6, Overrides, ResolvConf};
use conex_network_driver::RESOLVER_ADDRESS;

use crate::containers::launch::system;
use crate::containers::{Container, links};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::Endpoint;
use crate::networks::dns::servers_of;
use crate::networks::endpoint::has_names;

/// Where systemd-resolved keeps the real name servers (systemd-resolved.service(8)).
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Writes the three files.
pub(crate) fn write(engine: &Inner, container: &Container, endpoints: &[Endpoint]) -> Result<()> {
    // Who shares another container's network has that one's files.
    if matches!(container.config.network, NetworkChoice::Container(_)) {
        return Ok(());
    }
    let dir = engine.files.dir(&container.id);
    for (name, text) in [
        ("hostname", format!("{}\n", hostname(engine, container))),
        ("hosts", hosts(engine, container, endpoints)?),
        ("resolv.conf", resolv_conf(container, endpoints)?),
    ] {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|error| {
            Error::new(ErrorKind::System, format!("write {}: {error}", path.display())).caused_by(error)
        })?;
        if let Some((uid, gid)) = container.map.as_ref().and_then(|map| map.outside((0, 0))) {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid))
                .map_err(system(format!("set the owner of {}", path.display())))?;
        }
    }
    Ok(())
}

/// Writes what a running container's connections change. Its files are bound into it, so they are written in place.
pub(crate) fn rewrite(
    engine: &Inner,
    container: &Container,
    before: &[Endpoint],
    endpoints: &[Endpoint],
) -> Result<()> {
    let dir = engine.files.dir(&container.id);
    let change = |name: &str, changed: &dyn Fn(String) -> Option<String>| {
        let path = dir.join(name);
        let Some(text) = changed(read(&path)) else {
            return Ok(());
        };
        fs::write(&path, text).map_err(|error| {
            Error::new(ErrorKind::System, format!("write {}: {error}", path.display())).caused_by(error)
        })
    };
    let addresses = |endpoints: &[Endpoint]| endpoints.iter().filter_map(Endpoint::address).collect::<Vec<_>>();
    let (old, new) = (addresses(before), addresses(endpoints));
    let name = hostname(engine, container);
    let domain = container.config.domainname.as_str();
    change("hosts", &|text| {
        Some(hosts::replace_own(&text, &old, &new, &name, domain))
    })?;
    let (was, is) = (resolv_conf(container, before)?, resolv_conf(container, endpoints)?);
    // One that was edited in the container stays.
    change("resolv.conf", &|text| (text == was && was != is).then(|| is.clone()))
}

/// The host's name servers, as they are now.
pub(crate) fn host_servers() -> Vec<IpAddr> {
    servers_of(&read(Path::new("/etc/resolv.conf")))
}

/// The container's host name.
pub(crate) fn hostname(engine: &Inner, container: &Container) -> String {
    let config = &container.config;
    if let NetworkChoice::Container(other) = &config.network
        && let Ok(other) = engine.containers.find(other)
        && !matches!(other.config.network, NetworkChoice::Container(_))
    {
        return hostname(engine, &other);
    }
    if !config.hostname.is_empty() {
        config.hostname.clone()
    } else if config.network == NetworkChoice::Host || config.host.uts_mode == "host" {
        engine.host.name.clone()
    } else {
        container.short_id().to_owned()
    }
}

fn hosts(engine: &Inner, container: &Container, endpoints: &[Endpoint]) -> Result<String> {
    let config = &container.config;
    let invalid = |error: hosts::ExtraHostError| Error::new(ErrorKind::InvalidParameter, error.to_string());
    let extra = config.host.extra_hosts.iter().flatten();
    let mut extra: Vec<ExtraHost> = extra
        .map(|text| ExtraHost::parse(text, engine.networks.gateway()).map_err(invalid))
        .collect::<Result<_>>()?;
    if config.network == NetworkChoice::Host {
        return Ok(hosts::render_of_host(&read(Path::new("/etc/hosts")), &extra));
    }
    extra.extend(links::hosts(engine, container)?);
    let name = hostname(engine, container);
    let own: Vec<OwnHost<'_>> = endpoints
        .iter()
        .filter_map(Endpoint::address)
        .map(|address| OwnHost {
            address,
            hostname: &name,
            domain: &config.domainname,
        })
        .collect();
    Ok(hosts::render(&extra, &own))
}

fn resolv_conf(container: &Container, endpoints: &[Endpoint]) -> Result<String> {
    let host = &container.config.host;
    let server = |text: &String| {
        let invalid = |_| {
            Error::new(
                ErrorKind::InvalidParameter,
                format!("invalid IP address in dns: {text:?}"),
            )
        };
        text.parse::<IpAddr>().map_err(invalid)
    };
    let servers: Vec<IpAddr> = host.dns.iter().map(server).collect::<Result<_>>()?;
    let overrides = Overrides {
        servers: &servers,
        search: &host.dns_search,
        options: &host.dns_options,
    };
    let of_host = read(Path::new("/etc/resolv.conf"));
    if matches!(container.config.network, NetworkChoice::Host | NetworkChoice::None) {
        return Ok(ResolvConf::parse(&of_host).with(overrides).render());
    }
    if has_names(endpoints) {
        let conf = ResolvConf::parse(&of_host).behind(RESOLVER_ADDRESS.into(), overrides);
        return Ok(conf.render());
    }
    let resolved = fs::read_to_string(RESOLVED).ok();
    let source = resolv_conf::choose_source(&of_host, resolved.as_deref());
    Ok(ResolvConf::parse(source).on_bridge(overrides, Ipv6::Absent).render())
}

/// A host without the file has nothing to hand on.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
