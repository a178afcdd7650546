//! A layer's archive comes back from its skeleton and its files, byte for byte.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use conex_archive::{Entry, Kind, Limits, Mtime, Skeleton, SkeletonWriter, TarWriter, extract_layer};
use proptest::prelude::*;

/// Unpacks an archive, and gives it back from what was unpacked; the directory and the skeleton's file as well.
fn unpacked(archive: &[u8]) -> (tempfile::TempDir, File) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    let path = dir.path().join("skeleton");
    let mut skeleton = SkeletonWriter::new(File::create(&path).unwrap()).unwrap();
    let root = File::open(dir.path().join("root")).unwrap();
    extract_layer(archive, root.as_fd(), Some(&mut skeleton), Limits::NONE).unwrap();
    assert!(skeleton.finish().unwrap());
    (dir, File::open(path).unwrap())
}

fn assembled(dir: &tempfile::TempDir, skeleton: File) -> std::io::Result<Vec<u8>> {
    let skeleton = Skeleton::open(skeleton)?;
    let mut output = Vec::new();
    let root = File::open(dir.path().join("root"))?;
    skeleton.assemble(root.as_fd(), &mut output)?;
    assert_eq!(skeleton.size(), output.len() as u64);
    Ok(output)
}

fn assert_comes_back(archive: &[u8]) {
    let (dir, skeleton) = unpacked(archive);
    assert!(assembled(&dir, skeleton).unwrap() == archive, "the archive is another");
}

fn entry(path: &str, kind: Kind, link: &str, size: usize) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        link: link.as_bytes().to_vec(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: size as u64,
        sparse: None,
        mtime: Mtime {
            seconds: 1,
            nanoseconds: 5,
        },
        major: 0,
        minor: 0,
        xattrs: vec![(b"user.note".to_vec(), b"kept".to_vec())],
    }
}

/// An archive of files (contents), directories, links of both kinds.
fn archive_of(members: &[(&str, Kind, &str)]) -> Vec<u8> {
    let mut archive = TarWriter::new(Vec::new());
    for (path, kind, text) in members {
        if *kind == Kind::File {
            let entry = entry(path, *kind, "", text.len());
            archive.append_file(&entry, text.as_bytes()).unwrap();
        } else {
            archive.append(&entry(path, *kind, text, 0)).unwrap();
        }
    }
    archive.finish().unwrap()
}

#[test]
fn odd_members_come_back() {
    let long = "long/".repeat(50) + "name";
    let mut archive = archive_of(&[
        ("dir/", Kind::Directory, ""),
        ("dir/file", Kind::File, "contents"),
        ("dir/empty", Kind::File, ""),
        ("dir/hard", Kind::HardLink, "dir/file"),
        ("dir/soft", Kind::Symlink, "file"),
        (&long, Kind::File, "deep"),
        ("dir/.wh.gone", Kind::File, "said by a whiteout"),
        ("dir/.wh..wh..opq", Kind::File, ""),
        (".wh..wh.plnk", Kind::File, "bookkeeping"),
    ]);
    archive.extend_from_slice(&[7; 3000]);
    assert_comes_back(&archive);
    assert_comes_back(&[]);
    assert_comes_back(&archive_of(&[]));
}

#[test]
fn what_later_members_take_away_comes_back() {
    assert_comes_back(&archive_of(&[
        ("a", Kind::File, "first"),
        ("a", Kind::File, "the second"),
        ("a", Kind::Symlink, "elsewhere"),
        ("d/b", Kind::File, "below"),
        ("d/e/c", Kind::File, "deeper"),
        ("d", Kind::File, "a file now"),
        ("h", Kind::File, "linked"),
        ("i", Kind::HardLink, "h"),
        ("i", Kind::File, "no link any more"),
        ("h", Kind::HardLink, "not/here"),
    ]));
}

#[test]
fn what_lies_behind_a_link_comes_back() {
    assert_comes_back(&archive_of(&[
        ("real/", Kind::Directory, ""),
        ("alias", Kind::Symlink, "real"),
        ("alias/file", Kind::File, "through the link"),
        ("real/file", Kind::File, "by the other name"),
        ("alias/deep/file", Kind::File, "one"),
        ("alias", Kind::File, "no link any more"),
    ]));
}

#[test]
fn files_and_skeletons_that_are_damaged_are_told() {
    let archive = archive_of(&[("file", Kind::File, "contents")]);
    let (dir, skeleton) = unpacked(&archive);
    std::fs::write(dir.path().join("root/file"), "cut").unwrap();
    assert!(assembled(&dir, skeleton.try_clone().unwrap()).is_err());
    std::fs::remove_file(dir.path().join("root/file")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("root/file")).unwrap();
    assert!(assembled(&dir, skeleton).is_err());
    let (dir, _) = unpacked(&archive);
    let path = dir.path().join("skeleton");
    let whole = std::fs::read(&path).unwrap();
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(Skeleton::open(File::open(&path).unwrap()).is_err(), "{end}");
    }
}

