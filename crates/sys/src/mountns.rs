//! Mount namespaces (mount_namespaces(7)), entered by a thread of their own that then ends.

use std::io;
use std::os::fd::BorrowedFd;
use std::thread;

use rustix::mount::MountPropagationFlags;
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
