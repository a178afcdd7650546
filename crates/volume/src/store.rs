//! Volumes on disk: made, removed, and mended after a crash.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use conex_metadata::{Changes, Metadata, Table};
use conex_snapshot::Snapshots;
use conex_sys::userns::IdMap;
use rustix::fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags};

use crate::error::{VolumeError, file, store};
use crate::fill;
use crate::local::LocalOptions;
use crate::name::check_name;
use crate::record::VolumeRecord;

/// What the directory of a volume is called before its record is there.
const NEW: &str = ".new-";

/// The volumes of a data root.
#[derive(Debug, Clone)]
pub struct Volumes {
    dir: PathBuf,
    metadata: Metadata,
    snapshots: Snapshots,
    owner: Option<(u32, u32)>,
}

impl Volumes {
    /// Opens the volumes and finishes what a crash left unfinished; returns all there are.
    ///
    /// # Errors
    /// Directories that cannot be read, records that cannot be understood.
    pub fn open(
        data_root: &Path,
        metadata: Metadata,
        snapshots: Snapshots,
    ) -> Result<(Self, Vec<VolumeRecord>), VolumeError> {
        let dir = data_root.join("volumes");
        match DirBuilder::new().mode(0o701).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(file("make", &dir)(error)),
            _ => {}
        }
        let volumes = Self {
            dir,
            metadata,
            snapshots,
            owner: None,
        };
        let mut records = Vec::new();
        for (name, bytes) in volumes.load()? {
            let record = VolumeRecord::parse(&name, &bytes)?;
            if record.removed {
                volumes.discard(&name)?;
            } else {
                volumes.complete(&record)?;
                records.push(record);
            }
        }
        volumes.sweep(&mut records)?;
        Ok((volumes, records))
    }

    fn load(&self) -> Result<Vec<(String, Vec<u8>)>, VolumeError> {
        self.metadata
            .load(Table::Volumes)
            .map_err(|error| store("read the volumes", error))
    }

    fn complete(&self, record: &VolumeRecord) -> Result<(), VolumeError> {
        let dir = self.path(&record.name);
        if !dir.exists() {
            let staged = self.dir.join(format!("{NEW}{}", record.name));
            if staged.exists() {
                fs::rename(&staged, &dir).map_err(file("rename", &staged))?;
            } else {
                tracing::warn!(volume = %record.name, "its directory is gone; it is made anew, and empty");
                make(&dir, self.owner)?;
            }
        }
        let copying = dir.join(fill::COPYING);
        self.trash(&copying)?;
        fill::finish(&dir, &self.data(&record.name))
    }

    /// Discards what was not committed, and takes directories that are nobody's for volumes.
    fn sweep(&self, records: &mut Vec<VolumeRecord>) -> Result<(), VolumeError> {
        for entry in fs::read_dir(&self.dir).map_err(file("read", &self.dir))? {
            let entry = entry.map_err(file("read", &self.dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(NEW) {
                self.trash(&entry.path())?;
                continue;
            }
            let is_known = records.iter().any(|record| record.name == name);
            let data = entry.path().join("_data");
            if is_known || check_name(&name).is_err() || !data.is_dir() {
                continue;
            }
            let made = entry
                .metadata()
                .and_then(|found| found.modified())
                .unwrap_or(SystemTime::now());
            let record = VolumeRecord::new(&name, rfc3339(made), None, None);
            self.commit("record a volume that was found", self.recorded(Changes::new(), &record))?;
            tracing::info!(volume = %name, "a volume without a record was found");
            records.push(record);
        }
        Ok(())
    }

    fn commit(&self, operation: &'static str, changes: Changes) -> Result<(), VolumeError> {
        self.metadata
            .commit(changes)
            .wait()
            .map_err(|error| store(operation, error))
    }

    /// The same volumes, of which those that are made from now on belong to a user and a group of the host, and not to root.
    #[must_use]
    pub fn owned_by(self, owner: Option<(u32, u32)>) -> Self {
        Self { owner, ..self }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn trash(&self, path: &Path) -> Result<(), VolumeError> {
        self.snapshots
            .discard(path)
            .map_err(|error| store("discard a directory", error))
    }

    /// The directory that containers see.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.path(name).join("_data")
    }

    /// A part of it as a detached mount; links in the volume lead nowhere out of it.
    ///
    /// # Errors
    /// `VolumeError::Subpath` where there is no such path.
    pub fn clone_subpath(&self, name: &str, subpath: &str) -> Result<OwnedFd, VolumeError> {
        let data = self.data(name);
        let failed = |source: io::Error| VolumeError::Subpath {
            path: data.join(subpath),
            source,
        };
        let root = conex_sys::path::open_dir(&data).map_err(failed)?;
        let place = conex_sys::path::open_in(root.as_fd(), Path::new(subpath), OFlags::PATH).map_err(failed)?;
        conex_sys::mount::clone_tree(place.as_fd(), true).map_err(failed)
    }

    /// Makes the directory of a volume that is to be committed.
    ///
    /// # Errors
    /// A directory that cannot be made.
    pub fn stage(&self, name: &str) -> Result<Staged, VolumeError> {
        let path = self.dir.join(format!("{NEW}{name}"));
        // A failed attempt may have left one.
        self.trash(&path)?;
        make(&path, self.owner)?;
        Ok(Staged {
            volumes: self.clone(),
            target: self.path(name),
            path: Some(path),
        })
    }

    /// The record's part of a transaction.
    #[must_use]
    pub fn recorded(&self, changes: Changes, record: &VolumeRecord) -> Changes {
        changes.put(Table::Volumes, record.name.as_str(), record.encode())
    }

    /// The removal's part of a transaction; `discard` is to follow.
    #[must_use]
    pub fn removed(&self, changes: Changes, name: &str) -> Changes {
        changes.put(Table::Volumes, name, VolumeRecord::tombstone(name).encode())
    }

    /// Makes a volume: it is on disk when this returns.
    ///
    /// # Errors
    /// A directory that cannot be made, a store that refuses.
    pub fn create(&self, record: &VolumeRecord) -> Result<(), VolumeError> {
        let staged = self.stage(&record.name)?;
        conex_sys::failpoint::hit("volume.before-record");
        self.commit("record a volume", self.recorded(Changes::new(), record))?;
        conex_sys::failpoint::hit("volume.after-record");
        staged.publish()
    }

    /// Removes a volume with all that is in it.
    ///
    /// # Errors
    /// A store that refuses, a directory that cannot be moved away.
    pub fn remove(&self, name: &str) -> Result<(), VolumeError> {
        conex_sys::failpoint::hit("volume.before-tombstone");
        self.commit("remove a volume", self.removed(Changes::new(), name))?;
        conex_sys::failpoint::hit("volume.after-tombstone");
        self.discard(name)
    }

    /// Discards what is left of a volume whose removal is committed.
    ///
    /// # Errors
    /// As `remove`.
    pub fn discard(&self, name: &str) -> Result<(), VolumeError> {
        self.trash(&self.path(name))?;
        conex_sys::failpoint::hit("volume.before-end");
        let changes = Changes::new().delete(Table::Volumes, name);
        self.commit("forget a volume", changes)
    }

    /// Fills an empty volume with a directory's contents. One that has anything in it stays as it is. Owners become those
    /// that they are in the user namespace of `map`.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn fill(&self, name: &str, from: BorrowedFd<'_>, map: Option<&IdMap>) -> Result<(), VolumeError> {
        let data = self.data(name);
        fill::fill(&self.path(name), &data, (from, map), is_mounted(&data)?)
    }

    /// Mounts a volume's device where it is not mounted yet.
    ///
    /// # Errors
    /// `VolumeError::Mount` where the kernel refuses.
    pub fn mount(&self, name: &str, options: &LocalOptions) -> Result<(), VolumeError> {
        let data = self.data(name);
        if is_mounted(&data)? {
            return Ok(());
        }
        options.mount(&data)
    }

    /// Takes a volume's device off.
    ///
    /// # Errors
    /// `VolumeError::File` where the kernel refuses.
    pub fn unmount(&self, name: &str) -> Result<(), VolumeError> {
        let data = self.data(name);
        if !is_mounted(&data)? {
            return Ok(());
        }
        conex_sys::mount::unmount_detach(&data).map_err(file("unmount", &data))
    }

    /// Bytes of a volume's files.
    ///
    /// # Errors
    /// Directories that cannot be read.
    pub fn usage(&self, name: &str) -> Result<u64, VolumeError> {
        let data = self.data(name);
        fill::usage(&data).map_err(file("read", &data))
    }
}

