//! Containers that are started again: by their policies, over deaths of monitors and daemons, and not where they were stopped.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use conex_tests::{Sandbox, eventually};

fn inspect(sandbox: &Sandbox, name: &str, field: &str) -> String {
    sandbox.ok(&["inspect", "--format", &format!("{{{{{field}}}}}"), name])
}

fn status(sandbox: &Sandbox, name: &str) -> String {
    inspect(sandbox, name, ".State.Status")
}

fn restarts(sandbox: &Sandbox, name: &str) -> String {
    inspect(sandbox, name, ".RestartCount")
}

fn is_running(sandbox: &Sandbox, name: &str) -> bool {
    status(sandbox, name) == "running"
}

fn run(sandbox: &Sandbox, name: &str, policy: &str, script: &str) {
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        name,
        "--restart",
        policy,
        "--network",
        "none",
        "--stop-timeout",
        "0",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
}

/// Ends with a code at each of its runs and counts them in its own file.
fn counting(code: i32) -> String {
    format!("echo run >> /runs; exit {code}")
}

#[test]
fn a_container_that_fails_is_started_as_often_as_its_policy_says_and_all_of_it_is_counted() {
    let mut sandbox = Sandbox::new();
    run(&sandbox, "thrice", "on-failure:3", &counting(4));
    run(&sandbox, "fine", "on-failure:3", &counting(0));
    eventually("the last run", || {
        restarts(&sandbox, "thrice") == "3" && status(&sandbox, "thrice") == "exited"
    });
    assert_eq!(inspect(&sandbox, "thrice", ".State.ExitCode"), "4");
    assert_eq!(
        (restarts(&sandbox, "fine"), status(&sandbox, "fine")),
        ("0".into(), "exited".into())
    );
    // Its writable layer is the same in all runs.
    let runs = |name: &str| {
        sandbox
            .ok(&["cp", &format!("{name}:/runs"), "-"])
            .matches("run\n")
            .count()
    };
    assert_eq!((runs("thrice"), runs("fine")), (4, 1));
    // The next daemon agrees that it is over.
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(
        (restarts(&sandbox, "thrice"), status(&sandbox, "thrice")),
        ("3".into(), "exited".into())
    );
}

#[test]
fn a_daemon_that_is_killed_between_two_runs_loses_none_and_makes_none_up() {
    let mut sandbox = Sandbox::new();
    run(&sandbox, "six", "on-failure:6", &counting(1));
    // The waits double: a kill within one, one within the next.
    for count in ["2", "4"] {
        eventually("a run", || restarts(&sandbox, "six") == count);
        sandbox.kill();
        sandbox.start(&[]);
    }
    eventually("the end", || {
        restarts(&sandbox, "six") == "6" && status(&sandbox, "six") == "exited"
    });
    let runs = sandbox.ok(&["cp", "six:/runs", "-"]).matches("run\n").count();
    assert_eq!(runs, 7);
}

#[test]
fn what_was_stopped_stays_so_over_daemons_unless_it_is_to_run_always() {
    let mut sandbox = Sandbox::new();
    for policy in ["always", "unless-stopped", "on-failure"] {
        run(&sandbox, policy, policy, "sleep 1000");
    }
    run(&sandbox, "left", "unless-stopped", "sleep 1000");
    sandbox.ok(&["stop", "always", "unless-stopped", "on-failure"]);
    for policy in ["always", "unless-stopped", "on-failure"] {
        assert_eq!(status(&sandbox, policy), "exited", "{policy}");
    }
    sandbox.kill();
    sandbox.start(&[]);
    eventually("what always runs", || is_running(&sandbox, "always"));
    assert_eq!(restarts(&sandbox, "always"), "0");
    assert_eq!(status(&sandbox, "unless-stopped"), "exited");
    assert_eq!(status(&sandbox, "on-failure"), "exited");
    assert!(is_running(&sandbox, "left"));
    // A start makes the stop forgotten.
    sandbox.ok(&["start", "unless-stopped"]);
    let pid = inspect(&sandbox, "unless-stopped", ".State.Pid");
    sandbox.kill();
    kill(&pid);
    sandbox.start(&[]);
    eventually("what nobody stopped", || is_running(&sandbox, "unless-stopped"));
}

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

#[test]
fn a_lost_monitor_is_a_failure_like_another() {
    let sandbox = Sandbox::new();
    run(&sandbox, "guarded", "on-failure", "sleep 1000");
    let before = inspect(&sandbox, "guarded", ".State.Pid");
    let status = fs::read_to_string(format!("/proc/{before}/status")).unwrap();
    let monitor = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap()
        .trim()
        .to_owned();
    kill(&monitor);
    eventually("another run", || {
        is_running(&sandbox, "guarded") && inspect(&sandbox, "guarded", ".State.Pid") != before
    });
    assert_eq!(restarts(&sandbox, "guarded"), "1");
}

#[test]
fn only_what_ends_a_container_keeps_it_from_being_started_again() {
    let sandbox = Sandbox::new();
    run(
        &sandbox,
        "minds",
        "always",
        "trap : HUP; trap 'exit 3' USR1; echo up; while :; do sleep 0.05; done",
    );
    eventually("its traps", || sandbox.ok(&["logs", "minds"]).contains("up"));
    sandbox.ok(&["kill", "-s", "HUP", "minds"]);
    sandbox.ok(&["kill", "-s", "USR1", "minds"]);
    eventually("another run", || {
        restarts(&sandbox, "minds") == "1" && is_running(&sandbox, "minds")
    });
    sandbox.ok(&["kill", "minds"]);
    assert_eq!(status(&sandbox, "minds"), "exited");
    // A restart by a client is none of the policy's.
    sandbox.ok(&["restart", "-t", "0", "minds"]);
    assert_eq!(
        (restarts(&sandbox, "minds"), status(&sandbox, "minds")),
        ("0".into(), "running".into())
    );
}

#[test]
fn a_start_that_fails_between_two_runs_is_tried_again() {
    let sandbox = Sandbox::new();
    let shared = sandbox.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    let mount = format!("type=bind,source={},target=/shared", shared.display());
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "bound",
        "--restart",
        "always",
        "--network",
        "none",
        "--mount",
        &mount,
        "busybox",
        "sh",
        "-c",
        "test -e /shared/stay && sleep 1000; exit 1",
    ]);
    fs::remove_dir(&shared).unwrap();
    eventually("a failed start", || {
        inspect(&sandbox, "bound", ".State.Error").contains("shared")
    });
    assert_eq!(status(&sandbox, "bound"), "restarting");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("stay"), "").unwrap();
    eventually("a run", || is_running(&sandbox, "bound"));
}

#[test]
fn one_that_waits_is_stopped_removed_and_shown_as_such() {
    let sandbox = Sandbox::new();
    for name in ["stopped", "removed"] {
        run(&sandbox, name, "always", "exit 3");
        eventually("a longer wait", || restarts(&sandbox, name) == "5");
    }
    let shown = sandbox.ok(&["ps", "--format", "{{.Names}} {{.Status}}"]);
    assert!(shown.contains("removed Restarting (3)"), "{shown}");
    let refusal = sandbox.docker(&["rm", "removed"]);
    assert!(refusal.err.contains("container is restarting"), "{}", refusal.err);
    sandbox.ok(&["rm", "-f", "removed"]);
    sandbox.ok(&["stop", "stopped"]);
    let count = restarts(&sandbox, "stopped");
    assert_eq!(status(&sandbox, "stopped"), "exited");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(
        (restarts(&sandbox, "stopped"), status(&sandbox, "stopped")),
        (count, "exited".into())
    );
}
