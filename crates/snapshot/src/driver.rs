//! Storage drivers: how layers are kept, and how a container's root file system is made of them.
//!
//! ```text
//!                    a layer is             a container's own          its root file system
//!   overlay2         what it changes        upper/ work/               stacked by overlayfs
//!   fuse-overlayfs   what it changes        fuse-upper/ fuse-work/     stacked by a process
//!   btrfs            a subvolume with all   subvolume/, a snapshot     that subvolume
//!   vfs              the whole tree         tree/, a copy              that directory
//! ```
//!
//! A layer that is a whole tree is one only on top of the layers that it was made of (`Snapshots::binds_layers`).
//! `docs/design/0008-storage-drivers.md` says why it is drawn so.

use std::path::{Path, PathBuf};

use crate::limit::LimitMethod;
use crate::probe;

/// Most lower directories of one overlay: the kernel's `OVL_MAX_STACK`. `fuse-overlayfs` is held to the same.
const OVERLAY_LAYERS: usize = 500;

/// How the kernel is asked for an overlay; chosen by the host's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayMethod {
    /// A detached mount, made here (`lowerdir+`, kernel 6.8).
    Detached,
    /// Options for mount(2), carried out by the container's first process.
    Attached,
}

/// A storage driver that works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// Layers are stacked by the kernel's overlayfs.
    Overlay(OverlayMethod),
    /// Layers are stacked by a process of this program, `fuse-overlayfs(1)`, for each root file system.
    FuseOverlay(PathBuf),
    /// Every layer and every container is a subvolume of its own, a snapshot of the one below.
    Btrfs,
    /// Every layer and every container is a directory of its own, copied from the one below.
    Vfs,
}

impl Driver {
    /// Names of all drivers, in the order in which they are tried where none is asked for.
    pub const NAMES: [&str; 4] = ["overlay2", "fuse-overlayfs", "btrfs", "vfs"];

    /// Whether there is a driver of this name.
    #[must_use]
    pub fn is_known(name: &str) -> bool {
        Self::NAMES.contains(&name)
    }

    /// The driver of this name, if it works in this data root. There is no method where the kernel has no overlays.
    ///
    /// # Errors
    /// There is no such driver, or it does not work here.
    pub fn open(
        name: &str,
        data_root: &Path,
        method: Option<OverlayMethod>,
        options: &StorageOptions,
    ) -> Result<Self, DriverError> {
        match name {
            "overlay2" => {
                let method = method.ok_or_else(|| DriverError::Unsupported {
                    name: "overlay2",
                    why: "the kernel has no overlayfs".to_owned(),
                })?;
                probe::overlay(data_root, method).map(|()| Self::Overlay(method))
            }
            "fuse-overlayfs" => {
                let program = options.fuse_program.clone();
                probe::fuse(data_root, program).map(Self::FuseOverlay)
            }
            "btrfs" => probe::btrfs(data_root).map(|()| Self::Btrfs),
            "vfs" => Ok(Self::Vfs),
            _ => Err(DriverError::Unknown { name: name.to_owned() }),
        }
    }

    /// Its name in the Engine API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Overlay(_) => "overlay2",
            Self::FuseOverlay(_) => "fuse-overlayfs",
            Self::Btrfs => "btrfs",
            Self::Vfs => "vfs",
        }
    }

    /// How many layers one image can have; `None` where any number goes.
    #[must_use]
    pub fn most_layers(&self) -> Option<usize> {
        match self {
            Self::Overlay(_) | Self::FuseOverlay(_) => Some(OVERLAY_LAYERS),
            Self::Btrfs | Self::Vfs => None,
        }
    }

    /// What is a container's own, in its directory or on its disk, under the names of the Engine API (`GraphDriver.Data`).
    pub(crate) fn directories(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Overlay(_) => &[("UpperDir", "upper"), ("WorkDir", "work")],
            Self::FuseOverlay(_) => &[("UpperDir", "fuse-upper"), ("WorkDir", "fuse-work")],
            Self::Btrfs | Self::Vfs => &[],
        }
    }

    /// Whether a layer is the whole tree that it and those below it come to, and not what it changes.
    pub(crate) fn keeps_trees(&self) -> bool {
        match self {
            Self::Overlay(_) | Self::FuseOverlay(_) => false,
            Self::Btrfs | Self::Vfs => true,
        }
    }

    /// What the tree of a container is called in its directory. No two drivers call it the same.
    pub(crate) fn tree_name(&self) -> &'static str {
        match self {
            Self::Btrfs => "subvolume",
            Self::Overlay(_) | Self::FuseOverlay(_) | Self::Vfs => "tree",
        }
    }

    /// What a container's writable layer and the directory beside it are called, of drivers that stack.
    pub(crate) fn upper_names(&self) -> (&'static str, &'static str) {
        match self {
            Self::FuseOverlay(_) => ("fuse-upper", "fuse-work"),
            Self::Overlay(_) | Self::Btrfs | Self::Vfs => ("upper", "work"),
        }
    }
}

