//! `daemon.json`, with Docker's keys and rules: an unknown key, or one that a flag names as well, refuses the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::options::Options;

/// Where the file is looked for when no flag names one.
const DEFAULT_FILES: [&str; 2] = ["/etc/conex/daemon.json", "/etc/docker/daemon.json"];

/// Keys of Docker's that this daemon knows but does not act upon yet; they are refused by name, not ignored.
const NOT_YET: &[&str] = &[
    "allow-nondistributable-artifacts",
    "api-cors-header",
    "authorization-plugins",
    "bridge-accept-fwmark",
    "builder",
    "cdi-spec-dirs",
    "containerd",
    "containerd-namespace",
    "containerd-plugin-namespace",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "default-address-pools",
    "default-gateway",
    "default-gateway-v6",
    "default-network-opts",
    "default-runtime",
    "default-shm-size",
    "default-ulimits",
    "dns",
    "dns-opts",
    "dns-search",
    "experimental",
    "features",
    "firewall-backend",
    "fixed-cidr",
    "fixed-cidr-v6",
    "host-gateway-ip",
    "host-gateway-ips",
    "http-proxy",
    "https-proxy",
    "icc",
    "init-path",
    "ip",
    "ip-forward",
    "ip-forward-no-drop",
    "ip-masq",
    "ip6tables",
    "iptables",
    "ipv6",
    "labels",
    "log-format",
    "log-level",
    "metrics-addr",
    "min-api-version",
    "mtu",
    "network-control-plane-mtu",
    "no-new-privileges",
    "no-proxy",
    "node-generic-resources",
    "oom-score-adjust",
    "proxies",
    "raw-logs",
    "runtimes",
    "seccomp-profile",
];

/// The keys that this daemon acts upon: the fields of `File`.
const HONOURED: [&str; 35] = [
    "data-root",
    "exec-root",
    "hosts",
    "pidfile",
    "debug",
    "group",
    "exec-opts",
    "cgroup-parent",
    "default-ipc-mode",
    "default-cgroupns-mode",
    "bridge",
    "bip",
    "insecure-registries",
    "registry-mirrors",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "max-layer-size",
    "max-layer-entries",
    "max-layer-ratio",
    "content-keep",
    "health-on-failure",
    "log-driver",
    "log-opts",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "default-shm-size",
    "default-ulimits",
    "init",
    "selinux-enabled",
    "live-restore",
    "shutdown-timeout",
    "storage-driver",
    "storage-opts",
    "userns-remap",
];

/// A size in bytes, or with a unit.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

/// As Docker's file has it; the name stands before it already.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FileUlimit {
    soft: i64,
    hard: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    hosts: Vec<String>,
    pidfile: Option<PathBuf>,
    debug: Option<bool>,
    group: Option<String>,
    exec_opts: Vec<String>,
    cgroup_parent: Option<String>,
    default_ipc_mode: Option<String>,
    default_cgroupns_mode: Option<String>,
    bridge: Option<String>,
    bip: Option<String>,
    insecure_registries: Vec<String>,
    registry_mirrors: Vec<String>,
    max_concurrent_downloads: Option<i64>,
    max_concurrent_uploads: Option<i64>,
    max_download_attempts: Option<i64>,
    max_layer_size: Option<String>,
    max_layer_entries: Option<i64>,
    max_layer_ratio: Option<i64>,
    content_keep: Option<String>,
    health_on_failure: Option<String>,
    log_driver: Option<String>,
    log_opts: BTreeMap<String, String>,
    cpu_rt_period: Option<u64>,
    cpu_rt_runtime: Option<u64>,
    default_shm_size: Option<Size>,
    default_ulimits: BTreeMap<String, FileUlimit>,
    init: Option<bool>,
    selinux_enabled: Option<bool>,
    live_restore: Option<bool>,
    shutdown_timeout: Option<i64>,
    storage_driver: Option<String>,
    storage_opts: Vec<String>,
    userns_remap: Option<String>,
}

/// Reads the file, if there is one, and fills what the flags leave open.
pub(crate) fn merge(mut options: Options) -> Result<Options> {
    let Some(path) = find(&options)? else {
        return Ok(options);
    };
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let wrong = || format!("unable to configure the Docker daemon with file {}", path.display());
    let keys = keys(&text).with_context(wrong)?;
    let file: File = serde_json::from_str(&text).with_context(wrong)?;
    refuse_conflicts(&options, &keys).with_context(wrong)?;
    fill(&mut options, file);
    Ok(options)
}

