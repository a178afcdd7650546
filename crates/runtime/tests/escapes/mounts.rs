//! Where things are mounted: CVE-2021-30465, CVE-2024-45310, CVE-2025-52565.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::weakened::{Runtime, write};

fn add(specification: &mut Value, mount: Value) {
    specification["mounts"].as_array_mut().unwrap().push(mount);
}

/// A bind that a container may write to, of a directory of the host.
fn bind(source: &TempDir, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source.path(), "options": ["bind"]})
}

#[test]
fn a_link_of_an_image_makes_nothing_on_the_host() {
    let made = |runtime: Runtime| {
        let (host, volume) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let bundle = runtime.bundle(|specification| {
            add(specification, bind(&volume, "/data/made"));
            specification["process"]["args"] = json!(["ls", "/"]);
        });
        symlink(host.path(), bundle.path("rootfs/data")).unwrap();
        // Within the root the link leads to nothing.
        runtime.run(&bundle);
        host.path().join("made").exists()
    };
    assert!(made(Runtime::without("Root")));
    assert!(!made(Runtime::without("")));
    assert!(!made(Runtime::released()));
}

#[test]
fn who_shares_a_volume_cannot_lead_a_mount_elsewhere() {
    let says = |runtime: Runtime| {
        let (shared, volume) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        write(volume.path().join("mark"), "volume");
        let bundle = runtime.bundle(|specification| {
            add(specification, bind(&shared, "/shared"));
            add(specification, bind(&volume, "/shared/in/there"));
            let look = "cat /etc/there/mark || cat /shared/moved/there/mark";
            specification["process"]["args"] = json!(["sh", "-c", look]);
        });
        fs::create_dir_all(bundle.path("rootfs/etc/there")).unwrap();
        let (elsewhere, fifo) = (bundle.path("rootfs/etc"), bundle.path("fifo"));
        let said = runtime.race(
            &bundle,
            "attach:/shared/in/there",
            ("fifo", fifo.to_str().unwrap()),
            || {
                let inside = shared.path().join("in");
                fs::rename(&inside, shared.path().join("moved")).unwrap();
                symlink(&elsewhere, &inside).unwrap();
            },
        );
        assert_eq!(said.out, "volume", "{said:?}");
        said.errors.contains("/etc/there")
    };
    assert!(!says(Runtime::without("MountPlace")), "mounted in /etc");
    assert!(says(Runtime::without("")), "mounted where it was to be");
}

/// A container with a terminal whose `/dev` is a volume, which an image or a neighbour has filled.
fn with_dev(specification: &mut Value, dev: &TempDir, script: &str) {
    let mounts = specification["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    mounts.push(bind(dev, "/dev"));
    mounts.push(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}));
    specification["process"]["terminal"] = json!(true);
    specification["process"]["args"] = json!(["sh", "-c", script]);
    specification["linux"]["maskedPaths"] = json!([]);
}

const CONSOLE: &str = "if [ -c /dev/console ]; then echo terminal; else cat /dev/console; fi";

#[test]
fn the_console_is_the_terminal_and_not_what_has_its_name_by_then() {
    let says = |runtime: Runtime| {
        let dev = TempDir::new().unwrap();
        let bundle = runtime.bundle(|specification| with_dev(specification, &dev, CONSOLE));
        write(bundle.path("rootfs/chosen"), "chosen by the neighbour");
        let fifo = bundle.path("fifo");
        let said = runtime.race(
            &bundle,
            "console:/dev/console",
            ("fifo", fifo.to_str().unwrap()),
            || {
                fs::rename(dev.path().join("pts"), dev.path().join("old")).unwrap();
                fs::create_dir(dev.path().join("pts")).unwrap();
                symlink("/chosen", dev.path().join("pts/0")).unwrap();
            },
        );
        assert!(said.success, "{said:?}");
        said.out.trim().to_owned()
    };
    assert_eq!(says(Runtime::without("Console")), "chosen by the neighbour");
    assert_eq!(says(Runtime::without("")), "terminal");
}

#[test]
fn the_terminal_is_bound_to_no_file_that_a_link_names() {
    let is_bound = |runtime: Runtime| {
        let dev = TempDir::new().unwrap();
        let look = "if [ -c /victim ]; then echo bound; fi";
        let bundle = runtime.bundle(|specification| with_dev(specification, &dev, look));
        write(bundle.path("rootfs/victim"), "");
        symlink("/victim", dev.path().join("console")).unwrap();
        let said = runtime.run(&bundle);
        assert_eq!(said.success, said.out.contains("bound"), "{said:?}");
        assert!(
            said.success || said.errors.contains("mount the terminal on /dev/console"),
            "{said:?}"
        );
        said.success
    };
    assert!(is_bound(Runtime::without("Console")));
    assert!(!is_bound(Runtime::without("")));
    assert!(!is_bound(Runtime::released()));
}
