//! `hosts`, `hostname` and `resolv.conf` of a container, written anew at each start.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use conex_container::NetworkChoice;
use conex_network::hosts::{self, ExtraHost, OwnHost};
use conex_network::resolv_conf::{self, Ipv6, Overrides, ResolvConf};

use crate::containers::Container;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::network::Endpoint;

/// Where systemd-resolved keeps the real name servers (systemd-resolved.service(8)).
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Writes the three files.
pub(crate) fn write(engine: &Inner, container: &Container, endpoint: Option<&Endpoint>) -> Result<()> {
    let dir = engine.files.dir(&container.id);
    for (name, text) in [
        ("hostname", format!("{}\n", hostname(engine, container))),
        ("hosts", hosts(engine, container, endpoint)?),
        ("resolv.conf", resolv_conf(container)?),
    ] {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|error| {
            Error::new(ErrorKind::System, format!("write {}: {error}", path.display())).caused_by(error)
        })?;
    }
    Ok(())
}

/// The container's host name.
pub(crate) fn hostname(engine: &Inner, container: &Container) -> String {
    let config = &container.config;
    if !config.hostname.is_empty() {
        config.hostname.clone()
    } else if config.network == NetworkChoice::Host || config.host.uts_mode == "host" {
        engine.host.name.clone()
    } else {
        container.short_id().to_owned()
    }
}

fn hosts(engine: &Inner, container: &Container, endpoint: Option<&Endpoint>) -> Result<String> {
    let config = &container.config;
    let invalid = |error: hosts::ExtraHostError| Error::new(ErrorKind::InvalidParameter, error.to_string());
    let extra = config.host.extra_hosts.iter().flatten();
    let extra: Vec<ExtraHost> = extra
        .map(|text| ExtraHost::parse(text, engine.network.gateway()).map_err(invalid))
        .collect::<Result<_>>()?;
    if config.network == NetworkChoice::Host {
        return Ok(hosts::render_of_host(&read(Path::new("/etc/hosts")), &extra));
    }
    let name = hostname(engine, container);
    let own = endpoint.map(|endpoint| OwnHost {
        address: endpoint.plan.address.address(),
        hostname: &name,
        domain: &config.domainname,
    });
    Ok(hosts::render(&extra, own))
}

fn resolv_conf(container: &Container) -> Result<String> {
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
    if container.config.network != NetworkChoice::Bridge {
        return Ok(ResolvConf::parse(&of_host).with(overrides).render());
    }
    let resolved = fs::read_to_string(RESOLVED).ok();
    let source = resolv_conf::choose_source(&of_host, resolved.as_deref());
    Ok(ResolvConf::parse(source).on_bridge(overrides, Ipv6::Absent).render())
}

/// A host without the file has nothing to hand on.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
