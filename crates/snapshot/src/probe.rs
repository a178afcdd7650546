//! Whether storage drivers work in a data root, by trying what they do.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use conex_sys::btrfs;
use conex_sys::mount::{self, Overlay};
use rustix::fs::{Dir, FileType, XattrFlags};
use rustix::io::Errno;

use crate::driver::{DriverError, OverlayMethod};
use crate::fuse;
use crate::tree;

/// What is made for a trial, and removed after it.
const TRIAL: &str = "tmp-trial";

/// Whether layers can be stacked by the kernel.
pub(crate) fn overlay(data_root: &Path, method: OverlayMethod) -> Result<(), DriverError> {
    in_trial(data_root, "overlay2", |trial| {
        tells_types(trial, "overlay2")?;
        keeps_attributes(trial, "overlay2")?;
        let of = |name: &str| trial.join(name);
        let (lower, upper, work) = (of("lower"), of("upper"), of("work"));
        let overlay = Overlay {
            lower: &[&lower],
            upper: Some((&upper, &work)),
            volatile: false,
            label: None,
        };
        let mounted = match method {
            OverlayMethod::Detached => mount::overlay_detached(&overlay).map(drop),
            OverlayMethod::Attached => {
                conex_sys::mountns::private(|| mount::overlay_attached(&of("at"), trial, &overlay)).flatten()
            }
        };
        mounted.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NODEV) => unsupported("overlay2", "the kernel has no overlayfs".to_owned()),
            _ => unsupported(
                "overlay2",
                format!("mount an overlay in {}: {error}", data_root.display()),
            ),
        })
    })
}

fn unsupported(name: &'static str, why: String) -> DriverError {
    DriverError::Unsupported { name, why }
}

/// Runs a trial in a directory that has what an overlay needs.
fn in_trial(
    data_root: &Path,
    name: &'static str,
    act: impl FnOnce(&Path) -> Result<(), DriverError>,
) -> Result<(), DriverError> {
    let trial = data_root.join(TRIAL);
    let remove = || match fs::remove_dir_all(&trial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let make = || {
        remove()?;
        for child in ["lower", "upper", "work", "at"] {
            fs::create_dir_all(trial.join(child))?;
        }
        Ok(())
    };
    let failed = |error: io::Error| unsupported(name, format!("write to {}: {error}", data_root.display()));
    make().map_err(failed)?;
    let done = act(&trial);
    remove().map_err(failed)?;
    done
}

/// Overlays need to know of what kind the entries of a directory are (getdents(2), `d_type`).
fn tells_types(directory: &Path, name: &'static str) -> Result<(), DriverError> {
    let told = || {
        let opened = tree::open(directory)?;
        for entry in Dir::read_from(opened.as_fd())? {
            if entry?.file_type() == FileType::Unknown {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let at = directory.parent().unwrap_or(directory).display();
    match told() {
        Ok(true) => Ok(()),
        Ok(false) => Err(unsupported(
            name,
            format!(
                "the backing filesystem of {at} is formatted without d_type support, which leads to incorrect behavior. \
                 Backing filesystems without d_type support are not supported."
            ),
        )),
        Err(error) => {
            let error: io::Error = error;
            Err(unsupported(name, format!("read {at}: {error}")))
        }
    }
}

/// Overlays mark directories by extended attributes.
fn keeps_attributes(trial: &Path, name: &'static str) -> Result<(), DriverError> {
    let set = rustix::fs::setxattr(trial.join("lower"), "trusted.overlay.opaque", b"y", XattrFlags::empty());
    let at = trial.parent().unwrap_or(trial).display();
    set.map_err(|error| {
        let error = io::Error::from(error);
        unsupported(
            name,
            format!("the backing filesystem of {at} keeps no extended attributes: {error}"),
        )
    })
}

/// The program that stacks layers, if one does.
pub(crate) fn fuse(data_root: &Path, program: Option<PathBuf>) -> Result<PathBuf, DriverError> {
    const NAME: &str = "fuse-overlayfs";
    let program = match program {
        Some(program) => program,
        None => in_path(NAME)
            .ok_or_else(|| unsupported(NAME, format!("exec: \"{NAME}\": executable file not found in $PATH")))?,
    };
    // What separates its options cannot be in them.
    if data_root.to_string_lossy().contains([',', ':', '\\']) {
        let why = format!("the path {} has one of , : and \\ in it", data_root.display());
        return Err(unsupported(NAME, why));
    }
    in_trial(data_root, NAME, |trial| {
        tells_types(trial, NAME)?;
        keeps_attributes(trial, NAME)?;
        let of = |name: &str| trial.join(name);
        let (lower, upper, work) = (of("lower"), of("upper"), of("work"));
        let overlay = Overlay {
            lower: &[&lower],
            upper: Some((&upper, &work)),
            volatile: false,
            label: None,
        };
        let mounted = fuse::mount(&program, &overlay).and_then(|root| {
            let made = rustix::fs::mkdirat(&root, "made", rustix::fs::Mode::RWXU);
            Ok(made?)
        });
        mounted.map_err(|error| unsupported(NAME, error.to_string()))
    })?;
    Ok(program)
}

/// A program of `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let candidates = std::env::split_paths(&path).map(|dir| dir.join(name));
    candidates.into_iter().find(|program| program.is_file())
}

/// Whether subvolumes can be made.
pub(crate) fn btrfs(data_root: &Path) -> Result<(), DriverError> {
    let lacks = |why: String| DriverError::Prerequisites { name: "btrfs", why };
    let place = data_root.display();
    let tried = || {
        let root = tree::open(data_root)?;
        if !btrfs::is_btrfs(root.as_fd())? {
            return Ok(false);
        }
        let name = std::ffi::CString::new(TRIAL)?;
        match btrfs::create_subvolume(root.as_fd(), &name) {
            // One that an earlier trial left.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        btrfs::destroy_subvolume(root.as_fd(), &name).map(|()| true)
    };
    match tried() {
        Ok(true) => Ok(()),
        Ok(false) => Err(lacks(format!("{place} is not on btrfs"))),
        Err(error) => Err(lacks(format!("make a subvolume in {place}: {error}"))),
    }
}
