//! Health checks: what they show, when they count, what is done upon them, and that they outlive the daemon.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::thread;
use std::time::Duration;

use conex_protocol::fail_points;
use conex_tests::{Engine, Sandbox, archive_from, busybox_layer, eventually};
use serde_json::{Value, json};

/// What sees to it that a container lives.
const LIVES: [&str; 3] = ["busybox", "sleep", "1000"];

/// Runs a container in the background with these options of `docker run`.
fn run(sandbox: &Sandbox, name: &str, options: &[&str], command: &[&str]) {
    let fixed = ["run", "-d", "--name", name, "--network", "none", "--stop-timeout", "0"];
    sandbox.ok(&[&fixed[..], options, command].concat());
}

fn inspect(sandbox: &Sandbox, name: &str, field: &str) -> String {
    sandbox.ok(&["inspect", "--format", &format!("{{{{{field}}}}}"), name])
}

fn health(sandbox: &Sandbox, name: &str) -> Value {
    serde_json::from_str(&inspect(sandbox, name, "json .State.Health")).unwrap()
}

fn status(sandbox: &Sandbox, name: &str) -> String {
    health(sandbox, name)["Status"].as_str().unwrap_or_default().to_owned()
}

/// The latest result.
fn latest(sandbox: &Sandbox, name: &str) -> Value {
    let health = health(sandbox, name);
    health["Log"]
        .as_array()
        .and_then(|log| log.last())
        .cloned()
        .unwrap_or_default()
}

fn checks(sandbox: &Sandbox, name: &str) -> usize {
    health(sandbox, name)["Log"].as_array().map_or(0, Vec::len)
}

/// The events of a container so far, without their attributes.
fn events(sandbox: &Sandbox, name: &str) -> Vec<String> {
    let filter = format!("container={name}");
    let now = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    let all = [
        "events",
        "--since",
        "0",
        "--until",
        &now,
        "--filter",
        &filter,
        "--format",
        "{{.Action}}",
    ];
    sandbox.ok(&all).lines().map(str::to_owned).collect()
}

const OFTEN: [&str; 4] = ["--health-interval", "50ms", "--health-retries", "3"];

#[test]
fn a_container_is_what_its_checks_show() {
    let sandbox = Sandbox::new();
    let check = ["--health-cmd", "echo looked; test -e /fine"];
    run(&sandbox, "box", &[&OFTEN[..], &check].concat(), &LIVES);
    let shown = |filter: &str| sandbox.ok(&["ps", "--filter", filter, "--format", "{{.Names}} {{.Status}}"]);
    eventually("three failures", || status(&sandbox, "box") == "unhealthy");
    assert!(health(&sandbox, "box")["FailingStreak"].as_u64().unwrap() >= 3);
    assert!(shown("health=unhealthy").ends_with("(unhealthy)"));
    assert_eq!(shown("health=healthy"), "");
    let result = latest(&sandbox, "box");
    assert_eq!(
        (&result["ExitCode"], &result["Output"]),
        (&json!(1), &json!("looked\n"))
    );
    assert!(result["Start"].as_str() < result["End"].as_str(), "{result}");
    sandbox.ok(&["exec", "box", "touch", "/fine"]);
    eventually("a success", || status(&sandbox, "box") == "healthy");
    assert!(shown("health=healthy").ends_with("(healthy)"));
    eventually("five results are kept", || checks(&sandbox, "box") == 5);
    assert_eq!(health(&sandbox, "box")["FailingStreak"], 0);
    let events = events(&sandbox, "box");
    let of_health: Vec<&str> = events
        .iter()
        .map(String::as_str)
        .filter(|event| event.contains("health"))
        .collect();
    assert_eq!(of_health, ["health_status: unhealthy", "health_status: healthy"]);
    // Checks are no execs of anybody's, and leave none behind.
    assert_eq!(
        events.iter().filter(|event| event.starts_with("exec_die")).count(),
        1,
        "{events:?}"
    );
    assert_eq!(inspect(&sandbox, "box", ".ExecIDs"), "[]");
    sandbox.ok(&["stop", "box"]);
    assert_eq!(status(&sandbox, "box"), "unhealthy");
    sandbox.ok(&["start", "box"]);
    assert_ne!(status(&sandbox, "box"), "unhealthy");
    eventually("healthy again", || status(&sandbox, "box") == "healthy");
}

