//! Drivers that keep whole trees: each layer and each container has everything that those below it have.
//!
//! ```text
//!   layers/<name>/               the tree of a layer and all below it
//!   containers/<id>/tree/        a copy of the top-most one, made when it is first wanted (`subvolume/`, of btrfs)
//!   containers/<id>/tree.copied  empty; its time says when the copy was complete
//! ```
//!
//! With btrfs each tree is a subvolume and each copy a snapshot. Inodes keep their numbers and times in a snapshot, so what
//! a container changed is found as in any other copy.

use std::ffi::{CStr, CString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use conex_sys::btrfs;
use conex_sys::mount::{self, Attributes};
use conex_sys::selinux;
use rustix::mount::MountPropagationFlags;

use crate::compare::{self, Sink};
use crate::copy;
use crate::driver::Driver;
use crate::error::{SnapshotError, file};
use crate::limit::Own;
use crate::rootfs::{Rootfs, make_container};
use crate::store::{Layer, Snapshots, Staging, make_root};
use crate::tree::{self, Source, Taking};

impl Snapshots {
    /// The root file system of a container: its own tree.
    pub(crate) fn copied(&self, layers: &[Layer], own: Own<'_>) -> Result<Rootfs, SnapshotError> {
        let tree = self.container_tree(own.directory);
        if !tree.exists() {
            self.copy_for(layers, (own.directory, &tree), None, own.label)?;
        }
        if let Some(label) = own.label {
            self.label(&tree, label)?;
        }
        if let Some(limit) = own.limit {
            self.limit_subvolume(&tree, limit.bytes)?;
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

    /// Labels all of a container's tree, which no mount of its own does for it. What is labelled already costs nothing.
    fn label(&self, tree: &Path, label: &str) -> Result<(), SnapshotError> {
        selinux::label_tree_at(tree, label).map_err(file("label", tree))
    }

    /// Where a container's tree is.
    pub(crate) fn container_tree(&self, container: &Path) -> PathBuf {
        container.join(self.driver.tree_name())
    }

    /// The file whose time says when that was complete.
    pub(crate) fn copied_mark(&self, container: &Path) -> PathBuf {
        container.join(format!("{}.copied", self.driver.tree_name()))
    }

    /// Makes the root directory of a tree, as it is where no layer says how.
    pub(crate) fn make_tree(&self, path: &Path) -> Result<(), SnapshotError> {
        if self.driver != Driver::Btrfs {
            return make_root(path);
        }
        in_parent(path, btrfs::create_subvolume).map_err(file("make", path))?;
        // The mask has cut the mode, and containers may see it as that of their `/`.
        fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(file("set the mode of", path))
    }

    /// Copies the tree of an image for a container, with what that has changed, if anything. It is labelled before the time
    /// of the copy: what has changed no more since needs no comparison.
    pub(crate) fn copy_for(
        &self,
        layers: &[Layer],
        (container, tree): (&Path, &Path),
        changed: Option<&Path>,
        label: Option<&str>,
    ) -> Result<(), SnapshotError> {
        make_container(container)?;
        let unfinished = container.join(format!("{}.tmp", self.driver.tree_name()));
        self.discard(&unfinished)?;
        let below = layers.first().map(|layer| self.path(&layer.name));
        let made = self.clone_tree(below.as_deref(), &unfinished);
        made.and_then(|()| {
            if let Some(label) = label {
                self.label(&unfinished, label)?;
            }
            stamp(&self.copied_mark(container))?;
            if let Some(changed) = changed {
                bring_into(changed, &unfinished, Taking::Copy, true)?;
            }
            conex_sys::failpoint::hit("tree.copied");
            fs::rename(&unfinished, tree).map_err(file("make", tree))
        })
        .inspect_err(|_| self.give_up(&unfinished))
    }

    /// Makes a tree like another, or an empty one.
    fn clone_tree(&self, from: Option<&Path>, to: &Path) -> Result<(), SnapshotError> {
        let Some(from) = from else {
            return self.make_tree(to);
        };
        if self.driver == Driver::Btrfs {
            let taken = tree::open(from)
                .and_then(|source| in_parent(to, |parent, name| btrfs::snapshot(source.as_fd(), parent, name)));
            return taken.map_err(file("take a snapshot of", from));
        }
        make_root(to)?;
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
        let copied = fs::metadata(self.copied_mark(container)).and_then(|found| found.modified());
        let copied = copied.unwrap_or(SystemTime::UNIX_EPOCH);
        let compared = tree::open(&lower).and_then(|lower| compare::compare(lower, tree::open(&tree)?, copied, sink));
        compared.map_err(file("compare", &tree))
    }
}

impl Staging {
    /// Makes the tree that the layer and those below it come to.
    pub(crate) fn grow(&mut self, below: Option<&Layer>, carries_root: bool) -> Result<(), SnapshotError> {
        let Some(below) = below else {
            // It is that tree already, but for what takes away what is not there.
            let own = self.path();
            return tree::open(own).and_then(tree::strip).map_err(file("strip", own));
        };
        let (_, grown) = self.store.next_staging();
        let below = self.store.path(&below.name);
        let made = self.store.clone_tree(Some(&below), &grown);
        // Nothing can be renamed from one subvolume into another; a copy shares its blocks.
        let taking = match self.store.driver() {
            Driver::Btrfs => Taking::Copy,
            _ => Taking::Move,
        };
        made.and_then(|()| bring_into(self.path(), &grown, taking, carries_root))
            .inspect_err(|_| self.store.give_up(&grown))?;
        conex_sys::failpoint::hit("layer.grown");
        self.replace(grown)
    }
}

/// Brings what a layer changes into a tree.
fn bring_into(own: &Path, grown: &Path, taking: Taking, carries_root: bool) -> Result<(), SnapshotError> {
    let brought = || {
        let (source, target) = (tree::open(own)?, tree::open(grown)?);
        let found = rustix::fs::fstat(&source)?;
        tree::merge(source.as_fd(), target.as_fd(), Source::Difference, taking)?;
        if !carries_root {
            return Ok(());
        }
        copy::clear_xattrs(target.as_fd())?;
        copy::attributes(source.as_fd(), &found, target.as_fd())
    };
    brought().map_err(file("merge", own))
}

/// Does something with a name in its directory.
fn in_parent(path: &Path, act: impl FnOnce(BorrowedFd<'_>, &CStr) -> io::Result<()>) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let name = CString::new(name.as_bytes())?;
    act(tree::open(parent)?.as_fd(), &name)
}

/// Notes the time, as the file system has it.
fn stamp(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file("remove", path)(error)),
        _ => {}
    }
    File::create_new(path).map(drop).map_err(file("create", path))
}
