//! What a process is given before its program runs, read where the kernel shows it.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bundle::{Bundle, CONEX, runc};
use serde_json::{Value, json};

/// Output of a script in a container with this specification.
fn output(script: &str, change: impl FnOnce(&mut Value)) -> String {
    let bundle = Bundle::new(|specification| {
        specification["process"]["args"] = json!(["sh", "-c", script]);
        change(specification);
    });
    let output = bundle.succeed(&["run", &bundle.id]);
    bundle.assert_nothing_left();
    output
}

/// What `run` says about a specification that it refuses.
fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let bundle = Bundle::new(change);
    let output = bundle.call(&["run", &bundle.id]);
    assert!(!output.status.success());
    bundle.assert_nothing_left();
    String::from_utf8(output.stderr).unwrap()
}

/// Nice value, real-time priority and policy (proc_pid_stat(5), fields 19, 40 and 41).
fn scheduling(stat: &str) -> [&str; 3] {
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split_whitespace().collect();
    [fields[16], fields[37], fields[38]]
}

#[test]
fn the_scheduler_of_a_process_is_set() {
    let stat = |scheduler: Value| output("cat /proc/self/stat", |spec| spec["process"]["scheduler"] = scheduler);
    let nice = stat(json!({"policy": "SCHED_BATCH", "nice": 7}));
    assert_eq!(scheduling(&nice), ["7", "0", "3"]);
    let idle = stat(json!({"policy": "SCHED_IDLE"}));
    assert_eq!(scheduling(&idle)[2], "5");
    let plain = output("cat /proc/self/stat", |_| ());
    assert_eq!(scheduling(&plain), ["0", "0", "0"], "the control");
    let refused = refusal(|spec| {
        spec["process"]["scheduler"] = json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 1, "period": 1});
    });
    assert!(
        refused.contains("set scheduling policy 6") && refused.contains("invalid argument"),
        "{refused}"
    );
}

#[test]
fn real_time_needs_time_of_the_cgroup_and_gets_it() {
    let fifo = |spec: &mut Value| spec["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 9});
    let with_time = |spec: &mut Value| {
        fifo(spec);
        spec["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": 1000, "realtimePeriod": 1_000_000});
    };
    let (stat, refused) = if Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        (output("cat /proc/self/stat", with_time), refusal(fifo))
    } else {
        // Version 2 divides up no such time; a kernel that does would refuse who has none.
        (output("cat /proc/self/stat", fifo), refusal(with_time))
    };
    assert_eq!(scheduling(&stat), ["0", "9", "1"]);
    let words = ["operation not permitted", "real-time CPU time cannot be set"];
    assert!(words.iter().any(|words| refused.contains(words)), "{refused}");
}

#[test]
fn the_priority_of_block_io_is_set() {
    let script = "busybox ionice -p $$";
    let given = output(script, |spec| {
        spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    });
    assert_eq!(given.trim(), "best-effort: prio 6");
    assert_ne!(output(script, |_| ()), given, "the control");
}

#[test]
fn the_execution_domain_is_set() {
    let machine = |domain: &str| {
        output("busybox uname -m", |spec| {
            spec["linux"]["personality"] = json!({"domain": domain})
        })
    };
    assert_ne!(machine("LINUX32"), machine("LINUX"));
    let flagged =
        refusal(|spec| spec["linux"]["personality"] = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}));
    assert!(
        flagged.contains("linux.personality: flags are not supported"),
        "{flagged}"
    );
}

#[test]
fn the_memory_policy_is_set() {
    let script = "grep -c bind:0 /proc/self/numa_maps || true";
    let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    assert_eq!(output(script, |_| ()).trim(), "0", "the control");
    let script = "grep -c bind=static:0 /proc/self/numa_maps";
    let bound = output(script, |spec| spec["linux"]["memoryPolicy"] = policy);
    assert_ne!(bound.trim(), "0");
    let absent = refusal(|spec| spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "900"}));
    assert!(absent.contains("for the nodes [900]: invalid argument"), "{absent}");
}

