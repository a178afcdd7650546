//! The packer: a directory or a single object becomes the members of an archive.
//!
//! What is packed may belong to a container that runs and changes it meanwhile: everything is opened by descriptor,
//! component by component and without following links, and contents are read from what was looked at.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::entry::{Entry, Kind, Mtime};
use crate::exchange::no_follow;
use crate::writer::TarWriter;

/// Longest path that is packed, as the kernel's `PATH_MAX`; it bounds the open descriptors, too.
pub(crate) const LONGEST: usize = 4096;

/// The attribute that is kept, as Docker keeps it: without it a program loses its file capabilities.
const CAPABILITY: &CStr = c"security.capability";

/// Largest value of an attribute (xattr(7), `XATTR_SIZE_MAX` is more than any capability takes).
const LARGEST_CAPABILITY: usize = 64;

/// How the names of a packed directory's members begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming<'a> {
    /// The directory is a member of this name, and everything in it is below.
    Under(&'a [u8]),
    /// The directory is no member, and names begin with those in it.
    Contents,
}

/// Packs a directory with everything below it, in the order of names.
pub fn pack_directory<W: Write>(
    directory: BorrowedFd<'_>,
    naming: Naming<'_>,
    archive: &mut TarWriter<W>,
) -> io::Result<()> {
    let mut packer = Packer {
        archive,
        seen: HashMap::new(),
    };
    let own = rustix::fs::openat(directory, ".", DIRECTORY, Mode::empty())?;
    let prefix = match naming {
        Naming::Contents => Vec::new(),
        Naming::Under(name) => {
            let stat = rustix::fs::fstat(&own)?;
            let prefix = [name, b"/"].concat();
            packer.archive.append(&entry(prefix.clone(), &stat, Kind::Directory))?;
            prefix
        }
    };
    packer.walk(own, prefix)
}

/// Packs one object that is not a directory, under a name of its own.
pub fn pack_object<W: Write>(
    parent: BorrowedFd<'_>,
    name: &CStr,
    path: &[u8],
    archive: &mut TarWriter<W>,
) -> io::Result<()> {
    let mut packer = Packer {
        archive,
        seen: HashMap::new(),
    };
    match packer.object(parent, name, path.to_vec())? {
        Some((directory, path)) => packer.walk(directory, path),
        None => Ok(()),
    }
}

pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

struct Packer<'a, W> {
    archive: &'a mut TarWriter<W>,
    /// Files with several names, by device and inode, under the name that came first.
    seen: HashMap<(u64, u64), Vec<u8>>,
}

/// A directory on the way: its descriptor, the path of what is in it, and the names that are still to come.
struct Level {
    directory: OwnedFd,
    path: Vec<u8>,
    names: std::vec::IntoIter<CString>,
}

impl<W: Write> Packer<'_, W> {
    fn walk(&mut self, directory: OwnedFd, path: Vec<u8>) -> io::Result<()> {
        let mut levels = vec![level(directory, path)?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            let path = [level.path.as_slice(), name.to_bytes()].concat();
            if path.len() > LONGEST {
                return Err(Errno::NAMETOOLONG.into());
            }
            if let Some((directory, path)) = self.object(level.directory.as_fd(), &name, path)? {
                levels.push(self::level(directory, path)?);
            }
        }
        Ok(())
    }

    /// Packs one object; a directory comes back, for what is in it. What went away meanwhile is left out.
    fn object(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: Vec<u8>) -> io::Result<Option<(OwnedFd, Vec<u8>)>> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | no_follow();
        let place = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&place)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.directory(&place, &stat, path),
            FileType::RegularFile => self.file(&place, &stat, path)?,
            FileType::Symlink => {
                let mut link = entry(path, &stat, Kind::Symlink);
                link.link = rustix::fs::readlinkat(&place, "", Vec::new())?.into_bytes();
                self.archive.append(&link)?;
            }
            FileType::CharacterDevice => self.archive.append(&device(path, &stat, Kind::CharDevice))?,
            FileType::BlockDevice => self.archive.append(&device(path, &stat, Kind::BlockDevice))?,
            FileType::Fifo => self.archive.append(&entry(path, &stat, Kind::Fifo))?,
            // An archive has no sockets.
            FileType::Socket | FileType::Unknown => {}
        }
        Ok(None)
    }

    fn directory(&mut self, place: &OwnedFd, stat: &Stat, mut path: Vec<u8>) -> io::Result<Option<(OwnedFd, Vec<u8>)>> {
        path.push(b'/');
        self.archive.append(&entry(path.clone(), stat, Kind::Directory))?;
        let opened = rustix::fs::openat(place, ".", DIRECTORY, Mode::empty())?;
        Ok(Some((opened, path)))
    }

    fn file(&mut self, place: &OwnedFd, stat: &Stat, path: Vec<u8>) -> io::Result<()> {
        if stat.st_nlink > 1 {
            let identity = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.seen.get(&identity) {
                let mut link = entry(path, stat, Kind::HardLink);
                link.link.clone_from(first);
                return self.archive.append(&link);
            }
            self.seen.insert(identity, path.clone());
        }
        let mut file = entry(path, stat, Kind::File);
        file.size = u64::try_from(stat.st_size).unwrap_or_default();
        // What was looked at is what is read: the name may mean something else by now.
        let opened = File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
        let mut value = [0; LARGEST_CAPABILITY];
        if let Ok(length) = rustix::fs::fgetxattr(&opened, CAPABILITY, &mut value) {
            file.xattrs
                .push((CAPABILITY.to_bytes().to_vec(), value[..length].to_vec()));
        }
        self.archive.append_file(&file, opened)
    }
}

fn level(directory: OwnedFd, path: Vec<u8>) -> io::Result<Level> {
    let names = names(&directory)?;
    Ok(Level { directory, path, names })
}

/// The names in a directory, in order.
pub(crate) fn names(directory: &OwnedFd) -> io::Result<std::vec::IntoIter<CString>> {
    let mut names = Vec::new();
    for found in Dir::read_from(directory)? {
        let name = found?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.into_iter())
}

/// A member that has what was found of an object.
pub(crate) fn entry(path: Vec<u8>, stat: &Stat, kind: Kind) -> Entry {
    Entry {
        path,
        link: Vec::new(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: 0,
        sparse: None,
        // Whole seconds fit into the header, and are what Docker writes.
        mtime: Mtime {
            seconds: stat.st_mtime,
            nanoseconds: 0,
        },
        major: 0,
        minor: 0,
        xattrs: Vec::new(),
    }
}

/// As `entry`, for a device.
pub(crate) fn device(path: Vec<u8>, stat: &Stat, kind: Kind) -> Entry {
    Entry {
        major: rustix::fs::major(stat.st_rdev),
        minor: rustix::fs::minor(stat.st_rdev),
        ..entry(path, stat, kind)
    }
}
