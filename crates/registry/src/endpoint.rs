//! Where the repositories of a domain are found, in the order in which they are asked.
//!
//! ```text
//!   the hosts of its hosts.toml
//!   of docker.io: the mirrors of daemon.json
//!   the server of its hosts.toml, else the registry itself:
//!     docker.io            https://registry-1.docker.io
//!     any other            https, the peer verified
//!     an insecure one      https, the peer not verified; then http
//! ```
//!
//! The client's credentials are for the registry itself and for nobody who stands in for it.
//!
//! Which domains are insecure is Docker's rule: those listed, and those with an address in a listed network or in a
//! loopback one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use conex_reference::{DEFAULT_DOMAIN, Reference};
use hyper::header::HeaderMap;
use hyper::{Method, Uri};
use tokio::sync::OnceCell;

use crate::challenge::Challenge;
use crate::config::{Cidr, ClientConfig, ConfigError};
use crate::hosts::{self, Capability, Host, Hosts, HostsError, Peer, Rewrite, Server, rewritten};
use crate::token::encode;
use crate::transport::{Outgoing, origin};

/// Where Docker Hub answers.
const DEFAULT_ENDPOINT: &str = "https://registry-1.docker.io";

/// The hosts that are Docker Hub.
const DEFAULT_HOSTS: [&str; 3] = ["registry-1.docker.io", "index.docker.io", "docker.io"];

/// How long one that did not answer is left out where another answers.
const FORGIVEN: Duration = Duration::from_secs(30);

/// Whom the client's credentials are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The registry that the name of an image names.
    Registry,
    /// Somebody in its place.
    Mirror,
}

/// One API of a registry.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The URL of `/v2`, without a slash at the end.
    api: String,
    /// Host and port, as the names of images have them.
    pub(crate) authority: String,
    /// What it answered to `/v2/`, once it did: the challenges of a 401, none of a 200.
    pub(crate) challenges: OnceCell<Vec<Challenge>>,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) standing: Standing,
    /// Plain http of the one before, which is no alternative where that one answered.
    pub(crate) is_fallback: bool,
    /// Whether nobody else is asked after it.
    pub(crate) is_last: bool,
    /// What it gets to see with every request.
    pub(crate) headers: HeaderMap,
    rewrites: Vec<Rewrite>,
    /// What it is to know of the registry that it stands in for.
    namespace: Option<String>,
    /// When it did not answer.
    failed: Mutex<Option<Instant>>,
}

impl Endpoint {
    fn new(api: &str, domain: &str) -> Self {
        let api = api.trim_end_matches('/').to_owned();
        let uri = api.parse::<Uri>().unwrap_or_default();
        let is_registry = is_registry(domain, &uri);
        Self {
            authority: uri.authority().map(ToString::to_string).unwrap_or_default(),
            api,
            challenges: OnceCell::new(),
            capabilities: Capability::ALL.to_vec(),
            standing: if is_registry {
                Standing::Registry
            } else {
                Standing::Mirror
            },
            is_fallback: false,
            is_last: false,
            headers: HeaderMap::new(),
            rewrites: Vec::new(),
            namespace: None,
            failed: Mutex::default(),
        }
    }

    /// A mirror of Docker Hub, as `daemon.json` has them.
    fn mirror(base: &str, domain: &str) -> Self {
        Self {
            capabilities: vec![Capability::Pull, Capability::Resolve],
            ..Self::new(&format!("{}/v2", base.trim_end_matches('/')), domain)
        }
    }

    /// One of `hosts.toml`.
    fn of_host(host: Host, domain: &str) -> Self {
        let endpoint = Self::new(&host.api, domain);
        // A mirror of many registries tells by it which one is meant (distribution specification, "Registry Proxying").
        let namespace = (endpoint.standing == Standing::Mirror).then(|| domain.to_owned());
        Self {
            namespace,
            ..endpoint.described(host)
        }
    }

    fn described(self, host: Host) -> Self {
        Self {
            capabilities: host.capabilities,
            headers: host.headers,
            rewrites: host.rewrites,
            ..self
        }
    }

