//! How registries are reached, as `info` tells it.

use std::collections::BTreeMap;

use conex_api_types as api;
use conex_network::Subnet;

use crate::settings::Settings;

/// Networks whose registries are asked without TLS, whatever else is configured: the loopback's.
const ALWAYS_INSECURE: [&str; 2] = ["::1/128", "127.0.0.0/8"];

/// The registry that names without a domain mean.
const HUB: &str = "docker.io";

pub(super) fn configured(settings: &Settings) -> api::RegistryConfig {
    let mirrors: Vec<String> = settings
        .registry_mirrors
        .iter()
        .map(|mirror| format!("{}/", mirror.trim_end_matches('/')))
        .collect();
    let mut networks = Vec::new();
    let mut registries = BTreeMap::new();
    for insecure in &settings.insecure_registries {
        // Written with a scheme by some, though it is none of the name.
        let name = ["http://", "https://"]
            .iter()
            .find_map(|scheme| insecure.strip_prefix(scheme));
        let name = name.unwrap_or(insecure);
        match name.parse::<Subnet>() {
            Ok(subnet) => networks.push(subnet.to_string()),
            Err(_) => drop(registries.insert(name.to_owned(), index(name, Vec::new(), false))),
        }
    }
    networks.extend(ALWAYS_INSECURE.map(String::from));
    registries.insert(HUB.to_owned(), index(HUB, mirrors.clone(), true));
    api::RegistryConfig {
        insecure_registry_cidrs: networks,
        index_configs: registries,
        mirrors: Some(mirrors).filter(|mirrors| !mirrors.is_empty()),
        ..api::RegistryConfig::default()
    }
}

fn index(name: &str, mirrors: Vec<String>, secure: bool) -> api::IndexConfig {
    api::IndexConfig {
        name: name.to_owned(),
        mirrors,
        secure,
        official: name == HUB,
    }
}
