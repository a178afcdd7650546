//! Labels of SELinux. The kernel has to have it, with the policy of `tests/selinux.cil`: `cargo xtask vm selinux` runs these.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use bundle::Bundle;
use conex_sys::{path, selinux};
use serde_json::{Value, json};

const PROCESS: &str = "system_u:system_r:container_t:s0:c1,c2";
const MOUNT: &str = "system_u:object_r:container_file_t:s0:c1,c2";

/// The label of whoever runs this, without the zero that ends it.
const OWN: &str = "tr -d '\\0' < /proc/self/attr/current; echo";

/// A bundle that is labelled, and whose root file system is as its owner has to label it.
fn labelled(script: &str, change: impl FnOnce(&mut Value)) -> Bundle {
    let bundle = Bundle::new(|spec| {
        spec["process"]["args"] = json!(["sh", "-c", script]);
        spec["process"]["selinuxLabel"] = json!(PROCESS);
        spec["linux"]["mountLabel"] = json!(MOUNT);
        change(spec);
    });
    let root = File::open(bundle.path("rootfs")).unwrap();
    std::os::unix::fs::symlink("busybox", bundle.path("rootfs/bin/tr")).unwrap();
    selinux::label_tree(root.as_fd(), MOUNT).unwrap();
    bundle
}

/// What it says, without an error.
fn output(script: &str, change: impl FnOnce(&mut Value)) -> String {
    let bundle = labelled(script, change);
    let output = bundle.succeed(&["run", &bundle.id]);
    bundle.assert_nothing_left();
    output.trim_end().to_owned()
}

/// Runs a bundle in the background while places of its root are looked at.
fn while_running(change: impl FnOnce(&mut Value), look: impl FnOnce(&dyn Fn(&str, &str) -> bool)) {
    let bundle = labelled("sleep 1000", change);
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    let root = format!("/proc/{}/root", bundle.state()["pid"]);
    look(&|place, label| {
        let opened = path::open_place(Path::new(&format!("{root}{place}"))).unwrap();
        selinux::has_label(opened.as_fd(), label)
    });
    bundle.succeed(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn a_process_has_its_label_and_later_ones_their_own() {
    assert_eq!(output(OWN, |_| {}), PROCESS);
    assert_eq!(
        output(OWN, |spec| spec["process"]["noNewPrivileges"] = json!(false)),
        PROCESS
    );
    let bundle = labelled("sleep 1000", |_| {});
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    let exec = |options: &[&str]| {
        let arguments = [&["exec"], options, &[&bundle.id, "sh", "-c", OWN]].concat();
        bundle.succeed(&arguments).trim_end().to_owned()
    };
    assert_eq!(exec(&[]), PROCESS);
    let other = "system_u:system_r:container_u:s0:c1,c2";
    assert_eq!(exec(&["--process-label", other]), other);
    bundle.succeed(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn what_a_container_is_given_has_the_label_of_its_mounts() {
    while_running(
        |_| {},
        |is| {
            let places = [
                "/dev",
                "/dev/null",
                "/dev/shm",
                "/dev/pts",
                "/dev/mqueue",
                "/sys/firmware",
            ];
            for place in places {
                assert!(is(place, MOUNT), "{place}");
            }
            // Of the kernel's own nothing is.
            assert!(is("/proc", "system_u:object_r:proc_t:s0"));
        },
    );
    // It is its own and can be used.
    let used = "echo x > /dev/shm/x && cat /dev/shm/x && echo > /dev/null";
    assert_eq!(output(used, |_| {}), "x");
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn options_of_a_mount_may_have_a_context_of_their_own() {
    let change = |spec: &mut Value| {
        spec["process"]["selinuxLabel"] = json!("");
        spec["linux"]["mountLabel"] = json!("");
        let options = json!([format!("context=\"{MOUNT}\""), "mode=755"]);
        let own = json!({"destination": "/dev/own", "type": "tmpfs", "source": "tmpfs", "options": options});
        spec["mounts"].as_array_mut().unwrap().push(own);
    };
    while_running(change, |is| assert!(is("/dev/own", MOUNT) && !is("/dev", MOUNT)));
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn a_container_reaches_its_own_keyring() {
    let said = output("grep -c _ses /proc/keys; true", |spec| {
        spec["linux"]["maskedPaths"] = json!([]);
    });
    assert_eq!(said, "1");
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn hooks_of_the_runtime_are_not_labelled() {
    let shared = tempfile::TempDir::new().unwrap();
    let seen = shared.path().join("seen");
    let script = format!("tr -d '\\0' < /proc/self/attr/current > {}", seen.display());
    let said = output(OWN, |spec| {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]});
        spec["hooks"] = json!({"createContainer": [hook]});
    });
    assert_eq!(said, PROCESS);
    let seen = std::fs::read_to_string(seen).unwrap();
    assert_eq!(seen, "system_u:system_r:kernel_t:s0-s0:c0.c1023");
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn a_label_that_the_policy_has_not_is_an_error() {
    let bundle = labelled("true", |spec| {
        spec["process"]["selinuxLabel"] = json!("system_u:system_r:nobody_t:s0");
    });
    let output = bundle.call(&["run", &bundle.id]);
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        words.contains("apply the label \"system_u:system_r:nobody_t:s0\""),
        "{words}"
    );
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs a kernel with SELinux"]
fn files_of_others_are_denied_although_the_process_is_root() {
    let bundle = labelled("cat /secret", |_| {});
    std::fs::write(bundle.path("rootfs/secret"), "s").unwrap();
    let file = File::open(bundle.path("rootfs/secret")).unwrap();
    selinux::set_label(file.as_fd(), "system_u:object_r:container_file_t:s0:c3,c4").unwrap();
    let output = bundle.call(&["run", &bundle.id]);
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("can't open '/secret': Permission denied"), "{words}");
    bundle.assert_nothing_left();
}
