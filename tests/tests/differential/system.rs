//! The engine itself: whether it is there, what it is, what it takes of the disk, and what is no operation of it.

use conex_tests::Sandbox;

use crate::harness::{Difference, Pair, Request, delete, get, head, post, put, request, with};
use crate::registries::real::{Access, Protocol, RealRegistry};
use crate::registries::tokens::{Policy, TokenServer};

/// What `info` tells differently, and why.
const OF_INFO: &[Difference] = &[
    ("GET /info", "/ServerVersion", "an engine of another name and age"),
    ("GET /info", "/Containerd", "there is no containerd"),
    ("GET /info", "/RuncCommit", "the runtime is our own"),
    ("GET /info", "/ID", "each engine has its own"),
    ("GET /info", "/Runtimes", "the runtime is our own"),
    ("GET /info", "/DefaultRuntime", "the runtime is our own"),
    ("GET /info", "/InitBinary", "the init is our own"),
    (
        "GET /info",
        "/CDISpecDirs",
        "devices by drivers are refused by name, wherever they are described",
    ),
    ("GET /info", "/FirewallBackend/Driver", "rules are written by nft"),
    (
        "GET /info",
        "/KernelMemory",
        "no kernel limits it any more; of TCP it is refused by name",
    ),
    ("GET /info", "/OomKillDisable", "it is refused by name"),
    ("GET /info", "/LiveRestoreEnabled", "containers outlive the daemon"),
    ("GET /info", "/Plugins/Log", "other log drivers are refused by name"),
    (
        "GET /info",
        "/Plugins/Network",
        "other network drivers are refused by name",
    ),
];

/// What differs at times: the reference tells a commit where it finds its init.
const BY_CHANCE: &[Difference] = &[("GET /info", "/InitCommit", "the init is our own")];

