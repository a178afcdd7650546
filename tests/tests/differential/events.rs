//! Events of every kind of objects: which there are, in which order, what is told with them, and who asks for which.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::decode::Reading;
use crate::harness::{Difference, Pair, Request, delete, get, post, put, with};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    ("GET /events?since=x", "status", "a client's fault is answered with 400"),
    (
        "GET /events?since=1.x",
        "status",
        "a client's fault is answered with 400",
    ),
    ("GET /events?until=x", "status", "a client's fault is answered with 400"),
    (
        "/events?filters=%7B%22type%22%3A%5B%22image",
        "/Attributes/name",
        "of an image that loses a name that name is told, not its id",
    ),
    (
        "/events?filters=%7B%22label%22%3A%5B%22colour",
        "/Attributes/name",
        "of an image that loses a name that name is told, not its id",
    ),
    (
        "GET /events?since=1.x",
        "/message",
        "the whole of what is no time is told",
    ),
    (
        "GET /events?since=1&until=2&filters=%7B%22nosuch",
        "",
        "a filter that there is none of is refused, not ignored",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn what_happens_is_told_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&population());
    for life in [
        run(),
        signals(),
        files_and_execs(),
        ends(),
        volumes(),
        networks(),
        images(),
        prunes(),
    ] {
        let begun = seconds();
        pair.know("begun", &begun, &begun);
        pair.compare(&life);
    }
    let begun = seconds();
    pair.know("begun", &begun, &begun);
    pair.compare(&filtered());
    pair.compare(&impossible());
    pair.compare(&live());
    pair.finish(&[("GET", "/events", &[200, 400])], &[]);
}

/// Seconds since 1970.
fn seconds() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{:.9}", now.as_secs_f64())
}

/// What was told since the script began of what the filters name; ids in them are names of ids in quotes: `"{name}"`.
fn told(filters: &str) -> Request {
    let filters = with("", &[("filters", filters)])
        .replace("%22%7B", "%22{")
        .replace("%7D%22", "}%22");
    get(format!("/events{filters}&since={{begun}}&until={{now}}"))
}

