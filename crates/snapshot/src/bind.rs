//! Binding a layer to those below it: what its archive left for them to say.
//!
//! A directory that a layer implies takes owner, mode, attributes and time from the nearest layer below that has it, and a
//! hard link to a file of a lower layer takes that file along (a copy, as overlayfs itself would copy it up). Such a layer
//! is right only on top of these layers, and is recorded under its chain id.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, XattrFlags};

use crate::error::{SnapshotError, file};
use crate::store::{Layer, Staging};

impl Staging {
    /// Completes the layer from those below it (top-most first): `implied` are directories, `links` are hard links and what
    /// they link to, all relative to the root.
    pub fn bind(
        &self,
        below: &[Layer],
        implied: &[PathBuf],
        links: &[(PathBuf, PathBuf)],
    ) -> Result<(), SnapshotError> {
        let mut lower = Vec::with_capacity(below.len());
        for layer in below {
            let path = self.store.path(&layer.name);
            lower.push(OwnedFd::from(File::open(&path).map_err(file("open", &path))?));
        }
        // Where what a target named is by now: a second link to it, or to the first link, shows the same file.
        let mut bound: HashMap<&Path, &Path> = HashMap::new();
        for (link, target) in links {
            match bound.get(target.as_path()) {
                Some(first) => self.link_again(first, link)?,
                None => {
                    self.bind_link(&lower, link, target)?;
                    bound.insert(target, link);
                }
            }
            bound.insert(link, link);
        }
        // Deepest first: making things in a directory changes its time.
        for directory in implied.iter().rev() {
            if let Some((source, found)) = find(&lower, directory)
                && is(&found, FileType::Directory)
            {
                let target = open_beneath(self.dir(), directory, OFlags::PATH | OFlags::DIRECTORY)
                    .map_err(file("open", directory))?;
                copy_attributes(source.as_fd(), &found, target.as_fd())
                    .map_err(file("copy attributes of", directory))?;
            }
        }
        Ok(())
    }

    fn bind_link(&self, lower: &[OwnedFd], link: &Path, target: &Path) -> Result<(), SnapshotError> {
        let absent = || SnapshotError::LinkTarget {
            link: link.to_owned(),
            target: target.to_owned(),
        };
        let (link_dir, link_name) = split(link).ok_or_else(absent)?;
        let link_parent =
            open_beneath(self.dir(), link_dir, OFlags::PATH | OFlags::DIRECTORY).map_err(file("open", link_dir))?;
        let (source, found) = find(lower, target).ok_or_else(absent)?;
        // The copy stands under the link's name; the target's own name, in the same layer, is made one with it, so that
        // both names show one file, as they do after overlayfs has copied up the target.
        copy_up(source.as_fd(), &found, link_parent.as_fd(), link_name).map_err(file("copy", target))?;
        let (target_dir, target_name) = split(target).ok_or_else(absent)?;
        let target_parent = self.make_dirs(lower, target_dir)?;
        match rustix::fs::linkat(&link_parent, link_name, &target_parent, target_name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(file("link", target)(error.into())),
        }
    }

    /// Gives what was bound under one name another.
    fn link_again(&self, first: &Path, link: &Path) -> Result<(), SnapshotError> {
        let open = |path: &Path| {
            let parent = path.parent().unwrap_or(Path::new(""));
            open_beneath(self.dir(), parent, OFlags::PATH | OFlags::DIRECTORY).map_err(file("open", parent))
        };
        let (from, to) = (open(first)?, open(link)?);
        let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
        rustix::fs::linkat(from, name(first), to, name(link), AtFlags::empty())
            .map_err(|error| file("link", link)(error.into()))
    }

