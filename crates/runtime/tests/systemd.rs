//! `--systemd-cgroup`. systemd has to run the host, with the unified hierarchy: `cargo xtask vm systemd` runs these.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use bundle::Bundle;
use serde_json::{Value, json};

const SYSTEMD: &str = "--systemd-cgroup";

fn property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl")
        .args(["show", "--value", "-p", name, unit])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn reload() {
    assert!(
        Command::new("systemctl")
            .arg("daemon-reload")
            .status()
            .unwrap()
            .success()
    );
}

/// A bundle whose program sleeps, in a scope of this slice.
fn sleeping(slice: &str, change: impl FnOnce(&mut Value)) -> (Bundle, String, PathBuf) {
    let bundle = Bundle::new(|specification| {
        specification["process"]["args"] = json!(["sleep", "1000"]);
        change(specification);
    });
    let config = bundle.path("config.json");
    let mut specification: Value = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
    specification["linux"]["cgroupsPath"] = json!(format!("{slice}:conex:{}", bundle.id));
    fs::write(&config, specification.to_string()).unwrap();
    let scope = format!("conex-{}.scope", bundle.id);
    let directory = Path::new("/sys/fs/cgroup").join(slice).join(&scope);
    (bundle, scope, directory)
}

/// Numbers of any disk of the host.
fn disk() -> (u64, u64) {
    let devices = fs::read_dir("/dev").unwrap().flatten();
    let mut disks = devices.filter(|entry| entry.file_type().unwrap().is_block_device());
    let number = disks.next().unwrap().metadata().unwrap().rdev();
    (number >> 8 & 0xfff, number & 0xff)
}

fn value(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap().trim().to_owned()
}

fn gone(scope: &str, directory: &Path) {
    for _ in 0..500 {
        let state = property(scope, "LoadState");
        if state == "not-found" && !directory.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{scope} is left: {}", property(scope, "ActiveState"));
}

#[test]
fn without_systemd_it_is_refused_in_the_words_of_runc() {
    assert!(!Path::new("/run/systemd/system").exists(), "this is for hosts without");
    let bundle = Bundle::new(|_| {});
    let output = bundle.call(&[SYSTEMD, "create", &bundle.id]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("systemd not running on this host, cannot use systemd cgroups manager"),
        "{said}"
    );
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn a_container_lives_in_its_scope() {
    let (bundle, scope, directory) = sleeping("system.slice", |specification| {
        let (major, minor) = disk();
        specification["linux"]["devices"] =
            json!([{"path": "/dev/disk", "type": "b", "major": major, "minor": minor, "fileMode": 0o666}]);
        specification["linux"]["resources"] = json!({
            "memory": {"limit": 64 << 20},
            "pids": {"limit": 20},
            "unified": {"memory.high": "50331648"},
            "devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            ],
        });
    });
    let look = || {
        assert_eq!(value(&directory, "memory.max"), "67108864");
        assert_eq!(value(&directory, "memory.high"), "50331648");
        assert_eq!(value(&directory, "pids.max"), "20");
    };
    assert!(bundle.call_into(&[SYSTEMD, "create", &bundle.id], "out"));
    assert_eq!(bundle.state()["status"], "created");
    look();
    assert_eq!(property(&scope, "MemoryMax"), "67108864");
    assert_eq!(property(&scope, "MemoryHigh"), "50331648");
    bundle.succeed(&["start", &bundle.id]);
    reload();
    look();

    let own = bundle.succeed(&["exec", &bundle.id, "cat", "/proc/self/cgroup"]);
    assert!(own.trim().ends_with(&scope), "{own}");
    let null = "echo gone > /dev/null && cat /dev/null";
    bundle.succeed(&["exec", &bundle.id, "sh", "-c", null]);
    let disk = bundle.call(&["exec", &bundle.id, "cat", "/dev/disk"]);
    let said = String::from_utf8_lossy(&disk.stderr);
    assert!(said.contains("Operation not permitted"), "{said}");

    bundle.succeed(&["update", "--memory", "128m", "--pids-limit", "30", &bundle.id]);
    reload();
    assert_eq!(value(&directory, "memory.max"), "134217728");
    assert_eq!(value(&directory, "pids.max"), "30");
    assert_eq!(property(&scope, "TasksMax"), "30");
    bundle.succeed(&["pause", &bundle.id]);
    assert_eq!(bundle.state()["status"], "paused");
    bundle.succeed(&["resume", &bundle.id]);
    assert_eq!(
        bundle.succeed(&["ps", "-f", "json", &bundle.id]).matches(',').count(),
        0
    );
    bundle.succeed(&["events", "--stats", &bundle.id]);
    bundle.succeed(&["kill", &bundle.id, "KILL"]);
    gone(&scope, &directory);
    bundle.succeed(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn a_scope_that_runs_is_not_taken_over() {
    let (bundle, scope, directory) = sleeping("system.slice", |_| {});
    assert!(bundle.call_into(&[SYSTEMD, "create", &bundle.id], "out"));
    let other = Bundle::new(|_| {});
    fs::copy(bundle.path("config.json"), other.path("config.json")).unwrap();
    let output = other.call(&[SYSTEMD, "create", &other.id]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("creating systemd unit `{scope}`")), "{said}");
    assert_eq!(bundle.state()["status"], "created", "the first one is left alone");
    bundle.succeed(&["delete", "--force", &bundle.id]);
    gone(&scope, &directory);
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn one_process_may_be_all_and_the_ids_may_be_others() {
    let (bundle, scope, directory) = sleeping("conextest.slice", |specification| {
        let linux = specification["linux"].as_object_mut().unwrap();
        linux.insert("resources".to_owned(), json!({"pids": {"limit": 1}}));
        let map = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
        linux.insert("uidMappings".to_owned(), map.clone());
        linux.insert("gidMappings".to_owned(), map);
        linux["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "user"}));
    });
    // What is mounted needs directories, which root of the namespace makes; and the root may not be shared with the host's, as
    // everything is where systemd runs it.
    let own =
        "chmod 755 . && chown -R 200000:200000 rootfs && mount --bind rootfs rootfs && mount --make-private rootfs";
    let owned = Command::new("sh")
        .args(["-c", own])
        .current_dir(bundle.directory.path())
        .status();
    assert!(owned.unwrap().success());
    let made = bundle.call_into(&[SYSTEMD, "run", "--detach", &bundle.id], "out");
    assert!(made, "{:?}", fs::read_to_string(bundle.path("out")));
    assert_eq!(bundle.state()["status"], "running");
    assert_eq!(value(&directory, "pids.max"), "1");
    bundle.succeed(&["delete", "--force", &bundle.id]);
    gone(&scope, &directory);
    let unmounted = Command::new("umount").arg(bundle.path("rootfs")).status();
    assert!(unmounted.unwrap().success());
}

#[test]
#[ignore = "needs systemd as the first process of the host"]
fn a_path_that_names_no_unit_is_refused() {
    let bundle = Bundle::new(|_| {});
    let output = bundle.call(&[SYSTEMD, "create", &bundle.id]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("expected cgroupsPath to be of format"), "{said}");
    bundle.assert_nothing_left();
}
