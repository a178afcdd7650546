//! Containers that are started again by themselves.

use crate::harness::{Difference, Pair, Request, delete, get, post, with};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[("POST /containers/w-seen/resize", "", "it is there, and does not run")];

/// What may differ.
const BY_CHANCE: &[Difference] = &[(
    "/containers/w-",
    "/RestartCount",
    "the sooner it is started, the more often",
)];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn containers_are_started_again_the_same() {
    let mut pair = Pair::new(DIFFERENCES).by_chance(BY_CHANCE);
    pair.compare(&refusals());
    pair.compare(&failures());
    pair.compare(&between_two_runs());
    pair.compare(&policies_change());
    pair.finish(&[], &[]);
}

/// A container that ends at once with a code.
fn ending(name: &str, code: i32, policy: &str) -> Request {
    let body =
        format!(r#"{{"Image":"busybox","Cmd":["sh","-c","exit {code}"],"HostConfig":{{"RestartPolicy":{policy}}}}}"#);
    post(format!("/containers/create?name={name}"), body)
}

fn act(id: &str, action: &str) -> Request {
    post(format!("/containers/{id}/{action}"), "")
}

fn refusals() -> Vec<Request> {
    [
        r#"{"Name":"on-failure","MaximumRetryCount":-1}"#,
        r#"{"Name":"always","MaximumRetryCount":1}"#,
        r#"{"Name":"always","MaximumRetryCount":-1}"#,
        r#"{"Name":"no","MaximumRetryCount":1}"#,
        r#"{"Name":"unless-stopped","MaximumRetryCount":2}"#,
        r#"{"Name":"","MaximumRetryCount":3}"#,
        r#"{"Name":"","MaximumRetryCount":-3}"#,
        r#"{"Name":"sometimes"}"#,
        r#"{"Name":"Always"}"#,
        r#""always""#,
    ]
    .into_iter()
    .map(|policy| ending("refused", 1, policy))
    .chain([post(
        "/containers/create?name=refused",
        r#"{"Image":"busybox","HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"on-failure"}}}"#,
    )])
    .collect()
}

fn failures() -> Vec<Request> {
    let inspect = |name: &str| get(format!("/containers/{name}/json"));
    vec![
        ending("twice", 4, r#"{"Name":"on-failure","MaximumRetryCount":2}"#),
        act("twice", "wait?condition=next-exit").later(),
        act("twice", "wait?condition=removed").later(),
        act("twice", "start").unseen(),
        inspect("twice").until(r#""RestartCount":2,"#),
        act("twice", "wait"),
        inspect("twice").until(r#""Status":"exited""#),
        act("twice", "start").unseen(),
        inspect("twice").until(r#""RestartCount":2,"#),
        act("twice", "wait?condition=not-running"),
        inspect("twice").until(r#""Status":"exited""#),
        get(with(
            "/containers/json",
            &[("all", "1"), ("filters", r#"{"exited":["4"]}"#)],
        )),
        delete("/containers/twice"),
        ending("fine", 0, r#"{"Name":"on-failure"}"#),
        act("fine", "start").unseen(),
        act("fine", "wait"),
        inspect("fine"),
        post(
            "/containers/create?name=absent",
            r#"{"Image":"busybox","Cmd":["/nosuch"],"HostConfig":{"RestartPolicy":{"Name":"always"}}}"#,
        ),
        act("absent", "start"),
        inspect("absent"),
    ]
}

/// Each is waiting for its eighth run, which comes 6.4 s after the end of the seventh.
fn between_two_runs() -> Vec<Request> {
    let all = [
        "w-seen",
        "w-killed",
        "w-hupped",
        "w-stopped",
        "w-removed",
        "w-forced",
        "w-restarted",
        "w-freed",
    ];
    let always = r#"{"Name":"always"}"#;
    let mut script: Vec<Request> = all.iter().map(|name| ending(name, 3, always)).collect();
    script.extend(all.iter().map(|name| act(name, "start").unseen()));
    script.push(get("/containers/w-freed/json").until(r#""RestartCount":7,"#));
    let filtered = |filters: &str| get(with("/containers/json", &[("filters", filters)]));
    script.extend([
        get("/containers/w-seen/json"),
        filtered(r#"{"name":["w-seen"]}"#),
        filtered(r#"{"name":["w-seen"],"status":["restarting"]}"#),
        filtered(r#"{"name":["w-seen"],"status":["running"]}"#),
        filtered(r#"{"name":["w-seen"],"exited":["3"]}"#),
        act("w-seen", "start"),
        act("w-seen", "pause"),
        act("w-seen", "unpause"),
        post("/containers/w-seen/exec", r#"{"Cmd":["true"]}"#),
        act("w-seen", "attach?stream=1&stdout=1"),
        act("w-seen", "resize?h=10&w=10"),
        get("/containers/w-seen/top"),
        get("/containers/w-seen/stats?stream=0&one-shot=1"),
        get("/containers/w-seen/changes"),
        get("/containers/w-seen/archive?path=/etc/hostname"),
        act("w-killed", "kill"),
        act("w-hupped", "kill?signal=HUP"),
        act("w-stopped", "stop"),
        delete("/containers/w-removed"),
        delete("/containers/w-forced?force=1"),
        act("w-restarted", "restart").unseen(),
        post("/containers/w-freed/update", r#"{"RestartPolicy":{"Name":"no"}}"#),
        act("w-seen", "rename?name=w-shown"),
        act("w-killed", "wait"),
        act("w-hupped", "wait"),
        get("/containers/w-killed/json"),
        get("/containers/w-hupped/json"),
        get("/containers/w-stopped/json"),
        act("w-stopped", "stop"),
        act("w-shown", "stop"),
    ]);
    script.extend(removals());
    script
}

fn removals() -> Vec<Request> {
    [
        "w-shown",
        "w-killed",
        "w-hupped",
        "w-stopped",
        "w-removed",
        "w-restarted",
        "w-freed",
    ]
    .iter()
    .map(|name| delete(format!("/containers/{name}?force=1")))
    .collect()
}

fn policies_change() -> Vec<Request> {
    let update = |body: &str| post("/containers/changing/update", body);
    vec![
        post(
            "/containers/create?name=changing",
            r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#,
        ),
        act("changing", "start"),
        update(r#"{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":5}}"#),
        update(r#"{"RestartPolicy":{"Name":"always"}}"#),
        update(r#"{"RestartPolicy":{"Name":"always","MaximumRetryCount":5}}"#),
        update(r#"{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":-5}}"#),
        update(r#"{"RestartPolicy":{"Name":"sometimes"}}"#),
        update(r#"{"RestartPolicy":{"Name":""}}"#),
        update(r#"{"RestartPolicy":{"Name":"unless-stopped"}}"#),
        act("changing", "kill?signal=KILL"),
        get("/containers/changing/json"),
        act("changing", "start"),
        act("changing", "stop?t=0"),
        update(r#"{"RestartPolicy":{"Name":"no"}}"#),
        delete("/containers/changing"),
        post(
            "/containers/create?name=brief",
            r#"{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{"AutoRemove":true}}"#,
        ),
        post("/containers/brief/update", r#"{"RestartPolicy":{"Name":"always"}}"#),
        post("/containers/brief/update", r#"{"RestartPolicy":{"Name":"no"}}"#),
        delete("/containers/brief"),
    ]
}