#[test]
fn clocks_of_a_time_namespace_are_moved() {
    let change = |spec: &mut Value| {
        spec["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "time"}));
        spec["linux"]["timeOffsets"] =
            json!({"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 5, "nanosecs": 7}});
    };
    let host = fs::read_to_string("/proc/uptime").unwrap();
    let seconds = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
    let moved = output("cat /proc/uptime /proc/self/timens_offsets", change);
    assert!(seconds(&moved) - seconds(&host) >= 1_000_000 && seconds(&moved) - seconds(&host) < 1_000_060);
    let lines: Vec<Vec<&str>> = moved
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines, [["monotonic", "5", "7"], ["boottime", "1000000", "0"]]);

    let bundle = Bundle::new(|spec| {
        spec["process"]["args"] = json!(["sleep", "60"]);
        change(spec);
    });
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    let later = bundle.succeed(&["exec", &bundle.id, "cat", "/proc/uptime"]);
    assert!(
        seconds(&later) - seconds(&host) >= 1_000_000,
        "a later process is in it too"
    );
    bundle.succeed(&["delete", "--force", &bundle.id]);

    let alone = refusal(|spec| spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}}));
    assert!(
        alone.contains("linux.timeOffsets: there is no new time namespace"),
        "{alone}"
    );
}

/// Whether who joins a cgroup loses the CPUs that it was kept on: before Linux 6.2, where the one hierarchy has cpusets.
fn forgets_affinity() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    version < (6, 2) && !Path::new("/sys/fs/cgroup/memory").exists()
}

#[test]
fn a_later_process_is_kept_on_its_cpus() {
    let bundle = Bundle::new(|spec| spec["process"]["args"] = json!(["sleep", "60"]));
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    let cpus = |affinity: Value| {
        let process = json!({
            "cwd": "/", "user": {"uid": 0, "gid": 0}, "execCPUAffinity": affinity,
            "args": ["/bin/grep", "Cpus_allowed_list", "/proc/self/status"]
        });
        fs::write(bundle.path("process.json"), process.to_string()).unwrap();
        let line = bundle.succeed(&["exec", "--process", "process.json", &bundle.id]);
        line.split_whitespace().last().unwrap().to_owned()
    };
    let all = cpus(json!({}));
    assert_ne!(all, "0");
    let kept = if forgets_affinity() { all.as_str() } else { "0" };
    assert_eq!(cpus(json!({"initial": "0"})), kept);
    assert_eq!(cpus(json!({"initial": "0", "final": "1"})), "1");
    bundle.succeed(&["delete", "--force", &bundle.id]);
}

#[test]
fn a_low_limit_of_descriptors_is_the_programs_and_not_that_of_the_way_to_it() {
    let later = |runtime: &Path, limit: u8| {
        let bundle = Bundle::of(runtime, |spec| {
            spec["process"]["args"] = json!(["sleep", "60"]);
            spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": limit, "hard": limit}]);
        });
        assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
        let limit = bundle.succeed(&["exec", &bundle.id, "sh", "-c", "ulimit -n"]);
        bundle.succeed(&["delete", "--force", &bundle.id]);
        limit
    };
    assert_eq!(later(Path::new(CONEX), 8), "8\n");
    assert_eq!(
        later(&runc(), 12),
        "12\n",
        "it needs more on a host with version 2 alone"
    );
}

#[test]
fn a_label_without_its_module_is_an_error() {
    // Either module may be there; what is absent on this host is refused.
    let absent = |path: &str| !Path::new(path).exists();
    let mut refused = 0;
    if absent("/sys/module/apparmor") {
        let words = refusal(|spec| spec["process"]["apparmorProfile"] = json!("docker-default"));
        assert!(
            words.contains("process.apparmorProfile: apparmor is not enabled"),
            "{words}"
        );
        refused += 1;
    }
    if absent("/sys/fs/selinux/enforce") {
        for (place, field) in [("process", "selinuxLabel"), ("linux", "mountLabel")] {
            let words = refusal(|spec| spec[place][field] = json!("system_u:object_r:container_file_t:s0"));
            assert!(words.contains("selinux is disabled or not supported"), "{words}");
        }
        refused += 1;
    }
    assert!(refused > 0, "this host has both modules");
}

/// What a hook of the container sees: its state's status and pid, whether it is the first of a pid namespace, and whether it
/// is in the container's root.
fn seen_by_a_hook(runtime: &Path, point: &str) -> Value {
    // A directory that is the same before and after the root changes.
    let shared = tempfile::TempDir::new().unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let directory = shared.path().to_str().unwrap();
    let script = format!(
        "cat > {directory}/state; echo $PPID > {directory}/parent; ls /bin/busybox /usr > {directory}/root 2>&1"
    );
    let bundle = Bundle::of(runtime, |spec| {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script + "; true"], "env": ["PATH=/bin:/usr/bin"]});
        spec["hooks"] = json!({point: [hook]});
        spec["mounts"].as_array_mut().unwrap().push(json!({
            "destination": directory, "type": "bind", "source": directory, "options": ["bind", "rw"]
        }));
        spec["root"]["readonly"] = json!(false);
        spec["process"]["args"] = json!(["echo", "done"]);
        spec["annotations"] = json!({"key": "value"});
    });
    assert_eq!(bundle.succeed(&["run", &bundle.id]), "done\n");
    bundle.assert_nothing_left();
    let read = |name: &str| fs::read_to_string(shared.path().join(name)).unwrap();
    let state: Value = serde_json::from_str(&read("state")).unwrap();
    assert_eq!(state["bundle"], json!(bundle.directory.path()));
    assert_eq!(state["id"], json!(bundle.id));
    json!({
        "status": state["status"], "pid": state["pid"], "annotations": state["annotations"],
        "parent": read("parent"), "in the container": !read("root").contains("local"),
    })
}

