//! Root file systems as the kernel shows them; run as root.
//!
//! Each test runs this program again in a mount namespace of its own (`unshare -m`), alone in its process: what it mounts
//! is gone with it, and it may change its working directory.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

use conex_snapshot::{Driver, Layer, Mapped, OverlayMethod, Own, Rootfs, Snapshots, Writable};
use conex_sys::userns::IdMap;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev};

const INSIDE: &str = "CONEX_TEST_MOUNT_NAMESPACE";
const METHODS: [OverlayMethod; 2] = [OverlayMethod::Detached, OverlayMethod::Attached];

/// `true` in the process that is to do the test; runs that process in all others.
fn alone(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .arg("--mount")
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn scratch() -> (tempfile::TempDir, Snapshots) {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path(), METHODS[0]);
    (dir, store)
}

fn opened(root: &Path, method: OverlayMethod) -> Snapshots {
    Snapshots::open(root, Driver::Overlay(method)).unwrap()
}

fn layer(store: &Snapshots, name: &str, carries_root: bool, fill: impl FnOnce(&Path)) -> Layer {
    let staging = store.stage().unwrap();
    fill(staging.path());
    let name = staging.publish(name).unwrap();
    Layer { name, carries_root }
}

fn put(root: &Path, path: &str, contents: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

fn whiteout(root: &Path, path: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).unwrap();
}

fn opaque(root: &Path, path: &str) {
    let path = root.join(path);
    fs::create_dir_all(&path).unwrap();
    rustix::fs::setxattr(&path, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
}

/// A mounted root file system.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts as the interpreter of plans does (`launch::mounts`), and lets go of the tree: open, it would keep the mount busy.
    fn new(rootfs: Rootfs, at: PathBuf) -> Self {
        fs::create_dir_all(&at).unwrap();
        match rootfs {
            Rootfs::Detached(tree) => conex_sys::mount::attach_at(tree.as_fd(), &at).unwrap(),
            Rootfs::Attached {
                base,
                lower,
                upper,
                work,
                volatile,
            } => {
                let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
                let overlay = conex_sys::mount::Overlay {
                    lower: &lower,
                    upper: Some((&upper, &work)),
                    volatile,
                    label: None,
                };
                conex_sys::mount::overlay_attached(&at, &base, &overlay).unwrap();
                env::set_current_dir("/").unwrap();
            }
        }
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::empty())
            .unwrap_or_else(|error| eprintln!("{error}"));
    }
}

/// Every path with its contents, or `/` for a directory.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                found.insert(name, "/".to_owned());
                waiting.push(path);
            } else if kind.is_file() {
                found.insert(name, fs::read_to_string(&path).unwrap());
            } else {
                found.insert(name, format!("{kind:?}"));
            }
        }
    }
    found
}

/// As `tree`, with all that tells an untouched file from a copy.
fn stamped(root: &Path) -> Vec<String> {
    let stamp = |(name, contents): (String, String)| {
        let data = fs::symlink_metadata(root.join(&name)).unwrap();
        let times = (data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec());
        format!(
            "{name} {contents} {:o} {} {} {times:?}",
            data.mode(),
            data.ino(),
            data.uid()
        )
    };
    tree(root).into_iter().map(stamp).collect()
}

fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Three layers, top-most first.
fn layers(store: &Snapshots) -> Vec<Layer> {
    let bottom = layer(store, "aaaa", true, |root| {
        for path in ["changed", "gone", "dir/x", "dir/y", "opaque/old", "back", "bottom"] {
            put(root, path, "bottom");
        }
    });
    let middle = layer(store, "bbbb", true, |root| {
        put(root, "changed", "middle");
        put(root, "middle", "middle");
        whiteout(root, "back");
        whiteout(root, "dir/y");
    });
    let top = layer(store, "cccc", true, |root| {
        put(root, "changed", "top");
        put(root, "back", "top");
        whiteout(root, "gone");
        opaque(root, "opaque");
        put(root, "opaque/new", "top");
    });
    vec![top, middle, bottom]
}

