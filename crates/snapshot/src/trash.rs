//! Deletion in the background.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{SnapshotError, file};
use crate::subvolumes;

/// The trash directory and the thread that empties it.
#[derive(Debug)]
pub(crate) struct Trash {
    dir: PathBuf,
    next: AtomicU64,
    queue: Sender<PathBuf>,
}

impl Trash {
    /// Opens the directory and begins to delete what an earlier life left in it.
    pub(crate) fn open(dir: PathBuf) -> Result<Self, SnapshotError> {
        fs::create_dir_all(&dir).map_err(file("make", &dir))?;
        let (queue, paths) = mpsc::channel();
        for entry in fs::read_dir(&dir).map_err(file("read", &dir))? {
            let entry = entry.map_err(file("read", &dir))?;
            // The receiver is held below: the queue is open.
            let _ = queue.send(entry.path());
        }
        std::thread::Builder::new()
            .name("trash".to_owned())
            .spawn(move || empty(&paths))
            .map_err(file("start the thread that empties", &dir))?;
        // Names of an earlier life are not met again, whatever is still waiting to be deleted.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let first = u64::try_from(since.as_nanos()).unwrap_or_default();
        Ok(Self {
            dir,
            next: AtomicU64::new(first),
            queue,
        })
    }

    /// Renames a file or directory away and has it deleted; one that is absent is no error.
    pub(crate) fn discard(&self, path: &Path) -> Result<(), SnapshotError> {
        let target = self.dir.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        match fs::rename(path, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(file("discard", path))?,
        }
        // A thread that is gone leaves it to the next start.
        let _ = self.queue.send(target);
        Ok(())
    }
}

/// Deletes until the queue is closed.
fn empty(paths: &Receiver<PathBuf>) {
    while let Ok(path) = paths.recv() {
        if let Err(error) = delete(&path) {
            tracing::warn!(path = %path.display(), %error, "what was discarded is not deleted; the next start tries again");
        }
    }
}

fn delete(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        subvolumes::destroy(path)?;
    }
    // A subvolume is gone by now, which is no error.
    conex_sys::tree::remove(path)
}
