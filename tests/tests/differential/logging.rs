//! Logs: drivers and their options, what entries say of containers.

use crate::harness::{Difference, Pair, Request, get, post};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    (
        "POST /containers/create?name=late-",
        "",
        "the sooner a client knows, the better: Docker refuses the start",
    ),
    (
        "POST /containers/create?name=none-with",
        "",
        "nothing is accepted and ignored",
    ),
];

/// How long Docker looks for a plugin, milliseconds.
const LOOKUP: u64 = 60_000;

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn output_is_kept_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&refusals());
    pair.compare(&entries());
    pair.finish(&[], &[]);
}

fn create(name: &str, log: &str) -> Request {
    let body = format!(
        r#"{{"Image":"busybox","Cmd":["sh","-c","echo out; echo err >&2; printf part"],"Env":["A=1","AB=2 3","C"],
           "Labels":{{"kind":"x/y","com.a":"ü","com.b":""}},"HostConfig":{{"NetworkMode":"none","LogConfig":{log}}}}}"#
    );
    post(format!("/containers/create?name={name}"), body)
}

fn refusals() -> Vec<Request> {
    vec![
        create("refused", r#"{"Type":"nosuch"}"#).patience(LOOKUP),
        create("refused", r#"{"Type":"nosuch","Config":{"a":"b"}}"#).patience(LOOKUP),
        create("refused", r#"{"Type":"json-file","Config":{"nosuch":"x"}}"#),
        create("refused", r#"{"Config":{"nosuch":"x"}}"#),
        create("refused", r#"{"Type":"local","Config":{"tag":"x"}}"#),
        create("refused", r#"{"Type":"local","Config":{"labels":"x"}}"#),
        create("refused", r#"{"Type":"json-file","Config":{"mode":"x"}}"#),
        create("refused", r#"{"Type":"json-file","Config":{"max-buffer-size":"1m"}}"#),
        create(
            "refused",
            r#"{"Type":"json-file","Config":{"mode":"blocking","max-buffer-size":"1m"}}"#,
        ),
        create(
            "refused",
            r#"{"Type":"json-file","Config":{"mode":"non-blocking","max-buffer-size":"x"}}"#,
        ),
        create("refused", r#"{"Type":"json-file","Config":{"cache-disabled":"x"}}"#),
        create("refused", r#"{"Type":"json-file","Config":{"max-size":5}}"#),
        create("late-size", r#"{"Config":{"max-size":"x"}}"#),
        create("late-count", r#"{"Config":{"max-file":"0","max-size":"1m"}}"#),
        create("late-flag", r#"{"Config":{"compress":"x"}}"#),
        create("late-tag", r#"{"Config":{"tag":"{{"}}"#),
        create("late-pattern", r#"{"Config":{"env-regex":"("}}"#),
        create("late-local", r#"{"Type":"local","Config":{"max-file":"x"}}"#),
        create("none-with", r#"{"Type":"none","Config":{"max-size":"1m"}}"#),
        create("null", "null"),
        create("empty", r#"{"Type":"","Config":null}"#),
        create("modes", r#"{"Config":{"mode":"non-blocking","max-buffer-size":"4m"}}"#),
        create(
            "cached",
            r#"{"Config":{"cache-disabled":"true","cache-max-size":"1m","cache-max-file":"2","cache-compress":"false"}}"#,
        ),
    ]
}

/// A container that has run, and what is read of its log.
fn read(name: &str, log: &str) -> Vec<Request> {
    let logs = |query: &str| get(format!("/containers/{name}/logs?stdout=1&stderr=1{query}"));
    vec![
        create(name, log),
        post(format!("/containers/{name}/start"), "").unseen(),
        post(format!("/containers/{name}/wait"), "").unseen(),
        get(format!("/containers/{name}/json")),
        logs(""),
        logs("&details=1"),
        logs("&tail=1&details=1"),
    ]
}

fn entries() -> Vec<Request> {
    [
        ("plain", "{}"),
        (
            "bounded",
            r#"{"Config":{"max-size":"1m","max-file":"3","compress":"true"}}"#,
        ),
        ("labels", r#"{"Config":{"labels":"kind,nosuch,com.b"}}"#),
        (
            "label-pattern",
            r#"{"Config":{"labels-regex":"^com\\.","labels":"kind"}}"#,
        ),
        ("env", r#"{"Config":{"env":"A,C,nosuch"}}"#),
        ("env-pattern", r#"{"Config":{"env-regex":"^A"}}"#),
        (
            "tag",
            r#"{"Config":{"tag":"{{.Name}} {{.ImageName}} {{.DaemonName}} {{.Command}}"}}"#,
        ),
        ("blank-tag", r#"{"Config":{"tag":"","labels":"kind"}}"#),
        (
            "local",
            r#"{"Type":"local","Config":{"max-size":"1m","max-file":"3","compress":"false"}}"#,
        ),
        ("none", r#"{"Type":"none"}"#),
    ]
    .into_iter()
    .flat_map(|(name, log)| read(name, log))
    .collect()
}
