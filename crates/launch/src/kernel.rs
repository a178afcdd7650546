//! The file systems of the kernel that a plan has mounted: what is hidden, made read-only or written in them is reached from
//! the mount itself.
//!
//! By name it could be something else: an image may have a link for `/proc`, and who shares a directory with the container
//! may exchange it between two steps. Then a hidden file would be looked for where it is not, and a parameter be written
//! to where somebody else wants it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use conex_sys::guard::Guard;
use conex_sys::path;
use conex_sys::procfs;
use rustix::fs::OFlags;

/// Whether a type of file system is one of these.
pub(crate) fn is_kernels(kind: &str) -> bool {
    matches!(kind, "proc" | "sysfs") && Guard::KernelMounts.holds()
}

/// Where they were mounted, and their roots.
#[derive(Debug, Default)]
pub(crate) struct KernelMounts(Vec<(PathBuf, OwnedFd)>);

impl KernelMounts {
    /// Something was mounted; `kept` where it is one of these. What it covers is seen by nobody any more.
    pub(crate) fn mounted(&mut self, target: &Path, kept: Option<OwnedFd>) {
        self.0.retain(|(other, _)| !other.starts_with(target));
        self.0.extend(kept.map(|tree| (target.to_owned(), tree)));
    }

    /// Opens a place that may be absent.
    pub(crate) fn find(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<OwnedFd>> {
        let plain = !path.components().any(|component| component == Component::ParentDir);
        let mut below = self
            .0
            .iter()
            .filter_map(|(target, tree)| Some((path.strip_prefix(target).ok()?, tree)));
        let opened = match below.next().filter(|_| plain) {
            Some((rest, tree)) => path::open_beneath(tree.as_fd(), rest, OFlags::PATH),
            None => path::open_in(root, path, OFlags::PATH),
        };
        path::if_present(opened)
    }

    /// Opens a kernel parameter for writing.
    pub(crate) fn open_sysctl(&self, root: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
        let file = Path::new("sys").join(name.replace('.', "/"));
        if !Guard::KernelMounts.holds() {
            return path::open_in(root, &Path::new("/proc").join(file), OFlags::WRONLY);
        }
        let own = self.0.iter().find(|(target, _)| target == Path::new("/proc"));
        match own {
            Some((_, proc)) => procfs::open_file(proc, &file, OFlags::WRONLY),
            None => procfs::open_file(procfs::open_in(root)?, &file, OFlags::WRONLY),
        }
    }
}
