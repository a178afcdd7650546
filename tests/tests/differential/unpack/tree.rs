//! A tree on the disk, with all that an archive can say of it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use conex_tests::hex;

/// What is known of each path; the root is `.`.
pub(crate) type Tree = BTreeMap<String, String>;

pub(crate) fn tree(root: &Path) -> Tree {
    let (mut found, mut first, mut waiting) = (Tree::new(), HashMap::new(), vec![root.to_owned()]);
    while let Some(path) = waiting.pop() {
        let data = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let name = if name.is_empty() { ".".to_owned() } else { name };
        if data.is_dir() {
            let mut below: Vec<_> = fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            below.sort();
            waiting.extend(below.into_iter().rev());
        }
        // Of several names of a file all tell the first.
        let shared = if data.is_dir() || data.nlink() == 1 {
            String::new()
        } else {
            format!(
                " {} names, first {}",
                data.nlink(),
                first.entry(data.ino()).or_insert_with(|| name.clone())
            )
        };
        found.insert(name, format!("{}{shared}", told(&path, &data)));
    }
    found
}

fn told(path: &Path, data: &fs::Metadata) -> String {
    let kind = data.file_type();
    let what = if kind.is_file() {
        format!("file of {} bytes {}", data.len(), &hex(&fs::read(path).unwrap())[..16])
    } else if kind.is_symlink() {
        format!("link to {:?}", fs::read_link(path).unwrap())
    } else if kind.is_char_device() || kind.is_block_device() {
        let (major, minor) = (rustix::fs::major(data.rdev()), rustix::fs::minor(data.rdev()));
        format!(
            "{} {major}:{minor}",
            if kind.is_char_device() {
                "character device"
            } else {
                "block device"
            }
        )
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        "directory".to_owned()
    };
    let (mode, uid, gid) = (data.mode() & 0o7777, data.uid(), data.gid());
    format!("{what} {mode:o} {uid}:{gid} {} {}", time(data), xattrs(path))
}

/// Times of now are those of no archive.
fn time(data: &fs::Metadata) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    if data.mtime().unsigned_abs().abs_diff(now) < 600 {
        return "now".to_owned();
    }
    format!("{}.{:09}", data.mtime(), data.mtime_nsec())
}

fn xattrs(path: &Path) -> String {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap();
    let mut found: Vec<String> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
            let digits: String = value[..length].iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}={digits}", String::from_utf8_lossy(name))
        })
        .collect();
    found.sort();
    found.join(" ")
}
