//! `GET /containers/{id}/changes`: what a container changed in its image.

use conex_api_types as api;
use conex_snapshot::Change;

use crate::containers::launch::system;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

/// What the engine itself puts into every root file system for something to be mounted on.
const OURS: [&str; 12] = [
    "/.dockerenv",
    "/dev",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];

impl Engine {
    /// The paths that a container added, changed and deleted, in order.
    pub async fn changes(&self, id: &str) -> Result<Vec<api::FilesystemChange>> {
        let container = self.inner.containers.find(id)?;
        let image = self.inner.image_of(&container)?;
        let dir = self.inner.files.dir(&container.id);
        let snapshots = self.inner.snapshots.clone();
        let walked = tokio::task::spawn_blocking(move || {
            let own = container.own(&dir);
            snapshots.changes(&image.layers, own, &OURS, container.map.as_ref())
        });
        let walked = walked.await;
        let changes = walked
            .map_err(std::io::Error::other)
            .map_err(system("list the changes"))?
            .map_err(|error| Error::new(ErrorKind::System, error.to_string()))?;
        let change = |(path, change): (std::path::PathBuf, Change)| api::FilesystemChange {
            path: path.to_string_lossy().into_owned(),
            kind: match change {
                Change::Modified => api::ChangeKind::Modified,
                Change::Added => api::ChangeKind::Added,
                Change::Deleted => api::ChangeKind::Deleted,
            },
        };
        Ok(changes.into_iter().map(change).collect())
    }
}
