//! Containers started, stopped, paused, waited for.

use crate::harness::{Difference, Pair, Request, delete, get, post};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    (
        "POST /containers/nobody/start",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/no-group/start",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/stubborn/stop?signal=NOSUCH",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/stubborn/stop?t=x",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/mindful/restart?t=x",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/mindful/restart?signal=NOSUCH",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/absent/restart",
        "status",
        "a client's fault is answered with 400, as at its start",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn containers_live_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&starts());
    pair.compare(&stops());
    pair.compare(&restarts());
    pair.compare(&kills());
    pair.compare(&pauses());
    pair.compare(&waits());
    pair.compare(&older_clients());
    pair.finish(
        &[
            ("POST", "/containers/{id}/start", &[204, 304, 400, 404]),
            ("POST", "/containers/{id}/stop", &[204, 304, 404]),
            ("POST", "/containers/{id}/restart", &[204, 404]),
            ("POST", "/containers/{id}/kill", &[204, 404, 409]),
            ("POST", "/containers/{id}/pause", &[204, 404]),
            ("POST", "/containers/{id}/unpause", &[204, 404]),
            ("POST", "/containers/{id}/wait", &[200, 400, 404]),
        ],
        &[],
    );
}

fn create(name: &str, fields: &str) -> Request {
    post(
        format!("/containers/create?name={name}"),
        format!(r#"{{"Image":"busybox",{fields}}}"#),
    )
}

fn act(id: &str, action: &str) -> Request {
    post(format!("/containers/{id}/{action}"), "")
}

/// A shell that says `up` once it minds signals, and ends with the number of the one that came.
const MINDFUL: &str = r#""Cmd":["sh","-c","trap 'exit 15' TERM; trap 'exit 2' INT; trap 'exit 10' USR1; echo up; while :; do sleep 0.05; done"]"#;

/// Until it minds signals.
fn up(id: &str) -> Request {
    get(format!("/containers/{id}/logs?stdout=1&tail=1")).until("up")
}

fn starts() -> Vec<Request> {
    vec![
        create("plain", r#""Cmd":["sleep","1000"],"HostConfig":{"Memory":67108864}"#),
        act("plain", "start"),
        act("plain", "start"),
        act("nosuch", "start"),
        act("plain", "start?detachKeys=ctrl-x"),
        act("plain", "start?detachKeys=nosuch-key"),
        post("/containers/plain/start", "{}"),
        post("/containers/plain/start", r#"{"Binds":["/:/x"]}"#),
        post("/containers/plain/start?checkpoint=x", ""),
        create(
            "fleeting",
            r#""Cmd":["sh","-c","exit 5"],"HostConfig":{"AutoRemove":true}"#,
        ),
        act("fleeting", "wait?condition=removed").later(),
        act("fleeting", "start").unseen(),
        create("absent", r#""Cmd":["/nosuch"]"#),
        act("absent", "start"),
        create("directory", r#""Cmd":["/etc"]"#),
        act("directory", "start"),
        create("plain-file", r#""Cmd":["/etc/passwd"]"#),
        act("plain-file", "start"),
        create("nobody", r#""Cmd":["true"],"User":"nobody-there""#),
        act("nobody", "start"),
        create("no-group", r#""Cmd":["true"],"HostConfig":{"GroupAdd":["nosuch"]}"#),
        act("no-group", "start"),
        create("no-network", r#""Cmd":["true"],"HostConfig":{"NetworkMode":"nosuch"}"#),
        act("no-network", "start"),
        create(
            "no-bind",
            r#""Cmd":["true"],"HostConfig":{"NetworkMode":"container:directory"}"#,
        ),
        act("no-bind", "start"),
        create(
            "no-pid",
            r#""Cmd":["true"],"HostConfig":{"PidMode":"container:directory"}"#,
        ),
        act("no-pid", "start"),
        create(
            "no-ipc",
            r#""Cmd":["true"],"HostConfig":{"IpcMode":"container:directory"}"#,
        ),
        act("no-ipc", "start"),
        create(
            "not-shared",
            r#""Cmd":["true"],"HostConfig":{"IpcMode":"container:plain"}"#,
        ),
        act("not-shared", "start"),
    ]
}

fn stops() -> Vec<Request> {
    vec![
        act("plain", "stop?t=0"),
        act("plain", "stop"),
        act("nosuch", "stop"),
        create("mindful", MINDFUL),
        act("mindful", "stop"),
        act("mindful", "start"),
        up("mindful"),
        act("mindful", "stop?t=5"),
        act("mindful", "start"),
        up("mindful").until("up"),
        act("mindful", "stop?signal=INT&t=5"),
        create(
            "stubborn",
            r#""Cmd":["sh","-c","trap '' TERM; echo up; while :; do sleep 0.05; done"],"StopTimeout":1"#,
        ),
        act("stubborn", "start"),
        up("stubborn"),
        act("stubborn", "stop"),
        act("stubborn", "start"),
        up("stubborn"),
        act("stubborn", "stop?signal=SIGKILL"),
        act("stubborn", "start"),
        act("stubborn", "stop?signal=NOSUCH"),
        act("stubborn", "stop?t=x"),
        act("stubborn", "stop?t=1&signal=USR1"),
        act("stubborn", "stop?t=-1&signal=KILL"),
    ]
}

fn restarts() -> Vec<Request> {
    vec![
        act("mindful", "restart"),
        up("mindful"),
        act("mindful", "restart?t=3"),
        act("mindful", "restart?t=0"),
        act("mindful", "restart?signal=INT&t=1"),
        act("mindful", "restart?signal=NOSUCH"),
        act("mindful", "restart?t=x"),
        act("nosuch", "restart"),
        act("plain", "restart?t=0"),
        act("plain", "restart?t=0&signal=9"),
        act("absent", "restart"),
        act("mindful", "pause"),
        act("mindful", "restart?t=0"),
        delete("/containers/mindful?force=1"),
    ]
}

fn kills() -> Vec<Request> {
    vec![
        create("target", MINDFUL),
        act("target", "kill"),
        act("target", "start"),
        up("target"),
        act("target", "kill?signal=0"),
        act("target", "kill?signal=NOSUCH"),
        act("target", "kill?signal=999"),
        act("target", "kill?signal=-1"),
        act("target", "kill?signal=CONT"),
        act("target", "kill?signal=sigwinch"),
        act("target", "kill?signal=28"),
        act("target", "kill?signal=USR1").unseen(),
        act("target", "wait"),
        act("target", "start"),
        act("target", "kill?signal=SIGKILL"),
        act("target", "start"),
        act("target", "kill"),
        act("target", "kill"),
        act("target", "kill?signal=TERM"),
        act("nosuch", "kill"),
        act("target", "start"),
        act("target", "pause"),
        act("target", "kill?signal=HUP").unseen(),
        act("target", "kill"),
    ]
}

fn pauses() -> Vec<Request> {
    vec![
        act("target", "pause"),
        act("target", "unpause"),
        act("nosuch", "pause"),
        act("nosuch", "unpause"),
        create("still", r#""Cmd":["sleep","1000"],"HostConfig":{"CpuShares":512}"#),
        act("still", "pause"),
        act("still", "unpause"),
        act("still", "start"),
        act("still", "unpause"),
        act("still", "pause"),
        act("still", "pause"),
        act("still", "start"),
        act("still", "unpause"),
        act("still", "unpause"),
        act("still", "pause"),
        act("still", "stop?t=1"),
        act("still", "start"),
        act("still", "pause"),
        act("{1}", "unpause"),
        act("{1}", "pause"),
        act("still", "unpause"),
        act("still", "pause"),
        delete("/containers/still"),
        delete("/containers/still?force=1"),
    ]
}

fn waits() -> Vec<Request> {
    vec![
        create("ends", r#""Cmd":["sh","-c","sleep 0.3; exit 7"]"#),
        act("ends", "wait"),
        act("ends", "wait?condition=not-running"),
        act("ends", "wait?condition=next-exit").later(),
        act("ends", "wait?condition=removed").later(),
        act("ends", "start").unseen(),
        act("ends", "wait"),
        act("ends", "wait?condition=not-running"),
        act("ends", "wait?condition=x"),
        act("ends", "wait?condition="),
        act("nosuch", "wait"),
        act("nosuch", "wait?condition=removed"),
        act("nosuch", "wait?condition=x"),
        act("ends", "wait").version("/v1.24"),
        act("ends", "wait?condition=removed").version("/v1.29"),
        delete("/containers/ends"),
    ]
}

fn older_clients() -> Vec<Request> {
    vec![
        create("old", r#""Cmd":["sleep","1000"],"HostConfig":{"NetworkMode":"host"}"#)
            .version("/v1.24")
            .unseen(),
        act("old", "start").version("/v1.24").unseen(),
        act("old", "pause").version("/v1.24").unseen(),
        act("old", "unpause").version("/v1.24").unseen(),
        act("old", "restart?t=0").version("/v1.24").unseen(),
        act("old", "kill?signal=KILL").version("/v1.24").unseen(),
        act("old", "stop?signal=INT").version("/v1.24").unseen(),
        act("old", "restart?t=0&signal=INT").version("/v1.41").unseen(),
    ]
}
