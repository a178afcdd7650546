//! Writable layers in file systems of their own: where nothing counts what a container writes, it fills a disk that is so large.
//!
//! ```text
//!   containers/<id>/upper.disk      sparse, with an ext4 in it (`fuse-upper.disk`, of fuse-overlayfs)
//!   containers/<id>/mounted/        empty; where that is mounted, in a mount namespace of one thread
//!       upper/ work/                what is else right in the container's directory
//!       room                        blocks for the overlay's own directory
//! ```
//!
//! The file is bound to a loop device and that is mounted, detached; the device goes with its last use, which is the
//! container's overlay or whoever reads. So nothing is to be undone, neither after a `kill -9` nor after a removal, and the
//! host's table of mounts shows none of it. A daemon that comes later finds the device of the file and mounts the same
//! file system once more: two devices of one file never are (`Snapshots::mount_disk`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::PoisonError;

use conex_sys::loop_device::LoopDevice;
use conex_sys::mount::{self, Attributes, Overlay};
use conex_sys::mountns;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::driver::Driver;
use crate::error::{SnapshotError, file};
use crate::limit::Own;
use crate::probe::in_path;
use crate::rootfs::{Rootfs, make_container, make_dir};
use crate::store::Snapshots;
use crate::tree;

/// Least bytes of a disk: half of them are the file system's own (its journal).
pub(crate) const LEAST: u64 = 8 << 20;

/// Bytes of a block.
const BLOCK: u64 = 4096;

/// What keeps room for the overlay, in a disk.
const ROOM: &str = "room";

/// Bytes of that; a file system makes a directory of fewer.
const ROOM_BYTES: u64 = 128 << 10;

/// The program that makes the file system.
const MAKER: &str = "mkfs.ext4";

/// Where in a container's directory its disk is mounted.
const MOUNT_POINT: &str = "mounted";

/// What has a container's writable layer, for whoever reads that.
pub(crate) struct Reached {
    /// The directory that it is in.
    pub(crate) directory: PathBuf,
    /// What that is reached by.
    pub(crate) mount: Option<OwnedFd>,
}

/// Tells what is missing for disks.
pub(crate) fn check() -> Result<(), String> {
    maker().map_err(|error| error.to_string())?;
    let control = Path::new("/dev/loop-control");
    match control.try_exists() {
        Ok(true) => Ok(()),
        _ => Err(format!(
            "there are no loop devices ({} is not there)",
            control.display()
        )),
    }
}

fn maker() -> io::Result<PathBuf> {
    in_path(MAKER).ok_or_else(|| {
        let words = format!("exec: \"{MAKER}\": executable file not found in $PATH (it is in the package e2fsprogs)");
        io::Error::new(io::ErrorKind::NotFound, words)
    })
}

impl Snapshots {
    /// Makes a root file system upon the disk of a container, which is made where it is absent. `make` is given the
    /// directory that has what is else in the container's.
    pub(crate) fn on_disk(
        &self,
        own: Own<'_>,
        bytes: u64,
        make: impl FnOnce(&Path) -> Result<Rootfs, SnapshotError> + Send,
    ) -> Result<Rootfs, SnapshotError> {
        let at = own.directory.join(MOUNT_POINT);
        self.with_disk(own, bytes, |directory| {
            let room = Room::lend(directory).map_err(file("make room in", directory))?;
            let rootfs = self.detach(make(directory)?, own.label)?;
            room.keep().map_err(file("keep room in", directory))?;
            if let Driver::FuseOverlay(_) = self.driver {
                // The process that serves it keeps this namespace, and is to hold nobody else's mounts.
                mountns::keep_only(&[&at, self.shared.layers(), &self.empty()?, Path::new("/proc")])
                    .map_err(file("let go of the mounts beside", &at))?;
            }
            Ok(rootfs)
        })
    }

    /// Runs `act` where the disk of a container is mounted, which is made where it is absent.
    pub(crate) fn with_disk<T: Send>(
        &self,
        own: Own<'_>,
        bytes: u64,
        act: impl FnOnce(&Path) -> Result<T, SnapshotError> + Send,
    ) -> Result<T, SnapshotError> {
        make_container(own.directory)?;
        let disk = self.disk_of(own.directory);
        if !disk.exists() {
            self.make_disk(&disk, bytes)?;
        }
        let at = own.directory.join(MOUNT_POINT);
        make_dir(&at, 0o700)?;
        let mounted = self.mount_disk(&disk)?;
        // Overlays take only what the mount namespace of the caller has.
        mountns::private(|| {
            mount::attach_at(mounted.as_fd(), &at).map_err(file("mount", &at))?;
            act(&at)
        })
        .map_err(file("mount", &disk))?
    }

