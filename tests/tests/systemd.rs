//! Containers whose control groups systemd makes. It has to run the host, with the unified hierarchy: `cargo xtask vm systemd`
//! runs these.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use conex_tests::{Sandbox, eventually};

fn systemctl(arguments: &[&str]) -> String {
    let output = Command::new("systemctl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--value", "-p", name, unit])
}

/// systemd reads all units anew, and writes what it knows of them.
fn reload() {
    systemctl(&["daemon-reload"]);
}

fn scope(id: &str) -> String {
    format!("docker-{id}.scope")
}

/// The directory of a container in the slice that is the daemon's own choice.
fn directory(id: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup/system.slice").join(scope(id))
}

fn is_there(unit: &str) -> bool {
    property(unit, "LoadState") != "not-found" && property(unit, "ActiveState") != "inactive"
}

fn gone(id: &str) {
    eventually("the end of the scope", || {
        !is_there(&scope(id)) && !directory(id).exists()
    });
}

#[track_caller]
fn assert_files(directory: &Path, expected: &[(&str, &str)]) {
    for (file, value) in expected {
        let text = fs::read_to_string(directory.join(file)).unwrap();
        assert_eq!(text.trim(), *value, "{file}");
    }
}

#[track_caller]
fn assert_properties(unit: &str, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(property(unit, name), *value, "{name}");
    }
}