const SHOWN: [(&str, &str); 8] = [
    ("back", "top"),
    ("bottom", "bottom"),
    ("changed", "top"),
    ("dir", "/"),
    ("dir/x", "bottom"),
    ("middle", "middle"),
    ("opaque", "/"),
    ("opaque/new", "top"),
];

#[test]
fn layers_stack_in_order_and_both_methods_show_the_same() {
    if !alone("layers_stack_in_order_and_both_methods_show_the_same") {
        return;
    }
    let (dir, store) = scratch();
    let layers = layers(&store);
    for method in METHODS {
        let container = dir.path().join(format!("containers/{method:?}"));
        let rootfs = opened(dir.path(), method)
            .rootfs(&layers, Own::unlimited(&container), Writable::Durable)
            .unwrap();
        assert_eq!(matches!(rootfs, Rootfs::Detached(_)), method == OverlayMethod::Detached);
        let mounted = Mounted::new(rootfs, dir.path().join("at"));
        assert_eq!(tree(&mounted.0), expected(&SHOWN), "{method:?}");
    }
    // The control: in another order it is another tree.
    let reversed: Vec<Layer> = layers.into_iter().rev().collect();
    let container = dir.path().join("containers/reversed");
    let rootfs = opened(dir.path(), METHODS[0])
        .rootfs(&reversed, Own::unlimited(&container), Writable::Durable)
        .unwrap();
    let mounted = Mounted::new(rootfs, dir.path().join("at"));
    let shown = tree(&mounted.0);
    assert_eq!(
        (shown["changed"].as_str(), shown["gone"].as_str()),
        ("bottom", "bottom")
    );
    assert!(shown.contains_key("opaque/old") && shown.contains_key("dir/y"));
}

#[test]
fn writes_go_to_the_upper_directory_and_layers_stay_as_they_are() {
    if !alone("writes_go_to_the_upper_directory_and_layers_stay_as_they_are") {
        return;
    }
    for method in METHODS {
        let (dir, store) = scratch();
        let layers = layers(&store);
        let before = stamped(&dir.path().join("layers"));
        let container = dir.path().join("containers/c");
        let mut shown = expected(&SHOWN);
        for round in 0..2 {
            let rootfs = opened(dir.path(), method)
                .rootfs(&layers, Own::unlimited(&container), Writable::Durable)
                .unwrap();
            let mounted = Mounted::new(rootfs, dir.path().join("at"));
            assert_eq!(tree(&mounted.0), shown, "{method:?}, round {round}");
            if round == 0 {
                put(&mounted.0, "changed", "written");
                put(&mounted.0, "dir/new", "written");
                fs::remove_file(mounted.0.join("bottom")).unwrap();
                fs::set_permissions(mounted.0.join("middle"), fs::Permissions::from_mode(0o600)).unwrap();
                shown.insert("changed".to_owned(), "written".to_owned());
                shown.insert("dir/new".to_owned(), "written".to_owned());
                shown.remove("bottom");
                assert_eq!(tree(&mounted.0), shown, "{method:?}");
            }
        }
        let upper: Vec<String> = tree(&container.join("upper")).into_keys().collect();
        assert_eq!(upper, ["bottom", "changed", "dir", "dir/new", "middle"], "{method:?}");
        assert_eq!(stamped(&dir.path().join("layers")), before, "{method:?}");
        // The control: a write to a layer would have been seen.
        put(&store.path(&layers[0].name), "changed", "top");
        assert_ne!(stamped(&dir.path().join("layers")), before, "{method:?}");
    }
}

