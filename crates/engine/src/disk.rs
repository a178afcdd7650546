//! Every byte of the data root, by what it is of: `GET /conex/system/df`.
//!
//! The sizes are those of the blocks that the file system has given (`st_blocks`), directories included, each file once
//! however many names it has: the sum is what `du --one-file-system` says of the data root.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use conex_api_types as api;
use conex_image::Places;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a block of `st_blocks` (stat(3type)).
const BLOCK: u64 = 512;

/// Directories below this one are of what this one is of.
const DEEPEST: usize = 5;

/// What bytes are of.
type Key = (&'static str, String);

impl Engine {
    /// What the data root has, and how much it takes.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn disk_usage(&self) -> Result<api::DiskUsage> {
        let inner = self.inner.clone();
        let walking = tokio::task::spawn_blocking(move || disk_usage(&inner));
        let walked = walking.await.map_err(io::Error::other).and_then(|walked| walked);
        walked.map_err(|error| Error::new(ErrorKind::System, format!("read the data root: {error}")))
    }
}

fn disk_usage(inner: &Inner) -> io::Result<api::DiskUsage> {
    let places = inner.images.places();
    let sizes = measure(&inner.settings.data_root, &places)?;
    let size = sizes.values().sum();
    let rows = sizes.into_iter().map(|((kind, name), size)| api::DiskUsageRow {
        of: owners(inner, &places, kind, &name),
        kind: kind.to_owned(),
        name,
        size,
    });
    Ok(api::DiskUsage {
        rows: rows.collect(),
        size,
    })
}

/// Who has it: names of images, of a container.
fn owners(inner: &Inner, places: &Places, kind: &str, name: &str) -> Vec<String> {
    match kind {
        "layer" | "layer data" => places.layers.get(name).cloned().unwrap_or_default(),
        "configuration" | "manifest" | "compressed layer" => places
            .blobs
            .get(name)
            .map(|place| place.images.clone())
            .unwrap_or_default(),
        "writable layer" | "log" | "container" => {
            let found = inner.containers.find(name);
            found.map(|container| vec![container.name.clone()]).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// A directory that is still to be read.
struct Waiting {
    path: PathBuf,
    depth: usize,
    key: Rc<Key>,
}

fn measure(root: &Path, places: &Places) -> io::Result<BTreeMap<Key, u64>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let device = rustix::fs::fstat(&opened)?.st_dev;
    let mut sizes: BTreeMap<Key, u64> = BTreeMap::new();
    let mut seen = HashSet::new();
    let own = Rc::new(("directories", String::new()));
    *sizes.entry(Key::clone(&own)).or_default() += blocks(&rustix::fs::fstat(&opened)?);
    let mut left = vec![Waiting {
        path: PathBuf::from("."),
        depth: 0,
        key: own,
    }];
    while let Some(waiting) = left.pop() {
        // What goes away meanwhile takes nothing.
        let Some(directory) = open_beneath(&opened, &waiting.path)? else {
            continue;
        };
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(found) = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if found.st_dev != device {
                continue;
            }
            let path = waiting.path.join(OsStr::from_bytes(name.to_bytes()));
            let key = if waiting.depth < DEEPEST {
                Rc::new(classify(&path, places))
            } else {
                waiting.key.clone()
            };
            let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if is_directory || found.st_nlink == 1 || seen.insert(found.st_ino) {
                *sizes.entry(Key::clone(&key)).or_default() += blocks(&found);
            }
            if is_directory {
                let depth = waiting.depth + 1;
                left.push(Waiting { path, depth, key });
            }
        }
    }
    Ok(sizes)
}

fn blocks(found: &rustix::fs::Stat) -> u64 {
    u64::try_from(found.st_blocks).unwrap_or_default() * BLOCK
}

/// A directory below another. Containers change theirs meanwhile: no link leads elsewhere. What lies deeper than a path can
/// say is not looked into.
fn open_beneath(root: &OwnedFd, path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), within) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a path below the data root is of.
fn classify(path: &Path, places: &Places) -> Key {
    let names: Vec<String> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let of = |kind, name: &str| (kind, name.to_owned());
    match names.as_slice() {
        ["layers" | "skeletons", name, ..] if name.starts_with("tmp-") => of("unpacking", ""),
        ["layers", name, ..] => of("layer", name),
        ["skeletons", name, ..] => of("layer data", name),
        ["content", "blobs", "sha256", name, ..] => {
            let digest = format!("sha256:{name}");
            let kind = places
                .blobs
                .get(&digest)
                .map_or("unreferenced blob", |place| place.kind);
            (kind, digest)
        }
        ["content", "partial", name, ..] => (("broken transfer"), format!("sha256:{name}")),
        ["content", "ingest", ..] => of("unpacking", ""),
        ["content", file @ ("index.json" | "oci-layout")] => of("layout", file),
        ["meta.redb"] => of("metadata", ""),
        ["containers", id, "upper" | "work", ..] => of("writable layer", id),
        ["containers", id, "local-logs", ..] => of("log", id),
        ["containers", id, file] if file.contains("-json.log") => of("log", id),
        ["containers", id, ..] => of("container", id),
        ["spools", id, ..] => of("log to be delivered", id),
        ["volumes", name, ..] => of("volume", name),
        ["events", ..] => of("events", ""),
        ["trash", ..] if names.len() > 1 => of("trash", ""),
        [
            "layers" | "skeletons" | "content" | "containers" | "spools" | "volumes" | "trash",
            ..,
        ] => of("directories", ""),
        [first, ..] => of("other", first),
        [] => of("directories", ""),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn every_path_is_of_something() {
        let places = Places::default();
        let kinds = [
            ("layers/abc/etc/passwd", ("layer", "abc")),
            ("layers/tmp-1/etc", ("unpacking", "")),
            ("skeletons/abc", ("layer data", "abc")),
            ("content/blobs/sha256/12", ("unreferenced blob", "sha256:12")),
            ("content/partial/12", ("broken transfer", "sha256:12")),
            ("containers/a/a-json.log.1", ("log", "a")),
            ("containers/a/upper/x", ("writable layer", "a")),
            ("containers/a/state.json", ("container", "a")),
            ("volumes/v/_data/x", ("volume", "v")),
            ("meta.redb", ("metadata", "")),
            ("lost+found", ("other", "lost+found")),
            ("content/blobs", ("directories", "")),
        ];
        for (path, (kind, name)) in kinds {
            assert_eq!(classify(Path::new(path), &places), (kind, name.to_owned()), "{path}");
        }
    }

    #[test]
    fn blocks_are_counted_once_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path().join("layers/abc");
        std::fs::create_dir_all(layer.join("deep/er/and/deep/er")).unwrap();
        std::fs::write(layer.join("deep/er/and/deep/er/file"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(layer.join("deep/er/and/deep/er/file"), layer.join("link")).unwrap();
        std::os::unix::fs::symlink("/usr", layer.join("deep/usr")).unwrap();
        let sparse = std::fs::File::create(dir.path().join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        let sizes = measure(dir.path(), &Places::default()).unwrap();
        let said = std::process::Command::new("du")
            .args(["-sx", "-B1"])
            .arg(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let expected: u64 = said.split('\t').next().unwrap().parse().unwrap();
        assert_eq!(sizes.values().sum::<u64>(), expected);
        assert!(sizes[&("layer", "abc".to_owned())] < 200_000);
    }
}
