//! Root file systems of containers and images, whatever driver keeps them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use conex_sys::userns::IdMap;

use crate::driver::Driver;
use crate::error::{SnapshotError, file};
use crate::limit::Own;
use crate::store::{Layer, Snapshots};

/// What becomes of a container's writes at a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writable {
    /// They are synced as any file's are.
    Durable,
    /// Nothing is ever synced, where the driver can do without: for containers that are removed when they end.
    Volatile,
}

/// The user namespace of a container.
#[derive(Debug, Clone, Copy)]
pub struct Mapped<'a> {
    /// It.
    pub namespace: BorrowedFd<'a>,
    /// The ids that it maps.
    pub map: &'a IdMap,
}

/// A container's root file system.
#[derive(Debug)]
pub enum Rootfs {
    /// A detached mount.
    Detached(OwnedFd),
    /// An overlay to mount; all paths are relative to `base`.
    Attached {
        /// The data root.
        base: PathBuf,
        /// Layers, top-most first.
        lower: Vec<PathBuf>,
        /// The writable layer.
        upper: PathBuf,
        /// overlayfs's own directory.
        work: PathBuf,
        /// Whether `volatile` is set.
        volatile: bool,
    },
}

impl Snapshots {
    /// The root file system of a container: `layers` (top-most first) under what is its own, which is made where it is
    /// absent.
    pub fn rootfs(&self, layers: &[Layer], own: Own<'_>, writable: Writable) -> Result<Rootfs, SnapshotError> {
        match &self.driver {
            Driver::Overlay(_) | Driver::FuseOverlay(_) => self.stacked(layers, own, writable),
            Driver::Btrfs | Driver::Vfs => self.copied(layers, own),
        }
    }

    /// Runs `act` with the root of an image as its layers (top-most first) show it, without a writable layer.
    pub fn read<T: Send>(
        &self,
        layers: &[Layer],
        act: impl FnOnce(BorrowedFd<'_>) -> T + Send,
    ) -> Result<T, SnapshotError> {
        let shown = match (&self.driver, layers) {
            (_, []) => self.empty()?,
            // A single layer is its own view, as a tree is.
            (_, [layer]) | (Driver::Btrfs | Driver::Vfs, [layer, ..]) => self.path(&layer.name),
            (Driver::Overlay(_) | Driver::FuseOverlay(_), _) => return self.read_stacked(layers, act),
        };
        let root = conex_sys::path::open_dir(&shown).map_err(file("open", &shown))?;
        Ok(act(root.as_fd()))
    }

    /// The root directory of the top-most layer that says what it is like; `None` where none does, which means mode 755
    /// and root's.
    pub fn shown_root(&self, layers: &[Layer]) -> Result<Option<fs::Metadata>, SnapshotError> {
        let mut told = layers.iter().filter(|layer| layer.carries_root);
        let layer = match told.next() {
            // A tree has the root of those below it.
            Some(_) if self.binds_layers() => layers.first(),
            layer => layer,
        };
        let path = layer.map(|layer| self.path(&layer.name));
        path.map(|path| fs::metadata(&path).map_err(file("read", &path)))
            .transpose()
    }

    /// An empty directory, for images without layers.
    pub(crate) fn empty(&self) -> Result<PathBuf, SnapshotError> {
        let empty = self.shared.data_root.join("empty");
        make_dir(&empty, 0o755)?;
        Ok(empty)
    }
}

/// Makes the directory that has what belongs to a container.
pub(crate) fn make_container(container: &Path) -> Result<(), SnapshotError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o710)
        .create(container)
        .map_err(file("make", container))
}

/// Makes a directory, unless it is there.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), SnapshotError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(file("make", path)),
    }
}
