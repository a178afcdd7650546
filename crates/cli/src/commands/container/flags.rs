//! Flags that `run` and `create` share, and the request that they make.

use std::collections::BTreeMap;

use clap::{ArgAction, Args, ValueEnum};
use conex_api_types::{
    ContainerCreateRequest, DeviceMapping, HealthConfig, HostConfig, LogConfig, RestartPolicy, Ulimit, UlimitError,
};
use conex_client::{Client, PullOptions};

use crate::failure::Failure;
use crate::{credentials, progress, terminal, units};

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// Even where it is there.
    Always,
    /// Where it is not there.
    Missing,
    /// Not at all.
    Never,
}

/// What a container is made of.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Remove it when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Set an environment variable, NAME=value, or NAME to take ours
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR", default_value = "")]
    workdir: String,
    /// User, and group: name|uid[:group|gid]
    #[arg(short, long, value_name = "USER", default_value = "")]
    user: String,
    /// Program in place of the image's
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Network: bridge, host, none
    #[arg(long, visible_alias = "net", value_name = "NETWORK", default_value = "default")]
    network: String,
    /// Limit of memory: 64m, 1g
    #[arg(short, long, value_name = "BYTES", value_parser = units::parse_size, allow_hyphen_values = true, default_value = "0")]
    memory: i64,
    /// Limit of memory and swap; -1 for unlimited swap
    #[arg(long, value_name = "BYTES", value_parser = units::parse_size, allow_hyphen_values = true, default_value = "0")]
    memory_swap: i64,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER", value_parser = units::parse_cpus, default_value = "0")]
    cpus: i64,
    /// Relative weight of CPU time
    #[arg(long, value_name = "WEIGHT", default_value_t = 0)]
    cpu_shares: i64,
    /// CPUs that may be used: 0-2,4
    #[arg(long, value_name = "CPUS", default_value = "")]
    cpuset_cpus: String,
    /// Limit of processes; -1 for unlimited
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Bind mount or temporary directory: /host/path:/path[:ro]
    #[arg(short, long, value_name = "SPEC")]
    volume: Vec<String>,
    /// Mount a tmpfs: /path[:options]
    #[arg(long, value_name = "SPEC")]
    tmpfs: Vec<String>,
    /// Host name
    #[arg(long, value_name = "NAME", default_value = "")]
    hostname: String,
    /// Run the command by an init that forwards signals and reaps processes; --init=false where the daemon would
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    init: Option<bool>,
    /// PID namespace: host, container:<name|id>
    #[arg(long, value_name = "MODE", default_value = "")]
    pid: String,
    /// IPC namespace: private, shareable, none, host, container:<name|id>
    #[arg(long, value_name = "MODE", default_value = "")]
    ipc: String,
    /// UTS namespace: host
    #[arg(long, value_name = "MODE", default_value = "")]
    uts: String,
    /// User namespace: host
    #[arg(long, value_name = "MODE", default_value = "")]
    userns: String,
    /// Cgroup namespace: private, host
    #[arg(long, value_name = "MODE", default_value = "")]
    cgroupns: String,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Add a capability
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// Give it all privileges of the host
    #[arg(long)]
    privileged: bool,
    /// Security option: seccomp=unconfined, no-new-privileges
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Device of the host: /dev/x[:/dev/y[:rwm]]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Limit of a resource: nofile=1024[:2048]
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Further group of the user
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Entry of /etc/hosts: name:address
    #[arg(long, value_name = "HOST")]
    add_host: Vec<String>,
    /// DNS server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Label: NAME=value
    #[arg(short, long, value_name = "LABEL")]
    label: Vec<String>,
    /// Signal that stops it
    #[arg(long, value_name = "SIGNAL", default_value = "")]
    stop_signal: String,
    /// Seconds between that signal and the end
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    stop_timeout: Option<i64>,
    /// Whether it is started again: no, always, unless-stopped, on-failure[:times]
    #[arg(long, value_name = "POLICY", default_value = "no")]
    restart: String,
    /// Command that says whether it is healthy
    #[arg(long, value_name = "COMMAND", default_value = "")]
    health_cmd: String,
    /// Time between two checks: 30s, 1m30s
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration, default_value = "0")]
    health_interval: i64,
    /// Time that a check may take
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration, default_value = "0")]
    health_timeout: i64,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    health_retries: i64,
    /// Time at its start in which failures do not count
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration, default_value = "0")]
    health_start_period: i64,
    /// Time between two checks in that
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration, default_value = "0")]
    health_start_interval: i64,
    /// Do not check it, whatever its image says
    #[arg(long)]
    no_healthcheck: bool,
    /// Where its output is kept: json-file, local, none, syslog, journald, gelf, fluentd, splunk
    #[arg(long, value_name = "DRIVER", default_value = "")]
    log_driver: String,
    /// Option of that: max-size=10m
    #[arg(long, value_name = "OPTION")]
    log_opt: Vec<String>,
    /// When to pull the image
    #[arg(long, value_enum, value_name = "WHEN", default_value = "missing")]
    pull: Pull,
    /// Platform of the image: linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Say nothing while pulling
    #[arg(short, long, action = ArgAction::SetTrue)]
    quiet: bool,
    /// Image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Program and arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Flags {
    /// Creates the container; the image is pulled where it is missing.
    pub(crate) async fn create(&self, client: &Client, attached: bool) -> Result<String, Failure> {
        let request = self.request(attached)?;
        if self.pull == Pull::Always {
            self.pull(client).await?;
        }
        let mut created = client.create(self.name.as_deref(), &request).await;
        if self.pull == Pull::Missing && created.as_ref().is_err_and(|error| self.is_missing_image(error)) {
            eprintln!("Unable to find image '{}' locally", with_tag(&self.image));
            self.pull(client).await?;
            created = client.create(self.name.as_deref(), &request).await;
        }
        let created = created.map_err(|error| Failure::of_run(&error))?;
        for warning in &created.warnings {
            eprintln!("WARNING: {warning}");
        }
        Ok(created.id)
    }

    fn is_missing_image(&self, error: &conex_client::Error) -> bool {
        error.status() == Some(404) && error.to_string().contains("No such image")
    }

    async fn pull(&self, client: &Client) -> Result<(), Failure> {
        let credentials = credentials::for_image(&self.image);
        let options = PullOptions {
            image: &self.image,
            all_tags: false,
            platform: self.platform.as_deref(),
            credentials: credentials.as_deref(),
        };
        let lines = client.pull(options).await.map_err(|error| Failure::of_run(&error))?;
        // Standard output is the container's.
        let mut sink = std::io::sink();
        let mut stderr = std::io::stderr();
        let out: &mut dyn std::io::Write = if self.quiet { &mut sink } else { &mut stderr };
        let pulled = progress::print(lines, out, progress::stderr_is_terminal()).await;
        pulled.map_err(|failure| Failure::new(125, format!("conex: {}", failure.message)))
    }

    fn request(&self, attached: bool) -> Result<ContainerCreateRequest, Failure> {
        Ok(ContainerCreateRequest {
            hostname: self.hostname.clone(),
            user: self.user.clone(),
            attach_stdin: attached && self.interactive,
            attach_stdout: attached,
            attach_stderr: attached,
            tty: self.tty,
            open_stdin: self.interactive,
            stdin_once: attached && self.interactive,
            env: environment(&self.env),
            cmd: (!self.command.is_empty()).then(|| self.command.clone()),
            image: self.image.clone(),
            working_dir: self.workdir.clone(),
            entrypoint: self.entrypoint.as_ref().map(|program| vec![program.clone()]),
            labels: self.label.iter().map(|label| pair(label, '=')).collect(),
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            healthcheck: self.healthcheck()?,
            host_config: self.host_config()?,
            ..ContainerCreateRequest::default()
        })
    }

    /// What is given of its checks; nothing leaves those of its image.
    fn healthcheck(&self) -> Result<Option<HealthConfig>, Failure> {
        let given = HealthConfig {
            test: if self.health_cmd.is_empty() {
                Vec::new()
            } else {
                vec!["CMD-SHELL".to_owned(), self.health_cmd.clone()]
            },
            interval: self.health_interval,
            timeout: self.health_timeout,
            retries: self.health_retries,
            start_period: self.health_start_period,
            start_interval: self.health_start_interval,
        };
        let is_given = given != HealthConfig::default();
        if !self.no_healthcheck {
            return Ok(is_given.then_some(given));
        }
        if is_given {
            let words = "--no-healthcheck conflicts with --health-* options";
            return Err(Failure::new(125, words.to_owned()));
        }
        let test = vec!["NONE".to_owned()];
        Ok(Some(HealthConfig { test, ..given }))
    }

    fn host_config(&self) -> Result<HostConfig, Failure> {
        let tmpfs: BTreeMap<_, _> = self.tmpfs.iter().map(|spec| pair(spec, ':')).collect();
        Ok(HostConfig {
            binds: some(&self.volume),
            network_mode: self.network.clone(),
            auto_remove: self.rm,
            console_size: terminal::size()
                .filter(|_| self.tty)
                .map(|(rows, columns)| [rows, columns]),
            cap_add: some(&self.cap_add),
            cap_drop: some(&self.cap_drop),
            dns: self.dns.clone(),
            extra_hosts: some(&self.add_host),
            group_add: some(&self.group_add),
            privileged: self.privileged,
            init: self.init,
            pid_mode: self.pid.clone(),
            ipc_mode: self.ipc.clone(),
            uts_mode: self.uts.clone(),
            userns_mode: self.userns.clone(),
            cgroupns_mode: self.cgroupns.clone(),
            readonly_rootfs: self.read_only,
            security_opt: some(&self.security_opt),
            tmpfs: (!tmpfs.is_empty()).then_some(tmpfs),
            cpu_shares: self.cpu_shares,
            memory: self.memory,
            memory_swap: self.memory_swap,
            nano_cpus: self.cpus,
            cpuset_cpus: self.cpuset_cpus.clone(),
            devices: parse_all(&self.device, |text| Ok(device(text)))?,
            pids_limit: self.pids_limit,
            restart_policy: restart_policy(&self.restart)?,
            log_config: LogConfig {
                kind: self.log_driver.clone(),
                config: self.log_opt.iter().map(|option| pair(option, '=')).collect(),
            },
            ulimits: parse_all(&self.ulimit, ulimit)?,
            ..HostConfig::default()
        })
    }
}

