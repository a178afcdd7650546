//! The same bundle under this runtime and under runc: what a process sees of itself is the same.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;
#[path = "support/bundles.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundles;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bundle::{Bundle, CONEX, both, runc};
use serde_json::{Value, json};

/// Fields of proc_pid_status(5) that a runtime decides about.
const STATUS: &str =
    "grep -E '^(Umask|Uid|Gid|Groups|NSpgid|NSsid|SigBlk|SigIgn|Cap|NoNewPrivs|Seccomp)' /proc/self/status";

fn compare(script: &str, change: impl Fn(&mut Value)) {
    let (ours, theirs) = both(script, change);
    assert!(!ours.trim().is_empty(), "{script} says nothing");
    assert_eq!(comparable(&ours), comparable(&theirs), "{script}");
}

/// Ignored signals without the two that the C library keeps for itself (32 and 33): Go's runtime changes them.
fn comparable(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("SigIgn:\t") {
        Some(mask) => format!("SigIgn {:x}", u64::from_str_radix(mask, 16).unwrap() & !0x1_8000_0000),
        None => line.to_string(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_status_of_the_first_process_is_the_same() {
    compare(STATUS, |_| {});
}

/// A program that starts the runtime by env(1) with these options.
fn by_env(options: &str, runtime: &Path, place: &Path) -> PathBuf {
    let script = format!("#!/bin/sh\nexec env {options} {} \"$@\"\n", runtime.display());
    let path = place.join("runtime");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn no_signal_that_the_runtime_ignores_or_blocks_is_so_for_the_container() {
    let run = |options: &str, runtime: &Path| {
        let place = tempfile::tempdir().unwrap();
        let told_by_hook = place.path().join("hook");
        let bundle = Bundle::of(&by_env(options, runtime, place.path()), |specification| {
            specification["process"]["args"] = json!(["sleep", "60"]);
            let copy = ["cp", "/proc/self/status", told_by_hook.to_str().unwrap()];
            specification["hooks"] = json!({"prestart": [{"path": "/bin/cp", "args": copy}]});
        });
        assert!(bundle.call_into(&["run", "--detach", &bundle.id], "first"));
        let first = bundle.succeed(&["exec", &bundle.id, "cat", "/proc/1/status"]);
        let later = bundle.succeed(&["exec", &bundle.id, "cat", "/proc/self/status"]);
        bundle.succeed(&["delete", "--force", &bundle.id]);
        bundle.assert_nothing_left();
        [first, later, std::fs::read_to_string(told_by_hook).unwrap()].map(|status| signals(&status))
    };
    let none = ["SigBlk 0, SigIgn 0, SigCgt 0"; 3];
    assert_eq!(run("--ignore-signal --block-signal", Path::new(CONEX)), none);
    // Go's runtime leaves three real-time signals alone, and passes on what is blocked.
    let but_three = ["SigBlk 0, SigIgn 280000000, SigCgt 0"; 3];
    assert_eq!(run("--ignore-signal", &runc()), but_three);
}

/// What proc_pid_status(5) says of signals.
fn signals(status: &str) -> String {
    let masks = ["SigBlk", "SigIgn", "SigCgt"].map(|name| {
        let mut lines = status.lines();
        let mask = lines
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
            .unwrap();
        format!("{name} {:x}", u64::from_str_radix(mask, 16).unwrap())
    });
    masks.join(", ")
}

#[test]
fn the_status_of_another_user_under_a_filter_is_the_same() {
    compare(
        &format!("{STATUS}; id; cat /proc/self/oom_score_adj"),
        bundles::user_under_a_filter,
    );
}

#[test]
fn a_filter_bites_under_both() {
    let script = "mkdir /dev/shm/x 2>&1; echo $?";
    let (ours, theirs) = both(script, bundles::user_under_a_filter);
    assert_eq!(ours, theirs);
    assert!(ours.contains("Function not implemented"), "{ours}");
    let (ours, _) = both(script, |_| {});
    assert_eq!(ours, "0\n", "without the filter it works");
}

#[test]
fn limits_environment_and_directory_are_the_same() {
    compare("cat /proc/self/limits; env; pwd; hostname", bundles::made_directory);
}

#[test]
fn security_labels_are_the_same() {
    compare("cat /proc/self/attr/current 2>&1; echo", |_| {});
}

#[test]
fn devices_and_links_are_the_same() {
    compare(
        "cd /dev; (ls -l; ls -l pts | grep -v total) | sed 's/ [A-Z][a-z][a-z] .*:[0-9][0-9] / /'",
        |_| {},
    );
}

#[test]
fn no_descriptor_leaks() {
    compare("ls /proc/self/fd", |_| {});
}

/// Mounts as `target root type options`, without ids; the cgroups apart.
fn mounts(text: &str) -> BTreeSet<String> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind = fields[fields.iter().position(|field| *field == "-").unwrap() + 1];
        let root = if fields[3].contains("rootfs") {
            "rootfs"
        } else {
            fields[3]
        };
        format!("{} {root} {kind} {} {}", fields[4], fields[5], fields[6])
    };
    text.lines()
        .map(line)
        .filter(|line| !line.starts_with("/sys/fs/cgroup"))
        .collect()
}

#[test]
fn mounts_are_the_same() {
    let (ours, theirs) = both("cat /proc/self/mountinfo", bundles::mounts);
    assert_eq!(mounts(&ours), mounts(&theirs));
}

#[test]
fn the_limits_of_the_cgroup_are_the_same() {
    // Version 2 shows the hierarchy from its root on: the bundle has no cgroup namespace. runc 1.1 has
    // another formula for the weight.
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us \
        2>/dev/null; cd .$(sed -n s/^0:://p /proc/self/cgroup); cat memory.max pids.max cpu.max 2>/dev/null; true";
    compare(script, bundles::limits);
}

#[test]
fn a_process_executed_later_is_confined_the_same() {
    let run = |runtime: &Path| {
        let bundle = Bundle::of(runtime, |specification| {
            bundles::user_under_a_filter(specification);
            // runc 1.1 leaves the umask out for later processes; the specification does not.
            specification["process"]["user"]["umask"] = json!(18);
            specification["process"]["args"] = json!(["sleep", "60"]);
        });
        assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
        // Pids inside differ by what ran before; who confines it does not.
        let status = bundle.succeed(&[
            "exec",
            &bundle.id,
            "sh",
            "-c",
            &format!("{STATUS} | grep -v ^NS; id; hostname"),
        ]);
        let root = bundle.succeed(&[
            "exec",
            "--user",
            "0:0",
            "--cwd",
            "/bin",
            "-e",
            "A=1",
            &bundle.id,
            "sh",
            "-c",
            "id; pwd; echo $A",
        ]);
        let fds = bundle.succeed(&["exec", &bundle.id, "ls", "/proc/self/fd"]);
        bundle.succeed(&["delete", "--force", &bundle.id]);
        bundle.assert_nothing_left();
        (comparable(&status), root, fds)
    };
    let ours = run(Path::new(CONEX));
    assert!(ours.0.contains("Seccomp:\t2"), "{}", ours.0);
    assert_eq!(ours, run(&runc()));
}

#[test]
fn exit_codes_are_the_same() {
    for (script, expected) in [("exit 42", 42), ("kill -9 $$", 137), ("true", 0)] {
        let code = |runtime: &Path| {
            let bundle = Bundle::of(runtime, |specification| {
                // The first process of a pid namespace does not die of its own signals, its child does.
                specification["process"]["args"] = json!(["sh", "-c", format!("sh -c '{script}'; exit $?")]);
            });
            bundle.call(&["run", &bundle.id]).status.code()
        };
        assert_eq!(
            (code(Path::new(CONEX)), code(&runc())),
            (Some(expected), Some(expected)),
            "{script}"
        );
    }
}

#[test]
fn a_missing_program_fails_create_in_the_same_words() {
    let fail = |runtime: &Path, program: &str| {
        let bundle = Bundle::of(runtime, |specification| {
            specification["process"]["args"] = json!([program])
        });
        let output = bundle.call(&["create", &bundle.id]);
        bundle.assert_nothing_left();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (program, words) in [
        ("nosuch", "executable file not found in $PATH"),
        ("/no/such", "no such file or directory"),
        ("/bin", "permission denied"),
    ] {
        let ((our_code, ours), (their_code, theirs)) = (fail(Path::new(CONEX), program), fail(&runc(), program));
        assert_eq!(our_code, their_code, "{program}");
        assert!(theirs.contains(words) || program == "/bin", "{theirs}");
        assert!(ours.contains(words), "{ours}");
    }
}

#[test]
fn a_container_without_shares_of_caches_has_none_to_be_changed() {
    let refused = |runtime: &Path| {
        let bundle = Bundle::of(runtime, |_| {});
        assert!(bundle.call_into(&["create", &bundle.id], "out"));
        let code = ["--l3-cache-schema=L3:0=f", "--mem-bw-schema=MB:0=20"]
            .map(|flag| bundle.call(&["update", flag, &bundle.id]).status.code());
        bundle.succeed(&["delete", "--force", &bundle.id]);
        bundle.assert_nothing_left();
        code
    };
    assert_eq!(refused(Path::new(CONEX)), refused(&runc()));
    assert_eq!(refused(Path::new(CONEX)), [Some(1); 2]);
}
