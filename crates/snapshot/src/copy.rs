//! Copies of objects of a file system, with all that belongs to them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use conex_sys::selinux;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

/// Most bytes of an object's names of attributes, and of one value (xattr(7), `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`).
const LARGEST_ATTRIBUTES: usize = 64 << 10;

/// Bytes that are read at a time where the kernel does not copy.
const BLOCK: usize = 256 << 10;

/// Whether an object is of this kind.
pub(crate) fn is(found: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(found.st_mode) == kind
}

/// Names what a descriptor is open for.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Copies one object of any kind but a directory.
pub(crate) fn object(source: BorrowedFd<'_>, found: &Stat, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let mode = Mode::from_raw_mode(found.st_mode & 0o7777);
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let to = File::from(rustix::fs::openat(parent, name, flags, mode)?);
            contents(&File::open(proc_path(source))?, &to)?;
        }
        FileType::Symlink => {
            let contents = rustix::fs::readlinkat(source, "", Vec::new())?;
            rustix::fs::symlinkat(contents.as_c_str(), parent, name)?;
        }
        FileType::Directory => return Err(Errno::PERM.into()),
        kind => rustix::fs::mknodat(parent, name, kind, mode, found.st_rdev)?,
    }
    let target = rustix::fs::openat(
        parent,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    attributes(source, found, target.as_fd())
}

/// Copies what is in a file into an empty one. Blocks are shared where the file system can (ioctl_ficlone(2)), and holes
/// stay holes.
fn contents(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let length = from.metadata()?.len();
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            // Nothing but a hole follows.
            Err(Errno::NXIO) => break,
            start => start?,
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
        range(from, to, start, end)?;
        at = end;
    }
    to.set_len(length)
}

/// Copies the bytes from one place up to another; a file that has become shorter ends there.
fn range(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    while at < end {
        let (mut source, mut target) = (at, at);
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), most) {
            Ok(0) => return Ok(()),
            Ok(copied) => at += copied as u64,
            // Not between these two (copy_file_range(2)).
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return read_and_write(from, to, at, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn read_and_write(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    while at < end {
        let most = usize::try_from(end - at).map_or(BLOCK, |left| left.min(BLOCK));
        let read = from.read_at(&mut block[..most], at)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all_at(&block[..read], at)?;
        at += read as u64;
    }
    Ok(())
}

/// Owner, mode, extended attributes and times of one object for another.
pub(crate) fn attributes(source: BorrowedFd<'_>, found: &Stat, target: BorrowedFd<'_>) -> io::Result<()> {
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(found.st_uid),
        rustix::fs::Gid::from_raw(found.st_gid),
    );
    rustix::fs::chownat(target, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    if !is(found, FileType::Symlink) {
        fs::set_permissions(proc_path(target), fs::Permissions::from_mode(found.st_mode & 0o7777))?;
        for (name, value) in xattrs(source)? {
            rustix::fs::setxattr(proc_path(target), OsStr::from_bytes(&name), &value, XattrFlags::empty())?;
        }
    }
    Ok(rustix::fs::utimensat(
        target,
        "",
        &modified_as(found),
        AtFlags::EMPTY_PATH,
    )?)
}

/// The time of change of an object, for another.
pub(crate) fn modified_as(found: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: found.st_mtime,
            tv_nsec: i64::try_from(found.st_mtime_nsec).unwrap_or_default(),
        },
    }
}

/// Takes all extended attributes from an object that is to have others.
pub(crate) fn clear_xattrs(target: BorrowedFd<'_>) -> io::Result<()> {
    for (name, _) in xattrs(target)? {
        rustix::fs::removexattr(proc_path(target), OsStr::from_bytes(&name))?;
    }
    Ok(())
}

/// The extended attributes of an object by name, but for those that steer overlays and for its label by SELinux, which is
/// the host's.
pub(crate) fn xattrs(object: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(object);
    let names = match sized(|buffer| rustix::fs::listxattr(&path, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        names => names?,
    };
    let of_overlays: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs."];
    let is_own =
        |name: &[u8]| of_overlays.iter().all(|prefix| !name.starts_with(prefix)) && name != selinux::LABEL.as_bytes();
    let names = names.split(|byte| *byte == 0);
    let mut found = Vec::new();
    for name in names.filter(|name| !name.is_empty() && is_own(name)) {
        match sized(|buffer| rustix::fs::getxattr(&path, OsStr::from_bytes(name), buffer)) {
            // It was taken away meanwhile.
            Err(Errno::NODATA) => {}
            value => found.push((name.to_vec(), value?)),
        }
    }
    found.sort();
    Ok(found)
}

/// What a call puts into a buffer, which is large only where it has to be.
fn sized(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 256];
    match call(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; LARGEST_ATTRIBUTES];
            let length = call(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}
