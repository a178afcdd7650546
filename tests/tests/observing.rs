//! What a container uses and changes, and what is left when it is pruned.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use conex_tests::{Sandbox, eventually};
use serde_json::Value;

fn get(sandbox: &Sandbox, path: &str) -> Value {
    let (status, body) = sandbox.request("GET", path, "");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn stats_tell_what_a_container_uses() {
    let sandbox = Sandbox::new();
    let script = "head -c 20000000 /dev/zero > /dev/shm/held; while :; do :; done";
    let limits = ["--cpus", "0.5", "--memory", "64m", "--pids-limit", "7"];
    let mut run = vec!["run", "-d", "--name", "busy"];
    run.extend(limits);
    run.extend(["busybox", "sh", "-c", script]);
    sandbox.ok(&run);
    let stats = || get(&sandbox, "/containers/busy/stats?stream=false");
    let memory = |stats: &Value| stats["memory_stats"]["usage"].as_u64().unwrap();
    eventually("memory in use", || memory(&stats()) > 20_000_000);
    let stats = stats();
    assert_eq!(stats["name"], "/busy");
    assert_eq!(stats["memory_stats"]["limit"], 64 << 20);
    assert_eq!(
        (&stats["pids_stats"]["current"], &stats["pids_stats"]["limit"]),
        (&1.into(), &7.into())
    );
    let total = |when: &str, field: &str| stats[when][field].as_f64().unwrap();
    let own = |when: &str| stats[when]["cpu_usage"]["total_usage"].as_f64().unwrap();
    let cpus = stats["cpu_stats"]["online_cpus"].as_f64().unwrap();
    let system = total("cpu_stats", "system_cpu_usage") - total("precpu_stats", "system_cpu_usage");
    let share = (own("cpu_stats") - own("precpu_stats")) / system * cpus;
    assert!((0.3..0.7).contains(&share), "half a CPU was allowed, {share} was used");
    assert!(
        stats["cpu_stats"]["throttling_data"]["throttled_periods"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert!(stats["networks"]["eth0"]["rx_bytes"].is_u64(), "{stats}");
    let table = sandbox.ok(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.PIDs}} {{.MemUsage}}",
        "busy",
    ]);
    assert!(table.starts_with("busy 1 ") && table.ends_with("/ 64MiB"), "{table}");
}

#[test]
fn stats_of_what_does_not_run_are_zeros_and_their_stream_ends_with_the_container() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "--name", "idle", "busybox"]);
    let stats = get(&sandbox, "/containers/idle/stats?stream=false");
    assert_eq!(stats["cpu_stats"]["cpu_usage"]["total_usage"], 0);
    assert_eq!(stats["read"], "0001-01-01T00:00:00Z");
    assert!(stats["pids_stats"].as_object().unwrap().is_empty(), "{stats}");
    let (status, body) = sandbox.request("GET", "/containers/idle/stats?stream=true&one-shot=true", "");
    assert_eq!(status, 400);
    assert!(body.contains("cannot have stream=true and one-shot=true"), "{body}");
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| sandbox.request("GET", "/containers/idle/stats", ""));
        std::thread::sleep(Duration::from_millis(1500));
        sandbox.ok(&["rm", "idle"]);
        let (status, body) = stream.join().unwrap();
        assert_eq!((status, body.lines().count()), (200, 2), "{body}");
    });
}

/// Files that the daemon has open beneath such a path.
fn open_files(sandbox: &Sandbox, part: &str) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", sandbox.daemon_usage().pid)).unwrap();
    let paths = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    paths.filter(|path| path.to_string_lossy().contains(part)).count()
}

#[test]
fn files_of_a_stream_of_stats_stay_open_no_longer_than_the_container_runs() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "watched", "busybox", "sleep", "1000"]);
    let told = std::thread::scope(|scope| {
        let stream = scope.spawn(|| sandbox.request("GET", "/containers/watched/stats", ""));
        eventually("files that stay open", || open_files(&sandbox, "memory.stat") == 1);
        std::thread::sleep(Duration::from_millis(1500));
        sandbox.ok(&["stop", "-t", "0", "watched"]);
        assert_eq!(
            open_files(&sandbox, "net/dev"),
            0,
            "it would hold the network namespace"
        );
        eventually("files that are closed", || open_files(&sandbox, "memory.stat") == 0);
        std::thread::sleep(Duration::from_millis(1500));
        sandbox.ok(&["start", "watched"]);
        eventually("files of the next run", || open_files(&sandbox, "memory.stat") == 1);
        std::thread::sleep(Duration::from_millis(1500));
        sandbox.ok(&["rm", "-f", "watched"]);
        let (status, body) = stream.join().unwrap();
        assert_eq!(status, 200, "{body}");
        body
    });
    assert_eq!(open_files(&sandbox, "memory.stat"), 0);
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut runs: Vec<bool> = lines.iter().map(|line| line["pids_stats"]["current"] == 1).collect();
    runs.dedup();
    assert_eq!(runs, [true, false, true], "{told}");
    for pair in lines.windows(2) {
        assert_eq!(pair[0]["read"], pair[1]["preread"], "{told}");
        assert_eq!(
            pair[0]["cpu_stats"]["cpu_usage"], pair[1]["precpu_stats"]["cpu_usage"],
            "{told}"
        );
    }
}