    /// Opens a directory of the layer, making what is absent of it like the lower layers' own.
    fn make_dirs(&self, lower: &[OwnedFd], path: &Path) -> Result<OwnedFd, SnapshotError> {
        let mut walked = PathBuf::new();
        let mut dir = open_beneath(self.dir(), Path::new("."), OFlags::PATH).map_err(file("open", path))?;
        for component in path
            .components()
            .filter(|component| matches!(component, Component::Normal(_)))
        {
            walked.push(component);
            let made = match rustix::fs::mkdirat(&dir, component.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) => true,
                Err(rustix::io::Errno::EXIST) => false,
                Err(error) => return Err(file("make", &walked)(error.into())),
            };
            dir = open_beneath(self.dir(), &walked, OFlags::PATH | OFlags::DIRECTORY).map_err(file("open", &walked))?;
            if made && let Some((source, found)) = find(lower, &walked) {
                copy_attributes(source.as_fd(), &found, dir.as_fd()).map_err(file("copy attributes of", &walked))?;
            }
        }
        Ok(dir)
    }
}

fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

fn is(found: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(found.st_mode) == kind
}

/// What the stacked layers show at a path: that of the top-most layer that has it, unless a layer above hides it.
fn find(lower: &[OwnedFd], path: &Path) -> Option<(OwnedFd, Stat)> {
    for layer in lower {
        let mut walked = PathBuf::new();
        let mut hides = false;
        for component in path.components() {
            walked.push(component);
            let Ok(opened) = open_beneath(layer.as_fd(), &walked, OFlags::PATH | OFlags::NOFOLLOW) else {
                break;
            };
            let Ok(found) = rustix::fs::fstat(&opened) else { break };
            if is(&found, FileType::CharacterDevice) && found.st_rdev == 0 {
                return None;
            }
            if walked == path {
                return Some((opened, found));
            }
            if !is(&found, FileType::Directory) {
                return None;
            }
            hides |= is_opaque(opened.as_fd());
        }
        if hides {
            return None;
        }
    }
    None
}

fn is_opaque(dir: BorrowedFd<'_>) -> bool {
    let mut value = [0_u8; 1];
    rustix::fs::getxattr(proc_path(dir), "trusted.overlay.opaque", &mut value).is_ok_and(|_| &value == b"y")
}

/// Opens beneath a layer's root; layers are other people's data, so nothing on the way may lead out.
fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )?)
}

fn proc_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Copies one object of any kind but a directory, with everything that belongs to it.
fn copy_up(source: BorrowedFd<'_>, found: &Stat, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let mode = Mode::from_raw_mode(found.st_mode & 0o7777);
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut to = File::from(rustix::fs::openat(parent, name, flags, mode)?);
            io::copy(&mut File::open(proc_path(source))?, &mut to)?;
        }
        FileType::Symlink => {
            let contents = rustix::fs::readlinkat(source, "", Vec::new())?;
            rustix::fs::symlinkat(contents.as_c_str(), parent, name)?;
        }
        FileType::Directory => return Err(rustix::io::Errno::PERM.into()),
        kind => rustix::fs::mknodat(parent, name, kind, mode, found.st_rdev)?,
    }
    let target = rustix::fs::openat(
        parent,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    copy_attributes(source, found, target.as_fd())
}

/// Owner, mode, extended attributes and times of one object for another.
fn copy_attributes(source: BorrowedFd<'_>, found: &Stat, target: BorrowedFd<'_>) -> io::Result<()> {
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(found.st_uid),
        rustix::fs::Gid::from_raw(found.st_gid),
    );
    rustix::fs::chownat(target, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    let is_symlink = is(found, FileType::Symlink);
    if !is_symlink {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(proc_path(target), fs::Permissions::from_mode(found.st_mode & 0o7777))?;
        copy_xattrs(source, target)?;
    }
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: found.st_mtime,
            tv_nsec: i64::try_from(found.st_mtime_nsec).unwrap_or_default(),
        },
    };
    Ok(rustix::fs::utimensat(target, "", &times, AtFlags::EMPTY_PATH)?)
}

fn copy_xattrs(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let (from, to) = (proc_path(source), proc_path(target));
    let mut names = vec![0_u8; 64 << 10];
    let length = match rustix::fs::listxattr(&from, &mut names) {
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        length => length?,
    };
    let steers = |name: &[u8]| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let mut value = vec![0_u8; 64 << 10];
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !steers(name))
    {
        let name = OsStr::from_bytes(name);
        let length = rustix::fs::getxattr(&from, name, &mut value)?;
        rustix::fs::setxattr(&to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}
