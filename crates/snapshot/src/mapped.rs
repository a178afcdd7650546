//! Root file systems of containers with a user namespace: layers are mounted with mapped ids, and so stay shared.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use conex_sys::mount::{self, Attributes, Durability, Overlay};
use conex_sys::mountns;

use crate::driver::{Driver, OverlayMethod};
use crate::error::{SnapshotError, file};
use crate::limit::Own;
use crate::overlay::{Wanted, failed};
use crate::rootfs::{Mapped, Rootfs, Writable, make_dir};
use crate::store::{Layer, Snapshots};

/// The operation, as it is called in errors.
const MAP: &str = "map the ids of";

impl Snapshots {
    /// As `rootfs`, with the ids of a user namespace: the writable layer has them on the disk, the layers are as they are
    /// for everyone.
    pub fn rootfs_mapped(
        &self,
        layers: &[Layer],
        own: Own<'_>,
        writable: Writable,
        mapped: Mapped<'_>,
    ) -> Result<Rootfs, SnapshotError> {
        self.require_stacking()?;
        self.in_own(own, |directory| {
            let wanted = Wanted {
                layers,
                directory,
                writable,
                map: Some(mapped.map),
                project: own.project().map(|(number, _)| number),
                label: own.label,
            };
            self.stack_mapped(&wanted, mapped.namespace)
        })
    }

    /// Tells whether `rootfs_mapped` works here, by trying what it does.
    pub fn try_mapping(&self, mapped: Mapped<'_>) -> Result<(), SnapshotError> {
        self.require_stacking()?;
        let (_, trial) = self.next_staging();
        let tried = make_dir(&trial, 0o700)
            .and_then(|()| self.rootfs_mapped(&[], Own::unlimited(&trial), Writable::Durable, mapped))
            .map(drop)
            .map_err(|error| self.cannot_map(words(&error)));
        tried.and(self.discard(&trial))
    }

    fn require_stacking(&self) -> Result<(), SnapshotError> {
        match &self.driver {
            Driver::Overlay(_) => Ok(()),
            Driver::FuseOverlay(_) | Driver::Btrfs | Driver::Vfs => {
                Err(self.cannot_map("only overlay2 does".to_owned()))
            }
        }
    }

    fn cannot_map(&self, why: String) -> SnapshotError {
        let driver = self.driver.name();
        SnapshotError::Mapping { driver, why }
    }

    fn stack_mapped(&self, wanted: &Wanted<'_>, namespace: BorrowedFd<'_>) -> Result<Rootfs, SnapshotError> {
        let (upper, work) = self.prepare(wanted)?;
        let mut lower = Vec::new();
        for path in self.lower(wanted.layers)? {
            let tree = mount::clone_tree_of(&path).map_err(file("mount", &path))?;
            mount::map_ids(tree.as_fd(), namespace, false).map_err(file(MAP, &path))?;
            lower.push(tree);
        }
        let own = (upper.as_path(), work.as_path());
        let mounted = if self.driver == Driver::Overlay(OverlayMethod::Attached) {
            by_places(&lower, own, wanted, &self.empty()?)
        } else {
            let durability = match wanted.writable {
                Writable::Volatile => Durability::Volatile,
                Writable::Durable => Durability::Durable,
            };
            match mount::overlay_of_mounts(&lower, own, durability, wanted.label) {
                // It takes layers one by one, but not yet by descriptor.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    by_places(&lower, own, wanted, &self.empty()?)
                }
                mounted => mounted,
            }
        };
        mounted.map(Rootfs::Detached).map_err(failed(wanted.directory))
    }
}

/// An overlay of layers that are mounts, for kernels that take no descriptors: they have places for a moment, below `at`,
/// in a mount namespace of one thread.
fn by_places(lower: &[OwnedFd], (upper, work): (&Path, &Path), wanted: &Wanted<'_>, at: &Path) -> io::Result<OwnedFd> {
    mountns::private(|| {
        let places = mount::new_file_system("tmpfs", "tmpfs", &["mode=700"], Attributes::default())?;
        mount::attach_at(places.as_fd(), at)?;
        // Short names without what separates options, whatever the data root is called.
        for (name, own) in [("upper", upper), ("work", work)] {
            symlink(own, at.join(name))?;
        }
        let names: Vec<PathBuf> = (0..lower.len()).map(|number| number.to_string().into()).collect();
        for (name, layer) in names.iter().zip(lower) {
            let place = at.join(name);
            DirBuilder::new().create(&place)?;
            mount::attach_at(layer.as_fd(), &place)?;
        }
        let root = at.join("root");
        DirBuilder::new().create(&root)?;
        let overlay = Overlay {
            lower: &names.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
            upper: Some((Path::new("upper"), Path::new("work"))),
            volatile: wanted.writable == Writable::Volatile,
            label: wanted.label,
        };
        mount::overlay_attached(&root, at, &overlay)?;
        mount::clone_tree_of(&root)
    })?
}

/// What the kernel or the file system lacks where a mapped overlay is refused.
fn words(error: &SnapshotError) -> String {
    let lack = match error {
        SnapshotError::File { operation, .. } if *operation == MAP => {
            "mounts with mapped ids need Linux 5.12 and a file system that has them (mount_setattr(2))"
        }
        SnapshotError::Overlay { .. } => "overlays of such mounts need Linux 5.19",
        _ => return error.to_string(),
    };
    format!("{lack}: {error}")
}
