//! Containers: made, listed, refused.

use crate::harness::{Difference, Pair, delete, get, head, post, put};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    // Docker answers some faults of clients with 500 and with words of its own insides.
    (
        "POST /containers/create?name=relative",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/create?name=mode",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/one/stop?t=x",
        "",
        "a client's fault is answered with 400",
    ),
    (
        "GET /containers/json?limit=x",
        "",
        "a client's fault is answered with 400",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn containers_are_answered_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    life(&mut pair);
    full(&mut pair);
    refusals(&mut pair);
    impossible(&mut pair);
    pair.finish(&[], &[]);
}

fn life(pair: &mut Pair) {
    pair.compare(&[
        post(
            "/containers/create?name=plain",
            r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#,
        ),
        get("/containers/plain/json"),
        post("/containers/plain/start", ""),
        post("/containers/plain/start", ""),
        get("/containers/plain/json"),
        get("/containers/json?all=1"),
        post("/containers/plain/kill?signal=KILL", ""),
        post("/containers/plain/wait", ""),
        post("/containers/plain/stop", ""),
        post("/containers/plain/kill", ""),
        get("/containers/plain/json"),
        get("/containers/json?all=1"),
        delete("/containers/plain"),
        delete("/containers/plain"),
        get("/containers/plain/json"),
    ]);
}

fn full(pair: &mut Pair) {
    pair.compare(&[
        post(
            "/containers/create?name=full",
            r#"{"Image":"busybox","Cmd":["sh","-c","exit 3"],"Entrypoint":["/bin/env"],"Hostname":"box","Domainname":"example",
            "User":"1000:29","Env":["A=1","B"],"WorkingDir":"/tmp","Labels":{"a":"b","made":"there"},"Tty":true,
            "OpenStdin":true,"StdinOnce":true,"AttachStdout":true,"StopSignal":"SIGINT","StopTimeout":7,
            "HostConfig":{"Memory":67108864,"MemorySwap":134217728,"MemoryReservation":33554432,"CpuShares":512,
            "NanoCpus":500000000,"PidsLimit":99,"CpusetCpus":"0","ReadonlyRootfs":true,"Privileged":false,
            "CapAdd":["NET_ADMIN"],"CapDrop":["CHOWN"],"ExtraHosts":["h:10.0.0.1"],"Dns":["10.9.8.7"],
            "DnsSearch":["example"],"DnsOptions":["ndots:2"],"GroupAdd":["audio"],"ShmSize":33554432,
            "Tmpfs":{"/t":"size=1m"},"Ulimits":[{"Name":"nofile","Soft":100,"Hard":200}],"OomScoreAdj":100,
            "Sysctls":{"net.ipv4.ip_forward":"0"},"NetworkMode":"none","AutoRemove":false,"Init":false}}"#,
        ),
        get("/containers/full/json"),
        post("/containers/full/start", ""),
        post("/containers/full/wait", ""),
        get("/containers/full/json"),
        delete("/containers/full?force=1&v=1"),
    ]);
}

fn refusals(pair: &mut Pair) {
    pair.compare(&[
        post("/containers/create", ""),
        post("/containers/create", "{"),
        post("/containers/create", "{}"),
        post("/containers/create?name=a%20b", r#"{"Image":"busybox"}"#),
        post("/containers/create?name=one", r#"{"Image":"busybox"}"#),
        post("/containers/create?name=one", r#"{"Image":"busybox"}"#),
        post("/containers/create", r#"{"Image":"nosuch"}"#),
        post("/containers/create", r#"{"Image":"BUSY"}"#),
        post("/containers/create", r#"{"Image":"busybox","HostConfig":{"Memory":1}}"#),
        post(
            "/containers/create",
            r#"{"Image":"busybox","HostConfig":{"NanoCpus":99000000000}}"#,
        ),
        post(
            "/containers/create",
            r#"{"Image":"busybox","HostConfig":{"CpusetCpus":"99"}}"#,
        ),
        post(
            "/containers/create",
            r#"{"Image":"busybox","HostConfig":{"OomScoreAdj":2000}}"#,
        ),
        post(
            "/containers/create",
            r#"{"Image":"busybox","HostConfig":{"ShmSize":-1}}"#,
        ),
        post(
            "/containers/create?name=refused-at-start",
            r#"{"Image":"busybox","HostConfig":{"NetworkMode":"nosuch"}}"#,
        ),
        post(
            "/containers/create",
            r#"{"Image":"busybox","HostConfig":{"CapAdd":["NOSUCH"]}}"#,
        ),
        post(
            "/containers/create?name=relative",
            r#"{"Image":"busybox","HostConfig":{"Binds":["relative:x"]}}"#,
        ),
        post(
            "/containers/create?name=mode",
            r#"{"Image":"busybox","HostConfig":{"Binds":["/nosuch-path:/x:nosuch"]}}"#,
        ),
        post("/containers/create", r#"{"Image":"busybox","WorkingDir":"relative"}"#),
        post("/containers/create", r#"{"Image":"busybox","StopSignal":"NOSUCH"}"#),
        post("/containers/create", r#"{"Image":"busybox","Env":["=x"]}"#),
    ]);
}

fn impossible(pair: &mut Pair) {
    pair.compare(&[
        post("/containers/create?name=one", r#"{"Image":"busybox"}"#),
        get("/containers/nosuch/json"),
        post("/containers/nosuch/start", ""),
        post("/containers/one/kill", ""),
        post("/containers/one/kill?signal=NOSUCH", ""),
        post("/containers/one/stop?t=x", ""),
        post("/containers/one/wait?condition=x", ""),
        post("/containers/one/resize?h=1", ""),
        post("/containers/one/resize?h=1&w=1", ""),
        post("/containers/one/exec", r#"{"Cmd":["true"]}"#),
        get("/containers/one/logs"),
        head("/containers/one/archive?path=/nosuch"),
        put("/containers/one/archive?path=/nosuch", "no archive"),
        get("/exec/nosuch/json"),
        post("/exec/nosuch/start", "{}"),
        get("/containers/json?filters=x"),
        get("/containers/json?filters=%7B%22nosuch%22%3A%5B%22x%22%5D%7D"),
        get("/containers/json?limit=x"),
    ]);
}