fn member() -> impl Strategy<Value = (String, Kind, String)> {
    let name = "[ab](/[ab]){0,2}";
    prop_oneof![
        4 => (name, "[xy]{0,700}").prop_map(|(path, text)| (path, Kind::File, text)),
        1 => name.prop_map(|path| (path, Kind::Directory, String::new())),
        1 => (name, name).prop_map(|(path, link)| (path, Kind::HardLink, link)),
        1 => (name, "[ab]").prop_map(|(path, link)| (path, Kind::Symlink, link)),
    ]
}

proptest! {
    #[test]
    fn whatever_is_unpacked_comes_back(members in proptest::collection::vec(member(), 0..12)) {
        let members: Vec<_> = members.iter().map(|(path, kind, text)| (path.as_str(), *kind, text.as_str())).collect();
        let archive = archive_of(&members);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let root = File::open(dir.path().join("root")).unwrap();
        let path = dir.path().join("skeleton");
        let mut skeleton = SkeletonWriter::new(File::create(&path).unwrap()).unwrap();
        // Loops of links and links to themselves are refused, with or without a skeleton.
        if extract_layer(archive.as_slice(), root.as_fd(), Some(&mut skeleton), Limits::NONE).is_ok() {
            prop_assert!(skeleton.finish().unwrap());
            let back = assembled(&dir, File::open(path).unwrap()).unwrap();
            prop_assert!(back == archive);
        }
    }
}

/// Two parts far from each other, more parts than a header has room for, nothing but a hole, and a hole at the end.
fn make_sparse(dir: &Path) {
    let part = |file: &File, at: u64, bytes: &[u8]| file.write_all_at(bytes, at).unwrap();
    let made = |name: &str, size: u64| {
        let file = File::create(dir.join(name)).unwrap();
        file.set_len(size).unwrap();
        file
    };
    let two = made("two", 64 << 20);
    part(&two, 4096, &[b'a'; 5000]);
    part(&two, 32 << 20, &[b'b'; 4096]);
    let many = made("many", 8 << 20);
    for number in 0..60 {
        part(&many, number * (128 << 10), &[b'0' + (number % 10) as u8; 4096]);
    }
    made("hole", 64 << 20);
    std::fs::write(dir.join("whole"), "nothing is left out").unwrap();
}

#[test]
fn sparse_files_are_unpacked_as_such_in_every_format_and_come_back() {
    let source = tempfile::tempdir().unwrap();
    make_sparse(source.path());
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let output = Command::new("tar")
            .args(["--sparse", "--numeric-owner", "-C"])
            .arg(source.path())
            .args(format)
            .args(["-cf", "-", "two", "many", "hole", "whole"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        // As small as it can only be without the holes.
        assert!(output.stdout.len() < 1 << 20, "{format:?}: {}", output.stdout.len());
        let (dir, skeleton) = unpacked(&output.stdout);
        for name in ["two", "many", "hole", "whole"] {
            let (ours, theirs) = (dir.path().join("root").join(name), source.path().join(name));
            let same = Command::new("cmp").arg(&ours).arg(&theirs).output().unwrap();
            assert!(same.status.success(), "{format:?}: {same:?}");
            let taken = std::fs::metadata(&ours).unwrap().blocks() * 512;
            assert!(taken < 1 << 20, "{format:?}: {name} takes {taken} bytes");
        }
        assert!(
            assembled(&dir, skeleton).unwrap() == output.stdout,
            "{format:?}: the archive is another"
        );
    }
}

#[test]
fn maps_that_lie_are_refused() {
    let source = tempfile::tempdir().unwrap();
    make_sparse(source.path());
    let output = Command::new("tar")
        .args(["--sparse", "--format=posix", "--sparse-version=0.1", "-C"])
        .arg(source.path())
        .args(["-cf", "-", "two"])
        .output()
        .unwrap();
    let archive = output.stdout;
    let at = archive
        .windows(16)
        .position(|window| window == b"GNU.sparse.map=4")
        .unwrap();
    for (offset, digit) in [(15, b'x'), (20, b'9'), (25, b'9')] {
        let mut wrong = archive.clone();
        wrong[at + offset] = digit;
        let dir = tempfile::tempdir().unwrap();
        let root = File::open(dir.path()).unwrap();
        assert!(
            extract_layer(wrong.as_slice(), root.as_fd(), None, Limits::NONE).is_err(),
            "{offset} {digit}"
        );
    }
}
