//! What a container has changed, as overlays have it: what a commit packs, and how much that is.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use crate::changes::Change;
use crate::compare::Sink;
use crate::copy;
use crate::error::{SnapshotError, file};
use crate::limit::Own;
use crate::store::{Layer, Snapshots, make_root};
use crate::tree;

/// A directory with what a container has changed: whiteouts are character devices 0/0, as overlayfs has them.
#[derive(Debug)]
pub struct Difference {
    path: PathBuf,
    /// The store that is to discard it, where it was made for the purpose.
    made_in: Option<Snapshots>,
    /// What it is reached by.
    _mount: Option<OwnedFd>,
}

impl Difference {
    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Difference {
    fn drop(&mut self) {
        if let Some(store) = &self.made_in
            && let Err(error) = store.discard(&self.path)
        {
            tracing::warn!(%error, "what was made for a commit is left to the next start");
        }
    }
}

impl Snapshots {
    /// What a container has changed in its layers (top-most first); `None` where it was never started. Blocks on the disk.
    pub fn difference(&self, layers: &[Layer], own: Own<'_>) -> Result<Option<Difference>, SnapshotError> {
        if !self.binds_layers() {
            let Some(reached) = self.reach(own)? else {
                return Ok(None);
            };
            let (path, _) = self.own_layer(&reached.directory);
            return Ok(path.exists().then_some(Difference {
                path,
                made_in: None,
                _mount: reached.mount,
            }));
        }
        let container = own.directory;
        let tree = self.container_tree(container);
        if !tree.exists() {
            return Ok(None);
        }
        let (_, path) = self.next_staging();
        make_root(&path)?;
        let made = Difference {
            path,
            made_in: Some(self.clone()),
            _mount: None,
        };
        let mut copies = tree::open(&tree)
            .and_then(|own| Copies::new(own, tree::open(&made.path)?))
            .map_err(file("open", &tree))?;
        self.compare(layers, container, &mut copies)?;
        copies.finish().map_err(file("copy attributes of", &tree))?;
        Ok(Some(made))
    }

    /// Bytes of the files that a container has changed in its layers (top-most first). Blocks on the disk.
    pub fn size(&self, layers: &[Layer], own: Own<'_>) -> Result<u64, SnapshotError> {
        if self.binds_layers() {
            let mut sum = Sum(0);
            self.compare(layers, own.directory, &mut sum)?;
            return Ok(sum.0);
        }
        let Some(reached) = self.reach(own)? else {
            return Ok(0);
        };
        let (upper, _) = self.own_layer(&reached.directory);
        disk_usage(&upper).map_err(file("count", &upper))
    }
}

/// Bytes of the files below a directory; nothing where it is not there.
fn disk_usage(dir: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            disk_usage(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

/// Counts bytes.
struct Sum(u64);

impl Sink for Sum {
    fn enter(&mut self, _: &CStr, _: BorrowedFd<'_>, _: &Stat, _: Option<Change>) -> io::Result<()> {
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn object(&mut self, _: &CStr, _: BorrowedFd<'_>, found: &Stat, _: Change) -> io::Result<()> {
        self.0 += u64::try_from(found.st_size).unwrap_or_default();
        Ok(())
    }

    fn gone(&mut self, _: &CStr) -> io::Result<()> {
        Ok(())
    }
}

/// Copies what differs. Directories on the way are made with the first thing that is put into them.
pub(crate) struct Copies {
    /// The target's root and everything on the way.
    levels: Vec<Level>,
    /// Files with several names, by device and inode, with the first of them in the target.
    seen: HashMap<(u64, u64), PathBuf>,
    path: PathBuf,
}

struct Level {
    name: CString,
    own: OwnedFd,
    found: Stat,
    made: Option<OwnedFd>,
}

impl Copies {
    pub(crate) fn new(own: OwnedFd, target: OwnedFd) -> io::Result<Self> {
        let root = Level {
            name: CString::default(),
            found: rustix::fs::fstat(&own)?,
            own,
            made: Some(target),
        };
        Ok(Self {
            levels: vec![root],
            seen: HashMap::new(),
            path: PathBuf::new(),
        })
    }

    /// Gives the root what belongs to it.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.levels.pop().map_or(Ok(()), Level::finish)
    }

    /// The directory on the way, in the target.
    fn directory(&mut self) -> io::Result<BorrowedFd<'_>> {
        for depth in 1..self.levels.len() {
            if self.levels[depth].made.is_some() {
                continue;
            }
            let parent = self.levels[depth - 1].made.as_ref().ok_or(Errno::NOENT)?;
            let name = self.levels[depth].name.as_c_str();
            rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
            let made = tree::open_in(parent.as_fd(), name)?;
            self.levels[depth].made = Some(made);
        }
        let last = self.levels.last().and_then(|level| level.made.as_ref());
        Ok(last.ok_or(Errno::NOENT)?.as_fd())
    }
}

impl Level {
    /// Gives a directory what belongs to it, if it was made: last, because making things in it changes its time.
    fn finish(self) -> io::Result<()> {
        match self.made {
            Some(made) => copy::attributes(self.own.as_fd(), &self.found, made.as_fd()),
            None => Ok(()),
        }
    }
}

impl Sink for Copies {
    fn enter(&mut self, name: &CStr, own: BorrowedFd<'_>, found: &Stat, change: Option<Change>) -> io::Result<()> {
        self.path.push(OsStr::from_bytes(name.to_bytes()));
        self.levels.push(Level {
            name: name.to_owned(),
            own: own.try_clone_to_owned()?,
            found: *found,
            made: None,
        });
        if change.is_some() {
            self.directory()?;
        }
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        self.path.pop();
        self.levels.pop().map_or(Ok(()), Level::finish)
    }

    fn object(&mut self, name: &CStr, own: BorrowedFd<'_>, found: &Stat, _: Change) -> io::Result<()> {
        let name = OsStr::from_bytes(name.to_bytes());
        self.directory()?;
        let identity = (found.st_dev, found.st_ino);
        if found.st_nlink > 1 {
            if let Some(first) = self.seen.get(&identity).cloned() {
                let root = self.levels[0].made.as_ref().ok_or(Errno::NOENT)?;
                let last = self.levels.last().and_then(|level| level.made.as_ref());
                let to = last.ok_or(Errno::NOENT)?;
                return Ok(rustix::fs::linkat(root, &first, to, name, AtFlags::empty())?);
            }
            self.seen.insert(identity, self.path.join(name));
        }
        copy::object(own, found, self.directory()?, name)
    }

    fn gone(&mut self, name: &CStr) -> io::Result<()> {
        // It went when its directory last changed, or before: two commits of the same changes are one layer.
        let times = self.levels.last().map(|level| copy::modified_as(&level.found));
        let to = self.directory()?;
        rustix::fs::mknodat(to, name, FileType::CharacterDevice, Mode::empty(), 0)?;
        if let Some(times) = times {
            rustix::fs::utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}