/// A process in a user namespace that maps its ids to those from 100000 on.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--user", "sleep", "1000"])
            .spawn()
            .unwrap();
        let own = fs::read_link("/proc/self/ns/user").unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        while fs::read_link(process.join("ns/user")).unwrap() == own {
            thread::yield_now();
        }
        for file in ["uid_map", "gid_map"] {
            fs::write(process.join(file), "0 100000 65536").unwrap();
        }
        Self(child)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn ids_are_mapped_by_both_methods_and_layers_stay_as_they_are() {
    if !alone("ids_are_mapped_by_both_methods_and_layers_stay_as_they_are") {
        return;
    }
    let (dir, store) = scratch();
    let layers = layers(&store);
    chown(store.path(&layers[0].name).join("changed"), Some(7), Some(8)).unwrap();
    let before = stamped(&dir.path().join("layers"));
    let namespace = Namespace::new();
    let opened_namespace = fs::File::open(format!("/proc/{}/ns/user", namespace.pid())).unwrap();
    let map = IdMap::of_process(namespace.pid()).unwrap();
    let mapped = Mapped {
        namespace: opened_namespace.as_fd(),
        map: &map,
    };
    for method in METHODS {
        for writable in [Writable::Durable, Writable::Volatile] {
            // What separates mount options.
            let container = dir.path().join(format!("containers/{method:?},{writable:?}:x"));
            let own = Own::unlimited(&container);
            let rootfs = opened(dir.path(), method).rootfs_mapped(&layers, own, writable, mapped);
            let mounted = Mounted::new(rootfs.unwrap(), dir.path().join("at"));
            assert_eq!(tree(&mounted.0), expected(&SHOWN), "{method:?}");
            let owner = |name: &str| {
                let found = fs::metadata(mounted.0.join(name)).unwrap();
                (found.uid(), found.gid())
            };
            assert_eq!(owner("changed"), (100_007, 100_008), "{method:?}");
            assert_eq!(owner("bottom"), (100_000, 100_000), "{method:?}");
            assert_eq!(owner(""), (100_000, 100_000), "{method:?}");
            fs::set_permissions(mounted.0.join("changed"), fs::Permissions::from_mode(0o600)).unwrap();
            let upper = fs::metadata(container.join("upper/changed")).unwrap();
            assert_eq!((upper.uid(), upper.gid()), (100_007, 100_008), "{method:?}");
        }
    }
    assert_eq!(stamped(&dir.path().join("layers")), before);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&format!("{}/empty", dir.path().display())), "{table}");
}

#[test]
fn containers_of_the_same_layers_do_not_see_each_other() {
    if !alone("containers_of_the_same_layers_do_not_see_each_other") {
        return;
    }
    let (dir, store) = scratch();
    let layers = layers(&store);
    let mount = |name: &str, method| {
        let container = dir.path().join("containers").join(name);
        let rootfs = opened(dir.path(), method)
            .rootfs(&layers, Own::unlimited(&container), Writable::Durable)
            .unwrap();
        Mounted::new(rootfs, dir.path().join("at").join(name))
    };
    let (one, two) = (mount("one", METHODS[0]), mount("two", METHODS[1]));
    put(&one.0, "mine", "one");
    assert!(one.0.join("mine").exists() && !two.0.join("mine").exists());
}

#[test]
fn a_volatile_root_is_mounted_again_and_keeps_what_was_written() {
    if !alone("a_volatile_root_is_mounted_again_and_keeps_what_was_written") {
        return;
    }
    for method in METHODS {
        for writable in [Writable::Volatile, Writable::Durable] {
            let (dir, store) = scratch();
            let (layers, container) = (layers(&store), dir.path().join("containers/c"));
            for round in 0..3 {
                let rootfs = opened(dir.path(), method)
                    .rootfs(&layers, Own::unlimited(&container), writable)
                    .unwrap();
                let mounted = Mounted::new(rootfs, dir.path().join("at"));
                assert_eq!(mounted.0.join("written").exists(), round > 0, "{method:?} {writable:?}");
                put(&mounted.0, "written", "x");
                let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
                let at = mounted.0.display().to_string();
                let line = mounts.lines().find(|line| line.contains(&at)).unwrap();
                let volatile = line.contains("volatile") || line.contains("fsync=volatile");
                assert_eq!(volatile, writable == Writable::Volatile, "{line}");
            }
        }
    }
}

