//! Files and directories, with words for what went wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::run::Outcome;

pub(super) fn copy(from: &Path, to: &Path) -> Outcome {
    if let Some(parent) = to.parent() {
        create(parent)?;
    }
    let failed = |error: std::io::Error| format!("copy {} to {}: {error}", from.display(), to.display());
    if to.symlink_metadata().is_ok() {
        fs::remove_file(to).map_err(failed)?;
    }
    fs::copy(from, to).map(|_| ()).map_err(failed)
}

pub(super) fn write(path: &Path, text: &str, mode: u32) -> Outcome {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| format!("write {}: {error}", path.display()))
}

pub(super) fn create(dir: &Path) -> Outcome {
    fs::create_dir_all(dir).map_err(|error| format!("create {}: {error}", dir.display()))
}

pub(super) fn remove(path: &Path) -> Outcome {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("remove {}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

pub(super) fn entries(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |error: std::io::Error| format!("read {}: {error}", dir.display());
    let entries = fs::read_dir(dir).map_err(failed)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}

pub(super) fn only(dir: &Path) -> Outcome<PathBuf> {
    entries(dir)?
        .into_iter()
        .next()
        .ok_or_else(|| format!("{} is empty", dir.display()))
}

pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
