//! What a writable layer changes (overlayfs.rst, "whiteouts and opaque directories").

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use conex_sys::userns::IdMap;
use rustix::fs::Stat;

use crate::compare::Sink;
use crate::driver::Driver;
use crate::error::{SnapshotError, file};
use crate::limit::Own;
use crate::store::{Layer, Snapshots};
use crate::tree::is_mark;

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It is another.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

impl Snapshots {
    /// What layers (top-most first) show at a path below the root; `None` where there is nothing. Blocks on the disk.
    pub fn shown(&self, layers: &[Layer], path: &Path) -> Result<Option<Metadata>, SnapshotError> {
        below(&self.shown_layers(layers), path).map_err(file("look at", path))
    }

    /// What a container's writable layer changes in its layers (top-most first): absolute paths, in order.
    /// A directory has changed where its owner or mode is another or something came or went in it. What is at the paths
    /// of `except` is not told. `map` is that of the container's user namespace. Blocks on the disk.
    pub fn changes(
        &self,
        layers: &[Layer],
        own: Own<'_>,
        except: &[&str],
        map: Option<&IdMap>,
    ) -> Result<BTreeMap<PathBuf, Change>, SnapshotError> {
        let record = Record {
            except,
            changes: BTreeMap::new(),
        };
        if self.driver.keeps_trees() {
            let mut told = Told {
                record,
                path: PathBuf::from("/"),
            };
            self.compare(layers, own.directory, &mut told)?;
            return Ok(told.record.changes);
        }
        let Some(reached) = self.reach(own)? else {
            return Ok(BTreeMap::new());
        };
        let (upper, _) = self.own_layer(&reached.directory);
        let mut walk = Walk {
            upper: &upper,
            lower: &self.shown_layers(layers),
            map,
            has_marks: matches!(self.driver, Driver::FuseOverlay(_)),
            record,
        };
        match walk.directory(Path::new(""), true) {
            // It was never started.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !upper.exists() => {}
            walked => walked.map_err(file("read", &upper))?,
        }
        Ok(walk.record.changes)
    }

    /// The directories that show everything of these layers, top-most first.
    fn shown_layers(&self, layers: &[Layer]) -> Vec<PathBuf> {
        let all = layers.iter().map(|layer| self.path(&layer.name));
        if self.driver.keeps_trees() {
            all.take(1).collect()
        } else {
            all.collect()
        }
    }
}

/// What became of which path.
struct Record<'a> {
    except: &'a [&'a str],
    changes: BTreeMap<PathBuf, Change>,
}

impl Record<'_> {
    fn add(&mut self, path: PathBuf, change: Change) {
        if self.except.iter().any(|except| path == Path::new(except)) {
            return;
        }
        if change != Change::Modified
            && let Some(parent) = path.parent().filter(|parent| *parent != Path::new("/"))
        {
            self.changes.entry(parent.to_owned()).or_insert(Change::Modified);
        }
        self.changes.insert(path, change);
    }
}

/// What a comparison of two trees tells.
struct Told<'a> {
    record: Record<'a>,
    /// Of the directory on the way.
    path: PathBuf,
}

impl Sink for Told<'_> {
    fn enter(&mut self, name: &CStr, _: BorrowedFd<'_>, _: &Stat, change: Option<Change>) -> io::Result<()> {
        self.path.push(OsStr::from_bytes(name.to_bytes()));
        if let Some(change) = change {
            self.record.add(self.path.clone(), change);
        }
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        self.path.pop();
        Ok(())
    }

    fn object(&mut self, name: &CStr, _: BorrowedFd<'_>, _: &Stat, change: Change) -> io::Result<()> {
        let path = self.path.join(OsStr::from_bytes(name.to_bytes()));
        self.record.add(path, change);
        Ok(())
    }

    fn gone(&mut self, name: &CStr) -> io::Result<()> {
        let path = self.path.join(OsStr::from_bytes(name.to_bytes()));
        self.record.add(path, Change::Deleted);
        Ok(())
    }
}