/// The directory of a volume that is not committed; discarded where it is not published.
#[derive(Debug)]
pub struct Staged {
    volumes: Volumes,
    path: Option<PathBuf>,
    target: PathBuf,
}

impl Staged {
    /// Fills it with a directory's contents, as `Volumes::fill` does.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn fill(&self, from: BorrowedFd<'_>, map: Option<&IdMap>) -> Result<(), VolumeError> {
        match &self.path {
            Some(path) => fill::fill(path, &path.join("_data"), (from, map), false),
            None => Ok(()),
        }
    }

    /// Gives it its name, once its record is committed.
    ///
    /// # Errors
    /// A directory that cannot be renamed; the next start does it.
    pub fn publish(mut self) -> Result<(), VolumeError> {
        match self.path.take() {
            Some(path) => fs::rename(&path, &self.target).map_err(file("rename", &path)),
            None => Ok(()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = self.volumes.trash(&path)
        {
            tracing::warn!(%error, "a volume that was not made is left to the next start");
        }
    }
}

fn make(dir: &Path, owner: Option<(u32, u32)>) -> Result<(), VolumeError> {
    DirBuilder::new().mode(0o701).create(dir).map_err(file("make", dir))?;
    let data = dir.join("_data");
    DirBuilder::new()
        .mode(0o755)
        .create(&data)
        .map_err(file("make", &data))?;
    // Whatever the mask is.
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(file("set the mode of", &data))?;
    match owner {
        Some((uid, gid)) => {
            std::os::unix::fs::chown(&data, Some(uid), Some(gid)).map_err(file("set the owner of", &data))
        }
        None => Ok(()),
    }
}

/// Whether something is mounted on a directory (`STATX_ATTR_MOUNT_ROOT`, statx(2)).
fn is_mounted(dir: &Path) -> Result<bool, VolumeError> {
    let found = rustix::fs::statx(CWD, dir, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
        .map_err(|error| file("read", dir)(error.into()))?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// RFC 3339 to the second, UTC.
fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use conex_snapshot::{Driver, OverlayMethod};

    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    struct Root(tempfile::TempDir);

    impl Root {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn open(&self) -> (Volumes, Vec<String>) {
            let metadata = Metadata::open(&self.0.path().join("meta.redb")).unwrap();
            let snapshots = Snapshots::open(self.0.path(), Driver::Overlay(OverlayMethod::Detached)).unwrap();
            let (volumes, records) = Volumes::open(self.0.path(), metadata, snapshots).unwrap();
            let mut names: Vec<String> = records.into_iter().map(|record| record.name).collect();
            names.sort();
            (volumes, names)
        }
    }

    fn record(name: &str) -> VolumeRecord {
        VolumeRecord::new(name, "2026-01-01T00:00:00Z".into(), None, None)
    }

    #[test]
    fn volumes_are_found_again_and_gone_when_removed() {
        let root = Root::new();
        let (volumes, none) = root.open();
        assert!(none.is_empty());
        for name in ["one", "two"] {
            volumes.create(&record(name)).unwrap();
            fs::write(volumes.data(name).join("file"), name).unwrap();
        }
        volumes.remove("two").unwrap();
        let data = volumes.data("one");
        drop(volumes);
        let (_, names) = root.open();
        assert_eq!(names, ["one"]);
        assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "one");
        assert!(!root.0.path().join("volumes/two").exists());
    }

    #[test]
    fn what_was_not_committed_is_discarded_and_what_was_is_finished() {
        let root = Root::new();
        let (volumes, _) = root.open();
        // Staged, never committed.
        volumes.stage("never").unwrap().path = None;
        // Committed, not renamed.
        volumes.stage("late").unwrap().path = None;
        volumes
            .commit("", volumes.recorded(Changes::new(), &record("late")))
            .unwrap();
        // Removed, not discarded.
        volumes.create(&record("gone")).unwrap();
        volumes.commit("", volumes.removed(Changes::new(), "gone")).unwrap();
        // Half copied, and copied but not moved.
        volumes.create(&record("half")).unwrap();
        fs::create_dir_all(volumes.path("half").join(fill::COPYING).join("x")).unwrap();
        volumes.create(&record("full")).unwrap();
        fs::create_dir_all(volumes.path("full").join(fill::FILLED).join("x")).unwrap();
        // From a backup.
        fs::create_dir_all(root.0.path().join("volumes/backup/_data")).unwrap();
        drop(volumes);
        let (volumes, names) = root.open();
        assert_eq!(names, ["backup", "full", "half", "late"]);
        let entries = |name: &str| fs::read_dir(volumes.data(name)).unwrap().count();
        assert_eq!((entries("half"), entries("full"), entries("late")), (0, 1, 0));
        assert!(!volumes.path("full").join(fill::FILLED).exists());
        assert!(!root.0.path().join("volumes/.new-never").exists());
    }

    #[test]
    fn an_empty_volume_is_filled_with_owners_modes_and_links() {
        let root = Root::new();
        let (volumes, _) = root.open();
        volumes.create(&record("one")).unwrap();
        let source = tempfile::tempdir().unwrap();
        fs::create_dir(source.path().join("dir")).unwrap();
        fs::write(source.path().join("dir/a"), "a").unwrap();
        fs::hard_link(source.path().join("dir/a"), source.path().join("b")).unwrap();
        symlink("dir/a", source.path().join("link")).unwrap();
        fs::set_permissions(source.path(), fs::Permissions::from_mode(0o1750)).unwrap();
        let from = fs::File::open(source.path()).unwrap();
        volumes.fill("one", from.as_fd(), None).unwrap();
        let data = volumes.data("one");
        assert_eq!(fs::read_to_string(data.join("link")).unwrap(), "a");
        assert_eq!(fs::metadata(data.join("b")).unwrap().nlink(), 2);
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, 0o1750);
        // Only once.
        fs::remove_file(data.join("b")).unwrap();
        volumes.fill("one", from.as_fd(), None).unwrap();
        assert!(!data.join("b").exists());
        assert_eq!(volumes.usage("one").unwrap(), 1 + 5);
    }

    #[test]
    fn a_subpath_leads_nowhere_out_of_the_volume() {
        let root = Root::new();
        let (volumes, _) = root.open();
        volumes.create(&record("one")).unwrap();
        let data = volumes.data("one");
        fs::create_dir(data.join("etc")).unwrap();
        symlink("/etc", data.join("link")).unwrap();
        let opened = volumes.clone_subpath("one", "link").unwrap();
        let found = rustix::fs::fstat(opened).unwrap();
        assert_eq!(found.st_ino, fs::metadata(data.join("etc")).unwrap().ino());
        assert!(volumes.clone_subpath("one", "nosuch").is_err());
    }
}
