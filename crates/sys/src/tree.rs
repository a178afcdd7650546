//! Removing a directory with all below it, however deep that is.
//!
//! A tree that strangers made may be deeper than a process may have descriptors, and its paths longer than a path may be. So
//! no more than `DEEPEST` directories are open at a time: what is below them is renamed into the tree's top, and its turn
//! comes there.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Directories of a tree that are open at a time, each by two descriptors.
const DEEPEST: usize = 16;

/// Removes whatever has this path, with all below it, following no symbolic link in its last component.
///
/// # Errors
/// Something cannot be removed; the path of nothing is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_at(CWD, path.as_os_str().as_bytes())
}

/// Likewise what has a name in a directory.
///
/// # Errors
/// As above.
pub fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        Err(Errno::NOENT) => return Ok(()),
        removed => return Ok(removed?),
    }
    let mut top = None;
    loop {
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(()),
            removed => return Ok(removed?),
        }
        let tree = match top.take() {
            Some(tree) => tree,
            None => Tree {
                top: open(parent, name)?,
                changes: 0,
            },
        };
        top = Some(tree.pass()?);
    }
}

fn open<P: rustix::path::Arg>(parent: BorrowedFd<'_>, name: P) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

struct Tree {
    top: OwnedFd,
    /// Names that were removed, or moved to the top.
    changes: u64,
}

impl Tree {
    /// Removes all that is not too deep, and moves the rest to the top.
    fn pass(mut self) -> io::Result<Self> {
        let (before, top) = (self.changes, self.top.try_clone()?);
        self.empty(top.as_fd(), 1)?;
        if self.changes == before {
            // Somebody else fills it.
            return Err(Errno::NOTEMPTY.into());
        }
        Ok(self)
    }

    fn empty(&mut self, directory: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // Where the file system does not tell what it is, the attempt does.
            let is_directory = entry.file_type() == FileType::Directory
                || match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                    Err(Errno::ISDIR) => true,
                    Err(Errno::NOENT) => continue,
                    removed => {
                        removed?;
                        false
                    }
                };
            if is_directory {
                self.remove_directory(directory, name, depth)?;
            }
            self.changes += 1;
        }
        Ok(())
    }

    fn remove_directory(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(()),
            removed => return Ok(removed?),
        }
        if depth == DEEPEST {
            return self.raise(parent, name);
        }
        let directory = open(parent, name)?;
        self.empty(directory.as_fd(), depth + 1)?;
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            // Entries that were not told while others were removed: the next pass has them.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Moves a directory to the top.
    fn raise(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        for number in self.changes.. {
            let target = format!("raised-{number}");
            match rustix::fs::renameat_with(parent, name, &self.top, &target, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                renamed => return Ok(renamed?),
            }
        }
        Ok(())
    }
}
