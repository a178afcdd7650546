//! Processes beside the first.

use crate::decode::Reading;
use crate::harness::{Difference, Pair, Request, delete, get, post};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    (
        "POST /containers/host/exec",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/faulty/exec",
        "",
        "faults are told at once, and an unknown user at the start",
    ),
    (
        "POST /exec/{sleeps}/start",
        "",
        "a refusal is told before the connection is taken over",
    ),
    (
        "POST /exec/{cat}/start",
        "",
        "a refusal is told before the connection is taken over",
    ),
    (
        "POST /exec/{terminal}/resize?h=24&w=80",
        "",
        "what is not started has no terminal, which is told at once",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn execs_are_answered_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&creations());
    pair.compare(&impossible_creations());
    pair.compare(&starts());
    pair.compare(&impossible_starts());
    pair.compare(&sizes());
    pair.compare(&ends());
    pair.finish(
        &[
            ("POST", "/containers/{id}/exec", &[201, 404, 409]),
            ("POST", "/exec/{id}/start", &[200, 404, 409]),
            ("POST", "/exec/{id}/resize", &[200, 400, 404]),
            ("GET", "/exec/{id}/json", &[200, 404]),
        ],
        &[],
    );
}

fn exec(fields: &str) -> Request {
    post("/containers/host/exec", format!("{{{fields}}}"))
}

/// One whose output is attached.
fn shell(script: &str) -> Request {
    exec(&format!(
        r#""Cmd":["sh","-c","{script}"],"AttachStdin":true,"AttachStdout":true,"AttachStderr":true"#
    ))
}

fn start(id: &str, body: &str) -> Request {
    post(format!("/exec/{id}/start"), body.to_owned())
}

