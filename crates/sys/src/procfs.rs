//! procfs (proc(5)), where a container may have put something else in its place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{OFlags, ResolveFlags};

use crate::path;

/// Type of procfs (statfs(2)).
const PROC_MAGIC: i64 = 0x9fa0;

/// Inode of the root of each procfs; what is bound from somewhere in one has another.
const PROC_ROOT: u64 = 1;

/// Opens `/proc` beneath a root, and makes sure that it is the root of a procfs.
pub fn open_in(root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let proc = path::open_plain_in(root, Path::new("/proc"), OFlags::PATH | OFlags::DIRECTORY)?;
    let is_procfs = rustix::fs::fstatfs(&proc)?.f_type == PROC_MAGIC;
    if is_procfs && rustix::fs::fstat(&proc)?.st_ino == PROC_ROOT {
        return Ok(proc);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "/proc is not a procfs"))
}

/// Opens a file of a procfs, which is given by its root: no link is followed, and nothing that is mounted over it opened.
pub fn open_file(proc: impl AsFd, file: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    path::open_with(proc.as_fd(), file, flags, resolve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_of_a_procfs_is_taken_for_one() {
        let root = path::open_dir(Path::new("/")).unwrap();
        let proc = open_in(root.as_fd()).unwrap();
        assert!(open_file(&proc, Path::new("sys/kernel/ostype"), OFlags::RDONLY).is_ok());
        assert!(
            open_file(&proc, Path::new("self/status"), OFlags::RDONLY).is_err(),
            "a link"
        );
        assert!(open_file(&proc, Path::new("../etc/passwd"), OFlags::RDONLY).is_err());
        let other = tempfile::tempdir().unwrap();
        std::fs::create_dir(other.path().join("proc")).unwrap();
        let error = open_in(path::open_dir(other.path()).unwrap().as_fd()).unwrap_err();
        assert_eq!(error.to_string(), "/proc is not a procfs");
        let inside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/proc", inside.path().join("proc")).unwrap();
        assert!(
            open_in(path::open_dir(inside.path()).unwrap().as_fd()).is_err(),
            "a link"
        );
    }
}
