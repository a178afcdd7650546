//! `version` and `info`.

use std::collections::BTreeMap;
use std::fs;

use conex_api_types as api;
use conex_spec::CgroupVersion;

use crate::engine::Engine;
use crate::error::Result;
use crate::volumes;

/// Highest and lowest version of the API.
const API_VERSION: &str = "1.51";
const MIN_API_VERSION: &str = "1.24";

/// Version of the engine.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Engine {
    /// Versions.
    pub fn version(&self) -> api::Version {
        let host = &self.inner.host;
        let details = [
            ("ApiVersion", API_VERSION),
            ("MinAPIVersion", MIN_API_VERSION),
            ("Os", "linux"),
            ("Arch", architecture()),
            ("KernelVersion", &host.kernel_release),
        ];
        let details = details.map(|(name, value)| (name.to_owned(), value.to_owned()));
        api::Version {
            platform: BTreeMap::from([("Name".to_owned(), "Conex Engine".to_owned())]),
            components: vec![api::ComponentVersion {
                name: "Engine".into(),
                version: VERSION.into(),
                details: BTreeMap::from(details),
            }],
            version: VERSION.into(),
            api_version: API_VERSION.into(),
            min_api_version: MIN_API_VERSION.into(),
            git_commit: String::new(),
            go_version: "rust".into(),
            os: "linux".into(),
            arch: architecture().into(),
            kernel_version: host.kernel_release.clone(),
            build_time: String::new(),
        }
    }

    /// The engine and its host.
    pub async fn info(&self) -> Result<api::SystemInfo> {
        let inner = &self.inner;
        let host = &inner.host;
        let containers = inner.containers.all();
        let states: Vec<&str> = containers.iter().map(|one| one.view().state.status()).collect();
        let in_state = |state: &str| states.iter().filter(|found| **found == state).count();
        let (running, paused) = (in_state("running"), in_state("paused"));
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let (distribution, os_version) = distribution();
        Ok(api::SystemInfo {
            id: inner.id.clone(),
            containers: count(containers.len()),
            containers_running: count(running),
            containers_paused: count(paused),
            containers_stopped: count(containers.len() - running - paused),
            images: count(inner.images.list().len()),
            driver: conex_snapshot::DRIVER.into(),
            driver_status: vec![["Supports d_type".into(), "true".into()]],
            plugins: plugins(),
            ipv4_forwarding: fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1"),
            debug: inner.settings.debug,
            n_fd: fs::read_dir("/proc/self/fd").map_or(-1, |entries| count(entries.count())),
            n_events_listener: count(inner.events.listeners()),
            n_goroutines: fs::read_dir("/proc/self/task").map_or(-1, |entries| count(entries.count())),
            system_time: jiff::Timestamp::now().to_string(),
            logging_driver: "json-file".into(),
            cgroup_driver: "cgroupfs".into(),
            cgroup_version: match host.facts.cgroups {
                CgroupVersion::V1 => "1".into(),
                CgroupVersion::V2 => "2".into(),
            },
            kernel_version: host.kernel_release.clone(),
            operating_system: distribution,
            os_version,
            os_type: "linux".into(),
            architecture: std::env::consts::ARCH.into(),
            index_server_address: "https://index.docker.io/v1/".into(),
            registry_config: registries(self),
            ncpu: count(host.cpus),
            mem_total: i64::try_from(host.memory).unwrap_or(i64::MAX),
            docker_root_dir: inner.settings.data_root.display().to_string(),
            name: host.name.clone(),
            server_version: VERSION.into(),
            runtimes: BTreeMap::from([(
                "conex".to_owned(),
                api::Runtime {
                    path: inner.settings.shim.display().to_string(),
                },
            )]),
            default_runtime: "conex".into(),
            swarm: serde_json::json!({ "LocalNodeState": "inactive", "NodeID": "", "NodeAddr": "", "ControlAvailable": false, "Error": "", "RemoteManagers": null }),
            live_restore_enabled: true,
            security_options: security_options(self),
            ..limits()
        })
    }
}

/// What the host can limit: the controllers that every supported kernel has.
fn limits() -> api::SystemInfo {
    api::SystemInfo {
        memory_limit: true,
        swap_limit: true,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: true,
        pids_limit: true,
        ..api::SystemInfo::default()
    }
}

fn registries(engine: &Engine) -> api::RegistryConfig {
    api::RegistryConfig {
        insecure_registry_cidrs: vec!["::1/128".into(), "127.0.0.0/8".into()],
        mirrors: engine.inner.settings.registry_mirrors.clone(),
        ..api::RegistryConfig::default()
    }
}

fn security_options(engine: &Engine) -> Vec<String> {
    let facts = &engine.inner.host.facts;
    let options = [
        (facts.seccomp, "name=seccomp,profile=builtin"),
        (facts.cgroups == CgroupVersion::V2, "name=cgroupns"),
    ];
    options
        .iter()
        .filter(|(present, _)| *present)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// The architecture as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn plugins() -> api::Plugins {
    api::Plugins {
        volume: vec![volumes::DRIVER.to_owned()],
        network: ["bridge", "host", "null"].map(String::from).to_vec(),
        log: ["json-file", "none"].map(String::from).to_vec(),
        ..api::Plugins::default()
    }
}

/// Name and version of the host's distribution (os-release(5)).
fn distribution() -> (String, String) {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map_or_else(String::new, |value| value.trim_matches('"').to_owned())
    };
    (value("PRETTY_NAME"), value("VERSION_ID"))
}
