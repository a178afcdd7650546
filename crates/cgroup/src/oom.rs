//! Being told that a control group is short of memory (cgroup-v1/memory.rst, "OOM Control"; cgroup-v2.rst,
//! `memory.events`).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::layout::Version;

/// A descriptor that can be read when something happened.
#[derive(Debug)]
pub struct OomWatch {
    version: Version,
    descriptor: OwnedFd,
    /// The file that tells of it.
    file: PathBuf,
    /// How many kills have been told.
    told: AtomicU64,
}

impl OomWatch {
    /// Watches a control group that exists.
    ///
    /// # Errors
    /// It has no memory controller, or the kernel refuses.
    pub fn new(cgroup: &Cgroup) -> io::Result<Self> {
        let name = match cgroup.version() {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let (file, opened) = open_first(cgroup.directories(), name)?;
        let version = cgroup.version();
        let descriptor = match version {
            Version::V1 => {
                let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                let line = format!("{} {}", descriptor.as_raw_fd(), opened.as_raw_fd());
                fs::write(file.with_file_name("cgroup.event_control"), line)?;
                descriptor
            }
            // The file itself: an inotify instance each would be more than a user may have.
            Version::V2 => opened.into(),
        };
        let watch = Self {
            version,
            descriptor,
            file,
            told: AtomicU64::new(0),
        };
        // Version 1 tells of what comes, not how often it was.
        if version == Version::V2 {
            watch.told.store(watch.kills(), Ordering::Relaxed);
        }
        Ok(watch)
    }

    /// Whether the descriptor tells by `POLLPRI`, as a file of version 2 does, and not by `POLLIN`.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.version == Version::V2
    }

    /// Whether the group ran out of memory since this was asked last. Both versions also wake for other reasons, and version 2
    /// wakes later than it counts: who may not be asked again asks without having been woken.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn happened(&self) -> io::Result<bool> {
        match self.version {
            Version::V1 => {
                let is_woken = match rustix::io::read(&self.descriptor, &mut [0_u8; 8]) {
                    Ok(_) => true,
                    Err(Errno::AGAIN | Errno::INTR) => false,
                    Err(errno) => return Err(errno.into()),
                };
                // It wakes at its removal too.
                Ok(is_woken && self.file.exists())
            }
            Version::V2 => {
                let kills = self.kills();
                Ok(self.told.swap(kills, Ordering::Relaxed) < kills)
            }
        }
    }

    /// How many processes of the group were killed for memory so far (`oom_kill`); none where it is gone.
    #[must_use]
    pub fn kills(&self) -> u64 {
        let text = match self.version {
            Version::V1 => fs::read_to_string(&self.file).unwrap_or_default(),
            // By the descriptor, which wakes for what comes after.
            Version::V2 => {
                let mut buffer = [0_u8; 4096];
                let length = rustix::io::pread(&self.descriptor, &mut buffer, 0).unwrap_or(0);
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            }
        };
        let mut counts = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        counts.find_map(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

/// A file of the memory controller, which is in one of the directories.
fn open_first(directories: &[PathBuf], name: &str) -> io::Result<(PathBuf, File)> {
    for directory in directories {
        let file = directory.join(name);
        match File::open(&file) {
            Ok(opened) => return Ok((file, opened)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let words = "the memory controller is not available on this host";
    Err(io::Error::new(io::ErrorKind::NotFound, words))
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
