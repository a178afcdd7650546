//! Flags, with the names and meanings of `dockerd`'s.

use std::path::{Path, PathBuf};

use clap::Parser;

/// A container engine that takes Docker Engine's place.
#[derive(Debug, Clone, Parser)]
#[command(name = "conexd", version, about)]
pub(crate) struct Options {
    /// Root directory of persistent state
    #[arg(long, value_name = "DIR")]
    pub(crate) data_root: Option<PathBuf>,

    /// Root directory of run-time state
    #[arg(long, value_name = "DIR")]
    pub(crate) exec_root: Option<PathBuf>,

    /// Storage driver: overlay2, fuse-overlayfs, btrfs or vfs [default: the one that the data root was used with, else the first that works]
    #[arg(short, long, value_name = "DRIVER")]
    pub(crate) storage_driver: Option<String>,

    /// Option of that driver, name=value; may be given several times
    #[arg(long = "storage-opt", value_name = "OPTION")]
    pub(crate) storage_opts: Vec<String>,

    /// Convert the images and containers of the data root for the storage driver, and end; no daemon and no container may
    /// run meanwhile
    #[arg(long)]
    pub(crate) migrate_storage: bool,

    /// Socket to listen on: unix:///path or tcp://address:port; may be given several times
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,

    /// File for the daemon's process id
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,

    /// Configuration file [default: /etc/conex/daemon.json, else /etc/docker/daemon.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,

    /// Log what the daemon does in detail
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,

    /// Group that owns the UNIX socket
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub(crate) group: Option<String>,

    /// Option of containers' execution, name=value: native.cgroupdriver=systemd or native.cgroupdriver=cgroupfs [default:
    /// systemd where it runs the host and its cgroups are of version 2 alone]
    #[arg(long = "exec-opt", value_name = "OPTION")]
    pub(crate) exec_opts: Vec<String>,

    /// Parent of the containers' cgroups: a path, or with systemd a slice [default: /conex, or system.slice]
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,

    /// IPC namespace of containers that do not say: "private" or "shareable"
    #[arg(long, value_name = "MODE")]
    pub(crate) default_ipc_mode: Option<String>,

    /// Cgroup namespace of containers that do not say: "host" or "private"
    #[arg(long, value_name = "MODE")]
    pub(crate) default_cgroupns_mode: Option<String>,

    /// User, or user:group, whose subordinate ids containers have on the host; "default" is dockremap
    #[arg(long, value_name = "USER")]
    pub(crate) userns_remap: Option<String>,

    /// Bridge that containers are connected to; "none" makes none
    #[arg(short, long, value_name = "NAME")]
    pub(crate) bridge: Option<String>,

    /// Address and prefix of the bridge, for example 172.17.0.1/16
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bip: Option<String>,

    /// Registry that is asked without TLS or without checking its certificate; may be given several times
    #[arg(long = "insecure-registry", value_name = "HOST")]
    pub(crate) insecure_registries: Vec<String>,

    /// Mirror of Docker Hub; may be given several times
    #[arg(long = "registry-mirror", value_name = "URL")]
    pub(crate) registry_mirrors: Vec<String>,

    /// Downloads of one pull at a time
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) max_concurrent_downloads: Option<i64>,

    /// Uploads of one push at a time
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) max_concurrent_uploads: Option<i64>,

    /// How often a transfer is tried before it is given up
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) max_download_attempts: Option<i64>,

    /// Most bytes that a layer of strangers may have, unpacked, its files' holes included; 0 for no bound [default: 1TB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_layer_size: Option<String>,

    /// Most files, directories and the like that a layer of strangers may have; 0 for no bound [default: 10000000]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) max_layer_entries: Option<i64>,

    /// Most bytes that each byte of a compressed layer may become; 0 for no bound [default: 0]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) max_layer_ratio: Option<i64>,

    /// How long compressed layers are kept: always, or until-unpacked [default: until-unpacked]
    #[arg(long, value_name = "HOW")]
    pub(crate) content_keep: Option<String>,

    /// Microseconds of a period of real-time CPU time for all containers together; version 1 of control groups
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_rt_period: Option<u64>,

    /// Microseconds of real-time CPU time in such a period
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_rt_runtime: Option<u64>,

    /// Size of /dev/shm of containers that do not say: 64m, 1g [default: 64m]
    #[arg(long, value_name = "SIZE")]
    pub(crate) default_shm_size: Option<String>,

    /// Limit of processes of containers that do not say, name=soft[:hard]; may be given several times
    #[arg(long = "default-ulimit", value_name = "LIMIT")]
    pub(crate) default_ulimits: Vec<String>,

    /// Label containers and their files where the host has SELinux
    #[arg(long)]
    pub(crate) selinux_enabled: bool,

    /// Give containers an init that do not say
    #[arg(long)]
    pub(crate) init: bool,

    /// Whether containers go on when the daemon ends [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) live_restore: Option<bool>,

    /// Seconds that containers are given to end where they do not go on; negative for no bound [default: 15]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) shutdown_timeout: Option<i64>,

    /// Driver that keeps containers' output where they name none: json-file, local, none, syslog, journald, gelf, fluentd or splunk
    #[arg(long, value_name = "DRIVER")]
    pub(crate) log_driver: Option<String>,

    /// Option of that driver, name=value; may be given several times
    #[arg(long = "log-opt", value_name = "OPTION")]
    pub(crate) log_opts: Vec<String>,

    /// What is done with containers that become unhealthy and do not say so themselves by the label
    /// conex.health-on-failure: none, restart, stop or kill
    #[arg(long, value_name = "ACTION")]
    pub(crate) health_on_failure: Option<String>,

    /// Be the process that forwards logs for a daemon
    #[arg(long, hide = true)]
    pub(crate) forward_logs: bool,

    /// Leave the caller's session and terminal, and log to <data-root>/conexd.log
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

/// What the daemon was called as: the name decides the default socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CalledAs {
    /// `conexd`.
    Conexd,
    /// `dockerd`, in Docker's place.
    Dockerd,
}

impl CalledAs {
    /// Tells it by the program's name.
    pub(crate) fn from_program(argv0: &str) -> Self {
        match Path::new(argv0).file_name().and_then(|name| name.to_str()) {
            Some("dockerd") => Self::Dockerd,
            _ => Self::Conexd,
        }
    }

    /// The socket that is listened on where none is named.
    pub(crate) fn default_host(self) -> &'static str {
        match self {
            Self::Conexd => "unix:///run/conex.sock",
            Self::Dockerd => "unix:///var/run/docker.sock",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn called_as_dockerd_it_listens_on_dockers_socket() {
        assert_eq!(
            CalledAs::from_program("/usr/bin/dockerd").default_host(),
            "unix:///var/run/docker.sock"
        );
        assert_eq!(
            CalledAs::from_program("./conexd").default_host(),
            "unix:///run/conex.sock"
        );
    }

    #[test]
    fn dockerds_short_flags_are_taken() {
        let options =
            Options::try_parse_from(["dockerd", "-D", "-H", "tcp://127.0.0.1:1", "-p", "/p", "-G", "g"]).unwrap();
        assert!(options.debug);
        assert_eq!(options.hosts, ["tcp://127.0.0.1:1"]);
        assert_eq!(options.pidfile.as_deref(), Some(Path::new("/p")));
        assert_eq!(options.group.as_deref(), Some("g"));
    }
}
