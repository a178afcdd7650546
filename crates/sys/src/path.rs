//! Paths that a container controls, resolved beneath its root and never outside (openat2(2), `RESOLVE_IN_ROOT`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::guard::Guard;

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
    if !Guard::Root.holds() {
        let below = path.strip_prefix("/").unwrap_or(path);
        let below = if below.as_os_str().is_empty() {
            Path::new(".")
        } else {
            below
        };
        return Ok(rustix::fs::openat(root, below, flags | OFlags::CLOEXEC, Mode::empty())?);
    }
    open_with(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// As `open_in`, where no component is a symbolic link (`ELOOP`).
pub fn open_plain_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    open_with(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
}

/// Opens a path below a directory that is reached without leaving it, whatever links there are on the way (`EXDEV`).
pub fn open_beneath(directory: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    open_with(
        directory,
        path,
        flags,
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
}

pub(crate) fn open_with(
    directory: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    // The kernel answers EAGAIN when something is renamed during the walk (openat2(2)).
    loop {
        match rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return Ok(opened?),
        }
    }
}

/// What was opened, or nothing where it is absent.
pub fn if_present(opened: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match opened {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        opened => opened.map(Some),
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

/// As `make_file_in`, where the last component may be no symbolic link (`ELOOP`), not even one that is exchanged for it
/// meanwhile.
pub fn make_plain_file_in(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let (parent, name) = parent_in(root, path)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST | Errno::ROFS) => {}
        Err(error) => return Err(error.into()),
    }
    let place = rustix::fs::openat(
        &parent,
        &name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    match FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP.into()),
        _ => Ok(place),
    }
}

/// Opens `/dev/null` beneath a root, as a place, and makes sure that it is the null device and nothing that an image or
/// somebody who shares the directory put there.
pub fn open_null_in(root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = Path::new("/dev/null");
    if !Guard::NullDevice.holds() {
        return open_in(root, path, OFlags::PATH);
    }
    let null = open_in(root, path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let found = rustix::fs::fstat(&null)?;
    // Numbers of `devices.txt` of the kernel.
    let is_null = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
        && found.st_rdev == rustix::fs::makedev(1, 3);
    if is_null {
        return Ok(null);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "/dev/null is not the null device",
    ))
}

/// Makes a directory the working directory, and makes sure that it is below the root of the process.
pub fn enter_dir(directory: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(directory)?;
    // The kernel begins the path of what is not below the root with "(unreachable)" (getcwd(2)).
    if rustix::process::getcwd(Vec::new())?.to_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "the directory is outside of the container",
    ))
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