fn find(options: &Options) -> Result<Option<PathBuf>> {
    if let Some(path) = &options.config_file {
        if !path.exists() {
            bail!(
                "unable to configure the Docker daemon with file {0}: open {0}: no such file or directory",
                path.display()
            );
        }
        return Ok(Some(path.clone()));
    }
    Ok(DEFAULT_FILES
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .map(Path::to_path_buf))
}

/// Reads the keys and refuses unknown ones, and known ones that are not acted upon.
fn keys(text: &str) -> Result<Vec<String>> {
    if text.trim().is_empty() {
        return Ok(vec![]);
    }
    let values: BTreeMap<String, Value> = serde_json::from_str(text)?;
    let unknown: Vec<&str> = values
        .keys()
        .map(String::as_str)
        .filter(|key| !HONOURED.contains(key) && !NOT_YET.contains(key))
        .collect();
    if !unknown.is_empty() {
        bail!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        );
    }
    if let Some(key) = values.keys().find(|key| NOT_YET.contains(&key.as_str())) {
        bail!("the directive {key:?} is not supported yet");
    }
    Ok(values.into_keys().collect())
}

fn refuse_conflicts(options: &Options, keys: &[String]) -> Result<()> {
    let flags = [
        ("data-root", options.data_root.is_some()),
        ("exec-root", options.exec_root.is_some()),
        ("hosts", !options.hosts.is_empty()),
        ("pidfile", options.pidfile.is_some()),
        ("debug", options.debug),
        ("group", options.group.is_some()),
        ("exec-opts", !options.exec_opts.is_empty()),
        ("cgroup-parent", options.cgroup_parent.is_some()),
        ("default-ipc-mode", options.default_ipc_mode.is_some()),
        ("default-cgroupns-mode", options.default_cgroupns_mode.is_some()),
        ("bridge", options.bridge.is_some()),
        ("bip", options.bip.is_some()),
        ("max-concurrent-downloads", options.max_concurrent_downloads.is_some()),
        ("max-concurrent-uploads", options.max_concurrent_uploads.is_some()),
        ("max-download-attempts", options.max_download_attempts.is_some()),
        ("max-layer-size", options.max_layer_size.is_some()),
        ("max-layer-entries", options.max_layer_entries.is_some()),
        ("max-layer-ratio", options.max_layer_ratio.is_some()),
        ("content-keep", options.content_keep.is_some()),
        ("health-on-failure", options.health_on_failure.is_some()),
        ("cpu-rt-period", options.cpu_rt_period.is_some()),
        ("cpu-rt-runtime", options.cpu_rt_runtime.is_some()),
        ("default-shm-size", options.default_shm_size.is_some()),
        ("default-ulimits", !options.default_ulimits.is_empty()),
        ("init", options.init),
        ("selinux-enabled", options.selinux_enabled),
        ("live-restore", options.live_restore.is_some()),
        ("shutdown-timeout", options.shutdown_timeout.is_some()),
        ("storage-driver", options.storage_driver.is_some()),
        ("storage-opts", !options.storage_opts.is_empty()),
        ("userns-remap", options.userns_remap.is_some()),
        ("log-driver", options.log_driver.is_some()),
        ("log-opts", !options.log_opts.is_empty()),
    ];
    let both: Vec<&str> = flags
        .iter()
        .filter(|(key, set)| *set && keys.iter().any(|k| k == key))
        .map(|(key, _)| *key)
        .collect();
    if both.is_empty() {
        return Ok(());
    }
    bail!(
        "the following directives are specified both as a flag and in the configuration file: {}",
        both.join(", ")
    );
}