#[test]
fn failures_of_the_start_period_do_not_count() {
    let sandbox = Sandbox::new();
    let slow = [
        "--health-cmd",
        "test -e /fine",
        "--health-interval",
        "1h",
        "--health-start-period",
        "1h",
        "--health-start-interval",
        "50ms",
        "--health-retries",
        "1",
    ];
    run(&sandbox, "box", &slow, &LIVES);
    eventually("five failures", || checks(&sandbox, "box") == 5);
    let before = health(&sandbox, "box");
    assert_eq!(
        (&before["Status"], &before["FailingStreak"]),
        (&json!("starting"), &json!(0))
    );
    let listed = sandbox.ok(&["ps", "--format", "{{.Status}}"]);
    assert!(listed.ends_with("(health: starting)"), "{listed}");
    sandbox.ok(&["exec", "box", "touch", "/fine"]);
    eventually("the first success", || status(&sandbox, "box") == "healthy");
}

#[test]
fn a_check_that_takes_too_long_is_killed_with_all_that_it_started() {
    let sandbox = Sandbox::new();
    let hangs = ["--health-cmd", "echo begun; sleep 777; true", "--health-timeout", "1s"];
    run(&sandbox, "box", &[&OFTEN[..], &hangs].concat(), &LIVES);
    eventually("three of them", || status(&sandbox, "box") == "unhealthy");
    let result = latest(&sandbox, "box");
    assert_eq!(result["ExitCode"], -1);
    assert_eq!(result["Output"], "Health check exceeded timeout (1s): begun\n");
    let left = sandbox.ok(&["exec", "box", "sh", "-c", "ps | grep -c '[s]leep 777' || true"]);
    assert!(left.parse::<u32>().unwrap() <= 2, "{left} of one check that runs now");
}

#[test]
fn what_a_check_writes_is_bounded_and_what_cannot_run_is_told() {
    let sandbox = Sandbox::new();
    let loud = ["--health-cmd", "head -c 100000 /dev/zero | tr '\\0' x; echo err >&2"];
    run(&sandbox, "loud", &[&OFTEN[..], &loud].concat(), &LIVES);
    eventually("a success", || status(&sandbox, "loud") == "healthy");
    assert_eq!(
        latest(&sandbox, "loud")["Output"],
        json!(format!("{}...", "x".repeat(4096)))
    );
    run(
        &sandbox,
        "absent",
        &[&OFTEN[..], &["--health-cmd", "x"]].concat(),
        &LIVES,
    );
    eventually("three failures", || status(&sandbox, "absent") == "unhealthy");
    assert_eq!(latest(&sandbox, "absent")["ExitCode"], 127);
    let body = r#"{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{"NetworkMode":"none"},
        "Healthcheck":{"Test":["CMD","/nosuch"],"Interval":50000000,"Retries":2}}"#;
    let (created, words) = sandbox.request("POST", "/v1.50/containers/create?name=broken", body);
    assert_eq!(created, 201, "{words}");
    sandbox.ok(&["start", "broken"]);
    eventually("two failures", || status(&sandbox, "broken") == "unhealthy");
    let result = latest(&sandbox, "broken");
    assert_eq!(result["ExitCode"], -1);
    assert!(result["Output"].as_str().unwrap().contains("/nosuch"), "{result}");
}

#[test]
fn the_image_says_how_it_is_checked_and_the_client_otherwise() {
    let sandbox = Sandbox::new();
    let path = sandbox.dir().join("checked.tar");
    let fields = r#""config":{"Cmd":["sleep","1000"],"Env":["PATH=/bin","OF=image"],"User":"1",
        "Healthcheck":{"Test":["CMD-SHELL","echo $OF; false"],"Interval":50000000,"Retries":2}},"history":[]"#;
    fs::write(&path, archive_from(&["checked:latest"], fields, &[&busybox_layer()])).unwrap();
    sandbox.ok(&["load", "-q", "-i", path.to_str().unwrap()]);
    run(&sandbox, "own", &[], &["checked"]);
    eventually("two failures", || status(&sandbox, "own") == "unhealthy");
    assert_eq!(latest(&sandbox, "own")["Output"], "image\n");
    run(&sandbox, "other", &["--health-cmd", "echo $OF; id -u"], &["checked"]);
    eventually("a success", || status(&sandbox, "other") == "healthy");
    assert_eq!(latest(&sandbox, "other")["Output"], "image\n1\n");
    assert_eq!(inspect(&sandbox, "other", ".Config.Healthcheck.Retries"), "2");
    run(&sandbox, "none", &["--no-healthcheck"], &["checked"]);
    run(&sandbox, "unchecked", &[], &LIVES);
    thread::sleep(Duration::from_millis(200));
    for name in ["none", "unchecked"] {
        assert_eq!(health(&sandbox, name), Value::Null, "{name}");
    }
    // A container's check goes into its image.
    sandbox.ok(&["commit", "other", "committed"]);
    let test = sandbox.ok(&["inspect", "--format", "{{json .Config.Healthcheck.Test}}", "committed"]);
    assert_eq!(test, r#"["CMD-SHELL","echo $OF; id -u"]"#);
}

