//! Unpacking into a directory that has contents of its own already, as `docker cp` does: members are taken as they are
//! (no whiteouts), what exists is merged with or replaced.
//!
//! The directory may belong to a container that runs: names are resolved beneath its descriptor, and nothing that
//! somebody else puts there meanwhile is followed out of it.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use conex_sys::userns::IdMap;

use crate::entry::{Entry, Kind};
use crate::error::{ExtractError, text, write};
use crate::name::clean;
use crate::node::{self, Defaults, Refused};
use crate::notes::Times;
use crate::parents::{Parents, look, open_beneath};
use crate::reader::TarReader;

/// How an archive is unpacked over what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacking {
    /// Everything belongs to this user and group; else to whom the archive says.
    pub owner: Option<(u32, u32)>,
    /// The user namespace whose ids `owner` and the archive have; else the host's.
    pub map: Option<IdMap>,
    /// A directory is not replaced by something else, nor something else by a directory.
    pub keep_kinds: bool,
    /// What errors call the directory.
    pub name: String,
}

/// Unpacks an archive into a directory.
pub fn unpack(archive: impl BufRead, directory: BorrowedFd<'_>, how: &Unpacking) -> Result<(), ExtractError> {
    let mut unpacker = Unpacker {
        archive: TarReader::new(archive),
        parents: Parents::new(directory).owned_by(how.map.as_ref().and_then(|map| map.outside((0, 0)))),
        defaults: Defaults::probe(),
        times: Times::new(),
        how,
    };
    while let Some(mut entry) = unpacker.archive.next_entry()? {
        if let Some((uid, gid)) = how.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(map) = &how.map {
            let owner = map.outside((entry.uid, entry.gid));
            (entry.uid, entry.gid) = owner.ok_or_else(|| ExtractError::Owner {
                path: text(&entry.path),
                uid: entry.uid,
                gid: entry.gid,
            })?;
        }
        unpacker.member(&entry)?;
    }
    unpacker.finish()
}

struct Unpacker<'a, R> {
    archive: TarReader<R>,
    parents: Parents<'a>,
    defaults: Defaults,
    times: Times,
    how: &'a Unpacking,
}

impl<R: BufRead> Unpacker<'_, R> {
    fn member(&mut self, entry: &Entry) -> Result<(), ExtractError> {
        let path = relative(&entry.path)?;
        let Some((name, parent)) = path.split_last() else {
            // The directory itself stays as it is.
            return Ok(());
        };
        let defaults = self.defaults;
        match entry.kind {
            Kind::Directory => self.directory(entry, &path, parent, name),
            Kind::File => {
                let file = self.replacing(entry, &path, |dir| node::create_file(dir, name, entry))?;
                let filled = node::fill_file(file.as_fd(), entry, &mut self.archive, defaults);
                filled.map_err(|error| error.at(self.archive.position()))
            }
            Kind::HardLink => self.hard_link(entry, &path, name),
            Kind::Symlink => self.replacing(entry, &path, |dir| node::create_symlink(dir, name, entry)),
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                self.replacing(entry, &path, |dir| node::create_special(dir, name, entry, defaults))
            }
        }
    }

    fn directory(&mut self, entry: &Entry, path: &[&[u8]], parent: &[&[u8]], name: &[u8]) -> Result<(), ExtractError> {
        let dir = self.parents.open(parent)?;
        let is_directory = match look(dir, name) {
            Ok(found) => FileType::from_raw_mode(found.st_mode) == FileType::Directory,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(write("look at", &entry.path)(error)),
        };
        if !is_directory {
            self.replacing(entry, path, |dir| node::create_directory(dir, name, entry))?;
        }
        let defaults = self.defaults;
        node::dress(self.parents.open(parent)?, name, entry, defaults, !is_directory)?;
        self.times.put(path.join(&b'/'), entry.mtime)
    }

    fn hard_link(&mut self, entry: &Entry, path: &[&[u8]], name: &[u8]) -> Result<(), ExtractError> {
        let invalid = || ExtractError::InvalidHardLink {
            path: text(&entry.path),
            target: text(&entry.link),
        };
        let target = relative(&entry.link).map_err(|_| invalid())?;
        let Some((target_name, target_parent)) = target.split_last() else {
            return Err(invalid());
        };
        if target == path {
            return Ok(());
        }
        let from = open_beneath(self.parents.root(), &target_parent.join(&b'/')).map_err(|error| match error {
            Errno::XDEV | Errno::LOOP => invalid(),
            error => write("link", &entry.path)(error),
        })?;
        let link = |dir: BorrowedFd<'_>| match rustix::fs::linkat(&from, *target_name, dir, name, AtFlags::empty()) {
            Err(Errno::EXIST) => Err(Refused::Exists),
            linked => Ok(linked.map_err(write("link", &entry.path))?),
        };
        self.replacing(entry, path, link)
    }

    /// Makes something; what has its name gives way.
    fn replacing<T>(
        &mut self,
        entry: &Entry,
        path: &[&[u8]],
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Refused>,
    ) -> Result<T, ExtractError> {
        let Some((name, parent)) = path.split_last() else {
            return Err(outside(&entry.path));
        };
        let dir = self.parents.open(parent)?;
        match make(dir) {
            Ok(made) => return Ok(made),
            Err(Refused::Error(error)) => return Err(error),
            Err(Refused::Exists) => {}
        }
        let full = path.join(&b'/');
        if self.how.keep_kinds {
            let found = look(dir, name).map_err(write("look at", &full))?;
            let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if is_directory != (entry.kind == Kind::Directory) {
                return Err(ExtractError::Overwrite {
                    path: text(&full),
                    is: if is_directory { "directory" } else { "non-directory" },
                    becomes: if is_directory { "non-directory" } else { "directory" },
                    directory: self.how.name.clone(),
                });
            }
        }
        conex_sys::tree::remove_at(dir, name).map_err(write("replace", &full))?;
        self.parents.removed(path);
        match make(self.parents.open(parent)?) {
            Ok(made) => Ok(made),
            Err(Refused::Error(error)) => Err(error),
            Err(Refused::Exists) => Err(write("replace", &full)(Errno::EXIST)),
        }
    }

    fn finish(self) -> Result<(), ExtractError> {
        for (path, mtime) in self.times.into_iter() {
            let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
            let Some((name, parent)) = components.split_last() else {
                continue;
            };
            let parent = open_beneath(self.parents.root(), &parent.join(&b'/'));
            match parent.and_then(|dir| node::set_time(dir.as_fd(), name, mtime)) {
                // A later member, or the container, took the directory away.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
                set => set.map_err(write("set the time of", &path))?,
            }
        }
        Ok(())
    }
}

fn outside(path: &[u8]) -> ExtractError {
    ExtractError::Outside { path: text(path) }
}

/// The components of a member's name; a name that begins with a slash means the directory, as for tar(1).
fn relative(path: &[u8]) -> Result<Vec<&[u8]>, ExtractError> {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    clean(&path[start..])
}
