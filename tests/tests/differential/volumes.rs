//! Volumes: made, listed, inspected, updated, removed, pruned.

use crate::harness::{Difference, Pair, Request, delete, get, post, put, with};

/// How long Docker may look for a driver that there is none of, in milliseconds.
const LOOKUP: u64 = 60_000;

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    (
        "POST /volumes/create?long",
        "",
        "a client's fault is answered with 400, in words of the API",
    ),
    (
        "POST /volumes/prune?filters=%7B%22all%22%3A%5B%22false",
        "",
        "what a filter says goes before the default of old clients",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn volumes_are_answered_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&population());
    pair.compare(&again());
    pair.compare(&refusals());
    pair.compare(&users());
    pair.compare(&inspections());
    pair.compare(&listings());
    pair.compare(&updates());
    pair.compare(&devices());
    pair.compare(&removals());
    pair.compare(&prunings());
    pair.finish(
        &[
            ("GET", "/volumes", &[200]),
            ("POST", "/volumes/create", &[201]),
            ("GET", "/volumes/{name}", &[200, 404]),
            ("PUT", "/volumes/{name}", &[200, 400, 404, 503]),
            ("DELETE", "/volumes/{name}", &[204, 404, 409]),
            ("POST", "/volumes/prune", &[200]),
        ],
        &[
            ("PUT", "/volumes/{name}", 200, "there is no swarm"),
            ("PUT", "/volumes/{name}", 400, "there is no swarm"),
            ("PUT", "/volumes/{name}", 404, "there is no swarm"),
        ],
    );
}

fn create(body: &str) -> Request {
    post("/volumes/create", body)
}