#[test]
fn the_limit_of_open_files_is_raised_for_the_daemon_and_not_for_containers() {
    let limits = "ulimit -Sn 120; ulimit -Hn 150; exec \"$@\"";
    let sandbox = Sandbox::started_by(&["sh", "-c", limits, "sh"]);
    let daemon = sandbox.daemon_usage().pid;
    let told = std::fs::read_to_string(format!("/proc/{daemon}/limits")).unwrap();
    let line = told.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>()[3..5],
        ["150", "150"],
        "{told}"
    );
    assert_eq!(sandbox.run(&[], "ulimit -Sn; ulimit -Hn"), "120\n150");
    // So few descriptors let one stream keep its files open; the others open theirs at each reading.
    sandbox.ok(&["run", "-d", "--name", "watched", "busybox", "sleep", "1000"]);
    std::thread::scope(|scope| {
        let watch = || sandbox.request("GET", "/containers/watched/stats", "").1;
        let streams = [(); 4].map(|()| scope.spawn(watch));
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(open_files(&sandbox, "memory.stat"), 1);
        sandbox.ok(&["rm", "-f", "watched"]);
        for stream in streams {
            let told = stream.join().unwrap();
            let running = told.lines().filter(|line| line.contains("\"current\":1"));
            assert!(running.count() >= 3, "{told}");
        }
    });
}

#[test]
fn changes_are_what_was_added_changed_and_deleted() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "--name", "untouched", "busybox"]);
    assert_eq!(sandbox.ok(&["diff", "untouched"]), "");
    let script = "mkdir -p /new/below; echo x > /new/below/file; rm /bin/vi; echo y >> /etc/passwd; \
                  rm -r /home; mkdir /home; echo z > /home/other";
    sandbox.ok(&["run", "--name", "done", "busybox", "sh", "-c", script]);
    let told = sandbox.ok(&["diff", "done"]);
    let lines: Vec<&str> = told.lines().collect();
    for line in [
        "A /new",
        "A /new/below",
        "A /new/below/file",
        "D /bin/vi",
        "C /bin",
        "C /etc/passwd",
        "A /home/other",
    ] {
        assert!(lines.contains(&line), "{line} in\n{told}");
    }
    for path in [
        "/proc",
        "/sys",
        "/dev",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/bin/sh",
    ] {
        assert!(!lines.iter().any(|line| line[2..] == *path), "{path} in\n{told}");
    }
    let script = "touch /only; sleep 1000";
    sandbox.ok(&["run", "-d", "--name", "runs", "busybox", "sh", "-c", script]);
    eventually("the change", || sandbox.ok(&["diff", "runs"]) == "A /only");
}

#[test]
fn prune_removes_what_does_not_run_and_is_meant() {
    let sandbox = Sandbox::new();
    let write = "head -c 5000 /dev/zero > /file";
    sandbox.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "1000"]);
    for (name, label) in [("kept", "keep=yes"), ("marked", "mark"), ("plain", "other")] {
        sandbox.ok(&["run", "--name", name, "--label", label, "busybox", "sh", "-c", write]);
    }
    let prune = |filters: &str| -> Value {
        let (status, body) = sandbox.request("POST", &format!("/containers/prune?filters={filters}"), "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let names = || sandbox.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    assert!(prune("%7B%22until%22%3A%5B%221h%22%5D%7D")["ContainersDeleted"].is_null());
    let marked = prune("%7B%22label%22%3A%5B%22mark%22%5D%7D");
    assert_eq!(marked["ContainersDeleted"].as_array().unwrap().len(), 1);
    assert_eq!(marked["SpaceReclaimed"], 5000);
    assert_eq!(names(), "plain\nkept\nruns");
    prune("%7B%22label%21%22%3A%5B%22keep%3Dyes%22%5D%7D");
    assert_eq!(names(), "kept\nruns");
    assert!(
        sandbox
            .ok(&["container", "prune", "-f"])
            .contains("Total reclaimed space: 5kB")
    );
    assert_eq!(names(), "runs");
    for (filters, words) in [
        ("%7B%22colour%22%3A%5B%22red%22%5D%7D", "invalid filter 'colour'"),
        (
            "%7B%22until%22%3A%5B%22never%22%5D%7D",
            "failed to parse value as time or duration",
        ),
    ] {
        let (status, body) = sandbox.request("POST", &format!("/containers/prune?filters={filters}"), "");
        assert_eq!((status, body.contains(words)), (400, true), "{body}");
    }
}

#[test]
fn a_stop_whose_client_went_away_is_carried_through() {
    let sandbox = Sandbox::new();
    let deaf = "trap '' TERM; echo ready; while :; do sleep 1; done";
    sandbox.ok(&["run", "-d", "--name", "deaf", "busybox", "sh", "-c", deaf]);
    eventually("the trap", || sandbox.ok(&["logs", "deaf"]) == "ready");
    let mut client = UnixStream::connect(sandbox.socket()).unwrap();
    let request = "POST /containers/deaf/stop?t=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(client);
    let state = || sandbox.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "deaf"]);
    eventually("the end", || state() == "exited 137");
}