    /// What has the writable layer of a container; `None` where it has no disk yet that is to have one.
    pub(crate) fn reach(&self, own: Own<'_>) -> Result<Option<Reached>, SnapshotError> {
        if own.disk().is_none() {
            return Ok(Some(Reached {
                directory: own.directory.to_owned(),
                mount: None,
            }));
        }
        let disk = self.disk_of(own.directory);
        if !disk.exists() {
            return Ok(None);
        }
        let mount = self.mount_disk(&disk)?;
        Ok(Some(Reached {
            directory: PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())),
            mount: Some(mount),
        }))
    }

    /// Where what is a container's own is for the container's overlay, under the names of the Engine API
    /// (`GraphDriver.Data`). A disk is mounted in no other mount namespace.
    #[must_use]
    pub fn directories(&self, own: Own<'_>) -> Vec<(&'static str, PathBuf)> {
        let within = match own.disk() {
            Some(_) => own.directory.join(MOUNT_POINT),
            None => own.directory.to_owned(),
        };
        let all = self.driver.directories().iter();
        all.map(|(name, child)| (*name, within.join(child))).collect()
    }

    /// The file of a container's disk.
    pub(crate) fn disk_of(&self, container: &Path) -> PathBuf {
        let (upper, _) = self.driver.upper_names();
        container.join(format!("{upper}.disk"))
    }

    /// Complete before it has its name.
    fn make_disk(&self, disk: &Path, bytes: u64) -> Result<(), SnapshotError> {
        let unfinished = disk.with_extension("disk.tmp");
        self.discard(&unfinished)?;
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished);
        let made = made.map_err(file("create", &unfinished))?;
        made.set_len(bytes / BLOCK * BLOCK).map_err(file("make", &unfinished))?;
        format(&unfinished).map_err(file("make a file system in", &unfinished))?;
        made.sync_all().map_err(file("sync", &unfinished))?;
        conex_sys::failpoint::hit("limit.disk-made");
        fs::rename(&unfinished, disk).map_err(file("make", disk))?;
        conex_sys::failpoint::hit("limit.disk-named");
        Ok(())
    }

    /// A detached mount of a disk. Whoever has it mounted already has the same file system.
    fn mount_disk(&self, disk: &Path) -> Result<OwnedFd, SnapshotError> {
        let opened = File::options().read(true).write(true).open(disk);
        let opened = opened.map_err(file("open", disk))?;
        // Nobody else binds the file, from the look whether it is until it has been.
        let only = self.shared.disks.lock().unwrap_or_else(PoisonError::into_inner);
        let found = LoopDevice::find(opened.as_fd()).map_err(file("find the loop device of", disk))?;
        let device = match found {
            Some(device) => device,
            None => LoopDevice::bind(opened.as_fd()).map_err(file("bind a loop device to", disk))?,
        };
        drop(only);
        conex_sys::failpoint::hit("limit.disk-bound");
        // What is deleted becomes a hole in the file; tables of inodes stay holes until they are used.
        let options = ["discard", "noinit_itable"];
        let source = device.path().display().to_string();
        let mounted = mount::new_file_system("ext4", &source, &options, Attributes::default());
        let mounted = mounted.map_err(file("mount", disk))?;
        conex_sys::failpoint::hit("limit.disk-mounted");
        Ok(mounted)
    }

    /// A root file system that needs no path of this mount namespace.
    pub(crate) fn detach(&self, rootfs: Rootfs, label: Option<&str>) -> Result<Rootfs, SnapshotError> {
        let Rootfs::Attached {
            base,
            lower,
            upper,
            work,
            volatile,
        } = rootfs
        else {
            return Ok(rootfs);
        };
        let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
        let overlay = Overlay {
            lower: &lower,
            upper: Some((&upper, &work)),
            volatile,
            label,
        };
        let at = self.empty()?;
        mount::overlay_attached(&at, &base, &overlay)
            .and_then(|()| mount::clone_tree_of(&at))
            .map(Rootfs::Detached)
            .map_err(file("mount an overlay on", &at))
    }
}

/// An overlay makes a directory beside the writable layer when it is mounted, for which a disk that is full has no blocks, and
/// without which it would be read-only. A file keeps them.
struct Room(PathBuf);

impl Room {
    /// Gives the blocks back for a mount, where there are not as many others.
    fn lend(directory: &Path) -> io::Result<Self> {
        let room = Self(directory.join(ROOM));
        let found = rustix::fs::statvfs(directory)?;
        if found.f_bavail * found.f_frsize < ROOM_BYTES && room.0.exists() {
            fs::remove_file(&room.0)?;
            // Blocks are free when the journal says so.
            rustix::fs::syncfs(tree::open(directory)?)?;
        }
        Ok(room)
    }

    /// Takes them again. As many as the overlay has left are enough for the next one.
    fn keep(&self) -> io::Result<()> {
        if self.0.exists() {
            return Ok(());
        }
        let file = File::create(&self.0)?;
        let mut bytes = ROOM_BYTES;
        loop {
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
                Err(Errno::NOSPC) if bytes > BLOCK => bytes /= 2,
                // The next start tries again.
                Err(Errno::NOSPC) => return fs::remove_file(&self.0),
                kept => return Ok(kept?),
            }
        }
    }
}

/// Makes an empty file system in a file. Its owner is root; no blocks are kept for that, which containers' root is not.
fn format(disk: &Path) -> io::Result<()> {
    let output = Command::new(maker()?)
        .args(["-q", "-F", "-b", &BLOCK.to_string(), "-m", "0", "-O", "^resize_inode"])
        .args(["-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0"])
        .arg(disk)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().replace('\n', "; ");
    Err(io::Error::other(format!("{MAKER}: {}: {said}", output.status)))
}
