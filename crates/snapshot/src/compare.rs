//! What one tree has that another has not: how drivers that copy find what a container changed.

use std::cmp::Ordering;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::iter::Peekable;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::vec::IntoIter;

use rustix::fs::{FileType, Stat};

use crate::changes::Change;
use crate::copy::{self, is, proc_path};
use crate::tree::{is_whiteout, names, open_in, place_in};

/// Bytes of two files that are compared at a time.
const BLOCK: usize = 64 << 10;

/// Is told of what differs.
pub(crate) trait Sink {
    /// A directory, with what became of it, if anything; what is in it follows.
    fn enter(&mut self, name: &CStr, own: BorrowedFd<'_>, found: &Stat, change: Option<Change>) -> io::Result<()>;
    /// The end of what is in a directory.
    fn leave(&mut self) -> io::Result<()>;
    /// Anything but a directory that is new or another.
    fn object(&mut self, name: &CStr, own: BorrowedFd<'_>, found: &Stat, change: Change) -> io::Result<()>;
    /// Something that is gone.
    fn gone(&mut self, name: &CStr) -> io::Result<()>;
}

/// Tells what `own` has changed in `lower`, of which it was a copy when `copied` was. An object whose inode nobody has
/// touched since then has not changed; any other is looked at as a whole, for times and sizes can be made to agree.
pub(crate) fn compare(lower: OwnedFd, own: OwnedFd, copied: SystemTime, sink: &mut impl Sink) -> io::Result<()> {
    let mut levels = vec![Level::new(Some(lower), own)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.next() else {
            levels.pop();
            if !levels.is_empty() {
                sink.leave()?;
            }
            continue;
        };
        if let Some(below) = level.tell(&name, copied, sink)? {
            levels.push(below);
        }
    }
    Ok(())
}

/// A directory on the way, with all names that one or the other has.
struct Level {
    lower: Option<OwnedFd>,
    own: OwnedFd,
    lower_names: Peekable<IntoIter<CString>>,
    own_names: Peekable<IntoIter<CString>>,
}

impl Level {
    fn new(lower: Option<OwnedFd>, own: OwnedFd) -> io::Result<Self> {
        let lower_names = match &lower {
            Some(lower) => names(lower.as_fd())?,
            None => Vec::new(),
        };
        Ok(Self {
            lower_names: lower_names.into_iter().peekable(),
            own_names: names(own.as_fd())?.into_iter().peekable(),
            lower,
            own,
        })
    }

    /// The next name of either.
    fn next(&mut self) -> Option<CString> {
        let order = match (self.lower_names.peek(), self.own_names.peek()) {
            (Some(lower), Some(own)) => lower.cmp(own),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => self.lower_names.next(),
            Ordering::Greater => self.own_names.next(),
            Ordering::Equal => {
                self.lower_names.next();
                self.own_names.next()
            }
        }
    }

    /// Tells one object; a directory comes back, for what is in it.
    fn tell(&self, name: &CStr, copied: SystemTime, sink: &mut impl Sink) -> io::Result<Option<Self>> {
        let lower = match &self.lower {
            Some(lower) => place_in(lower.as_fd(), name)?,
            None => None,
        };
        // A whiteout of the container's own making is nothing that an image can have.
        let own = place_in(self.own.as_fd(), name)?.filter(|(_, found)| !is_whiteout(found));
        let Some((own, found)) = own else {
            if lower.is_some() {
                sink.gone(name)?;
            }
            return Ok(None);
        };
        let change = match &lower {
            None => Some(Change::Added),
            Some(lower) if differs((&own, &found), (&lower.0, &lower.1), copied)? => Some(Change::Modified),
            Some(_) => None,
        };
        if is(&found, FileType::Directory) {
            sink.enter(name, own.as_fd(), &found, change)?;
            let lower = match (&self.lower, lower) {
                (Some(parent), Some((_, lower))) if is(&lower, FileType::Directory) => {
                    Some(open_in(parent.as_fd(), name)?)
                }
                _ => None,
            };
            return Self::new(lower, open_in(self.own.as_fd(), name)?).map(Some);
        }
        if let Some(change) = change {
            sink.object(name, own.as_fd(), &found, change)?;
        }
        Ok(None)
    }
}

fn differs(own: (&OwnedFd, &Stat), lower: (&OwnedFd, &Stat), copied: SystemTime) -> io::Result<bool> {
    let ((own, found), (lower, before)) = (own, lower);
    if changed_at(found) < copied {
        return Ok(false);
    }
    let attributes = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    if attributes(found) != attributes(before) {
        return Ok(true);
    }
    let kind = FileType::from_raw_mode(found.st_mode);
    // What comes and goes in a directory is told by itself.
    let state = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    // A file that got another name is told with it, so that both stay one file.
    let is_other = state(found) != state(before) || found.st_nlink > before.st_nlink;
    if kind != FileType::Directory && is_other {
        return Ok(true);
    }
    match kind {
        FileType::Symlink => {
            let target = |place| rustix::fs::readlinkat(place, "", Vec::new());
            return Ok(target(own)? != target(lower)?);
        }
        FileType::RegularFile if !same_contents(own.as_fd(), lower.as_fd())? => return Ok(true),
        _ => {}
    }
    Ok(copy::xattrs(own.as_fd())? != copy::xattrs(lower.as_fd())?)
}

/// When an inode last changed in any way (stat(3type), `st_ctim`).
fn changed_at(found: &Stat) -> SystemTime {
    let seconds = u64::try_from(found.st_ctime).unwrap_or_default();
    let nanoseconds = u32::try_from(found.st_ctime_nsec).unwrap_or_default();
    UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

fn same_contents(own: BorrowedFd<'_>, lower: BorrowedFd<'_>) -> io::Result<bool> {
    let (mut own, mut lower) = (File::open(proc_path(own))?, File::open(proc_path(lower))?);
    let (mut one, mut other) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let (length, expected) = (fill(&mut own, &mut one)?, fill(&mut lower, &mut other)?);
        if one[..length] != other[..expected] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