fn fill(options: &mut Options, file: File) {
    options.data_root = options.data_root.take().or(file.data_root);
    options.exec_root = options.exec_root.take().or(file.exec_root);
    options.pidfile = options.pidfile.take().or(file.pidfile);
    options.group = options.group.take().or(file.group);
    options.exec_opts.extend(file.exec_opts);
    options.cgroup_parent = options.cgroup_parent.take().or(file.cgroup_parent);
    options.default_ipc_mode = options.default_ipc_mode.take().or(file.default_ipc_mode);
    options.default_cgroupns_mode = options.default_cgroupns_mode.take().or(file.default_cgroupns_mode);
    options.storage_driver = options.storage_driver.take().or(file.storage_driver);
    options.storage_opts.extend(file.storage_opts);
    options.userns_remap = options.userns_remap.take().or(file.userns_remap);
    options.bridge = options.bridge.take().or(file.bridge);
    options.bip = options.bip.take().or(file.bip);
    options.debug |= file.debug.unwrap_or(false);
    if options.hosts.is_empty() {
        options.hosts = file.hosts;
    }
    options.insecure_registries.extend(file.insecure_registries);
    options.registry_mirrors.extend(file.registry_mirrors);
    options.max_concurrent_downloads = options.max_concurrent_downloads.or(file.max_concurrent_downloads);
    options.max_concurrent_uploads = options.max_concurrent_uploads.or(file.max_concurrent_uploads);
    options.max_download_attempts = options.max_download_attempts.or(file.max_download_attempts);
    options.max_layer_size = options.max_layer_size.take().or(file.max_layer_size);
    options.max_layer_entries = options.max_layer_entries.or(file.max_layer_entries);
    options.max_layer_ratio = options.max_layer_ratio.or(file.max_layer_ratio);
    options.content_keep = options.content_keep.take().or(file.content_keep);
    options.cpu_rt_period = options.cpu_rt_period.or(file.cpu_rt_period);
    options.cpu_rt_runtime = options.cpu_rt_runtime.or(file.cpu_rt_runtime);
    let size = file.default_shm_size.map(|size| match size {
        Size::Bytes(bytes) => bytes.to_string(),
        Size::Text(text) => text,
    });
    options.default_shm_size = options.default_shm_size.take().or(size);
    let limits = file.default_ulimits.into_iter();
    options
        .default_ulimits
        .extend(limits.map(|(name, limit)| format!("{name}={}:{}", limit.soft, limit.hard)));
    options.init |= file.init.unwrap_or(false);
    options.selinux_enabled |= file.selinux_enabled.unwrap_or(false);
    options.live_restore = options.live_restore.or(file.live_restore);
    options.shutdown_timeout = options.shutdown_timeout.or(file.shutdown_timeout);
    options.log_driver = options.log_driver.take().or(file.log_driver);
    let log_opts = file.log_opts.iter().map(|(name, value)| format!("{name}={value}"));
    options.log_opts.extend(log_opts);
    options.health_on_failure = options.health_on_failure.take().or(file.health_on_failure);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn merged(flags: &[&str], json: &str) -> Result<Options> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), json)?;
        let path = file.path().display().to_string();
        let args = ["conexd", "--config-file", &path]
            .into_iter()
            .chain(flags.iter().copied());
        merge(Options::try_parse_from(args)?)
    }

    #[test]
    fn the_file_fills_what_the_flags_leave_open() {
        let json = r#"{"data-root":"/d","hosts":["unix:///s"],"max-concurrent-uploads":2,"content-keep":"always",
            "exec-opts":["native.cgroupdriver=cgroupfs"]}"#;
        let options = merged(&["--debug"], json).unwrap();
        assert_eq!(options.exec_opts, ["native.cgroupdriver=cgroupfs"]);
        assert_eq!(options.max_concurrent_uploads, Some(2));
        assert_eq!(options.content_keep.as_deref(), Some("always"));
        assert_eq!(options.data_root.as_deref(), Some(Path::new("/d")));
        assert_eq!(options.hosts, ["unix:///s"]);
    }

    #[test]
    fn an_unknown_key_refuses_the_start() {
        let error = format!("{:#}", merged(&[], r#"{"data-rot":"/d"}"#).unwrap_err());
        assert!(
            error.contains("the following directives don't match any configuration option: data-rot"),
            "{error}"
        );
    }

    #[test]
    fn a_key_that_a_flag_names_too_refuses_the_start() {
        let error = format!(
            "{:#}",
            merged(&["--data-root", "/x"], r#"{"data-root":"/d"}"#).unwrap_err()
        );
        assert!(
            error.contains("specified both as a flag and in the configuration file: data-root"),
            "{error}"
        );
    }

    #[test]
    fn a_key_that_is_not_acted_upon_is_refused_by_name() {
        let error = format!("{:#}", merged(&[], r#"{"raw-logs":true}"#).unwrap_err());
        assert!(error.contains("\"raw-logs\" is not supported yet"), "{error}");
    }

    #[test]
    fn a_missing_file_that_was_asked_for_refuses_the_start() {
        let options = Options::try_parse_from(["conexd", "--config-file", "/nonexistent/daemon.json"]).unwrap();
        assert!(merge(options).is_err());
    }
}
