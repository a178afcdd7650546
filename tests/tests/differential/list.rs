//! Containers listed, removed, pruned, renamed and updated.

use crate::harness::{Difference, Pair, Request, delete, get, post, with};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    (
        "GET /containers/json?limit=x",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "GET /containers/json?all=1&filters=%7B%22expose%22%3A%5B%22x",
        "",
        "a client's fault is answered with 400, in words of the API",
    ),
    (
        "GET /containers/json?all=1&filters=%7B%22publish%22%3A%5B%22x",
        "",
        "a client's fault is answered with 400, in words of the API",
    ),
    (
        "POST /containers/grown/update",
        "",
        "a memory limit that was never set is in nobody's way",
    ),
    (
        "POST /containers/less/update",
        "",
        "less memory and swap than memory cannot be had",
    ),
    (
        "POST /containers/swapped/update",
        "",
        "less memory and swap than memory cannot be had",
    ),
    (
        "POST /containers/second/update",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/second/update",
        "/message",
        "a client's fault is told in words of the API",
    ),
    (
        "DELETE /containers/third?link=1",
        "status",
        "a client's fault is answered with 409",
    ),
    (
        "GET /containers/second/json after DELETE",
        "/DNSNames",
        "a network that answers no names has none",
    ),
    (
        "GET /containers/fourth/json after DELETE",
        "/DNSNames",
        "a network that answers no names has none",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn containers_are_listed_and_changed_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&population());
    pair.compare(&listings());
    pair.compare(&filters());
    pair.compare(&updates());
    pair.compare(&impossible_updates());
    pair.compare(&names());
    pair.compare(&removals());
    pair.compare(&prunings());
    pair.finish(
        &[
            ("GET", "/containers/json", &[200, 400]),
            ("POST", "/containers/{id}/update", &[200, 404]),
            ("POST", "/containers/{id}/rename", &[204, 404, 409]),
            ("DELETE", "/containers/{id}", &[204, 400, 404, 409]),
            ("POST", "/containers/prune", &[200]),
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

/// One of each state.
fn population() -> Vec<Request> {
    vec![
        post("/volumes/create", r#"{"Name":"kept"}"#).unseen(),
        create("first", r#""Cmd":["sh","-c","exit 3"],"Labels":{"a":"b","c":""}"#),
        post("/containers/first/start", "").unseen(),
        post("/containers/first/wait", ""),
        create(
            "second",
            r#""Cmd":["sleep","1000"],"Labels":{"a":"d"},"ExposedPorts":{"80/tcp":{},"53/udp":{}},
            "HostConfig":{"Binds":["kept:/kept","/etc:/host-etc:ro"],"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8081"}]}}"#,
        )
        .unseen(),
        post("/containers/second/start", "").unseen(),
        create("third", r#""Cmd":["echo","a b","c'd"],"HostConfig":{"NetworkMode":"none"}"#),
        create("fourth", r#""Entrypoint":["/bin/sleep"],"Cmd":["1000"],"HostConfig":{"NetworkMode":"host"}"#),
        post("/containers/fourth/start", ""),
        post("/containers/fourth/pause", ""),
        create("fifth", r#""Cmd":["true"]"#),
        post("/containers/fifth/start", "").unseen(),
        post("/containers/fifth/wait", ""),
    ]
}

fn listings() -> Vec<Request> {
    vec![
        get("/containers/json"),
        get("/containers/json?all=1"),
        get("/containers/json?all=true&size=1"),
        get("/containers/json?limit=2"),
        get("/containers/json?limit=1&all=0"),
        get("/containers/json?limit=0"),
        get("/containers/json?limit=-1"),
        get("/containers/json?all=false"),
        get("/containers/json?all=1").version("/v1.24"),
        get("/containers/json?all=1").version("/v1.41"),
        get("/containers/json?all=1").version("/v1.46"),
        get("/containers/json?all=1").version(""),
        get("/containers/json?limit=x"),
        get("/containers/json?filters=x"),
        get("/containers/json?filters=%7B"),
        get("/containers/json?filters=[]"),
        get("/containers/json?since=first&all=1"),
        get("/containers/json?before=third&all=1"),
    ]
}

/// A list with filters.
fn filtered(filters: &str) -> Request {
    get(with("/containers/json", &[("all", "1"), ("filters", filters)]))
}

#[expect(clippy::too_many_lines, reason = "a flat list")]
fn filters() -> Vec<Request> {
    [
        r#"{"ancestor":["busybox"]}"#,
        r#"{"ancestor":["busybox:latest"]}"#,
        r#"{"ancestor":["nosuch"]}"#,
        r#"{"ancestor":["nosuch","busybox"]}"#,
        r#"{"before":["third"]}"#,
        r#"{"since":["second"]}"#,
        r#"{"since":["first"],"before":["fourth"]}"#,
        r#"{"before":["nosuch"]}"#,
        r#"{"since":["nosuch"]}"#,
        r#"{"exited":["3"]}"#,
        r#"{"exited":["3","0"]}"#,
        r#"{"exited":["x"]}"#,
        r#"{"expose":["80"]}"#,
        r#"{"expose":["53/udp"]}"#,
        r#"{"expose":["79-81/tcp"]}"#,
        r#"{"expose":["x"]}"#,
        r#"{"publish":["80"]}"#,
        r#"{"publish":["8081"]}"#,
        r#"{"publish":["80-90/tcp"]}"#,
        r#"{"publish":["x/tcp"]}"#,
        r#"{"health":["none"]}"#,
        r#"{"health":["healthy"]}"#,
        r#"{"health":["nosuch"]}"#,
        r#"{"id":["{first}"]}"#,
        r#"{"id":["nosuch"]}"#,
        r#"{"isolation":["default"]}"#,
        r#"{"isolation":["hyperv"]}"#,
        r#"{"is-task":["true"]}"#,
        r#"{"is-task":["false"]}"#,
        r#"{"is-task":["x"]}"#,
        r#"{"label":["a"]}"#,
        r#"{"label":["a=b"]}"#,
        r#"{"label":["a=b","c"]}"#,
        r#"{"label":["made=here"]}"#,
        r#"{"label":["c="]}"#,
        r#"{"label!":["a=b"]}"#,
        r#"{"name":["first"]}"#,
        r#"{"name":["/first"]}"#,
        r#"{"name":["^fi"]}"#,
        r#"{"name":["ir","xx"]}"#,
        r#"{"name":["["]}"#,
        r#"{"network":["bridge"]}"#,
        r#"{"network":["none"]}"#,
        r#"{"network":["nosuch"]}"#,
        r#"{"status":["running"]}"#,
        r#"{"status":["paused"]}"#,
        r#"{"status":["created","exited"]}"#,
        r#"{"status":["restarting"]}"#,
        r#"{"status":["dead"]}"#,
        r#"{"status":["nosuch"]}"#,
        r#"{"volume":["kept"]}"#,
        r#"{"volume":["/kept"]}"#,
        r#"{"volume":["/etc"]}"#,
        r#"{"volume":["nosuch"]}"#,
        r#"{"nosuch":["x"]}"#,
        r#"{"label":{"a=b":true}}"#,
        r#"{"label":"a=b"}"#,
        r#"{"status":["running"],"label":["a"]}"#,
        "{}",
    ]
    .map(filtered)
    .into()
}

fn update(id: &str, fields: &str) -> Request {
    post(format!("/containers/{id}/update"), fields.to_owned())
}

fn updates() -> Vec<Request> {
    vec![
        update("second", r#"{"Memory":67108864,"MemorySwap":134217728}"#),
        update("second", r#"{"MemoryReservation":33554432}"#),
        update("second", r#"{"CpuShares":512}"#),
        update("second", r#"{"CpuPeriod":50000,"CpuQuota":25000}"#),
        update("second", r#"{"CpusetCpus":"0","CpusetMems":"0"}"#),
        update("second", r#"{"PidsLimit":50}"#),
        update("second", r#"{"PidsLimit":-1}"#),
        update("second", r#"{"PidsLimit":0}"#),
        update("second", "{}"),
        update("second", ""),
        update("third", r#"{"NanoCpus":500000000}"#),
        update("third", r#"{"Memory":67108864,"MemorySwap":-1}"#),
        update("third", r#"{"Memory":134217728,"MemorySwap":268435456}"#),
        create("grown", r#""Cmd":["true"]"#),
        update("grown", r#"{"Memory":67108864}"#),
        update("third", r#"{"RestartPolicy":{"Name":"no"}}"#),
        update("first", r#"{"CpuShares":100,"PidsLimit":20}"#),
        update("fourth", r#"{"CpuShares":100}"#),
    ]
}

fn impossible_updates() -> Vec<Request> {
    vec![
        update("nosuch", r#"{"CpuShares":512}"#),
        update("third", r#"{"Memory":1}"#),
        create("less", r#""Cmd":["true"],"HostConfig":{"Memory":67108864}"#),
        update("less", r#"{"MemorySwap":33554432}"#),
        create("swapped", r#""Cmd":["true"]"#),
        update("swapped", r#"{"MemorySwap":1}"#),
        update("third", r#"{"CpuPeriod":100000}"#),
        update("third", r#"{"CpuQuota":100000}"#),
        update("second", r#"{"NanoCpus":500000000}"#),
        update("second", r#"{"NanoCpus":-1}"#),
        update("second", r#"{"Memory":1073741824}"#),
        update("second", r#"{"CpusetCpus":"99"}"#),
        update("second", r#"{"CpuShares":-1}"#),
        update("second", r#"{"RestartPolicy":{"Name":"nosuch"}}"#),
        update("second", "{"),
        update("second", "[]"),
        update("second", "{}").header("Content-Type", "text/plain"),
    ]
}

fn names() -> Vec<Request> {
    let rename = |id: &str, name: &str| post(with(&format!("/containers/{id}/rename"), &[("name", name)]), "");
    vec![
        rename("first", "erste"),
        get("/containers/erste/json"),
        get("/containers/first/json"),
        rename("erste", "/first"),
        rename("second", "zweite"),
        rename("zweite", "second"),
        rename("third", "second"),
        rename("third", "third"),
        rename("third", ""),
        post("/containers/third/rename", ""),
        rename("third", "a b"),
        rename("third", "x"),
        rename("nosuch", "other"),
        rename("fourth", "vierte"),
        rename("vierte", "fourth"),
    ]
}

fn removals() -> Vec<Request> {
    vec![
        delete("/containers/nosuch"),
        delete("/containers/nosuch?force=1"),
        delete("/containers/nosuch?force=%zz"),
        delete("/containers/second"),
        delete("/containers/second?v=1"),
        delete("/containers/fourth"),
        delete("/containers/third?link=1"),
        delete("/containers/third"),
        delete("/containers/third"),
        delete("/containers/fourth?force=1"),
        delete("/containers/second?force=true&v=true"),
        create("unnamed-volume", r#""Cmd":["true"],"Volumes":{"/data":{}}"#).unseen(),
        delete("/containers/unnamed-volume?v=1"),
        get("/volumes"),
        create("named-again", r#""Cmd":["true"]"#),
        delete("/containers/named-again?force=x"),
        get("/containers/json?all=1"),
    ]
}

fn prunings() -> Vec<Request> {
    let prune = |filters: &str| post(with("/containers/prune", &[("filters", filters)]), "");
    vec![
        create("labelled", r#""Cmd":["true"],"Labels":{"a":"b"}"#),
        create("other", r#""Cmd":["true"],"Labels":{"c":"d"}"#),
        create("runs", r#""Cmd":["sleep","1000"]"#),
        post("/containers/runs/start", ""),
        prune(r#"{"label":["nosuch"]}"#),
        prune(r#"{"until":["1h"]}"#),
        prune(r#"{"until":["x"]}"#),
        prune(r#"{"until":["1h","2h"]}"#),
        prune(r#"{"nosuch":["x"]}"#),
        prune("x"),
        prune(r#"{"label":["a=b"]}"#),
        prune(r#"{"label!":["c"]}"#),
        prune(r#"{"until":["2100-01-01T00:00:00Z"]}"#),
        post("/containers/prune", ""),
        delete("/containers/runs?force=1"),
        post("/containers/prune", ""),
    ]
}