#[test]
fn what_is_paused_is_not_checked() {
    let sandbox = Sandbox::new();
    run(
        &sandbox,
        "box",
        &[&OFTEN[..], &["--health-cmd", "true"]].concat(),
        &LIVES,
    );
    eventually("a success", || status(&sandbox, "box") == "healthy");
    sandbox.ok(&["pause", "box"]);
    let before = latest(&sandbox, "box");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(latest(&sandbox, "box"), before);
    assert_eq!(status(&sandbox, "box"), "healthy");
    sandbox.ok(&["unpause", "box"]);
    eventually("the next check", || latest(&sandbox, "box") != before);
    assert_eq!(status(&sandbox, "box"), "healthy");
}

#[test]
fn health_outlives_the_daemon() {
    let mut sandbox = Sandbox::new();
    run(
        &sandbox,
        "fine",
        &[&OFTEN[..], &["--health-cmd", "true"]].concat(),
        &LIVES,
    );
    run(
        &sandbox,
        "ill",
        &[&OFTEN[..], &["--health-cmd", "exit 4"]].concat(),
        &LIVES,
    );
    let hangs = [
        "--health-cmd",
        "echo x >> /begun; exec sleep 777",
        "--health-interval",
        "50ms",
    ];
    run(&sandbox, "hangs", &hangs, &LIVES);
    run(
        &sandbox,
        "ended",
        &[&OFTEN[..], &["--health-cmd", "true"]].concat(),
        &LIVES,
    );
    eventually("all are known", || {
        status(&sandbox, "fine") == "healthy"
            && status(&sandbox, "ill") == "unhealthy"
            && status(&sandbox, "ended") == "healthy"
    });
    sandbox.ok(&["kill", "ended"]);
    let begun = |sandbox: &Sandbox| {
        let counted = sandbox.docker(&["exec", "hangs", "wc", "-l", "/begun"]);
        counted
            .out
            .split(' ')
            .next()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0)
    };
    eventually("a check hangs", || begun(&sandbox) == 1);
    let ill = latest(&sandbox, "ill");
    sandbox.kill();
    sandbox.start(&[]);
    // At once, before any check.
    assert_eq!(
        ["fine", "ill", "ended"].map(|name| status(&sandbox, name)),
        ["healthy", "unhealthy", "unhealthy"]
    );
    assert!(checks(&sandbox, "ended") > 0);
    eventually("checks go on", || latest(&sandbox, "ill") != ill);
    // The one that nobody waits for any more is ended before the next begins.
    eventually("the next one", || begun(&sandbox) == 2);
    let running = sandbox.ok(&["exec", "hangs", "sh", "-c", "ps | grep -c '[s]leep 777' || true"]);
    assert_eq!(running, "1");
    let events = events(&sandbox, "hangs");
    let of_checks: Vec<&String> = events.iter().filter(|event| event.contains("exec sleep 777")).collect();
    assert!(of_checks.is_empty(), "{of_checks:?}");
}

/// Notes each of its runs in its own file.
const COUNTED: [&str; 4] = ["busybox", "sh", "-c", "echo run >> /runs; sleep 1000"];

fn runs(sandbox: &Sandbox, name: &str) -> usize {
    let copied = sandbox.docker(&["cp", &format!("{name}:/runs"), "-"]);
    copied.out.matches("run\n").count()
}

