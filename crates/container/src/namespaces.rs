//! Whose namespaces a container has, as the API words it: `private`, `host`, `container:<name or id>`.

use conex_api_types::HostConfig;

use crate::invalid::Invalid;

/// What a mode begins with that names another container.
pub const OF_CONTAINER: &str = "container:";

/// The container that a mode names.
pub fn joined(mode: &str) -> Option<&str> {
    mode.strip_prefix(OF_CONTAINER).filter(|name| !name.is_empty())
}

/// Refuses modes that there are not, in Docker's words.
pub(crate) fn check(host: &HostConfig) -> Result<(), Invalid> {
    let ipc = ["", "private", "shareable", "host", "none"].as_slice();
    for (mode, known, may_join, name) in [
        (&host.ipc_mode, ipc, true, "IPC"),
        (&host.pid_mode, &["", "host"], true, "PID"),
        (&host.uts_mode, &["", "host"], false, "UTS"),
        (&host.cgroupns_mode, &["", "host", "private"], false, "cgroup namespace"),
    ] {
        let joins = may_join && joined(mode).is_some();
        if !joins && !known.contains(&mode.as_str()) {
            return Err(Invalid::Field(format!("invalid {name} mode: {mode}")));
        }
    }
    Ok(())
}

/// What containers get that do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// `IpcMode`: `private` or `shareable`.
    ipc: String,
    /// `CgroupnsMode`: `host` or `private`; where nobody says, what the version of the host's cgroups asks for.
    cgroup: Option<String>,
}

impl Defaults {
    /// Of the daemon's settings `default-ipc-mode` and `default-cgroupns-mode`.
    ///
    /// # Errors
    /// A mode that is none, or that cannot be everybody's, in Docker's words.
    pub fn of(ipc: Option<&str>, cgroup: Option<&str>) -> Result<Self, Invalid> {
        let hint = "use \"shareable\" or \"private\"";
        let ipc = match ipc.unwrap_or_default() {
            "" => "private",
            mode @ ("private" | "shareable") => mode,
            mode if matches!(mode, "host" | "none") || joined(mode).is_some() => {
                let words = format!("IPC mode \"{mode}\" is not supported as default value; {hint}");
                return Err(Invalid::Field(words));
            }
            mode => {
                return Err(Invalid::Field(format!(
                    "default IPC mode setting ({mode}) is invalid; {hint}"
                )));
            }
        };
        let cgroup = match cgroup.unwrap_or_default() {
            "" => None,
            mode @ ("host" | "private") => Some(mode.to_owned()),
            mode => {
                let words = format!("default cgroup namespace mode ({mode}) is invalid; use \"host\" or \"private\"");
                return Err(Invalid::Field(words));
            }
        };
        Ok(Self {
            ipc: ipc.to_owned(),
            cgroup,
        })
    }

    /// Fills in what a request leaves open.
    pub fn fill_in(&self, host: &mut HostConfig) {
        if host.ipc_mode.is_empty() {
            host.ipc_mode.clone_from(&self.ipc);
        }
        if let Some(mode) = &self.cgroup
            && host.cgroupns_mode.is_empty()
        {
            host.cgroupns_mode.clone_from(mode);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_container_is_named_where_it_can_be_joined() {
        let host = |ipc: &str, pid: &str, uts: &str| HostConfig {
            ipc_mode: ipc.to_owned(),
            pid_mode: pid.to_owned(),
            uts_mode: uts.to_owned(),
            ..HostConfig::default()
        };
        assert!(check(&host("container:a", "container:b", "")).is_ok());
        for (host, words) in [
            (host("container:", "", ""), "invalid IPC mode: container:"),
            (host("", "private", ""), "invalid PID mode: private"),
            (host("", "", "container:a"), "invalid UTS mode: container:a"),
        ] {
            assert_eq!(check(&host).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn a_default_is_for_everybody() {
        let filled = |defaults: &Defaults| {
            let mut host = HostConfig::default();
            defaults.fill_in(&mut host);
            (host.ipc_mode, host.cgroupns_mode)
        };
        let none = Defaults::of(None, None).unwrap();
        assert_eq!(filled(&none), ("private".to_owned(), String::new()));
        let both = Defaults::of(Some("shareable"), Some("host")).unwrap();
        assert_eq!(filled(&both), ("shareable".to_owned(), "host".to_owned()));
        for (ipc, cgroup) in [
            (Some("host"), None),
            (Some("container:a"), None),
            (Some("nosuch"), None),
            (None, Some("nosuch")),
        ] {
            assert!(Defaults::of(ipc, cgroup).is_err(), "{ipc:?} {cgroup:?}");
        }
    }
}
