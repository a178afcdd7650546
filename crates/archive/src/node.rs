//! Making one object and giving it its owner, mode, attributes and time.

use std::io::{BufRead, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, makedev,
};
use rustix::io::Errno;

use crate::entry::{Entry, Kind, Mtime};
use crate::error::{ExtractError, write};
use crate::parents::{creation_mask, proc_path};
use crate::reader::read_error;

const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What the kernel gives new objects by itself, so that only what differs is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults {
    mask: u32,
}

impl Defaults {
    /// Those of this process.
    pub(crate) fn probe() -> Self {
        Self { mask: creation_mask() }
    }

    /// Whether the mode has to be set after the object was made with it: bits that the mask takes or that `mknod` and a
    /// change of owner drop.
    fn needs_mode(self, entry: &Entry) -> bool {
        entry.mode & (self.mask | 0o7000) != 0
    }
}

/// The owner of a member. It is always set: what is made in a directory with the set-group-id bit has that one's group.
fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
}

/// Why an object was not made.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Its name is taken.
    Exists,
    /// Anything else.
    Error(ExtractError),
}

impl From<ExtractError> for Refused {
    fn from(error: ExtractError) -> Self {
        Self::Error(error)
    }
}

fn made<T>(result: rustix::io::Result<T>, operation: &'static str, entry: &Entry) -> Result<T, Refused> {
    match result {
        Err(Errno::EXIST) => Err(Refused::Exists),
        result => Ok(result.map_err(write(operation, &entry.path))?),
    }
}

