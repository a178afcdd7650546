//! Containers connected to networks and disconnected from them.

use crate::harness::{Difference, Pair, Request, delete, get, post};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    (
        "/networks",
        "/com.docker.network.bridge.name",
        "both engines can run on one host",
    ),
    (
        "/networks",
        "/MacAddress",
        "follows from the address, so that neighbours' caches stay right",
    ),
    (
        "/networks",
        "/IPv4Address",
        "an address is used again as late as possible",
    ),
    (
        "/containers/",
        "/IPAddress",
        "an address is used again as late as possible",
    ),
    ("?absent", "status", "a client's fault is answered with 403"),
    ("?stale", "", "Docker keeps a connection that it could not make"),
    ("?late", "", "what cannot start is refused at once"),
    ("?unknown", "", "what cannot start is refused at once"),
    ("?unsupported", "", "is refused by name: it is not there yet"),
    ("?told", "", "what only an engine can tell is not asked for"),
    (
        "/containers/twice/json",
        "/NetworkSettings/Networks/one",
        "what is asked of a connection a second time is taken",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn connections_are_answered_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&population());
    pair.compare(&running());
    pair.compare(&stopped());
    pair.compare(&modes());
    pair.compare(&shared());
    for name in ["runs", "still"] {
        pair.compare(&addresses(name));
        pair.compare(&settings(name));
        pair.compare(&wrong_settings(name));
    }
    pair.compare(&taken_addresses());
    pair.compare(&bodies());
    pair.compare(&disconnections());
    pair.compare(&forced());
    pair.compare(&gone());
    pair.compare(&old_clients());
    pair.finish(
        &[
            ("POST", "/networks/{id}/connect", &[200, 400, 403, 404]),
            ("POST", "/networks/{id}/disconnect", &[200, 403, 404]),
        ],
        &[(
            "POST",
            "/networks/{id}/disconnect",
            403,
            "Docker has it for a swarm only, and 500 for a client's faults",
        )],
    );
}

