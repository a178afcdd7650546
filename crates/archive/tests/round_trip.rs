//! What a tar builder wrote is what is unpacked: contents, kinds, owners, modes, times, attributes, shared inodes.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use conex_archive::{Extracted, Limits, extract_layer};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;

#[derive(Debug, Clone)]
enum What {
    File(Vec<u8>),
    Directory,
    Symlink(Vec<u8>),
    HardLink(Index),
    Fifo,
    Device(u32, u32),
}

/// How a name reaches the archive.
#[derive(Debug, Clone, Copy)]
enum Naming {
    Pax,
    Gnu,
}

#[derive(Debug, Clone)]
struct Node {
    parent: Index,
    name: Vec<u8>,
    what: What,
    mode: u32,
    uid: u32,
    gid: u32,
    seconds: i64,
    nanoseconds: u32,
    xattrs: Vec<(String, Vec<u8>)>,
    naming: Naming,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0x21_u8..0x7f, 1 => 1_u8..=255];
    prop::collection::vec(byte, 1..120).prop_filter("a plain name", |name| {
        !name.contains(&b'/') && !name.starts_with(b".wh.") && name != b"." && name != b".."
    })
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..1500).prop_map(What::File),
        3 => Just(What::Directory),
        // Absolute: resolved in the container, so never judged to climb out.
        1 => prop::collection::vec(1_u8..=255, 1..150).prop_map(|rest| What::Symlink([b"/", rest.as_slice()].concat())),
        2 => any::<Index>().prop_map(What::HardLink),
        1 => Just(What::Fifo),
        // A device 0:0 is overlayfs's whiteout.
        1 => (1_u32..4095, 0_u32..255).prop_map(|(major, minor)| What::Device(major, minor)),
    ]
}

fn owner() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0), 3 => 0_u32..70_000, 1 => 2_097_152..u32::MAX]
}

fn xattrs() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let key = prop::sample::select(vec!["user.a", "user.b.c", "trusted.kept", "security.mine"]);
    let value = prop::collection::vec(any::<u8>(), 0..80);
    prop::collection::btree_map(key.prop_map(str::to_owned), value, 0..3).prop_map(|map| map.into_iter().collect())
}

fn node() -> impl Strategy<Value = Node> {
    let naming = prop_oneof![Just(Naming::Pax), Just(Naming::Gnu)];
    let times = (-1_000_000_000_i64..4_000_000_000, 0_u32..1_000_000_000);
    let all = (
        any::<Index>(),
        name(),
        what(),
        0_u32..=0o7777,
        (owner(), owner()),
        times,
        xattrs(),
        naming,
    );
    all.prop_map(|(parent, name, what, mode, owner, times, xattrs, naming)| Node {
        parent,
        name,
        what,
        mode,
        uid: owner.0,
        gid: owner.1,
        seconds: times.0,
        nanoseconds: times.1,
        xattrs,
        naming,
    })
}

/// Nodes with their place in a tree: full path, and for a hard link that of its file.
fn plant(nodes: Vec<Node>) -> Vec<(Vec<u8>, Option<Vec<u8>>, Node)> {
    let mut tree: BTreeMap<Vec<u8>, ()> = BTreeMap::new();
    let mut directories = vec![Vec::new()];
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut planted = Vec::new();
    for node in nodes {
        let parent = node.parent.get(&directories);
        let path = if parent.is_empty() {
            node.name.clone()
        } else {
            [parent.as_slice(), &node.name].join(&b'/')
        };
        if path.len() > 3000 || tree.insert(path.clone(), ()).is_some() {
            continue;
        }
        let target = match &node.what {
            What::HardLink(_) if files.is_empty() => continue,
            What::HardLink(index) => Some(index.get(&files).clone()),
            What::Directory => {
                directories.push(path.clone());
                None
            }
            What::File(_) => {
                files.push(path.clone());
                None
            }
            _ => None,
        };
        planted.push((path, target, node));
    }
    planted
}

fn long(builder: &mut tar::Builder<Vec<u8>>, flag: u8, value: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(tar::EntryType::new(flag));
    header.set_size(value.len() as u64 + 1);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    builder.append(&header, [value, b"\0"].concat().as_slice()).unwrap();
}

