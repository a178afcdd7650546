//! Binding a layer to those below it: what its archive left for them to say.
//!
//! A directory that a layer implies takes owner, mode, attributes and time from the nearest layer below that has it, and a
//! hard link to a file of a lower layer takes that file along (a copy, as overlayfs itself would copy it up). Such a layer
//! is right only on top of these layers, and is recorded under its chain id.
//!
//! Drivers that keep whole trees bind every layer: what it changes is brought into a copy of the tree below.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};

use crate::copy::{self, is};
use crate::error::{SnapshotError, file};
use crate::store::{Layer, Staging};
use crate::tree::{is_opaque, is_whiteout};

/// What an archive leaves for the layers below to say; all paths are relative to the root.
#[derive(Debug, Clone, Copy, Default)]
pub struct Binding<'a> {
    /// Directories that it implies.
    pub implied: &'a [PathBuf],
    /// Hard links, each with what it links to.
    pub links: &'a [(PathBuf, PathBuf)],
    /// Whether it had an entry for the root directory.
    pub carries_root: bool,
}

impl Staging {
    /// Completes the layer from those below it (top-most first).
    pub fn bind(&mut self, below: &[Layer], binding: Binding<'_>) -> Result<(), SnapshotError> {
        self.complete(below, binding.implied, binding.links)?;
        if self.store.binds_layers() {
            self.grow(below.first(), binding.carries_root)?;
        }
        Ok(())
    }

    fn complete(
        &self,
        below: &[Layer],
        implied: &[PathBuf],
        links: &[(PathBuf, PathBuf)],
    ) -> Result<(), SnapshotError> {
        let mut lower = Vec::with_capacity(below.len());
        // The top-most tree has all that those below it have.
        let shown = if self.store.binds_layers() { 1 } else { below.len() };
        for layer in below.iter().take(shown) {
            let path = self.store.path(&layer.name);
            lower.push(OwnedFd::from(File::open(&path).map_err(file("open", &path))?));
        }
        // Where what a target named is by now: a second link to it, or to the first link, shows the same file.
        let mut bound: HashMap<&Path, &Path> = HashMap::new();
        for (link, target) in links {
            match bound.get(target.as_path()) {
                Some(first) => self.link_again(first, link)?,
                None => {
                    self.bind_link(&lower, link, target)?;
                    bound.insert(target, link);
                }
            }
            bound.insert(link, link);
        }
        // Deepest first: making things in a directory changes its time.
        for directory in implied.iter().rev() {
            if let Some((source, found)) = find(&lower, directory)
                && is(&found, FileType::Directory)
            {
                let target = open_beneath(self.dir(), directory, OFlags::PATH | OFlags::DIRECTORY)
                    .map_err(file("open", directory))?;
                copy::attributes(source.as_fd(), &found, target.as_fd())
                    .map_err(file("copy attributes of", directory))?;
            }
        }
        Ok(())
    }

    fn bind_link(&self, lower: &[OwnedFd], link: &Path, target: &Path) -> Result<(), SnapshotError> {
        let absent = || SnapshotError::LinkTarget {
            link: link.to_owned(),
            target: target.to_owned(),
        };
        let (link_dir, link_name) = split(link).ok_or_else(absent)?;
        let link_parent =
            open_beneath(self.dir(), link_dir, OFlags::PATH | OFlags::DIRECTORY).map_err(file("open", link_dir))?;
        let (source, found) = find(lower, target).ok_or_else(absent)?;
        // The copy stands under the link's name; the target's own name, in the same layer, is made one with it, so that
        // both names show one file, as they do after overlayfs has copied up the target.
        copy::object(source.as_fd(), &found, link_parent.as_fd(), link_name).map_err(file("copy", target))?;
        let (target_dir, target_name) = split(target).ok_or_else(absent)?;
        let target_parent = self.make_dirs(lower, target_dir)?;
        match rustix::fs::linkat(&link_parent, link_name, &target_parent, target_name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(file("link", target)(error.into())),
        }
    }

    /// Gives what was bound under one name another.
    fn link_again(&self, first: &Path, link: &Path) -> Result<(), SnapshotError> {
        let open = |path: &Path| {
            let parent = path.parent().unwrap_or(Path::new(""));
            open_beneath(self.dir(), parent, OFlags::PATH | OFlags::DIRECTORY).map_err(file("open", parent))
        };
        let (from, to) = (open(first)?, open(link)?);
        let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
        rustix::fs::linkat(from, name(first), to, name(link), AtFlags::empty())
            .map_err(|error| file("link", link)(error.into()))
    }

    /// Opens a directory of the layer, making what is absent of it like the lower layers' own.
    fn make_dirs(&self, lower: &[OwnedFd], path: &Path) -> Result<OwnedFd, SnapshotError> {
        let mut walked = PathBuf::new();
        let mut dir = open_beneath(self.dir(), Path::new("."), OFlags::PATH).map_err(file("open", path))?;
        for component in path
            .components()
            .filter(|component| matches!(component, Component::Normal(_)))
        {
            walked.push(component);
            let made = match rustix::fs::mkdirat(&dir, component.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) => true,
                Err(rustix::io::Errno::EXIST) => false,
                Err(error) => return Err(file("make", &walked)(error.into())),
            };
            dir = open_beneath(self.dir(), &walked, OFlags::PATH | OFlags::DIRECTORY).map_err(file("open", &walked))?;
            if made && let Some((source, found)) = find(lower, &walked) {
                copy::attributes(source.as_fd(), &found, dir.as_fd()).map_err(file("copy attributes of", &walked))?;
            }
        }
        Ok(dir)
    }
}

fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

/// What the stacked layers show at a path: that of the top-most layer that has it, unless a layer above hides it.
fn find(lower: &[OwnedFd], path: &Path) -> Option<(OwnedFd, Stat)> {
    for layer in lower {
        let mut walked = PathBuf::new();
        let mut hides = false;
        for component in path.components() {
            walked.push(component);
            let Ok(opened) = open_beneath(layer.as_fd(), &walked, OFlags::PATH | OFlags::NOFOLLOW) else {
                break;
            };
            let Ok(found) = rustix::fs::fstat(&opened) else { break };
            if is_whiteout(&found) {
                return None;
            }
            if walked == path {
                return Some((opened, found));
            }
            if !is(&found, FileType::Directory) {
                return None;
            }
            hides |= is_opaque(opened.as_fd());
        }
        if hides {
            return None;
        }
    }
    None
}

/// Opens beneath a layer's root; layers are other people's data, so nothing on the way may lead out.
fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )?)
}