fn network(name: &str, fields: &str) -> Request {
    post("/networks/create", format!(r#"{{"Name":"{name}"{fields}}}"#))
}

fn container(name: &str, mode: &str) -> Request {
    post(
        format!("/containers/create?name={name}"),
        format!(r#"{{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{{"NetworkMode":"{mode}"}}}}"#),
    )
}

fn start(name: &str) -> Request {
    post(format!("/containers/{name}/start"), "").unseen()
}

fn connect(network: &str, container: &str, settings: &str) -> Request {
    let settings = if settings.is_empty() {
        String::new()
    } else {
        format!(r#","EndpointConfig":{settings}"#)
    };
    post(
        format!("/networks/{network}/connect"),
        format!(r#"{{"Container":"{container}"{settings}}}"#),
    )
}

fn disconnect(network: &str, container: &str) -> Request {
    post(
        format!("/networks/{network}/disconnect"),
        format!(r#"{{"Container":"{container}"}}"#),
    )
}

fn force(network: &str, container: &str) -> Request {
    post(
        format!("/networks/{network}/disconnect"),
        format!(r#"{{"Container":"{container}","Force":true}}"#),
    )
}

/// A connection to "one" that is asked for under a mark.
fn marked(mark: &str, container: &str, settings: &str) -> Request {
    post(
        format!("/networks/one/connect?{mark}"),
        format!(r#"{{"Container":"{container}","EndpointConfig":{settings}}}"#),
    )
}

/// The end of a connection that is not there.
fn absent(network: &str, container: &str) -> Request {
    post(
        format!("/networks/{network}/disconnect?absent"),
        format!(r#"{{"Container":"{container}"}}"#),
    )
}

/// The same by force.
fn absent_forced(network: &str, container: &str) -> Request {
    post(
        format!("/networks/{network}/disconnect?absent"),
        format!(r#"{{"Container":"{container}","Force":true}}"#),
    )
}

/// The end of a connection that Docker alone has.
fn stale(network: &str, container: &str) -> Request {
    post(
        format!("/networks/{network}/disconnect?stale"),
        format!(r#"{{"Container":"{container}"}}"#),
    )
    .unseen()
}

/// Every write is followed by a look at its container.
fn seen(container: &str, writes: Vec<Request>) -> Vec<Request> {
    let look = get(format!("/containers/{container}/json"));
    writes.into_iter().flat_map(|write| [write, look.clone()]).collect()
}

fn population() -> Vec<Request> {
    vec![
        network("one", r#","IPAM":{"Config":[{"Subnet":"10.1.0.0/24"}]}"#).named("one"),
        network("two", "").named("two"),
        network(
            "three",
            r#","IPAM":{"Config":[{"Subnet":"10.3.0.0/24","IPRange":"10.3.0.128/25"}]}"#,
        ),
        network("inner", r#","Internal":true"#),
        network("tiny", r#","IPAM":{"Config":[{"Subnet":"10.2.0.0/30"}]}"#),
        network(
            "reserved",
            r#","IPAM":{"Config":[{"Subnet":"10.4.0.0/24","AuxiliaryAddresses":{"a":"10.4.0.9"}}]}"#,
        ),
        container("runs", "bridge").named("runs").unseen(),
        start("runs"),
        container("other", "one").named("other").unseen(),
        start("other"),
        container("still", "bridge").named("still"),
        container("ended", "two").unseen(),
        start("ended"),
        post("/containers/ended/kill", "").unseen(),
        post("/containers/ended/wait", "").unseen(),
        container("hosted", "host").unseen(),
        start("hosted"),
        container("hosted-still", "host"),
        container("lonely", "none").unseen(),
        start("lonely"),
        container("lonely-still", "none"),
        container("shares", "container:runs").unseen(),
        start("shares"),
        container("shares-still", "container:runs"),
        container("twice", "bridge"),
        container("lost", "bridge"),
        get("/containers/runs/json"),
        get("/containers/other/json"),
        get("/containers/ended/json"),
        get("/containers/json?all=1"),
    ]
}

/// A container that runs.
fn running() -> Vec<Request> {
    seen(
        "runs",
        vec![
            connect("one", "runs", ""),
            connect("one", "runs", ""),
            connect("{one}", "runs", "{}"),
            connect("bridge", "runs", ""),
            connect("nosuch", "runs", ""),
            connect("tw", "runs", ""),
            connect("one", "nosuch", ""),
            connect("nosuch", "nosuch", ""),
            connect("one", "", ""),
            connect("two", "{runs}", r#"{"Aliases":["a","b","a"]}"#),
            disconnect("two", "{runs}"),
            connect("{two}", "/runs", r#"{"Aliases":["runs"]}"#),
            disconnect("{two}", "/runs"),
            connect("inner", "runs", r#"{"Aliases":[]}"#),
            disconnect("bridge", "runs"),
            connect("bridge", "runs", ""),
            disconnect("inner", "runs"),
            disconnect("one", "runs"),
            absent("one", "runs"),
            disconnect("nosuch", "runs"),
            disconnect("bridge", "runs"),
            absent("bridge", "runs"),
            connect("two", "runs", ""),
            disconnect("two", "runs"),
            connect("bridge", "runs", ""),
        ],
    )
}

/// Containers that do not run.
fn stopped() -> Vec<Request> {
    let mut script = seen(
        "still",
        vec![
            connect("one", "still", ""),
            connect("{two}", "still", r#"{"Aliases":["y"],"GwPriority":7}"#),
            connect("bridge", "still", ""),
            absent("nosuch", "still"),
            disconnect("{two}", "still"),
            absent("two", "still"),
            connect("inner", "{still}", r#"{"IPAMConfig":null}"#),
            disconnect("bridge", "still"),
            absent("bridge", "still"),
            start("still"),
            post("/containers/still/kill", "").unseen(),
            post("/containers/still/wait", "").unseen(),
            connect("three", "still", ""),
            disconnect("three", "still"),
            disconnect("inner", "still"),
            disconnect("one", "still"),
            connect("two", "still", ""),
            post("/containers/still/rename?name=renamed", ""),
            post("/containers/renamed/rename?name=still", ""),
        ],
    );
    script.extend(seen(
        "ended",
        vec![
            connect("one", "ended", r#"{"IPAMConfig":{"IPv4Address":"10.1.0.77"}}"#),
            disconnect("two", "ended"),
            disconnect("one", "ended"),
            absent("one", "ended"),
            connect("two", "ended", ""),
            start("ended"),
        ],
    ));
    script.extend(seen(
        "twice",
        vec![
            connect("one", "twice", ""),
            connect("one", "twice", r#"{"Aliases":["x"]}"#),
        ],
    ));
    script.extend([
        post("/networks/nosuch/connect?unknown", r#"{"Container":"lost"}"#),
        post("/networks/default/connect?unknown", r#"{"Container":"lost"}"#),
        post("/networks/nosuch/disconnect?unknown", r#"{"Container":"lost"}"#),
        post("/networks/default/disconnect?unknown", r#"{"Container":"lost"}"#),
        get("/containers/lost/json"),
        absent("nosuch", "lost"),
    ]);
    script
}

/// Containers whose network is the host's, or none.
fn modes() -> Vec<Request> {
    let mut script = Vec::new();
    for (name, own, other) in [
        ("hosted", "host", "none"),
        ("hosted-still", "host", "none"),
        ("lonely", "none", "host"),
        ("lonely-still", "none", "host"),
    ] {
        script.extend(seen(
            name,
            vec![
                connect("one", name, ""),
                connect("bridge", name, ""),
                connect("host", name, ""),
                connect("none", name, ""),
                absent("one", name),
                absent("bridge", name),
                absent("nosuch", name),
                absent(other, name),
                disconnect(own, name),
                connect(own, name, ""),
            ],
        ));
    }
    script.extend([connect("nosuch", "hosted", ""), connect("nosuch", "lonely", "")]);
    for name in ["runs", "still"] {
        script.extend(seen(
            name,
            vec![
                connect("host", name, ""),
                absent("host", name),
                connect("none", name, ""),
                absent("none", name),
                absent("default", name),
            ],
        ));
    }
    script
}

/// Containers on the network of another.
fn shared() -> Vec<Request> {
    let mut script = Vec::new();
    for network in ["one", "bridge", "host", "none", "nosuch"] {
        script.extend([connect(network, "shares", ""), absent(network, "shares")]);
        let late = format!("/networks/{network}/connect?late");
        script.push(post(late, r#"{"Container":"shares-still"}"#).unseen());
        script.push(stale(network, "shares-still"));
    }
    script.extend([
        get("/containers/shares/json"),
        get("/containers/shares-still/json"),
        post("/networks/none/connect?late", r#"{"Container":"hosted-still"}"#).unseen(),
        stale("none", "hosted-still"),
    ]);
    script
}

/// Addresses that are asked for.
fn addresses(name: &str) -> Vec<Request> {
    let at = |network: &str, ipam: &str| connect(network, name, &format!(r#"{{"IPAMConfig":{{{ipam}}}}}"#));
    let ip = |network: &str, address: &str| at(network, &format!(r#""IPv4Address":"{address}""#));
    let mut script = Vec::new();
    for (network, connected) in [
        ("one", ip("one", "10.1.0.99")),
        ("three", ip("three", "10.3.0.7")),
        ("three", ip("three", "10.3.0.200")),
        ("three", ip("three", "")),
        ("three", at("three", r#""LinkLocalIPs":[]"#)),
        (
            "three",
            at("three", r#""IPv4Address":null,"IPv6Address":"","LinkLocalIPs":null"#),
        ),
        ("three", at("three", r#""Nosuch":"x""#)),
        ("three", at("three", "")),
    ] {
        script.extend(seen(name, vec![connected, disconnect(network, name)]));
    }
    script.extend(seen(
        name,
        vec![
            ip("one", "10.2.0.9"),
            ip("one", "x"),
            ip("one", "10.1.0.9/24"),
            ip("one", "fd00::1"),
            ip("inner", "172.20.0.9"),
            ip("inner", "x"),
            ip("bridge", "172.17.0.99"),
            ip("bridge", "x"),
            ip("host", "10.0.0.1"),
            ip("none", "10.0.0.1"),
            at("one", r#""IPv6Address":"x""#),
            at("one", r#""IPv4Address":"x","IPv6Address":"x""#),
            at("one", r#""LinkLocalIPs":["x"]"#),
            at("one", r#""LinkLocalIPs":["0.0.0.0"]"#),
            at("one", r#""LinkLocalIPs":["x",""]"#),
        ],
    ));
    script
}

/// Addresses that others have, asked for by one that runs. Docker keeps the connections that it could not make, so that
/// the container is not looked at.
fn taken_addresses() -> Vec<Request> {
    let mut script = vec![container("taker", "bridge").unseen(), start("taker")];
    for (network, address) in [
        ("one", "10.1.0.1"),
        ("one", "10.1.0.2"),
        ("one", "10.1.0.0"),
        ("one", "10.1.0.255"),
        ("reserved", "10.4.0.9"),
    ] {
        let settings = format!(r#"{{"IPAMConfig":{{"IPv4Address":"{address}"}}}}"#);
        script.push(connect(network, "taker", &settings));
    }
    script.extend([
        connect("tiny", "runs", ""),
        connect("tiny", "taker", ""),
        disconnect("tiny", "runs"),
        delete("/containers/taker?force=1").unseen(),
    ]);
    script
}

/// What else is asked of a connection.
fn settings(name: &str) -> Vec<Request> {
    let mut script = Vec::new();
    for settings in [
        r#""MacAddress":"02:42:0a:01:00:07""#,
        r#""MacAddress":"""#,
        r#""Links":["other:o"]"#,
        r#""Links":["other"]"#,
        r#""Links":["nosuch:n"]"#,
        r#""Links":[":x"]"#,
        r#""Links":["other:"]"#,
        r#""Links":[]"#,
        r#""Links":["other:o","other:p"],"Aliases":["q"]"#,
        r#""Aliases":["a b","","ü"]"#,
        r#""Aliases":["a",null]"#,
        r#""DriverOpts":{}"#,
        r#""DriverOpts":null"#,
        r#""GwPriority":100"#,
        r#""GwPriority":-100"#,
        r#""Nosuch":"x""#,
        r#""aliases":["small"]"#,
    ] {
        let connected = connect("three", name, &format!("{{{settings}}}"));
        script.extend(seen(name, vec![connected, disconnect("three", name)]));
    }
    script.extend([
        connect("bridge", name, r#"{"Aliases":["a"]}"#),
        get(format!("/containers/{name}/json")),
    ]);
    script
}

/// What no connection can be asked for. Docker finds some of it late.
fn wrong_settings(name: &str) -> Vec<Request> {
    let mut script = vec![connect("one", name, r#"{"MacAddress":"x"}"#), stale("one", name)];
    for (mark, settings) in [
        ("late", r#"{"Links":["a:b:c"]}"#),
        ("late", r#"{"Links":[""]}"#),
        ("unsupported", r#"{"IPAMConfig":{"IPv6Address":"fd00::9"}}"#),
        ("unsupported", r#"{"IPAMConfig":{"LinkLocalIPs":["169.254.7.7"]}}"#),
        (
            "unsupported",
            r#"{"DriverOpts":{"com.docker.network.endpoint.ifname":"x0"}}"#,
        ),
        (
            "told",
            r#"{"NetworkID":"x","EndpointID":"y","Gateway":"1.2.3.4","IPAddress":"10.1.0.8","IPPrefixLen":8,
            "IPv6Gateway":"::1","GlobalIPv6Address":"::2","GlobalIPv6PrefixLen":9,"DNSNames":["z"]}"#,
        ),
    ] {
        script.extend([marked(mark, name, settings).unseen(), stale("one", name)]);
    }
    script.push(get(format!("/containers/{name}/json")));
    script
}

/// Bodies that are no request.
#[expect(clippy::too_many_lines, reason = "a flat list")]
fn bodies() -> Vec<Request> {
    let mut script: Vec<Request> = [
        r#"{"Env":[1]}"#,
        r#"{"Env":["a=b",null,{}]}"#,
        r#"{"HostConfig":{"Binds":["/a:/a",1]}}"#,
        r#"{"HostConfig":{"Mounts":["x"]}}"#,
        r#"{"HostConfig":{"Mounts":[{"Target":1}]}}"#,
        r#"{"NetworkingConfig":{"EndpointsConfig":{"one":{"Aliases":[1]}}}}"#,
        r#"{"NetworkingConfig":{"EndpointsConfig":{"one":{"IPAMConfig":[]}}}}"#,
        r#"{"NetworkingConfig":{"EndpointsConfig":{"one":1}}}"#,
    ]
    .map(|body| post("/containers/create", body))
    .into();
    for verb in ["connect", "disconnect"] {
        let path = format!("/networks/one/{verb}");
        let bodies = [
            "",
            "null",
            "{}",
            "{",
            "[]",
            "7",
            r#""text""#,
            r#"{"Container":"nosuch"} {"#,
            r#"{"Container":7}"#,
            r#"{"Container":["runs"]}"#,
            r#"{"Container":null}"#,
            r#"{"Container":""}"#,
            r#"{"Container":" "}"#,
            r#"{"Container":"/"}"#,
            r#"{"Container":"nosuch","Force":"x"}"#,
            r#"{"Container":"nosuch","Force":1}"#,
            r#"{"Container":"nosuch","Force":null}"#,
            r#"{"Container":"nosuch","EndpointConfig":"x"}"#,
            r#"{"Container":"nosuch","EndpointConfig":[]}"#,
            r#"{"Container":"nosuch","EndpointConfig":null}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"Aliases":"x"}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"Aliases":[1]}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"Aliases":["a",[]]}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"Links":{}}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"Links":["a",7]}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"MacAddress":7}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"GwPriority":"x"}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"GwPriority":1.5}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"DriverOpts":[]}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"DriverOpts":{"a":1}}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"IPAMConfig":"x"}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"IPAMConfig":[]}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"IPAMConfig":{"IPv4Address":7}}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"IPAMConfig":{"IPv6Address":[]}}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"IPAMConfig":{"LinkLocalIPs":"x"}}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"IPAMConfig":{"LinkLocalIPs":[7]}}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"IPPrefixLen":"x"}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"Gateway":7}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"DNSNames":"x"}}"#,
            r#"{"Container":"nosuch","EndpointConfig":{"GlobalIPv6PrefixLen":"x"}}"#,
        ];
        script.extend(bodies.into_iter().map(|body| post(path.as_str(), body)));
        script.extend([
            post(path.as_str(), r#"{"Container":"nosuch"}"#).header("Content-Type", "text/plain"),
            post(path.as_str(), r#"{"Container":"nosuch"}"#).header("Content-Type", ""),
            post(path.as_str(), r#"{"container":"nosuch","FORCE":false}"#),
            post(path.as_str(), r#"{"Container":"nosuch"}"#).version("/v1.24"),
            get(path.as_str()),
            delete(path.as_str()),
            post(format!("/networks//{verb}"), r#"{"Container":"runs"}"#),
            post(format!("/networks/%20/{verb}"), r#"{"Container":"runs"}"#),
            post(format!("/networks/one/{verb}/x"), r#"{"Container":"runs"}"#),
        ]);
    }
    script
}

fn disconnections() -> Vec<Request> {
    seen(
        "runs",
        vec![
            connect("one", "runs", ""),
            connect("two", "runs", ""),
            disconnect("one", "nosuch"),
            disconnect("nosuch", "nosuch"),
            disconnect("tw", "runs"),
            disconnect("one", "run"),
            absent("three", "runs"),
            disconnect("{one}", "{runs}"),
            absent("{one}", "{runs}"),
            post("/containers/runs/pause", "").unseen(),
            disconnect("two", "runs"),
            connect("two", "runs", ""),
            post("/containers/runs/unpause", "").unseen(),
            disconnect("two", "runs"),
        ],
    )
}

/// Whatever state the container is in.
fn forced() -> Vec<Request> {
    let mut script = seen(
        "runs",
        vec![
            connect("one", "runs", ""),
            force("one", "runs"),
            absent_forced("one", "runs"),
            absent_forced("nosuch", "runs"),
            force("one", "nosuch"),
            force("nosuch", "nosuch"),
            force("one", ""),
            connect("two", "runs", ""),
            force("{two}", "{runs}"),
            force("bridge", "runs"),
            connect("bridge", "runs", ""),
            absent_forced("host", "runs"),
            absent_forced("none", "runs"),
        ],
    );
    script.extend(seen(
        "still",
        vec![
            connect("one", "still", ""),
            force("one", "still"),
            absent_forced("one", "still"),
            absent_forced("nosuch", "still"),
        ],
    ));
    script.push(force("host", "hosted"));
    script.push(force("none", "lonely"));
    script
}

/// Networks that are gone while containers still name them.
fn gone() -> Vec<Request> {
    vec![
        network("brief", "").named("brief"),
        connect("brief", "still", ""),
        delete("/networks/brief"),
        get("/containers/still/json"),
        absent("{brief}", "still"),
        disconnect("brief", "still"),
        get("/containers/still/json"),
        network("brief", ""),
        connect("brief", "still", ""),
        delete("/networks/brief"),
        force("brief", "still"),
        get("/containers/still/json"),
        network("brief", ""),
        connect("brief", "runs", ""),
        delete("/networks/brief"),
        disconnect("brief", "runs"),
        delete("/networks/brief"),
        get("/containers/runs/json"),
        absent_forced("brief", "runs"),
        disconnect("brief", "runs"),
    ]
}

/// What clients of older versions of the API ask and are told.
fn old_clients() -> Vec<Request> {
    let mut script = Vec::new();
    for version in ["/v1.24", "/v1.43", "/v1.44", "/v1.47"] {
        for name in ["runs", "still"] {
            let asked = r#"{"IPAMConfig":{"IPv4Address":"10.1.0.55"},"Aliases":["old"],"GwPriority":3}"#;
            let look = get(format!("/containers/{name}/json"));
            script.extend(
                [
                    connect("one", name, asked),
                    look.clone(),
                    get("/networks/one"),
                    disconnect("one", name),
                    look.clone(),
                    absent("one", name),
                    connect("three", name, r#"{"MacAddress":"02:42:0a:01:00:09"}"#),
                    look,
                    force("three", name),
                ]
                .map(|request| request.version(version)),
            );
        }
    }
    script.extend([
        get("/containers/json?all=1").version("/v1.24"),
        get("/containers/json?all=1").version("/v1.43"),
        get("/networks").version("/v1.24"),
    ]);
    script
}
