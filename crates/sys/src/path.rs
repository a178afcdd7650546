//! Paths that a container controls, resolved beneath its root and never outside (openat2(2), `RESOLVE_IN_ROOT`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Opens a directory of the host for use as an anchor (`O_PATH`).
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Opens a path of the host without following a last symbolic link, only as a place (`O_PATH`).
pub fn open_place(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Opens a path beneath a root as if the root were `/`.
pub fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // The kernel answers EAGAIN when something is renamed during the walk (openat2(2)).
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return Ok(opened?),
        }
    }
}

/// Opens a directory beneath a root, making what is absent with mode 0755.
pub fn make_dirs_in(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match open_in(root, path, flags) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let (parent, name) = parent_in(root, path)?;
    match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => open_in(root, path, flags),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file beneath a root as a place for a mount, making it and its directories where they are absent.
pub fn make_file_in(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    match open_in(root, path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let (parent, name) = parent_in(root, path)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    open_in(root, path, OFlags::PATH)
}

/// A device node to make.
#[derive(Debug, Clone, Copy)]
pub struct DeviceNode {
    /// Character, block or fifo.
    pub kind: FileType,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Makes device nodes and links. Most of them go to one directory, which is kept open between them.
#[derive(Debug, Default)]
pub struct Maker {
    last: Option<(PathBuf, OwnedFd)>,
}

impl Maker {
    /// Makes a device node; one that is there stays. The umask is taken off its mode (mknod(2)).
    pub fn device(&mut self, root: BorrowedFd<'_>, path: &Path, device: &DeviceNode) -> io::Result<()> {
        let (parent, name) = self.parent(root, path)?;
        let number = rustix::fs::makedev(device.major, device.minor);
        match rustix::fs::mknodat(parent, name, device.kind, Mode::from_raw_mode(device.mode), number) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if (device.uid, device.gid) != (0, 0) {
            let (uid, gid) = (
                rustix::fs::Uid::from_raw(device.uid),
                rustix::fs::Gid::from_raw(device.gid),
            );
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// Makes a symbolic link; what is there stays.
    pub fn symlink(&mut self, root: BorrowedFd<'_>, path: &Path, contents: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(root, path)?;
        match rustix::fs::symlinkat(contents, parent, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A mount may have covered the directory.
    pub fn forget(&mut self) {
        self.last = None;
    }

    fn parent<'a>(&mut self, root: BorrowedFd<'_>, path: &'a Path) -> io::Result<(BorrowedFd<'_>, &'a OsStr)> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let name = path.file_name().ok_or_else(invalid)?;
        let parent = path.parent().ok_or_else(invalid)?;
        let last = match self.last.take() {
            Some(last) if last.0 == parent => last,
            _ => (parent.to_owned(), make_dirs_in(root, parent)?),
        };
        Ok((self.last.insert(last).1.as_fd(), name))
    }
}

/// Whether a descriptor is a directory.
pub fn is_dir(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd.as_fd())?.st_mode) == FileType::Directory)
}

fn parent_in(root: BorrowedFd<'_>, path: &Path) -> io::Result<(OwnedFd, OsString)> {
    let name = path
        .file_name()
        .map(OsStr::to_owned)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let parent = make_dirs_in(root, path.parent().unwrap_or(Path::new("/")))?;
    Ok((parent, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_the_hosts_root_stays_beneath_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("out")).unwrap();
        let root = open_dir(dir.path()).unwrap();
        make_dirs_in(root.as_fd(), Path::new("/out/made/here")).unwrap();
        assert!(dir.path().join("made/here").is_dir());
        make_file_in(root.as_fd(), Path::new("/out/../../etc/file")).unwrap();
        assert!(dir.path().join("etc/file").is_file());
    }
}