#[test]
fn an_unhealthy_container_is_restarted_stopped_or_killed_where_that_is_asked_for() {
    let sandbox = Sandbox::new();
    let ill = |action: &str, name: &str, more: &[&str], check: &str| {
        let label = format!("conex.health-on-failure={action}");
        let options = ["--label", &label, "--health-cmd", check];
        run(&sandbox, name, &[&OFTEN[..], &options, more].concat(), &COUNTED);
    };
    ill("restart", "restarted", &[], "test $(wc -l < /runs) -ge 3");
    ill("stop", "stopped", &["--restart", "always"], "false");
    ill("kill", "killed", &["--restart", "on-failure:2"], "false");
    ill("none", "left", &[], "false");
    eventually("the third run is healthy", || {
        status(&sandbox, "restarted") == "healthy"
    });
    assert_eq!(runs(&sandbox, "restarted"), 3);
    let told = events(&sandbox, "restarted");
    assert_eq!(told.iter().filter(|event| *event == "restart").count(), 2, "{told:?}");
    let state = |name: &str| inspect(&sandbox, name, ".State.Status");
    eventually("it is stopped", || state("stopped") == "exited");
    thread::sleep(Duration::from_millis(300));
    assert_eq!((state("stopped").as_str(), runs(&sandbox, "stopped")), ("exited", 1));
    eventually("its policy gives up", || {
        state("killed") == "exited" && runs(&sandbox, "killed") == 3
    });
    assert_eq!(inspect(&sandbox, "killed", ".State.ExitCode"), "137");
    assert_eq!(
        (state("left").as_str(), status(&sandbox, "left").as_str()),
        ("running", "unhealthy")
    );
}

#[test]
fn a_daemon_killed_while_it_takes_a_result_leaves_a_state_that_the_next_one_understands() {
    let mut sandbox = Sandbox::new();
    let label = "conex.health-on-failure=restart";
    let check = ["--label", label, "--health-cmd", "test $(wc -l < /runs) -ge 3"];
    for point in fail_points::HEALTH {
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        sandbox.docker(
            &[
                &["run", "-d", "--name", "box", "--network", "none", "--stop-timeout", "0"][..],
                &OFTEN,
                &check,
                &COUNTED,
            ]
            .concat(),
        );
        sandbox.await_death();
        sandbox.start(&[]);
        // What became unhealthy before is restarted all the same.
        eventually(point, || status(&sandbox, "box") == "healthy");
        assert_eq!(runs(&sandbox, "box"), 3, "{point}");
        sandbox.ok(&["rm", "-f", "box"]);
    }
}

#[test]
fn what_is_done_with_unhealthy_containers_is_the_daemons_where_they_do_not_say() {
    let sandbox = Sandbox::with_flags(Engine::Conex, &["--health-on-failure", "restart"]);
    let path = conex_tests::busybox_archive(sandbox.dir());
    sandbox.ok(&["load", "-q", "-i", path.to_str().unwrap()]);
    let check = ["--health-cmd", "test $(wc -l < /runs) -ge 2"];
    run(&sandbox, "restarted", &[&OFTEN[..], &check].concat(), &COUNTED);
    let label = ["--label", "conex.health-on-failure=none", "--health-cmd", "false"];
    run(&sandbox, "left", &[&OFTEN[..], &label].concat(), &COUNTED);
    eventually("the second run is healthy", || {
        status(&sandbox, "restarted") == "healthy"
    });
    eventually("the other one is not", || status(&sandbox, "left") == "unhealthy");
    thread::sleep(Duration::from_millis(200));
    assert_eq!((runs(&sandbox, "restarted"), runs(&sandbox, "left")), (2, 1));
}

#[test]
fn what_no_check_can_be_is_refused() {
    let sandbox = Sandbox::new();
    let refused = |fields: &str, words: &str| {
        let body = format!(r#"{{"Image":"busybox",{fields}}}"#);
        let (status, said) = sandbox.request("POST", "/v1.50/containers/create", &body);
        assert!(status == 400 && said.contains(words), "{fields}: {status} {said}");
    };
    for (check, words) in [
        (r#"{"Test":["CMD"]}"#, "Test in Healthcheck has no command"),
        (r#"{"Test":["HTTP","x"]}"#, "unknown type 'HTTP'"),
        (
            r#"{"Test":["CMD","x"],"Interval":1}"#,
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        (
            r#"{"Test":["CMD","x"],"Timeout":-1}"#,
            "Timeout in Healthcheck cannot be less than 1ms",
        ),
        (
            r#"{"Test":["CMD","x"],"StartPeriod":999999}"#,
            "StartPeriod in Healthcheck cannot be less than 1ms",
        ),
        (
            r#"{"Test":["CMD","x"],"StartInterval":1}"#,
            "StartInterval in Healthcheck cannot be less than 1ms",
        ),
        (
            r#"{"Test":["CMD","x"],"Retries":-1}"#,
            "Retries in Healthcheck cannot be negative",
        ),
    ] {
        refused(&format!(r#""Healthcheck":{check}"#), words);
    }
    refused(
        r#""Labels":{"conex.health-on-failure":"reboot"}"#,
        "must be one of none, restart, stop, kill",
    );
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
}