const MEBIBYTES_32: &str = "33554432";
const MEBIBYTES_64: &str = "67108864";

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn a_container_is_a_scope_with_its_limits_before_and_after_a_reload() {
    let sandbox = Sandbox::with_systemd();
    assert_eq!(
        sandbox.ok(&["info", "-f", "{{.CgroupDriver}} {{.CgroupVersion}}"]),
        "systemd 2"
    );
    let id = sandbox.ok(&[
        "run",
        "-d",
        "--memory=64m",
        "--memory-swap=96m",
        "--memory-reservation=32m",
        "--cpus=0.505",
        "--cpu-shares=512",
        "--cpuset-cpus=0",
        "--cpuset-mems=0",
        "--pids-limit=20",
        "busybox",
        "sleep",
        "1000",
    ]);
    let files = [
        ("memory.max", MEBIBYTES_64),
        ("memory.swap.max", MEBIBYTES_32),
        ("memory.low", MEBIBYTES_32),
        ("cpu.weight", "59"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "20"),
    ];
    let properties = [
        ("Slice", "system.slice"),
        ("ControlGroup", &format!("/system.slice/{}", scope(&id))),
        ("Delegate", "yes"),
        ("Description", &format!("container {id}")),
        ("CollectMode", "inactive-or-failed"),
        ("DefaultDependencies", "no"),
        ("MemoryMax", MEBIBYTES_64),
        ("MemorySwapMax", MEBIBYTES_32),
        ("MemoryLow", MEBIBYTES_32),
        ("CPUWeight", "59"),
        ("CPUQuotaPerSecUSec", "510ms"),
        ("AllowedCPUs", "0"),
        ("AllowedMemoryNodes", "0"),
        ("TasksMax", "20"),
    ];
    assert_files(&directory(&id), &files);
    assert_files(&directory(&id), &[("cpu.max", "50500 100000")]);
    assert_properties(&scope(&id), &properties);
    reload();
    assert_files(&directory(&id), &files);
    assert_properties(&scope(&id), &properties);
    // systemd counts in percents, and rounds up.
    let quota = fs::read_to_string(directory(&id).join("cpu.max")).unwrap();
    assert!(["50500 100000", "51000 100000"].contains(&quota.trim()), "{quota}");
    sandbox.ok(&["rm", "-f", &id]);
    gone(&id);
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn an_update_is_told_to_systemd() {
    let sandbox = Sandbox::with_systemd();
    let id = sandbox.ok(&["run", "-d", "--memory=32m", "busybox", "sleep", "1000"]);
    let limits = [
        "update",
        "--memory=64m",
        "--memory-swap=96m",
        "--cpus=0.5",
        "--pids-limit=30",
    ];
    sandbox.ok(&[limits.as_slice(), &[id.as_str()]].concat());
    let files = [
        ("memory.max", MEBIBYTES_64),
        ("memory.swap.max", MEBIBYTES_32),
        ("cpu.max", "50000 100000"),
        ("pids.max", "30"),
    ];
    let properties = [
        ("MemoryMax", MEBIBYTES_64),
        ("MemorySwapMax", MEBIBYTES_32),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("TasksMax", "30"),
    ];
    assert_files(&directory(&id), &files);
    assert_properties(&scope(&id), &properties);
    reload();
    assert_files(&directory(&id), &files);
    sandbox.ok(&["update", "--pids-limit=-1", &id]);
    reload();
    assert_files(&directory(&id), &[("pids.max", "max")]);
    assert_properties(&scope(&id), &[("TasksMax", "infinity")]);
}

/// Any disk of the host: its path and numbers.
fn disk() -> (String, u64, u64) {
    let devices = fs::read_dir("/dev").unwrap().flatten();
    let mut disks = devices.filter(|entry| entry.file_type().unwrap().is_block_device());
    let disk = disks.find(|entry| fs::File::open(entry.path()).is_ok()).unwrap();
    let number = disk.metadata().unwrap().rdev();
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
    (disk.path().display().to_string(), major, minor)
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn devices_are_those_of_the_container_before_and_after_a_reload() {
    let sandbox = Sandbox::with_systemd();
    let (path, major, minor) = disk();
    let device = format!("{path}:/dev/disk:r");
    let with = sandbox.ok(&["run", "-d", "--device", &device, "busybox", "sleep", "1000"]);
    let without = sandbox.ok(&["run", "-d", "busybox", "sleep", "1000"]);
    let node = format!("mknod /tmp/disk b {major} {minor}");
    sandbox.ok(&["exec", &without, "sh", "-c", &node]);
    let look = || {
        sandbox.ok(&[
            "exec",
            &with,
            "sh",
            "-c",
            "dd if=/dev/disk of=/dev/null count=1 && head -c 4 /dev/zero",
        ]);
        let denied = sandbox.docker(&["exec", &without, "dd", "if=/tmp/disk", "of=/dev/null", "count=1"]);
        assert!(denied.err.contains("Operation not permitted"), "{denied:?}");
        let written = sandbox.docker(&["exec", &with, "dd", "if=/dev/null", "of=/dev/disk", "count=0"]);
        assert!(written.err.contains("Operation not permitted"), "{written:?}");
    };
    look();
    reload();
    look();
    // systemd writes its limits anew, and the devices stay.
    systemctl(&["set-property", "--runtime", &scope(&with), "CPUWeight=77"]);
    assert_files(&directory(&with), &[("cpu.weight", "77")]);
    look();
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn a_container_is_paused_counted_entered_and_restarted_in_its_scope() {
    let sandbox = Sandbox::with_systemd();
    let id = sandbox.ok(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    assert_eq!(
        sandbox.ok(&["exec", "web", "cat", "/proc/self/cgroup"]),
        "0::/",
        "the scope is the root of its namespace"
    );
    let script = "sleep 999 & wait";
    let mut entered = sandbox.background(&["exec", "web", "sh", "-c", script]);
    let processes = || fs::read_to_string(directory(&id).join("cgroup.procs")).unwrap();
    eventually("both processes of the exec", || processes().lines().count() == 3);
    assert_eq!(
        sandbox.ok(&["stats", "--no-stream", "--format", "{{.PIDs}}", "web"]),
        "3"
    );
    sandbox.ok(&["pause", "web"]);
    assert_files(&directory(&id), &[("cgroup.freeze", "1")]);
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.Status}}", "web"]), "paused");
    sandbox.ok(&["unpause", "web"]);
    assert_files(&directory(&id), &[("cgroup.freeze", "0")]);
    for _ in 0..3 {
        sandbox.ok(&["restart", "-t", "0", "web"]);
        assert_eq!(property(&scope(&id), "ActiveState"), "active");
    }
    entered.wait().unwrap();
    assert_eq!(processes().lines().count(), 1);
    sandbox.ok(&["kill", "web"]);
    gone(&id);
    sandbox.ok(&["start", "web"]);
    assert_eq!(property(&scope(&id), "ActiveState"), "active");
    sandbox.ok(&["stop", "-t", "0", "web"]);
    gone(&id);
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn a_container_that_is_killed_for_memory_leaves_no_scope() {
    let sandbox = Sandbox::with_systemd();
    let hog = "x=0123456789abcdef; while :; do x=$x$x; done";
    let limits = ["--memory=16m", "--memory-swap=16m", "--name", "hog"];
    let run = [["run"].as_slice(), &limits, &["busybox", "sh", "-c", hog]].concat();
    assert_eq!(sandbox.docker(&run).code, 137);
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.OOMKilled}}", "hog"]), "true");
    gone(&sandbox.ok(&["inspect", "-f", "{{.Id}}", "hog"]));
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn scopes_outlive_the_daemon_and_not_their_monitor() {
    let mut sandbox = Sandbox::with_systemd();
    let id = sandbox.ok(&["run", "-d", "busybox", "sleep", "1000"]);
    let other = sandbox.ok(&["run", "-d", "busybox", "sleep", "1000"]);
    sandbox.kill();
    assert_eq!(property(&scope(&id), "ActiveState"), "active");
    sandbox.start(&[]);
    let pid = |id: &str| sandbox.ok(&["inspect", "-f", "{{.State.Pid}}", id]);
    let monitor = fs::read_to_string(format!("/proc/{}/stat", pid(&other))).unwrap();
    let monitor = monitor
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(1)
        .unwrap()
        .to_owned();
    let killed = Command::new("kill").args(["-9", &monitor]).status().unwrap();
    assert!(killed.success());
    eventually("the container ends with its monitor", || {
        sandbox.ok(&["inspect", "-f", "{{.State.Running}}", &other]) == "false"
    });
    gone(&other);
    assert_eq!(sandbox.ok(&["exec", &id, "echo", "here"]), "here");
    sandbox.ok(&["update", "--pids-limit=40", &id]);
    assert_properties(&scope(&id), &[("TasksMax", "40")]);
    sandbox.ok(&["stop", "-t", "0", &id]);
    gone(&id);
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn a_daemon_with_another_driver_finds_what_runs_where_it_is() {
    let mut sandbox = Sandbox::in_slice();
    let slice = sandbox.cgroup_parent().to_owned();
    let id = sandbox.ok(&["run", "-d", "busybox", "sleep", "1000"]);
    let path = format!("/{slice}/{}", scope(&id));
    assert_eq!(property(&scope(&id), "ControlGroup"), path);
    sandbox.kill();
    let parent = slice.replace(".slice", "files");
    sandbox.set_cgroup_parent(&parent);
    sandbox.start(&[]);
    assert_eq!(sandbox.ok(&["info", "-f", "{{.CgroupDriver}}"]), "cgroupfs");
    let directory = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    sandbox.ok(&["pause", &id]);
    assert_files(&directory, &[("cgroup.freeze", "1")]);
    sandbox.ok(&["unpause", &id]);
    sandbox.ok(&["update", "--pids-limit=50", &id]);
    assert_properties(&scope(&id), &[("TasksMax", "50")]);
    sandbox.ok(&["restart", "-t", "0", &id]);
    gone(&id);
    let files = Path::new("/sys/fs/cgroup").join(&parent).join(&id);
    assert_files(&files, &[("cgroup.freeze", "0")]);

    sandbox.kill();
    sandbox.set_cgroup_parent(&slice);
    sandbox.start(&[]);
    sandbox.ok(&["pause", &id]);
    assert_files(&files, &[("cgroup.freeze", "1")]);
    sandbox.ok(&["unpause", &id]);
    sandbox.ok(&["rm", "-f", &id]);
    assert!(!files.exists());
    fs::remove_dir(files.parent().unwrap()).unwrap();
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn parents_are_slices() {
    let sandbox = Sandbox::with_systemd();
    let words = "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"";
    for parent in ["/here", "here", ".slice"] {
        let refused = sandbox.docker(&["create", "--cgroup-parent", parent, "busybox"]);
        assert!(refused.err.contains(words), "{refused:?}");
    }
    let refused = sandbox.docker(&["run", "--rm", "--cgroup-parent", "a--b.slice", "busybox", "true"]);
    assert!(refused.err.contains("invalid slice name: a--b.slice"), "{refused:?}");
    let id = sandbox.ok(&[
        "run",
        "-d",
        "--cgroup-parent",
        "conextest-deep.slice",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(
        property(&scope(&id), "ControlGroup"),
        format!("/conextest.slice/conextest-deep.slice/{}", scope(&id))
    );
    sandbox.ok(&["rm", "-f", &id]);
    gone(&id);
    let refused = sandbox.run_daemon(&["--exec-opt=native.cgroupdriver=none"], &[]);
    assert!(refused.err.contains("cannot be specified manually"), "{refused:?}");
    let refused = sandbox.run_daemon(&["--cgroup-parent=/here"], &[]);
    assert!(refused.err.contains(words), "{refused:?}");
}
