//! Binds, volumes and tmpfs mounts that a client asks for: `-v`, `--mount`, `--volumes-from`, and what an image declares.

mod long;
mod short;
mod volumes_from;

use std::collections::BTreeMap;

use conex_api_types::HostConfig;
use serde::{Deserialize, Serialize};

pub use crate::mounts::volumes_from::VolumesFrom;

use crate::config::Config;
use crate::invalid::Invalid;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum MountChoice {
    /// A path of the host.
    Bind {
        /// Absolute path on the host.
        source: String,
        /// Absolute path in the container.
        target: String,
        /// Read-only.
        read_only: bool,
        /// What becomes of mounts below it where it is read-only.
        submounts: Submounts,
        /// With what is mounted below.
        recursive: bool,
        /// Make the source where it is absent (`-v`); else its absence is an error (`--mount`).
        create: bool,
        /// Propagation.
        propagation: BindPropagation,
        /// Options as `-v` spelled them, for inspection.
        #[serde(default)]
        mode: String,
    },
    /// A volume.
    Volume(VolumeChoice),
    /// A file system in memory.
    Tmpfs {
        /// Absolute path in the container.
        target: String,
        /// Bytes, 0 for no limit.
        size: i64,
        /// Permission bits, 0 for 1777.
        mode: u32,
        /// Read-only.
        read_only: bool,
        /// Programs may be executed from it.
        #[serde(default)]
        exec: bool,
    },
}

/// A volume in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeChoice {
    /// Its name; empty where the engine has yet to make one up.
    pub name: String,
    /// Absolute path in the container.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
    /// Whether an empty one is left empty, whatever the image has at the target.
    pub no_copy: bool,
    /// Nobody named it: it can be removed with its container.
    pub anonymous: bool,
    /// Path within the volume that is mounted; empty for all of it.
    pub subpath: String,
    /// Driver that makes it where it is absent; empty for the default.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Labels that it gets where it is made.
    pub labels: BTreeMap<String, String>,
    /// Options as `-v` spelled them, for inspection.
    pub mode: String,
}

/// What a read-only bind does to the mounts below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Submounts {
    /// They are read-only too, where the kernel can do that.
    #[default]
    ReadOnly,
    /// They are read-only too, or the container does not start.
    ForcedReadOnly,
    /// They stay as they are.
    Unchanged,
}

/// Propagation of a bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BindPropagation {
    /// Private.
    #[default]
    Private,
    /// Slave.
    Slave,
    /// Shared.
    Shared,
}

/// For whom SELinux labels what is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relabel {
    /// For all containers (`z`).
    ForAll,
    /// For the one (`Z`).
    ForOne,
}

impl MountChoice {
    /// Where it is in the container.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } => target,
            Self::Volume(volume) => &volume.target,
        }
    }

    /// For whom its options have it labelled. A volume is for all where they do not say.
    pub fn relabel(&self) -> Option<Relabel> {
        let mode = match self {
            Self::Bind { mode, .. } => mode,
            Self::Volume(volume) => &volume.mode,
            Self::Tmpfs { .. } => return None,
        };
        mode.split(',').find_map(|option| match option {
            "z" => Some(Relabel::ForAll),
            "Z" => Some(Relabel::ForOne),
            _ => None,
        })
    }

    /// The volume that it is.
    pub fn volume(&self) -> Option<&VolumeChoice> {
        match self {
            Self::Volume(volume) => Some(volume),
            _ => None,
        }
    }
}

impl Config {
    /// The volumes in the container.
    pub fn mounted_volumes(&self) -> impl Iterator<Item = &VolumeChoice> {
        self.mounts.iter().filter_map(MountChoice::volume)
    }

    /// The volumes in the container, to be named.
    pub fn mounted_volumes_mut(&mut self) -> impl Iterator<Item = &mut VolumeChoice> {
        self.mounts.iter_mut().filter_map(|mount| match mount {
            MountChoice::Volume(volume) => Some(volume),
            _ => None,
        })
    }

    /// Leaves mounts below read-only binds as they are, which was all that there was before version 1.44 of the API.
    pub fn leave_submounts_writable(&mut self) {
        for mount in &mut self.mounts {
            if let MountChoice::Bind { submounts, .. } = mount {
                *submounts = Submounts::Unchanged;
            }
        }
    }

    /// Mounts what another container has, where nothing of this one's own is. A tmpfs is not shared.
    pub fn share_mounts(&mut self, other: &Config, from: &VolumesFrom) {
        for mount in &other.mounts {
            let mut mount = mount.clone();
            match &mut mount {
                MountChoice::Tmpfs { .. } => continue,
                MountChoice::Bind { read_only, .. } => *read_only |= from.read_only,
                MountChoice::Volume(volume) => {
                    volume.read_only |= from.read_only;
                    volume.no_copy = true;
                }
            }
            if !self.is_mounted(mount.target()) {
                self.mounts.push(mount);
            }
        }
    }

