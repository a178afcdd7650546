//! The extractor: members of a layer become files beneath a directory.

use std::ffi::OsString;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::entry::{Entry, Kind};
use crate::error::{ExtractError, text, write};
use crate::limits::Limits;
use crate::name::clean;
use crate::node::{self, Defaults, Refused};
use crate::notes::{Notes, Times};
use crate::parents::{Parents, look, open_beneath, proc_path};
use crate::reader::{TarReader, read_error};
use crate::recording::Recording;
use crate::skeleton::SkeletonWriter;
use crate::whiteout::{Whiteout, hide, is_whiteout, make_opaque};

/// A hard link whose target is not in the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardLink {
    /// The link, relative to the root.
    pub link: PathBuf,
    /// What it links to, relative to the root.
    pub target: PathBuf,
}

/// What a layer came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Bytes of its regular files and of its symbolic links.
    pub size: u64,
    /// Number of its members.
    pub members: u64,
    /// Whether it described the root directory itself.
    pub carries_root: bool,
    /// Directories that members are in but that it did not describe, parents first. They were made with mode 0755; what
    /// they are like is for the layers below to say.
    pub implied: Vec<PathBuf>,
    /// Hard links to files that the layers below must have; they were not made.
    pub links: Vec<HardLink>,
}

impl Extracted {
    /// Whether the layer's files depend on nothing but its archive.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.implied.is_empty() && self.links.is_empty()
    }
}

/// Unpacks a layer into an empty directory, reading the archive to the end of its stream, and writes its skeleton.
pub fn extract_layer(
    archive: impl BufRead,
    root: BorrowedFd<'_>,
    skeleton: Option<&mut SkeletonWriter>,
    limits: Limits,
) -> Result<Extracted, ExtractError> {
    let mut extractor = Extractor {
        archive: TarReader::new(Recording::new(archive, skeleton)),
        parents: Parents::new(root),
        defaults: Defaults::probe(),
        times: Times::new(),
        links: Notes::new(MOST_LINKS),
        limits,
        result: Extracted::default(),
    };
    while let Some(entry) = extractor.archive.next_entry()? {
        extractor.member(&entry)?;
    }
    extractor.finish()
}

/// Bytes that the paths of links to lower layers may take.
const MOST_LINKS: usize = 64 << 20;

struct Extractor<'a, 's, R> {
    archive: TarReader<Recording<'s, R>>,
    parents: Parents<'a>,
    defaults: Defaults,
    times: Times,
    /// Links to what only lower layers can have, and their targets.
    links: Notes<Vec<u8>>,
    limits: Limits,
    result: Extracted,
}

impl<R: BufRead> Extractor<'_, '_, R> {
    fn member(&mut self, entry: &Entry) -> Result<(), ExtractError> {
        self.result.members += 1;
        if self.result.members > self.limits.members {
            return Err(ExtractError::TooMany {
                path: text(&entry.path),
                limit: self.limits.members,
            });
        }
        let path = clean(&entry.path)?;
        let Some((name, parent)) = path.split_last() else {
            return self.root(entry);
        };
        if let Some(whiteout) = Whiteout::parse(name)? {
            return self.whiteout(whiteout, parent);
        }
        if !self.links.is_empty() {
            self.links.remove(&path.join(&b'/'));
        }
        match entry.kind {
            Kind::File => self.file(entry, parent, name),
            Kind::Directory => self.directory(entry, &path, parent, name),
            Kind::HardLink => self.hard_link(entry, &path, name),
            // Wherever it leads: nothing here follows it out of the root, and in a container the root is the end of climbing.
            Kind::Symlink => {
                // As stat(2) tells its size.
                self.count(entry, entry.link.len() as u64)?;
                self.replacing(&path, |dir| node::create_symlink(dir, name, entry))
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let defaults = self.defaults;
                self.replacing(&path, |dir| node::create_special(dir, name, entry, defaults))
            }
        }
    }

    /// The root directory itself.
    fn root(&mut self, entry: &Entry) -> Result<(), ExtractError> {
        if entry.kind != Kind::Directory {
            return Err(ExtractError::Outside {
                path: text(&entry.path),
            });
        }
        self.result.carries_root = true;
        node::dress(self.parents.root(), b".", entry, self.defaults, false)?;
        self.times.put(Vec::new(), entry.mtime)
    }

