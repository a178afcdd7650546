//! Being told that a container that runs is out of memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use conex_cgroup::OomWatch;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::containers::Container;
use crate::engine::Inner;

/// A watch of a container's control group, in the daemon's event loop.
pub(crate) struct Shortage(AsyncFd<Descriptor>);

struct Descriptor(OomWatch);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Shortage {
    /// Watches a container that runs; `None` where its host does not count memory.
    pub(crate) fn watch(engine: &Inner, container: &Container) -> Option<Self> {
        match Self::try_watch(engine, container) {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::debug!(container = %container.id, %error, "watch its memory");
                None
            }
        }
    }

    fn try_watch(engine: &Inner, container: &Container) -> io::Result<Self> {
        let watch = OomWatch::new(&engine.cgroup(container))?;
        let interest = if watch.is_urgent() {
            Interest::PRIORITY
        } else {
            Interest::READABLE
        };
        #[expect(
            deprecated,
            reason = "its successor is unsafe; `Descriptor` owns its descriptor and never changes it"
        )]
        AsyncFd::with_interest(Descriptor(watch), interest).map(Self)
    }

    /// How many of its processes were killed for it so far.
    pub(crate) fn kills(&self) -> u64 {
        self.0.get_ref().0.kills()
    }

    /// Waits until memory is out. Cancel-safe.
    async fn happens(&self) {
        loop {
            let interest = if self.0.get_ref().0.is_urgent() {
                Interest::PRIORITY
            } else {
                Interest::READABLE
            };
            let Ok(mut guard) = self.0.ready(interest).await else {
                return std::future::pending().await;
            };
            guard.clear_ready();
            match guard.get_inner().0.happened() {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, "read what a control group tells of its memory");
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// The next time that memory is out; never where nothing is watched. Cancel-safe.
pub(crate) async fn next(watch: Option<&Shortage>) {
    match watch {
        Some(watch) => watch.happens().await,
        None => std::future::pending().await,
    }
}
