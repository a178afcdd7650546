//! Limits of what a container may write into its root file system.
//!
//! ```text
//!                    overlay2, fuse-overlayfs                              btrfs                 refused with
//!   a project        quotas of ext4 and XFS: upper and work are one        -                     EDQUOT or ENOSPC
//!   a disk           upper and work are in a file system in a file         -                     ENOSPC
//!   a subvolume      -                                                     a qgroup's limit      EDQUOT
//! ```
//!
//! How a container is held to its limit is chosen when it is created, and recorded with it. `vfs` has none of these.
//! `docs/design/0010-limits-of-writable-layers.md` says why they are as they are.

use std::os::fd::AsFd;
use std::path::Path;

use conex_sys::{btrfs, mountns, quota};

use crate::disk;
use crate::driver::Driver;
use crate::error::{SnapshotError, file};
use crate::rootfs::Rootfs;
use crate::store::Snapshots;
use crate::tree;

/// Projects of containers have numbers from here on, which those of `/etc/projects` are seldom.
const FIRST_PROJECT: u32 = 0x4000_0000;

/// How many there are.
const PROJECTS: u32 = 0x4000_0000;

/// Bytes that file systems want to have before they make a directory, and more than that.
pub(crate) const ROOM: u64 = 1 << 20;

/// How many are tried for a container.
const ATTEMPTS: u32 = 1000;

/// How a container is held to a limit, as a daemon is told (`conex.quota`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitMethod {
    /// By a project where the file system can, else by a disk; by a subvolume where the driver has them.
    #[default]
    Auto,
    /// By a project.
    Project,
    /// By a disk.
    Loop,
}

/// What holds a container to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    /// A project of this number.
    Project(u32),
    /// A file system in a file.
    Disk,
    /// The counts of its subvolume.
    Subvolume,
}

/// How much a container may write into its root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes.
    pub bytes: u64,
    /// What sees to it.
    pub by: LimitedBy,
}

/// What is a container's own.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Its directory.
    pub directory: &'a Path,
    /// What it may write, where that is limited.
    pub limit: Option<Limit>,
    /// SELinux's label for all files of its root file system.
    pub label: Option<&'a str>,
}

impl<'a> Own<'a> {
    /// A container without a limit, and without a label.
    #[must_use]
    pub fn unlimited(directory: &'a Path) -> Self {
        Self {
            directory,
            limit: None,
            label: None,
        }
    }

    /// Its project and the bytes of that.
    pub(crate) fn project(&self) -> Option<(u32, u64)> {
        match self.limit? {
            Limit {
                bytes,
                by: LimitedBy::Project(number),
            } => Some((number, bytes)),
            _ => None,
        }
    }

    /// Bytes of its disk.
    pub(crate) fn disk(&self) -> Option<u64> {
        self.limit
            .filter(|limit| limit.by == LimitedBy::Disk)
            .map(|limit| limit.bytes)
    }
}

/// A limit cannot be had; in Docker's words where it has any, with the reason.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Neither the kernel nor the file system has what overlays are limited by.
    #[error("--storage-opt is supported only for overlay over xfs with 'pquota' mount option: {why}")]
    Overlay {
        /// What is not there.
        why: String,
    },
    /// The driver cannot, or not here.
    #[error("--storage-opt is not supported for {driver}: {why}")]
    Driver {
        /// The driver.
        driver: &'static str,
        /// Why.
        why: String,
    },
    /// The limit is too low for what sees to it.
    #[error("--storage-opt size={bytes}: {why}")]
    Low {
        /// What was asked for.
        bytes: u64,
        /// How much is needed.
        why: String,
    },
}

impl Snapshots {
    /// How a new container is held to a limit here. Its project is the first that nobody uses from one on that `seed` says;
    /// `is_taken` tells of those that containers have which have not written yet.
    ///
    /// # Errors
    /// Nothing here can, or not so little.
    pub fn limit(&self, bytes: u64, seed: u32, is_taken: impl Fn(u32) -> bool) -> Result<Limit, LimitError> {
        let driver = self.driver.name();
        let unsupported = |why: String| LimitError::Driver { driver, why };
        let by = match (&self.driver, self.method) {
            (Driver::Overlay(_) | Driver::FuseOverlay(_), method) => self.stacked_limit(method, seed, is_taken)?,
            (Driver::Btrfs, LimitMethod::Auto) => {
                self.count_subvolumes()
                    .map_err(|error| unsupported(format!("count subvolumes: {error}")))?;
                LimitedBy::Subvolume
            }
            (Driver::Btrfs, method) => {
                let why = format!("it limits by quota groups, not as conex.quota={} says", method.name());
                return Err(unsupported(why));
            }
            (Driver::Vfs, _) => {
                let why = "a container's tree is a copy of its image, of which nothing counts the changes; overlay2, \
                           fuse-overlayfs and btrfs have limits";
                return Err(unsupported(why.to_owned()));
            }
        };
        let least = match by {
            LimitedBy::Project(_) => 4096,
            LimitedBy::Disk => disk::LEAST,
            // What a snapshot has for itself from its beginning.
            LimitedBy::Subvolume => 1 << 20,
        };
        if bytes < least {
            let why = format!("at least {least} bytes are needed");
            return Err(LimitError::Low { bytes, why });
        }
        Ok(Limit { bytes, by })
    }

    fn stacked_limit(
        &self,
        method: LimitMethod,
        seed: u32,
        is_taken: impl Fn(u32) -> bool,
    ) -> Result<LimitedBy, LimitError> {
        let project = || self.free_project(seed, is_taken).map(LimitedBy::Project);
        let disk = || disk::check().map(|()| LimitedBy::Disk);
        let found = match method {
            LimitMethod::Project => project(),
            LimitMethod::Loop => disk(),
            LimitMethod::Auto => project().or_else(|first| disk().map_err(|second| format!("{first}; {second}"))),
        };
        found.map_err(|why| LimitError::Overlay { why })
    }

