//! SELinux: whether a policy is loaded, and the labels of files (xattr(7), `security.selinux`).
//!
//! A tree is labelled at strangers' mercy: whoever writes to it may exchange a directory for a link, and it may be deeper
//! than a process may have descriptors. So directories are opened by their names below the tree's top without following
//! links, a few at a time, and what is in them is labelled by its name in the opened directory.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use crate::descriptor::proc_path;
use crate::path::open_with;

/// The attribute that is the label.
pub const LABEL: &str = "security.selinux";

/// The module's files, where containers do not see them.
pub const INTERFACE: &str = "/sys/fs/selinux";

/// Most components of a path that are opened at once; each is 255 bytes at most, and a path 4095 (path_resolution(7)).
const COMPONENTS: usize = 15;

/// What the kernel labels everything with before a policy is loaded.
const WITHOUT_POLICY: &str = "kernel";

/// Whether the kernel has SELinux and a policy.
#[must_use]
pub fn is_enabled() -> bool {
    let is_there = Path::new(INTERFACE).join("enforce").exists();
    is_there && fs::read("/proc/thread-self/attr/current").is_ok_and(|label| !is(&label, WITHOUT_POLICY))
}

/// Labels one object. One that has the label is left alone.
///
/// # Errors
/// Also where the file system has no labels (`EOPNOTSUPP`), and where the policy has no such label (`EINVAL`).
pub fn set_label(object: BorrowedFd<'_>, label: &str) -> io::Result<()> {
    let path = proc_path(object);
    let mut value = vec![0; label.len() + 1];
    match rustix::fs::getxattr(&path, LABEL, &mut value) {
        Ok(length) if is(&value[..length], label) => return Ok(()),
        _ => {}
    }
    Ok(rustix::fs::setxattr(
        &path,
        LABEL,
        label.as_bytes(),
        XattrFlags::empty(),
    )?)
}

/// Whether an object has this label.
#[must_use]
pub fn has_label(object: BorrowedFd<'_>, label: &str) -> bool {
    let mut value = vec![0; label.len() + 1];
    let read = rustix::fs::getxattr(proc_path(object), LABEL, &mut value);
    read.is_ok_and(|length| is(&value[..length], label))
}

/// The kernel may end a label with a zero.
fn is(value: &[u8], label: &str) -> bool {
    value.strip_suffix(b"\0").unwrap_or(value) == label.as_bytes()
}

/// Labels an object and all below it, also what is mounted there, and follows no link. What goes away meanwhile, or is on a
/// file system without labels, is passed over. The object itself comes last: one that has the label is done.
///
/// # Errors
/// The policy has no such label, or something cannot be labelled.
pub fn label_tree(object: BorrowedFd<'_>, label: &str) -> io::Result<()> {
    if crate::path::is_dir(object)? {
        let mut pending = vec![Vec::new()];
        while let Some(place) = pending.pop() {
            let Some(directory) = open_below(object, &place)? else {
                continue;
            };
            label_entries(directory.as_fd(), label, |name| {
                let mut below = place.clone();
                below.push(name);
                pending.push(below);
            })?;
        }
    }
    passed_over(set_label(object, label))
}

/// As `label_tree`, of a directory at a path that no container controls; one that has the label is done, and costs a look.
///
/// # Errors
/// As there, and where there is no directory.
pub fn label_tree_at(path: &Path, label: &str) -> io::Result<()> {
    let opened = crate::path::open_dir(path)?;
    if has_label(opened.as_fd(), label) {
        return Ok(());
    }
    label_tree(opened.as_fd(), label)
}

/// Opens a directory by the names on the way to it; `None` where that leads to none any more.
fn open_below(top: BorrowedFd<'_>, place: &[CString]) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut opened: Option<OwnedFd> = None;
    for names in place.chunks(COMPONENTS).chain(place.is_empty().then_some(&[][..])) {
        let names: Vec<&[u8]> = names.iter().map(|name| name.to_bytes()).collect();
        let path = names.join(&b'/');
        let from = opened.as_ref().map_or(top, AsFd::as_fd);
        match open_with(from, Path::new(OsStr::from_bytes(&path)), flags, resolve) {
            Ok(directory) => opened = Some(directory),
            Err(error) => {
                let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
                return match Errno::from_io_error(&error) {
                    Some(errno) if gone.contains(&errno) => Ok(None),
                    _ => Err(error),
                };
            }
        }
    }
    Ok(opened)
}

/// Labels what is in a directory, and tells the directories among it.
fn label_entries(directory: BorrowedFd<'_>, label: &str, mut is_directory: impl FnMut(CString)) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let path = proc_path(directory).join(OsStr::from_bytes(name.to_bytes()));
        let mut value = vec![0; label.len() + 1];
        let is_labelled =
            rustix::fs::lgetxattr(&path, LABEL, &mut value).is_ok_and(|length| is(&value[..length], label));
        if !is_labelled {
            let set = rustix::fs::lsetxattr(&path, LABEL, label.as_bytes(), XattrFlags::empty());
            passed_over(set.map_err(io::Error::from))?;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => kind(directory, name),
            kind => kind,
        };
        if kind == FileType::Directory {
            is_directory(name.to_owned());
        }
    }
    Ok(())
}

/// What a name is where the file system does not tell with it.
fn kind(directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> FileType {
    let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    found.map_or(FileType::Unknown, |found| FileType::from_raw_mode(found.st_mode))
}

fn passed_over(set: io::Result<()>) -> io::Result<()> {
    match set {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::OPNOTSUPP)) => Ok(()),
        set => set,
    }
}
