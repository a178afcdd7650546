//! Waiting for files to grow (inotify(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Tells when something changes in the directory of a file that is read: another may have taken its place.
#[derive(Debug)]
pub struct Changes {
    inotify: AsyncFd<Inotify>,
}

#[derive(Debug)]
struct Inotify(OwnedFd);

impl AsRawFd for Inotify {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Changes {
    /// Watches the directory of a file; `None` where it is not there yet.
    ///
    /// # Errors
    /// Of inotify(7).
    pub fn watch(file: &Path) -> io::Result<Option<Self>> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let dir = file.parent().unwrap_or(file);
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

    /// Waits for a change. Cancel-safe.
    ///
    /// # Errors
    /// Of read(2).
    pub async fn wait(&self) -> io::Result<()> {
        let mut ready = self.inotify.readable().await?;
        let mut events = [0; 4096];
        // How many changes there were does not matter.
        let _ = ready.try_io(|inotify| Ok(rustix::io::read(inotify.get_ref().0.as_fd(), &mut events)?));
        Ok(())
    }
}
