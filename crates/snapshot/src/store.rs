//! The directories of layers.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::driver::Driver;
use crate::error::{SnapshotError, file};
use crate::limit::LimitMethod;
use crate::trash::Trash;

/// What directories that are being unpacked are called.
const STAGING_PREFIX: &str = "tmp-";

/// Name of a layer's directory below `layers/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerName(String);

impl LayerName {
    /// A name as it was recorded; `None` unless it is lower-case letters, digits and `-` and no name of ours for staging.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = !text.is_empty() && text.bytes().all(plain) && !text.starts_with(STAGING_PREFIX);
        valid.then(|| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its directory.
    pub name: LayerName,
    /// Whether its archive had an entry for the root directory itself, whose owner and mode then count.
    pub carries_root: bool,
}

/// The store of unpacked layers; clones share it.
#[derive(Debug, Clone)]
pub struct Snapshots {
    pub(crate) shared: Arc<Shared>,
    pub(crate) driver: Driver,
    pub(crate) method: LimitMethod,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) data_root: PathBuf,
    layers: PathBuf,
    skeletons: PathBuf,
    trash: Trash,
    next_staging: AtomicU64,
    /// Held by whoever binds a container's disk to a loop device.
    pub(crate) disks: Mutex<()>,
}

impl Shared {
    /// The directory that layers are in.
    pub(crate) fn layers(&self) -> &Path {
        &self.layers
    }
}

impl Snapshots {
    /// The directory that layers are in.
    #[must_use]
    pub fn layers(&self) -> &Path {
        self.shared.layers()
    }

