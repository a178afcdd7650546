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
use crate::limit::Own;
use crate::overlay::join;
use crate::rootfs::make_container;
use crate::store::{Layer, Snapshots, Staging, make_root};
use crate::tree::{self, Source, Taking};

/// Everything in a container's directory that is a driver's: no two of them call it the same.
const OWN: [&str; 19] = [
    "upper",
    "upper.tmp",
    "upper.disk",
    "upper.disk.tmp",
    "work",
    "work.tmp",
    "lower",
    "fuse-upper",
    "fuse-upper.tmp",
    "fuse-upper.disk",
    "fuse-upper.disk.tmp",
    "fuse-work",
    "fuse-work.tmp",
    "tree",
    "tree.tmp",
    "tree.copied",
    "subvolume",
    "subvolume.tmp",
    "subvolume.copied",
];

impl Snapshots {
    /// Gives a container what it has changed as another driver had it; `layers` (top-most first) and its limit are this
    /// driver's. What the other had stays.
    pub fn take_over(&self, layers: &[Layer], own: Own<'_>, changed: &Difference) -> Result<(), SnapshotError> {
        if self.binds_layers() {
            let tree = self.container_tree(own.directory);
            self.discard(&tree)?;
            return self.copy_for(layers, (own.directory, &tree), Some(changed.path()), own.label);
        }
        make_container(own.directory)?;
        if let Some(project) = own.project() {
            self.limit_project(project)?;
        }
        match own.disk() {
            Some(bytes) => self.with_disk(own, bytes, |directory| self.take_upper(directory, None, changed)),
            None => self.take_upper(own.directory, own.project(), changed),
        }
    }

    fn take_upper(
        &self,
        directory: &Path,
        project: Option<(u32, u64)>,
        changed: &Difference,
    ) -> Result<(), SnapshotError> {
        let (upper, work) = self.own_layer(directory);
        let project = project.map(|(number, _)| number);
        self.discard_beside(&upper)?;
        self.discard_beside(&work)?;
        self.make_work(&work, project)?;
        let unfinished = upper.with_extension("tmp");
        self.discard_beside(&unfinished)?;
        make_root(&unfinished)?;
        join(&unfinished, project)?;
        copy_marks(changed.path(), &unfinished)?;
        fs::rename(&unfinished, &upper).map_err(file("make", &upper))
    }

    /// Discards what other drivers have in a container's directory.
    pub fn forget_others(&self, container: &Path) -> Result<(), SnapshotError> {
        let own = if self.binds_layers() {
            vec![self.container_tree(container), self.copied_mark(container)]
        } else {
            let (upper, work) = self.own_layer(container);
            vec![upper, work, self.disk_of(container)]
        };
        let all = OWN.iter().map(|name| container.join(name));
        let mut others = all.filter(|path| !own.contains(path));
        others.try_for_each(|path| self.forget(&path))
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
