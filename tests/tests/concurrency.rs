//! Many clients at once: nobody waits for a container that hangs, races have one winner, and nothing is left behind.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use conex_tests::{Sandbox, eventually};

/// A request of a race, and its answer.
type Answer = (u16, String);

/// Sends requests at the same moment; the answers are in the order of the requests.
fn race(sandbox: &Sandbox, requests: &[(&str, &str)]) -> Vec<Answer> {
    let barrier = Barrier::new(requests.len());
    thread::scope(|scope| {
        let racers: Vec<_> = requests
            .iter()
            .map(|(method, path)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    sandbox.request(method, &format!("/v1.50{path}"), "")
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    })
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    let mut statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    statuses.sort_unstable();
    statuses
}

/// How often each race is run.
const ROUNDS: usize = 25;

fn create(sandbox: &Sandbox, name: &str, script: &str) {
    sandbox.ok(&["create", "--name", name, "busybox", "sh", "-c", script]);
}

#[test]
fn nobody_waits_for_a_container_whose_start_hangs() {
    let sandbox = Sandbox::new();
    create(&sandbox, "hangs", "sleep 1000");
    sandbox.ok(&["run", "-d", "--name", "other", "busybox", "sleep", "1000"]);
    // All monitors are forked from the template: stopped, it lets every start hang.
    let template = sandbox.shim_usage().into_iter().map(|usage| usage.pid).min().unwrap();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &template.to_string()]).status();
        assert!(sent.unwrap().success());
    };
    signal("-STOP");
    let mut starts = [
        sandbox.background(&["start", "hangs"]),
        sandbox.background(&["start", "hangs"]),
    ];
    thread::sleep(Duration::from_millis(300));
    let before = Instant::now();
    let form = "{{.State.Status}}";
    assert_eq!(
        sandbox.ok(&["inspect", "--format", form, "hangs", "other"]),
        "created\nrunning"
    );
    assert_eq!(sandbox.ok(&["ps", "-aq"]).lines().count(), 2);
    assert_eq!(sandbox.ok(&["exec", "other", "echo", "hi"]), "hi");
    assert_eq!(sandbox.ok(&["logs", "hangs"]), "");
    let (status, words) = sandbox.request("POST", "/v1.50/containers/hangs/kill", "");
    assert!(status == 409 && words.contains("is not running"), "{status} {words}");
    assert_eq!(sandbox.request("POST", "/v1.50/containers/hangs/stop", "").0, 304);
    sandbox.ok(&["create", "--name", "new", "busybox"]);
    sandbox.ok(&["rename", "new", "newer"]);
    sandbox.ok(&["rm", "newer"]);
    sandbox.ok(&["kill", "other"]);
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    // What has to wait waits, and is carried out in the end.
    let mut removal = sandbox.background(&["rm", "-f", "hangs"]);
    thread::sleep(Duration::from_millis(200));
    assert!(starts.iter_mut().all(|start| start.try_wait().unwrap().is_none()));
    assert!(removal.try_wait().unwrap().is_none());
    signal("-CONT");
    for mut start in starts {
        start.wait().unwrap();
    }
    assert!(removal.wait().unwrap().success());
    assert_eq!(sandbox.ok(&["ps", "-aq"]).lines().count(), 1);
}

#[test]
fn of_two_starts_one_starts() {
    let sandbox = Sandbox::new();
    create(&sandbox, "one", "sleep 1000");
    for _ in 0..ROUNDS {
        let start = ("POST", "/containers/one/start");
        assert_eq!(statuses(&race(&sandbox, &[start, start, start])), [204, 304, 304]);
        sandbox.ok(&["kill", "one"]);
    }
    let starts = sandbox.log().matches("/containers/one/start").count();
    assert_eq!(starts, 3 * ROUNDS);
}

