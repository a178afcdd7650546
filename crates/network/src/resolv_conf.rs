//! `/etc/resolv.conf` of a container (resolv.conf(5)).
//!
//! A container asks the host's name servers itself, so those that only the host reaches (loopback addresses) and, where
//! the container has no IPv6, those with an IPv6 address are left out. Whatever a client says (`--dns`, `--dns-search`,
//! `--dns-option`) stands in place of the host's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The stub of systemd-resolved, which only the host reaches (systemd-resolved.service(8)).
const RESOLVED_STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));

/// Docker's name servers where the host has none that a container could reach.
const DEFAULT_SERVERS_V4: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
];
const DEFAULT_SERVERS_V6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844)),
];

/// What a client says about name resolution; an empty list leaves the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides<'a> {
    /// Name servers.
    pub servers: &'a [IpAddr],
    /// Domains that are searched; a single `.` searches none.
    pub search: &'a [String],
    /// Options.
    pub options: &'a [String],
}

/// Whether a container reaches IPv6 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6 {
    /// It has an IPv6 address.
    Present,
    /// It has none.
    Absent,
}

/// The lines of a `resolv.conf`, by their kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
    other: Vec<String>,
}

impl ResolvConf {
    /// Reads a file. Of several `search` and `domain` lines the last counts, as for the C library.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines().map(str::trim) {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                None => {}
                Some(comment) if comment.starts_with(['#', ';']) => {}
                Some("nameserver") => conf.servers.extend(words.next()),
                Some("domain" | "search") => conf.search = words.collect(),
                Some("options") => conf.options.extend(words),
                Some(_) => conf.other.push(line.to_owned()),
            }
        }
        conf
    }

    /// The name servers, as they are written.
    pub fn servers(&self) -> &[String] {
        &self.servers
    }

    /// The file of a container whose name server is the engine's. A name without a dot is asked as it is first of all:
    /// it is that of a container (`ndots`, resolv.conf(5)).
    #[must_use]
    pub fn behind(self, server: IpAddr, overrides: Overrides<'_>) -> Self {
        let mut conf = self.with(overrides);
        conf.servers = vec![server.to_string()];
        if !conf.options.iter().any(|option| option.starts_with("ndots:")) {
            conf.options.push("ndots:0".to_owned());
        }
        conf
    }

    /// The file of a container on a bridge.
    pub fn on_bridge(self, overrides: Overrides<'_>, ipv6: Ipv6) -> Self {
        let mut conf = self.with(overrides);
        // A server that a client names is the client's choice, whatever its address.
        if overrides.servers.is_empty() {
            conf.servers.retain(|server| is_reachable(server, ipv6));
            if conf.servers.is_empty() {
                let v6 = DEFAULT_SERVERS_V6.iter().filter(|_| ipv6 == Ipv6::Present);
                conf.servers = DEFAULT_SERVERS_V4.iter().chain(v6).map(IpAddr::to_string).collect();
            }
        }
        conf
    }

    /// The file of a container in the host's network namespace, where every server of the host is reached.
    #[must_use]
    pub fn with(mut self, overrides: Overrides<'_>) -> Self {
        if !overrides.servers.is_empty() {
            self.servers = overrides.servers.iter().map(IpAddr::to_string).collect();
        }
        if !overrides.search.is_empty() {
            self.search = overrides.search.to_vec();
        }
        if self.search == ["."] {
            self.search.clear();
        }
        if !overrides.options.is_empty() {
            self.options = overrides.options.to_vec();
        }
        self
    }

    /// Its text.
    pub fn render(&self) -> String {
        let mut text = "# Written by Conex when the container was started.\n".to_owned();
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        for (word, list) in [("search", &self.search), ("options", &self.options)] {
            if !list.is_empty() {
                text.push_str(&format!("{word} {}\n", list.join(" ")));
            }
        }
        for line in &self.other {
            text.push_str(&format!("{line}\n"));
        }
        text
    }
}

/// Of the host's file and the one that systemd-resolved keeps with the real servers, the one that says more to a
/// container: the latter where the former names the stub only.
pub fn choose_source<'a>(host: &'a str, resolved: Option<&'a str>) -> &'a str {
    let servers = ResolvConf::parse(host).servers;
    let stub_only = servers.len() == 1 && servers[0].parse() == Ok(RESOLVED_STUB);
    resolved.filter(|_| stub_only).unwrap_or(host)
}

