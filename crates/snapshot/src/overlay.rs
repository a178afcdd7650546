//! Root file systems: layers and a writable directory stacked by overlayfs.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use conex_sys::mount::Overlay;

use crate::error::{SnapshotError, file};
use crate::store::{Layer, Snapshots};

/// How the kernel is asked for an overlay; chosen by the host's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayMethod {
    /// A detached mount, made here (`lowerdir+`, kernel 6.8).
    Detached,
    /// Options for mount(2), carried out by the container's first process.
    Attached,
}

/// What becomes of a container's writes at a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writable {
    /// They are synced as any file's are.
    Durable,
    /// Nothing is ever synced: for containers that are removed when they end.
    Volatile,
}

/// A container's root file system.
#[derive(Debug)]
pub enum Rootfs {
    /// A detached mount.
    Detached(OwnedFd),
    /// What to mount; all paths are relative to `base`.
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
    /// The root file system of a container: `layers` (top-most first) under the writable layer in its directory, which is
    /// made where it is absent.
    pub fn rootfs(
        &self,
        layers: &[Layer],
        container: &Path,
        writable: Writable,
        method: OverlayMethod,
    ) -> Result<Rootfs, SnapshotError> {
        let (upper, work) = (container.join("upper"), container.join("work"));
        let volatile = writable == Writable::Volatile;
        self.prepare(layers, container, &upper, &work, volatile)?;
        // An overlay needs a lower directory; an image without layers gets an empty one.
        let lower = self.lower(layers)?;
        match method {
            OverlayMethod::Detached => {
                let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
                let overlay = Overlay {
                    lower: &lower,
                    upper: Some((upper.as_path(), work.as_path())),
                    volatile,
                };
                conex_sys::mount::overlay_detached(&overlay)
                    .map(Rootfs::Detached)
                    .map_err(|source| SnapshotError::Overlay {
                        path: container.to_owned(),
                        source,
                    })
            }
            OverlayMethod::Attached => {
                let base = self.shared.data_root.clone();
                let relative = |path: &Path| path.strip_prefix(&base).unwrap_or(path).to_owned();
                Ok(Rootfs::Attached {
                    lower: lower.iter().map(|path| relative(path)).collect(),
                    upper: relative(&upper),
                    work: relative(&work),
                    base,
                    volatile,
                })
            }
        }
    }

    /// Runs `act` with the root of an image as its layers (top-most first) show it, without a writable layer.
    pub fn read<T: Send>(
        &self,
        layers: &[Layer],
        method: OverlayMethod,
        act: impl FnOnce(BorrowedFd<'_>) -> T + Send,
    ) -> Result<T, SnapshotError> {
        let lower = self.lower(layers)?;
        let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
        let overlay = Overlay {
            lower: &lower,
            upper: None,
            volatile: false,
        };
        let base = self.shared.data_root.as_path();
        let failed = |source| SnapshotError::Overlay {
            path: base.to_owned(),
            source,
        };
        match (lower.as_slice(), method) {
            // A single layer is its own view.
            ([layer], _) => Ok(act(conex_sys::path::open_dir(layer).map_err(failed)?.as_fd())),
            (_, OverlayMethod::Detached) => {
                let root = conex_sys::mount::overlay_detached(&overlay).map_err(failed)?;
                Ok(act(root.as_fd()))
            }
            (_, OverlayMethod::Attached) => {
                let at = base.join("empty");
                make_dir(&at, 0o755)?;
                let done = conex_sys::mountns::private(|| {
                    conex_sys::mount::overlay_attached(&at, base, &overlay)?;
                    Ok(act(conex_sys::path::open_dir(&at)?.as_fd()))
                });
                done.and_then(|done| done).map_err(failed)
            }
        }
    }

    /// The root directory of the top-most layer that says what it is like; `None` where none does, which means mode 755
    /// and root's.
    pub fn shown_root(&self, layers: &[Layer]) -> Result<Option<fs::Metadata>, SnapshotError> {
        let told = layers.iter().find(|layer| layer.carries_root);
        let path = told.map(|layer| self.path(&layer.name));
        path.map(|path| fs::metadata(&path).map_err(file("read", &path)))
            .transpose()
    }

    fn lower(&self, layers: &[Layer]) -> Result<Vec<PathBuf>, SnapshotError> {
        if !layers.is_empty() {
            return Ok(layers.iter().map(|layer| self.path(&layer.name)).collect());
        }
        let empty = self.shared.data_root.join("empty");
        make_dir(&empty, 0o755)?;
        Ok(vec![empty])
    }

    /// Makes the writable layer. Its root directory shows as the container's `/`, so it takes owner and mode from the
    /// top-most layer that says what they are.
    fn prepare(
        &self,
        layers: &[Layer],
        container: &Path,
        upper: &Path,
        work: &Path,
        volatile: bool,
    ) -> Result<(), SnapshotError> {
        if volatile && work.exists() {
            // overlayfs refuses a work directory that a volatile mount has used before.
            self.discard(work)?;
        }
        if upper.exists() && work.exists() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o710)
            .create(container)
            .map_err(file("make", container))?;
        make_dir(work, 0o700)?;
        if upper.exists() {
            return Ok(());
        }
        // Complete before it has its name: a crash in between leaves no root with the wrong mode.
        let unfinished = container.join("upper.tmp");
        make_dir(&unfinished, 0o755)?;
        // The mask has cut the mode above.
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755))
            .map_err(file("set the mode of", &unfinished))?;
        if let Some(root) = self.shown_root(layers)? {
            copy_attributes(&root, &unfinished)?;
        }
        fs::rename(&unfinished, upper).map_err(file("make", upper))
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), SnapshotError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(file("make", path)),
    }
}

fn copy_attributes(root: &fs::Metadata, to: &Path) -> Result<(), SnapshotError> {
    std::os::unix::fs::chown(to, Some(root.uid()), Some(root.gid())).map_err(file("set the owner of", to))?;
    fs::set_permissions(to, fs::Permissions::from_mode(root.mode() & 0o7777)).map_err(file("set the mode of", to))
}
