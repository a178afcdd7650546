//! Whole trees, as the driver `vfs` keeps them; run as root.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use conex_snapshot::{Binding, Change, Driver, Layer, Own, Snapshots, Writable};
use rustix::fs::{CWD, Mode, OFlags};

fn scratch() -> (tempfile::TempDir, Snapshots) {
    let dir = tempfile::tempdir().unwrap();
    let store = Snapshots::open(dir.path(), Driver::Vfs).unwrap();
    (dir, store)
}

fn layer(store: &Snapshots, name: &str, below: &[Layer], fill: impl FnOnce(&Path)) -> Layer {
    let mut staging = store.stage().unwrap();
    fill(staging.path());
    staging.bind(below, Binding::default()).unwrap();
    Layer {
        name: staging.publish(name).unwrap(),
        carries_root: false,
    }
}

#[test]
fn holes_stay_holes() {
    let (dir, store) = scratch();
    let fill = |root: &Path| {
        let file = File::create(root.join("sparse")).unwrap();
        file.set_len(256 << 20).unwrap();
        file.write_all_at(b"in the middle", 100 << 20).unwrap();
    };
    let bottom = layer(&store, "aaaa", &[], fill);
    let top = layer(&store, "bbbb", std::slice::from_ref(&bottom), |_| ());
    let container = dir.path().join("containers/c");
    store
        .rootfs(&[top.clone(), bottom], Own::unlimited(&container), Writable::Durable)
        .unwrap();
    for place in [store.path(&top.name), container.join("tree")] {
        let file = File::open(place.join("sparse")).unwrap();
        let found = file.metadata().unwrap();
        assert_eq!(found.len(), 256 << 20);
        assert!(found.blocks() * 512 < 1 << 20, "{place:?}: {}", found.blocks());
        let mut text = [0; 13];
        file.read_exact_at(&mut text, 100 << 20).unwrap();
        assert_eq!(&text, b"in the middle");
    }
}

/// Makes directories in one another, more than a path can name or a stack hold.
fn deep(root: &Path, depth: u32) {
    let open = |at: &OwnedFd| rustix::fs::openat(at, "d", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let mut at = rustix::fs::openat(CWD, root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = open(&at);
    }
    let file = rustix::fs::openat(
        &at,
        "file",
        OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::RUSR,
    )
    .unwrap();
    rustix::io::write(file, b"deep").unwrap();
}

#[test]
fn trees_may_be_deeper_than_a_path_is_long() {
    const DEPTH: u32 = 2200;
    let (dir, store) = scratch();
    let bottom = layer(&store, "aaaa", &[], |root| deep(root, DEPTH));
    let top = layer(&store, "bbbb", std::slice::from_ref(&bottom), |_| ());
    let layers = [top, bottom];
    let container = dir.path().join("containers/c");
    let work = move || {
        store
            .rootfs(&layers, Own::unlimited(&container), Writable::Durable)
            .unwrap();
        assert!(
            store
                .changes(&layers, Own::unlimited(&container), &[], None)
                .unwrap()
                .is_empty()
        );
        let tree = container.join("tree");
        fs::create_dir(tree.join("other")).unwrap();
        deep(&tree.join("other"), DEPTH);
        let changes = store.changes(&layers, Own::unlimited(&container), &[], None).unwrap();
        assert_eq!(
            changes.values().filter(|change| **change == Change::Added).count(),
            DEPTH as usize + 2
        );
        assert_eq!(store.size(&layers, Own::unlimited(&container)).unwrap(), 4);
        let difference = store.difference(&layers, Own::unlimited(&container)).unwrap().unwrap();
        assert!(difference.path().join("other/d/d/d").exists());
    };
    // As little stack as the threads have on which it is done.
    let small = std::thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap();
    small.join().unwrap();
}

#[test]
fn a_copy_that_is_older_than_a_change_of_the_same_moment_is_told() {
    let (dir, store) = scratch();
    let bottom = layer(&store, "aaaa", &[], |root| fs::write(root.join("f"), "one").unwrap());
    let layers = [bottom];
    for number in 0..50 {
        let container = dir.path().join(format!("containers/{number}"));
        store
            .rootfs(&layers, Own::unlimited(&container), Writable::Durable)
            .unwrap();
        let file = container.join("tree/f");
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "two").unwrap();
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(time)
            .unwrap();
        let changes = store.changes(&layers, Own::unlimited(&container), &[], None).unwrap();
        assert_eq!(changes.get(Path::new("/f")), Some(&Change::Modified));
    }
}
