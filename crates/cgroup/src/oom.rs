//! Being told that a control group is short of memory (cgroup-v1/memory.rst, "OOM Control"; cgroup-v2.rst,
//! `memory.events`).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
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
    /// How many processes had been killed when it was looked at.
    kills: u64,
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
        let mut files = cgroup.directories().iter().map(|directory| directory.join(name));
        let file = files.find(|file| file.exists()).ok_or_else(|| {
            let words = "the memory controller is not available on this host";
            io::Error::new(io::ErrorKind::NotFound, words)
        })?;
        let descriptor = match cgroup.version() {
            Version::V1 => {
                let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                let control = File::open(&file)?;
                let line = format!("{} {}", descriptor.as_raw_fd(), control.as_raw_fd());
                fs::write(file.with_file_name("cgroup.event_control"), line)?;
                descriptor
            }
            Version::V2 => {
                let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
                let descriptor = inotify::init(flags)?;
                inotify::add_watch(&descriptor, &file, inotify::WatchFlags::MODIFY)?;
                descriptor
            }
        };
        let kills = kills(&file);
        Ok(Self {
            version: cgroup.version(),
            descriptor,
            file,
            kills,
        })
    }

    /// Whether the group ran out of memory since this was asked last. Both versions also wake for other reasons, and version 2
    /// wakes later than it counts: who may not be asked again asks without having been woken.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn happened(&mut self) -> io::Result<bool> {
        let mut buffer = [0_u8; 4096];
        let mut is_woken = false;
        loop {
            match rustix::io::read(&self.descriptor, &mut buffer) {
                Ok(_) => is_woken = true,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        match self.version {
            // It wakes at its removal too.
            Version::V1 => Ok(is_woken && self.file.exists()),
            Version::V2 => {
                let before = std::mem::replace(&mut self.kills, kills(&self.file));
                Ok(self.kills > before)
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn kills(file: &PathBuf) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut counts = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
    counts.find_map(|count| count.trim().parse().ok()).unwrap_or(0)
}
