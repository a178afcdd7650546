//! Limits of what a container writes into its root file system, by each of what there is to hold it to them.
//!
//! The tests of projects are ignored where the kernel has none: `cargo xtask vm` runs them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;
use std::process::Command;

use conex_protocol::fail_points;
use conex_tests::{Engine, Sandbox, StorageDriver, eventually};

const LOOP: [&str; 2] = ["--storage-opt", "conex.quota=loop"];

/// Fills what there is to fill; tells how many megabytes of 64 went in, and why no more did.
const FILL: &str = "dd if=/dev/zero of=/big bs=1M count=64 2>&1 | grep -E '^dd:|records out'; sync /big";

/// Takes what is left as well, in pieces as small as there are.
const FILL_UP: &str = "n=0; while echo > /small.$n; do n=$((n + 1)); done 2>/dev/null; sync";

/// A container with a limit of 32 megabytes that has written 8 of them.
fn limited(sandbox: &Sandbox, name: &str, options: &[&str]) {
    // It runs again with each start.
    let script = "[ -e /first ] || dd if=/dev/zero of=/first bs=1M count=8 2>/dev/null; rm -f /etc/group; echo done; exec sleep 1000";
    let head = [
        "run",
        "-d",
        "--name",
        name,
        "--network",
        "none",
        "--storage-opt",
        "size=32M",
    ];
    sandbox.ok(&[&head[..], options, &["busybox", "sh", "-c", script]].concat());
    eventually("the first file", || sandbox.ok(&["logs", name]).contains("done"));
}

fn exec(sandbox: &Sandbox, name: &str, script: &str) -> String {
    sandbox.ok(&["exec", name, "sh", "-c", script])
}

/// Whether the words are those of a file system or a quota that has no room.
fn is_full(said: &str) -> bool {
    said.contains("No space left on device") || said.contains("Disk quota exceeded")
}

/// Megabytes of a file that was to have 64, where the limit was met; panics where it was not.
fn filled(sandbox: &Sandbox, name: &str) -> u32 {
    let said = exec(sandbox, name, FILL);
    assert!(is_full(&said), "{said}");
    let size = exec(sandbox, name, "stat -c %s /big");
    exec(sandbox, name, "rm /big; sync");
    size.parse::<u32>().unwrap() >> 20
}

fn assert_limited(sandbox: &Sandbox, name: &str) {
    let megabytes = filled(sandbox, name);
    assert!((8..=24).contains(&megabytes), "{megabytes} beside the first 8 of 32");
}

/// Loop devices of files below a directory, but for that of the directory itself.
fn devices(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").unwrap() {
        let file = entry.unwrap().path().join("loop/backing_file");
        if let Ok(path) = fs::read_to_string(file)
            && path.starts_with(dir.to_str().unwrap())
            && !path.trim_end().ends_with("/data.disk")
        {
            found.push(path);
        }
    }
    found
}

fn monitor_of(sandbox: &Sandbox, name: &str) -> String {
    let pid = sandbox.ok(&["inspect", "-f", "{{.State.Pid}}", name]);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.unwrap().trim().to_owned()
}

/// What a container has written is there, and it is held to its limit, whatever is done to it.
fn holds(sandbox: &mut Sandbox) {
    limited(sandbox, "full", &[]);
    assert_eq!(
        sandbox.ok(&["inspect", "-f", "{{.HostConfig.StorageOpt.size}}", "full"]),
        "32M"
    );
    // The control, and others are not hurt while one is full.
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "free",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]);
    let said = exec(sandbox, "full", FILL);
    assert!(is_full(&said), "{said}");
    let said = exec(sandbox, "free", FILL);
    assert!(said.contains("64+0 records out") && !is_full(&said), "{said}");
    limited(sandbox, "second", &[]);
    copies(sandbox);
    // One that is full to the last block starts again, and can be written to.
    exec(sandbox, "full", FILL);
    for _ in 0..2 {
        exec(sandbox, "full", FILL_UP);
        sandbox.ok(&["restart", "-t", "0", "full"]);
        let said = exec(sandbox, "full", "mkdir -p /more 2>&1; cp /bin/busybox /more 2>&1; true");
        // A file system gives back what it had set aside for files that grow.
        assert!(said.is_empty() || is_full(&said), "{said}");
    }
    exec(sandbox, "full", "rm -rf /big /small.* /more /copied; sync");
    assert_eq!(
        exec(sandbox, "full", "echo again > /again; cat /again; rm /again"),
        "again"
    );
    is_read(sandbox);
    is_run_again(sandbox);
    outlives(sandbox);
    sandbox.ok(&["rm", "-f", "free", "second", "renamed"]);
    sandbox.ok(&["container", "prune", "-f"]);
    let dir = sandbox.dir().to_owned();
    eventually("no loop device is left", || devices(&dir).is_empty());
    eventually("nothing of containers is left", || {
        let left = |name: &str| fs::read_dir(dir.join("data").join(name)).unwrap().count();
        left("containers") == 0 && left("trash") == 0
    });
}