#[test]
fn an_image_without_layers_is_an_empty_root() {
    if !alone("an_image_without_layers_is_an_empty_root") {
        return;
    }
    let (dir, _) = scratch();
    for method in METHODS {
        let container = dir.path().join(format!("containers/{method:?}"));
        let rootfs = opened(dir.path(), method)
            .rootfs(&[], Own::unlimited(&container), Writable::Durable)
            .unwrap();
        let mounted = Mounted::new(rootfs, dir.path().join("at"));
        assert!(tree(&mounted.0).is_empty(), "{method:?}");
        put(&mounted.0, "x", "x");
    }
    assert!(tree(&dir.path().join("empty")).is_empty());
}

#[test]
fn as_many_layers_as_the_kernel_takes_fit_into_one_root() {
    if !alone("as_many_layers_as_the_kernel_takes_fit_into_one_root") {
        return;
    }
    let (dir, store) = scratch();
    let most = store.driver().most_layers().unwrap();
    let mut layers: Vec<Layer> = Vec::new();
    for number in 0..=most {
        let name = format!("{number:064x}").chars().rev().collect::<String>();
        layers.push(layer(&store, &name, false, |root| {
            put(root, &format!("f{number}"), "x");
            put(root, "last", &number.to_string());
        }));
    }
    layers.reverse();
    for method in METHODS {
        let store = opened(dir.path(), method);
        for count in [125, 300, most] {
            let layers = &layers[..count];
            let container = dir.path().join(format!("containers/{method:?}{count}"));
            let rootfs = store
                .rootfs(layers, Own::unlimited(&container), Writable::Durable)
                .unwrap();
            let mounted = Mounted::new(rootfs, dir.path().join("at"));
            let shown = tree(&mounted.0);
            assert_eq!((shown.len(), shown["last"].as_str()), (count + 1, "500"), "{method:?}");
            let names = store.read(layers, |root| {
                fs::read_dir(format!("/proc/self/fd/{}", root.as_raw_fd()))
                    .unwrap()
                    .count()
            });
            assert_eq!(names.unwrap(), count + 1, "{method:?}");
        }
        // The control: one more is refused by the kernel.
        assert!(store.read(&layers, |_| ()).is_err(), "{method:?}");
        assert!(
            tree(&dir.path().join("layers"))
                .keys()
                .all(|name| !name.starts_with("tmp-"))
        );
    }
}

#[test]
fn the_root_directory_is_that_of_the_top_most_layer_that_carries_one_whatever_the_mask() {
    if !alone("the_root_directory_is_that_of_the_top_most_layer_that_carries_one_whatever_the_mask") {
        return;
    }
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let (dir, store) = scratch();
    let carrying = |name: &str, mode, owner, carries_root| {
        layer(&store, name, carries_root, |root| {
            chown(root, Some(owner), Some(owner)).unwrap();
            fs::set_permissions(root, fs::Permissions::from_mode(mode)).unwrap();
        })
    };
    let bottom = carrying("aaaa", 0o1777, 5, true);
    let middle = carrying("bbbb", 0o711, 6, true);
    let top = carrying("cccc", 0o755, 0, false);
    let cases: [(&[Layer], u32, u32); 4] = [
        (&[], 0o755, 0),
        (std::slice::from_ref(&top), 0o755, 0),
        (&[top.clone(), middle.clone(), bottom.clone()], 0o711, 6),
        (&[top.clone(), bottom.clone()], 0o1777, 5),
    ];
    for (number, (layers, mode, owner)) in cases.into_iter().enumerate() {
        for method in METHODS {
            let container = dir.path().join(format!("containers/{number}{method:?}"));
            let rootfs = opened(dir.path(), method)
                .rootfs(layers, Own::unlimited(&container), Writable::Durable)
                .unwrap();
            let mounted = Mounted::new(rootfs, dir.path().join("at"));
            let root = fs::metadata(&mounted.0).unwrap();
            assert_eq!(
                (root.mode() & 0o7777, root.uid()),
                (mode, owner),
                "case {number}, {method:?}"
            );
        }
    }
}