    /// A project that nobody uses; what is missing where there are none.
    fn free_project(&self, seed: u32, is_taken: impl Fn(u32) -> bool) -> Result<u32, String> {
        let root = self.shared.data_root.as_path();
        self.require_projects()?;
        let opened = tree::open(root).map_err(|error| format!("open {}: {error}", root.display()))?;
        for attempt in 0..ATTEMPTS {
            let number = FIRST_PROJECT + seed.wrapping_add(attempt) % PROJECTS;
            if is_taken(number) {
                continue;
            }
            // What was removed may not be deleted yet, and other data roots may be on the same file system.
            let usage = quota::usage(opened.as_fd(), number);
            if usage.map_err(|error| format!("read a quota: {error}"))?.is_none() {
                return Ok(number);
            }
        }
        Err("all projects are used".to_owned())
    }

    /// Tells what is missing for limits by projects.
    fn require_projects(&self) -> Result<(), String> {
        let root = self.shared.data_root.as_path();
        let enforced = tree::open(root).and_then(|root| quota::enforces(root.as_fd()));
        let why = match enforced {
            Ok(true) => return Ok(()),
            Ok(false) => String::new(),
            Err(error) => format!(" ({})", conex_sys::words(&error)),
        };
        Err(format!(
            "quotas of projects are not enforced in {}{why}: its file system is to be ext4 or xfs, mounted with prjquota, \
             and the kernel Linux 5.14",
            root.display()
        ))
    }

    /// Makes a root file system in a project. Its overlay makes a directory beside the writable layer, for which a container
    /// that is full has no room and without which it would be read-only: until it is mounted, and nothing of the container
    /// runs, the project has more.
    pub(crate) fn in_project(
        &self,
        (number, bytes): (u32, u64),
        label: Option<&str>,
        make: impl FnOnce() -> Result<Rootfs, SnapshotError>,
    ) -> Result<Rootfs, SnapshotError> {
        self.limit_project((number, bytes.saturating_add(ROOM)))?;
        let made = make().and_then(|rootfs| match rootfs {
            // The launcher would mount it, when the limit is what it is to be again.
            Rootfs::Attached { .. } => mountns::private(|| self.detach(rootfs, label))
                .map_err(file("mount an overlay of", &self.shared.data_root))?,
            mounted => Ok(mounted),
        });
        self.limit_project((number, bytes))?;
        made
    }

    /// Sets a project's limit, at each start anew: whatever was done to the file system's quotas meanwhile.
    pub(crate) fn limit_project(&self, (number, bytes): (u32, u64)) -> Result<(), SnapshotError> {
        let root = self.shared.data_root.as_path();
        self.require_projects().map_err(SnapshotError::Limit)?;
        tree::open(root)
            .and_then(|root| quota::limit(root.as_fd(), number, bytes))
            .map_err(file("set a quota in", root))?;
        conex_sys::failpoint::hit("limit.project-set");
        Ok(())
    }

    fn count_subvolumes(&self) -> std::io::Result<()> {
        btrfs::count_subvolumes(tree::open(&self.shared.data_root)?.as_fd())
    }

    /// Sets the limit of a container's subvolume, at each start anew.
    pub(crate) fn limit_subvolume(&self, subvolume: &Path, bytes: u64) -> Result<(), SnapshotError> {
        let set = || btrfs::limit_subvolume(tree::open(subvolume)?.as_fd(), bytes);
        match set() {
            // Somebody has switched counting off.
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => {
                self.count_subvolumes().and_then(|()| set())
            }
            limited => limited,
        }
        .map_err(file("limit", subvolume))
    }

    /// Discards the directory of a container, and what limited it.
    pub fn discard_container(&self, own: Own<'_>) -> Result<(), SnapshotError> {
        if let Some((number, _)) = own.project() {
            self.lift(number);
        }
        self.discard(own.directory)
    }

    /// As `discard_container`, of one of which nothing else is known. What tells its project is overlayfs's own directory:
    /// the project of the writable layer is what processes of the container have made it.
    pub fn discard_stray(&self, container: &Path) -> Result<(), SnapshotError> {
        for name in ["work", "work.tmp", "fuse-work", "fuse-work.tmp"] {
            self.lift_of(&container.join(name));
        }
        self.discard(container)
    }

    /// Discards one of a driver's directories, and what limited it.
    pub(crate) fn forget(&self, path: &Path) -> Result<(), SnapshotError> {
        if path
            .file_stem()
            .is_some_and(|name| name == "work" || name == "fuse-work")
        {
            self.lift_of(path);
        }
        self.discard(path)
    }

    /// Takes the limit of a directory's project away, if it is in one of ours.
    fn lift_of(&self, directory: &Path) {
        let found = tree::open(directory).and_then(|opened| quota::project(opened.as_fd()));
        // Where there is nothing, or nothing that has projects, nothing is limited.
        if let Some(number) = found.ok().filter(|number| *number >= FIRST_PROJECT) {
            self.lift(number);
        }
    }

    /// Takes a project's limit away.
    fn lift(&self, number: u32) {
        let root = self.shared.data_root.as_path();
        let lifted = tree::open(root).and_then(|root| quota::limit(root.as_fd(), number, 0));
        if let Err(error) = lifted {
            // The file system has no quotas any more.
            tracing::warn!(project = number, %error, "take the limit of a removed container away");
        }
        conex_sys::failpoint::hit("limit.project-lifted");
    }
}

impl LimitMethod {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Project, Self::Loop];

    /// Its name among options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Project => "project",
            Self::Loop => "loop",
        }
    }
}