/// `on-failure:3`. Whether there is such a policy is the engine's to say.
pub(crate) fn restart_policy(text: &str) -> Result<RestartPolicy, Failure> {
    let (name, most) = text.split_once(':').unwrap_or((text, "0"));
    let maximum_retry_count = most.parse().map_err(|_| {
        Failure::new(
            125,
            format!("invalid restart policy format: {text}: the count is no number"),
        )
    })?;
    Ok(RestartPolicy {
        name: name.to_owned(),
        maximum_retry_count,
    })
}

fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn parse_all<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, Failure>) -> Result<Option<Vec<T>>, Failure> {
    let all = texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

fn pair(text: &str, separator: char) -> (String, String) {
    let (name, value) = text.split_once(separator).unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// `NAME` alone takes the value of our environment, and nothing where there is none.
pub(crate) fn environment(variables: &[String]) -> Vec<String> {
    let resolve = |variable: &String| match variable.contains('=') {
        true => Some(variable.clone()),
        false => std::env::var(variable).ok().map(|value| format!("{variable}={value}")),
    };
    variables.iter().filter_map(resolve).collect()
}

fn device(text: &str) -> DeviceMapping {
    let parts: Vec<&str> = text.split(':').collect();
    let path = |index: usize| parts.get(index).copied().unwrap_or_default();
    let is_permissions = |part: &str| !part.is_empty() && part.chars().all(|letter| "rwm".contains(letter));
    let (inside, permissions) = match parts.len() {
        2 if is_permissions(path(1)) => (path(0), path(1)),
        2 => (path(1), "rwm"),
        3 => (path(1), path(2)),
        _ => (path(0), "rwm"),
    };
    DeviceMapping {
        path_on_host: path(0).to_owned(),
        path_in_container: inside.to_owned(),
        cgroup_permissions: permissions.to_owned(),
    }
}

fn ulimit(text: &str) -> Result<Ulimit, Failure> {
    text.parse()
        .map_err(|error: UlimitError| Failure::new(125, error.to_string()))
}

fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn request(words: &str) -> ContainerCreateRequest {
        let line = Line::try_parse_from(["run"].into_iter().chain(words.split_whitespace())).unwrap();
        line.flags.request(true).unwrap()
    }

    #[test]
    fn flags_after_the_image_are_the_programs() {
        let request = request("--rm -i -e A=b busybox ls -l --rm");
        assert_eq!(request.image, "busybox");
        assert_eq!(request.cmd.unwrap(), ["ls", "-l", "--rm"]);
        assert_eq!(request.env, ["A=b"]);
        assert!(request.host_config.auto_remove && request.open_stdin && request.stdin_once);
    }

    #[test]
    fn limits_are_numbers_of_the_api() {
        let host = request("-m 64m --memory-swap -1 --cpus 0.5 --pids-limit 10 --ulimit nofile=10:20 b").host_config;
        assert_eq!(
            (host.memory, host.memory_swap, host.nano_cpus),
            (64 << 20, -1, 500_000_000)
        );
        assert_eq!(host.pids_limit, Some(10));
        let policy = |text: &str| request(text).host_config.restart_policy;
        assert_eq!(policy("--restart on-failure:3 b").maximum_retry_count, 3);
        assert_eq!(
            (policy("b").name, policy("--restart always b").name),
            ("no".into(), "always".into())
        );
        assert_eq!(host.ulimits.unwrap()[0].hard, 20);
    }

    #[test]
    fn checks_and_logs_are_those_of_the_api() {
        let checks = |text: &str| request(text).healthcheck;
        assert_eq!(checks("b"), None);
        assert_eq!(checks("--no-healthcheck b").unwrap().test, ["NONE"]);
        let given = checks("--health-cmd true --health-interval 1m30s --health-retries 2 b").unwrap();
        assert_eq!(given.test, ["CMD-SHELL", "true"]);
        assert_eq!((given.interval, given.retries, given.timeout), (90_000_000_000, 2, 0));
        let line = Line::try_parse_from(["run", "--no-healthcheck", "--health-timeout", "1s", "b"]).unwrap();
        let refused = line.flags.request(true).unwrap_err();
        assert_eq!(refused.message, "--no-healthcheck conflicts with --health-* options");
        let log = request("--log-driver local --log-opt max-size=1m --log-opt max-file=2 b")
            .host_config
            .log_config;
        assert_eq!(log.kind, "local");
        assert_eq!(
            (log.config["max-size"].as_str(), log.config["max-file"].as_str()),
            ("1m", "2")
        );
        assert_eq!(request("b").host_config.log_config, LogConfig::default());
    }

    #[test]
    fn no_command_leaves_the_images() {
        let request = request("--entrypoint /bin/sh --label a=b --tmpfs /t:size=1m b");
        assert_eq!(request.cmd, None);
        assert_eq!(request.entrypoint.unwrap(), ["/bin/sh"]);
        assert_eq!(request.labels["a"], "b");
        assert_eq!(request.host_config.tmpfs.unwrap()["/t"], "size=1m");
    }

    #[test]
    fn devices_have_up_to_three_parts() {
        assert_eq!(device("/dev/a").path_in_container, "/dev/a");
        assert_eq!(device("/dev/a:r").cgroup_permissions, "r");
        assert_eq!(device("/dev/a:/dev/b").path_in_container, "/dev/b");
        assert_eq!(device("/dev/a:/dev/b:rw").cgroup_permissions, "rw");
    }

    #[test]
    fn latest_is_named_where_no_tag_is() {
        assert_eq!(with_tag("127.0.0.1:5000/a"), "127.0.0.1:5000/a:latest");
        assert_eq!(with_tag("a:b"), "a:b");
    }
}