    /// The URL that tells whether somebody is there.
    pub(crate) fn root(&self) -> String {
        format!("{}/", self.api)
    }

    /// The path of a repository, by its path in the registry's name of it.
    pub(crate) fn path(&self, repository: &str) -> String {
        rewritten(&self.rewrites, repository)
    }

    /// The URL of something in a repository.
    pub(crate) fn url(&self, repository: &Reference, rest: &str) -> String {
        let url = format!("{}/{}/{rest}", self.api, self.path(repository.path()));
        match &self.namespace {
            Some(namespace) => {
                let separator = if url.contains('?') { '&' } else { '?' };
                format!("{url}{separator}ns={}", encode(namespace))
            }
            None => url,
        }
    }

    /// A request to it. A URL of somebody else's is asked for without what only this one is to see.
    pub(crate) fn ask(&self, method: Method, url: String) -> Outgoing {
        let own = if self.owns(&url) {
            self.headers.clone()
        } else {
            HeaderMap::new()
        };
        Outgoing {
            own,
            ..Outgoing::new(method, url)
        }
    }

    /// Whether a URL is of the same server.
    pub(crate) fn owns(&self, url: &str) -> bool {
        let origin = |url: &str| url.parse::<Uri>().map(|uri| origin(&uri)).ok();
        origin(&self.api) == origin(url)
    }

    /// Takes down that it did not answer just now.
    pub(crate) fn fail(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it did not answer a moment ago.
    pub(crate) fn has_failed(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed.elapsed() < FORGIVEN)
    }
}

/// Whether a URL is of the registry that names of images call so.
fn is_registry(domain: &str, uri: &Uri) -> bool {
    let (_, host, port) = origin(uri);
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    if domain == DEFAULT_DOMAIN {
        return DEFAULT_HOSTS.contains(&host.as_str()) && port == default;
    }
    let Ok(named) = format!("https://{domain}").parse::<Uri>() else {
        return false;
    };
    named.host().is_some_and(|name| name.eq_ignore_ascii_case(&host)) && named.port_u16().unwrap_or(default) == port
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

/// Who is asked for a domain, and how those are connected to of whom something is said, by their authorities.
pub(crate) struct Found {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) peers: Vec<(String, Peer)>,
}

/// The endpoints of a domain.
pub(crate) async fn endpoints(domain: &str, config: &ClientConfig, rule: &InsecureRule) -> Result<Found, HostsError> {
    let (roots, host) = (config.certificates.clone(), domain.to_owned());
    let loaded = tokio::task::spawn_blocking(move || hosts::load(&roots, &host));
    let hosts = loaded.await.unwrap_or(Ok(None))?;
    let mut found = Found {
        endpoints: Vec::new(),
        peers: Vec::new(),
    };
    let (hosts, server) = match hosts {
        Some(Hosts { hosts, server }) => (hosts, Some(server)),
        None => (Vec::new(), None),
    };
    for host in hosts {
        found.add(host, domain);
    }
    if domain == DEFAULT_DOMAIN {
        let mirrors = config.mirrors.iter().map(|base| Endpoint::mirror(base, domain));
        found.endpoints.extend(mirrors);
    }
    let before = found.endpoints.len();
    match server {
        Some(Server::Named(host)) => found.add(host, domain),
        Some(Server::Registry(host)) => {
            for endpoint in registry(domain, rule).await {
                found.peers.push((endpoint.authority.clone(), host.peer.clone()));
                found.endpoints.push(endpoint.described(host.clone()));
            }
        }
        None => found.endpoints.extend(registry(domain, rule).await),
    }
    found.endpoints[before..]
        .iter_mut()
        .for_each(|last| last.is_last = true);
    Ok(found)
}

impl Found {
    fn add(&mut self, host: Host, domain: &str) {
        let peer = host.peer.clone();
        let endpoint = Endpoint::of_host(host, domain);
        self.peers.push((endpoint.authority.clone(), peer));
        self.endpoints.push(endpoint);
    }
}

