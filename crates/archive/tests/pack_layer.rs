//! A writable layer that is packed and unpacked again is what it was.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use conex_archive::{Limits, Omitted, TarWriter, extract_layer, pack_layer};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};

const OPAQUE: &str = "trusted.overlay.opaque";

/// All that matters of every object, by its path: kind and mode, owner, device, hard links, what it says, attributes.
fn tree(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, path: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let says = match metadata.file_type() {
                kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                kind if kind.is_file() => format!("{:?}", fs::read(&path).unwrap()),
                _ => String::new(),
            };
            let (mut names, mut value) = (vec![0; 4096], vec![0; 4096]);
            let length = rustix::fs::llistxattr(&path, &mut names).unwrap();
            let attributes = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
            let attributes: Vec<String> = attributes
                .map(|name| {
                    let length = rustix::fs::lgetxattr(&path, name, &mut value).unwrap();
                    format!("{}={:?}", String::from_utf8_lossy(name), &value[..length])
                })
                .collect();
            let links = if metadata.is_dir() { 0 } else { metadata.nlink() };
            let (mode, device, seconds) = (metadata.mode(), metadata.rdev(), metadata.mtime());
            let owner = (metadata.uid(), metadata.gid());
            let told = format!("{mode:o} {owner:?} {device} {links} {seconds} {says} {attributes:?}");
            found.insert(path.strip_prefix(root).unwrap().display().to_string(), told);
            if metadata.is_dir() {
                walk(root, &path, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

fn device(path: &Path, kind: FileType, number: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), number).unwrap();
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn writable_layer(root: &Path) {
    for directory in ["opaque", "opaque/below", "plain", "dev", "etc", "proc"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    set(&root.join("opaque"), OPAQUE, b"y");
    fs::set_permissions(root.join("opaque"), fs::Permissions::from_mode(0o1770)).unwrap();
    fs::write(root.join("opaque/below/file"), "contents").unwrap();
    fs::hard_link(root.join("opaque/below/file"), root.join("plain/again")).unwrap();
    device(&root.join("plain/gone"), FileType::CharacterDevice, 0);
    device(&root.join("plain/null"), FileType::CharacterDevice, makedev(1, 3));
    device(&root.join("plain/block"), FileType::BlockDevice, makedev(7, 9));
    device(&root.join("plain/fifo"), FileType::Fifo, 0);
    symlink("../opaque/below", root.join("plain/link")).unwrap();
    fs::write(root.join("plain/owned"), vec![7; 300_000]).unwrap();
    chown(root.join("plain/owned"), Some(1000), Some(2_100_000)).unwrap();
    fs::set_permissions(root.join("plain/owned"), fs::Permissions::from_mode(0o4755)).unwrap();
    set(&root.join("plain/owned"), "user.mark", b"\0value\n");
    set(&root.join("plain"), "user.directory", b"d");
}

fn packed(root: &Path, omitted: &Omitted) -> Vec<u8> {
    let mut archive = TarWriter::new(Vec::new());
    pack_layer(File::open(root).unwrap().as_fd(), omitted, &mut archive).unwrap();
    archive.finish().unwrap()
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    let name = |entry: std::io::Result<tar::Entry<'_, _>>| {
        String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap()
    };
    entries.map(name).collect()
}

#[test]
fn what_is_packed_is_unpacked_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (upper, back) = (dir.path().join("upper"), dir.path().join("back"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&back).unwrap();
    writable_layer(&upper);
    let omitted = Omitted {
        root: true,
        ..Omitted::default()
    };
    let archive = packed(&upper, &omitted);
    let extracted = extract_layer(
        archive.as_slice(),
        File::open(&back).unwrap().as_fd(),
        None,
        Limits::NONE,
    )
    .unwrap();
    assert!(extracted.is_free() && !extracted.carries_root, "{extracted:?}");
    let (before, mut after) = (tree(&upper), tree(&back));
    // What is gone has no owner, mode or time.
    let gone = after.remove("plain/gone").unwrap();
    assert!(gone.starts_with("20000 "), "{gone}");
    let mut before = before;
    before.remove("plain/gone").unwrap();
    assert_eq!(before, after);
    assert_eq!(packed(&upper, &omitted), archive, "packing is no matter of chance");
}

#[test]
fn what_is_not_told_is_left_out_and_hollow_directories_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let upper = dir.path().join("upper");
    fs::create_dir(&upper).unwrap();
    writable_layer(&upper);
    fs::remove_dir_all(upper.join("plain")).unwrap();
    fs::remove_dir_all(upper.join("opaque")).unwrap();
    fs::write(upper.join("etc/hosts"), "").unwrap();
    fs::write(upper.join("etc/.wh.file"), "").unwrap();
    let set = |paths: &[&str]| paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    let mut omitted = Omitted {
        objects: set(&["etc/hosts"]),
        hollow: set(&["dev", "etc", "proc"]),
        root: true,
    };
    let _socket = UnixListener::bind(upper.join("proc/socket")).unwrap();
    assert!(names(&packed(&upper, &omitted)).is_empty());
    fs::write(upper.join("etc/more"), "").unwrap();
    assert_eq!(names(&packed(&upper, &omitted)), ["etc/", "etc/more"]);
    omitted.root = false;
    omitted.hollow.remove(b"dev".as_slice());
    assert_eq!(names(&packed(&upper, &omitted)), ["./", "dev/", "etc/", "etc/more"]);
}

#[test]
fn labels_of_the_host_and_what_steers_the_overlay_stay_here() {
    let dir = tempfile::tempdir().unwrap();
    let upper = dir.path().join("upper");
    fs::create_dir(&upper).unwrap();
    fs::write(upper.join("file"), "").unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set(&upper.join("file"), "security.capability", &capability);
    set(&upper.join("file"), "trusted.overlay.origin", b"x");
    set(&upper.join("file"), "trusted.other", b"x");
    let archive = packed(&upper, &Omitted::default());
    let mut read = tar::Archive::new(archive.as_slice());
    let mut found = Vec::new();
    for entry in read.entries().unwrap() {
        let mut entry = entry.unwrap();
        for extension in entry.pax_extensions().unwrap().into_iter().flatten() {
            found.push(extension.unwrap().key().unwrap().to_owned());
        }
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        assert!(contents.is_empty());
    }
    found.sort();
    assert_eq!(
        found,
        ["SCHILY.xattr.security.capability", "SCHILY.xattr.trusted.other"]
    );
}