/// A storage driver cannot be had; in Docker's words, with the reason.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// There is none of this name.
    #[error("driver not supported: {name}: known are {}", Driver::NAMES.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// The host or the file system cannot do what the driver does.
    #[error("driver not supported: {name}: {why}")]
    Unsupported {
        /// The driver.
        name: &'static str,
        /// What is not there.
        why: String,
    },
    /// The file system is not the driver's.
    #[error("prerequisites for driver not satisfied (wrong filesystem?): {name}: {why}")]
    Prerequisites {
        /// The driver.
        name: &'static str,
        /// What it lacks.
        why: String,
    },
    /// An option that no driver here has.
    #[error("unknown option {option}")]
    Option {
        /// As it was given.
        option: String,
    },
    /// An option without a value.
    #[error("unable to parse storage-opt key/value: {option}")]
    Pair {
        /// As it was given.
        option: String,
    },
    /// A value that is no size.
    #[error("invalid size: '{value}'")]
    Size {
        /// As it was given.
        value: String,
    },
    /// A value that says nothing.
    #[error("invalid {option}: known are {}", LimitMethod::ALL.map(LimitMethod::name).join(", "))]
    Method {
        /// As it was given.
        option: String,
    },
}

/// Options of storage drivers (`storage-opts`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageOptions {
    /// `fuse-overlayfs.mount_program`: the program that stacks layers, where it is not `fuse-overlayfs` of `PATH`.
    fuse_program: Option<PathBuf>,
    /// `<driver>.size`: bytes of the writable layers of containers that do not ask for another limit, by driver.
    sizes: Vec<(String, u64)>,
    /// `conex.quota`.
    method: Option<LimitMethod>,
}

impl StorageOptions {
    /// Reads `name=value` pairs.
    ///
    /// # Errors
    /// One is no pair, or is none of a driver's that there is.
    pub fn parse(options: &[String]) -> Result<Self, DriverError> {
        let mut read = Self::default();
        for option in options {
            let pair = option.split_once('=');
            let (name, value) = pair.ok_or_else(|| DriverError::Pair { option: option.clone() })?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            match name.as_str() {
                "fuse-overlayfs.mount_program" => read.fuse_program = Some(value.into()),
                "overlay2.size" | "fuse-overlayfs.size" | "btrfs.size" => {
                    let bytes = conex_units::size::binary(value);
                    let bytes = bytes.ok_or_else(|| DriverError::Size {
                        value: value.to_owned(),
                    })?;
                    read.sizes.push((name.trim_end_matches(".size").to_owned(), bytes));
                }
                "conex.quota" => {
                    let found = LimitMethod::ALL.into_iter().find(|method| method.name() == value);
                    let found = found.ok_or_else(|| DriverError::Method { option: option.clone() })?;
                    read.method = Some(found);
                }
                _ => return Err(DriverError::Option { option: option.clone() }),
            }
        }
        Ok(read)
    }

    /// Bytes that containers may write which do not ask for another limit; `None` where nothing limits them.
    ///
    /// # Errors
    /// A limit is meant for another driver than this, which would not have it.
    pub fn size(&self, driver: &Driver) -> Result<Option<u64>, DriverError> {
        if let Some((other, _)) = self.sizes.iter().find(|(other, _)| other != driver.name()) {
            let option = format!("{other}.size of the storage driver {}", driver.name());
            return Err(DriverError::Option { option });
        }
        Ok(self.sizes.last().map(|(_, bytes)| *bytes).filter(|bytes| *bytes > 0))
    }

    /// How containers are to be held to their limits, where that was said.
    #[must_use]
    pub fn method(&self) -> Option<LimitMethod> {
        self.method
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<StorageOptions, String> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        StorageOptions::parse(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read_as_docker_reads_them() {
        let read = parse(&["overlay2.size = 10G", "conex.quota=loop"]);
        let read = read.expect("both are known");
        assert_eq!(read.method(), Some(LimitMethod::Loop));
        let of = |driver: &Driver| read.size(driver).map_err(|error| error.to_string());
        let overlay = Driver::Overlay(OverlayMethod::Detached);
        assert_eq!(of(&overlay), Ok(Some(10 << 30)));
        assert_eq!(
            of(&Driver::Btrfs),
            Err("unknown option overlay2.size of the storage driver btrfs".to_owned())
        );
        let none = parse(&["overlay2.size=0"]).expect("no limit");
        assert_eq!(none.size(&overlay).ok(), Some(None));
        for (option, words) in [
            ("overlay2.size", "unable to parse storage-opt key/value: overlay2.size"),
            ("overlay2.size=ten", "invalid size: 'ten'"),
            ("overlay2.size=-1", "invalid size: '-1'"),
            ("vfs.size=1G", "unknown option vfs.size=1G"),
            (
                "conex.quota=no",
                "invalid conex.quota=no: known are auto, project, loop",
            ),
        ] {
            assert_eq!(parse(&[option]), Err(words.to_owned()), "{option}");
        }
    }
}
