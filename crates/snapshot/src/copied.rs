//! Drivers that keep whole trees: each layer and each container has everything that those below it have.
//!
//! ```text
//!   layers/<name>/               the tree of a layer and all below it
//!   containers/<id>/tree/        a copy of the top-most one, made when it is first wanted
//!   containers/<id>/copied       empty; its time says when the copy was complete
//! ```

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use conex_sys::mount::{self, Attributes};
use rustix::mount::MountPropagationFlags;

use crate::compare::{self, Sink};
use crate::copy;
use crate::error::{SnapshotError, file};
use crate::rootfs::{Rootfs, make_container};
use crate::store::{Layer, Snapshots, Staging, make_root};
use crate::tree::{self, Source, Taking};

impl Snapshots {
    /// The root file system of a container: its own tree.
    pub(crate) fn copied(&self, layers: &[Layer], container: &Path) -> Result<Rootfs, SnapshotError> {
        let tree = self.container_tree(container);
        if !tree.exists() {
            self.copy_for(layers, container, &tree)?;
        }
        let mounted = mount::clone_tree_of(&tree).map_err(file("mount", &tree))?;
        // A data root that shares its mounts is to see none of the container's.
        mount::set_attributes(
            mounted.as_fd(),
            Attributes::default(),
            Some(MountPropagationFlags::PRIVATE),
            false,
        )
        .map_err(file("mount", &tree))?;
        Ok(Rootfs::Detached(mounted))
    }

    /// Where a container's tree is.
    pub(crate) fn container_tree(&self, container: &Path) -> PathBuf {
        container.join("tree")
    }

    fn copy_for(&self, layers: &[Layer], container: &Path, tree: &Path) -> Result<(), SnapshotError> {
        make_container(container)?;
        let unfinished = container.join("tree.tmp");
        self.discard(&unfinished)?;
        let below = layers.first().map(|layer| self.path(&layer.name));
        let made = self.clone_tree(below.as_deref(), &unfinished);
        made.and_then(|()| {
            stamp(&container.join("copied"))?;
            conex_sys::failpoint::hit("tree.copied");
            fs::rename(&unfinished, tree).map_err(file("make", tree))
        })
        .inspect_err(|_| self.give_up(&unfinished))
    }

    /// Makes a tree like another, or an empty one.
    fn clone_tree(&self, from: Option<&Path>, to: &Path) -> Result<(), SnapshotError> {
        make_root(to)?;
        let Some(from) = from else { return Ok(()) };
        let copied = || {
            let (source, target) = (tree::open(from)?, tree::open(to)?);
            let found = rustix::fs::fstat(&source)?;
            tree::merge(source.as_fd(), target.as_fd(), Source::Tree, Taking::Copy)?;
            copy::attributes(source.as_fd(), &found, target.as_fd())
        };
        copied().map_err(file("copy", from))
    }

    /// Discards what came of something that did not succeed.
    fn give_up(&self, path: &Path) {
        if let Err(error) = self.discard(path) {
            tracing::warn!(%error, "what is unfinished is left to the next start");
        }
    }

    /// Tells what a container has changed; nothing where it was never started.
    pub(crate) fn compare(
        &self,
        layers: &[Layer],
        container: &Path,
        sink: &mut impl Sink,
    ) -> Result<(), SnapshotError> {
        let tree = self.container_tree(container);
        if !tree.exists() {
            return Ok(());
        }
        let lower = match layers.first() {
            Some(layer) => self.path(&layer.name),
            None => self.empty()?,
        };
        let copied = fs::metadata(container.join("copied")).and_then(|found| found.modified());
        let copied = copied.unwrap_or(SystemTime::UNIX_EPOCH);
        let compared = tree::open(&lower).and_then(|lower| compare::compare(lower, tree::open(&tree)?, copied, sink));
        compared.map_err(file("compare", &tree))
    }
}

impl Staging {
    /// Makes the tree that the layer and those below it come to.
    pub(crate) fn grow(&mut self, below: Option<&Layer>, carries_root: bool) -> Result<(), SnapshotError> {
        let (_, grown) = self.store.next_staging();
        let below = below.map(|layer| self.store.path(&layer.name));
        let made = self.store.clone_tree(below.as_deref(), &grown);
        made.and_then(|()| self.bring_into(&grown, carries_root))
            .inspect_err(|_| self.store.give_up(&grown))?;
        conex_sys::failpoint::hit("layer.grown");
        self.replace(grown)
    }

    fn bring_into(&self, grown: &Path, carries_root: bool) -> Result<(), SnapshotError> {
        let own = self.path();
        let moved = || {
            let (source, target) = (tree::open(own)?, tree::open(grown)?);
            let found = rustix::fs::fstat(&source)?;
            tree::merge(source.as_fd(), target.as_fd(), Source::Difference, Taking::Move)?;
            if !carries_root {
                return Ok(());
            }
            copy::clear_xattrs(target.as_fd())?;
            copy::attributes(source.as_fd(), &found, target.as_fd())
        };
        moved().map_err(file("merge", own))
    }
}

/// Notes the time, as the file system has it.
fn stamp(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file("remove", path)(error)),
        _ => {}
    }
    File::create_new(path).map(drop).map_err(file("create", path))
}