fn write(builder: &mut tar::Builder<Vec<u8>>, path: &[u8], target: Option<&[u8]>, node: &Node) {
    let (kind, link, data) = match &node.what {
        What::File(data) => (tar::EntryType::Regular, None, data.as_slice()),
        What::Directory => (tar::EntryType::Directory, None, b"".as_slice()),
        What::Symlink(to) => (tar::EntryType::Symlink, Some(to.as_slice()), b"".as_slice()),
        What::HardLink(_) => (tar::EntryType::Link, target, b"".as_slice()),
        What::Fifo => (tar::EntryType::Fifo, None, b"".as_slice()),
        What::Device(..) => (tar::EntryType::Char, None, b"".as_slice()),
    };
    let mtime = if node.seconds < 0 && node.nanoseconds > 0 {
        format!("-{}.{:09}", -(node.seconds + 1), 1_000_000_000 - node.nanoseconds)
    } else {
        format!("{}.{:09}", node.seconds, node.nanoseconds)
    };
    let mut records = vec![("mtime".to_owned(), mtime.into_bytes())];
    records.extend(
        node.xattrs
            .iter()
            .map(|(key, value)| (format!("SCHILY.xattr.{key}"), value.clone())),
    );
    match node.naming {
        Naming::Pax => {
            records.push(("path".to_owned(), path.to_vec()));
            records.extend(link.map(|link| ("linkpath".to_owned(), link.to_vec())));
        }
        Naming::Gnu => {
            long(builder, b'L', path);
            if let Some(link) = link {
                long(builder, b'K', link);
            }
        }
    }
    builder
        .append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
        .unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("overridden").unwrap();
    header.set_entry_type(kind);
    header.set_mode(node.mode);
    header.set_uid(u64::from(node.uid));
    header.set_gid(u64::from(node.gid));
    header.set_size(data.len() as u64);
    header.set_mtime(7);
    if let What::Device(major, minor) = node.what {
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
    }
    header.set_cksum();
    builder.append(&header, data).unwrap();
}

fn unpack(archive: &[u8]) -> (tempfile::TempDir, Extracted) {
    let dir = tempfile::tempdir().unwrap();
    let root = File::open(dir.path()).unwrap();
    let extracted = extract_layer(archive, root.as_fd(), None, Limits::NONE).unwrap();
    (dir, extracted)
}

fn xattrs_of(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0_u8; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; 4096];
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value.truncate(length);
        found.push((String::from_utf8(name.to_vec()).unwrap(), value));
    }
    found.sort();
    found
}

fn all_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

fn compare(path: &Path, node: &Node) {
    let found = fs::symlink_metadata(path).unwrap();
    let kind = found.file_type();
    match &node.what {
        What::File(data) => assert_eq!(&fs::read(path).unwrap(), data, "{path:?}"),
        What::Directory => assert!(kind.is_dir()),
        What::Symlink(to) => assert_eq!(&fs::read_link(path).unwrap().into_os_string().into_vec(), to),
        What::Fifo => assert!(kind.is_fifo()),
        What::Device(major, minor) => {
            assert!(kind.is_char_device());
            let number = found.rdev();
            assert_eq!((rustix::fs::major(number), rustix::fs::minor(number)), (*major, *minor));
        }
        What::HardLink(_) => return,
    }
    assert_eq!((found.uid(), found.gid()), (node.uid, node.gid), "owner of {path:?}");
    let nanoseconds = i64::from(node.nanoseconds);
    assert_eq!(
        (found.mtime(), found.mtime_nsec()),
        (node.seconds, nanoseconds),
        "time of {path:?}"
    );
    if !kind.is_symlink() {
        assert_eq!(found.mode() & 0o7777, node.mode, "mode of {path:?}");
    }
    // `user.*` belongs to files and directories (xattr(7)); elsewhere it is passed over.
    let takes_user = kind.is_file() || kind.is_dir();
    let expected = node
        .xattrs
        .iter()
        .filter(|(key, _)| takes_user || !key.starts_with("user."));
    assert_eq!(
        xattrs_of(path),
        expected.cloned().collect::<Vec<_>>(),
        "attributes of {path:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_unpacked_as_it_was_written(
        nodes in prop::collection::vec(node(), 1..24),
        directories_last in any::<bool>(),
    ) {
        let mut planted = plant(nodes);
        if directories_last {
            planted.sort_by_key(|(_, _, node)| matches!(node.what, What::Directory));
        }
        let mut builder = tar::Builder::new(Vec::new());
        for (path, target, node) in &planted {
            write(&mut builder, path, target.as_deref(), node);
        }
        let (dir, extracted) = unpack(&builder.into_inner().unwrap());
        let place = |path: &[u8]| dir.path().join(OsStr::from_bytes(path));
        let mut size = 0;
        for (path, target, node) in &planted {
            compare(&place(path), node);
            if let What::File(data) | What::Symlink(data) = &node.what {
                size += data.len() as u64;
            }
            if let Some(target) = target {
                let (link, file) = (fs::metadata(place(path)).unwrap(), fs::metadata(place(target)).unwrap());
                prop_assert_eq!(link.ino(), file.ino());
            }
        }
        prop_assert_eq!(all_below(dir.path()).len(), planted.len());
        let expected = Extracted { size, members: planted.len() as u64, ..Extracted::default() };
        prop_assert_eq!(extracted, expected);
    }
}