/// Makes a regular file; its contents are still to be written.
pub(crate) fn create_file(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<OwnedFd, Refused> {
    made(
        rustix::fs::openat(parent, name, NEW_FILE, permissions(entry)),
        "create",
        entry,
    )
}

/// Writes a file's contents and then what writing would undo: capabilities and set-id bits, and the time.
pub(crate) fn fill_file(
    file: BorrowedFd<'_>,
    entry: &Entry,
    contents: &mut impl BufRead,
    defaults: Defaults,
) -> Result<(), ExtractError> {
    match &entry.sparse {
        Some(segments) => {
            for segment in segments {
                rustix::fs::seek(file, SeekFrom::Start(segment.offset)).map_err(write("seek in", &entry.path))?;
                fill(file, entry, &mut (&mut *contents).take(segment.length))?;
            }
            rustix::fs::ftruncate(file, entry.size).map_err(write("extend", &entry.path))?;
        }
        None => fill(file, entry, contents)?,
    }
    let (uid, gid) = owner(entry);
    rustix::fs::fchown(file, uid, gid).map_err(write("set the owner of", &entry.path))?;
    if defaults.needs_mode(entry) {
        rustix::fs::fchmod(file, mode(entry)).map_err(write("set the mode of", &entry.path))?;
    }
    for (attribute, value) in kept_xattrs(entry) {
        tolerate_unsupported(rustix::fs::fsetxattr(file, attribute, value, XattrFlags::empty()))
            .map_err(write("set an extended attribute of", &entry.path))?;
    }
    rustix::fs::futimens(file, &times(entry.mtime)).map_err(write("set the time of", &entry.path))
}

/// Writes contents to their end.
fn fill(file: BorrowedFd<'_>, entry: &Entry, contents: &mut impl BufRead) -> Result<(), ExtractError> {
    loop {
        let bytes = contents.fill_buf().map_err(read_error)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let written = match rustix::io::write(file, bytes) {
            Err(Errno::INTR) => continue,
            written => written.map_err(write("write", &entry.path))?,
        };
        contents.consume(written);
    }
}

/// Makes a directory; its time is to be set when everything below it is there.
pub(crate) fn create_directory(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Refused> {
    made(
        rustix::fs::mkdirat(parent, name, permissions(entry)),
        "make directory",
        entry,
    )
}

/// Gives an object that exists (no symbolic link) the owner, mode and attributes of a member. `fresh` says that it was just made with the
/// member's permissions, and so needs less.
pub(crate) fn dress(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    defaults: Defaults,
    fresh: bool,
) -> Result<(), ExtractError> {
    let (uid, gid) = owner(entry);
    rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(write("set the owner of", &entry.path))?;
    // A directory inherits the set-group-id bit.
    if entry.kind == Kind::Directory || !fresh || defaults.needs_mode(entry) {
        set_mode(parent, name, mode(entry)).map_err(write("set the mode of", &entry.path))?;
    }
    set_xattrs(parent, name, entry)
}

/// Sets the mode of a name, following nothing: a container that runs could have put a link in its place.
pub(crate) fn set_mode(parent: BorrowedFd<'_>, name: &[u8], mode: Mode) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    // Of a link itself this fails (`EOPNOTSUPP`, chmod(2)).
    rustix::fs::chmod(proc_path(place.as_fd(), b"").as_slice(), mode)
}

/// Makes a symbolic link, complete.
pub(crate) fn create_symlink(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Refused> {
    made(
        rustix::fs::symlinkat(entry.link.as_slice(), parent, name),
        "make symbolic link",
        entry,
    )?;
    let (uid, gid) = owner(entry);
    rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(write("set the owner of", &entry.path))?;
    set_xattrs(parent, name, entry)?;
    Ok(set_time(parent, name, entry.mtime).map_err(write("set the time of", &entry.path))?)
}

/// Makes a device or a fifo, complete.
pub(crate) fn create_special(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    defaults: Defaults,
) -> Result<(), Refused> {
    let (kind, number) = match entry.kind {
        Kind::CharDevice => (FileType::CharacterDevice, makedev(entry.major, entry.minor)),
        Kind::BlockDevice => (FileType::BlockDevice, makedev(entry.major, entry.minor)),
        _ => (FileType::Fifo, 0),
    };
    made(
        rustix::fs::mknodat(parent, name, kind, permissions(entry), number),
        "make device",
        entry,
    )?;
    dress(parent, name, entry, defaults, true)?;
    Ok(set_time(parent, name, entry.mtime).map_err(write("set the time of", &entry.path))?)
}

/// Sets the time of the last change of a name, following nothing.
pub(crate) fn set_time(parent: BorrowedFd<'_>, name: &[u8], mtime: Mtime) -> rustix::io::Result<()> {
    rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
}

fn set_xattrs(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), ExtractError> {
    for (attribute, value) in kept_xattrs(entry) {
        let path = proc_path(parent.as_fd(), name);
        tolerate_unsupported(rustix::fs::lsetxattr(
            path.as_slice(),
            attribute,
            value,
            XattrFlags::empty(),
        ))
        .map_err(write("set an extended attribute of", &entry.path))?;
    }
    Ok(())
}

/// How the names of attributes begin that steer overlays.
pub(crate) const STEERING: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs."];

/// The label of an object (xattr(7)).
const LABEL: &[u8] = b"security.selinux";

/// Attributes that steer overlays are not the archive's to set, nor is the label of SELinux, which is the host's: its policy
/// may not even have the archive's.
fn kept_xattrs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let steers = |name: &[u8]| STEERING.iter().any(|prefix| name.starts_with(prefix));
    entry
        .xattrs
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .filter(move |(name, _)| !steers(name) && *name != LABEL)
}

/// A file system without attributes of a kind, or an object that takes none (`user.*` of a symbolic link, xattr(7)),
/// does without.
fn tolerate_unsupported(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        result => result,
    }
}

fn permissions(entry: &Entry) -> Mode {
    Mode::from_raw_mode(entry.mode & 0o777)
}

fn mode(entry: &Entry) -> Mode {
    Mode::from_raw_mode(entry.mode & 0o7777)
}

/// The time of the last access is left as it is.
fn times(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: i64::from(mtime.nanoseconds),
        },
    }
}