    /// Opens the store below the data root and discards what was being unpacked when an earlier life ended.
    pub fn open(data_root: &Path, driver: Driver) -> Result<Self, SnapshotError> {
        let (layers, skeletons) = (data_root.join("layers"), data_root.join("skeletons"));
        // Layers hold setuid programs and other people's secrets: nobody but root passes.
        for dir in [&layers, &skeletons] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(file("make", dir))?;
        }
        let trash = Trash::open(data_root.join("trash"))?;
        let shared = Shared {
            data_root: data_root.to_owned(),
            layers,
            skeletons,
            trash,
            next_staging: AtomicU64::new(0),
            disks: Mutex::default(),
        };
        let store = Self {
            shared: Arc::new(shared),
            driver,
            method: LimitMethod::default(),
        };
        store.discard_where(|name| name.starts_with(STAGING_PREFIX))?;
        Ok(store)
    }

    /// The same store as another driver keeps it, which finds nothing in it of what this one has made.
    #[must_use]
    pub fn with_driver(&self, driver: Driver) -> Self {
        Self {
            shared: self.shared.clone(),
            driver,
            method: self.method,
        }
    }

    /// The same store, in which new containers are held to their limits like this.
    #[must_use]
    pub fn with_limits_by(self, method: LimitMethod) -> Self {
        Self { method, ..self }
    }

    /// How layers are kept.
    #[must_use]
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Whether every layer belongs to the layers that it was made of, and is to be recorded under its chain id.
    #[must_use]
    pub fn binds_layers(&self) -> bool {
        self.driver.keeps_trees()
    }

    /// Discards every layer that is not named: those that were published but never recorded.
    pub fn retain(&self, keep: &HashSet<LayerName>) -> Result<(), SnapshotError> {
        self.discard_where(|name| LayerName::parse(name).is_none_or(|name| !keep.contains(&name)))
    }

    fn discard_where(&self, unwanted: impl Fn(&str) -> bool) -> Result<(), SnapshotError> {
        for dir in [&self.shared.layers, &self.shared.skeletons] {
            for entry in fs::read_dir(dir).map_err(file("read", dir))? {
                let entry = entry.map_err(file("read", dir))?;
                if unwanted(&entry.file_name().to_string_lossy()) {
                    self.discard(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// An empty directory to unpack a layer into; it is discarded unless it is published.
    pub fn stage(&self) -> Result<Staging, SnapshotError> {
        let (number, path) = self.next_staging();
        self.make_tree(&path)?;
        let dir = File::open(&path).map_err(file("open", &path))?;
        Ok(Staging {
            store: self.clone(),
            skeleton: self.shared.skeletons.join(format!("{STAGING_PREFIX}{number}")),
            path: Some(path),
            dir,
        })
    }

    /// A name for what is being made, which the next start discards; with its number.
    pub(crate) fn next_staging(&self) -> (u64, PathBuf) {
        let number = self.shared.next_staging.fetch_add(1, Ordering::Relaxed);
        (number, self.shared.layers.join(format!("{STAGING_PREFIX}{number}")))
    }

    /// Where a layer's files are: what it changes, or everything, as the driver has it.
    #[must_use]
    pub fn path(&self, layer: &LayerName) -> PathBuf {
        self.shared.layers.join(layer.as_str())
    }

    /// Whether the layer's directory is there.
    #[must_use]
    pub fn contains(&self, layer: &LayerName) -> bool {
        self.path(layer).is_dir()
    }

    /// Names of all that lies in the store, of layers and of what gives their archives back, but for what is being unpacked.
    pub fn stored_names(&self) -> Result<Vec<String>, SnapshotError> {
        let mut names = std::collections::BTreeSet::new();
        for dir in [&self.shared.layers, &self.shared.skeletons] {
            for entry in fs::read_dir(dir).map_err(file("read", dir))? {
                let name = entry.map_err(file("read", dir))?.file_name();
                names.insert(name.to_string_lossy().into_owned());
            }
        }
        Ok(names
            .into_iter()
            .filter(|name| !name.starts_with(STAGING_PREFIX))
            .collect())
    }

    /// Discards what lies in the store under a name that no layer has.
    pub fn discard_named(&self, name: &str) -> Result<(), SnapshotError> {
        self.discard(&self.shared.skeletons.join(name))?;
        self.discard(&self.shared.layers.join(name))
    }

    /// What gives a layer's archive back together with its files; an error of the kind `NotFound` where there is none.
    pub fn open_skeleton(&self, layer: &LayerName) -> io::Result<File> {
        File::open(self.shared.skeletons.join(layer.as_str()))
    }

    /// Takes a layer out of the store; its files are deleted in the background.
    pub fn remove(&self, layer: &LayerName) -> Result<(), SnapshotError> {
        self.discard(&self.shared.skeletons.join(layer.as_str()))?;
        self.discard(&self.path(layer))
    }

    /// Renames anything on the data root's file system into the trash; it is deleted in the background.
    pub fn discard(&self, path: &Path) -> Result<(), SnapshotError> {
        self.shared.trash.discard(path)
    }

    /// Waits until everything that was written to the store is on disk (`syncfs(2)`, which syncs the whole file system).
    pub fn sync(&self) -> Result<(), SnapshotError> {
        let layers = &self.shared.layers;
        let dir = File::open(layers).map_err(file("open", layers))?;
        rustix::fs::syncfs(&dir).map_err(|error| file("sync", layers)(error.into()))
    }
}

/// Makes the root directory of a tree, as it is where no layer says how.
pub(crate) fn make_root(path: &Path) -> Result<(), SnapshotError> {
    DirBuilder::new().mode(0o755).create(path).map_err(file("make", path))?;
    // The mode above is cut by the umask, and containers may see it as that of their `/`.
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(file("set the mode of", path))
}

/// A layer that is being unpacked.
#[derive(Debug)]
pub struct Staging {
    pub(crate) store: Snapshots,
    /// Where the layer's skeleton is written, where one is.
    skeleton: PathBuf,
    path: Option<PathBuf>,
    dir: File,
}

impl Staging {
    /// The directory to unpack into.
    #[must_use]
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        // Taken only by `publish` and `drop`, which consume the value.
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Where its skeleton is, if it has one.
    pub(crate) fn skeleton(&self) -> &Path {
        &self.skeleton
    }

    /// Puts what was made of it in its place; the rest of it is discarded.
    pub(crate) fn replace(&mut self, made: PathBuf) -> Result<(), SnapshotError> {
        let dir = File::open(&made).map_err(file("open", &made))?;
        self.dir = dir;
        match self.path.replace(made) {
            Some(before) => self.store.discard(&before),
            None => Ok(()),
        }
    }

    /// A file for the layer's skeleton, which is published with the layer.
    pub fn create_skeleton(&self) -> Result<File, SnapshotError> {
        let path = &self.skeleton;
        let options = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        options.map_err(file("create", path))
    }

    /// Takes the skeleton away again.
    pub fn discard_skeleton(&self) -> Result<(), SnapshotError> {
        self.store.discard(&self.skeleton)
    }

    /// Makes the layer part of the store, under a short name made of its digest (hexadecimal digits).
    ///
    /// Two layers whose digests begin alike get different names.
    pub fn publish(mut self, digest: &str) -> Result<LayerName, SnapshotError> {
        let from = self.path().to_owned();
        let short = &digest[..digest.len().min(12)];
        for attempt in 0_u32.. {
            let name = if attempt == 0 {
                short.to_owned()
            } else {
                format!("{short}-{attempt}")
            };
            let to = self.store.shared.layers.join(&name);
            let renamed = rustix::fs::renameat_with(
                rustix::fs::CWD,
                &from,
                rustix::fs::CWD,
                &to,
                rustix::fs::RenameFlags::NOREPLACE,
            );
            match renamed.map_err(io::Error::from) {
                Ok(()) => {
                    self.path = None;
                    conex_sys::failpoint::hit("layer.renamed");
                    self.publish_skeleton(&name)?;
                    return Ok(LayerName(name));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(file("publish", &to)(error)),
            }
        }
        Err(file("publish", &from)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Gives the skeleton the name of its layer, which nobody has recorded yet.
    fn publish_skeleton(&self, name: &str) -> Result<(), SnapshotError> {
        let to = self.store.shared.skeletons.join(name);
        match fs::rename(&self.skeleton, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.map_err(file("publish", &to)),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        let discarded = self.discard_skeleton().and_then(|()| self.store.discard(&path));
        if let Err(error) = discarded {
            tracing::warn!(%error, "an unfinished layer is left to the next start");
        }
    }
}
