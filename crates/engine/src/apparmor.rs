//! AppArmor: which profile confines a container, and the default one, loaded when it is needed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use conex_container::Config;
use conex_spec::HostFacts;
use conex_spec::apparmor::{DEFAULT_PROFILE, PolicyFiles, UNCONFINED, is_listed, is_plain, label, render_default};
use conex_spec::security::{AppArmorChoice, SecurityOptions};
use conex_sys::program;

use crate::error::{Error, ErrorKind, Result};

/// The module's files.
const INTERFACE: &str = "/sys/kernel/security/apparmor";

/// The host's policy, on which our profile builds.
const POLICY: &str = "/etc/apparmor.d";

/// Whether the module is enabled and its files are there. In a container they may be the host's, and profiles none of ours
/// to load; `container` says so (as Docker reads it).
pub(crate) fn probe() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
        && Path::new(INTERFACE).exists()
        && std::env::var_os("container").is_none_or(|container| container.is_empty())
}

/// What confines containers.
#[derive(Debug)]
pub(crate) struct AppArmor {
    is_enabled: bool,
    /// `apparmor_parser(8)`.
    parser: Option<PathBuf>,
    /// Held while the default profile is loaded, which several containers that start together need once.
    loading: Mutex<()>,
}

impl AppArmor {
    /// Looks for what loads profiles, and warns where it is missing.
    pub(crate) fn new(facts: &HostFacts) -> Self {
        let parser = find_parser().filter(|_| facts.apparmor);
        if facts.apparmor && parser.is_none() && !is_loaded(DEFAULT_PROFILE).unwrap_or(false) {
            tracing::warn!("no apparmor_parser to load {DEFAULT_PROFILE}: containers are not confined by AppArmor");
        }
        Self {
            is_enabled: facts.apparmor,
            parser,
            loading: Mutex::new(()),
        }
    }

    /// Whether containers are confined that ask for nothing. Without the parser they are where somebody else has loaded the
    /// profile.
    pub(crate) fn confines_by_default(&self) -> bool {
        self.is_enabled && (self.parser.is_some() || is_loaded(DEFAULT_PROFILE).unwrap_or(false))
    }

    /// The profile of a container as it is shown; empty where there is no AppArmor.
    pub(crate) fn profile<'a>(&self, options: &'a SecurityOptions, config: &Config) -> &'a str {
        if !self.is_enabled {
            return "";
        }
        match &options.apparmor {
            AppArmorChoice::Default if !self.confines_by_default() => UNCONFINED,
            choice => choice.profile(config.host.privileged),
        }
    }

    /// The label for a container's processes, its profile being loaded; `None` where none confines them.
    pub(crate) fn label(&self, options: &SecurityOptions, config: &Config) -> Result<Option<String>> {
        let profile = self.profile(options, config);
        match profile {
            "" | UNCONFINED => return Ok(None),
            DEFAULT_PROFILE => self.ensure_default()?,
            // What stands for several profiles, or for one of another namespace, is for the kernel to find.
            other if is_plain(other) && !is_loaded(other)? => {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("the AppArmor profile {other:?} is not loaded"),
                ));
            }
            _ => {}
        }
        Ok(Some(profile.to_owned()))
    }

    /// Loads the default profile where it is not: others may have unloaded it since.
    fn ensure_default(&self) -> Result<()> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if is_loaded(DEFAULT_PROFILE)? {
            return Ok(());
        }
        let refused = |reason: &str| {
            let words = "AppArmor enabled on system but the docker-default profile could not be loaded";
            Error::new(ErrorKind::System, format!("{words}: {reason}"))
        };
        let parser = self
            .parser
            .as_ref()
            .ok_or_else(|| refused("apparmor_parser was not found"))?;
        let exists = |file: &str| Path::new(POLICY).join(file).exists();
        let files = PolicyFiles {
            abi: exists("abi/3.0"),
            tunables: exists("tunables/global"),
            base: exists("abstractions/base"),
        };
        load(parser, &render_default(files, &own_label())).map_err(|error| refused(&error.to_string()))
    }
}

/// Where distributions have it, and `PATH`.
fn find_parser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = ["/sbin", "/usr/sbin"].map(PathBuf::from);
    own.into_iter()
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join("apparmor_parser"))
        .find(|program| program.is_file())
}

fn is_loaded(profile: &str) -> Result<bool> {
    let list = Path::new(INTERFACE).join("profiles");
    let read = fs::read_to_string(&list).map_err(|error| {
        let words = format!("read {}: {error}", list.display());
        Error::new(ErrorKind::System, words).caused_by(error)
    })?;
    Ok(is_listed(&read, profile))
}

/// The label of this process; monitors have the same. Beside other modules AppArmor has a directory of its own.
fn own_label() -> String {
    let read = fs::read_to_string("/proc/self/attr/apparmor/current")
        .or_else(|_| fs::read_to_string("/proc/self/attr/current"))
        .unwrap_or_default();
    label(&read).to_owned()
}

/// Loads a profile, past the cache of compiled ones, whose directory may not be writable.
fn load(parser: &Path, text: &str) -> io::Result<()> {
    let output = program::feed(Command::new(parser).args(["--replace", "--skip-cache"]), text)?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "apparmor_parser: {}",
        program::message(&output)
    )))
}
