//! Health checks: what they can be, what they show, and what is told of them.

use conex_tests::busybox_layer;
use serde_json::json;

use crate::archives::Saved;
use crate::harness::{Difference, Pair, Request, delete, get, post, with};
use crate::images::load;

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    ("POST /containers/create?name=empty-command", "", "it can never succeed"),
    ("POST /containers/create?name=empty-shell", "", "it can never succeed"),
    (
        "POST /containers/create?name=unknown-kind",
        "",
        "nothing is accepted and ignored",
    ),
    (
        "POST /containers/create?name=no-kind",
        "",
        "nothing is accepted and ignored",
    ),
    (
        "/containers/paused-ill",
        "/State/Health/Status",
        "nothing was found out meanwhile: it is as healthy as before",
    ),
    (
        "GET /events?since=1&filters=%7B%22container%22%3A%5B%22well%22%5D%7D",
        "",
        "events do not tell of each check: they would tell of nothing else",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn health_is_told_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&refusals());
    pair.compare(&inheritance());
    pair.compare(&life());
    pair.compare(&failures());
    pair.compare(&pause());
    pair.finish(&[], &[]);
}

/// A container that lives, with this check.
fn create(name: &str, check: &str) -> Request {
    let body = format!(r#"{{"Image":"busybox","Cmd":["sleep","1000"],"StopTimeout":0,"Healthcheck":{check}}}"#);
    post(format!("/containers/create?name={name}"), body)
}

fn act(name: &str, action: &str) -> Request {
    post(format!("/containers/{name}/{action}"), "").unseen()
}

fn inspect(name: &str) -> Request {
    get(format!("/containers/{name}/json"))
}

/// Its line in the list.
fn listed(name: &str) -> Request {
    get(with(
        "/containers/json",
        &[("all", "1"), ("filters", &format!(r#"{{"name":["^/{name}$"]}}"#))],
    ))
}

fn filtered(health: &str) -> Request {
    get(with(
        "/containers/json",
        &[("filters", &format!(r#"{{"health":["{health}"]}}"#))],
    ))
}

fn refusals() -> Vec<Request> {
    vec![
        create("refused", r#"{"Test":["CMD","x"],"Interval":1}"#),
        create("refused", r#"{"Test":["CMD","x"],"Timeout":999999}"#),
        create("refused", r#"{"Test":["CMD","x"],"StartPeriod":-1}"#),
        create("refused", r#"{"Test":["CMD","x"],"StartInterval":10}"#),
        create("refused", r#"{"Test":["CMD","x"],"Retries":-1}"#),
        create("refused", r#"{"Test":["NONE"],"Interval":5}"#),
        create("refused", r#"{"Test":"x"}"#),
        create("empty-command", r#"{"Test":["CMD"]}"#),
        create("empty-shell", r#"{"Test":["CMD-SHELL",""]}"#),
        create("unknown-kind", r#"{"Test":["HTTP","x"]}"#),
        create("no-kind", r#"{"Test":[""]}"#),
        create("without", r#"{"Test":["NONE"]}"#),
        create("untested", "{}"),
        create("timed", r#"{"Interval":5000000000,"Timeout":1000000,"Retries":0}"#),
        create("null", "null"),
        create("old", r#"{"Test":["CMD","x"],"StartInterval":5000000000}"#).version("/v1.43"),
        act("without", "start"),
        inspect("without"),
        listed("without"),
        act("untested", "start"),
        inspect("untested"),
        filtered("none"),
        filtered("starting"),
        delete("/containers/without?force=1").unseen(),
        delete("/containers/untested?force=1").unseen(),
    ]
}

fn inheritance() -> Vec<Request> {
    let checked = Saved::new(
        &["checked:1"],
        json!({
            "architecture": "amd64", "os": "linux", "created": "1990-01-01T00:00:00Z",
            "config": {
                "Cmd": ["sleep", "1000"], "Env": ["PATH=/bin"], "Shell": ["/bin/sh", "-ec"],
                "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 3_600_000_000_000_u64,
                    "Timeout": 2_000_000_000, "StartPeriod": 3_000_000_000_u64, "Retries": 5}
            }
        }),
        &[busybox_layer()],
    );
    let create = |name: &str, fields: &str| {
        let body = format!(r#"{{"Image":"checked:1"{fields}}}"#);
        post(format!("/containers/create?name={name}"), body)
    };
    vec![
        load(&[&checked]),
        create("inherits", ""),
        create("inherits-times", r#","Healthcheck":{"Test":["CMD","other"]}"#),
        create("inherits-test", r#","Healthcheck":{"Interval":7000000,"Retries":1}"#),
        create(
            "inherits-null",
            r#","Healthcheck":{"Test":null,"StartInterval":1000000}"#,
        ),
        create("inherits-none", r#","Healthcheck":{"Test":["NONE"]}"#),
        act("inherits", "start"),
        inspect("inherits"),
        listed("inherits"),
        delete("/containers/inherits?force=1").unseen(),
    ]
}

/// A check that is carried out a second after the start, and then not soon again.
const ONCE: &str =
    r#""Interval":3600000000000,"StartPeriod":3600000000000,"StartInterval":1000000000,"Timeout":30000000000"#;

fn life() -> Vec<Request> {
    vec![
        create(
            "well",
            &format!(r#"{{"Test":["CMD-SHELL","echo fine; echo too >&2"],{ONCE}}}"#),
        ),
        inspect("well"),
        listed("well"),
        act("well", "start"),
        inspect("well"),
        listed("well"),
        filtered("starting"),
        inspect("well").until(r#""Status":"healthy""#),
        listed("well"),
        filtered("healthy"),
        filtered("unhealthy"),
        act("well", "stop"),
        inspect("well"),
        listed("well"),
        act("well", "start"),
        inspect("well"),
        listed("well"),
        told(r#"{"container":["well"],"event":["health_status"]}"#),
        told(r#"{"event":["health_status: healthy"],"type":["container"]}"#),
        told(r#"{"container":["well"]}"#),
        delete("/containers/well?force=1").unseen(),
    ]
}

/// The events so far.
fn told(filters: &str) -> Request {
    let path = with("/events", &[("since", "1"), ("filters", filters)]);
    get(format!("{path}&until={{now}}"))
}

fn failures() -> Vec<Request> {
    let once = r#""Interval":1000000000,"Retries":1"#;
    vec![
        create(
            "ill",
            &format!(r#"{{"Test":["CMD","sh","-c","echo ill; exit 3"],{once}}}"#),
        ),
        act("ill", "start"),
        inspect("ill").until(r#""Status":"unhealthy""#),
        listed("ill"),
        filtered("unhealthy"),
        delete("/containers/ill?force=1").unseen(),
        create("absent", &format!(r#"{{"Test":["CMD","/nosuch"],{once}}}"#)),
        act("absent", "start"),
        inspect("absent").until(r#""Status":"unhealthy""#),
        delete("/containers/absent?force=1").unseen(),
        create(
            "slow",
            &format!(r#"{{"Test":["CMD-SHELL","echo begun; sleep 1000"],"Timeout":1500000000,{once}}}"#),
        ),
        act("slow", "start"),
        inspect("slow").until(r#""Status":"unhealthy""#),
        delete("/containers/slow?force=1").unseen(),
        create(
            "loud",
            &format!(r#"{{"Test":["CMD-SHELL","head -c 10000 /dev/zero | tr '\\0' x"],{once}}}"#),
        ),
        act("loud", "start"),
        inspect("loud").until(r#""Status":"healthy""#),
        delete("/containers/loud?force=1").unseen(),
        create(
            "counts",
            r#"{"Test":["CMD","false"],"Interval":1000000000,"Retries":9}"#,
        ),
        act("counts", "start"),
        inspect("counts").until(r#""FailingStreak":2"#),
        delete("/containers/counts?force=1").unseen(),
        create(
            "begins",
            r#"{"Test":["CMD","false"],"StartPeriod":3600000000000,"StartInterval":1000000000,"Retries":1}"#,
        ),
        act("begins", "start"),
        inspect("begins").until(r#""ExitCode":1"#),
        delete("/containers/begins?force=1").unseen(),
    ]
}

fn pause() -> Vec<Request> {
    vec![
        create("paused-ill", &format!(r#"{{"Test":["CMD","true"],{ONCE}}}"#)),
        act("paused-ill", "start"),
        inspect("paused-ill").until(r#""Status":"healthy""#),
        act("paused-ill", "pause"),
        inspect("paused-ill"),
        listed("paused-ill"),
        act("paused-ill", "unpause"),
        delete("/containers/paused-ill?force=1").unseen(),
    ]
}