fn container(name: &str, host: &str) -> Request {
    post(
        format!("/containers/create?name={name}"),
        format!(r#"{{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{{{host}}}}}"#),
    )
}

/// Every write is followed by a list.
fn listed(writes: Vec<Request>) -> Vec<Request> {
    writes.into_iter().flat_map(|write| [write, get("/volumes")]).collect()
}

fn population() -> Vec<Request> {
    listed(vec![
        create(r#"{"Name":"plain"}"#),
        create(r#"{"Name":"labelled","Labels":{"a":"b","c":"","d.e/f":"ü"}}"#),
        create(r#"{"Name":"other","Driver":"local","Labels":{"a":"d"}}"#),
        create(r#"{"Name":"empty","Driver":"","Labels":{},"DriverOpts":{}}"#),
        create(r#"{"Name":"nothing","Driver":null,"Labels":null,"DriverOpts":null,"ClusterVolumeSpec":null}"#),
        create(r#"{"Name":"v.w_x-Y9"}"#),
        create(
            r#"{"Name":"memory","DriverOpts":{"type":"tmpfs","device":"tmpfs","o":"size=1m,uid=1000"},"Labels":{"a":"b"}}"#,
        ),
        create(r#"{"Name":"bound","Driver":"local","DriverOpts":{"type":"none","device":"/etc","o":"bind,ro"}}"#),
        create(r#"{"Name":"optionless","DriverOpts":{"type":"tmpfs","device":"tmpfs"}}"#),
        create(r#"{"Name":"blank","DriverOpts":{"type":"","device":"","o":""}}"#),
        create(r#"{"Name":"unheard","Nosuch":{"a":[1]},"Mountpoint":"/x","Scope":"global","Status":{"a":"b"}}"#),
        create(r#"{"Labels":{"u":"v"},"DriverOpts":{"type":"tmpfs","device":"tmpfs","o":"nodev"}}"#).named("unnamed"),
        create("{}").named("bare"),
        create("").named("bodiless"),
        create("null").named("null"),
    ])
}

/// Names that are there already, and older clients.
fn again() -> Vec<Request> {
    listed(vec![
        create(r#"{"Name":"plain"}"#),
        create(r#"{"Name":"plain","Labels":{"x":"y"}}"#),
        create(r#"{"Name":"plain","Driver":"local"}"#),
        create(r#"{"Name":"memory"}"#),
        create(r#"{"Name":"memory","DriverOpts":{"type":"tmpfs","device":"tmpfs","o":"size=2m"}}"#),
        create(r#"{"Name":"plain","DriverOpts":{"type":"tmpfs","device":"tmpfs"}}"#),
        create(r#"{"Name":"plain","DriverOpts":{"nosuch":"x"}}"#),
        create(r#"{"Name":"plain","Driver":"nosuch"}"#).patience(LOOKUP),
        create(r#"{"name":"small","labels":{"k":"l"},"driveropts":{}}"#),
        create(r#"{"Name":"v24","Labels":{"old":"1"}}"#).version("/v1.24"),
        create(r#"{"Name":"v41","ClusterVolumeSpec":{"Group":"g"}}"#).version("/v1.41"),
        create(r#"{"Name":"unversioned"}"#).version(""),
    ])
}

fn refusals() -> Vec<Request> {
    let named = |name: &str| create(&format!(r#"{{"Name":"{name}"}}"#));
    let options = |options: &str| create(&format!(r#"{{"Name":"refused","DriverOpts":{{{options}}}}}"#));
    vec![
        named("x"),
        named("a b"),
        named("-ab"),
        named(".ab"),
        named("a/b"),
        named("/etc"),
        named("../ab"),
        named("ä1"),
        named("a:b"),
        post("/volumes/create?long", format!(r#"{{"Name":"{}"}}"#, "a".repeat(256))),
        create(r#"{"Name":"refused","Driver":"nosuch"}"#).patience(LOOKUP),
        create(r#"{"Driver":"nosuch"}"#).patience(LOOKUP),
        create(r#"{"Name":"x","Driver":"nosuch"}"#).patience(LOOKUP),
        create(r#"{"Name":"refused","Driver":"LOCAL"}"#).patience(LOOKUP),
        create(r#"{"Name":"refused","Driver":"local:latest"}"#).patience(LOOKUP),
        create(r#"{"Name":"refused","Driver":"a b"}"#).patience(LOOKUP),
        create(r#"{"Name":"x","DriverOpts":{"nosuch":"x"}}"#),
        options(r#""nosuch":"x""#),
        options(r#""Type":"tmpfs""#),
        options(r#""type":"tmpfs""#),
        options(r#""device":"/etc""#),
        options(r#""o":"ro""#),
        options(r#""type":"tmpfs","o":"ro""#),
        options(r#""type":"tmpfs","device":"tmpfs","nosuch":"x""#),
        options(r#""size":"1m""#),
        options(r#""size":"x""#),
        options(r#""size":"""#),
        options(r#""type":"tmpfs","device":"tmpfs","size":"10m""#),
        create(r#"{"Name":"refused","ClusterVolumeSpec":{}}"#),
        create(r#"{"Name":"refused","ClusterVolumeSpec":{"Group":"g","AccessMode":{"Scope":"single"}}}"#),
        create("{"),
        create("[]"),
        create(r#""text""#),
        create(r#"{"Name":"refused"} {"#),
        create(r#"{"Name":7}"#),
        create(r#"{"Name":"refused","Labels":{"a":1}}"#),
        create(r#"{"Name":"refused","Labels":["a=b"]}"#),
        create(r#"{"Name":"refused","DriverOpts":{"type":false}}"#),
        create(r#"{"Name":"refused"}"#).header("Content-Type", "text/plain"),
        create(r#"{"Name":"refused"}"#).header("Content-Type", ""),
        post("/volumes", "{}"),
        get("/volumes/create"),
        get("/volumes"),
    ]
}

/// Containers that have volumes, running and not.
fn users() -> Vec<Request> {
    vec![
        container("still", r#""Binds":["plain:/plain","made:/made:ro"]"#),
        container(
            "runs",
            r#""Binds":["other:/other"],"Mounts":[{"Type":"volume","Source":"memory","Target":"/memory"},
            {"Type":"volume","Target":"/unnamed","VolumeOptions":{"Labels":{"m":"n"}}},
            {"Type":"volume","Source":"optioned","Target":"/optioned","ReadOnly":true,
             "VolumeOptions":{"NoCopy":true,"Labels":{"m":"o"},"DriverConfig":{"Name":"local","Options":{"type":"tmpfs","device":"tmpfs","o":"size=64k"}}}}]"#,
        )
        .unseen(),
        post("/containers/runs/start", "").unseen(),
        get("/volumes/made"),
        get("/volumes/optioned"),
        get("/volumes"),
        container("driverless", r#""VolumeDriver":"nosuch","Binds":["fresh:/fresh"]"#).patience(LOOKUP),
        container("renamed", r#""Mounts":[{"Type":"volume","Source":"plain","Target":"/x","VolumeOptions":{"DriverConfig":{"Name":"nosuch"}}}]"#).patience(LOOKUP),
        container("misnamed", r#""Binds":["x:/x"]"#),
        get("/volumes"),
    ]
}

fn inspections() -> Vec<Request> {
    vec![
        get("/volumes/plain"),
        get("/volumes/memory"),
        get("/volumes/{unnamed}"),
        get("/volumes/nosuch"),
        get("/volumes/plai"),
        get("/volumes/PLAIN"),
        get("/volumes/x"),
        get("/volumes/"),
        get("/volumes/%20"),
        get("/volumes/%2Fplain"),
        get("/volumes/plain/"),
        get("/volumes/plain/x"),
        get("/volumes/..%2Fplain"),
        get("/volumes/plain?verbose=1&size=1"),
        get("/volumes/plain?x=%zz"),
        get("/volumes/labelled").version("/v1.24"),
        get("/volumes/labelled").version("/v1.41"),
        get("/volumes/nosuch").version("/v1.41"),
        get("/volumes/labelled").version(""),
    ]
}

#[expect(clippy::too_many_lines, reason = "a flat list")]
fn listings() -> Vec<Request> {
    let filtered = |filters: &str| get(with("/volumes", &[("filters", filters)]));
    let mut requests: Vec<Request> = [
        r#"{"dangling":["true"]}"#,
        r#"{"dangling":["1"]}"#,
        r#"{"dangling":["false"]}"#,
        r#"{"dangling":["0"]}"#,
        r#"{"dangling":["t"]}"#,
        r#"{"dangling":["True"]}"#,
        r#"{"dangling":["x"]}"#,
        r#"{"dangling":[""]}"#,
        r#"{"dangling":["true","false"]}"#,
        r#"{"dangling":["x","true"]}"#,
        r#"{"dangling":[]}"#,
        r#"{"dangling":{"true":true}}"#,
        r#"{"driver":["local"]}"#,
        r#"{"driver":["nosuch"]}"#,
        r#"{"driver":["nosuch","local"]}"#,
        r#"{"driver":["loc"]}"#,
        r#"{"driver":["nosuch"],"dangling":["true"]}"#,
        r#"{"label":["a"]}"#,
        r#"{"label":["a=b"]}"#,
        r#"{"label":["a=b","c"]}"#,
        r#"{"label":["a=b","a=d"]}"#,
        r#"{"label":["a:b"]}"#,
        r#"{"label":["c="]}"#,
        r#"{"label":[""]}"#,
        r#"{"label":["nosuch"]}"#,
        r#"{"label":["com.docker.volume.anonymous"]}"#,
        r#"{"label!":["a"]}"#,
        r#"{"label!":["a=b"]}"#,
        r#"{"label":{"a=b":true,"c":true}}"#,
        r#"{"name":["plain"]}"#,
        r#"{"name":["la"]}"#,
        r#"{"name":["^la"]}"#,
        r#"{"name":["led$","^plain$"]}"#,
        r#"{"name":["("]}"#,
        r#"{"name":[".*"]}"#,
        r#"{"name":[""]}"#,
        r#"{"name":["nosuch"]}"#,
        r#"{"name":["PLAIN"]}"#,
        r#"{"name":["la"],"label":["a=b"],"dangling":["true"],"driver":["local"]}"#,
        r#"{"name":["plain"],"dangling":["true"]}"#,
        r#"{"scope":["local"]}"#,
        r#"{"nosuch":["x"]}"#,
        r#"{"nosuch":[]}"#,
        r#"{"nosuch":["x"],"name":["plain"]}"#,
        r#"{"dangling":["x"],"nosuch":["x"]}"#,
        r#"{"name":"plain"}"#,
        r#"{"name":[1]}"#,
        r#"{"name":{"plain":1}}"#,
        r#"{"name":null}"#,
        "{}",
        "null",
        "[]",
        "{",
        "x",
        "",
        " ",
    ]
    .map(filtered)
    .into();
    requests.extend([
        get("/volumes?filters=%zz"),
        get("/volumes?filters"),
        get("/volumes?nosuch=1"),
        get("/volumes").version("/v1.24"),
        get("/volumes").version("/v1.41"),
        get("/volumes").version(""),
        filtered(r#"{"dangling":["true"]}"#).version("/v1.24"),
        filtered(r#"{"name":{"plain":true}}"#).version("/v1.24"),
    ]);
    requests
}

/// For a swarm's volumes only.
fn updates() -> Vec<Request> {
    vec![
        put("/volumes/plain?version=1", r#"{"Spec":{"Availability":"drain"}}"#),
        put("/volumes/plain", r#"{"Spec":{"Availability":"drain"}}"#),
        put("/volumes/plain?version=x", "{}"),
        put("/volumes/plain?version=1", ""),
        put("/volumes/plain?version=1", "{"),
        put("/volumes/plain?version=1", "{}").header("Content-Type", "text/plain"),
        put("/volumes/nosuch?version=1", "{}"),
        put("/volumes/{unnamed}?version=1", r#"{"Spec":null}"#),
        put("/volumes/plain?version=1", "{}").version("/v1.41"),
        put("/volumes/plain?version=1", "{}").version("/v1.42"),
        put("/volumes/plain?version=1", "{}").version(""),
    ]
}

/// What can be mounted only when a container starts.
fn devices() -> Vec<Request> {
    let device = |name: &str, options: &str| create(&format!(r#"{{"Name":"{name}","DriverOpts":{{{options}}}}}"#));
    let mut script = vec![
        device("kindless", r#""type":"nosuch","device":"nosuch""#),
        device("placeless", r#""type":"none","device":"/nosuch","o":"bind""#),
        device("misread", r#""type":"tmpfs","device":"tmpfs","o":"nosuch=1""#),
        device("misplaced", r#""type":"none","device":"/etc/passwd","o":"bind""#),
        device(
            "flagged",
            r#""type":"tmpfs","device":"tmpfs","o":"ro,noexec,nosuid,nodev,noatime,size=4k,mode=0700""#,
        ),
        device("commas", r#""type":"tmpfs","device":"tmpfs","o":",,ro,""#),
    ];
    for name in ["kindless", "placeless", "misread", "misplaced", "flagged", "commas"] {
        script.extend([
            container(
                &format!("on-{name}"),
                &format!(r#""Mounts":[{{"Type":"volume","Source":"{name}","Target":"/data","VolumeOptions":{{"NoCopy":true}}}}]"#),
            ),
            post(format!("/containers/on-{name}/start"), "").unseen(),
            get(format!("/volumes/{name}")),
            delete(format!("/volumes/{name}")),
            delete(format!("/containers/on-{name}?force=1")),
            delete(format!("/volumes/{name}")),
        ]);
    }
    script
}

fn removals() -> Vec<Request> {
    listed(vec![
        delete("/volumes/nosuch"),
        delete("/volumes/nosuch?force=1"),
        delete("/volumes/nosuch?force=0"),
        delete("/volumes/nosuch?force=x"),
        delete("/volumes/x"),
        delete("/volumes/"),
        delete("/volumes"),
        delete("/volumes/%20"),
        delete("/volumes/plai"),
        delete("/volumes/plain"),
        delete("/volumes/plain?force=1"),
        delete("/volumes/other"),
        delete("/volumes/other?force=true"),
        delete("/volumes/memory").version("/v1.24"),
        delete("/volumes/bound"),
        delete("/volumes/bound"),
        delete("/volumes/bound?force=1"),
        delete("/volumes/labelled?force=0").version("/v1.24"),
        delete("/volumes/empty?force=1").version("/v1.41"),
        delete("/volumes/{unnamed}"),
        delete("/containers/still"),
        delete("/volumes/plain"),
        delete("/volumes/made?force=x"),
        delete("/containers/runs?force=1&v=1"),
        delete("/volumes/optioned"),
    ])
}

#[expect(clippy::too_many_lines, reason = "a flat list")]
fn prunings() -> Vec<Request> {
    let prune = |filters: &str| post(with("/volumes/prune", &[("filters", filters)]), "");
    let mut script = vec![
        create(r#"{"Name":"first","Labels":{"a":"b"}}"#),
        create(r#"{"Name":"second","Labels":{"a":"c"}}"#),
        create(r#"{"Name":"third"}"#),
        create(r#"{"Labels":{"a":"b","x":"y"}}"#),
        create(r#"{"Labels":{"k":""}}"#),
        container(
            "keeps",
            r#""Binds":["kept:/kept"],"Mounts":[{"Type":"volume","Target":"/unnamed"}]"#,
        )
        .unseen(),
    ];
    script.extend(
        [
            r#"{"nosuch":["x"]}"#,
            r#"{"dangling":["true"]}"#,
            r#"{"name":["third"]}"#,
            r#"{"until":["1h"]}"#,
            r#"{"all":["x"]}"#,
            r#"{"all":[""]}"#,
            r#"{"all":["true","false"]}"#,
            r#"{"all":[1]}"#,
            "x",
            "[]",
            "{",
            r#"{"label":["nosuch"]}"#,
            r#"{"label":["a=b","nosuch"]}"#,
            r#"{"label":["k="]}"#,
            r#"{"label":["a=b"]}"#,
            r#"{"label":["a=b"],"all":["0"]}"#,
            r#"{"label":["a=b"],"all":["1"]}"#,
            r#"{"label!":["a"],"all":["false"]}"#,
            r#"{"label!":["a","x"]}"#,
            r#"{"all":["t"],"label!":["a=c"]}"#,
            r#"{"all":[]}"#,
            "{}",
        ]
        .map(prune),
    );
    script.extend([
        create("{}"),
        create(r#"{"Name":"fourth"}"#),
        create(r#"{"Name":"fifth","Labels":{"a":"b"}}"#),
        post("/volumes/prune", "").version("/v1.42"),
        prune(r#"{"label":["a=b"]}"#).version("/v1.41"),
        prune(r#"{"all":["false"]}"#).version("/v1.41"),
        post("/volumes/prune", "").version("/v1.41"),
        create(r#"{"Name":"sixth"}"#),
        prune(r#"{"label":{"a=b":true}}"#).version("/v1.24"),
        post("/volumes/prune", "").version("/v1.24"),
        create(r#"{"Name":"filled"}"#),
        post(
            "/containers/create?name=fills",
            r#"{"Image":"busybox","Cmd":["sh","-c","yes | head -c 10000 >/data/file"],"HostConfig":{"Binds":["filled:/data"]}}"#,
        ),
        post("/containers/fills/start", "").unseen(),
        post("/containers/fills/wait", "").unseen(),
        prune(r#"{"all":["true"]}"#),
        delete("/containers/fills"),
        prune(r#"{"all":["True"]}"#),
        delete("/containers/keeps?v=1"),
        get("/volumes"),
        post("/volumes/prune", "{}"),
        post("/volumes/prune", "x").header("Content-Type", "text/plain"),
        prune(r#"{"all":["1"]}"#),
        get("/volumes"),
    ]);
    script
}