/// The registry itself.
async fn registry(domain: &str, rule: &InsecureRule) -> Vec<Endpoint> {
    if domain == DEFAULT_DOMAIN {
        return vec![Endpoint::new(&format!("{DEFAULT_ENDPOINT}/v2"), domain)];
    }
    let mut endpoints = vec![Endpoint::new(&format!("https://{domain}/v2"), domain)];
    if rule.applies_to(domain).await {
        endpoints.push(Endpoint {
            is_fallback: true,
            ..Endpoint::new(&format!("http://{domain}/v2"), domain)
        });
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bases(domain: &str, config: &ClientConfig) -> Vec<String> {
        let rule = InsecureRule::new(&config.insecure).unwrap();
        let found = endpoints(domain, config, &rule).await.unwrap();
        found.endpoints.into_iter().map(|endpoint| endpoint.api).collect()
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
        let expected = ["http://mirror.example:5000/hub/v2", "https://registry-1.docker.io/v2"];
        assert_eq!(bases("docker.io", &config).await, expected);
        assert_eq!(bases("192.0.2.1", &config).await, ["https://192.0.2.1/v2"]);
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
            ["https://10.1.2.3:80/v2", "http://10.1.2.3:80/v2"]
        );
    }

    #[tokio::test]
    async fn hosts_come_before_mirrors_and_the_registry_last() {
        let dir = tempfile::tempdir().unwrap();
        let write = |host: &str, text: &str| {
            std::fs::create_dir_all(dir.path().join(host)).unwrap();
            std::fs::write(dir.path().join(host).join("hosts.toml"), text).unwrap();
        };
        write(
            "_default",
            "[host.\"https://all.example\"]\n[host.\"https://10.1.2.3:80\"]",
        );
        write(
            "docker.io",
            "server = \"https://index.docker.io\"\n[host.\"http://hub.example\"]\nskip_verify = true",
        );
        let config = ClientConfig {
            mirrors: vec!["http://mirror.example".to_owned()],
            insecure: vec!["10.0.0.0/8".to_owned()],
            certificates: vec![dir.path().to_owned()],
            ..ClientConfig::default()
        };
        let expected = [
            "http://hub.example/v2",
            "http://mirror.example/v2",
            "https://index.docker.io/v2",
        ];
        assert_eq!(bases("docker.io", &config).await, expected);
        let expected = [
            "https://all.example/v2",
            "https://10.1.2.3:80/v2",
            "https://10.1.2.3:80/v2",
            "http://10.1.2.3:80/v2",
        ];
        assert_eq!(bases("10.1.2.3:80", &config).await, expected);
        let rule = InsecureRule::new(&config.insecure).unwrap();
        let reference = Reference::parse("10.1.2.3:80/a").unwrap();
        let found = endpoints("10.1.2.3:80", &config, &rule).await.unwrap();
        let urls: Vec<String> = found.endpoints.iter().map(|one| one.url(&reference, "x")).collect();
        assert_eq!(urls[0], "https://all.example/v2/a/x?ns=10.1.2.3%3A80");
        assert_eq!(urls[1], "https://10.1.2.3:80/v2/a/x");
        assert_eq!(found.peers.len(), 4);
    }

    #[test]
    fn credentials_are_for_the_registry_alone() {
        for (domain, url, expected) in [
            ("docker.io", "https://registry-1.docker.io/v2", true),
            ("docker.io", "https://registry-1.docker.io:444/v2", false),
            ("docker.io", "https://mirror.example/v2", false),
            ("reg.example", "https://reg.example/v2", true),
            ("reg.example", "https://REG.example:443/proxy/v2", true),
            ("reg.example", "https://reg.example:5000/v2", false),
            ("reg.example:5000", "http://reg.example:5000/v2", true),
            ("reg.example:5000", "https://reg.example/v2", false),
            ("reg.example", "https://reg.example.evil/v2", false),
        ] {
            assert_eq!(is_registry(domain, &url.parse().unwrap()), expected, "{domain} {url}");
        }
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