/// `cp` into one that is full, and out of it.
fn copies(sandbox: &Sandbox) {
    let (from, to) = (sandbox.dir().join("copied"), sandbox.dir().join("first"));
    fs::write(&from, vec![1; 8 << 20]).unwrap();
    let said = sandbox.docker(&["cp", from.to_str().unwrap(), "full:/copied"]);
    assert!(said.code != 0, "{said:?}");
    sandbox.ok(&["cp", "full:/first", to.to_str().unwrap()]);
    assert_eq!(fs::metadata(&to).unwrap().len(), 8 << 20);
    exec(sandbox, "full", "rm -f /big; sync");
    sandbox.ok(&["cp", from.to_str().unwrap(), "full:/copied"]);
    assert_eq!(exec(sandbox, "full", "stat -c %s /copied"), (8 << 20).to_string());
}

/// `diff`, `commit`, `export`, and sizes, while it runs and not.
fn is_read(sandbox: &Sandbox) {
    let changed = sandbox.ok(&["diff", "full"]);
    assert!(
        changed.contains("A /first") && changed.contains("D /etc/group"),
        "{changed}"
    );
    let size = || {
        sandbox
            .ok(&["inspect", "-s", "-f", "{{.SizeRw}}", "full"])
            .parse::<u64>()
            .unwrap()
    };
    assert!((8 << 20..9 << 20).contains(&size()), "{}", size());
    let committed = |name: &str| {
        sandbox.ok(&["commit", "full", name]);
        sandbox.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            name,
            "sh",
            "-c",
            "stat -c %s /first; ls /etc/group 2>&1 | wc -c",
        ])
    };
    let first = committed("running");
    assert!(first.starts_with("8388608\n") && !first.ends_with("\n11"), "{first}");
    sandbox.ok(&["stop", "-t", "0", "full"]);
    assert_eq!(sandbox.ok(&["diff", "full"]), changed);
    assert!((8 << 20..9 << 20).contains(&size()), "{}", size());
    assert_eq!(committed("stopped"), first);
    let tar = sandbox.dir().join("export.tar");
    sandbox.ok(&["export", "-o", tar.to_str().unwrap(), "full"]);
    assert!(fs::metadata(&tar).unwrap().len() > 8 << 20);
    assert!(
        sandbox
            .ok(&["ps", "-a", "-s", "--format", "{{.Names}} {{.Size}}"])
            .contains("full 8.39MB")
    );
    sandbox.ok(&["system", "df"]);
    sandbox.ok(&["rmi", "running", "stopped"]);
}

/// Restart, rename and `cp` into one that does not run.
fn is_run_again(sandbox: &Sandbox) {
    let from = sandbox.dir().join("copied");
    sandbox.ok(&["cp", from.to_str().unwrap(), "full:/copied"]);
    fs::write(&from, vec![1; 48 << 20]).unwrap();
    let said = sandbox.docker(&["cp", from.to_str().unwrap(), "full:/too-much"]);
    assert!(said.code != 0, "{said:?}");
    sandbox.ok(&["start", "full"]);
    exec(sandbox, "full", "rm -f /copied /too-much; sync; stat /first");
    assert_limited(sandbox, "full");
    sandbox.ok(&["rename", "full", "renamed"]);
    sandbox.ok(&["restart", "-t", "0", "renamed"]);
    assert_limited(sandbox, "renamed");
}

/// `kill -9` of the daemon and of the monitor.
fn outlives(sandbox: &mut Sandbox) {
    sandbox.kill();
    sandbox.start(&[]);
    assert!(sandbox.ok(&["diff", "renamed"]).contains("A /first"));
    assert_limited(sandbox, "renamed");
    sandbox.kill();
    let pid = monitor_of_dead(sandbox);
    sandbox.start(&[]);
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    eventually("the end of the container", || {
        sandbox.ok(&["inspect", "-f", "{{.State.Running}}", "renamed"]) == "false"
    });
    sandbox.ok(&["start", "renamed"]);
    exec(sandbox, "renamed", "stat /first");
    assert_limited(sandbox, "renamed");
}

