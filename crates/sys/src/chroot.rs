//! Processes in a chroot(2), where the root of the mount namespace is another than their own.
//!
//! Whoever enters a mount namespace stands at *its* root (setns(2)), and pivot_root(2) exchanges only the root of its
//! caller. A container made inside a chroot would keep the host's root at the bottom of its namespace: a later process
//! would start there, and `..` beyond a second chroot(2) leads there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::mount::MountPropagationFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{mount, process};

/// Where the process is in a chroot, moves it into a mount namespace of its own whose root is what it has for its root;
/// tells whether it did. Mounts of the host still appear there. The working directory stays what it is. For a process of
/// one thread.
pub fn settle() -> io::Result<bool> {
    let directory = std::env::current_dir()?;
    let own = root()?;
    to_namespace_root()?;
    let chrooted = mount_id(&own)? != mount_id(&root()?)?;
    rustix::process::fchdir(&own)?;
    rustix::process::chroot(".")?;
    if chrooted {
        // The names under which the chroot was entered are those of the new namespace from here on.
        process::unshare_mounts()?;
        let own = root()?;
        to_namespace_root()?;
        mount::set_propagation(MountPropagationFlags::DOWNSTREAM)?;
        // A directory becomes a mount by this, as the new root has to be one.
        let tree = mount::clone_tree(own.as_fd(), true)?;
        mount::attach(tree.as_fd(), own.as_fd())?;
        mount::pivot_into(tree.as_fd())?;
    }
    rustix::process::chdir(&directory)?;
    Ok(chrooted)
}

/// Acts where `/` is the root of the mount namespace; afterwards it is what it was. For a thread that shares its root with
/// no other.
pub(crate) fn at_namespace_root<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = root()?;
    to_namespace_root()?;
    let outcome = act();
    rustix::process::fchdir(&own)?;
    rustix::process::chroot(".")?;
    outcome
}

fn root() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, "/", flags, Mode::empty())?)
}

/// Entering the namespace that one is in leads to its root.
fn to_namespace_root() -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::openat(CWD, "/proc/thread-self/ns/mnt", flags, Mode::empty())?;
    Ok(move_into_link_name_space(
        namespace.as_fd(),
        Some(LinkNameSpaceType::Mount),
    )?)
}

fn mount_id(place: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::statx(place, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}
