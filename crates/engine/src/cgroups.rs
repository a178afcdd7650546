//! Where the control groups of containers are, and who makes them.

use std::fs;
use std::path::{Path, PathBuf};

use conex_cgroup::{Cgroup, CgroupError, Layout, Version};
use conex_container::Invalid;
use conex_spec::plan::Scope;
use serde::{Deserialize, Serialize};

use crate::containers::files::StateRecord;
use crate::containers::{Container, recovery};
use crate::engine::Inner;

/// Who makes the control groups of containers, and below what where a container does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroups {
    /// We, as directories.
    Files {
        /// Absolute, below each hierarchy's root.
        parent: PathBuf,
    },
    /// systemd, as scopes.
    Systemd {
        /// The name of the slice.
        slice: String,
    },
}

/// The option of `--exec-opt` that names the driver.
const DRIVER: &str = "native.cgroupdriver";

/// Docker's names of the drivers.
const FILES: &str = "cgroupfs";
const SYSTEMD: &str = "systemd";

/// What Docker's scopes begin with.
const PREFIX: &str = "docker";

impl Cgroups {
    /// Parent of directories where none is asked for.
    pub const PARENT: &str = "/conex";

    /// What the daemon's `--exec-opt` and `--cgroup-parent` ask for. Where no driver is named it is systemd on hosts that it
    /// runs and whose hierarchy is the unified one, as in Docker.
    ///
    /// # Errors
    /// In Docker's words; for systemd on a host without it, in those of runc.
    pub fn choose(options: &[String], parent: Option<&str>) -> Result<Self, Invalid> {
        let has_systemd = conex_cgroup::is_systemd_running();
        let driver = match driver(options)? {
            Some(SYSTEMD) if !has_systemd => return Err(Invalid::Field(CgroupError::NoSystemd.to_string())),
            Some(driver) => driver,
            None if has_systemd && is_unified() => SYSTEMD,
            None => FILES,
        };
        Self::of(driver, parent.filter(|parent| !parent.is_empty()))
    }

    fn of(driver: &str, parent: Option<&str>) -> Result<Self, Invalid> {
        if driver == SYSTEMD {
            let slice = parent.unwrap_or(Scope::DEFAULT_SLICE);
            check_slice(slice)?;
            return Ok(Self::Systemd {
                slice: slice.to_owned(),
            });
        }
        let parent = parent.unwrap_or(Self::PARENT);
        if !parent.starts_with('/') {
            let words = format!("--cgroup-parent {parent}: for cgroupfs it is an absolute path");
            return Err(Invalid::Field(words));
        }
        Ok(Self::Files {
            parent: PathBuf::from(parent),
        })
    }

    /// Refuses a container's parent that the driver has no place for.
    pub(crate) fn check(&self, parent: &str) -> Result<(), Invalid> {
        match self {
            Self::Systemd { .. } if !parent.is_empty() => check_slice(parent),
            _ => Ok(()),
        }
    }

    /// Docker's name of the driver.
    pub(crate) fn driver(&self) -> &'static str {
        match self {
            Self::Files { .. } => FILES,
            Self::Systemd { .. } => SYSTEMD,
        }
    }

    /// Where a container with this id and parent is put.
    fn place(&self, id: &str, parent: &str) -> conex_spec::Result<Place> {
        match self {
            Self::Files { .. } if parent.starts_with('/') => Ok(Place::directory(Path::new(parent), id)),
            Self::Files { parent: own } => Ok(Place::directory(&own.join(parent), id)),
            Self::Systemd { slice } => {
                let slice = if parent.is_empty() { slice } else { parent };
                let scope = Scope::new(slice, PREFIX, id, id)?;
                Ok(Place {
                    path: scope.path()?,
                    scope: Some(scope),
                })
            }
        }
    }

    /// Where daemons put containers that did not note it: they knew directories alone.
    fn place_before(&self, id: &str, parent: &str) -> conex_spec::Result<Place> {
        match self {
            Self::Files { .. } => self.place(id, parent),
            Self::Systemd { .. } => Self::Files {
                parent: PathBuf::from(Self::PARENT),
            }
            .place(id, parent),
        }
    }
}

/// The driver that the options name.
fn driver(options: &[String]) -> Result<Option<&str>, Invalid> {
    let mut named = None;
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if !name.trim().eq_ignore_ascii_case(DRIVER) {
            return Err(Invalid::Field(format!("unknown option of --exec-opt: {option}")));
        }
        match value.trim() {
            "" => {}
            driver @ (FILES | SYSTEMD) => named = named.or(Some(driver)),
            "none" => {
                let words = format!("{DRIVER} option none is internally used and cannot be specified manually");
                return Err(Invalid::Field(words));
            }
            other => return Err(Invalid::Field(format!("{DRIVER} option {other} not supported"))),
        }
    }
    Ok(named)
}

fn check_slice(parent: &str) -> Result<(), Invalid> {
    if parent.len() > ".slice".len() && parent.ends_with(".slice") {
        return Ok(());
    }
    let words = "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"";
    Err(Invalid::Field(words.to_owned()))
}

fn is_unified() -> bool {
    Layout::probe().is_ok_and(|layout| layout.version() == Version::V2)
}

/// Where a container's control group is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Below each hierarchy's root.
    pub(crate) path: PathBuf,
    /// The unit of systemd that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<Scope>,
}