/// The monitor of `renamed`, which a daemon is started for once more to ask.
fn monitor_of_dead(sandbox: &mut Sandbox) -> String {
    sandbox.start(&[]);
    let pid = monitor_of(sandbox, "renamed");
    sandbox.kill();
    pid
}

#[test]
fn a_disk_holds_a_container_of_overlay2_to_its_limit() {
    holds(&mut Sandbox::with_storage_flags(StorageDriver::Overlay2, &LOOP));
}

#[test]
fn a_disk_holds_a_container_whose_overlay_is_mounted_by_the_old_call() {
    let sandbox = Sandbox::with_settings(Engine::Conex, &LOOP, &[("CONEX_WITHOUT", "lowerdir+")]);
    sandbox.load_busybox();
    limited(&sandbox, "full", &[]);
    assert_limited(&sandbox, "full");
    sandbox.ok(&["restart", "-t", "0", "full"]);
    exec(&sandbox, "full", "stat /first");
    sandbox.ok(&["rm", "-f", "full"]);
}

#[test]
fn a_disk_holds_a_container_of_fuse_overlayfs_to_its_limit() {
    holds(&mut Sandbox::with_storage_flags(StorageDriver::FuseOverlayfs, &LOOP));
}

#[test]
fn its_subvolume_holds_a_container_of_btrfs_to_its_limit() {
    holds(&mut Sandbox::with_storage_flags(StorageDriver::Btrfs, &[]));
}

#[test]
fn containers_that_go_with_their_end_are_limited_and_leave_nothing() {
    for (driver, flags) in [(StorageDriver::Overlay2, &LOOP[..]), (StorageDriver::Btrfs, &[])] {
        let sandbox = Sandbox::with_storage_flags(driver, flags);
        let said = sandbox.run(&["--network", "none", "--storage-opt", "size=32M"], FILL);
        assert!(is_full(&said), "{said}");
        // What is volatile has been mounted before its start.
        let head = [
            "create",
            "--rm",
            "--name",
            "copied",
            "--network",
            "none",
            "--storage-opt",
            "size=32M",
        ];
        sandbox.ok(&[&head[..], &["busybox", "cat", "/flags"]].concat());
        let from = sandbox.dir().join("flags");
        fs::write(&from, "there").unwrap();
        sandbox.ok(&["cp", from.to_str().unwrap(), "copied:/flags"]);
        assert_eq!(sandbox.ok(&["start", "-a", "copied"]), "there");
        let dir = sandbox.dir().to_owned();
        eventually("no loop device is left", || devices(&dir).is_empty());
    }
}

#[test]
fn a_limit_of_the_daemon_is_that_of_containers_that_ask_for_none() {
    let flags = [&LOOP[..], &["--storage-opt", "overlay2.size=32M"]].concat();
    let sandbox = Sandbox::with_storage_flags(StorageDriver::Overlay2, &flags);
    let fill = |options: &[&str]| sandbox.run(&[&["--network", "none"], options].concat(), FILL);
    assert!(is_full(&fill(&[])));
    assert!(!is_full(&fill(&["--storage-opt", "size=128M"])));
    assert!(!is_full(&fill(&["--storage-opt", "size=0"])));
}

