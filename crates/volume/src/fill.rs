//! Filling an empty volume with what an image has where it is mounted.

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::thread;

use conex_archive::{Naming, TarWriter, Unpacking, pack_directory, unpack};
use conex_sys::userns::IdMap;

use crate::error::{VolumeError, file};

/// Names beside `_data`.
pub(crate) const COPYING: &str = "_copying";
pub(crate) const FILLED: &str = "_filled";

/// Fills `data` in the volume's directory `dir` where it is empty. `is_mounted` where it is another file system than `dir`:
/// then nothing can be moved there, and a crash leaves a part. Owners are those of the user namespace that `map` is of.
pub(crate) fn fill(
    dir: &Path,
    data: &Path,
    (from, map): (BorrowedFd<'_>, Option<&IdMap>),
    is_mounted: bool,
) -> Result<(), VolumeError> {
    if fs::read_dir(data).map_err(file("read", data))?.next().is_some() {
        return Ok(());
    }
    if is_mounted {
        copy(from, data, map)?;
        return copy_root(from, data, map);
    }
    let (copying, filled) = (dir.join(COPYING), dir.join(FILLED));
    match fs::remove_dir_all(&copying) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file("remove", &copying)(error)),
        _ => fs::create_dir(&copying).map_err(file("make", &copying))?,
    }
    copy(from, &copying, map)?;
    copy_root(from, &copying, map)?;
    conex_sys::failpoint::hit("volume.copied");
    fs::rename(&copying, &filled).map_err(file("rename", &copying))?;
    conex_sys::failpoint::hit("volume.filled");
    finish(dir, data)
}

/// Moves contents that are complete into `data`. Containers that have the volume see them come.
pub(crate) fn finish(dir: &Path, data: &Path) -> Result<(), VolumeError> {
    let filled = dir.join(FILLED);
    let entries = match fs::read_dir(&filled) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(file("read", &filled))?,
    };
    for entry in entries {
        let entry = entry.map_err(file("read", &filled))?;
        let target = data.join(entry.file_name());
        // What a container has made meanwhile is newer.
        if fs::symlink_metadata(&target).is_err() {
            fs::rename(entry.path(), &target).map_err(file("rename", &target))?;
        }
    }
    let root = File::open(&filled).map_err(file("open", &filled))?;
    copy_root(root.as_fd(), data, None)?;
    fs::remove_dir_all(&filled).map_err(file("remove", &filled))
}

fn copy(from: BorrowedFd<'_>, to: &Path, map: Option<&IdMap>) -> Result<(), VolumeError> {
    let target = File::open(to).map_err(file("open", to))?;
    let (reader, writer) = io::pipe().map_err(file("copy to", to))?;
    let copied = thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut archive = TarWriter::new(writer);
            pack_directory(from, Naming::Contents, &mut archive)?;
            archive.finish().map(drop)
        });
        let unpacked = unpack(
            BufReader::with_capacity(1 << 16, reader),
            target.as_fd(),
            &Unpacking {
                map: map.cloned(),
                ..Unpacking::default()
            },
        );
        let packed = packing.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        unpacked.map_err(io::Error::other).and(packed)
    });
    copied.map_err(file("copy to", to))
}

/// Owner and mode of the directory itself.
fn copy_root(from: BorrowedFd<'_>, to: &Path, map: Option<&IdMap>) -> Result<(), VolumeError> {
    let found = rustix::fs::fstat(from).map_err(|error| file("read the source of", to)(error.into()))?;
    let owner = (found.st_uid, found.st_gid);
    let owner = map.map_or(Some(owner), |map| map.outside(owner));
    let (uid, gid) = owner.ok_or_else(|| file("find the owner of", to)(io::ErrorKind::InvalidData.into()))?;
    chown(to, Some(uid), Some(gid)).map_err(file("set the owner of", to))?;
    let mode = Permissions::from_mode(found.st_mode & 0o7777);
    fs::set_permissions(to, mode).map_err(file("set the mode of", to))
}

/// Bytes of the files below a directory, each counted once; nothing where it is not there.
pub(crate) fn usage(dir: &Path) -> io::Result<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut left = vec![dir.to_owned()];
    let mut bytes = 0;
    while let Some(dir) = left.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // What a container removes meanwhile takes nothing.
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                left.push(entry.path());
            } else if found.nlink() == 1 || seen.insert((found.dev(), found.ino())) {
                bytes += found.len();
            }
        }
    }
    Ok(bytes)
}
