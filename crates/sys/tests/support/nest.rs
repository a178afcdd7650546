//! Deep trees.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Makes directories within each other, each with a file; the last of them.
pub(crate) fn nest(top: &Path, depth: usize) -> File {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut directory = rustix::fs::open(top, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        let file = OFlags::CREATE | OFlags::WRONLY;
        rustix::fs::openat(&directory, "file", file, Mode::RUSR).unwrap();
        rustix::fs::mkdirat(&directory, "directory", Mode::RWXU).unwrap();
        directory = rustix::fs::openat(&directory, "directory", flags, Mode::empty()).unwrap();
    }
    File::from(directory)
}
