//! procfs and what hides it: CVE-2025-31133, CVE-2025-52881, CVE-2019-16884, CVE-2019-19921, CVE-2023-28642.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::weakened::{Runtime, write};

/// Hides one file that is in each procfs and not empty.
fn masking(specification: &mut Value, script: &str) {
    specification["linux"]["maskedPaths"] = json!(["/proc/version"]);
    specification["process"]["args"] = json!(["sh", "-c", script]);
}

#[test]
fn what_hides_a_file_is_not_chosen_by_the_image() {
    let says = |runtime: Runtime| {
        let bundle = runtime.bundle(|specification| {
            masking(specification, "cat /proc/version");
            // The `/dev` is the image's.
            let mounts = specification["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        });
        write(bundle.path("rootfs/chosen"), "chosen by the image");
        fs::create_dir(bundle.path("rootfs/dev")).unwrap();
        symlink("/chosen", bundle.path("rootfs/dev/null")).unwrap();
        let said = runtime.run(&bundle);
        assert!(
            said.success || said.errors.contains("/dev/null is not the null device"),
            "{said:?}"
        );
        said.out
    };
    assert_eq!(says(Runtime::without("NullDevice")), "chosen by the image");
    assert_eq!(says(Runtime::without("")), "");
    assert_eq!(says(Runtime::released()), "");
}

#[test]
fn what_is_hidden_stays_so_when_proc_is_exchanged_meanwhile() {
    let read = |runtime: Runtime, is_link: bool| {
        let bundle = runtime.bundle(|specification| masking(specification, "cat /other/version"));
        let root = bundle.path("rootfs");
        if is_link {
            fs::create_dir(root.join("other")).unwrap();
            symlink("/other", root.join("proc")).unwrap();
        }
        let exchange = || {
            if is_link {
                fs::remove_file(root.join("proc")).unwrap();
            } else {
                // The mount goes along, as it is one of another namespace.
                fs::rename(root.join("proc"), root.join("other")).unwrap();
            }
            fs::create_dir(root.join("proc")).unwrap();
        };
        runtime.race(&bundle, "mask:/proc/version", ("rootfs/fifo", "/fifo"), exchange)
    };
    for is_link in [true, false] {
        let said = read(Runtime::without("KernelMounts"), is_link);
        assert!(said.out.starts_with("Linux version"), "{said:?}");
    }
    let said = read(Runtime::without(""), false);
    assert!(said.success && said.out.is_empty(), "{said:?}");
}

#[test]
fn proc_is_not_mounted_on_a_link() {
    let run = |runtime: Runtime| {
        let bundle = runtime.bundle(|specification| masking(specification, "echo /other/version"));
        fs::create_dir(bundle.path("rootfs/other")).unwrap();
        symlink("/other", bundle.path("rootfs/proc")).unwrap();
        let said = runtime.run(&bundle);
        assert!(said.success || said.errors.contains("ordinary directory"), "{said:?}");
        said.success
    };
    assert!(run(Runtime::without("KernelMounts")));
    assert!(!run(Runtime::without("")));
    assert!(!run(Runtime::released()));
}

/// A volume of the image in the place of procfs, which is elsewhere.
fn fake(specification: &mut Value, proc: &TempDir, script: &str) {
    let mounts = specification["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/proc");
    mounts.push(json!({"destination": "/proc", "type": "bind", "source": proc.path(), "options": ["bind"]}));
    mounts.push(json!({"destination": "/real", "type": "proc", "source": "proc"}));
    specification["linux"]["readonlyPaths"] = json!([]);
    specification["process"]["args"] = json!(["sh", "-c", script]);
}

#[test]
fn no_kernel_parameter_is_written_where_a_link_leads() {
    let says = |runtime: Runtime| {
        let proc = TempDir::new().unwrap();
        let bundle = runtime.bundle(|specification| {
            fake(specification, &proc, "cat /real/sys/net/ipv4/ip_default_ttl");
            specification["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        });
        fs::create_dir_all(proc.path().join("sys/net/ipv4")).unwrap();
        symlink(
            "/real/sys/net/ipv4/ip_default_ttl",
            proc.path().join("sys/net/ipv4/ip_forward"),
        )
        .unwrap();
        let said = runtime.run(&bundle);
        assert!(
            said.success || said.errors.contains("/proc is not a procfs"),
            "{said:?}"
        );
        said.out.trim().to_owned()
    };
    assert_eq!(
        says(Runtime::without("KernelMounts")),
        "1",
        "another parameter has got the value"
    );
    assert_eq!(says(Runtime::without("")), "");
    assert_eq!(says(Runtime::released()), "");
}

#[test]
fn nothing_of_the_runtimes_own_is_written_to_a_file_that_only_looks_like_procs() {
    let says = |runtime: Runtime| {
        let proc = TempDir::new().unwrap();
        let bundle = runtime.bundle(|specification| {
            fake(
                specification,
                &proc,
                "cat /real/self/oom_score_adj /proc/self/oom_score_adj",
            );
            specification["process"]["oomScoreAdj"] = json!(500);
        });
        write(proc.path().join("self/oom_score_adj"), "fake\n");
        runtime.run(&bundle).out
    };
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(says(Runtime::without("KernelMounts")), format!("{own}500"));
    assert_eq!(says(Runtime::without("")), "500\nfake\n");
    assert_eq!(says(Runtime::released()), "500\nfake\n");
}
