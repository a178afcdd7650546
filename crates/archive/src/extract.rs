//! The extractor: members of a layer become files beneath a directory.

use std::ffi::OsString;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::entry::{Entry, Kind, Mtime};
use crate::error::{ExtractError, text, write};
use crate::name::{clean, climbs_out};
use crate::node::{self, Defaults, Refused};
use crate::parents::{Parents, is_below, look, open_beneath, remove};
use crate::reader::{TarReader, read_error};
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
    /// Bytes of its regular files.
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

/// Unpacks a layer into an empty directory, reading the archive to the end of its stream.
pub fn extract_layer(archive: impl BufRead, root: BorrowedFd<'_>) -> Result<Extracted, ExtractError> {
    let mut extractor = Extractor {
        archive: TarReader::new(archive),
        parents: Parents::new(root),
        defaults: Defaults::probe(),
        times: Vec::new(),
        links: Vec::new(),
        result: Extracted::default(),
    };
    while let Some(entry) = extractor.archive.next_entry()? {
        extractor.member(&entry)?;
    }
    extractor.finish()
}

struct Extractor<'a, R> {
    archive: TarReader<R>,
    parents: Parents<'a>,
    defaults: Defaults,
    /// Directories' times, set at the end: making members below changes them.
    times: Vec<(Vec<u8>, Mtime)>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    result: Extracted,
}

impl<R: BufRead> Extractor<'_, R> {
    fn member(&mut self, entry: &Entry) -> Result<(), ExtractError> {
        self.result.members += 1;
        let path = clean(&entry.path)?;
        let Some((name, parent)) = path.split_last() else {
            return self.root(entry);
        };
        if let Some(whiteout) = Whiteout::parse(name)? {
            return self.whiteout(whiteout, parent);
        }
        if !self.links.is_empty() {
            let full = path.join(&b'/');
            self.links.retain(|(link, _)| *link != full);
        }
        match entry.kind {
            Kind::File => self.file(entry, parent, name),
            Kind::Directory => self.directory(entry, &path, parent, name),
            Kind::HardLink => self.hard_link(entry, &path, name),
            Kind::Symlink if climbs_out(parent, &entry.link) => Err(ExtractError::InvalidSymlink {
                path: text(&entry.path),
                target: text(&entry.link),
            }),
            Kind::Symlink => self.replacing(&path, |dir| node::create_symlink(dir, name, entry)),
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
        self.times.push((Vec::new(), entry.mtime));
        Ok(())
    }

    fn whiteout(&mut self, whiteout: Whiteout<'_>, parent: &[&[u8]]) -> Result<(), ExtractError> {
        match whiteout {
            Whiteout::Bookkeeping => Ok(()),
            Whiteout::Opaque => make_opaque(self.parents.open(parent)?, &parent.join(&b'/')),
            Whiteout::Name(name) => hide(self.parents.open(parent)?, name),
        }
    }

    fn file(&mut self, entry: &Entry, parent: &[&[u8]], name: &[u8]) -> Result<(), ExtractError> {
        let path = [parent, &[name]].concat();
        let file = self.replacing(&path, |dir| node::create_file(dir, name, entry))?;
        self.result.size += entry.size;
        node::fill_file(file.as_fd(), entry, &mut self.archive, self.defaults)
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
        self.times.push((path.join(&b'/'), entry.mtime));
        Ok(())
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
        let dir = self.parents.open(parent)?;
        remove(dir, name).map_err(write("replace", &path.join(&b'/')))?;
        self.removed(path);
        self.links.push((path.join(&b'/'), target.join(&b'/')));
        Ok(())
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
        remove(dir, name).map_err(write("replace", &full))?;
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

    fn removed(&mut self, path: &[&[u8]]) {
        self.parents.removed(path);
        let path = path.join(&b'/');
        self.times.retain(|(directory, _)| !is_below(directory, &path));
        self.links.retain(|(link, _)| !is_below(link, &path));
    }

    fn finish(mut self) -> Result<Extracted, ExtractError> {
        for (path, mtime) in std::mem::take(&mut self.times) {
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
        self.result.implied = self.parents.into_implied().into_iter().map(owned).collect();
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
