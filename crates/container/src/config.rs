//! `Config`: what a create request means.

use std::collections::{BTreeMap, BTreeSet};

use conex_api_types::{ContainerCreateRequest, DeviceMapping, EndpointSettings, HealthConfig, HostConfig};
use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::limits;
use crate::mounts::{self, MountChoice};
use crate::networking::{self, NetworkChoice};
use crate::{signals, unsupported};

/// A container as it is recorded. Everything in it is honoured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The image as it was asked for.
    pub image: String,
    /// Program and its first arguments.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments, or the program.
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// `user[:group]`.
    pub user: String,
    /// Absolute path, empty for `/`.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// With a terminal.
    pub tty: bool,
    /// With a standard input.
    pub open_stdin: bool,
    /// Which is closed when the first client leaves.
    pub stdin_once: bool,
    /// Whether the creator attaches.
    pub attach_stdin: bool,
    /// As above.
    pub attach_stdout: bool,
    /// As above.
    pub attach_stderr: bool,
    /// Host name; empty before the id is known.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// Signal of `stop`.
    pub stop_signal: Option<String>,
    /// Seconds of `stop`, -1 for ever.
    pub stop_timeout: Option<i64>,
    /// Paths that the image or the client calls volumes.
    pub volumes: BTreeSet<String>,
    /// `port/protocol`.
    pub exposed_ports: BTreeSet<String>,
    /// Health check.
    pub healthcheck: Option<HealthConfig>,
    /// Triggers of a build, shell of a Dockerfile and whether the command is one line: shown, as nothing here uses them.
    pub on_build: Option<Vec<String>>,
    /// As above.
    pub shell: Option<Vec<String>>,
    /// As above.
    pub args_escaped: bool,
    /// Whether the client wants no network whatever the mode says.
    pub network_disabled: bool,
    /// The network it is on first of all.
    pub network: NetworkChoice,
    /// Its connections, by the names of their networks; what a client asked of each.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// Binds, volumes and tmpfs mounts.
    pub mounts: Vec<MountChoice>,
    /// Devices of the host.
    pub devices: Vec<DeviceMapping>,
    /// Remove it when it ends.
    pub auto_remove: bool,
    /// The host configuration as it was asked for, with the engine's defaults filled in; for inspection, and for what needs
    /// no interpretation (capabilities, security options, namespaces' modes, DNS).
    pub host: HostConfig,
}

impl Config {
    /// What a request means, or why it is refused.
    pub fn from_request(request: ContainerCreateRequest) -> Result<Self, Invalid> {
        unsupported::refuse(&request)?;
        check_process(&request)?;
        let mut request = request;
        let network = NetworkChoice::parse(&request.host_config.network_mode, request.network_disabled)?;
        networking::check_mode(&request, &network)?;
        let endpoints = networking::endpoints(&mut request, &network)?;
        let network_disabled = request.network_disabled;
        let mut exposed_ports: BTreeSet<String> = request.exposed_ports.into_keys().collect();
        let mut host = request.host_config;
        networking::check_ports(&host, &mut exposed_ports)?;
        limits::check(&host)?;
        let mounts = mounts::from_host_config(&host)?;
        fill_defaults(&mut host, &network);
        Ok(Self {
            image: request.image,
            // An empty one keeps the image's away.
            entrypoint: request.entrypoint,
            cmd: request.cmd.filter(|parts| !parts.is_empty()),
            env: request.env,
            user: request.user,
            working_dir: request.working_dir,
            labels: request.labels,
            tty: request.tty,
            open_stdin: request.open_stdin,
            stdin_once: request.stdin_once,
            attach_stdin: request.attach_stdin,
            attach_stdout: request.attach_stdout,
            attach_stderr: request.attach_stderr,
            hostname: request.hostname,
            domainname: request.domainname,
            stop_signal: Some(request.stop_signal).filter(|signal| !signal.is_empty()),
            stop_timeout: request.stop_timeout,
            volumes: request.volumes.into_keys().collect(),
            exposed_ports,
            healthcheck: request.healthcheck,
            on_build: request.on_build,
            shell: request.shell,
            args_escaped: request.args_escaped,
            network_disabled,
            network,
            endpoints,
            mounts,
            devices: host.devices.clone().unwrap_or_default(),
            auto_remove: host.auto_remove,
            host,
        })
    }

    /// Program and arguments.
    pub fn argv(&self) -> Vec<String> {
        self.entrypoint
            .iter()
            .chain(self.cmd.iter())
            .flatten()
            .cloned()
            .collect()
    }
}

/// Longest host name that the kernel takes (`sethostname(2)`).
const LONGEST_HOSTNAME: usize = 64;

