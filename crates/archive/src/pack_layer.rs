//! A container's writable layer (overlayfs.rst, "whiteouts and opaque directories") as the archive of an image's layer (OCI
//! image specification, "Layer", "Whiteouts").
//!
//! ```text
//!   character device 0:0            .wh.<name>, an empty file
//!   trusted.overlay.opaque=y        .wh..wh..opq in the directory
//!   a second name of a file         a hard link to the first
//!   extended attributes             SCHILY.xattr.*, but for those that are this host's business
//!   sockets, files called .wh.*     nothing: an archive has no sockets, and such a name means something else in a layer
//! ```

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::entry::{Entry, Kind};
use crate::node::STEERING;
use crate::pack::{self, DIRECTORY, LONGEST};
use crate::whiteout::is_whiteout;
use crate::writer::TarWriter;

/// Most bytes of an object's names of attributes, and of one value (xattr(7), `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`).
const LARGEST_ATTRIBUTES: usize = 64 << 10;

const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// What of a writable layer is not told. Paths are relative to its root.
#[derive(Debug, Clone, Default)]
pub struct Omitted {
    /// Objects.
    pub objects: HashSet<Vec<u8>>,
    /// Directories that are told only where something in them is.
    pub hollow: HashSet<Vec<u8>>,
    /// The root directory itself.
    pub root: bool,
}

/// Packs a writable layer.
///
/// # Errors
/// Something cannot be read, a path is longer than the kernel takes, or the archive cannot be written. What goes away
/// meanwhile is left out.
pub fn pack_layer<W: Write>(upper: BorrowedFd<'_>, omitted: &Omitted, archive: &mut TarWriter<W>) -> io::Result<()> {
    let mut packer = Packer {
        archive,
        omitted,
        seen: HashMap::new(),
        pending: Vec::new(),
        attributes: Attributes::default(),
    };
    let root = rustix::fs::openat(upper, ".", DIRECTORY, Mode::empty())?;
    if !omitted.root {
        let (xattrs, _) = packer.attributes.read(&root)?;
        let own = pack::entry(b"./".to_vec(), &rustix::fs::fstat(&root)?, Kind::Directory);
        packer.tell(&Entry { xattrs, ..own })?;
    }
    packer.walk(root)
}

struct Packer<'a, W> {
    archive: &'a mut TarWriter<W>,
    omitted: &'a Omitted,
    /// Files with several names, by device and inode, under the name that came first.
    seen: HashMap<(u64, u64), Vec<u8>>,
    /// Directories on the way that are told with the first of what is in them.
    pending: Vec<Entry>,
    attributes: Attributes,
}

/// A directory on the way.
struct Level {
    directory: OwnedFd,
    /// Of what is in it.
    path: Vec<u8>,
    names: std::vec::IntoIter<CString>,
    /// How many directories waited before it.
    pending: usize,
}

