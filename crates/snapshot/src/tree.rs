//! Whole trees of files: copied, merged, removed; from descriptor to descriptor, and however deep they are without recursion.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;

use crate::copy::{self, is, proc_path};

/// How a directory is opened that nobody may have swapped for a link.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Everything that there is to see.
    Tree,
    /// What a layer changes: whiteouts and opaque directories take away.
    Difference,
    /// As above, for a target that is to have them too.
    Marks,
}

/// What becomes of the source's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taking {
    /// They stay.
    Copy,
    /// They are renamed into the target, which is on the same file system.
    Move,
}

/// Opens a directory.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, DIRECTORY, Mode::empty())?)
}

/// Opens a directory in another.
pub(crate) fn open_in(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?)
}

/// Opens an object of any kind, without touching it; `None` where there is none.
pub(crate) fn place_in(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        place => place?,
    };
    let found = rustix::fs::fstat(&place)?;
    Ok(Some((place, found)))
}

/// Names in a directory, in order.
pub(crate) fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// A character device 0/0 stands for what is gone (overlayfs.rst, "whiteouts and opaque directories").
pub(crate) fn is_whiteout(found: &Stat) -> bool {
    is(found, FileType::CharacterDevice) && found.st_rdev == 0
}

/// Whether a name is one that fuse-overlayfs has in directories that hide what is below them. An attribute says the same.
pub(crate) fn is_mark(name: &CStr) -> bool {
    matches!(name.to_bytes(), b".wh..wh..opq" | b".wh..opq")
}

/// Whether a directory hides what is below it.
pub(crate) fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0_u8; 1];
    let read = rustix::fs::getxattr(proc_path(directory), "trusted.overlay.opaque", &mut value);
    read.is_ok_and(|length| length == 1 && value == *b"y")
}

/// Removes an object with all that is in it; one that is absent is no error.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let top = open_in(parent, name)?;
    let mut levels = vec![(names(top.as_fd())?, top)];
    let mut path: Vec<CString> = Vec::new();
    while let Some((left, directory)) = levels.last_mut() {
        let Some(child) = left.pop() else {
            levels.pop();
            if let (Some((_, above)), Some(name)) = (levels.last(), path.pop()) {
                rustix::fs::unlinkat(above, name.as_c_str(), AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        match rustix::fs::unlinkat(&*directory, child.as_c_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => {
                let below = open_in(directory.as_fd(), &child)?;
                levels.push((names(below.as_fd())?, below));
                path.push(child);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Takes whiteouts and what marks opaque directories out of a tree that there is nothing below of.
pub(crate) fn strip(root: OwnedFd) -> io::Result<()> {
    let mut waiting = vec![(names(root.as_fd())?, root)];
    while let Some((left, directory)) = waiting.last_mut() {
        let Some(name) = left.pop() else {
            waiting.pop();
            continue;
        };
        let Some((place, found)) = place_in(directory.as_fd(), &name)? else {
            continue;
        };
        if is_whiteout(&found) {
            remove(directory.as_fd(), &name)?;
        } else if is(&found, FileType::Directory) {
            if is_opaque(place.as_fd()) {
                rustix::fs::removexattr(proc_path(place.as_fd()), "trusted.overlay.opaque")?;
            }
            let below = open_in(directory.as_fd(), &name)?;
            waiting.push((names(below.as_fd())?, below));
        }
    }
    Ok(())
}

/// Brings everything in one directory into another. The attributes of the two themselves are the caller's business.
pub(crate) fn merge(from: BorrowedFd<'_>, to: BorrowedFd<'_>, source: Source, taking: Taking) -> io::Result<()> {
    let mut merge = Merge {
        root: to.try_clone_to_owned()?,
        source,
        taking,
        seen: HashMap::new(),
        path: PathBuf::new(),
    };
    let mut levels = vec![Level {
        names: names(from)?.into_iter(),
        from: from.try_clone_to_owned()?,
        to: to.try_clone_to_owned()?,
        own: None,
        is_opaque: false,
    }];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            if let Some(done) = levels.pop() {
                merge.path.pop();
                done.finish()?;
            }
            continue;
        };
        if let Some(below) = merge.object(level, &name)? {
            levels.push(below);
        }
    }
    Ok(())
}

/// A directory on the way.
struct Level {
    from: OwnedFd,
    to: OwnedFd,
    names: std::vec::IntoIter<CString>,
    /// The source as it was found; nothing for the first, whose attributes stay.
    own: Option<Stat>,
    /// Whether the target is to hide what is below it.
    is_opaque: bool,
}

impl Level {
    /// Gives the target what belongs to the source: last, because making things in a directory changes its time.
    fn finish(self) -> io::Result<()> {
        let Some(own) = self.own else { return Ok(()) };
        copy::clear_xattrs(self.to.as_fd())?;
        if self.is_opaque {
            let marked = proc_path(self.to.as_fd());
            rustix::fs::setxattr(marked, "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
        }
        copy::attributes(self.from.as_fd(), &own, self.to.as_fd())
    }
}

struct Merge {
    /// The target.
    root: OwnedFd,
    source: Source,
    taking: Taking,
    /// Files with several names, by device and inode, with the first of them in the target.
    seen: HashMap<(u64, u64), PathBuf>,
    /// Of the directory on the way.
    path: PathBuf,
}

impl Merge {
    /// Brings one object in; a directory comes back, for what is in it.
    fn object(&mut self, level: &Level, name: &CString) -> io::Result<Option<Level>> {
        let Some((place, found)) = place_in(level.from.as_fd(), name)? else {
            return Ok(None);
        };
        let to = level.to.as_fd();
        if self.source != Source::Tree && is_mark(name) {
            return Ok(None);
        }
        let differs = self.source == Source::Difference;
        if differs && is_whiteout(&found) {
            return remove(to, name).map(|()| None);
        }
        if is(&found, FileType::Directory) {
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            let is_whole = differs && is_opaque(place.as_fd());
            let to = directory(to, name, is_whole)?;
            let is_opaque = self.source == Source::Marks && is_opaque(place.as_fd());
            let from = open_in(level.from.as_fd(), name)?;
            return Ok(Some(Level {
                names: names(from.as_fd())?.into_iter(),
                from,
                to,
                own: Some(found),
                is_opaque,
            }));
        }
        if differs {
            remove(to, name)?;
        }
        match self.taking {
            Taking::Move => rustix::fs::renameat(&level.from, name.as_c_str(), to, name.as_c_str())?,
            Taking::Copy => self.copy(place.as_fd(), &found, to, name)?,
        }
        Ok(None)
    }

    fn copy(&mut self, place: BorrowedFd<'_>, found: &Stat, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let name = OsStr::from_bytes(name.to_bytes());
        if found.st_nlink > 1 {
            let identity = (found.st_dev, found.st_ino);
            if let Some(first) = self.seen.get(&identity) {
                return Ok(rustix::fs::linkat(&self.root, first, to, name, AtFlags::empty())?);
            }
            self.seen.insert(identity, self.path.join(name));
        }
        copy::object(place, found, to, name)
    }
}

/// Makes a directory, or takes the one that is there unless all that is in it is to go.
fn directory(parent: BorrowedFd<'_>, name: &CStr, is_whole: bool) -> io::Result<OwnedFd> {
    let make = || rustix::fs::mkdirat(parent, name, Mode::RWXU);
    match make() {
        Err(Errno::EXIST) => {
            let there = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if is_whole || !is(&there, FileType::Directory) {
                remove(parent, name)?;
                make()?;
            }
        }
        made => made?,
    }
    open_in(parent, name)
}
