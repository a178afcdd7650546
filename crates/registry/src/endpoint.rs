//! Where the repositories of a domain are found, in the order in which they are asked.
//!
//! ```text
//!   docker.io            the mirrors, then https://registry-1.docker.io
//!   any other            https, the peer verified
//!   an insecure one      https, the peer not verified; then http
//! ```
//!
//! Which domains are insecure is Docker's rule: those listed, and those with an address in a listed network or in a
//! loopback one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use conex_reference::DEFAULT_DOMAIN;
use hyper::Uri;
use tokio::sync::OnceCell;

use crate::challenge::Challenge;
use crate::config::{Cidr, ClientConfig, ConfigError};
use crate::transport::origin;

/// Where Docker Hub answers.
const DEFAULT_ENDPOINT: &str = "https://registry-1.docker.io";

/// One base URL of a registry.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Scheme, authority and perhaps a path, without a slash at the end.
    pub(crate) base: String,
    /// Host and port, as the names of images have them.
    pub(crate) authority: String,
    /// What it answered to `/v2/`, once it did: the challenges of a 401, none of a 200.
    pub(crate) challenges: OnceCell<Vec<Challenge>>,
}

impl Endpoint {
    fn new(base: &str) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        let authority = base
            .parse::<Uri>()
            .ok()
            .and_then(|uri| uri.authority().map(ToString::to_string));
        Self {
            authority: authority.unwrap_or_default(),
            base,
            challenges: OnceCell::new(),
        }
    }

    /// The URL of a path below `/v2/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/v2/{path}", self.base)
    }

    /// Whether a URL is of the same server.
    pub(crate) fn owns(&self, url: &str) -> bool {
        let origin = |url: &str| url.parse::<Uri>().map(|uri| origin(&uri)).ok();
        origin(&self.base) == origin(url)
    }
}

/// Which registries may go unverified and unencrypted.
#[derive(Debug)]
pub(crate) struct InsecureRule {
    names: Vec<String>,
    networks: Vec<Cidr>,
}

impl InsecureRule {
    pub(crate) fn new(entries: &[String]) -> Result<Self, ConfigError> {
        let mut rule = Self {
            names: Vec::new(),
            networks: vec![
                Cidr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8),
                Cidr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
            ],
        };
        for entry in entries {
            let refuse = |reason: &str| ConfigError::Insecure {
                entry: entry.clone(),
                reason: reason.to_owned(),
            };
            if entry.contains("://") {
                return Err(refuse("it should be HOST:PORT or a CIDR, without a scheme"));
            }
            if let Some(network) = Cidr::parse(entry) {
                rule.networks.push(network);
            } else if entry.is_empty() || entry.contains('/') {
                return Err(refuse("it should be HOST:PORT or a CIDR"));
            } else {
                rule.names.push(entry.to_lowercase());
            }
        }
        Ok(rule)
    }

    /// Whether this authority (`host[:port]`) is insecure; names are resolved, as their addresses count too.
    pub(crate) async fn applies_to(&self, authority: &str) -> bool {
        let authority = authority.to_lowercase();
        let host = host_of(&authority);
        if self.names.iter().any(|name| *name == authority || *name == host) {
            return true;
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.covers(address);
        }
        match tokio::net::lookup_host((host, 0)).await {
            Ok(mut addresses) => addresses.any(|address| self.covers(address.ip())),
            Err(_) => false, // Who cannot be resolved here may still be by a proxy, and is verified.
        }
    }

    fn covers(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

/// The host of `host[:port]`, without the brackets of an IPv6 address.
pub(crate) fn host_of(authority: &str) -> &str {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    authority.split_once(':').map_or(authority, |(host, _)| host)
}

/// The domain of a server as clients name it at a login: `https://index.docker.io/v1/`, `host:5000`, nothing for Docker Hub.
pub(crate) fn domain_of_server(address: &str) -> &str {
    let address = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .unwrap_or(address);
    match address.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// Docker's checks of `registry-mirrors`.
pub(crate) fn check_mirrors(mirrors: &[String]) -> Result<(), ConfigError> {
    for mirror in mirrors {
        let refuse = |reason: &str| ConfigError::Mirror {
            mirror: mirror.clone(),
            reason: reason.to_owned(),
        };
        let uri: Uri = mirror.parse().map_err(|_| refuse("it cannot be parsed"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(refuse("unsupported scheme"));
        }
        let Some(authority) = uri.authority() else {
            return Err(refuse("no host"));
        };
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(refuse("query and user are not supported"));
        }
    }
    Ok(())
}

/// The endpoints of a domain.
pub(crate) async fn endpoints(domain: &str, config: &ClientConfig, rule: &InsecureRule) -> Vec<Endpoint> {
    if domain == DEFAULT_DOMAIN {
        let mirrors = config.mirrors.iter().map(String::as_str);
        return mirrors.chain([DEFAULT_ENDPOINT]).map(Endpoint::new).collect();
    }
    let mut endpoints = vec![Endpoint::new(&format!("https://{domain}"))];
    if rule.applies_to(domain).await {
        endpoints.push(Endpoint::new(&format!("http://{domain}")));
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bases(domain: &str, config: &ClientConfig) -> Vec<String> {
        let rule = InsecureRule::new(&config.insecure).unwrap();
        endpoints(domain, config, &rule)
            .await
            .into_iter()
            .map(|endpoint| endpoint.base)
            .collect()
    }

    #[test]
    fn servers_are_told_by_their_hosts() {
        for (address, domain) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry.example:5000", "registry.example:5000"),
            ("http://registry.example/v2/", "registry.example"),
        ] {
            assert_eq!(domain_of_server(address), domain, "{address}");
        }
    }

    #[tokio::test]
    async fn mirrors_come_before_docker_hub_and_serve_nobody_else() {
        let mirrors = vec!["http://mirror.example:5000/hub/".to_owned()];
        let config = ClientConfig {
            mirrors,
            ..ClientConfig::default()
        };
        let expected = ["http://mirror.example:5000/hub", "https://registry-1.docker.io"];
        assert_eq!(bases("docker.io", &config).await, expected);
        assert_eq!(bases("192.0.2.1", &config).await, ["https://192.0.2.1"]);
    }

    #[tokio::test]
    async fn only_insecure_registries_fall_back_to_http() {
        let insecure = ["10.0.0.0/8", "Reg.Example:5000", "192.0.2.7"]
            .map(str::to_owned)
            .to_vec();
        let rule = InsecureRule::new(&insecure).unwrap();
        for yes in [
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:5000",
            "10.1.2.3:80",
            "reg.example:5000",
            "192.0.2.7:99",
        ] {
            assert!(rule.applies_to(yes).await, "{yes}");
        }
        for no in ["192.0.2.1:5000", "11.0.0.1", "reg.invalid:5001", "[2001:db8::1]"] {
            assert!(!rule.applies_to(no).await, "{no}");
        }
        let config = ClientConfig {
            insecure,
            ..ClientConfig::default()
        };
        assert_eq!(
            bases("10.1.2.3:80", &config).await,
            ["https://10.1.2.3:80", "http://10.1.2.3:80"]
        );
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        for entry in ["http://a", "a/b", "10.0.0.0/33", ""] {
            assert!(InsecureRule::new(&[entry.to_owned()]).is_err(), "{entry}");
        }
        for mirror in ["mirror.example", "ftp://a", "https://user@a", "https://a?b"] {
            assert!(check_mirrors(&[mirror.to_owned()]).is_err(), "{mirror}");
        }
        assert!(check_mirrors(&["https://a:1/b".to_owned()]).is_ok());
    }
}