#[test]
fn hooks_of_the_container_run_in_its_namespaces_as_under_runc() {
    for (point, status, inside) in [
        ("createContainer", "creating", false),
        ("startContainer", "created", true),
    ] {
        let ours = seen_by_a_hook(Path::new(CONEX), point);
        assert_eq!(ours, seen_by_a_hook(&runc(), point), "{point}: ours and runc's");
        assert_eq!(
            (ours["status"].clone(), ours["in the container"].clone()),
            (json!(status), json!(inside))
        );
    }
}

#[test]
fn a_hook_of_the_container_that_fails_ends_the_start() {
    let refused = refusal(|spec| spec["hooks"] = json!({"createContainer": [{"path": "/bin/false"}]}));
    assert!(
        refused.contains("createContainer hook /bin/false: exit status: 1"),
        "{refused}"
    );
    let refused = refusal(|spec| spec["hooks"] = json!({"startContainer": [{"path": "sh"}]}));
    assert!(refused.contains("hooks: the path sh is not absolute"), "{refused}");

    let bundle = Bundle::new(|spec| {
        spec["process"]["args"] = json!(["echo", "ran"]);
        spec["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]});
    });
    let output = bundle.call(&["run", &bundle.id]);
    assert_eq!(
        (output.status.code(), output.stdout),
        (Some(126), Vec::new()),
        "the program did not run"
    );
    bundle.assert_nothing_left();
}

/// Runs a script of a shell in the bundle's directory, where `$0` is a runtime and `$1` the container.
fn by_shell(runtime: &Path, script: &str, args: Value) -> (bool, String, String) {
    let bundle = Bundle::of(runtime, |spec| spec["process"]["args"] = args);
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(runtime)
        .arg(&bundle.id)
        .current_dir(bundle.directory.path())
        .output()
        .unwrap();
    bundle.assert_nothing_left();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn descriptors_are_passed_on_as_far_as_they_are_counted() {
    let list = json!(["sh", "-c", "ls /proc/self/fd; busybox readlink /proc/self/fd/3"]);
    let script = "exec 3</dev/zero 4</dev/zero; \"$0\" --root state run --preserve-fds 1 \"$1\"";
    let ours = by_shell(Path::new(CONEX), script, list.clone());
    assert_eq!(ours, by_shell(&runc(), script, list.clone()), "ours and runc's");
    assert!(ours.1.ends_with("/dev/zero\n"), "{ours:?}");
    let none = by_shell(
        Path::new(CONEX),
        "exec 3</dev/zero; \"$0\" --root state run \"$1\"",
        list.clone(),
    );
    assert!(!none.1.contains("/dev/zero"), "the control: {none:?}");
    let absent = by_shell(
        Path::new(CONEX),
        "exec 3<&-; \"$0\" --root state run --preserve-fds 1 \"$1\"",
        list,
    );
    assert!(
        !absent.0 && absent.2.contains("please check that preserved-fd 3 (of 1) is present"),
        "{absent:?}"
    );
}

#[test]
fn sockets_to_listen_on_are_handed_over_and_told_of() {
    let args = json!([
        "sh",
        "-c",
        "echo $LISTEN_FDS $LISTEN_PID $$; busybox readlink /proc/self/fd/3"
    ]);
    let script = "exec 3</dev/zero; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" --root state run \"$1\"";
    let ours = by_shell(Path::new(CONEX), script, args.clone());
    assert_eq!(ours.1, "1 1 1\n/dev/zero\n", "{ours:?}");
    assert_eq!(ours, by_shell(&runc(), script, args.clone()), "ours and runc's");
    let foreign = "exec 3</dev/zero; LISTEN_FDS=1 LISTEN_PID=1 exec \"$0\" --root state run \"$1\"";
    assert_eq!(
        by_shell(Path::new(CONEX), foreign, args).1,
        "1\n",
        "what is another's is not ours to pass on"
    );
}
