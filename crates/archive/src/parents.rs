//! Directories beneath the root, opened component by component and kept open while members below them come.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::error::{ExtractError, text, write};
use crate::exchange::no_follow;
use crate::node::set_mode;
use crate::notes::{Noted, Notes};

/// Descriptors kept at most; deeper directories are opened each time.
const DEEPEST: usize = 48;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The chain of open directories from the root to where the last member went.
#[derive(Debug)]
pub(crate) struct Parents<'a> {
    root: BorrowedFd<'a>,
    chain: Vec<(Vec<u8>, OwnedFd)>,
    deep: Option<OwnedFd>,
    /// Whether a symbolic link was followed on the way to what is open.
    linked: bool,
    /// Directories that were made because a member below them came before they did, or without them.
    implied: Notes<Noted>,
    /// To whom they belong, where it is not root.
    owner: Option<(u32, u32)>,
}

/// Bytes that implied directories' paths may take.
const MOST_IMPLIED: usize = 64 << 20;

impl<'a> Parents<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>) -> Self {
        Self {
            root,
            chain: Vec::new(),
            deep: None,
            linked: false,
            implied: Notes::new(MOST_IMPLIED),
            owner: None,
        }
    }

    /// Gives directories that are implied to somebody.
    pub(crate) fn owned_by(self, owner: Option<(u32, u32)>) -> Self {
        Self { owner, ..self }
    }

    /// The root itself.
    pub(crate) fn root(&self) -> BorrowedFd<'a> {
        self.root
    }

    /// Opens a directory, making what is absent of it.
    pub(crate) fn open(&mut self, path: &[&[u8]]) -> Result<BorrowedFd<'_>, ExtractError> {
        let common = self
            .chain
            .iter()
            .zip(path)
            .take_while(|((name, _), wanted)| name == *wanted)
            .count();
        self.chain.truncate(common);
        self.deep = None;
        // What stays open may be behind a link; looking again costs little where there are any.
        self.linked &= common > 0;
        for depth in common..path.len() {
            let above = self.deep.as_ref().or(self.chain.last().map(|(_, fd)| fd));
            let above = above.map_or(self.root, AsFd::as_fd);
            let (opened, step) = step(self.root, above, &path[..=depth])?;
            self.linked |= step == Step::Linked;
            if step == Step::Made {
                if let Some((uid, gid)) = self.owner {
                    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                    rustix::fs::chownat(&opened, "", uid, gid, AtFlags::EMPTY_PATH)
                        .map_err(write("set the owner of", &path[..=depth].join(&b'/')))?;
                }
                self.implied.put(path[..=depth].join(&b'/'), Noted)?;
            }
            if depth < DEEPEST {
                self.chain.push((path[depth].to_vec(), opened));
            } else {
                self.deep = Some(opened);
            }
        }
        let last = self.deep.as_ref().or(self.chain.last().map(|(_, fd)| fd));
        Ok(last.map_or(self.root, AsFd::as_fd))
    }

    /// The path below the root of the directory that was opened last, where a symbolic link may have been followed to it.
    pub(crate) fn real(&self) -> Option<Vec<u8>> {
        let last = self.deep.as_ref().or(self.chain.last().map(|(_, fd)| fd));
        let path = |fd: BorrowedFd<'_>| Some(rustix::fs::readlink(proc_path(fd, b""), Vec::new()).ok()?.into_bytes());
        let last = last.filter(|_| self.linked)?;
        let (root, last) = (path(self.root)?, path(last.as_fd())?);
        let below = last.strip_prefix(root.as_slice())?;
        Some(below.strip_prefix(b"/").unwrap_or(below).to_vec())
    }

    /// Forgets what is open; to be called whenever something is removed.
    pub(crate) fn forget(&mut self) {
        self.chain.clear();
    }

    /// A member for a directory came: it is not implied.
    pub(crate) fn carried(&mut self, path: &[&[u8]]) {
        if !self.implied.is_empty() {
            self.implied.remove(&path.join(&b'/'));
        }
    }

    /// Directories that no member described, parents first.
    pub(crate) fn into_implied(self) -> impl Iterator<Item = Vec<u8>> {
        self.implied.into_iter().map(|(path, _)| path)
    }

    /// A directory that was removed with all below it is not implied any more.
    pub(crate) fn removed(&mut self, path: &[&[u8]]) {
        self.forget();
        self.implied.remove_tree(&path.join(&b'/'));
    }
}

/// How a directory was come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    There,
    Made,
    /// By a symbolic link.
    Linked,
}

/// Opens the last component of `path` in `above`.
fn step(root: BorrowedFd<'_>, above: BorrowedFd<'_>, path: &[&[u8]]) -> Result<(OwnedFd, Step), ExtractError> {
    let name = *path.last().unwrap_or(&b".".as_slice());
    let flags = DIRECTORY | no_follow();
    match rustix::fs::openat(above, name, flags, Mode::empty()) {
        Ok(opened) => Ok((opened, Step::There)),
        Err(Errno::NOENT) => {
            let full = path.join(&b'/');
            let mode = Mode::from_raw_mode(0o755);
            rustix::fs::mkdirat(above, name, mode)
                // The umask is taken off what is made.
                .and_then(|()| set_mode(above, name, mode))
                .map_err(write("make directory", &full))?;
            let opened = rustix::fs::openat(above, name, flags, Mode::empty()).map_err(write("open", &full))?;
            Ok((opened, Step::Made))
        }
        Err(Errno::NOTDIR) => Ok((through_symlink(root, path)?, Step::Linked)),
        Err(error) => Err(write("open", &path.join(&b'/'))(error)),
    }
}

/// A component that is no directory: a symbolic link is followed as far as it stays beneath the root.
fn through_symlink(root: BorrowedFd<'_>, path: &[&[u8]]) -> Result<OwnedFd, ExtractError> {
    let full = path.join(&b'/');
    let opened = open_beneath(root, &full).map_err(|error| match error {
        Errno::XDEV | Errno::LOOP => ExtractError::SymlinkedParent {
            path: text(&full),
            link: text(&full),
        },
        error => write("open parent directory", &full)(io::Error::from(error)),
    })?;
    // Links to links could make directories of any depth. The kernel tells no path of more than a page.
    match rustix::fs::readlink(proc_path(opened.as_fd(), b""), Vec::new()) {
        Err(Errno::NAMETOOLONG) => Err(ExtractError::TooDeep { path: text(&full) }),
        _ => Ok(opened),
    }
}

/// Opens a directory by its path, never leaving the root on the way.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { b".".as_slice() } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // The kernel asks to try again when something is renamed during the walk (openat2(2)).
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
}

/// Reads the process's file mode creation mask, which only `umask(2)` tells otherwise, by changing it.
pub(crate) fn creation_mask() -> u32 {
    let status = Path::new("/proc/thread-self/status");
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let mask = text.lines().find_map(|line| line.strip_prefix("Umask:"));
    // An unknown mask hides everything, so that every mode is set explicitly.
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o777)
}

/// A path by which calls that take no descriptor reach one.
pub(crate) fn proc_path(fd: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    use std::os::fd::AsRawFd;
    let mut path = format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes();
    if !name.is_empty() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    path
}

/// What has a name in a directory, not followed.
pub(crate) fn look(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<rustix::fs::Stat> {
    rustix::fs::statat(parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
}

/// Sets an extended attribute of the object behind a descriptor of any kind.
pub(crate) fn set_xattr_through_proc(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
    let path = proc_path(fd, b"");
    rustix::fs::setxattr(path.as_slice(), name, value, rustix::fs::XattrFlags::empty())
}
