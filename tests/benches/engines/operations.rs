//! What both engines are timed at.

use std::thread;
use std::time::{Duration, Instant};

use conex_tests::{Answer, Sandbox, eventually};
use serde_json::{Value, json};

/// An operation, timed alone: what it needs before and leaves behind is not counted.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// How many times faster it is promised to be, or how fast.
    pub(crate) promised: &'static str,
    pub(crate) rounds: usize,
    act: fn(&mut Side) -> Duration,
}

pub(crate) const OPERATIONS: &[Operation] = &[
    operation("create", "10x", 20, create),
    operation("start", "15x", 20, start),
    operation("kill-remove", "15x", 20, kill_and_remove),
    operation("run-none", "15x", 20, |side| side.run("none")),
    operation("run-bridge", "15x", 20, |side| side.run("bridge")),
    operation("exec", "12x", 20, exec),
    operation("parallel-20", "8x", 5, start_twenty),
    operation("log-replay", "15x", 5, replay),
    operation("list-200", "2 ms", 20, list),
];

const fn operation(
    name: &'static str,
    promised: &'static str,
    rounds: usize,
    act: fn(&mut Side) -> Duration,
) -> Operation {
    Operation {
        name,
        promised,
        rounds,
        act,
    }
}

/// One engine, and what some operations keep for all their rounds.
pub(crate) struct Side {
    sandbox: Sandbox,
    host: Option<String>,
    logged: Option<String>,
    crowd: usize,
}

/// Lines that are replayed.
const LINES: usize = 200_000;

impl Side {
    pub(crate) fn new(sandbox: Sandbox) -> Self {
        Self {
            sandbox,
            host: None,
            logged: None,
            crowd: 0,
        }
    }

    pub(crate) fn time(&mut self, operation: &Operation) -> Duration {
        (operation.act)(self)
    }

    /// Removes what was kept.
    pub(crate) fn clean(self) {
        cleaned(&self.sandbox);
    }

    fn run(&mut self, network: &str) -> Duration {
        let before = Instant::now();
        let id = made(&self.sandbox, &["true"], network);
        started(&self.sandbox, &id);
        ended(&self.sandbox, &id);
        removed(&self.sandbox, &id);
        before.elapsed()
    }
}

fn asked(sandbox: &Sandbox, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = sandbox.ask(method, &format!("/v1.50{path}"), &body);
    assert!(
        answer.status < 300,
        "{method} {path}: {} {}",
        answer.status,
        answer.body
    );
    answer
}

fn id_of(answer: &Answer) -> String {
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    value["Id"].as_str().unwrap().to_owned()
}

/// A container that was created.
pub(crate) fn made(sandbox: &Sandbox, command: &[&str], network: &str) -> String {
    let body =
        json!({ "Image": "busybox", "Cmd": command, "HostConfig": { "NetworkMode": network, "Tmpfs": { "/t": "" } } });
    created(sandbox, &body)
}

/// As `made`, with a body of the client's own.
pub(crate) fn created(sandbox: &Sandbox, body: &Value) -> String {
    id_of(&asked(sandbox, "POST", "/containers/create", body))
}

pub(crate) fn started(sandbox: &Sandbox, id: &str) {
    asked(sandbox, "POST", &format!("/containers/{id}/start"), &Value::Null);
}

pub(crate) fn ended(sandbox: &Sandbox, id: &str) {
    let answer = asked(sandbox, "POST", &format!("/containers/{id}/wait"), &Value::Null);
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(value["StatusCode"], 0);
}

pub(crate) fn removed(sandbox: &Sandbox, id: &str) {
    asked(
        sandbox,
        "DELETE",
        &format!("/containers/{id}?force=1&v=1"),
        &Value::Null,
    );
}

/// Another process in a container, from its creation to its exit code.
pub(crate) fn executed(sandbox: &Sandbox, container: &str) {
    let body = json!({ "Cmd": ["true"], "AttachStdout": true });
    let exec = id_of(&asked(sandbox, "POST", &format!("/containers/{container}/exec"), &body));
    asked(
        sandbox,
        "POST",
        &format!("/exec/{exec}/start"),
        &json!({ "Detach": false, "Tty": false }),
    );
    let answer = asked(sandbox, "GET", &format!("/exec/{exec}/json"), &Value::Null);
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(value["ExitCode"], 0);
}

fn all(sandbox: &Sandbox) -> Vec<Value> {
    let answer = asked(sandbox, "GET", "/containers/json?all=1", &Value::Null);
    serde_json::from_str(&answer.body).unwrap()
}

/// How many containers are in a state.
pub(crate) fn counted(sandbox: &Sandbox, state: &str) -> usize {
    let all = all(sandbox);
    all.iter().filter(|container| container["State"] == state).count()
}

/// Removes all containers, and waits until nothing is left of them.
pub(crate) fn cleaned(sandbox: &Sandbox) {
    for container in all(sandbox) {
        removed(sandbox, container["Id"].as_str().unwrap());
    }
    eventually("nothing is left", || sandbox.remains().is_empty());
}

fn create(side: &mut Side) -> Duration {
    let before = Instant::now();
    let id = made(&side.sandbox, &["true"], "none");
    let time = before.elapsed();
    removed(&side.sandbox, &id);
    time
}

fn start(side: &mut Side) -> Duration {
    let id = made(&side.sandbox, &["sleep", "600"], "none");
    let before = Instant::now();
    started(&side.sandbox, &id);
    let time = before.elapsed();
    removed(&side.sandbox, &id);
    time
}

fn kill_and_remove(side: &mut Side) -> Duration {
    let id = made(&side.sandbox, &["sleep", "600"], "none");
    started(&side.sandbox, &id);
    let before = Instant::now();
    removed(&side.sandbox, &id);
    before.elapsed()
}

fn exec(side: &mut Side) -> Duration {
    let sandbox = &side.sandbox;
    let host = side.host.get_or_insert_with(|| {
        let host = made(sandbox, &["sleep", "100000"], "none");
        started(sandbox, &host);
        host
    });
    let before = Instant::now();
    executed(sandbox, host);
    before.elapsed()
}

/// Twenty clients at once make and start a container on the bridge each.
fn start_twenty(side: &mut Side) -> Duration {
    let sandbox = &side.sandbox;
    let before = Instant::now();
    let ids: Vec<String> = thread::scope(|scope| {
        let start = || {
            let id = made(sandbox, &["sleep", "600"], "bridge");
            started(sandbox, &id);
            id
        };
        let clients: Vec<_> = (0..20).map(|_| scope.spawn(start)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let time = before.elapsed();
    ids.iter().for_each(|id| removed(sandbox, id));
    time
}

fn replay(side: &mut Side) -> Duration {
    let sandbox = &side.sandbox;
    let logged = side.logged.get_or_insert_with(|| {
        let script = format!("yes 0123456789012345678901234567890123456789 | head -n {LINES}");
        let logged = made(sandbox, &["sh", "-c", &script], "none");
        started(sandbox, &logged);
        ended(sandbox, &logged);
        logged
    });
    let before = Instant::now();
    let answer = asked(
        sandbox,
        "GET",
        &format!("/containers/{logged}/logs?stdout=1"),
        &Value::Null,
    );
    let time = before.elapsed();
    assert_eq!(answer.body.len(), LINES * (41 + 8));
    time
}

fn list(side: &mut Side) -> Duration {
    for _ in side.crowd..200 {
        made(&side.sandbox, &["true"], "none");
    }
    side.crowd = 200;
    let before = Instant::now();
    asked(&side.sandbox, "GET", "/containers/json?all=1", &Value::Null);
    before.elapsed()
}
