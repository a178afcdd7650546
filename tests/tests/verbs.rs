//! What is done to containers beyond starting and ending them: rename, pause, top, update, prune.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use conex_tests::{Sandbox, eventually};

/// Starts a container that sleeps.
fn sleeper(sandbox: &Sandbox, name: &str, options: &[&str]) -> String {
    let arguments: Vec<&str> = ["run", "-d", "--name", name]
        .into_iter()
        .chain(options.iter().copied())
        .chain(["busybox", "sleep", "10000"])
        .collect();
    sandbox.ok(&arguments)
}

fn refused(sandbox: &Sandbox, method: &str, path: &str, body: &str, status: u16, words: &str) {
    let (found, answer) = sandbox.request(method, path, body);
    assert!(
        found == status && answer.contains(words),
        "{method} {path}: {found} {answer}, not {status} {words}"
    );
}

#[test]
fn a_renamed_container_has_its_new_name_everywhere_and_the_old_one_is_free() {
    let mut sandbox = Sandbox::new();
    let id = sleeper(&sandbox, "one", &[]);
    sandbox.ok(&["create", "--name", "two", "busybox"]);
    for (name, status, words) in [
        ("", 400, "Neither old nor new names may be empty"),
        (
            "one",
            400,
            "Renaming a container with the same name as its current name",
        ),
        (
            "two",
            409,
            "Error when allocating new name: Conflict. The container name \\\"/two\\\" is already in use by container",
        ),
        (
            "a%20b",
            400,
            "Error when allocating new name: Invalid container name (/a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        ),
    ] {
        let path = format!("/containers/one/rename?name={name}");
        refused(&sandbox, "POST", &path, "", status, words);
    }
    sandbox.ok(&["rename", "one", "three"]);
    assert_eq!(sandbox.ok(&["ps", "--format", "{{.Names}}"]), "three");
    assert_eq!(
        sandbox.ok(&["inspect", "--format", "{{.Name}} {{.Id}}", "three"]),
        format!("/three {id}")
    );
    sandbox.ok(&["create", "--name", "one", "busybox"]);
    let since = "1";
    let until = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    let events = sandbox.ok(&[
        "events",
        "--since",
        since,
        "--until",
        &until,
        "--filter",
        "event=rename",
    ]);
    assert!(
        events.contains("name=three") && events.contains("oldName=/one"),
        "{events}"
    );
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(sandbox.ok(&["inspect", "--format", "{{.Id}}", "three"]), id);
    assert_ne!(sandbox.ok(&["inspect", "--format", "{{.Id}}", "one"]), id);
    assert_eq!(sandbox.ok(&["exec", "three", "echo", "still there"]), "still there");
}

#[test]
fn a_rename_that_is_cut_off_has_happened_or_not() {
    for (point, name) in [("rename.before-record", "old"), ("rename.after-record", "new")] {
        let mut sandbox = Sandbox::new();
        sandbox.ok(&["create", "--name", "old", "busybox"]);
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        sandbox.docker(&["rename", "old", "new"]);
        sandbox.await_death();
        sandbox.start(&[]);
        assert_eq!(sandbox.ok(&["ps", "-a", "--format", "{{.Names}}"]), name, "{point}");
        let other = if name == "old" { "new" } else { "old" };
        sandbox.ok(&["create", "--name", other, "busybox"]);
    }
}

#[test]
fn a_paused_container_stands_still_until_it_goes_on() {
    let mut sandbox = Sandbox::new();
    let script = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done";
    sandbox.ok(&["run", "-d", "--name", "clock", "busybox", "sh", "-c", script]);
    let ticks = |sandbox: &Sandbox| sandbox.ok(&["logs", "clock"]).lines().count();
    eventually("a tick", || ticks(&sandbox) > 2);
    sandbox.ok(&["pause", "clock"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let before = ticks(&sandbox);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(ticks(&sandbox), before);
    assert_eq!(
        sandbox.ok(&[
            "inspect",
            "--format",
            "{{.State.Status}} {{.State.Running}} {{.State.Paused}}",
            "clock"
        ]),
        "paused true true"
    );
    assert!(sandbox.ok(&["ps", "--format", "{{.Status}}"]).ends_with(" (Paused)"));
    assert_eq!(sandbox.ok(&["ps", "-q", "--filter", "status=running"]), "");
    assert_eq!(
        sandbox.ok(&["info", "--format", "{{.ContainersRunning}} {{.ContainersPaused}}"]),
        "0 1"
    );
    // A daemon that comes later finds it as it is.
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(
        sandbox.ok(&["inspect", "--format", "{{.State.Status}}", "clock"]),
        "paused"
    );
    sandbox.ok(&["unpause", "clock"]);
    eventually("a tick", || ticks(&sandbox) > before);
    refused(&sandbox, "POST", "/containers/clock/unpause", "", 500, "is not paused");
    sandbox.ok(&["kill", "clock"]);
    refused(&sandbox, "POST", "/containers/clock/pause", "", 409, "is not running");
}

#[test]
fn what_would_wait_for_a_frozen_process_is_refused() {
    let sandbox = Sandbox::new();
    sleeper(&sandbox, "clock", &[]);
    sandbox.ok(&["pause", "clock"]);
    for (method, path, body, words) in [
        ("POST", "/containers/clock/pause", "", "is already paused"),
        (
            "POST",
            "/containers/clock/start",
            "",
            "cannot start a paused container, try unpause instead",
        ),
        (
            "POST",
            "/containers/clock/exec",
            r#"{"Cmd":["true"]}"#,
            "Container clock is paused, unpause the container before exec",
        ),
        (
            "POST",
            "/containers/clock/attach?stream=1",
            "",
            "container clock is paused, unpause the container before attach",
        ),
        (
            "DELETE",
            "/containers/clock",
            "",
            "container is paused and must be unpaused first",
        ),
    ] {
        refused(&sandbox, method, path, body, 409, words);
    }
}

#[test]
fn a_paused_container_can_be_ended() {
    let mut sandbox = Sandbox::new();
    for (name, end) in [
        ("killed", ["kill", "killed"].as_slice()),
        ("stopped", &["stop", "-t", "0", "stopped"]),
        ("restarted", &["restart", "-t", "0", "restarted"]),
        ("removed", &["rm", "-f", "removed"]),
    ] {
        sleeper(&sandbox, name, &[]);
        sandbox.ok(&["pause", name]);
        sandbox.ok(end);
    }
    let form = "{{.Names}} {{.State}}";
    let mut states: Vec<String> = sandbox
        .ok(&["ps", "-a", "--format", form])
        .lines()
        .map(str::to_owned)
        .collect();
    states.sort();
    assert_eq!(states, ["killed exited", "restarted running", "stopped exited"]);
    // One whose monitor died while it was frozen is killed as well.
    sandbox.ok(&["pause", "restarted"]);
    sandbox.kill();
    sandbox.start(&[]);
    sandbox.ok(&["rm", "-f", "restarted"]);
    eventually("no cgroups", || sandbox.cgroups().is_empty());
}

#[test]
fn top_shows_the_containers_processes_and_no_others() {
    let sandbox = Sandbox::new();
    sleeper(&sandbox, "one", &[]);
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "two",
        "busybox",
        "sh",
        "-c",
        "sleep 3333 & exec sleep 4444",
    ]);
    eventually("both processes", || sandbox.ok(&["top", "two"]).lines().count() == 3);
    let pid = sandbox.ok(&["inspect", "--format", "{{.State.Pid}}", "two"]);
    let top = sandbox.ok(&["top", "two", "-eo", "pid,args"]);
    let mut lines: Vec<String> = top
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines[1..].sort_by_key(|line| line.ends_with("3333"));
    assert_eq!(lines[0], "PID COMMAND");
    assert_eq!(lines[1], format!("{pid} sleep 4444"));
    assert!(lines[2].ends_with("sleep 3333") && lines.len() == 3, "{top}");
    // A tree takes no selection of processes.
    assert!(sandbox.ok(&["top", "two", "faxo", "pid,args"]).contains("sleep 3333"));
    assert!(sandbox.ok(&["top", "two"]).starts_with("UID"));
    sandbox.ok(&["create", "--name", "off", "busybox"]);
    refused(&sandbox, "GET", "/containers/off/top", "", 409, "is not running");
    let path = "/containers/two/top?ps_args=-o%20ppid=PID";
    refused(
        &sandbox,
        "GET",
        path,
        "",
        500,
        "specifying \\\"ppid=PID\\\" is not allowed",
    );
    let path = "/containers/two/top?ps_args=-eo%20comm";
    refused(&sandbox, "GET", path, "", 500, "Couldn't find PID field in ps output");
    let path = "/containers/two/top?ps_args=nosuch";
    refused(
        &sandbox,
        "GET",
        path,
        "",
        500,
        "ps: error: unknown user-defined format specifier",
    );
}

/// A file of a container's control group, of version 1 or 2.
fn cgroup_file(sandbox: &Sandbox, id: &str, names: [&str; 2]) -> String {
    let mut directories = sandbox.cgroups();
    directories.retain(|directory| directory.ends_with(id));
    let files = directories
        .iter()
        .flat_map(|directory| names.map(|name| directory.join(name)));
    let found = files.filter_map(|file| std::fs::read_to_string(file).ok()).next();
    found.unwrap_or_default().trim().to_owned()
}

#[test]
fn limits_are_changed_while_a_container_runs_and_kept() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.ok(&["run", "-d", "--name", "one", "-m", "64m", "busybox", "sleep", "1000"]);
    let memory = || cgroup_file(&sandbox, &id, ["memory.limit_in_bytes", "memory.max"]);
    let pids = || cgroup_file(&sandbox, &id, ["pids.max", "pids.max"]);
    assert_eq!(memory(), "67108864");
    // Raised although nobody speaks of swap, and lowered again.
    sandbox.ok(&["update", "-m", "256m", "--pids-limit", "50", "--cpus", "0.5", "one"]);
    assert_eq!((memory().as_str(), pids().as_str()), ("268435456", "50"));
    sandbox.ok(&["update", "-m", "32m", "--pids-limit", "-1", "--cpuset-cpus", "0", "one"]);
    assert_eq!((memory().as_str(), pids().as_str()), ("33554432", "max"));
    assert_eq!(sandbox.ok(&["exec", "one", "nproc"]), "1");
    let form = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpusetCpus}}";
    let shown = "33554432 67108864 500000000 0";
    assert_eq!(sandbox.ok(&["inspect", "--format", form, "one"]), shown);
    let now = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    let events = ["events", "--since", "1h", "--until", &now, "--filter", "event=update"];
    assert_eq!(sandbox.ok(&events).lines().count(), 2);
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(sandbox.ok(&["inspect", "--format", form, "one"]), shown);
    sandbox.ok(&["restart", "-t", "0", "one"]);
    assert_eq!(
        cgroup_file(&sandbox, &id, ["memory.limit_in_bytes", "memory.max"]),
        "33554432"
    );
    for (options, words) in [
        (["--memory", "1m"], "Minimum memory limit allowed is 6MB"),
        (
            ["--cpu-quota", "5000"],
            "CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (["--cpus", "1000"], "range of CPUs is from 0.01 to"),
        (
            ["--restart", "sometimes"],
            "invalid restart policy: unknown policy 'sometimes'",
        ),
    ] {
        let said = sandbox.docker(&["update", options[0], options[1], "one"]);
        assert!(said.code == 1 && said.err.contains(words), "{said:?}");
    }
    assert_eq!(sandbox.ok(&["inspect", "--format", form, "one"]), shown);
    sandbox.ok(&["rm", "-f", "one"]);
    eventually("nothing is left", || sandbox.remains().is_empty());
}
