//! Mount namespaces (mount_namespaces(7)), entered by a thread of their own that then ends.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::{chroot, mount};

/// Stack of such a thread: it reads and writes archives, whose buffers are on the heap.
const STACK: usize = 512 * 1024;

/// Runs `act` in a copy of the mount namespace in which nothing that is mounted is seen elsewhere; it goes with `act`'s
/// end.
pub fn private<T: Send>(act: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_own_thread(|| {
        unshare(UnshareFlags::NEWNS)?;
        chroot::at_namespace_root(|| mount::set_propagation(MountPropagationFlags::PRIVATE))?;
        Ok::<T, io::Error>(act())
    })?
}

/// Detaches, in the thread's own mount namespace, what none of these paths leads through.
pub fn keep_only(paths: &[&Path]) -> io::Result<()> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo")?;
    // Those that were mounted last are on top of others.
    for line in table.lines().rev() {
        // proc_pid_mountinfo(5)
        let Some(at) = line.split(' ').nth(4).map(unescape) else {
            continue;
        };
        if paths.iter().any(|path| path.starts_with(&at)) {
            continue;
        }
        match rustix::mount::unmount(&at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // It went with one that it was on.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Where a file system of this type is mounted, the first where there are several.
pub fn find(fs_type: &str) -> io::Result<Option<PathBuf>> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo")?;
    Ok(table.lines().find_map(|line| {
        // proc_pid_mountinfo(5)
        let (mount, file_system) = line.split_once(" - ")?;
        let at = mount.split(' ').nth(4)?;
        (file_system.split(' ').next() == Some(fs_type)).then(|| unescape(at))
    }))
}

/// A path as the table has it: `\040` is a space.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..3).filter(|_| *first == b'\\');
        let byte = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Runs `act` in a mount namespace, standing at its root.
pub fn enter<T: Send>(ns: BorrowedFd<'_>, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_own_thread(|| {
        // The kernel refuses a thread that shares its root with others (setns(2)).
        unshare(UnshareFlags::FS)?;
        rustix::thread::move_into_link_name_space(ns, Some(LinkNameSpaceType::Mount))?;
        Ok::<T, io::Error>(act())
    })?
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: root, working directory and mounts change for the calling thread alone; no descriptor is closed or changed,
    // which is what the binding's duty is about.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

fn on_own_thread<T: Send>(act: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, act)?;
        worker
            .join()
            .map_err(|_| io::Error::other("the thread in the mount namespace panicked"))
    })
}