    fn whiteout(&mut self, whiteout: Whiteout<'_>, parent: &[&[u8]]) -> Result<(), ExtractError> {
        match whiteout {
            Whiteout::Bookkeeping => Ok(()),
            Whiteout::Opaque => make_opaque(self.parents.open(parent)?, &parent.join(&b'/')),
            Whiteout::Name(name) => hide(self.parents.open(parent)?, name),
        }
    }

    fn file(&mut self, entry: &Entry, parent: &[&[u8]], name: &[u8]) -> Result<(), ExtractError> {
        // Holes are no bytes of the archive's: there may be any number of them.
        self.count(entry, entry.size)?;
        let path = [parent, &[name]].concat();
        let file = self.replacing(&path, |dir| node::create_file(dir, name, entry))?;
        if let Some(segments) = &entry.sparse {
            // What is stored of it stands in the skeleton as it is: the file has it between holes.
            if let Some(skeleton) = self.archive.input().skeleton() {
                skeleton.aside(segments.iter().map(|segment| segment.length).sum());
            }
        } else if self.archive.input().skeleton().is_some() {
            let real = self.real(&path);
            self.archive.input().begin_contents(&real, entry.size);
        }
        let filled = node::fill_file(file.as_fd(), entry, &mut self.archive, self.defaults);
        self.archive.input().end_contents();
        filled.map_err(|error| error.at(self.archive.position()))
    }

    /// Counts bytes of files.
    fn count(&mut self, entry: &Entry, bytes: u64) -> Result<(), ExtractError> {
        self.result.size = self.result.size.saturating_add(bytes);
        if self.result.size > self.limits.size {
            return Err(ExtractError::TooLarge {
                path: text(&entry.path),
                limit: self.limits.size,
            });
        }
        Ok(())
    }

    fn directory(&mut self, entry: &Entry, path: &[&[u8]], parent: &[&[u8]], name: &[u8]) -> Result<(), ExtractError> {
        let dir = self.parents.open(parent)?;
        let fresh = match node::create_directory(dir, name, entry) {
            Ok(()) => true,
            Err(Refused::Error(error)) => return Err(error),
            Err(Refused::Exists) => {
                let found = look(dir, name).map_err(write("look at", &entry.path))?;
                let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
                if !is_directory {
                    self.replacing(path, |dir| node::create_directory(dir, name, entry))?;
                }
                !is_directory
            }
        };
        self.parents.carried(path);
        let defaults = self.defaults;
        node::dress(self.parents.open(parent)?, name, entry, defaults, fresh)?;
        self.times.put(path.join(&b'/'), entry.mtime)
    }

