//! What is done to a container that runs, beside runc.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bundle::{Bundle, CONEX, runc};
use serde_json::{Value, json};

/// A container that runs a script, under either runtime.
fn running(runtime: &Path, script: &str) -> Bundle {
    let bundle = Bundle::of(runtime, |specification| {
        specification["process"]["args"] = json!(["sh", "-c", script]);
    });
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    bundle
}

/// Whether controllers have hierarchies of their own.
fn has_version_1() -> bool {
    Path::new("/sys/fs/cgroup/memory").exists()
}

/// The container's cgroup of a controller.
fn cgroup(controller: &str, bundle: &Bundle) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchy = if has_version_1() {
        root.join(controller)
    } else {
        root.to_owned()
    };
    hierarchy.join(&bundle.id)
}

/// A command's success, output and error, without what differs from run to run.
fn told(bundle: &Bundle, arguments: &[&str]) -> (bool, String, String) {
    let output = bundle.call(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    // runc has a line of its logger's form around the words.
    let words = errors.split_once("msg=\"").map_or(errors.as_str(), |(_, words)| words);
    let words = words.trim_start_matches("conex-runtime: ").trim().trim_end_matches('"');
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
        words.replace("\\\"", "\"").replace(&bundle.id, "ID"),
    )
}

/// Does the same to a container of each runtime, and compares what is told.
fn compare<T: PartialEq + std::fmt::Debug>(script: &str, act: impl Fn(&Bundle) -> T) {
    let [ours, theirs] = [PathBuf::from(CONEX), runc()].map(|runtime| act(&running(&runtime, script)));
    assert_eq!(ours, theirs, "ours and runc's");
}

