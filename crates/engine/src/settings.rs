//! What the daemon was told about itself: flags and `daemon.json`, resolved.

use std::path::PathBuf;

use conex_api_types::LogConfig;
use conex_cgroup::RealTime;
use conex_container::Invalid;
use conex_container::health::OnFailure;
use conex_container::logging::Logging;
use conex_container::{limits, namespaces};
use conex_image::{Keep, Limits};
use conex_sys::userns::IdMap;

use crate::cgroups::Cgroups;

/// Settings of one engine; they do not change while it lives.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Persistent state.
    pub data_root: PathBuf,
    /// How layers are kept.
    pub storage: Storage,
    /// Run-time state, gone after a reboot.
    pub exec_root: PathBuf,
    /// Who makes the containers' cgroups, and where.
    pub cgroups: Cgroups,
    /// Name of the default bridge, `None` where containers get no network of ours (`--bridge none`).
    pub bridge: Option<String>,
    /// Address and prefix of the bridge (`172.17.0.1/16`); chosen clear of the host's routes where absent.
    pub bip: Option<String>,
    /// Registries that are asked without TLS or without checking certificates.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub, asked first.
    pub registry_mirrors: Vec<String>,
    /// Downloads of one pull at a time.
    pub concurrent_downloads: usize,
    /// Uploads of one push at a time.
    pub concurrent_uploads: usize,
    /// What layers that are pulled, loaded or imported may come to.
    pub layer_limits: Limits,
    /// How often a transfer is tried before it is given up.
    pub transfer_attempts: u32,
    /// How long compressed layers are kept.
    pub content_keep: Keep,
    /// Whether containers outlive the daemon's end.
    pub live_restore: bool,
    /// How output is kept where a container does not say.
    pub log: LogConfig,
    /// What is done with containers that become unhealthy, where their label does not say.
    pub health_on_failure: OnFailure,
    /// Whether containers are labelled where the host has SELinux.
    pub selinux: bool,
    /// Whether containers that do not say have an init.
    pub init: bool,
    /// Namespaces of containers that do not say.
    pub namespaces: namespaces::Defaults,
    /// Limits of containers that do not say.
    pub limits: limits::Defaults,
    /// Real-time CPU time of all containers together.
    pub real_time: RealTime,
    /// The ids that containers have on the host where they do not ask for the host's own (`userns-remap`); `None` where all
    /// have the host's.
    pub user_map: Option<IdMap>,
    /// The ids that containers are allotted which ask for some of their own (`--userns auto`).
    pub auto_ids: Option<IdMap>,
    /// The `conex-shim` program.
    pub shim: PathBuf,
    /// Where the daemon listens, as `info` and clients see it.
    pub hosts: Vec<String>,
    /// Whether the daemon logs in detail.
    pub debug: bool,
    /// What the daemon was built from.
    pub build: Build,
}

/// What the daemon was told about its storage driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// Its name; where nobody says, the one that the data root was used with, else the first that works here.
    pub driver: Option<String>,
    /// Its options, `name=value`.
    pub options: Vec<String>,
}

/// What a program was built from; empty where its builder did not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    /// Commit, in hexadecimal digits.
    pub commit: String,
    /// Time of the build, RFC 3339. One that can be repeated has the time of its commit.
    pub time: String,
}

impl Settings {
    /// Refuses a driver of logs that is none, or options that it does not have.
    ///
    /// # Errors
    /// In Docker's words.
    pub fn check_log(log: &LogConfig) -> Result<(), Invalid> {
        Logging::of(log).map(|_| ())
    }

    /// Downloads of one pull where nobody says how many; Docker's number.
    pub const CONCURRENT_DOWNLOADS: usize = 3;

    /// Uploads of one push where nobody says how many; Docker's number.
    pub const CONCURRENT_UPLOADS: usize = 5;

    /// Bounds of layers where nobody says them: more than any honest image is known to have. How far a layer is compressed has
    /// none, as files of zeros are honest too.
    pub const LAYER_LIMITS: Limits = Limits {
        size: 1_000_000_000_000,
        members: 10_000_000,
        ratio: u64::MAX,
    };

    /// Attempts at a transfer where nobody says how many; Docker's number.
    pub const TRANSFER_ATTEMPTS: u32 = 5;
}
