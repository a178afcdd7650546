//! Layers: staged, bound to those below, published, removed, and what a crash leaves of them; run as root.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use conex_snapshot::{Binding, Driver, Layer, LayerName, OverlayMethod, SnapshotError, Snapshots};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev};

/// Set for this program run again as the process that is killed: the data root.
const ROOT: &str = "CONEX_TEST_SNAPSHOT_ROOT";

fn scratch() -> (tempfile::TempDir, Snapshots) {
    let dir = tempfile::tempdir().unwrap();
    let store = Snapshots::open(dir.path(), Driver::Overlay(OverlayMethod::Detached)).unwrap();
    (dir, store)
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn layer(store: &Snapshots, name: &str, fill: impl FnOnce(&Path)) -> Layer {
    let staging = store.stage().unwrap();
    fill(staging.path());
    Layer {
        name: staging.publish(name).unwrap(),
        carries_root: false,
    }
}

fn implying(implied: &[PathBuf]) -> Binding<'_> {
    Binding {
        implied,
        ..Binding::default()
    }
}

fn linking(links: &[(PathBuf, PathBuf)]) -> Binding<'_> {
    Binding {
        links,
        ..Binding::default()
    }
}

fn whiteout(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).unwrap();
}

fn dress(path: &Path, mode: u32, owner: u32) {
    chown(path, Some(owner), Some(owner + 1)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    rustix::fs::setxattr(path, "user.kept", b"value", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(path, "trusted.overlay.origin", b"x", XattrFlags::empty()).unwrap();
    let time = std::time::UNIX_EPOCH + Duration::new(1_000_000, 5);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn assert_dressed(path: &Path, mode: u32, owner: u32) {
    let data = fs::metadata(path).unwrap();
    assert_eq!(
        (data.mode() & 0o7777, data.uid(), data.gid()),
        (mode, owner, owner + 1),
        "{path:?}"
    );
    assert_eq!((data.mtime(), data.mtime_nsec()), (1_000_000, 5), "{path:?}");
    let mut value = [0_u8; 16];
    assert_eq!(
        rustix::fs::getxattr(path, "user.kept", &mut value).unwrap(),
        5,
        "{path:?}"
    );
    assert!(
        rustix::fs::getxattr(path, "trusted.overlay.origin", &mut value).is_err(),
        "{path:?}"
    );
}

/// Waits for the thread that deletes.
fn assert_emptied(trash: &Path) {
    for _ in 0..1000 {
        if names(trash).is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{:?} are not deleted", names(trash));
}

#[test]
fn a_layer_is_there_when_it_is_published_and_not_before() {
    let (dir, store) = scratch();
    let staging = store.stage().unwrap();
    fs::write(staging.path().join("x"), "x").unwrap();
    assert_eq!(names(&dir.path().join("layers")), ["tmp-0"]);
    let name = staging.publish("0123456789abcdef").unwrap();
    assert_eq!(name.as_str(), "0123456789ab");
    assert_eq!(names(&dir.path().join("layers")), ["0123456789ab"]);
    assert_eq!(fs::read(store.path(&name).join("x")).unwrap(), b"x");

    drop(store.stage().unwrap());
    assert_eq!(names(&dir.path().join("layers")), ["0123456789ab"]);
    assert_emptied(&dir.path().join("trash"));
}

#[test]
fn digests_that_begin_alike_get_different_names() {
    let (_dir, store) = scratch();
    let publish = |digest, contents: &str| layer(&store, digest, |root| fs::write(root.join("x"), contents).unwrap());
    let layers = [
        publish("0123456789abcc", "0"),
        publish("0123456789abdd", "1"),
        publish("0123456789abee", "2"),
    ];
    for (number, layer) in layers.iter().enumerate() {
        assert_eq!(
            fs::read_to_string(store.path(&layer.name).join("x")).unwrap(),
            number.to_string()
        );
        assert_eq!(LayerName::parse(layer.name.as_str()).as_ref(), Some(&layer.name));
    }
    assert_eq!(layers[2].name.as_str(), "0123456789ab-2");
}

#[test]
fn names_that_would_lead_elsewhere_are_none() {
    for name in ["", "..", "a/b", "tmp-1", "A", "a.b", "a\0"] {
        assert_eq!(LayerName::parse(name), None, "{name:?}");
    }
    assert!(LayerName::parse("0123456789ab-2").is_some());
}

#[test]
fn layers_that_nobody_recorded_are_discarded_and_the_others_kept() {
    let (dir, store) = scratch();
    let (kept, lost) = (layer(&store, "aaaa", |_| {}), layer(&store, "bbbb", |_| {}));
    store
        .retain(&HashSet::from([kept.name.clone(), lost.name.clone()]))
        .unwrap();
    assert_eq!(names(&dir.path().join("layers")), ["aaaa", "bbbb"]);
    store.retain(&HashSet::from([kept.name.clone()])).unwrap();
    assert_eq!(names(&dir.path().join("layers")), ["aaaa"]);
    store.remove(&kept.name).unwrap();
    store.remove(&kept.name).unwrap();
    assert!(names(&dir.path().join("layers")).is_empty());
    assert_emptied(&dir.path().join("trash"));
}

#[test]
fn implied_directories_are_like_those_of_the_nearest_layer_below() {
    let (_dir, store) = scratch();
    let bottom = layer(&store, "aaaa", |root| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        dress(&root.join("a/b"), 0o750, 10);
        dress(&root.join("a"), 0o2711, 20);
    });
    let middle = layer(&store, "bbbb", |root| {
        fs::create_dir_all(root.join("a")).unwrap();
        dress(&root.join("a"), 0o1777, 30);
    });
    let mut staging = store.stage().unwrap();
    fs::create_dir_all(staging.path().join("a/b/new")).unwrap();
    let implied = ["a", "a/b", "a/b/new"].map(PathBuf::from);
    staging
        .bind(&[middle.clone(), bottom.clone()], implying(&implied))
        .unwrap();
    assert_dressed(&staging.path().join("a"), 0o1777, 30);
    assert_dressed(&staging.path().join("a/b"), 0o750, 10);
    assert_eq!(
        fs::metadata(staging.path().join("a/b/new")).unwrap().mode() & 0o7777,
        0o755
    );

    // The control: the order of the layers counts.
    staging.bind(&[bottom, middle], implying(&implied)).unwrap();
    assert_dressed(&staging.path().join("a"), 0o2711, 20);
}

fn link(link: &str, target: &str) -> (PathBuf, PathBuf) {
    (link.into(), target.into())
}

#[test]
fn a_hard_link_to_a_lower_file_takes_it_along_with_all_that_belongs_to_it() {
    let (_dir, store) = scratch();
    let bottom = layer(&store, "aaaa", |root| {
        fs::create_dir_all(root.join("dir")).unwrap();
        fs::write(root.join("dir/file"), "contents").unwrap();
        dress(&root.join("dir/file"), 0o4755, 10);
        symlink("nowhere", root.join("symlink")).unwrap();
        dress(&root.join("dir"), 0o700, 20);
    });
    let mut staging = store.stage().unwrap();
    let links = [
        link("one", "dir/file"),
        link("two", "dir/file"),
        link("three", "two"),
        link("four", "symlink"),
    ];
    staging.bind(std::slice::from_ref(&bottom), linking(&links)).unwrap();
    let root = staging.path();
    assert_eq!(fs::read_to_string(root.join("one")).unwrap(), "contents");
    assert_dressed(&root.join("one"), 0o4755, 10);
    let inode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().ino();
    for name in ["two", "three", "dir/file"] {
        assert_eq!(inode(name), inode("one"), "{name}");
    }
    assert_eq!(fs::read_link(root.join("four")).unwrap(), Path::new("nowhere"));
    assert_eq!(fs::metadata(root.join("dir")).unwrap().mode() & 0o7777, 0o700);
    let lower = fs::metadata(store.path(&bottom.name).join("dir/file")).unwrap();
    assert_ne!(lower.ino(), inode("one"));
    assert_eq!(lower.nlink(), 1);
}

#[test]
fn a_hard_link_to_what_the_layers_below_do_not_show_is_refused() {
    let (_dir, store) = scratch();
    let bottom = layer(&store, "aaaa", |root| {
        fs::create_dir(root.join("dir")).unwrap();
        fs::create_dir(root.join("opaque")).unwrap();
        for name in ["shown", "gone", "dir/shown", "opaque/gone"] {
            fs::write(root.join(name), name).unwrap();
        }
    });
    let top = layer(&store, "bbbb", |root| {
        whiteout(&root.join("gone"));
        fs::create_dir(root.join("opaque")).unwrap();
        rustix::fs::setxattr(root.join("opaque"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        symlink("/", root.join("out")).unwrap();
    });
    let cases = [
        ("shown", true),
        ("dir/shown", true),
        ("gone", false),
        ("opaque/gone", false),
        ("absent", false),
        ("out/etc/passwd", false),
    ];
    for (target, right) in cases {
        let mut staging = store.stage().unwrap();
        let bound = staging.bind(&[top.clone(), bottom.clone()], linking(&[link("x", target)]));
        assert_eq!(bound.is_ok(), right, "{target}: {bound:?}");
        if let Err(error) = bound {
            assert!(matches!(error, SnapshotError::LinkTarget { .. }), "{target}");
            assert!(names(staging.path()).is_empty(), "{target}");
        }
    }
}

/// Not a test of its own: the process that is killed between stage and publish.
#[test]
fn helper_that_stages_until_it_is_killed() {
    let Some(root) = env::var_os(ROOT) else { return };
    let store = Snapshots::open(Path::new(&root), Driver::Overlay(OverlayMethod::Detached)).unwrap();
    layer(&store, "published", |root| fs::write(root.join("x"), "x").unwrap());
    let staging = store.stage().unwrap();
    fs::create_dir_all(staging.path().join("a/b")).unwrap();
    for number in 0_u32.. {
        fs::write(staging.path().join(format!("a/b/{number}")), "half").unwrap();
        drop(store.stage().unwrap());
        println!("@{number}");
    }
}

#[test]
fn a_killed_process_leaves_nothing_that_open_does_not_collect() {
    for round in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "helper_that_stages_until_it_is_killed", "--nocapture"])
            .env(ROOT, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().contains('@') {}
        thread::sleep(Duration::from_millis(5 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        // Something that was in the trash but not deleted, whatever the thread managed.
        fs::create_dir_all(dir.path().join("trash/1/a/b")).unwrap();

        // The control: there is something to collect.
        assert!(
            names(&dir.path().join("layers")).contains(&"tmp-1".to_owned()),
            "round {round}"
        );
        let store = Snapshots::open(dir.path(), Driver::Overlay(OverlayMethod::Detached)).unwrap();
        assert_eq!(names(&dir.path().join("layers")), ["published"], "round {round}");
        assert_emptied(&dir.path().join("trash"));
        let kept = LayerName::parse("published").unwrap();
        assert_eq!(fs::read(store.path(&kept).join("x")).unwrap(), b"x");
        // The name that the dead process used is free again.
        assert!(store.stage().unwrap().path().ends_with("tmp-0"));
    }
}