fn check_process(request: &ContainerCreateRequest) -> Result<(), Invalid> {
    if request.image.is_empty() {
        let says_nothing = request.cmd.is_none() && request.entrypoint.is_none() && request.env.is_empty();
        return Err(Invalid::field(if says_nothing {
            "config cannot be empty in order to create a container"
        } else {
            "no image specified"
        }));
    }
    let host = &request.host_config;
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Invalid::Field(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if host.shm_size < 0 {
        return Err(Invalid::field("SHM size can not be less than 0"));
    }
    if request.hostname.len() > LONGEST_HOSTNAME || request.hostname.contains(['/', '\0', ' ']) {
        return Err(Invalid::Field(format!("invalid hostname: {}", request.hostname)));
    }
    if let Some(wrong) = request
        .env
        .iter()
        .find(|entry| entry.is_empty() || entry.starts_with('=') || entry.contains('\0'))
    {
        return Err(Invalid::Field(format!("invalid environment variable: {wrong}")));
    }
    if !request.working_dir.is_empty() && !request.working_dir.starts_with('/') {
        return Err(Invalid::Field(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            request.working_dir
        )));
    }
    if !request.hostname.is_empty() && host.uts_mode == "host" {
        return Err(Invalid::field("conflicting options: hostname and the UTS mode"));
    }
    if host.annotations.iter().flatten().any(|(name, _)| name.is_empty()) {
        return Err(Invalid::field(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    if let Some((target, _)) = host.tmpfs.iter().flatten().find(|(target, _)| !target.starts_with('/')) {
        return Err(Invalid::Field(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    if !request.stop_signal.is_empty() {
        signals::parse(&request.stop_signal).map_err(|error| Invalid::Field(error.to_string()))?;
    }
    if request.stop_timeout.is_some_and(|timeout| timeout < -1) {
        return Err(Invalid::field("invalid stop timeout: it must be -1 or more"));
    }
    let words = request.entrypoint.iter().chain(&request.cmd).flatten();
    if words.clone().any(|word| word.contains('\0')) {
        return Err(Invalid::field("invalid command: it contains a NUL byte"));
    }
    Ok(())
}

/// What `inspect` shows where the client said nothing.
fn fill_defaults(host: &mut HostConfig, network: &NetworkChoice) {
    let default = |text: &mut String, value: &str| {
        if text.is_empty() {
            value.clone_into(text);
        }
    };
    if host.network_mode.is_empty() && *network == NetworkChoice::None {
        // Disabled by another field.
        "bridge".clone_into(&mut host.network_mode);
    }
    if host.network_mode.is_empty() || host.network_mode == "default" {
        network.name().unwrap_or_default().clone_into(&mut host.network_mode);
    }
    default(&mut host.restart_policy.name, "no");
    default(&mut host.runtime, "conex");
    // These say that nothing is asked for.
    host.pids_limit = host.pids_limit.filter(|limit| *limit > 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> ContainerCreateRequest {
        serde_json::from_str(json).unwrap()
    }

    fn refusal(json: &str) -> String {
        Config::from_request(request(json)).unwrap_err().to_string()
    }

    #[test]
    fn what_the_cli_sends_for_a_plain_run_is_accepted() {
        let config = Config::from_request(request(
            r#"{"Hostname":"","AttachStdout":true,"Tty":false,"Env":null,"Cmd":["echo","hi"],"Image":"busybox",
                "Volumes":{},"Entrypoint":null,"OnBuild":null,"Labels":{},
                "HostConfig":{"Binds":null,"LogConfig":{"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{},
                "RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":true,"ConsoleSize":[0,0],"CapAdd":null,
                "Dns":[],"IpcMode":"","Memory":0,"PidsLimit":0,"BlkioWeightDevice":[],"OomKillDisable":false,
                "MemorySwappiness":-1,"MaskedPaths":null,"ReadonlyPaths":null},
                "NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,"MacAddress":""}}}}"#,
        ))
        .unwrap();
        assert_eq!(config.argv(), ["echo", "hi"]);
        assert_eq!(config.network, NetworkChoice::Bridge);
        assert!(config.auto_remove);
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        assert!(refusal(r#"{"Image":"x","HostConfig":{"CpuCount":3}}"#).contains("CpuCount"));
        assert!(refusal(r#"{"Image":"x","Healthcheck":{"Test":["CMD"]}}"#).contains("Healthcheck"));
    }

    #[test]
    fn impossible_values_are_refused_in_the_words_of_docker() {
        assert_eq!(
            refusal(r#"{"Image":"x","Hostname":"h","HostConfig":{"NetworkMode":"container:other"}}"#),
            "conflicting options: hostname and the network mode"
        );
        assert_eq!(
            refusal(r#"{"Image":"x","StopSignal":"NOSUCH"}"#),
            "invalid signal: NOSUCH"
        );
        assert_eq!(
            refusal(r#"{"Image":"x","WorkingDir":"relative"}"#),
            "the working directory 'relative' is invalid, it needs to be an absolute path"
        );
        assert_eq!(
            refusal(r#"{"Image":"x","Env":["=x"]}"#),
            "invalid environment variable: =x"
        );
    }

    #[test]
    fn a_config_survives_the_store() {
        let config = Config::from_request(request(r#"{"Image":"x","HostConfig":{"Memory":67108864}}"#)).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }
}