impl Place {
    fn directory(parent: &Path, id: &str) -> Self {
        Self {
            path: parent.join(id),
            scope: None,
        }
    }
}

impl Inner {
    /// Where the next run of a container is put.
    pub(crate) fn next_place(&self, container: &Container) -> conex_spec::Result<Place> {
        let parent = &container.config.host.cgroup_parent;
        self.settings.cgroups.place(&container.id, parent)
    }

    /// Where the latest run of a container was put: the daemon that did it may have had other settings.
    pub(crate) fn place(&self, container: &Container) -> conex_spec::Result<Place> {
        let state: Option<StateRecord> = recovery::load(&self.files.state_file(&container.id)).ok().flatten();
        match state.and_then(|state| state.run) {
            None => self.next_place(container),
            Some(run) => run.cgroup.map_or_else(
                || {
                    let parent = &container.config.host.cgroup_parent;
                    self.settings.cgroups.place_before(&container.id, parent)
                },
                Ok,
            ),
        }
    }

    /// The control group of a container, whether it exists or not.
    pub(crate) fn cgroup(&self, container: &Container) -> Cgroup {
        self.cgroup_at(self.place(container))
    }

    /// One that could not be placed has no directories.
    fn cgroup_at(&self, place: conex_spec::Result<Place>) -> Cgroup {
        let Ok(place) = place else {
            return Cgroup::open(Vec::new());
        };
        let unit = place.scope.map(|scope| scope.name);
        Cgroup::open(self.host.cgroups.directories(&place.path)).of_unit(unit)
    }

    /// Removes the parent of the containers' cgroups where it is our own and nothing is in it.
    pub(crate) fn leave_cgroups(&self) {
        let own = Cgroups::Files {
            parent: PathBuf::from(Cgroups::PARENT),
        };
        if self.settings.cgroups != own {
            return;
        }
        for directory in self.host.cgroups.directories(Path::new(Cgroups::PARENT)) {
            // One that is in use stays, as does what another daemon shares.
            let _ = fs::remove_dir(directory);
        }
    }

    /// Kills and removes a cgroup that may be left of a container.
    pub(crate) fn kill_cgroup_of(&self, id: &str) {
        let mut cgroup = match self.containers.find(id) {
            Ok(container) => self.cgroup(&container),
            Err(_) => self.cgroup_at(self.settings.cgroups.place(id, "")),
        };
        if let Err(error) = cgroup.kill_all() {
            tracing::warn!(container = id, %error, "kill what is left in the cgroup");
        }
        if let Err(error) = cgroup.remove() {
            tracing::warn!(container = id, %error, "remove the cgroup");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn systemd() -> Cgroups {
        Cgroups::of(SYSTEMD, None).unwrap()
    }

    #[test]
    fn containers_are_put_where_docker_puts_them() {
        let place = systemd().place("0123", "").unwrap();
        assert_eq!(place.path, Path::new("/system.slice/docker-0123.scope"));
        let place = systemd().place("0123", "a-b.slice").unwrap();
        assert_eq!(place.path, Path::new("/a.slice/a-b.slice/docker-0123.scope"));
        assert_eq!(place.scope.unwrap().slice, "a-b.slice");
        assert!(systemd().place("0123", "a--b.slice").is_err());
    }

    #[test]
    fn directories_are_below_the_daemons_parent_or_their_own() {
        let files = Cgroups::of(FILES, Some("/p")).unwrap();
        let path = |parent: &str| files.place("0123", parent).unwrap().path;
        assert_eq!(path(""), Path::new("/p/0123"));
        assert_eq!(path("q"), Path::new("/p/q/0123"));
        assert_eq!(path("/r"), Path::new("/r/0123"));
    }

    #[test]
    fn a_run_of_which_nothing_is_noted_is_in_a_directory() {
        let place = systemd().place_before("0123", "").unwrap();
        assert_eq!((place.path.as_path(), place.scope), (Path::new("/conex/0123"), None));
    }

    #[test]
    fn a_parent_that_is_no_slice_is_refused_in_dockers_words() {
        let words = "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"";
        for parent in ["/p", "p", ".slice"] {
            let daemon = Cgroups::of(SYSTEMD, Some(parent)).unwrap_err();
            let container = systemd().check(parent).unwrap_err();
            assert_eq!([daemon.to_string(), container.to_string()], [words, words]);
        }
        assert!(systemd().check("").is_ok() && systemd().check("p.slice").is_ok());
        assert!(Cgroups::of(FILES, None).unwrap().check("/p").is_ok());
    }

    #[test]
    fn the_driver_is_an_option() {
        let named = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            match driver(&options) {
                Ok(driver) => driver.unwrap_or("none named").to_owned(),
                Err(refused) => refused.to_string(),
            }
        };
        assert_eq!(named(&[]), "none named");
        assert_eq!(named(&["native.cgroupdriver=systemd"]), "systemd");
        assert_eq!(named(&["Native.CgroupDriver=cgroupfs"]), "cgroupfs");
        assert_eq!(
            named(&["native.cgroupdriver=foo"]),
            "native.cgroupdriver option foo not supported"
        );
        assert!(named(&["native.cgroupdriver=none"]).contains("internally used"));
        assert_eq!(
            named(&["isolation=hyperv"]),
            "unknown option of --exec-opt: isolation=hyperv"
        );
    }
}