#[test]
fn two_stops_end_a_container_once() {
    let sandbox = Sandbox::new();
    create(&sandbox, "one", "trap 'exit 7' TERM; while :; do sleep 0.01; done");
    for _ in 0..ROUNDS {
        sandbox.ok(&["start", "one"]);
        let stop = ("POST", "/containers/one/stop?t=5");
        let answers = statuses(&race(&sandbox, &[stop, stop]));
        assert!(answers == [204, 204] || answers == [204, 304], "{answers:?}");
        assert_eq!(sandbox.request("POST", "/v1.50/containers/one/stop", "").0, 304);
        let exit = sandbox.ok(&["inspect", "--format", "{{.State.ExitCode}}", "one"]);
        // 143 where the signal was quicker than the trap.
        assert!(exit == "7" || exit == "143" || exit == "137", "{exit}");
    }
    let until = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    let deaths = ["events", "--since", "1h", "--until", &until, "--filter", "event=die"];
    assert_eq!(sandbox.ok(&deaths).lines().count(), ROUNDS);
}

#[test]
fn a_stop_is_carried_out_although_its_client_gives_up() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "deaf",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 0.1; done",
    ]);
    thread::sleep(Duration::from_millis(300));
    let mut stop = sandbox.background(&["stop", "-t", "3", "deaf"]);
    thread::sleep(Duration::from_millis(700));
    stop.kill().unwrap();
    stop.wait().unwrap();
    let state = || sandbox.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "deaf"]);
    assert_eq!(state(), "running 0");
    eventually("the stop ends as it was asked for", || state() == "exited 137");
}

