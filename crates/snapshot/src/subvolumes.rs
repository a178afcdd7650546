//! Subvolumes of btrfs on their way out.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use conex_sys::btrfs;
use rustix::fs::{AtFlags, FileType};

use crate::copy::is;
use crate::tree;

/// Destroys a directory if it is a subvolume, and the subvolumes right in it: all at once, where the files of each could
/// only be deleted one by one. Those that processes of a container have made within go with them.
pub(crate) fn destroy(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let (parent, own) = (tree::open(parent)?, tree::open(path)?);
    if !btrfs::is_btrfs(own.as_fd())? {
        return Ok(());
    }
    if btrfs::is_subvolume(own.as_fd())? {
        drop(own);
        return destroy_in(parent.as_fd(), &CString::new(name.as_bytes())?);
    }
    for name in tree::names(own.as_fd())? {
        if is_subvolume(own.as_fd(), &name)? {
            destroy_in(own.as_fd(), &name)?;
        }
    }
    Ok(())
}

fn is_subvolume(parent: BorrowedFd<'_>, name: &CString) -> io::Result<bool> {
    let found = rustix::fs::statat(parent, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(is(&found, FileType::Directory) && btrfs::is_subvolume(tree::open_in(parent, name)?.as_fd())?)
}

fn destroy_in(parent: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
    match destroy_one(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
        destroyed => return destroyed,
    }
    // Others are in it.
    for (parent, name) in within(tree::open_in(parent, name)?)?.iter().rev() {
        destroy_one(parent.as_fd(), name)?;
    }
    destroy_one(parent, name)
}

/// Destroys a subvolume that no others are in, with what was counted of it.
fn destroy_one(parent: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
    let number = btrfs::subvolume(tree::open_in(parent, name)?.as_fd())?;
    btrfs::destroy_subvolume(parent, name)?;
    btrfs::forget_subvolume(parent, number)
}

/// All subvolumes within a tree, those that others are in before these.
fn within(root: OwnedFd) -> io::Result<Vec<(OwnedFd, CString)>> {
    let mut found = Vec::new();
    let mut waiting = vec![(tree::names(root.as_fd())?, root)];
    while let Some((left, directory)) = waiting.last_mut() {
        let Some(name) = left.pop() else {
            waiting.pop();
            continue;
        };
        let stat = rustix::fs::statat(&*directory, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        if !is(&stat, FileType::Directory) {
            continue;
        }
        let below = tree::open_in(directory.as_fd(), &name)?;
        if btrfs::is_subvolume(below.as_fd())? {
            found.push((directory.try_clone()?, name));
        }
        waiting.push((tree::names(below.as_fd())?, below));
    }
    Ok(found)
}
