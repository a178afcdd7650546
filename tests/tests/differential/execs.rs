//! Processes beside the first.

use crate::harness::{Difference, Pair, delete, get, post};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[(
    "POST /containers/host/exec",
    "status",
    "a client's fault is answered with 400",
)];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn execs_are_answered_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&[
        post(
            "/containers/create?name=host",
            r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#,
        ),
        post("/containers/host/start", ""),
        post(
            "/containers/host/exec",
            r#"{"Cmd":["sleep","1000"],"Env":["A=1"],"User":"worker","WorkingDir":"/tmp","Tty":false}"#,
        )
        .named("exec"),
        get("/exec/{exec}/json"),
        post("/exec/{exec}/start", r#"{"Detach":true}"#),
        post("/exec/{exec}/start", r#"{"Detach":true}"#),
        post("/containers/host/exec", r#"{}"#),
        post(
            "/containers/host/exec",
            r#"{"Cmd":["true"],"DetachKeys":"nosuch-key-name"}"#,
        ),
        delete("/containers/host"),
        delete("/containers/host?force=1"),
    ]);
    pair.finish(&[], &[]);
}
