//! The end of the daemon and of the host, and what comes up again after it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use conex_tests::{Engine, Sandbox, busybox_archive, eventually};

/// Ends with 7 when it is asked to.
const TAME: &str = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";

/// Has to be killed.
const DEAF: &str = "trap '' TERM; echo up; while :; do sleep 0.05; done";

fn sandbox(flags: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_flags(Engine::Conex, flags);
    let archive = busybox_archive(sandbox.dir());
    sandbox.ok(&["load", "-q", "-i", archive.to_str().unwrap()]);
    sandbox
}

/// Runs a script that says when it is up.
fn run(sandbox: &Sandbox, name: &str, options: &[&str], script: &str) {
    let fixed = ["run", "-d", "--name", name, "--network", "none"];
    sandbox.ok(&[&fixed[..], options, &["busybox", "sh", "-c", script]].concat());
    eventually("it is up", || sandbox.ok(&["logs", name]).contains("up"));
}

/// Status and exit code.
fn state(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name])
}

#[test]
fn containers_end_with_a_daemon_that_is_told_so_and_come_again_as_their_policies_say() {
    let mut sandbox = sandbox(&["--live-restore=false"]);
    assert_eq!(sandbox.ok(&["info", "--format", "{{.LiveRestoreEnabled}}"]), "false");
    run(&sandbox, "tame", &[], TAME);
    run(&sandbox, "always", &["--restart", "always"], TAME);
    run(&sandbox, "unless", &["--restart", "unless-stopped"], TAME);
    run(&sandbox, "failing", &["--restart", "on-failure"], TAME);
    run(&sandbox, "stopped", &["--restart", "unless-stopped"], TAME);
    run(&sandbox, "deaf", &["--stop-timeout", "1"], DEAF);
    run(&sandbox, "removed", &["--rm"], TAME);
    sandbox.ok(&["stop", "stopped"]);
    let before = Instant::now();
    sandbox.terminate();
    // At once and not one after the other: each takes a moment, the deaf one a second.
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    assert_eq!(sandbox.cgroups(), Vec::<std::path::PathBuf>::new());
    sandbox.start(&[]);
    let states = ["tame", "always", "unless", "failing", "stopped", "deaf"].map(|name| state(&sandbox, name));
    assert_eq!(states[0], "exited 7");
    assert_eq!(states[4], "exited 7");
    assert_eq!(states[5], "exited 137");
    for name in ["always", "unless", "failing"] {
        eventually(name, || state(&sandbox, name) == "running 0");
    }
    assert_eq!(sandbox.ok(&["logs", "tame"]), "up\nbye");
    assert_eq!(sandbox.docker(&["inspect", "removed"]).code, 1);
    // Nothing of them runs.
    eventually("three containers", || sandbox.ok(&["ps", "-q"]).lines().count() == 3);
}

#[test]
fn the_time_of_all_containers_together_is_bounded() {
    let mut sandbox = sandbox(&["--live-restore=false", "--shutdown-timeout", "1"]);
    for name in ["one", "two", "three"] {
        run(&sandbox, name, &["--stop-timeout", "1000"], DEAF);
    }
    let before = Instant::now();
    sandbox.terminate();
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    sandbox.start(&[]);
    for name in ["one", "two", "three"] {
        assert_eq!(state(&sandbox, name), "exited 137");
    }
}

#[test]
fn containers_outlive_the_daemon_but_not_the_host() {
    let mut sandbox = sandbox(&[]);
    assert_eq!(sandbox.ok(&["info", "--format", "{{.LiveRestoreEnabled}}"]), "true");
    run(&sandbox, "box", &[], TAME);
    sandbox.terminate();
    sandbox.start(&[]);
    assert_eq!(state(&sandbox, "box"), "running 0");
    sandbox.terminate();
    // What systemd says while the host goes down.
    let programs = sandbox.dir().join("programs");
    fs::create_dir(&programs).unwrap();
    let systemctl = programs.join("systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho stopping\nexit 1\n").unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    sandbox.start(&[("PATH", &path)]);
    assert_eq!(state(&sandbox, "box"), "running 0");
    sandbox.terminate();
    sandbox.start(&[]);
    assert_eq!(state(&sandbox, "box"), "exited 7");
}

/// The labels that Compose gives a service.
fn service<'a>(name: &'a str, depends_on: &'a str) -> Vec<String> {
    let labels = [
        "com.docker.compose.project=p".to_owned(),
        format!("com.docker.compose.service={name}"),
        format!("com.docker.compose.depends_on={depends_on}"),
    ];
    labels
        .into_iter()
        .flat_map(|label| ["--label".to_owned(), label])
        .collect()
}

/// The containers of a project in the order of their last starts.
fn starts(sandbox: &Sandbox, names: &[&str]) -> Vec<String> {
    let format = "{{.State.StartedAt}} {{slice .Name 1}}";
    let arguments = [&["inspect", "--format", format][..], names].concat();
    let mut lines: Vec<String> = sandbox.ok(&arguments).lines().map(str::to_owned).collect();
    lines.sort();
    lines
        .iter()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn services_come_up_again_in_the_order_of_what_they_depend_on() {
    let mut sandbox = sandbox(&["--live-restore=false"]);
    let always = ["--restart", "always", "--stop-timeout", "0"];
    let serve = |name: &str, depends_on: &str, more: &[&str], script: &str| {
        let labels = service(name, depends_on);
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        run(&sandbox, name, &[&always[..], &labels, more].concat(), script);
    };
    let healthy = ["--health-cmd", "test -e /tmp/ready", "--health-interval", "50ms"];
    let slow = "rm -f /tmp/ready; echo up; sleep 1; touch /tmp/ready; sleep 1000";
    // Made in the wrong order, so that chance does not help.
    serve("a-front", "b-api:service_started:true", &[], "echo up; sleep 1000");
    serve(
        "b-api",
        "c-store:service_healthy:true,d-gone:service_started:false",
        &[],
        "echo up; sleep 1000",
    );
    serve("c-store", "", &healthy, slow);
    serve("z-alone", "", &[], "echo up; sleep 1000");
    let names = ["a-front", "b-api", "c-store", "z-alone"];
    let running = |sandbox: &Sandbox| names.iter().all(|name| state(sandbox, name) == "running 0");
    sandbox.terminate();
    sandbox.start(&[]);
    // Nobody else waits for them.
    eventually("the one that depends on nothing", || {
        state(&sandbox, "z-alone") == "running 0"
    });
    assert!(state(&sandbox, "a-front").starts_with("restarting"));
    eventually("all of them", || running(&sandbox));
    let order = starts(&sandbox, &["a-front", "b-api", "c-store"]);
    assert_eq!(order, ["c-store", "b-api", "a-front"]);
    // One that never becomes healthy holds nobody up for ever.
    let ill = ["--health-cmd", "false", "--health-interval", "50ms"];
    sandbox.ok(&["rm", "-f", "c-store"]);
    let labels = service("c-store", "");
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    run(
        &sandbox,
        "c-store",
        &[&always[..], &labels, &ill].concat(),
        "echo up; sleep 1000",
    );
    sandbox.terminate();
    sandbox.start(&[]);
    eventually("all of them come up", || running(&sandbox));
    assert!(sandbox.log().contains("start a container without what it depends on"));
}