impl<W: Write> Packer<'_, W> {
    fn walk(&mut self, root: OwnedFd) -> io::Result<()> {
        let names = pack::names(&root)?;
        let mut levels = vec![Level {
            directory: root,
            path: Vec::new(),
            names,
            pending: 0,
        }];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                // What still waits had nothing in it.
                self.pending.truncate(level.pending);
                levels.pop();
                continue;
            };
            let path = [level.path.as_slice(), name.to_bytes()].concat();
            if path.len() > LONGEST {
                return Err(Errno::NAMETOOLONG.into());
            }
            if self.omitted.objects.contains(&path) || name.to_bytes().starts_with(b".wh.") {
                continue;
            }
            let pending = self.pending.len();
            let parent = level.path.clone();
            if let Some((directory, path)) = self.object(level.directory.as_fd(), &name, parent, path)? {
                let names = pack::names(&directory)?;
                levels.push(Level {
                    directory,
                    path,
                    names,
                    pending,
                });
            }
        }
        Ok(())
    }

    /// Tells one object; a directory comes back, for what is in it.
    fn object(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CString,
        parent: Vec<u8>,
        path: Vec<u8>,
    ) -> io::Result<Option<(OwnedFd, Vec<u8>)>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&place)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.directory(&place, &stat, path),
            FileType::RegularFile => self.file(&place, &stat, path)?,
            FileType::Symlink => {
                let mut link = pack::entry(path, &stat, Kind::Symlink);
                link.link = rustix::fs::readlinkat(&place, "", Vec::new())?.into_bytes();
                self.tell(&link)?;
            }
            FileType::CharacterDevice if is_whiteout(&stat) => {
                let hidden = [parent.as_slice(), b".wh.", name.to_bytes()].concat();
                let mut whiteout = pack::entry(hidden, &stat, Kind::File);
                whiteout.mode = 0o600;
                self.tell(&whiteout)?;
            }
            FileType::CharacterDevice => self.special(&place, pack::device(path, &stat, Kind::CharDevice))?,
            FileType::BlockDevice => self.special(&place, pack::device(path, &stat, Kind::BlockDevice))?,
            FileType::Fifo => self.special(&place, pack::entry(path, &stat, Kind::Fifo))?,
            FileType::Socket | FileType::Unknown => {}
        }
        Ok(None)
    }

    /// Writes an object that has no contents, after the directories that wait for it.
    fn tell(&mut self, entry: &Entry) -> io::Result<()> {
        self.tell_pending()?;
        self.archive.append(entry)
    }

    fn tell_pending(&mut self) -> io::Result<()> {
        for directory in self.pending.drain(..) {
            self.archive.append(&directory)?;
        }
        Ok(())
    }

    fn special(&mut self, place: &OwnedFd, entry: Entry) -> io::Result<()> {
        let (xattrs, _) = self.attributes.read(place)?;
        self.tell(&Entry { xattrs, ..entry })
    }

    fn directory(&mut self, place: &OwnedFd, stat: &Stat, mut path: Vec<u8>) -> io::Result<Option<(OwnedFd, Vec<u8>)>> {
        let is_hollow = self.omitted.hollow.contains(&path);
        path.push(b'/');
        let (xattrs, opaque) = self.attributes.read(place)?;
        let own = pack::entry(path.clone(), stat, Kind::Directory);
        self.pending.push(Entry { xattrs, ..own });
        if opaque {
            let marker = [path.as_slice(), b".wh..wh..opq"].concat();
            self.pending.push(pack::entry(marker, stat, Kind::File));
        }
        if !is_hollow {
            self.tell_pending()?;
        }
        let opened = rustix::fs::openat(place, ".", DIRECTORY, Mode::empty())?;
        Ok(Some((opened, path)))
    }

    fn file(&mut self, place: &OwnedFd, stat: &Stat, path: Vec<u8>) -> io::Result<()> {
        self.tell_pending()?;
        if stat.st_nlink > 1 {
            let identity = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.seen.get(&identity) {
                let mut link = pack::entry(path, stat, Kind::HardLink);
                link.link.clone_from(first);
                return self.archive.append(&link);
            }
            self.seen.insert(identity, path.clone());
        }
        let (xattrs, _) = self.attributes.read(place)?;
        let file = Entry {
            xattrs,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            ..pack::entry(path, stat, Kind::File)
        };
        // What was looked at is what is read: the name may mean something else by now.
        let opened = File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
        self.archive.append_file(&file, opened)
    }
}

/// Extended attributes of an object: names with their values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads extended attributes; the buffers serve for all objects.
struct Attributes {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            names: vec![0; LARGEST_ATTRIBUTES],
            value: vec![0; LARGEST_ATTRIBUTES],
        }
    }
}

impl Attributes {
    /// The attributes that belong to the layer, and whether the object is an opaque directory.
    fn read(&mut self, place: &OwnedFd) -> io::Result<(Xattrs, bool)> {
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        let length = match rustix::fs::listxattr(&path, &mut self.names) {
            Err(Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        let (mut xattrs, mut opaque) = (Vec::new(), false);
        let names = self.names[..length].split(|byte| *byte == 0);
        for name in names.filter(|name| *name == OPAQUE || is_kept(name)) {
            let length = match rustix::fs::getxattr(&path, name, &mut self.value) {
                // It was taken away meanwhile.
                Err(Errno::NODATA) => continue,
                length => length?,
            };
            let value = &self.value[..length];
            if name == OPAQUE {
                opaque = value == b"y";
            } else {
                xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
        Ok((xattrs, opaque))
    }
}

/// Whether an attribute is a layer's to have: not one that steers overlays, nor a label of this host's security module.
fn is_kept(name: &[u8]) -> bool {
    let steers = STEERING.iter().any(|prefix| name.starts_with(prefix));
    let labels = name.starts_with(b"security.") && name != b"security.capability";
    !name.is_empty() && !steers && !labels
}
