//! `version` and `info`.

mod facts;
mod registries;

use std::collections::BTreeMap;
use std::fs;

use conex_api_types as api;
use conex_spec::{CgroupVersion, LimitFacts};

use crate::engine::{Engine, proxy};
use crate::error::Result;
use crate::volumes;

/// Highest and lowest version of the API.
const API_VERSION: &str = "1.51";
const MIN_API_VERSION: &str = "1.24";

/// Version of the engine.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Clients print it as the version of Go.
const COMPILER: &str = "rust";

/// In the place of the commit of a program that there is none of.
const NOT_AVAILABLE: &str = "N/A";

impl Engine {
    /// Versions.
    pub fn version(&self) -> api::Version {
        let host = &self.inner.host;
        let build = &self.inner.settings.build;
        let details = [
            ("ApiVersion", API_VERSION),
            ("MinAPIVersion", MIN_API_VERSION),
            ("Os", "linux"),
            ("Arch", architecture()),
            ("KernelVersion", &host.kernel_release),
            ("GoVersion", COMPILER),
            ("GitCommit", &build.commit),
            ("BuildTime", &build.time),
            ("Experimental", "false"),
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
            git_commit: build.commit.clone(),
            go_version: COMPILER.into(),
            os: "linux".into(),
            arch: architecture().into(),
            kernel_version: host.kernel_release.clone(),
            build_time: build.time.clone(),
        }
    }

    /// The engine and its host.
    pub async fn info(&self) -> Result<api::SystemInfo> {
        let inner = &self.inner;
        let host = &inner.host;
        let (distribution, os_version) = facts::distribution();
        let forwards = facts::forwards();
        Ok(api::SystemInfo {
            id: inner.id.clone(),
            driver: inner.snapshots.driver().name().into(),
            driver_status: facts::storage(inner.snapshots.driver(), &inner.settings.data_root),
            plugins: plugins(),
            ipv4_forwarding: forwards,
            debug: inner.settings.debug,
            n_fd: fs::read_dir("/proc/self/fd").map_or(-1, |entries| count(entries.count())),
            n_events_listener: count(inner.events.listeners()),
            n_goroutines: fs::read_dir("/proc/self/task").map_or(-1, |entries| count(entries.count())),
            system_time: jiff::Timestamp::now().to_string(),
            logging_driver: inner.settings.log.kind.clone(),
            cgroup_driver: inner.settings.cgroups.driver().into(),
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
            registry_config: registries::configured(&inner.settings),
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
            live_restore_enabled: inner.settings.live_restore,
            security_options: security_options(self),
            firewall_backend: Some(api::FirewallBackend {
                driver: "nftables".into(),
            }),
            warnings: facts::warnings(&host.limits, forwards),
            ..self.circumstances()
        })
    }

    /// What the engine has, and with what it works together.
    fn circumstances(&self) -> api::SystemInfo {
        let inner = &self.inner;
        let containers = inner.containers.all();
        let states: Vec<&str> = containers.iter().map(|one| one.view().state.status()).collect();
        let in_state = |state: &str| states.iter().filter(|found| **found == state).count();
        let (running, paused) = (in_state("running"), in_state("paused"));
        let commit = |id: &str| api::Commit {
            id: id.to_owned(),
            expected: None,
        };
        let own = Some(inner.settings.build.commit.as_str()).filter(|commit| !commit.is_empty());
        api::SystemInfo {
            containers: count(containers.len()),
            containers_running: count(running),
            containers_paused: count(paused),
            containers_stopped: count(containers.len() - running - paused),
            images: count(inner.images.list().len()),
            http_proxy: facts::masked(&proxy("HTTP_PROXY").unwrap_or_default()),
            https_proxy: facts::masked(&proxy("HTTPS_PROXY").unwrap_or_default()),
            no_proxy: proxy("NO_PROXY").unwrap_or_default(),
            // Runtime and init are of the engine's commit; there is no containerd.
            runc_commit: commit(own.unwrap_or(NOT_AVAILABLE)),
            containerd_commit: commit(NOT_AVAILABLE),
            init_binary: "conex-init".to_owned(),
            init_commit: commit(own.unwrap_or(NOT_AVAILABLE)),
            ..limits(&inner.host.limits)
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What the host can limit.
fn limits(limits: &LimitFacts) -> api::SystemInfo {
    api::SystemInfo {
        memory_limit: limits.memory,
        swap_limit: limits.swap,
        cpu_cfs_period: limits.cpu_period,
        cpu_cfs_quota: limits.cpu_quota,
        cpu_shares: limits.cpu_shares,
        cpu_set: limits.cpuset,
        pids_limit: limits.pids,
        oom_kill_disable: limits.oom_kill_disable,
        ..api::SystemInfo::default()
    }
}

fn security_options(engine: &Engine) -> Vec<String> {
    let facts = &engine.inner.host.facts;
    let remaps = engine.inner.settings.user_map.is_some();
    let options = [
        (engine.inner.apparmor.confines_by_default(), "name=apparmor"),
        (facts.seccomp, "name=seccomp,profile=builtin"),
        (engine.inner.selinux.is_enabled(), "name=selinux"),
        (remaps, "name=userns"),
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
        log: [
            "fluentd",
            "gelf",
            "journald",
            "json-file",
            "local",
            "none",
            "splunk",
            "syslog",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..api::Plugins::default()
    }
}
