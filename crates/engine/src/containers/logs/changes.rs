//! Waiting for a log to grow (inotify(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Tells when something changes in a log's directory: a new file may have taken the place of the one that is read.
pub(super) struct Changes {
    inotify: AsyncFd<Inotify>,
}

struct Inotify(OwnedFd);

impl AsRawFd for Inotify {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Changes {
    /// Watches the directory of a log; `None` where it is not there yet.
    pub(super) fn watch(log: &Path) -> io::Result<Option<Self>> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let dir = log.parent().unwrap_or(log);
        match inotify::add_watch(&inotify, dir, WatchFlags::MODIFY | WatchFlags::CREATE) {
            Ok(_) => {
                #[expect(
                    deprecated,
                    reason = "its successor is unsafe; `Inotify` owns its descriptor and never changes it"
                )]
                let inotify = AsyncFd::new(Inotify(inotify))?;
                Ok(Some(Self { inotify }))
            }
            // Not started yet: the owner's next state is waited for.
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn wait(&self) -> io::Result<()> {
        let mut ready = self.inotify.readable().await?;
        let mut events = [0; 4096];
        // How many changes there were does not matter.
        let _ = ready.try_io(|inotify| Ok(rustix::io::read(inotify.get_ref().0.as_fd(), &mut events)?));
        Ok(())
    }
}
