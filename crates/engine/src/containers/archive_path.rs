//! Paths of `docker cp`: cleaned as Docker cleans them, and looked at within the container's root.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use conex_api_types as api;
use conex_sys::path::open_in;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

/// Links that are followed until they count as a loop.
const MOST_LINKS: u32 = 255;

/// An absolute path without `.`, `..` and doubled slashes; one that ends with `/` or `/.` still does, which says that a
/// directory is meant.
pub(super) fn normalize(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    let mut clean = format!("/{}", components.join("/"));
    let ends_with_dot = path == "." || path.ends_with("/.");
    if (path.ends_with('/') || ends_with_dot) && !clean.ends_with('/') {
        clean.push('/');
    }
    if ends_with_dot {
        clean.push('.');
    }
    clean
}

/// The last component of a path that was normalized, `.` where it ends with that, `/` for the root.
pub(super) fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some((_, name)) => name,
        None => "/",
    }
}

/// A path that was normalized, divided before its last component.
pub(super) fn directory_and_name(path: &str) -> (&str, &str) {
    let at = path.trim_end_matches('/').rfind('/').unwrap_or(0);
    (&path[..=at], base(path))
}

/// Looks at a path; a link at its end is told, with where it leads.
pub(super) fn stat(root: BorrowedFd<'_>, path: &str) -> io::Result<api::ContainerPathStat> {
    let place = open_in(root, Path::new(path), OFlags::PATH | OFlags::NOFOLLOW)?;
    let found = rustix::fs::fstat(&place)?;
    let is_link = FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
    let nanoseconds = i32::try_from(found.st_mtime_nsec).unwrap_or_default();
    let mtime = jiff::Timestamp::new(found.st_mtime, nanoseconds).unwrap_or_default();
    Ok(api::ContainerPathStat {
        name: base(path).to_owned(),
        size: found.st_size,
        mode: mode(&found),
        mtime: mtime.to_string(),
        link_target: if is_link { resolve(root, path)? } else { String::new() },
    })
}

/// Bits of a mode as Go writes them (`io/fs.FileMode`), which clients read.
fn mode(stat: &Stat) -> u32 {
    const DIRECTORY: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const FIFO: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const SETUID: u32 = 1 << 23;
    const SETGID: u32 = 1 << 22;
    const CHARACTER_DEVICE: u32 = 1 << 21;
    const STICKY: u32 = 1 << 20;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => DIRECTORY,
        FileType::Symlink => SYMLINK,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | CHARACTER_DEVICE,
        FileType::Fifo => FIFO,
        FileType::Socket => SOCKET,
        FileType::RegularFile | FileType::Unknown => 0,
    };
    let bits = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];
    let set = bits.into_iter().filter(|(bit, _)| stat.st_mode & bit != 0);
    set.fold(kind | (stat.st_mode & 0o777), |mode, (_, bit)| mode | bit)
}

/// Follows every link of a path, as far as there is anything.
fn resolve(root: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let mut left: VecDeque<String> = path.split('/').map(str::to_owned).collect();
    let mut resolved: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(component) = left.pop_front() {
        match component.as_str() {
            "" | "." => continue,
            ".." => {
                resolved.pop();
                continue;
            }
            _ => resolved.push(component),
        }
        let so_far = format!("/{}", resolved.join("/"));
        let Ok(place) = open_in(root, Path::new(&so_far), OFlags::PATH | OFlags::NOFOLLOW) else {
            continue;
        };
        // Of what is no link this fails.
        let Ok(target) = rustix::fs::readlinkat(place.as_fd(), "", Vec::new()) else {
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = target.to_string_lossy().into_owned();
        resolved.pop();
        if target.starts_with('/') {
            resolved.clear();
        }
        for component in target.split('/').rev() {
            left.push_front(component.to_owned());
        }
    }
    Ok(format!("/{}", resolved.join("/")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_are_cleaned_and_keep_what_says_directory() {
        let cases = [
            ("", "/", "/"),
            ("/", "/", "/"),
            (".", "/.", "."),
            ("a//b/../c", "/a/c", "c"),
            ("/../../etc/", "/etc/", "etc"),
            ("/etc/.", "/etc/.", "."),
        ];
        for (path, clean, name) in cases {
            assert_eq!(
                (normalize(path).as_str(), base(&normalize(path))),
                (clean, name),
                "{path}"
            );
        }
        assert_eq!(directory_and_name("/a/b/"), ("/a/", "b"));
        assert_eq!(directory_and_name("/a"), ("/", "a"));
    }

    #[test]
    fn links_are_followed_within_the_root_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        for (target, link) in [
            ("../../../etc", "up"),
            ("/nowhere/at/all", "broken"),
            ("up", "twice"),
            ("loop", "loop"),
        ] {
            symlink(target, dir.path().join(link)).unwrap();
        }
        let root = conex_sys::path::open_dir(dir.path()).unwrap();
        let target = |path: &str| stat(root.as_fd(), path).map(|stat| stat.link_target);
        assert_eq!(target("/up").unwrap(), "/etc");
        assert_eq!(target("/twice").unwrap(), "/etc");
        assert_eq!(target("/broken").unwrap(), "/nowhere/at/all");
        assert_eq!(target("/etc").unwrap(), "");
        assert!(target("/loop").is_err());
    }
}