struct Walk<'a> {
    upper: &'a Path,
    lower: &'a [PathBuf],
    /// The ids that it has, where they are not those of the layers.
    map: Option<&'a IdMap>,
    /// Whether the driver has files of its own in it.
    has_marks: bool,
    record: Record<'a>,
}

impl Walk<'_> {
    /// A directory of the writable layer, by its path below the root. `merged`: the layers show through.
    fn directory(&mut self, path: &Path, merged: bool) -> io::Result<()> {
        let mut own = BTreeSet::new();
        for entry in fs::read_dir(self.upper.join(path))? {
            let entry = entry?;
            if self.has_marks && CString::new(entry.file_name().as_bytes()).is_ok_and(|name| is_mark(&name)) {
                continue;
            }
            let child = path.join(entry.file_name());
            let metadata = entry.metadata()?;
            let below = if merged { below(self.lower, &child)? } else { None };
            own.insert(entry.file_name());
            self.entry(&child, &metadata, below.as_ref())?;
        }
        if !merged {
            self.hidden(path, &own)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, metadata: &Metadata, below: Option<&Metadata>) -> io::Result<()> {
        if is_whiteout(metadata) {
            if below.is_some() {
                self.record(path, Change::Deleted);
            }
            return Ok(());
        }
        match below {
            None => self.record(path, Change::Added),
            // A directory that is there only for what is below it has not changed.
            Some(below) if metadata.is_dir() && below.is_dir() && same(metadata, below, self.map) => {}
            Some(_) => self.record(path, Change::Modified),
        }
        if metadata.is_dir() {
            let merged = below.is_some_and(Metadata::is_dir) && !is_opaque(&self.upper.join(path))?;
            self.directory(path, merged)?;
        }
        Ok(())
    }

    /// What a directory that hides the layers has hidden, as far as it has nothing of the same name.
    fn hidden(&mut self, path: &Path, own: &BTreeSet<std::ffi::OsString>) -> io::Result<()> {
        for layer in self.lower {
            let entries = match fs::read_dir(layer.join(path)) {
                Ok(entries) => entries,
                Err(error) if is_absence(&error) => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let child = path.join(entry.file_name());
                let Some(_) = below(self.lower, &child)? else { continue };
                if own.contains(&entry.file_name()) {
                    self.record(&child, Change::Modified);
                } else {
                    self.record(&child, Change::Deleted);
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, path: &Path, change: Change) {
        self.record.add(Path::new("/").join(path), change);
    }
}

/// What layers have at a path, as one file system.
fn below(lower: &[PathBuf], path: &Path) -> io::Result<Option<Metadata>> {
    'layers: for layer in lower {
        let mut at = layer.clone();
        let mut opaque = false;
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            at.push(component);
            let metadata = match fs::symlink_metadata(&at) {
                Ok(metadata) => metadata,
                // Nothing here: a lower layer may have it, unless this one hides it.
                Err(error) if is_absence(&error) && opaque => return Ok(None),
                Err(error) if is_absence(&error) => continue 'layers,
                Err(error) => return Err(error),
            };
            if is_whiteout(&metadata) {
                return Ok(None);
            }
            if components.peek().is_none() {
                return Ok(Some(metadata));
            }
            if !metadata.is_dir() {
                return Ok(None);
            }
            opaque = opaque || is_opaque(&at)?;
        }
    }
    Ok(None)
}

/// A character device 0/0 stands for what is gone.
fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn is_opaque(directory: &Path) -> io::Result<bool> {
    let mut value = [0; 1];
    match rustix::fs::lgetxattr(directory, "trusted.overlay.opaque", &mut value[..]) {
        Ok(length) => Ok(length == 1 && value == *b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::RANGE | rustix::io::Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Times do not count: what comes and goes in a directory is told by itself.
fn same(own: &Metadata, below: &Metadata, map: Option<&IdMap>) -> bool {
    let owner = (own.uid(), own.gid());
    let owner = map.map_or(owner, |map| map.inside(owner));
    (own.mode(), owner) == (below.mode(), (below.uid(), below.gid()))
}