    /// Gives every path that image or client call a volume a volume of its own where nothing else is mounted.
    pub(crate) fn mount_declared_volumes(&mut self) -> Result<(), Invalid> {
        for declared in self.volumes.clone() {
            let target = volume_target(&declared, "volume", &declared)?;
            if !self.is_mounted(&target) {
                self.mounts.push(MountChoice::Volume(VolumeChoice {
                    target,
                    anonymous: true,
                    driver: self.host.volume_driver.clone(),
                    ..VolumeChoice::default()
                }));
            }
        }
        Ok(())
    }

    fn is_mounted(&self, target: &str) -> bool {
        let tmpfs = self.host.tmpfs.iter().flatten();
        self.mounts.iter().any(|mount| mount.target() == target) || tmpfs.into_iter().any(|(at, _)| clean(at) == target)
    }
}

pub(crate) fn from_host_config(host: &HostConfig) -> Result<Vec<MountChoice>, Invalid> {
    let mut mounts = Vec::new();
    for text in host.binds.iter().flatten() {
        mounts.push(short::parse(text, &host.volume_driver)?);
    }
    for mount in host.mounts.iter().flatten() {
        mounts.push(long::parse(mount)?);
    }
    let mut targets: Vec<String> = host.tmpfs.iter().flatten().map(|(target, _)| clean(target)).collect();
    for mount in &mounts {
        let target = mount.target();
        if targets.iter().any(|other| other == target) {
            return Err(Invalid::Field(format!("Duplicate mount point: {target}")));
        }
        targets.push(target.to_owned());
    }
    Ok(mounts)
}

/// A path in the container as all that name it must agree on; `what` is the specification that names it.
fn volume_target(target: &str, kind: &str, what: &str) -> Result<String, Invalid> {
    let reason = if !target.starts_with('/') {
        format!("invalid mount path: '{target}' mount path must be absolute")
    } else if clean(target) == "/" {
        "invalid specification: destination can't be '/'".to_owned()
    } else {
        return Ok(clean(target));
    };
    Err(Invalid::Field(format!(
        "invalid volume specification: '{what}': invalid mount config for type \"{kind}\": {reason}"
    )))
}

/// A path without `.`, `..` and empty parts.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn parse_propagation(text: &str) -> Option<BindPropagation> {
    match text {
        "" | "private" | "rprivate" => Some(BindPropagation::Private),
        "slave" | "rslave" => Some(BindPropagation::Slave),
        "shared" | "rshared" => Some(BindPropagation::Shared),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, target: &str) -> MountChoice {
        MountChoice::Volume(VolumeChoice {
            name: name.to_owned(),
            target: target.to_owned(),
            ..VolumeChoice::default()
        })
    }

    #[test]
    fn two_mounts_at_one_place_are_refused() {
        let refusal = |binds: &[&str]| {
            let host = HostConfig {
                binds: Some(binds.iter().map(|bind| (*bind).to_owned()).collect()),
                tmpfs: Some(BTreeMap::from([("/t/".into(), String::new())])),
                ..HostConfig::default()
            };
            from_host_config(&host).unwrap_err().to_string()
        };
        assert_eq!(refusal(&["/a:/x", "/b:/x/"]), "Duplicate mount point: /x");
        assert_eq!(refusal(&["name:/t"]), "Duplicate mount point: /t");
    }

    #[test]
    fn declared_volumes_are_mounted_where_nothing_else_is() {
        let mut config = Config {
            mounts: vec![volume("named", "/a")],
            volumes: ["/a/", "/b", "/t"].map(String::from).into(),
            ..Config::default()
        };
        config.host.tmpfs = Some(BTreeMap::from([("/t".into(), String::new())]));
        config.mount_declared_volumes().unwrap();
        let targets: Vec<&str> = config.mounts.iter().map(MountChoice::target).collect();
        assert_eq!(targets, ["/a", "/b"]);
        assert!(config.mounts[1].volume().unwrap().anonymous);
        config.volumes = ["relative".to_owned()].into();
        assert!(config.mount_declared_volumes().is_err());
    }

    #[test]
    fn shared_mounts_give_way_to_a_containers_own() {
        let other = Config {
            mounts: vec![volume("one", "/a"), volume("two", "/b")],
            ..Config::default()
        };
        let mut config = Config {
            mounts: vec![volume("own", "/a")],
            ..Config::default()
        };
        config.share_mounts(&other, &"x:ro".parse().unwrap());
        let shared: Vec<_> = config
            .mounted_volumes()
            .map(|volume| (volume.name.as_str(), volume.target.as_str(), volume.read_only))
            .collect();
        assert_eq!(shared, [("own", "/a", false), ("two", "/b", true)]);
    }

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean("//a/./b/../c/"), "/a/c");
        assert_eq!(clean("/.."), "/");
    }
}
