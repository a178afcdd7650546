//! Containers watched: their logs, processes and statistics.

use crate::decode::Reading;
use crate::harness::{Difference, Pair, Request, get, post, with};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    (
        "GET /containers/said/logs?stdout=1&since=2020",
        "",
        "a date is understood as well",
    ),
    (
        "GET /containers/said/logs?stdout=1&since=x",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "GET /containers/said/logs?stdout=1&since=1x",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "GET /containers/said/logs?stdout=1&until=x",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "GET /containers/runs/stats",
        "/memory_stats/stats/",
        "all that the kernel tells",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn containers_are_watched_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&population());
    pair.compare(&logs());
    pair.compare(&impossible_logs());
    pair.compare(&top());
    pair.compare(&stats());
    pair.finish(
        &[
            ("GET", "/containers/{id}/logs", &[200, 404]),
            ("GET", "/containers/{id}/top", &[200, 404]),
            ("GET", "/containers/{id}/stats", &[200, 404]),
        ],
        &[],
    );
}

fn population() -> Vec<Request> {
    let create = |name: &str, script: &str, fields: &str| {
        let body = format!(r#"{{"Image":"busybox","Cmd":["sh","-c","{script}"]{fields}}}"#);
        post(format!("/containers/create?name={name}"), body)
    };
    let run = |name: &str| {
        [
            post(format!("/containers/{name}/start"), "").unseen(),
            post(format!("/containers/{name}/wait"), "").unseen(),
        ]
    };
    // In which order two pipes are read is chance, so the streams have their time.
    let says = "for i in 1 2 3 4 5; do echo err $i >&2; done; sleep 0.3; for i in 1 2 3 4 5; do echo out $i; done; printf unfinished";
    let mut script = vec![
        create("said", says, r#","Labels":{"a":"b"},"Env":["X=y"]"#),
        create("terminal", "echo one; echo two; stty size", r#","Tty":true"#),
        create("silent", "true", ""),
        create(
            "unlogged",
            "echo lost",
            r#","HostConfig":{"LogConfig":{"Type":"none"}}"#,
        ),
    ];
    script.extend(["said", "terminal", "silent", "unlogged"].into_iter().flat_map(run));
    script.extend([
        create(
            "runs",
            "echo up; sleep 1000 & sleep 2000",
            r#","HostConfig":{"Memory":67108864,"NanoCpus":500000000,"PidsLimit":50}"#,
        ),
        post("/containers/runs/start", "").unseen(),
        get("/containers/runs/logs?stdout=1").until("up"),
        create("still", "true", ""),
        create("late", "sleep 0.5; echo late; sleep 0.3; echo later >&2", ""),
    ]);
    script
}

fn log(container: &str, query: &str) -> Request {
    get(format!("/containers/{container}/logs?{query}"))
}

fn logs() -> Vec<Request> {
    vec![
        log("said", "stdout=1"),
        log("said", "stderr=1"),
        log("said", "stdout=1&stderr=1"),
        log("said", "stdout=1&stderr=1&tail=3"),
        log("said", "stdout=1&tail=2"),
        log("said", "stdout=1&tail=0"),
        log("said", "stdout=1&tail=all"),
        log("said", "stdout=1&tail=100"),
        log("said", "stdout=1&tail=-1"),
        log("said", "stdout=1&tail=x"),
        log("said", "stdout=1&timestamps=1"),
        log("said", "stdout=1&details=1"),
        log("said", "stdout=1&details=1&timestamps=1&tail=1"),
        log("said", "stdout=1&since=1"),
        log("said", "stdout=1&since=4000000000"),
        log("said", "stdout=1&until=1"),
        log("said", "stdout=1&until=4000000000.5"),
        log("said", "stdout=1&since=2020-01-01T00:00:00Z"),
        log("said", "stdout=1&since=0&until=0"),
        log("said", "stdout=1&follow=1"),
        log("said", "stdout=1&follow=0&tail=1").version("/v1.24"),
        log("said", "stdout=1&tail=1").version("/v1.41"),
        log("terminal", "stdout=1"),
        log("terminal", "stdout=1&stderr=1&timestamps=1"),
        log("terminal", "stderr=1"),
        log("terminal", "stdout=1").version("/v1.24"),
        log("silent", "stdout=1"),
        log("still", "stdout=1"),
        log("still", "stdout=1&follow=1").patience(1_000),
        log("runs", "stdout=1"),
        log("runs", "stdout=1&follow=1").patience(1_000),
        log("runs", "stdout=1&follow=1&until=1").patience(1_000),
        post("/containers/late/start", "").unseen(),
        log("late", "stdout=1&stderr=1&follow=1"),
        log("late", "stdout=1&stderr=1&follow=1&tail=1"),
    ]
}

fn impossible_logs() -> Vec<Request> {
    vec![
        get("/containers/said/logs"),
        log("said", "stdout=0&stderr=0"),
        log("nosuch", "stdout=1"),
        log("nosuch", ""),
        log("said", "stdout=1&since=x"),
        log("said", "stdout=1&until=x"),
        log("said", "stdout=1&since=1x"),
        log("said", "stdout=1&since=-5"),
        log("unlogged", "stdout=1"),
        log("unlogged", "stdout=1&follow=1"),
    ]
}

fn top() -> Vec<Request> {
    let top = |container: &str, arguments: &str| {
        get(with(&format!("/containers/{container}/top"), &[("ps_args", arguments)]))
    };
    vec![
        get("/containers/runs/top").reading(Reading::Form),
        top("runs", "-o pid,comm").reading(Reading::Form),
        top("runs", "-o pid,args").reading(Reading::Form),
        top("runs", "aux").reading(Reading::Form),
        top("runs", "-eo pid,user,comm").reading(Reading::Form),
        top("runs", "-o comm"),
        top("runs", "--nosuch"),
        top("runs", "-o nosuch"),
        top("still", ""),
        top("said", "aux"),
        top("nosuch", "aux"),
        get("/containers/nosuch/top"),
        get("/containers/runs/top").version("/v1.24").reading(Reading::Form),
        post("/containers/runs/pause", ""),
        get("/containers/runs/top").reading(Reading::Form),
        post("/containers/runs/unpause", ""),
    ]
}

fn stats() -> Vec<Request> {
    let stats = |container: &str, query: &str| get(format!("/containers/{container}/stats{query}"));
    vec![
        stats("runs", "?stream=0").reading(Reading::Form),
        stats("runs", "?stream=false&one-shot=1").reading(Reading::Form),
        stats("runs", "").lines(2).reading(Reading::Form),
        stats("runs", "?stream=1").lines(1).reading(Reading::Form),
        stats("runs", "?stream=1&one-shot=1"),
        stats("still", "?stream=0"),
        stats("still", "?stream=0&one-shot=1"),
        stats("still", "").lines(1),
        stats("said", "?stream=0"),
        stats("nosuch", "?stream=0"),
        stats("nosuch", ""),
        stats("runs", "?stream=0").version("/v1.24").reading(Reading::Form),
        stats("runs", "?stream=0").version("/v1.40").reading(Reading::Form),
    ]
}
