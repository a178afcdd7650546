//! `/etc/hosts` of a container (hosts(5)).

use std::net::IpAddr;

/// The lines that every container has. They are Docker's.
const LOCALHOST: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// The word that stands for the host's address in an extra host.
const HOST_GATEWAY: &str = "host-gateway";

/// An extra host that says no name and address. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtraHostError {
    /// There is no name, or nothing behind it.
    #[error("bad format for add-host: {text:?}")]
    Format {
        /// The text.
        text: String,
    },
    /// What stands behind the name is no address.
    #[error("invalid IP address in add-host: {address:?}")]
    Address {
        /// What should be one.
        address: String,
    },
    /// The host's address is asked for and there is no network to reach it by.
    #[error("unable to derive the IP value for host-gateway")]
    NoGateway,
}

/// A name that a client adds (`--add-host`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

impl ExtraHost {
    /// Reads `name:address`; an IPv6 address may stand in brackets, and `host-gateway` stands for `gateway`.
    pub fn parse(text: &str, gateway: Option<IpAddr>) -> Result<Self, ExtraHostError> {
        let format = || ExtraHostError::Format { text: text.to_owned() };
        let (name, address) = text.split_once(':').ok_or_else(format)?;
        // A name with white space or a line break would be a line of its own in the file.
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format());
        }
        let address = if address == HOST_GATEWAY {
            gateway.ok_or(ExtraHostError::NoGateway)?
        } else {
            let bare = address
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .unwrap_or(address);
            bare.parse().map_err(|_| ExtraHostError::Address {
                address: address.to_owned(),
            })?
        };
        Ok(Self {
            name: name.to_owned(),
            address,
        })
    }
}

/// The container's own line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnHost<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Its host name.
    pub hostname: &'a str,
    /// Its domain, empty for none.
    pub domain: &'a str,
}

/// The file of a container with a network namespace of its own, with a line for each of its addresses.
pub fn render(extra: &[ExtraHost], own: &[OwnHost<'_>]) -> String {
    let mut text = LOCALHOST.to_owned();
    push_extra(&mut text, extra);
    for OwnHost {
        address,
        hostname,
        domain,
    } in own
    {
        text.push_str(&own_line(*address, hostname, domain));
    }
    text
}

/// The file of a running container whose addresses change: its own lines go and come, what else is in it stays.
pub fn replace_own(text: &str, old: &[IpAddr], new: &[IpAddr], hostname: &str, domain: &str) -> String {
    let line = |address: &IpAddr| own_line(*address, hostname, domain);
    let gone: Vec<String> = old.iter().filter(|address| !new.contains(address)).map(line).collect();
    let kept = text
        .split_inclusive('\n')
        .filter(|kept| !gone.iter().any(|gone| gone == kept));
    let came = new.iter().filter(|address| !old.contains(address)).map(line);
    kept.map(str::to_owned).chain(came).collect()
}

fn own_line(address: IpAddr, hostname: &str, domain: &str) -> String {
    match domain {
        "" => format!("{address}\t{hostname}\n"),
        domain => format!("{address}\t{hostname}.{domain} {hostname}\n"),
    }
}

/// The file of a container in the host's network namespace: the host's own and the extra hosts.
pub fn render_of_host(host: &str, extra: &[ExtraHost]) -> String {
    let mut text = host.to_owned();
    if !extra.is_empty() && !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    push_extra(&mut text, extra);
    text
}

fn push_extra(text: &mut String, extra: &[ExtraHost]) {
    for ExtraHost { name, address } in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra(text: &str) -> Result<ExtraHost, ExtraHostError> {
        ExtraHost::parse(text, Some("172.17.0.1".parse().unwrap()))
    }

    #[test]
    fn a_container_without_a_network_knows_localhost_only() {
        let expected = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
            ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
        assert_eq!(render(&[], &[]), expected);
    }

    #[test]
    fn extra_hosts_stand_before_the_containers_own_line() {
        let own = OwnHost {
            address: "172.17.0.2".parse().unwrap(),
            hostname: "web",
            domain: "",
        };
        let extra = [extra("db:10.0.0.5").unwrap(), extra("v6:fd00::5").unwrap()];
        let text = render(&extra, &[own]);
        assert_eq!(
            text.strip_prefix(LOCALHOST),
            Some("10.0.0.5\tdb\nfd00::5\tv6\n172.17.0.2\tweb\n")
        );
        let text = render(
            &[],
            &[OwnHost {
                domain: "example.com",
                ..own
            }],
        );
        assert_eq!(text.strip_prefix(LOCALHOST), Some("172.17.0.2\tweb.example.com web\n"));
    }

    #[test]
    fn the_hosts_file_of_the_host_is_kept_and_extended() {
        assert_eq!(render_of_host("127.0.0.1 localhost", &[]), "127.0.0.1 localhost");
        let text = render_of_host("127.0.0.1 localhost", &[extra("db:10.0.0.5").unwrap()]);
        assert_eq!(text, "127.0.0.1 localhost\n10.0.0.5\tdb\n");
    }

    #[test]
    fn extra_hosts_are_read_as_clients_write_them() {
        assert_eq!(extra("a:host-gateway").unwrap().address.to_string(), "172.17.0.1");
        assert_eq!(extra("a:[::1]").unwrap(), extra("a:::1").unwrap());
        assert_eq!(ExtraHost::parse("a:host-gateway", None), Err(ExtraHostError::NoGateway));
        assert_eq!(extra("a").unwrap_err().to_string(), "bad format for add-host: \"a\"");
        assert_eq!(
            extra("a:b").unwrap_err().to_string(),
            "invalid IP address in add-host: \"b\""
        );
        assert!(extra(":1.2.3.4").is_err() && extra("a\n6.6.6.6 bank:1.2.3.4").is_err());
    }
}