#[test]
fn pausing_stops_every_process_until_it_is_undone() {
    let count = |bundle: &Bundle| fs::read_to_string(bundle.path("log")).unwrap().len();
    compare("while :; do echo .; sleep 0.01; done", |bundle| {
        bundle.wait_for("log", ".");
        let refused = told(bundle, &["resume", &bundle.id]);
        let paused = told(bundle, &["pause", &bundle.id]);
        let before = count(bundle);
        let status = bundle.state()["status"].clone();
        let again = told(bundle, &["pause", &bundle.id]);
        let exec = told(bundle, &["exec", &bundle.id, "sh"]);
        let (deleted, _, _) = told(bundle, &["delete", &bundle.id]);
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(count(bundle), before, "nothing ran meanwhile");
        let resumed = told(bundle, &["resume", &bundle.id]);
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(count(bundle) > before, "it goes on");
        (
            refused,
            paused,
            status,
            again,
            exec,
            deleted,
            resumed,
            bundle.state()["status"].clone(),
        )
    });
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    let bundle = running(Path::new(CONEX), "sleep 60");
    bundle.succeed(&["pause", &bundle.id]);
    bundle.succeed(&["kill", &bundle.id, "KILL"]);
    for _ in 0..200 {
        if bundle.state()["status"] == "stopped" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(bundle.state()["status"], "stopped");
    bundle.succeed(&["delete", &bundle.id]);
    bundle.assert_nothing_left();

    let bundle = running(Path::new(CONEX), "sleep 60");
    bundle.succeed(&["pause", &bundle.id]);
    bundle.succeed(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn the_processes_of_a_container_are_listed() {
    compare("sleep 61 & echo up; sleep 60", |bundle| {
        bundle.wait_for("log", "up");
        let pids: Vec<i32> = serde_json::from_str(&bundle.succeed(&["ps", "--format", "json", &bundle.id])).unwrap();
        assert_eq!(bundle.state()["pid"], pids[0]);
        let table = bundle.succeed(&["ps", &bundle.id, "-o", "pid,args"]);
        let mut lines: Vec<&str> = table
            .lines()
            .map(|line| line.trim_start_matches([' ', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']))
            .collect();
        lines.sort_unstable();
        let lines = lines.join("\n");
        (
            pids.len(),
            lines,
            told(bundle, &["ps", "--format", "xml", &bundle.id]).0,
        )
    });
}

#[test]
fn limits_are_changed_in_the_kernel_and_remembered() {
    let files: &[(&str, &str)] = if has_version_1() {
        &[
            ("memory", "memory.limit_in_bytes"),
            ("memory", "memory.soft_limit_in_bytes"),
            ("cpu", "cpu.shares"),
            ("cpu", "cpu.cfs_quota_us"),
            ("cpu", "cpu.cfs_period_us"),
            ("pids", "pids.max"),
        ]
    } else {
        // Not the weight: runc 1.1 has another formula for it.
        &[
            ("", "memory.max"),
            ("", "memory.low"),
            ("", "cpu.max"),
            ("", "pids.max"),
        ]
    };
    let read = |bundle: &Bundle| -> Vec<String> {
        let paths = files
            .iter()
            .map(|(controller, file)| cgroup(controller, bundle).join(file));
        paths
            .map(|path| fs::read_to_string(path).unwrap().trim().to_owned())
            .collect()
    };
    compare("sleep 60", |bundle| {
        let before = read(bundle);
        let flags = [
            "--memory",
            "64m",
            "--memory-reservation",
            "32m",
            "--cpu-share",
            "512",
            "--pids-limit",
            "20",
        ];
        bundle.succeed(&[&["update"], &flags[..], &[&bundle.id]].concat());
        let by_flags = read(bundle);
        // What the kernel counts as used is more than a page. Version 2 kills until it is less.
        let refused = has_version_1().then(|| told(bundle, &["update", "--memory", "4k", &bundle.id]).0);
        fs::write(
            bundle.path("limits.json"),
            json!({"cpu": {"quota": 20000, "period": 50000}}).to_string(),
        )
        .unwrap();
        bundle.succeed(&["update", "--resources", "limits.json", &bundle.id]);
        (before, by_flags, refused, read(bundle))
    });
}

#[test]
fn a_hierarchy_that_a_container_was_not_in_is_joined_for_a_new_limit_and_left_at_the_end() {
    let bundle = running(Path::new(CONEX), "sleep 60");
    let cpuset = cgroup("cpuset", &bundle);
    assert_eq!(cpuset.exists(), !has_version_1(), "the one hierarchy is joined always");
    bundle.succeed(&["update", "--cpuset-cpus", "0", &bundle.id]);
    assert_eq!(fs::read_to_string(cpuset.join("cpuset.cpus")).unwrap().trim(), "0");
    let pid = bundle.state()["pid"].to_string();
    assert_eq!(fs::read_to_string(cpuset.join("cgroup.procs")).unwrap().trim(), pid);
    let affinity = bundle.succeed(&["exec", &bundle.id, "grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(
        affinity.split_whitespace().last(),
        Some("0"),
        "who comes later joins it"
    );
    bundle.succeed(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn what_a_container_uses_is_told_in_runcs_shape() {
    let shape = |bundle: &Bundle| {
        // Until its program is executed, runc has threads in the cgroup.
        bundle.wait_for("log", "up");
        let event: Value = serde_json::from_str(&bundle.succeed(&["events", "--stats", &bundle.id])).unwrap();
        let data = &event["data"];
        assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
        assert_eq!(data["pids"]["current"], 1);
        let memory = &data["memory"];
        assert!(memory["usage"]["usage"].as_u64().unwrap() > 0);
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let raw = names(&memory["raw"]);
        let cpus = data["cpu"]["usage"]["percpu"].as_array().map(Vec::len);
        (
            event["type"].clone(),
            names(&memory["usage"]),
            names(&memory["swap"]),
            raw,
            cpus,
        )
    };
    compare("echo up; exec sleep 60", shape);
}

#[test]
fn that_a_container_is_short_of_memory_is_told_at_once() {
    let bundle = Bundle::new(|specification| {
        let script = "cat /dev/fifo; exec 2>/dev/null; x=a; while :; do x=$x$x; done";
        specification["process"]["args"] = json!(["sh", "-c", script]);
        specification["linux"]["resources"]["memory"] = json!({"limit": 8 << 20, "swap": 8 << 20});
        specification["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/dev/fifo", "type": "bind", "source": "fifo", "options": ["bind"]
        }));
    });
    let fifo = bundle.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    let mut events = bundle.command(&["events", "--interval", "100ms", &bundle.id]);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["type"], "stats");
    fs::write(&fifo, "go").unwrap();
    let kinds: Vec<Value> = lines
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["type"].clone())
        .collect();
    assert!(kinds.contains(&json!("oom")), "{kinds:?}");
    assert!(events.wait().unwrap().success(), "it ends with the container");
    bundle.succeed(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn a_stopped_container_is_refused_in_runcs_words() {
    compare("true", |bundle| {
        for _ in 0..200 {
            if bundle.state()["status"] == "stopped" {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        ["pause", "resume", "update", "events"].map(|command| told(bundle, &[command, &bundle.id]))
    });
}

#[test]
fn a_kill_reaches_every_process_where_the_pids_are_the_hosts() {
    let bundle = Bundle::new(|specification| {
        specification["process"]["args"] = json!(["sh", "-c", "sleep 60 & echo up; sleep 61"]);
        let namespaces = specification["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    bundle.wait_for("log", "up");
    bundle.succeed(&["kill", &bundle.id, "KILL"]);
    let left = || bundle.succeed(&["ps", "--format", "json", &bundle.id]);
    for _ in 0..200 {
        if left().trim() == "[]" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(left().trim(), "[]");
    bundle.succeed(&["delete", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn a_later_process_goes_below_the_cgroup_where_it_is_told_to() {
    compare("sleep 100", |bundle| {
        let root = Path::new("/sys/fs/cgroup");
        let v1 = root.join("pids").exists();
        // Runtimes join different ones of version 1.
        let controllers = if v1 { "(pids|memory)" } else { "" };
        let script = format!("grep -E ':{controllers}:' /proc/self/cgroup");
        let points = if v1 {
            vec![root.join("pids"), root.join("memory")]
        } else {
            vec![root.to_owned()]
        };
        for point in &points {
            fs::create_dir(point.join(&bundle.id).join("sub")).unwrap();
        }
        let exec = |flags: &[&str]| {
            let line = [&["exec"], flags, &[&bundle.id, "sh", "-c", &script]].concat();
            let (done, out, _) = told(bundle, &line);
            (done, out.replace(&bundle.id, "ID"))
        };
        let mut all = vec![
            exec(&["--cgroup", "/"]),
            exec(&["--cgroup", "nosuch"]),
            exec(&["--cgroup", "../x"]),
        ];
        if v1 {
            all.push(exec(&["--cgroup", "pids,memory:sub"]));
            all.push(exec(&["--cgroup", "pids:sub", "--cgroup", "memory:/"]));
            all.push(exec(&["--cgroup", "pids:sub", "--cgroup", "sub"]));
            all.push(exec(&["--cgroup", "nosuch:sub"]));
        } else {
            all.push(exec(&["--cgroup", "sub"]));
        }
        assert!(
            all.iter().any(|(done, out)| *done && out.contains("/ID/sub")),
            "{all:?}"
        );
        all
    });
}

#[test]
fn a_later_process_finds_its_directory_or_fails() {
    compare("sleep 100", |bundle| {
        let exec = |cwd: &str| told(bundle, &["exec", "--cwd", cwd, &bundle.id, "pwd"]);
        [exec("/bin"), exec("/proc/nowhere")]
    });
}

#[test]
fn what_the_runtime_is_signalled_in_the_foreground_goes_to_the_process() {
    let script = "trap 'echo got HUP' HUP; trap 'echo got TERM; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let signalled = |bundle: &Bundle, arguments: &[&str], file: &str| {
        let output = fs::File::create(bundle.path(file)).unwrap();
        let mut command = bundle.command(arguments);
        let mut foreground = command.stdin(Stdio::null()).stdout(output).spawn().unwrap();
        bundle.wait_for(file, "up");
        // Its window begins after the container's.
        std::thread::sleep(std::time::Duration::from_millis(200));
        let pid = rustix::process::Pid::from_child(&foreground);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        bundle.wait_for(file, "got HUP");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        (
            foreground.wait().unwrap().code(),
            fs::read_to_string(bundle.path(file)).unwrap(),
        )
    };
    let act = |runtime: &Path| {
        let bundle = Bundle::of(runtime, |specification| {
            specification["process"]["args"] = json!(["sh", "-c", script]);
        });
        let run = signalled(&bundle, &["run", &bundle.id], "run");
        bundle.assert_nothing_left();
        assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
        let exec = signalled(&bundle, &["exec", &bundle.id, "sh", "-c", script], "exec");
        (run, exec)
    };
    let ours = act(Path::new(CONEX));
    assert_eq!(ours.0, (Some(3), "up\ngot HUP\ngot TERM\n".to_owned()));
    assert_eq!(ours, act(&runc()), "ours and runc's");
}

#[test]
fn capabilities_that_nobody_knows_are_passed_over_with_a_warning() {
    let run = |runtime: &Path| {
        let bundle = Bundle::of(runtime, |specification| {
            specification["process"]["args"] = json!(["grep", "Cap", "/proc/self/status"]);
            for set in ["bounding", "effective", "permitted"] {
                let names = specification["process"]["capabilities"][set].as_array_mut().unwrap();
                names.push(json!("CAP_NOSUCH"));
            }
        });
        let output = bundle.call(&["run", &bundle.id]);
        let warned = String::from_utf8(output.stderr).unwrap().contains("CAP_NOSUCH");
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            warned,
        )
    };
    let ours = run(Path::new(CONEX));
    assert!(ours.0 && ours.2, "{ours:?}");
    assert_eq!(ours, run(&runc()), "ours and runc's");
}
