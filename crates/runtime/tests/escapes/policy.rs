//! What a specification guards: the bundle without it is the control.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::weakened::Runtime;

/// Whether a script ends well in the container of a changed specification.
fn works(script: &str, change: impl FnOnce(&mut Value)) -> bool {
    let runtime = Runtime::released();
    let bundle = runtime.bundle(|specification| {
        specification["process"]["args"] = json!(["sh", "-c", script]);
        change(specification);
    });
    runtime.run(&bundle).success
}

#[test]
fn parameters_of_the_whole_kernel_are_not_written() {
    // The value that it has: whoever succeeds changes nothing.
    let write = "file=/proc/sys/kernel/core_pattern; value=$(cat $file); echo \"$value\" > $file";
    assert!(works(write, |specification| specification["linux"]["readonlyPaths"] =
        json!([])));
    assert!(!works(write, |_| {}));
}

#[test]
fn limits_of_a_cgroup_are_not_lifted_from_inside() {
    let lift =
        "cd /sys/fs/cgroup; cd pids 2>/dev/null || cd .$(sed -n s/^0:://p /proc/self/cgroup); echo max > pids.max";
    let limited = |specification: &mut Value| specification["linux"]["resources"]["pids"] = json!({"limit": 50});
    assert!(works(lift, |specification| {
        limited(specification);
        let mounts = specification["mounts"].as_array_mut().unwrap();
        let cgroup = mounts.iter_mut().find(|mount| mount["type"] == "cgroup").unwrap();
        cgroup["options"] = json!(["nosuid", "noexec", "nodev", "relatime", "rw"]);
    }));
    assert!(!works(lift, limited));
}

#[test]
fn nodes_of_devices_that_are_not_given_cannot_be_opened() {
    // The kernel's log, which root may open for writing.
    let open = "busybox mknod /scratch/node c 1 11 && : > /scratch/node";
    let make = |specification: &mut Value| {
        for set in ["bounding", "effective", "permitted"] {
            specification["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
        }
        let scratch = json!({"destination": "/scratch", "type": "tmpfs", "source": "tmpfs"});
        specification["mounts"].as_array_mut().unwrap().push(scratch);
    };
    assert!(works(open, |specification| {
        make(specification);
        specification["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    }));
    assert!(!works(open, make));
}

/// `conex-sys` tests that keys of another session are out of reach.
#[test]
fn each_container_has_a_session_keyring_of_its_own() {
    let own = |arguments: &[&str]| {
        let bundle = Bundle::new(|specification| {
            specification["linux"]["maskedPaths"] = json!([]);
            specification["process"]["args"] = json!(["cat", "/proc/keys"]);
        });
        let keys = bundle.succeed(&[&["run"], arguments, &[&bundle.id]].concat());
        keys.contains(&format!("_ses.{}", bundle.id))
    };
    assert!(!own(&["--no-new-keyring"]));
    assert!(own(&[]));
}

#[test]
fn accounts_of_an_image_that_are_a_fifo_hold_nothing_up() {
    let bundle = Bundle::new(|specification| specification["process"]["args"] = json!(["pwd"]));
    fs::create_dir_all(bundle.path("rootfs/etc")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mkfifoat(rustix::fs::CWD, bundle.path("rootfs/etc/passwd"), mode).unwrap();
    let mut running = bundle.command(&["run", &bundle.id]).spawn().unwrap();
    for _ in 0..1000 {
        if running.try_wait().unwrap().is_some_and(|status| status.success()) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    panic!("it waits for accounts");
}

#[test]
fn released_programs_have_no_switch() {
    let has_switch = |runtime: Runtime| {
        let program = fs::read(&runtime.program).unwrap();
        program
            .windows(b"CONEX_WITHOUT_GUARD".len())
            .any(|bytes| bytes == b"CONEX_WITHOUT_GUARD")
    };
    assert!(has_switch(Runtime::without("")));
    assert!(!has_switch(Runtime::released()));
}
