//! From one driver to another: what a container has changed, and layers whose archives do not come back.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

use crate::compare;
use crate::copy;
use crate::difference::{Copies, Difference};
use crate::error::{SnapshotError, file};
use crate::rootfs::{make_container, make_dir};
use crate::store::{Layer, Snapshots, Staging, make_root};
use crate::tree::{self, Source, Taking};

/// Everything in a container's directory that is a driver's: no two of them call it the same.
const OWN: [&str; 13] = [
    "upper",
    "upper.tmp",
    "work",
    "lower",
    "fuse-upper",
    "fuse-upper.tmp",
    "fuse-work",
    "tree",
    "tree.tmp",
    "tree.copied",
    "subvolume",
    "subvolume.tmp",
    "subvolume.copied",
];

impl Snapshots {
    /// Gives the container in a directory what it has changed as another driver had it; `layers` (top-most first) are this
    /// driver's. What the other had stays.
    pub fn take_over(&self, layers: &[Layer], container: &Path, changed: &Difference) -> Result<(), SnapshotError> {
        if self.binds_layers() {
            let tree = self.container_tree(container);
            self.discard(&tree)?;
            return self.copy_for(layers, container, &tree, Some(changed.path()));
        }
        let (upper, work) = self.own_layer(container);
        make_container(container)?;
        self.discard(&upper)?;
        self.discard(&work)?;
        make_dir(&work, 0o700)?;
        let unfinished = upper.with_extension("tmp");
        self.discard(&unfinished)?;
        make_root(&unfinished)?;
        copy_marks(changed.path(), &unfinished)?;
        fs::rename(&unfinished, &upper).map_err(file("make", &upper))
    }

    /// Discards what other drivers have in a container's directory.
    pub fn forget_others(&self, container: &Path) -> Result<(), SnapshotError> {
        let (first, second) = if self.binds_layers() {
            (self.container_tree(container), self.copied_mark(container))
        } else {
            self.own_layer(container)
        };
        let all = OWN.iter().map(|name| container.join(name));
        let mut others = all.filter(|path| *path != first && *path != second);
        others.try_for_each(|path| self.discard(&path))
    }
}

impl Staging {
    /// Another that is the same: files, marks and skeleton.
    pub fn copy(&self) -> Result<Self, SnapshotError> {
        let other = self.store.stage()?;
        copy_marks(self.path(), other.path())?;
        match fs::copy(self.skeleton(), other.skeleton()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(other),
            copied => copied.map(|_| other).map_err(file("copy", self.skeleton())),
        }
    }

    /// Fills the directory with what a layer of another driver changes in those below it (top-most first).
    pub fn copy_of(&self, other: &Snapshots, layer: &Layer, below: &[Layer]) -> Result<(), SnapshotError> {
        let source = other.path(&layer.name);
        if !other.binds_layers() {
            return copy_marks(&source, self.path());
        }
        let lower = match below.first() {
            Some(layer) => other.path(&layer.name),
            None => other.empty()?,
        };
        let copied = || {
            let own = tree::open(&source)?;
            let mut copies = Copies::new(own.try_clone()?, tree::open(self.path())?)?;
            compare::compare(tree::open(&lower)?, own, SystemTime::UNIX_EPOCH, &mut copies)?;
            copies.finish()
        };
        copied().map_err(file("compare", &source))
    }
}

/// Copies a tree with whiteouts and opaque directories as they are.
fn copy_marks(from: &Path, to: &Path) -> Result<(), SnapshotError> {
    let copied = || {
        let (source, target) = (tree::open(from)?, tree::open(to)?);
        let found = rustix::fs::fstat(&source)?;
        tree::merge(source.as_fd(), target.as_fd(), Source::Marks, Taking::Copy)?;
        copy::attributes(source.as_fd(), &found, target.as_fd())
    };
    copied().map_err(file("copy", from))
}