/// What else stays different, and why.
const DIFFERENCES: &[Difference] = &[
    (
        "/_ping",
        "Builder-Version",
        "clients are not to bring a builder along: there are no builds yet",
    ),
    ("/%5fping", "Builder-Version", "as above, however the path is written"),
    ("GET /version", "Version", "an engine of another name and age"),
    ("GET /version", "/GitCommit", "of our own"),
    ("GET /version", "/Platform/Name", "an engine of another name"),
    (
        "GET /version",
        "/Components",
        "there is one part, with the same details; neither containerd nor runc is there",
    ),
    (
        "GET /nosuch?version",
        "",
        "the version is judged before it is known whether there is such an operation",
    ),
    ("POST /session", "", "there are no builds yet"),
    (
        "GET /system/df",
        "/MacAddress",
        "follows from the address, so that neighbours' caches stay right",
    ),
    (
        "GET /system/df",
        "/RepoDigests",
        "a list is a list even when it is empty, as the API documents it",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn engines_tell_of_themselves_the_same() {
    let mut pair = Pair::new(&[OF_INFO, DIFFERENCES].concat()).by_chance(BY_CHANCE);
    pair.compare(&pings());
    pair.compare(&versions());
    pair.compare(&strangers());
    pair.compare(&infos());
    pair.compare(&usage());
    pair.finish(
        &[
            ("GET", "/_ping", &[200]),
            ("HEAD", "/_ping", &[200]),
            ("GET", "/version", &[200]),
            ("GET", "/info", &[200]),
            ("GET", "/system/df", &[200]),
        ],
        &[],
    );
}

fn pings() -> Vec<Request> {
    fn all(request: fn(&'static str) -> Request) -> Vec<Request> {
        vec![
            request("/_ping"),
            request("/_ping").version(""),
            request("/_ping").version("/v1.24"),
            request("/_ping").version("/v1.40"),
            request("/_ping").version("/v1.51"),
            request("/_ping?nosuch=1"),
            request("/_ping").header("Accept", "application/json"),
            request("/_ping").header("Content-Type", "text/plain"),
            request("/_ping").header("User-Agent", "Docker-Client/1.0 (linux)"),
            request("/_ping/"),
            request("//_ping"),
        ]
    }
    let mut script = all(get);
    script.extend(all(head));
    script.push(post("/_ping", ""));
    script
}

fn versions() -> Vec<Request> {
    vec![
        get("/version"),
        get("/version").version(""),
        get("/version").version("/v1.24"),
        get("/version").version("/v1.34"),
        get("/version").version("/v1.40"),
        get("/version").version("/v1.46"),
        get("/version").version("/v1.51"),
        get("/version?nosuch=1"),
        head("/version"),
        post("/version", ""),
        // Too old, too new, and none.
        get("/version").version("/v1.23"),
        get("/version").version("/v1.12"),
        get("/version").version("/v1.9"),
        get("/version").version("/v1.0"),
        get("/version").version("/v0.9"),
        get("/version").version("/v1"),
        get("/version").version("/v1.52"),
        get("/version").version("/v1.99"),
        get("/version").version("/v2"),
        get("/version").version("/v2.0"),
        get("/version").version("/v1.50.1"),
        get("/version").version("/v1.50."),
        get("/version").version("/v.50"),
        get("/version").version("/vx"),
        get("/version").version("/v"),
        get("/version").version("/V1.50"),
        get("/_ping").version("/v1.23"),
        get("/_ping").version("/v1.99"),
        head("/_ping").version("/v1.99"),
        post("/containers/create", "{}").version("/v1.23"),
        get("/nosuch?version").version("/v1.23"),
        get("/nosuch?version").version("/v1.99"),
    ]
}

/// What is no operation, and what is one with another method.
fn strangers() -> Vec<Request> {
    vec![
        get("/nosuch"),
        get("/"),
        get("").version("/"),
        get("").version("/v1.50"),
        get("/nosuch/nosuch/nosuch"),
        post("/nosuch", "{}"),
        head("/nosuch"),
        put("/info", ""),
        delete("/info"),
        post("/info", ""),
        head("/info"),
        put("/_ping", ""),
        delete("/_ping"),
        put("/containers/json", ""),
        post("/containers/json", ""),
        delete("/containers/json"),
        get("/containers/create"),
        get("/containers/prune"),
        get("/containers/x/start"),
        put("/containers/x/start", ""),
        post("/containers/x/json", ""),
        post("/containers/x/nosuch", ""),
        get("/containers"),
        get("/images"),
        get("/exec/x"),
        put("/images/json", ""),
        delete("/images/a/b/json"),
        post("/images/a/b/nosuch", ""),
        delete("/networks"),
        put("/networks/x", ""),
        delete("/volumes"),
        post("/volumes/x", ""),
        get("/auth"),
        put("/auth", "{}"),
        post("/events", ""),
        post("/system/df", ""),
        get("/system"),
        get("/info/"),
        get("/Info"),
        get("/%5fping?escaped"),
        get("/info%2f"),
        request("PATCH", "/info", ""),
        request("OPTIONS", "/info", ""),
        request("OPTIONS", "/nosuch", ""),
        request("TRACE", "/info", ""),
        request("FOO", "/info", ""),
        request("get", "/info", ""),
        request("PATCH", "/containers/x/json", ""),
        get("/debug/nosuch"),
        get("/plugins/nosuch"),
        get("/grpc"),
        post("/session", ""),
    ]
}

fn infos() -> Vec<Request> {
    vec![
        get("/info"),
        post("/containers/create?name=created", r#"{"Image":"busybox"}"#).unseen(),
        post(
            "/containers/create?name=runs",
            r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#,
        )
        .unseen(),
        post("/containers/runs/start", "").unseen(),
        post(
            "/containers/create?name=paused",
            r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#,
        )
        .unseen(),
        post("/containers/paused/start", "").unseen(),
        post("/containers/paused/pause", "").unseen(),
        post("/images/busybox/tag?repo=other&tag=1", "").unseen(),
        get("/info"),
        get("/info").version(""),
        get("/info").version("/v1.24"),
        get("/info").version("/v1.25"),
        get("/info").version("/v1.38"),
        get("/info").version("/v1.41"),
        get("/info").version("/v1.43"),
        get("/info").version("/v1.45"),
        get("/info").version("/v1.46"),
        get("/info").version("/v1.47"),
        get("/info").version("/v1.48"),
        get("/info").version("/v1.49"),
        get("/info").version("/v1.51"),
        get("/info?nosuch=1"),
    ]
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn what_a_daemon_was_told_is_told_the_same() {
    let flags = [
        "--registry-mirror",
        "http://mirror.example:5000",
        "--registry-mirror",
        "https://other.example/",
        "--insecure-registry",
        "10.1.2.3/8",
        "--insecure-registry",
        "insecure.example:5000",
        "--insecure-registry",
        "fd00::1/16",
    ];
    let environment = [
        ("HTTP_PROXY", "http://me:secret@proxy.example:3128"),
        ("HTTPS_PROXY", "http://proxy.example:3129/"),
        ("NO_PROXY", "localhost,.example"),
    ];
    let told = |engine| Sandbox::with_settings(engine, &flags, &environment);
    let mut pair = Pair::of(told, OF_INFO).by_chance(BY_CHANCE);
    pair.compare(&[get("/info").until(r#""IPv4Forwarding":true"#)]);
    pair.finish(&[], &[]);
}

fn usage() -> Vec<Request> {
    let df = |query: &str| get(format!("/system/df{query}"));
    vec![
        df(""),
        df("?type=image"),
        df("?type=container"),
        df("?type=volume"),
        df("?type=build-cache"),
        df("?type=image&type=volume"),
        df("?type=container&type=container"),
        df("?type=nosuch"),
        df("?type=image&type=nosuch"),
        df("?type="),
        df("?type=Image"),
        df("?verbose=1"),
        df("?verbose=0&type=volume"),
        df("").version("/v1.24"),
        df("").version("/v1.25"),
        df("").version("/v1.41"),
        df("?type=image").version("/v1.41"),
        df("").version("/v1.43"),
        df("").version("/v1.44"),
        df("").version("/v1.51"),
        post("/volumes/create", r#"{"Name":"filled","Labels":{"a":"b"}}"#).unseen(),
        post(
            "/containers/create?name=writes",
            r#"{"Image":"busybox","Cmd":["sh","-c","echo 12345 > /data/file; echo 1234567890 > /file"],"HostConfig":{"Binds":["filled:/data"]}}"#,
        )
        .unseen(),
        post("/containers/writes/start", "").unseen(),
        post("/containers/writes/wait", "").unseen(),
        // Docker tells of its end before it has noted it for this.
        df("").until("Exited (0)"),
        df("?type=volume"),
        df("?type=container"),
        delete("/containers/writes").unseen(),
        df("?type=volume"),
    ]
}

/// What differs of a login, and why.
const OF_LOGINS: &[Difference] = &[
    ("/auth?refused", "status", "answered with 401, as documented"),
    ("/auth?nowhere", "", "a client's fault is answered with 400"),
    ("/auth?malformed", "", "a client's fault is answered with 400"),
    (
        "/auth?encoded",
        "",
        "name and password in one field are understood, as in a pull's header",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn logins_are_answered_the_same() {
    let mut pair = Pair::beside_registries(OF_LOGINS);
    let directory = tempfile::tempdir().unwrap();
    let account = Access::Basic {
        username: "me",
        password: "pass",
    };
    let locked = RealRegistry::start(&directory.path().join("locked"), &account, &Protocol::Http);
    let open = RealRegistry::start(&directory.path().join("open"), &Access::Open, &Protocol::Http);
    let strict = Policy::Strict {
        username: "me".to_owned(),
        password: "pass".to_owned(),
    };
    let tokens = TokenServer::start(&directory.path().join("tokens"), strict);
    let bearer = RealRegistry::start(
        &directory.path().join("bearer"),
        &Access::Bearer(&tokens),
        &Protocol::Http,
    );
    pair.compare(&logins(&locked.domain(), &open.domain()));
    pair.compare(&token_logins(&bearer.domain()));
    pair.compare(&malformed_logins(&locked.domain()));
    pair.finish(
        &[("POST", "/auth", &[200, 204, 401])],
        &[("POST", "/auth", 204, "nobody is answered so any more")],
    );
}

/// A login; `why` tells requests with different answers apart.
fn login(why: &str, username: &str, password: &str, server: &str) -> Request {
    let body = format!(r#"{{"username":"{username}","password":"{password}","serveraddress":"{server}"}}"#);
    post(format!("/auth{why}"), body)
}

fn logins(locked: &str, open: &str) -> Vec<Request> {
    vec![
        login("", "me", "pass", locked),
        login("", "me", "pass", &format!("http://{locked}")),
        login("", "me", "pass", &format!("http://{locked}/")),
        login("", "me", "pass", &format!("http://{locked}/v1/")),
        login("", "me", "pass", &format!("http://{locked}/v2/")),
        login("", "me", "pass", &format!("https://{locked}")),
        login("", "me", "pass", locked).version("/v1.24"),
        login("", "me", "pass", locked).version(""),
        login("", "me", "pass", open),
        login("", "", "", open),
        login("", "me", "pass", "127.0.0.1:1"),
        login("?refused", "me", "wrong", locked),
        login("?refused", "you", "pass", locked),
        login("?refused", "", "", locked),
        login("?refused", "me", "", locked),
        login("?refused", "", "pass", locked),
        login("?nowhere", "me", "pass", "no such host"),
        login("?nowhere", "me", "pass", "ftp://127.0.0.1"),
        login("?nowhere", "me", "pass", "-"),
    ]
}

fn token_logins(server: &str) -> Vec<Request> {
    vec![
        login("", "me", "pass", server),
        login("", "me", "wrong", server),
        login("", "you", "pass", server),
        login("", "", "", server),
        login("", "me", "", server),
        post(
            "/auth",
            format!(r#"{{"identitytoken":"x","serveraddress":"{server}"}}"#),
        ),
    ]
}

fn malformed_logins(server: &str) -> Vec<Request> {
    let auth = |why: &str, fields: &str| {
        let body = format!(r#"{{{fields},"serveraddress":"{server}"}}"#);
        post(format!("/auth{why}"), body)
    };
    vec![
        auth("", r#""username":"me","password":"pass","email":"a@b""#),
        auth("", r#""UserName":"me","PASSWORD":"pass""#),
        auth("", r#""username":"me","password":"pass""#).header("Content-Type", "text/plain"),
        auth("?encoded", r#""auth":"bWU6cGFzcw==""#),
        auth("?refused", r#""identitytoken":"x""#),
        auth("?refused", r#""registrytoken":"x""#),
        post("/auth?malformed", ""),
        post("/auth?malformed", "{"),
        post("/auth?malformed", "[]"),
        post("/auth?malformed", "x"),
        post("/auth?malformed", r#"{"username":1}"#),
        post(
            "/auth?malformed",
            format!(r#"{{"username":"me","password":"pass","serveraddress":"{server}"}} x"#),
        ),
    ]
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn checkpoints_are_refused_the_same() {
    let mut pair = Pair::new(&[]);
    pair.compare(&checkpoints());
    pair.finish(
        &[
            ("GET", "/containers/{id}/checkpoints", &[501]),
            ("POST", "/containers/{id}/checkpoints", &[501]),
            ("DELETE", "/containers/{id}/checkpoints/{name}", &[501]),
        ],
        &[],
    );
}

fn checkpoints() -> Vec<Request> {
    let mut script = vec![
        post(
            "/containers/create?name=runs",
            r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#,
        )
        .unseen(),
        post("/containers/runs/start", "").unseen(),
        post("/containers/create?name=still", r#"{"Image":"busybox"}"#).unseen(),
    ];
    for container in ["runs", "still", "nosuch"] {
        let path = format!("/containers/{container}/checkpoints");
        script.extend([
            get(path.clone()),
            get(format!("{path}?dir=/tmp")),
            get(path.clone()).version("/v1.24"),
            post(path.clone(), r#"{"CheckpointID":"one"}"#),
            post(
                path.clone(),
                r#"{"CheckpointID":"one","Exit":true,"CheckpointDir":"/tmp"}"#,
            ),
            post(path.clone(), "{"),
            post(path.clone(), "{}"),
            delete(format!("{path}/one")),
            delete(format!("{path}/one?dir=/tmp")),
            delete(format!("{path}/two")).version("/v1.24"),
            delete(path.clone()),
            get(format!("{path}/one")),
        ]);
    }
    script.push(post("/containers/still/start?checkpoint=one", ""));
    script.push(post(
        with(
            "/containers/still/start",
            &[("checkpoint", "one"), ("checkpoint-dir", "/tmp")],
        ),
        "",
    ));
    script
}