#[test]
fn of_two_removals_one_removes() {
    let sandbox = Sandbox::new();
    for round in 0..ROUNDS {
        let name = format!("one{round}");
        create(&sandbox, &name, "sleep 1000");
        if round % 2 == 0 {
            sandbox.ok(&["start", &name]);
        }
        let path = format!("/containers/{name}?force=1");
        let answers = race(&sandbox, &[("DELETE", &path), ("DELETE", &path), ("DELETE", &path)]);
        assert_eq!(
            answers.iter().filter(|(status, _)| *status == 204).count(),
            1,
            "{answers:?}"
        );
        for (_, words) in answers.iter().filter(|(status, _)| *status != 204) {
            let gone = format!("{{\"message\":\"No such container: {name}\"}}\n");
            let going = format!("{{\"message\":\"removal of container {name} is already in progress\"}}\n");
            assert!(*words == gone || *words == going, "{answers:?}");
        }
    }
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_removal_during_a_start_is_refused_or_comes_first() {
    let sandbox = Sandbox::new();
    for round in 0..ROUNDS {
        let name = format!("one{round}");
        create(&sandbox, &name, "sleep 1000");
        let (start, remove) = (format!("/containers/{name}/start"), format!("/containers/{name}"));
        let answers = race(&sandbox, &[("POST", &start), ("DELETE", &remove)]);
        let [(started, start_words), (removed, remove_words)] = &answers[..] else {
            panic!()
        };
        match (*started, *removed) {
            (204, 409) => assert!(remove_words.contains("stop the container before removing or force remove")),
            (404, 204) => assert!(start_words.contains("No such container")),
            (409, 204) => assert!(start_words.contains("\"container is marked for removal and cannot be started\"")),
            _ => panic!("{answers:?}"),
        }
        sandbox.docker(&["rm", "-f", &name]);
        create(&sandbox, &name, "sleep 1000");
        let remove = format!("/containers/{name}?force=1");
        let answers = race(&sandbox, &[("POST", &start), ("DELETE", &remove)]);
        assert_eq!(answers[1].0, 204, "{answers:?}");
        assert!([204, 404, 409].contains(&answers[0].0), "{answers:?}");
    }
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_kill_during_a_create_finds_the_container_or_does_not() {
    let sandbox = Sandbox::new();
    for round in 0..ROUNDS {
        let name = format!("one{round}");
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            let kill = scope.spawn(|| {
                barrier.wait();
                sandbox.request("POST", &format!("/v1.50/containers/{name}/kill"), "")
            });
            barrier.wait();
            let path = format!("/v1.50/containers/create?name={name}");
            assert_eq!(sandbox.request("POST", &path, r#"{"Image":"busybox"}"#).0, 201);
            let (status, words) = kill.join().unwrap();
            let found = status == 409 && words.contains("is not running");
            let absent = status == 404 && words.contains(&format!("No such container: {name}"));
            assert!(found || absent, "{status} {words}");
        });
    }
}

#[test]
fn of_those_who_want_a_name_one_gets_it() {
    let sandbox = Sandbox::new();
    for name in ["one", "two", "three"] {
        create(&sandbox, name, "true");
    }
    for round in 0..ROUNDS {
        let wanted = format!("wanted{round}");
        let ids: Vec<String> = sandbox
            .ok(&["ps", "-aq", "--no-trunc"])
            .lines()
            .map(str::to_owned)
            .collect();
        let paths: Vec<String> = ids
            .iter()
            .map(|id| format!("/containers/{id}/rename?name={wanted}"))
            .collect();
        let requests: Vec<(&str, &str)> = paths.iter().map(|path| ("POST", path.as_str())).collect();
        let answers = race(&sandbox, &requests);
        assert_eq!(statuses(&answers), [204, 409, 409], "{answers:?}");
        let owner = &ids[answers.iter().position(|(status, _)| *status == 204).unwrap()];
        for (_, words) in answers.iter().filter(|(status, _)| *status == 409) {
            assert!(
                words.contains("Conflict. The container name") && words.contains(owner),
                "{words}"
            );
        }
        assert_eq!(sandbox.ok(&["inspect", "--format", "{{.Id}}", &wanted]), *owner);
    }
    // Every name that was given up is free again.
    let bodies: Vec<u16> = (0..ROUNDS - 3)
        .map(|round| {
            let path = format!("/v1.50/containers/create?name=wanted{round}");
            sandbox.request("POST", &path, r#"{"Image":"busybox"}"#).0
        })
        .collect();
    assert!(
        bodies.iter().filter(|status| **status == 409).count() <= 2,
        "{bodies:?}"
    );
    // Of creates as well.
    let barrier = Barrier::new(8);
    let made = thread::scope(|scope| {
        let creates: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    sandbox.request("POST", "/v1.50/containers/create?name=same", r#"{"Image":"busybox"}"#)
                })
            })
            .collect();
        creates
            .into_iter()
            .map(|create| create.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(statuses(&made), [201, 409, 409, 409, 409, 409, 409, 409]);
}

/// The life of one of many containers, each step with the statuses that it may have.
fn one_of_many(sandbox: &Sandbox, number: usize) {
    let name = format!("many{number}");
    let ask = |method: &str, path: &str, body: &str, good: &[u16]| {
        let (status, words) = sandbox.request(method, &format!("/v1.50{path}"), body);
        assert!(good.contains(&status), "{method} {path}: {status} {words}");
        words
    };
    let of = |verb: &str| format!("/containers/{name}/{verb}");
    let body = r#"{"Image":"busybox","Cmd":["sh","-c","echo hi; sleep 1000"]}"#;
    ask("POST", &format!("/containers/create?name={name}"), body, &[201]);
    ask("POST", &of("start"), "", &[204]);
    assert!(ask("GET", "/containers/json", "", &[200]).contains(&name));
    assert!(ask("GET", &of("json"), "", &[200]).contains("\"running\""));
    match number % 4 {
        0 => drop(ask("POST", &of("stop?t=0"), "", &[204])),
        1 => drop(ask("POST", &of("kill"), "", &[204])),
        2 => drop(ask("POST", &of("restart?t=0"), "", &[204])),
        _ => {
            let exec = ask("POST", &of("exec"), r#"{"Cmd":["true"]}"#, &[201]);
            let exec: serde_json::Value = serde_json::from_str(&exec).unwrap();
            ask(
                "POST",
                &format!("/exec/{}/start", exec["Id"].as_str().unwrap()),
                r#"{"Detach":true}"#,
                &[200],
            );
        }
    }
    ask("POST", &of(&format!("rename?name=renamed{number}")), "", &[204]);
    ask("DELETE", &format!("/containers/renamed{number}?force=1"), "", &[204]);
}

#[test]
fn two_hundred_clients_at_once_are_served() {
    let sandbox = Sandbox::new();
    let before = sandbox.daemon_usage();
    let barrier = Barrier::new(200);
    thread::scope(|scope| {
        for number in 0..200 {
            let (barrier, sandbox) = (&barrier, &sandbox);
            scope.spawn(move || {
                barrier.wait();
                one_of_many(sandbox, number);
            });
        }
    });
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    eventually("nothing is left", || sandbox.remains().is_empty());
    eventually("descriptors are closed", || {
        sandbox.daemon_usage().descriptors <= before.descriptors + 8
    });
    assert_eq!(sandbox.ok(&["run", "--rm", "busybox", "echo", "hi"]), "hi");
}