    fn hard_link(&mut self, entry: &Entry, path: &[&[u8]], name: &[u8]) -> Result<(), ExtractError> {
        let invalid = || ExtractError::InvalidHardLink {
            path: text(&entry.path),
            target: text(&entry.link),
        };
        let target = clean(&entry.link).map_err(|_| invalid())?;
        let Some((target_name, target_parent)) = target.split_last() else {
            return Err(invalid());
        };
        if target == path {
            return Err(invalid());
        }
        let from = match open_beneath(self.parents.root(), &target_parent.join(&b'/')) {
            Ok(from) => from,
            Err(Errno::NOENT) => return self.defer_link(path, &target),
            Err(Errno::XDEV | Errno::LOOP) => return Err(invalid()),
            Err(error) => return Err(write("link", &entry.path)(error)),
        };
        match look(from.as_fd(), target_name) {
            Ok(found) if is_whiteout(&found) => return self.defer_link(path, &target),
            Ok(_) => {}
            Err(Errno::NOENT) => return self.defer_link(path, &target),
            Err(error) => return Err(write("link", &entry.path)(error)),
        }
        let link = |dir: BorrowedFd<'_>| match rustix::fs::linkat(&from, *target_name, dir, name, AtFlags::empty()) {
            Err(Errno::EXIST) => Err(Refused::Exists),
            linked => Ok(linked.map_err(write("link", &entry.path))?),
        };
        self.replacing(path, link)
    }

    /// Notes a link whose target this layer does not have. Whatever the layer has under the link's name gives way.
    fn defer_link(&mut self, path: &[&[u8]], target: &[&[u8]]) -> Result<(), ExtractError> {
        let Some((name, parent)) = path.split_last() else {
            return Ok(());
        };
        self.save_lost(path)?;
        let dir = self.parents.open(parent)?;
        conex_sys::tree::remove_at(dir, name).map_err(write("replace", &path.join(&b'/')))?;
        self.removed(path);
        self.links.put(path.join(&b'/'), target.join(&b'/'))
    }

    /// Makes something; what already has its name is removed first, as a later member replaces an earlier one.
    fn replacing<T>(
        &mut self,
        path: &[&[u8]],
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Refused>,
    ) -> Result<T, ExtractError> {
        let Some((name, parent)) = path.split_last() else {
            return Err(ExtractError::Outside { path: String::new() });
        };
        let dir = self.parents.open(parent)?;
        match make(dir) {
            Ok(made) => return Ok(made),
            Err(Refused::Error(error)) => return Err(error),
            Err(Refused::Exists) => {}
        }
        let full = path.join(&b'/');
        let hidden = look(dir, name).is_ok_and(|found| is_whiteout(&found));
        self.save_lost(path)?;
        let dir = self.parents.open(parent)?;
        conex_sys::tree::remove_at(dir, name).map_err(write("replace", &full))?;
        self.removed(path);
        let dir = self.parents.open(parent)?;
        let made = make(dir).map_err(|refused| match refused {
            Refused::Error(error) => error,
            Refused::Exists => write("replace", &full)(Errno::EXIST),
        })?;
        // A directory in a whiteout's place must go on hiding what the layers below have in theirs.
        if hidden && look(dir, name).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory) {
            hide(dir, name)?;
        }
        Ok(made)
    }

    /// Where something is below the root, without symbolic links; its directory is open already.
    fn real(&self, path: &[&[u8]]) -> Vec<u8> {
        match (self.parents.real(), path.last()) {
            (Some(parent), Some(name)) if !parent.is_empty() => [parent.as_slice(), name].join(&b'/'),
            (Some(_), Some(name)) => name.to_vec(),
            _ => path.join(&b'/'),
        }
    }

    /// Takes down the contents of files that are about to be removed: the archive's bytes would be gone with them.
    fn save_lost(&mut self, path: &[&[u8]]) -> Result<(), ExtractError> {
        let Some((name, parent)) = path.split_last() else {
            return Ok(());
        };
        if self.archive.input().skeleton().is_none() {
            return Ok(());
        }
        let failed = |error| write("read", &path.join(&b'/'))(error);
        let place = PathBuf::from(OsString::from_vec(proc_path(self.parents.open(parent)?, name)));
        let mut found = vec![(place, self.real(path))];
        while let Some((place, real)) = found.pop() {
            let metadata = match std::fs::symlink_metadata(&place) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                looked => looked.map_err(failed)?,
            };
            if metadata.is_dir() {
                for entry in std::fs::read_dir(&place).map_err(failed)? {
                    let name = entry.map_err(failed)?.file_name();
                    found.push((place.join(&name), [real.as_slice(), name.as_bytes()].join(&b'/')));
                }
            } else if metadata.is_file()
                && let Some(skeleton) = self.archive.input().skeleton()
            {
                let contents = std::fs::File::open(&place).map_err(failed)?;
                skeleton.lost(&real, metadata.len(), contents);
            }
        }
        Ok(())
    }

    fn removed(&mut self, path: &[&[u8]]) {
        self.parents.removed(path);
        let path = path.join(&b'/');
        self.times.remove_tree(&path);
        self.links.remove_tree(&path);
    }

    fn finish(mut self) -> Result<Extracted, ExtractError> {
        for (path, mtime) in self.times.into_iter() {
            let path_components = clean(&path)?;
            let (dir, name) = match path_components.split_last() {
                Some((name, parent)) => (self.parents.open(parent)?, *name),
                None => (self.parents.root(), b".".as_slice()),
            };
            node::set_time(dir, name, mtime).map_err(write("set the time of", &path))?;
        }
        let mut rest = self.archive.into_inner();
        // What follows the archive's end belongs to the layer's digest, and leaving it unread would block its sender.
        std::io::copy(&mut rest, &mut std::io::sink()).map_err(read_error)?;
        let owned = |path: Vec<u8>| PathBuf::from(OsString::from_vec(path));
        self.result.implied = self.parents.into_implied().map(owned).collect();
        self.result.links = self
            .links
            .into_iter()
            .map(|(link, target)| HardLink {
                link: owned(link),
                target: owned(target),
            })
            .collect();
        Ok(self.result)
    }
}