fn is_reachable(server: &str, ipv6: Ipv6) -> bool {
    // An address with a zone (`fe80::1%eth0`) names an interface of the host.
    match server.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => false,
        Ok(address) => address.is_ipv4() || ipv6 == Ipv6::Present,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "# Written by Conex when the container was started.\n";

    fn on_bridge(host: &str, overrides: Overrides<'_>) -> String {
        let text = ResolvConf::parse(host).on_bridge(overrides, Ipv6::Absent).render();
        text.strip_prefix(HEADER).unwrap().to_owned()
    }

    #[test]
    fn servers_that_a_container_cannot_reach_are_left_out() {
        let host = "# by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver ::1\nnameserver fd00::2\n\
            nameserver fe80::1%eth0\nsearch a.example b.example\noptions edns0  trust-ad\noptions ndots:2\n";
        let expected = "nameserver 10.0.0.2\nsearch a.example b.example\noptions edns0 trust-ad ndots:2\n";
        assert_eq!(on_bridge(host, Overrides::default()), expected);
        let with_v6 = ResolvConf::parse(host)
            .on_bridge(Overrides::default(), Ipv6::Present)
            .render();
        assert!(with_v6.contains("nameserver fd00::2\n") && !with_v6.contains("::1\n"));
    }

    #[test]
    fn public_servers_stand_in_where_none_is_left() {
        assert_eq!(
            on_bridge("nameserver 127.0.0.1\n", Overrides::default()),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
        assert_eq!(
            on_bridge("", Overrides::default()),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
    }

    #[test]
    fn what_a_client_says_stands_in_place_of_the_hosts() {
        let servers = ["127.0.0.1".parse().unwrap(), "9.9.9.9".parse().unwrap()];
        let (search, options) = (["x.example".to_owned()], ["ndots:5".to_owned()]);
        let overrides = Overrides {
            servers: &servers,
            search: &search,
            options: &options,
        };
        let host = "nameserver 10.0.0.2\nsearch a.example\noptions edns0\nsortlist 10.0.0.0\n";
        let expected =
            "nameserver 127.0.0.1\nnameserver 9.9.9.9\nsearch x.example\noptions ndots:5\nsortlist 10.0.0.0\n";
        assert_eq!(on_bridge(host, overrides), expected);
    }

    #[test]
    fn behind_the_engines_server_names_without_dots_go_first() {
        let host = "nameserver 10.0.0.2\nsearch a.example\noptions edns0\n";
        let behind = |overrides| {
            let server = "127.0.0.11".parse().unwrap();
            let text = ResolvConf::parse(host).behind(server, overrides).render();
            text.strip_prefix(HEADER).unwrap().to_owned()
        };
        assert_eq!(
            behind(Overrides::default()),
            "nameserver 127.0.0.11\nsearch a.example\noptions edns0 ndots:0\n"
        );
        let options = ["ndots:3".to_owned()];
        let overrides = Overrides {
            options: &options,
            ..Overrides::default()
        };
        assert!(behind(overrides).ends_with("options ndots:3\n"));
    }

    #[test]
    fn a_dot_searches_nothing() {
        let search = [".".to_owned()];
        let overrides = Overrides {
            search: &search,
            ..Overrides::default()
        };
        assert_eq!(
            on_bridge("nameserver 10.0.0.2\nsearch a.example\n", overrides),
            "nameserver 10.0.0.2\n"
        );
    }

    #[test]
    fn the_last_of_search_and_domain_counts() {
        let host = "nameserver 10.0.0.2\nsearch a.example\ndomain b.example\n";
        assert_eq!(
            on_bridge(host, Overrides::default()),
            "nameserver 10.0.0.2\nsearch b.example\n"
        );
    }

    #[test]
    fn the_hosts_network_keeps_its_loopback_server() {
        let text = ResolvConf::parse("nameserver 127.0.0.53\n")
            .with(Overrides::default())
            .render();
        assert_eq!(text, format!("{HEADER}nameserver 127.0.0.53\n"));
    }

    #[test]
    fn the_file_of_systemd_resolved_is_taken_where_the_hosts_names_the_stub_only() {
        let real = "nameserver 10.0.0.2\n";
        assert_eq!(choose_source("nameserver 127.0.0.53\n", Some(real)), real);
        assert_eq!(
            choose_source("nameserver 127.0.0.53\n", None),
            "nameserver 127.0.0.53\n"
        );
        let two = "nameserver 127.0.0.53\nnameserver 10.0.0.3\n";
        assert_eq!(choose_source(two, Some(real)), two);
    }
}