#[test]
fn limits_that_there_cannot_be_are_refused_by_name() {
    let sandbox = Sandbox::with_storage_flags(StorageDriver::Vfs, &[]);
    let create = |sandbox: &Sandbox, option: &str| {
        let said = sandbox.docker(&["create", "--storage-opt", option, "busybox"]);
        assert!(said.code != 0, "{said:?}");
        said.err
    };
    let said = create(&sandbox, "size=1G");
    assert!(said.contains("--storage-opt is not supported for vfs: "), "{said}");
    sandbox.ok(&["create", "busybox"]);
    let sandbox = Sandbox::with_storage_flags(StorageDriver::Overlay2, &LOOP);
    for (option, words) in [
        ("size=much", "invalid size: 'much'"),
        ("inodes=5", "Unknown option inodes"),
        (
            "size=1M",
            "--storage-opt size=1048576: at least 8388608 bytes are needed",
        ),
    ] {
        let said = create(&sandbox, option);
        assert!(said.contains(words), "{option}: {said}");
    }
    let id = sandbox.ok(&["create", "busybox"]);
    let path = format!("/v1.50/containers/{id}/update");
    let (status, said) = sandbox.request("POST", &path, r#"{"StorageOpt":{"size":"1G"}}"#);
    assert_eq!(status, 400, "{said}");
    // The control.
    sandbox.ok(&["create", "--storage-opt", "size=1G", "busybox"]);
}

#[test]
fn what_limits_need_is_named_where_it_is_not_there() {
    // One that has what the daemon needs, but does not make file systems.
    let bin = tempfile::tempdir().unwrap();
    for program in ["nsenter", "sh"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{program}"), bin.path().join(program)).unwrap();
    }
    let path = [("PATH", bin.path().to_str().unwrap())];
    let mut sandbox = Sandbox::with_storage_flags(StorageDriver::Overlay2, &[]);
    sandbox.kill();
    sandbox.start(&path);
    let said = sandbox.docker(&["create", "--storage-opt", "size=1G", "busybox"]).err;
    for words in [
        "--storage-opt is supported only for overlay over xfs with 'pquota' mount option: quotas of projects are not enforced in ",
        "exec: \"mkfs.ext4\": executable file not found in $PATH (it is in the package e2fsprogs)",
    ] {
        assert!(said.contains(words), "{said}");
    }
    sandbox.kill();
    let refused = |flags: &[&str], environment: &[(&str, &str)]| {
        let said = sandbox.run_daemon(flags, environment);
        assert!(said.code != 0, "{said:?}");
        said.err
    };
    let said = refused(&["--storage-opt", "overlay2.size=1G"], &path);
    assert!(
        said.contains("Storage option overlay2.size not supported. --storage-opt is"),
        "{said}"
    );
    let said = refused(&LOOP, &path);
    assert!(
        said.contains("Storage option conex.quota not supported. --storage-opt is"),
        "{said}"
    );
    let said = refused(&["--storage-opt", "btrfs.size=1G"], &[]);
    assert!(
        said.contains("unknown option btrfs.size of the storage driver overlay2"),
        "{said}"
    );
    sandbox.start(&[]);
    sandbox.ok(&["create", "--storage-opt", "size=1G", "busybox"]);
}

#[test]
fn a_limit_goes_along_to_another_driver() {
    let mut sandbox = Sandbox::with_storage_flags(StorageDriver::Overlay2, &LOOP);
    limited(&sandbox, "full", &[]);
    sandbox.ok(&["stop", "-t", "0", "full"]);
    let changed = sandbox.ok(&["diff", "full"]);
    sandbox.terminate();
    let migrate = |sandbox: &mut Sandbox, to| {
        sandbox.store_beside(to);
        sandbox.run_daemon(&["--migrate-storage"], &[])
    };
    // One that has no limits is told before anything happens.
    sandbox.set_flags(&[]);
    let said = migrate(&mut sandbox, StorageDriver::Vfs);
    assert!(
        said.err
            .contains("container full has a limit: --storage-opt is not supported for vfs"),
        "{said:?}"
    );
    sandbox.set_flags(&LOOP);
    let said = migrate(&mut sandbox, StorageDriver::FuseOverlayfs);
    assert_eq!(
        said.out, "overlay2 to fuse-overlayfs: 1 images, 1 containers",
        "{said:?}"
    );
    sandbox.start(&[]);
    assert_eq!(sandbox.ok(&["diff", "full"]), changed);
    sandbox.ok(&["start", "full"]);
    assert_limited(&sandbox, "full");
    let id = sandbox.ok(&["inspect", "-f", "{{.Id}}", "full"]);
    let dir = sandbox.dir().join("data/containers").join(id);
    assert!(!dir.join("upper.disk").exists() && dir.join("fuse-upper.disk").exists());
    sandbox.ok(&["rm", "-f", "full"]);
}

/// Whatever is killed at a named point, the next daemon starts the container, holds it to its limit and removes it whole.
fn survives(sandbox: &mut Sandbox, points: &[&str]) {
    for point in points {
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        // Answers are not waited for: the daemon dies of one of these.
        let head = [
            "create",
            "--name",
            "victim",
            "--network",
            "none",
            "--storage-opt",
            "size=32M",
        ];
        sandbox.docker(&[&head[..], &["busybox", "sleep", "1000"]].concat());
        sandbox.docker(&["start", "victim"]);
        sandbox.docker(&["rm", "-f", "victim"]);
        eventually(point, || sandbox.docker(&["version"]).code != 0);
        sandbox.await_death();
        sandbox.start(&[]);
        if !sandbox.ok(&["ps", "-a", "-q", "--filter", "name=victim"]).is_empty() {
            sandbox.ok(&["start", "victim"]);
            let said = exec(sandbox, "victim", FILL);
            assert!(is_full(&said), "{point}: {said}");
            sandbox.ok(&["rm", "-f", "victim"]);
        }
        let dir = sandbox.dir().to_owned();
        eventually(&format!("no loop device is left after {point}"), || {
            devices(&dir).is_empty()
        });
        eventually(&format!("nothing of containers is left after {point}"), || {
            let left = |name: &str| fs::read_dir(dir.join("data").join(name)).unwrap().count();
            left("containers") == 0 && left("trash") == 0
        });
    }
}

#[test]
fn a_daemon_killed_at_a_named_point_of_a_disk_leaves_nothing() {
    let mut sandbox = Sandbox::with_storage_flags(StorageDriver::Overlay2, &LOOP);
    survives(&mut sandbox, fail_points::DISK);
}

#[test]
fn a_daemon_killed_while_it_looks_into_a_disk_leaves_it_to_the_container() {
    let mut sandbox = Sandbox::with_storage_flags(StorageDriver::Overlay2, &LOOP);
    limited(&sandbox, "full", &[]);
    for point in ["limit.disk-bound", "limit.disk-mounted"] {
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        assert!(sandbox.docker(&["diff", "full"]).code != 0);
        sandbox.await_death();
        sandbox.start(&[]);
        assert_eq!(devices(sandbox.dir()).len(), 1, "one device for one file");
        assert_limited(&sandbox, "full");
    }
    sandbox.ok(&["rm", "-f", "full"]);
    let dir = sandbox.dir().to_owned();
    eventually("no loop device is left", || devices(&dir).is_empty());
}

#[test]
#[ignore = "the kernel needs quotas of projects: cargo xtask vm"]
fn a_project_of_ext4_holds_a_container_to_its_limit() {
    with_project("ext4");
}

#[test]
#[ignore = "the kernel needs quotas of projects: cargo xtask vm"]
fn a_project_of_xfs_holds_a_container_to_its_limit() {
    with_project("xfs");
}

#[test]
#[ignore = "the kernel needs quotas of projects: cargo xtask vm"]
fn a_project_holds_a_container_of_fuse_overlayfs_to_its_limit() {
    let flags = [
        "--storage-opt",
        "conex.quota=project",
        "--storage-driver",
        "fuse-overlayfs",
    ];
    let sandbox = Sandbox::with_projects("ext4", &flags);
    limited(&sandbox, "full", &[]);
    assert_limited(&sandbox, "full");
    sandbox.ok(&["rm", "-f", "full"]);
}

fn with_project(kind: &str) {
    let flags = ["--storage-opt", "conex.quota=project"];
    let mut sandbox = Sandbox::with_projects(kind, &flags);
    stays_in(&sandbox);
    holds(&mut sandbox);
    survives(&mut sandbox, fail_points::PROJECT);
    assert_eq!(limited_projects(&sandbox.dir().join("data")), 0, "limits that are left");
}

/// Root in a container does not take its files out of their project, where its filter has not been switched off.
fn stays_in(sandbox: &Sandbox) {
    let leave = "touch /out; /chattr -p 7 /out 2>&1; /chattr +A /out 2>&1; true";
    let run = |options: &[&str]| {
        let mut all = vec!["--network", "none"];
        for bound in ["/lib:/lib:ro", "/lib64:/lib64:ro", "/usr/bin/chattr:/chattr:ro"] {
            all.extend(["-v", bound]);
        }
        sandbox.run(&[&all[..], options].concat(), leave)
    };
    let limit = ["--storage-opt", "size=32M"];
    let said = run(&limit);
    assert_eq!(said.matches("Operation not permitted").count(), 2, "{said}");
    // The controls.
    assert_eq!(
        run(&[&limit[..], &["--security-opt", "seccomp=unconfined"]].concat()),
        ""
    );
    assert_eq!(run(&[]), "");
}

/// Projects of a file system that have a limit.
fn limited_projects(at: &Path) -> usize {
    let root = fs::File::open(at).unwrap();
    conex_sys::quota::limited(std::os::fd::AsFd::as_fd(&root), 1)
        .unwrap()
        .len()
}
