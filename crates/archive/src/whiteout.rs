//! Whiteouts: how a layer says that something of the layers below is gone.

use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, Stat, makedev};
use rustix::io::Errno;

use crate::error::{ExtractError, text, write};
use crate::parents::{look, set_xattr_through_proc};

/// What a member's name says about the layers below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whiteout<'a> {
    /// The directory that the member is in hides what the layers below have in theirs.
    Opaque,
    /// The layers below have nothing of this name.
    Name(&'a [u8]),
    /// Bookkeeping of aufs, of no meaning here.
    Bookkeeping,
}

impl<'a> Whiteout<'a> {
    /// Reads the last component of a member's name; `None` for an ordinary one.
    pub(crate) fn parse(name: &'a [u8]) -> Result<Option<Self>, ExtractError> {
        let Some(hidden) = name.strip_prefix(b".wh.") else {
            return Ok(None);
        };
        match hidden {
            b".wh..opq" => Ok(Some(Self::Opaque)),
            b"" | b"." | b".." => Err(ExtractError::InvalidWhiteout { path: text(name) }),
            _ if hidden.starts_with(b".wh.") => Ok(Some(Self::Bookkeeping)),
            _ => Ok(Some(Self::Name(hidden))),
        }
    }
}

/// Whether something is overlayfs's whiteout: a character device 0:0.
pub(crate) fn is_whiteout(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

/// Hides a name of the layers below. What this layer itself has under the name stays: a whiteout speaks of lower layers
/// only, wherever in the archive it stands.
pub(crate) fn hide(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), ExtractError> {
    match rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
        Err(Errno::EXIST) => {
            let found = look(parent, name).map_err(write("look at", name))?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                return Ok(());
            }
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
            let dir = rustix::fs::openat(parent, name, flags | rustix::fs::OFlags::CLOEXEC, Mode::empty())
                .map_err(write("open", name))?;
            make_opaque(std::os::fd::AsFd::as_fd(&dir), name)
        }
        made => made.map_err(write("make whiteout", name)),
    }
}

/// Makes a directory hide what the layers below have in theirs.
pub(crate) fn make_opaque(dir: BorrowedFd<'_>, path: &[u8]) -> Result<(), ExtractError> {
    set_xattr_through_proc(dir, b"trusted.overlay.opaque", b"y").map_err(write("make opaque", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whiteouts_from_files() {
        assert_eq!(Whiteout::parse(b"file").unwrap(), None);
        assert_eq!(Whiteout::parse(b".wh.file").unwrap(), Some(Whiteout::Name(b"file")));
        assert_eq!(Whiteout::parse(b".wh..wh..opq").unwrap(), Some(Whiteout::Opaque));
        assert_eq!(Whiteout::parse(b".wh..wh.plnk").unwrap(), Some(Whiteout::Bookkeeping));
    }

    #[test]
    fn a_whiteout_of_the_directory_itself_or_its_parent_is_refused() {
        for name in [b".wh.".as_slice(), b".wh..", b".wh..."] {
            assert!(Whiteout::parse(name).is_err(), "{name:?}");
        }
    }
}