/// An index of no importance: there is one directory only.
fn any_index() -> Index {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    any::<Index>().new_tree(&mut runner).unwrap().current()
}

/// One file or directory with one attribute.
fn with_attribute(key: &str, value: &[u8], what: What) -> Vec<u8> {
    let node = Node {
        parent: any_index(),
        name: b"x".to_vec(),
        what,
        mode: 0o755,
        uid: 1000,
        gid: 1000,
        seconds: 1,
        nanoseconds: 0,
        xattrs: vec![(key.to_owned(), value.to_vec())],
        naming: Naming::Pax,
    };
    let mut builder = tar::Builder::new(Vec::new());
    write(&mut builder, b"x", None, &node);
    builder.into_inner().unwrap()
}

#[test]
fn attributes_that_steer_overlayfs_are_dropped_and_others_are_kept() {
    for key in [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
    ] {
        let (dir, _) = unpack(&with_attribute(key, b"y", What::Directory));
        assert_eq!(xattrs_of(&dir.path().join("x")), [], "{key}");
    }
    let (dir, _) = unpack(&with_attribute("trusted.overlaid", b"y", What::Directory));
    assert_eq!(
        xattrs_of(&dir.path().join("x")),
        [("trusted.overlaid".to_owned(), b"y".to_vec())]
    );
}

#[test]
fn a_capability_of_a_file_of_another_owner_survives() {
    // struct vfs_cap_data, revision 2, effective: cap_net_bind_service (capabilities(7)).
    let value = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (dir, _) = unpack(&with_attribute(
        "security.capability",
        &value,
        What::File(b"program".to_vec()),
    ));
    assert_eq!(
        xattrs_of(&dir.path().join("x")),
        [("security.capability".to_owned(), value.to_vec())]
    );
}

#[test]
fn directories_that_are_only_implied_have_mode_0755_whatever_the_mask() {
    let node = Node {
        parent: any_index(),
        name: b"x".to_vec(),
        what: What::File(Vec::new()),
        mode: 0o666,
        uid: 0,
        gid: 0,
        seconds: 1,
        nanoseconds: 0,
        xattrs: Vec::new(),
        naming: Naming::Pax,
    };
    let mut builder = tar::Builder::new(Vec::new());
    write(&mut builder, b"a/b/x", None, &node);
    let archive = builder.into_inner().unwrap();
    // The mask is a thread's own after it left the others' (unshare(2), CLONE_FS): `sh` sets it for this program again.
    if std::env::var_os("CONEX_TEST_MASKED").is_none() {
        let program = std::env::current_exe().unwrap();
        let name = "directories_that_are_only_implied_have_mode_0755_whatever_the_mask";
        let status = std::process::Command::new("sh")
            .args(["-c", "umask 077; exec \"$0\" --exact \"$1\""])
            .arg(program)
            .arg(name)
            .env("CONEX_TEST_MASKED", "1")
            .status()
            .unwrap();
        assert!(status.success());
    }
    let (dir, extracted) = unpack(&archive);
    assert_eq!(extracted.implied, [PathBuf::from("a"), PathBuf::from("a/b")]);
    for (path, mode) in [("a", 0o755), ("a/b", 0o755), ("a/b/x", 0o666)] {
        assert_eq!(
            fs::metadata(dir.path().join(path)).unwrap().mode() & 0o7777,
            mode,
            "{path}"
        );
    }
}