fn creations() -> Vec<Request> {
    vec![
        post(
            "/containers/create?name=host",
            r#"{"Image":"busybox","Cmd":["sleep","1000"],"Env":["A=0"],"WorkingDir":"/home"}"#,
        ),
        post("/containers/host/start", ""),
        exec(r#""Cmd":["true"]"#),
        exec(r#""Cmd":["sleep","1000"],"Env":["A=1"],"User":"worker","WorkingDir":"/tmp","Tty":false"#).named("sleeps"),
        exec(r#""Cmd":["true"],"Privileged":true,"User":"1000:29""#),
        exec(r#""Cmd":["sh"],"Tty":true,"ConsoleSize":[24,80],"AttachStdin":true,"AttachStdout":true"#),
        exec(r#""Cmd":["sh"],"AttachStderr":true,"Detach":true,"DetachKeys":"ctrl-x,x""#),
        exec(r#""Cmd":["true"],"DetachKeys":"ctrl-@""#),
        post("/containers/host/exec", r#"{"Cmd":["true"]}"#).version("/v1.24"),
        get("/exec/{sleeps}/json").version("/v1.24"),
        get("/exec/{sleeps}/json"),
        start("{sleeps}", r#"{"Detach":true}"#),
        get("/exec/{sleeps}/json"),
        get("/exec/nosuch/json"),
        get("/exec/nosuch/json").version("/v1.24"),
        get("/containers/host/json"),
    ]
}

fn impossible_creations() -> Vec<Request> {
    let on_faulty = |fields: &str| post("/containers/faulty/exec", format!("{{{fields}}}"));
    vec![
        post(
            "/containers/create?name=faulty",
            r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#,
        ),
        post("/containers/faulty/start", ""),
        exec(""),
        exec(r#""Cmd":[]"#),
        exec(r#""Cmd":["true"],"DetachKeys":"nosuch-key-name""#),
        on_faulty(r#""Cmd":["true"],"ConsoleSize":[1]"#),
        exec(r#""Cmd":"true""#),
        on_faulty(r#""Cmd":["true"],"User":"nobody-there""#),
        on_faulty(r#""Cmd":["true"],"WorkingDir":"relative""#),
        on_faulty(r#""Cmd":["true"],"Env":["=x"]"#),
        post("/containers/host/exec", ""),
        post("/containers/host/exec", "{"),
        post("/containers/host/exec", r#"{"Cmd":["true"]}"#).header("Content-Type", "text/plain"),
        post("/containers/nosuch/exec", r#"{"Cmd":["true"]}"#),
        post("/containers/nosuch/exec", "{}"),
        post("/containers/create?name=still", r#"{"Image":"busybox"}"#),
        post("/containers/still/exec", r#"{"Cmd":["true"]}"#),
        post("/containers/host/pause", ""),
        exec(r#""Cmd":["true"]"#),
        post("/containers/host/unpause", ""),
    ]
}

fn starts() -> Vec<Request> {
    vec![
        shell("cat; echo err >&2; exit 3").named("cat"),
        start("{cat}", "{}").hijacked("input\n"),
        get("/exec/{cat}/json").until("\"ExitCode\":3"),
        shell("echo $A $PWD $USER; id -u").named("env"),
        start("{env}", r#"{"Detach":false,"Tty":false}"#).reading(Reading::Frames),
        exec(
            r#""Cmd":["sh","-c","echo $A $B $PWD; id"],"AttachStdout":true,"Env":["A=1","B=2"],"User":"worker:audio","WorkingDir":"/tmp""#,
        )
        .named("as-worker"),
        start("{as-worker}", "{}").hijacked(""),
        exec(r#""Cmd":["sh","-c","grep CapEff /proc/self/status"],"AttachStdout":true,"Privileged":true"#).named("strong"),
        start("{strong}", "{}").hijacked(""),
        exec(r#""Cmd":["sh","-c","stty size; tty"],"AttachStdout":true,"Tty":true,"ConsoleSize":[30,90]"#).named("tty"),
        start("{tty}", r#"{"Tty":true}"#).hijacked(""),
        exec(r#""Cmd":["sh","-c","stty size"],"AttachStdout":true,"Tty":true"#).named("tty-late"),
        start("{tty-late}", r#"{"Tty":true,"ConsoleSize":[31,91]}"#).hijacked(""),
        exec(r#""Cmd":["sh","-c","echo lost; echo kept >&2"],"AttachStderr":true"#).named("half"),
        start("{half}", "{}").hijacked(""),
        exec(r#""Cmd":["true"]"#).named("silent"),
        start("{silent}", r#"{"Detach":true}"#).unseen(),
        get("/exec/{silent}/json").until("\"ExitCode\":0"),
        shell("echo old").named("old"),
        start("{old}", "{}").version("/v1.24").reading(Reading::Frames),
        exec(r#""Cmd":["nosuch-program"],"AttachStdout":true,"AttachStderr":true"#).named("absent"),
        start("{absent}", "{}").hijacked(""),
        get("/exec/{absent}/json"),
        exec(r#""Cmd":["/etc/passwd"],"AttachStdout":true"#).named("no-program"),
        start("{no-program}", r#"{"Detach":true}"#),
        get("/exec/{no-program}/json"),
        exec(r#""Cmd":["true"],"WorkingDir":"/nosuch","AttachStdout":true"#).named("nowhere"),
        start("{nowhere}", "{}").hijacked(""),
        get("/exec/{nowhere}/json"),
    ]
}

fn impossible_starts() -> Vec<Request> {
    vec![
        start("nosuch", "{}"),
        start("nosuch", r#"{"Detach":true}"#),
        start("{sleeps}", r#"{"Detach":true}"#),
        start("{sleeps}", "{}").hijacked(""),
        start("{cat}", "{}"),
        exec(r#""Cmd":["true"]"#).named("unasked"),
        start("{unasked}", "").unseen(),
        exec(r#""Cmd":["true"]"#).named("broken"),
        start("{broken}", "{"),
        exec(r#""Cmd":["true"]"#).named("sized"),
        start("{sized}", r#"{"ConsoleSize":[1,1]}"#),
        exec(r#""Cmd":["sleep","1000"]"#).named("sized-detached"),
        start("{sized-detached}", r#"{"Tty":true,"Detach":true,"ConsoleSize":[1,1]}"#),
        exec(r#""Cmd":["true"]"#).named("held"),
        post("/containers/host/pause", ""),
        start("{held}", r#"{"Detach":true}"#),
        post("/containers/host/unpause", ""),
    ]
}

fn sizes() -> Vec<Request> {
    let resize = |id: &str, query: &str| post(format!("/exec/{id}/resize{query}"), "");
    vec![
        exec(r#""Cmd":["sh","-c","sleep 1000"],"Tty":true,"AttachStdout":true"#).named("terminal"),
        resize("{terminal}", "?h=24&w=80"),
        start("{terminal}", r#"{"Detach":true,"Tty":true}"#),
        resize("{terminal}", "?h=24&w=80"),
        resize("{terminal}", "?h=0&w=0"),
        resize("{terminal}", "?h=24"),
        resize("{terminal}", "?h=x&w=80"),
        resize("{terminal}", "?h=24&w=-1"),
        resize("{sleeps}", "?h=24&w=80"),
        resize("{cat}", "?h=24&w=80"),
        resize("nosuch", "?h=24&w=80"),
        resize("nosuch", "?h=x&w=80"),
        resize("{terminal}", "?h=24&w=80").version("/v1.24"),
    ]
}

fn ends() -> Vec<Request> {
    vec![
        exec(r#""Cmd":["true"]"#).named("never"),
        post("/containers/host/kill", ""),
        get("/exec/{never}/json"),
        get("/exec/{sleeps}/json"),
        get("/containers/host/json"),
        start("{never}", r#"{"Detach":true}"#),
        exec(r#""Cmd":["true"]"#),
        delete("/containers/host"),
        get("/exec/{never}/json"),
        start("{never}", "{}"),
    ]
}