/// What was told of a container, but for `stop`: Docker tells it before the end or after it, as chance has it.
fn lived(container: &str) -> Request {
    let actions = r#""commit","create","destroy","die","export","kill","oom","pause","rename","restart","start","unpause","update""#;
    told(&format!(r#"{{"container":["{container}"],"event":[{actions}]}}"#))
}

fn stopped(container: &str) -> Request {
    told(&format!(r#"{{"container":["{container}"],"event":["stop"]}}"#))
}

fn create(name: &str, script: &str, fields: &str) -> Request {
    let body = format!(
        r#"{{"Image":"busybox","Cmd":["sh","-c","{script}"],"Labels":{{"tier":"front","of":"{name}"}}{fields}}}"#
    );
    post(format!("/containers/create?name={name}"), body).unseen()
}

fn act(method_and_path: &str) -> Request {
    post(method_and_path, "").unseen()
}

/// Lives until it is told to end, by any signal.
const LIVES: &str = "trap 'exit 3' TERM USR1; while :; do sleep 0.05; done";

fn population() -> Vec<Request> {
    vec![
        create("lives", LIVES, "").named("lives"),
        create("kept", "exec sleep 1000", "").named("kept"),
        act("/containers/kept/start"),
    ]
}

/// A container from its start to its removal.
fn run() -> Vec<Request> {
    vec![
        act("/containers/lives/start"),
        act("/containers/lives/pause"),
        act("/containers/lives/unpause"),
        act("/containers/lives/rename?name=renamed"),
        post("/containers/renamed/update", r#"{"CpuShares":512}"#).unseen(),
        act("/containers/renamed/restart?t=5"),
        act("/containers/renamed/stop?t=5"),
        act("/containers/renamed/start"),
        delete("/containers/renamed?force=1").unseen(),
        lived("{lives}"),
        stopped("{lives}"),
    ]
}

fn signals() -> Vec<Request> {
    let oom = "x=x; while :; do x=$x$x; done";
    vec![
        create("signalled", LIVES, "").named("signalled"),
        act("/containers/signalled/start"),
        act("/containers/signalled/kill?signal=HUP"),
        act("/containers/signalled/kill?signal=USR1"),
        act("/containers/signalled/wait"),
        act("/containers/signalled/start"),
        act("/containers/signalled/kill"),
        act("/containers/signalled/wait"),
        act("/containers/signalled/kill"),
        lived("signalled"),
        create(
            "hungry",
            oom,
            r#","HostConfig":{"Memory":8388608,"MemorySwap":8388608}"#,
        )
        .named("hungry"),
        act("/containers/hungry/start"),
        act("/containers/hungry/wait"),
        create("deaf", "trap '' TERM; sleep 1000", "").named("deaf"),
        act("/containers/deaf/start"),
        act("/containers/deaf/stop?t=1"),
        lived("deaf"),
        stopped("deaf"),
        // Docker tells this end only after it was waited for.
        lived("hungry"),
    ]
}

fn files_and_execs() -> Vec<Request> {
    let exec = r#"{"Cmd":["sh","-c","echo > /tmp/x; exit 4"],"AttachStdout":true}"#;
    vec![
        post("/containers/kept/exec", exec).named("exec").unseen(),
        post("/exec/{exec}/start", r#"{"Detach":false}"#).unseen(),
        get("/containers/kept/archive?path=/bin/sh"),
        put("/containers/kept/archive?path=/tmp", vec![0; 1024]).unseen(),
        get("/containers/kept/export").patience(15_000).reading(Reading::Form),
        act("/containers/kept/resize?h=10&w=20"),
        get("/containers/kept/logs?stdout=1"),
        get("/containers/kept/changes"),
        get("/containers/kept/top").reading(Reading::Form),
        post("/commit?container=kept&repo=committed&tag=1&comment=said&pause=0", "")
            .named("committed")
            .unseen(),
        told(r#"{"container":["kept"]}"#),
        told(r#"{"type":["image"]}"#),
        delete("/images/committed:1").reading(Reading::Form).unseen(),
    ]
}

/// Containers that end by themselves, do not start, or are removed when they end.
fn ends() -> Vec<Request> {
    vec![
        create("ended", "exit 7", "").named("ended"),
        act("/containers/ended/start"),
        act("/containers/ended/wait"),
        delete("/containers/ended?v=1").unseen(),
        lived("{ended}"),
        create("automatic", "exit 0", r#","HostConfig":{"AutoRemove":true}"#).named("automatic"),
        act("/containers/automatic/wait?condition=removed").later(),
        act("/containers/automatic/start"),
        get("/containers/automatic/json").until("No such container"),
        lived("{automatic}"),
        post(
            "/containers/create?name=wrong",
            r#"{"Image":"busybox","Cmd":["/nosuch"]}"#,
        )
        .named("wrong")
        .unseen(),
        act("/containers/wrong/start"),
        delete("/containers/wrong").unseen(),
        lived("{wrong}"),
    ]
}

fn volumes() -> Vec<Request> {
    // One for each: Docker mounts those of one container in any order.
    let bound = r#","HostConfig":{"Binds":["data:/data:ro"]}"#;
    let mounted = r#","HostConfig":{"Mounts":[{"Type":"volume","Source":"made","Target":"/made"}]}"#;
    vec![
        post("/volumes/create", r#"{"Name":"data","Labels":{"a":"b"}}"#).unseen(),
        create("user", "true", bound).named("user"),
        act("/containers/user/start"),
        act("/containers/user/wait"),
        create("another", "true", mounted).named("another"),
        act("/containers/another/start"),
        act("/containers/another/wait"),
        delete("/containers/user").unseen(),
        delete("/containers/another").unseen(),
        delete("/volumes/data").unseen(),
        delete("/volumes/made?force=1").unseen(),
        told(r#"{"type":["volume"]}"#),
        told(r#"{"type":["volume"],"event":["create","destroy"]}"#),
        told(r#"{"volume":["data"]}"#),
        told(r#"{"volume":["dat"]}"#),
    ]
}

fn networks() -> Vec<Request> {
    vec![
        post("/networks/create", r#"{"Name":"side","Labels":{"a":"b"}}"#)
            .named("side")
            .unseen(),
        post("/networks/side/connect", r#"{"Container":"kept"}"#).unseen(),
        post("/networks/side/disconnect", r#"{"Container":"kept"}"#).unseen(),
        post("/networks/side/connect", r#"{"Container":"kept"}"#).unseen(),
        post("/networks/side/disconnect", r#"{"Container":"kept","Force":true}"#).unseen(),
        create("beside", "true", r#","HostConfig":{"NetworkMode":"side"}"#).named("beside"),
        act("/containers/beside/start"),
        act("/containers/beside/wait"),
        delete("/containers/beside").unseen(),
        delete("/networks/side").unseen(),
        told(r#"{"type":["network"]}"#),
        told(r#"{"network":["side"]}"#),
        told(r#"{"network":["{side}"],"event":["connect"]}"#),
        told(r#"{"type":["network","container"],"event":["start","connect"]}"#),
    ]
}

fn images() -> Vec<Request> {
    let import = with(
        "/images/create",
        &[
            ("fromSrc", "-"),
            ("repo", "made"),
            ("tag", "1"),
            ("changes", "LABEL colour=red"),
        ],
    );
    vec![
        post(import, vec![0; 1024])
            .reading(Reading::Progress)
            .named("import")
            .unseen(),
        act("/images/made:1/tag?repo=made&tag=2"),
        act("/images/busybox/tag?repo=host.example:5000/other&tag=3"),
        delete("/images/made:2").unseen(),
        delete("/images/host.example:5000/other:3").unseen(),
        told(r#"{"type":["image"]}"#),
        told(r#"{"image":["made:1"]}"#),
        told(r#"{"image":["made"],"event":["tag"]}"#),
        told(r#"{"image":["host.example:5000/other"],"event":["tag"]}"#),
        told(r#"{"label":["colour"]}"#),
        told(r#"{"label":["colour=red"],"event":["tag","untag"]}"#),
        delete("/images/made:1").unseen(),
        told(r#"{"type":["image"],"event":["untag","delete"]}"#),
    ]
}

fn prunes() -> Vec<Request> {
    vec![
        post("/containers/prune", "").unseen().reading(Reading::Form),
        post("/networks/prune", "").unseen(),
        post("/volumes/prune", "").unseen(),
        post("/images/prune", "").unseen(),
        told(r#"{"event":["prune"]}"#),
        told(r#"{"event":["prune"],"type":["volume"]}"#),
    ]
}

fn filtered() -> Vec<Request> {
    let mut script = vec![
        create("web", "exit 1", "").named("web"),
        act("/containers/web/start"),
        act("/containers/web/wait"),
        act("/containers/web/rename?name=web2"),
    ];
    let filters = [
        "{}",
        "",
        r#"{"type":["container"]}"#,
        r#"{"type":["image","volume"]}"#,
        r#"{"type":["nosuch"]}"#,
        r#"{"event":["die","rename"]}"#,
        r#"{"event":["nosuch"]}"#,
        r#"{"container":["web"]}"#,
        r#"{"container":["web2"]}"#,
        r#"{"container":["w"]}"#,
        r#"{"container":["eb"]}"#,
        r#"{"container":["{web}"]}"#,
        r#"{"container":["nosuch","web2"]}"#,
        r#"{"image":["busybox"]}"#,
        r#"{"image":["busybox:latest"]}"#,
        r#"{"image":["busy"]}"#,
        r#"{"label":["tier"]}"#,
        r#"{"label":["tier=front"]}"#,
        r#"{"label":["tier=back"]}"#,
        r#"{"label":["tier=front","of=web"]}"#,
        r#"{"label":["tier=front","of=other"]}"#,
        r#"{"scope":["local"]}"#,
        r#"{"scope":["swarm"]}"#,
        r#"{"daemon":["x"]}"#,
        r#"{"network":["bridge"],"event":["connect","disconnect"]}"#,
        r#"{"container":["web2"],"event":["die"],"type":["container"]}"#,
        r#"{"container":{"web2":true},"event":{"die":true}}"#,
        r#"{"type":[]}"#,
    ];
    script.extend(filters.map(told));
    script.extend([
        told(r#"{"container":["web2"]}"#).version("/v1.24"),
        told(r#"{"container":["web2"]}"#).version("/v1.40"),
        told(r#"{"container":["web2"]}"#).version(""),
    ]);
    script
}

fn impossible() -> Vec<Request> {
    let filtered = |filters: &str| get(with("/events", &[("since", "1"), ("until", "2"), ("filters", filters)]));
    vec![
        get("/events?since=x").patience(1_000),
        get("/events?until=x").patience(1_000),
        get("/events?since=2000000000&until=1000000000"),
        get("/events?since=1&until=2"),
        get("/events?until=2"),
        get("/events?since=1.5&until=1.25"),
        get("/events?since=1.x&until=2"),
        get("/events?since=-1&until=2"),
        get("/events?since=1&until=2&filters=x"),
        filtered(r#"{"nosuch":["x"]}"#),
        filtered(r#"{"type":"container"}"#),
        filtered("[]"),
    ]
}

/// What is told while it happens, to those who listen.
fn live() -> Vec<Request> {
    let heard = |filters: &str| get(with("/events", &[("filters", filters)])).patience(4_000).later();
    vec![
        heard(r#"{"container":["heard"]}"#),
        heard(r#"{"container":["heard"],"event":["die"]}"#).lines(1),
        heard(r#"{"type":["volume"]}"#),
        heard(r#"{"label":["of=heard"]}"#).version("/v1.24"),
        create("heard", "exit 5", "").named("heard"),
        act("/containers/heard/start"),
        act("/containers/heard/wait"),
        post("/volumes/create", r#"{"Name":"listened"}"#).unseen(),
        delete("/containers/heard").unseen(),
    ]
}
