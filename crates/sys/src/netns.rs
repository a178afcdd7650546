//! Network namespaces (network_namespaces(7)).

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// A new network namespace, and what `act` gives in it. Both are done on a thread of its own, which ends.
pub fn create<T: Send>(act: impl FnOnce() -> T + Send) -> io::Result<(OwnedFd, T)> {
    on_own_thread(|| {
        unshare_network()?;
        let namespace = File::open("/proc/thread-self/ns/net")?;
        Ok((namespace.into(), act()))
    })?
}

/// Runs `act` in a network namespace, on a thread of its own that then ends.
pub fn enter<T: Send>(ns: BorrowedFd<'_>, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_own_thread(|| {
        rustix::thread::move_into_link_name_space(ns, Some(LinkNameSpaceType::Network))?;
        Ok::<T, io::Error>(act())
    })?
}

fn unshare_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET changes what the calling thread sees of the network and nothing about its memory or
    // descriptors (unshare(2)); that is what the binding's duty is about.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

fn on_own_thread<T: Send>(act: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, act)?;
        worker
            .join()
            .map_err(|_| io::Error::other("the thread in the network namespace panicked"))
    })
}
