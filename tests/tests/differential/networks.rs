//! Networks: made, listed, inspected, removed, pruned.

use std::cell::Cell;

use crate::harness::{Difference, Pair, Request, delete, get, post, with};

/// How long Docker may look for a driver that there is none of, in milliseconds.
const LOOKUP: u64 = 60_000;

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
    ("?unsupported", "", "is refused by name: it is not there yet"),
    ("?scope", "", "there is no scope of that name"),
    ("?fault", "", "a client's fault is answered with 400"),
    ("DELETE /networks/theirs", "", "only Docker has made it"),
    (
        "POST /networks/prune?stopped",
        "/NetworksDeleted",
        "a stopped container keeps its network, without which it cannot start",
    ),
    ("DELETE /networks/used?stopped", "", "Docker has pruned it already"),
    (
        "GET /networks?filters=%7B%22dangling%22",
        "/plain",
        "a network is not dangling while a container is on it",
    ),
    (
        "GET /networks?filters=%7B%22dangling%22",
        "/asked",
        "a network is not dangling while a container is on it",
    ),
    (
        "GET /networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%2C%22dangling%22",
        "/plain",
        "a network is not dangling while a container is on it",
    ),
    (
        "GET /networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%2C%22dangling%22",
        "/asked",
        "a network is not dangling while a container is on it",
    ),
    (
        "POST /containers/runs/start",
        "/message",
        "a connection is known by the name of its network",
    ),
    (
        "GET /networks?filters=%7B%22type",
        "status",
        "a client's fault is answered with 400",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn networks_are_answered_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&population());
    pair.compare(&addresses());
    pair.compare(&options());
    pair.compare(&attempts(wrong_options()));
    pair.compare(&again());
    pair.compare(&attempts(refusals()));
    pair.compare(&attempts(wrong_addresses()));
    pair.compare(&attempts(overlaps()));
    pair.compare(&attempts(bodies()));
    pair.compare(&unsupported());
    pair.compare(&users());
    pair.compare(&inspections());
    pair.compare(&listings());
    pair.compare(&removals());
    pair.compare(&prunings());
    pair.finish(
        &[
            ("GET", "/networks", &[200]),
            ("POST", "/networks/create", &[201, 400, 403, 404]),
            ("GET", "/networks/{id}", &[200, 404]),
            ("DELETE", "/networks/{id}", &[204, 403, 404]),
            ("POST", "/networks/prune", &[200]),
        ],
        &[],
    );
}

fn create(body: &str) -> Request {
    post("/networks/create", body)
}

/// A network with one subnet, and what is said of it.
fn subnet(name: &str, config: &str) -> Request {
    create(&format!(r#"{{"Name":"{name}","IPAM":{{"Config":[{{{config}}}]}}}}"#))
}

/// Every write is followed by the removal of what it may have made, so that no later one is refused for it.
fn attempts(writes: Vec<Request>) -> Vec<Request> {
    let removal = delete("/networks/refused").unseen();
    writes.into_iter().flat_map(|write| [write, removal.clone()]).collect()
}

fn container(name: &str, network: &str, more: &str) -> Request {
    post(
        format!("/containers/create?name={name}"),
        format!(r#"{{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{{"NetworkMode":"{network}"}}{more}}}"#),
    )
}

fn population() -> Vec<Request> {
    vec![
        create(r#"{"Name":"plain"}"#).named("plain"),
        create(r#"{"Name":"labelled","Driver":"bridge","Labels":{"a":"b","c":"","d.e/f":"ü"}}"#).named("labelled"),
        create(r#"{"Name":"inner","Internal":true,"Labels":{"a":"d"}}"#),
        create(r#"{"Name":"attachable","Attachable":true,"Scope":"local"}"#),
        create(r#"{"Name":"four","EnableIPv4":true,"EnableIPv6":false}"#),
        create(r#"{"Name":"empty","Driver":"","Scope":"","Labels":{},"Options":{},"IPAM":{}}"#),
        create(
            r#"{"Name":"nothing","Driver":null,"Scope":null,"Internal":null,"Attachable":null,"Ingress":null,
            "ConfigOnly":null,"ConfigFrom":null,"IPAM":null,"EnableIPv6":null,"EnableIPv4":null,"Labels":null,"Options":null}"#,
        ),
        create(r#"{"Name":"unheard","Nosuch":{"a":[1]},"Id":"x","Containers":{},"Created":"x"}"#),
        create(r#"{"name":"small","labels":{"k":"l"},"internal":true}"#),
        create(r#"{"Name":"with space"}"#),
        create(r#"{"Name":"v.w_x-Y9/z:ü"}"#),
        create(r#"{"Name":"checked","CheckDuplicate":true}"#),
        create(r#"{"Name":"v24","CheckDuplicate":true,"Labels":{"old":"1"}}"#).version("/v1.24"),
        create(r#"{"Name":"v43","EnableIPv4":false,"IPAM":{"Config":[{"Subnet":"10.31.0.0/24"}]}}"#).version("/v1.43"),
        create(r#"{"Name":"v47","EnableIPv4":false,"Internal":true,"IPAM":{"Config":[{"Subnet":"10.32.0.0/24"}]}}"#)
            .version("/v1.47"),
        create(r#"{"Name":"unversioned"}"#).version(""),
        get("/networks"),
    ]
}

fn addresses() -> Vec<Request> {
    vec![
        create(
            r#"{"Name":"asked","IPAM":{"Driver":"default","Options":{"foo":"bar"},"Config":[{"Subnet":"10.1.0.0/24",
            "IPRange":"10.1.0.128/25","Gateway":"10.1.0.254","AuxiliaryAddresses":{"printer":"10.1.0.9","router":"10.1.0.200"}}]}}"#,
        )
        .named("asked"),
        subnet("small-subnet", r#""Subnet":"10.2.0.0/30""#),
        subnet("ranged", r#""Subnet":"10.3.0.0/16","IPRange":"10.3.7.0/24""#),
        subnet("range-at-begin", r#""Subnet":"10.4.0.0/16","IPRange":"10.4.0.0/24""#),
        subnet("range-is-all", r#""Subnet":"10.5.0.0/24","IPRange":"10.5.0.0/24""#),
        subnet("gateway-in-range", r#""Subnet":"10.6.0.0/24","IPRange":"10.6.0.128/25","Gateway":"10.6.0.129""#),
        subnet("gateway-last", r#""Subnet":"10.7.0.0/24","Gateway":"10.7.0.254""#),
        subnet("empty-parts", r#""Subnet":"10.8.0.0/24","IPRange":"","Gateway":"","AuxiliaryAddresses":{}"#),
        subnet("null-parts", r#""Subnet":"10.9.0.0/24","IPRange":null,"Gateway":null,"AuxiliaryAddresses":null"#),
        create(r#"{"Name":"no-configs","IPAM":{"Driver":"","Config":[],"Options":{}}}"#),
        create(r#"{"Name":"null-configs","IPAM":{"Driver":"default","Config":null,"Options":null}}"#),
        subnet("inner-asked", r#""Subnet":"10.10.0.0/24""#),
        create(r#"{"Name":"inner-subnet","Internal":true,"IPAM":{"Config":[{"Subnet":"10.11.0.0/24"}]}}"#),
        create(r#"{"Name":"inner-gateway","Internal":true,"IPAM":{"Config":[{"Subnet":"10.12.0.0/24","Gateway":"10.12.0.9"}]}}"#),
        subnet("documentation", r#""Subnet":"192.0.2.0/24""#),
        subnet("wide", r#""Subnet":"11.0.0.0/8""#),
        subnet("eight", r#""Subnet":"10.13.0.8/29","IPRange":"10.13.0.12/30""#),
        subnet("auxiliary", r#""Subnet":"10.14.0.0/24","AuxiliaryAddresses":{"a":"10.14.0.2"}"#),
        subnet("old", r#""Subnet":"10.15.0.0/24","Gateway":"10.15.0.7""#).version("/v1.24"),
        get("/networks/asked").version("/v1.24"),
        get("/networks/asked").version("/v1.43"),
        get("/networks/asked").version("/v1.47"),
        get("/networks/asked").version(""),
        get("/networks"),
    ]
}

fn options() -> Vec<Request> {
    let options = |name: &str, options: &str| create(&format!(r#"{{"Name":"{name}","Options":{{{options}}}}}"#));
    vec![
        options("mtu", r#""com.docker.network.driver.mtu":"1400""#),
        options("mtu-zero", r#""com.docker.network.driver.mtu":"0""#),
        options("icc", r#""com.docker.network.bridge.enable_icc":"false""#),
        options("masquerade", r#""com.docker.network.bridge.enable_ip_masquerade":"0""#),
        options(
            "binding",
            r#""com.docker.network.bridge.host_binding_ipv4":"127.0.0.1""#,
        ),
        options("bridged", r#""com.docker.network.bridge.name":"mine0""#),
        options("unnamed", r#""com.docker.network.bridge.name":"""#),
        options("foreign", r#""foo":"bar","com.example":"""#),
        get("/networks"),
    ]
}

fn wrong_options() -> Vec<Request> {
    let options = |options: &str| create(&format!(r#"{{"Name":"refused","Options":{{{options}}}}}"#));
    vec![
        options(r#""com.docker.network.driver.mtu":"x""#),
        options(r#""com.docker.network.driver.mtu":"""#),
        options(r#""com.docker.network.driver.mtu":"-1""#),
        options(r#""com.docker.network.driver.mtu":"99999999999999999999""#),
        options(r#""com.docker.network.bridge.enable_icc":"maybe""#),
        options(r#""com.docker.network.bridge.enable_icc":"""#),
        options(r#""com.docker.network.bridge.enable_ip_masquerade":"maybe""#),
        options(r#""com.docker.network.bridge.host_binding_ipv4":"x""#),
        options(r#""com.docker.network.bridge.host_binding_ipv4":"""#),
        options(r#""com.docker.network.bridge.name":"mine0""#),
        options(r#""com.docker.network.bridge.name":"lo""#),
    ]
}

/// Names that are there already.
fn again() -> Vec<Request> {
    vec![
        create(r#"{"Name":"plain"}"#),
        create(r#"{"Name":"plain","CheckDuplicate":true}"#),
        create(r#"{"Name":"plain","CheckDuplicate":false}"#).version("/v1.24"),
        create(r#"{"Name":"plain","Driver":"nosuch"}"#).patience(LOOKUP),
        create(r#"{"Name":"plain","Driver":"host"}"#),
        create(r#"{"Name":"plain","Driver":"overlay"}"#),
        create(r#"{"Name":"plain","Ingress":true}"#),
        create(r#"{"Name":"plain","Scope":"swarm"}"#),
        create(r#"{"Name":"plain","EnableIPv4":false}"#),
        create(r#"{"Name":"plain","ConfigFrom":{"Network":"nosuch"}}"#),
        create(r#"{"Name":"plain","Options":{"com.docker.network.driver.mtu":"x"}}"#),
        subnet("plain", r#""Subnet":"x""#),
        subnet("plain", r#""Subnet":"10.1.0.0/24""#),
        create(r#"{"Name":"{plain}"}"#),
        delete("/networks/{1}"),
        create(r#"{"Name":"PLAIN"}"#),
        create(r#"{"Name":" plain"}"#),
        delete("/networks/PLAIN"),
        delete("/networks/%20plain"),
    ]
}

#[expect(clippy::too_many_lines, reason = "a flat list")]
fn refusals() -> Vec<Request> {
    let with = |fields: &str| create(&format!(r#"{{"Name":"refused",{fields}}}"#));
    vec![
        create(r#"{"Name":""}"#),
        create(r#"{"Name":" "}"#),
        create(r#"{"Name":"\t"}"#),
        create("{}"),
        create(r#"{"Name":"bridge"}"#),
        create(r#"{"Name":"host"}"#),
        create(r#"{"Name":"none"}"#),
        create(r#"{"Name":"default"}"#),
        create(r#"{"Name":"bridge","Driver":"nosuch"}"#),
        create(r#"{"Name":"host","IPAM":{"Config":[{"Subnet":"x"}]}}"#),
        create(r#"{"Name":"container:x"}"#),
        delete("/networks/container:x"),
        with(r#""Driver":"nosuch""#).patience(LOOKUP),
        with(r#""Driver":"default""#).patience(LOOKUP),
        with(r#""Driver":"BRIDGE""#).patience(LOOKUP),
        with(r#""Driver":"a b""#).patience(LOOKUP),
        with(r#""Driver":"host""#),
        with(r#""Driver":"null""#),
        with(r#""Driver":"none""#).patience(LOOKUP),
        with(r#""Driver":"overlay""#),
        with(r#""Driver":"overlay","IPAM":{"Config":[{"Subnet":"x"}]}"#),
        with(r#""Driver":"host","IPAM":{"Config":[{"Subnet":"x"}]}"#),
        with(r#""Driver":"host","Scope":"swarm""#),
        with(r#""Driver":"nosuch","IPAM":{"Config":[{"Subnet":"x"}]}"#).patience(LOOKUP),
        with(r#""Driver":"nosuch","IPAM":{"Driver":"nosuch"}"#).patience(LOOKUP),
        with(r#""Scope":"swarm""#),
        with(r#""Ingress":true"#),
        with(r#""Ingress":true,"Scope":"swarm""#),
        with(r#""Ingress":true,"Scope":"local""#),
        with(r#""Ingress":true,"Driver":"overlay""#),
        with(r#""ConfigFrom":{"Network":"nosuch"}"#),
        with(r#""ConfigFrom":{"Network":"plain"}"#),
        with(r#""ConfigFrom":{"Network":""}"#),
        with(r#""ConfigFrom":{"Network":"nosuch"},"Driver":"nosuch""#).patience(LOOKUP),
        with(r#""ConfigFrom":{"Network":"nosuch"},"ConfigOnly":true"#),
        with(r#""ConfigFrom":{"Network":"nosuch"},"Options":{"a":"b"}"#),
        with(r#""ConfigFrom":{"Network":"nosuch"},"IPAM":{"Config":[{"Subnet":"10.99.0.0/24"}]}"#),
        with(r#""Options":{"com.docker.network.driver.mtu":"x"},"Scope":"swarm""#),
        with(r#""Options":{"com.docker.network.driver.mtu":"x"},"EnableIPv4":false"#),
        with(r#""Options":{"com.docker.network.driver.mtu":"x"},"Driver":"host""#),
        with(r#""Options":{"com.docker.network.driver.mtu":"x"},"IPAM":{"Driver":"nosuch"}"#).patience(LOOKUP),
        with(r#""Options":{"com.docker.network.driver.mtu":"x"},"ConfigFrom":{"Network":"nosuch"}"#),
        with(r#""EnableIPv4":false,"IPAM":{"Driver":"nosuch"}"#).patience(LOOKUP),
        with(r#""EnableIPv4":false,"IPAM":{"Config":[{"Subnet":"10.1.0.0/24"}]}"#),
        with(r#""Driver":"host","IPAM":{"Driver":"nosuch"}"#).patience(LOOKUP),
        with(r#""ConfigFrom":{"Network":"nosuch"},"Labels":{"a":"b"}"#),
        with(r#""ConfigFrom":{"Network":"nosuch"},"EnableIPv4":false"#),
        with(r#""ConfigFrom":{"Network":"nosuch"},"IPAM":{"Driver":"nosuch"}"#),
        with(r#""ConfigFrom":{"Network":"nosuch"},"Ingress":true"#),
        with(r#""ConfigFrom":{"Network":"nosuch"},"Scope":"swarm""#),
        with(r#""EnableIPv4":false"#),
        with(r#""EnableIPv4":false,"EnableIPv6":false"#),
        with(r#""EnableIPv4":false,"IPAM":{"Config":[{"Subnet":"x"}]}"#),
        with(r#""EnableIPv4":false,"Driver":"host""#),
        with(r#""IPAM":{"Driver":"nosuch"}"#).patience(LOOKUP),
        with(r#""IPAM":{"Driver":"nosuch","Config":[{"Subnet":"x"}]}"#).patience(LOOKUP),
        with(r#""IPAM":{"Driver":"null"}"#),
        with(r#""IPAM":{"Driver":"null","Config":[{"Subnet":"10.99.0.0/24"}]}"#),
        post("/networks", "{}"),
        get("/networks/create"),
        delete("/networks/create"),
    ]
}

#[expect(clippy::too_many_lines, reason = "a flat list")]
fn wrong_addresses() -> Vec<Request> {
    // Docker keeps some of the subnets that it has refused, so that each is asked for once.
    let number = Cell::new(100);
    let apart = |text: &str| {
        let number = number.replace(number.get() + 1);
        text.replace("10.99.", &format!("10.{number}."))
    };
    let refused = |config: &str| subnet("refused", &apart(config));
    let several = |configs: &str| {
        create(&apart(&format!(
            r#"{{"Name":"refused","IPAM":{{"Config":[{configs}]}}}}"#
        )))
    };
    let of = |more: &str| subnet("refused", &apart(&format!(r#""Subnet":"10.99.0.0/24",{more}"#)));
    vec![
        refused(r#""Subnet":"foo""#),
        refused(r#""Subnet":"10.99.0.0""#),
        refused(r#""Subnet":"10.99.0.0/""#),
        refused(r#""Subnet":"10.99.0.0/33""#),
        refused(r#""Subnet":"10.99.0.0/-1""#),
        refused(r#""Subnet":"10.99.0/24""#),
        refused(r#""Subnet":"10.99.0.5/24""#),
        refused(r#""Subnet":" 10.99.0.0/24""#),
        refused(r#""Subnet":"010.99.0.0/24""#),
        refused(r#""Subnet":"10.99.0.0/024""#),
        refused(r#""Subnet":"0.0.0.0/0""#),
        refused(r#""Subnet":"127.0.0.0/8""#),
        refused(r#""Subnet":"224.0.0.0/8""#),
        refused(""),
        refused(r#""Subnet":"""#),
        refused(r#""Gateway":"10.99.0.1""#),
        refused(r#""IPRange":"10.99.0.0/25""#),
        refused(r#""AuxiliaryAddresses":{"a":"10.99.0.1"}"#),
        of(r#""Gateway":"foo""#),
        of(r#""Gateway":"10.99.0.1/24""#),
        of(r#""Gateway":"10.98.0.1""#),
        of(r#""Gateway":"fd00::1""#),
        of(r#""Gateway":"10.99.0.0""#),
        of(r#""Gateway":"10.99.0.255""#),
        of(r#""IPRange":"foo""#),
        of(r#""IPRange":"10.99.0.5/25""#),
        of(r#""IPRange":"10.98.0.0/25""#),
        of(r#""IPRange":"10.98.0.7/25""#),
        of(r#""IPRange":"10.99.0.0/16""#),
        of(r#""IPRange":"10.0.0.7/16""#),
        of(r#""IPRange":"fd00::/120""#),
        of(r#""IPRange":"10.99.0.5/32""#),
        of(r#""AuxiliaryAddresses":{"a":"foo"}"#),
        of(r#""AuxiliaryAddresses":{"a":""}"#),
        of(r#""AuxiliaryAddresses":{"a":"10.98.0.1"}"#),
        of(r#""AuxiliaryAddresses":{"a":"fd00::1"}"#),
        of(r#""AuxiliaryAddresses":{"":"10.98.0.1"}"#),
        of(r#""Gateway":"10.99.0.9","AuxiliaryAddresses":{"a":"10.99.0.9"}"#),
        of(r#""AuxiliaryAddresses":{"a":"10.99.0.1"}"#),
        of(r#""AuxiliaryAddresses":{"a":"10.99.0.0"}"#),
        of(r#""AuxiliaryAddresses":{"a":"10.99.0.255"}"#),
        of(r#""IPRange":"x","Gateway":"y","AuxiliaryAddresses":{"a":"z"}"#),
        refused(r#""Subnet":"10.99.0.5/24","IPRange":"x","Gateway":"y""#),
        refused(r#""Subnet":"x","Gateway":"y""#),
        several(r#"{"Subnet":"10.99.0.0/24"},{"Subnet":"10.98.0.0/24"}"#),
        several(r#"{"Subnet":"10.99.0.0/24"},{"Subnet":"10.99.0.0/24"}"#),
        several(r#"{"Subnet":"10.99.0.0/24"},{"Subnet":"10.1.0.0/24"}"#),
        several(r#"{"Subnet":"x"},{"Subnet":"y"}"#),
        several(r#"{"Subnet":"10.99.0.0/24"},{}"#),
        several(r#"{"Subnet":"10.99.0.0/24"},null"#),
        several(r#"{},{"Subnet":"10.98.0.0/24"}"#),
        several("{},{}"),
        several("null"),
    ]
}

/// Subnets that networks or the host have.
fn overlaps() -> Vec<Request> {
    let refused = |text: &str| subnet("refused", &format!(r#""Subnet":"{text}""#));
    vec![
        refused("10.1.0.0/24"),
        refused("10.1.0.128/25"),
        refused("10.0.0.0/8"),
        refused("10.1.0.0/16"),
        refused("172.17.0.0/16"),
        refused("172.17.5.0/24"),
        refused("172.18.0.0/16"),
        refused("172.16.0.0/12"),
        refused("192.0.2.0/25"),
        create(
            r#"{"Name":"refused","Options":{"com.docker.network.driver.mtu":"x"},"IPAM":{"Config":[{"Subnet":"10.1.0.0/24"}]}}"#,
        ),
        create(
            r#"{"Name":"refused","Options":{"com.docker.network.bridge.name":"mine0"},"IPAM":{"Config":[{"Subnet":"10.1.0.0/24"}]}}"#,
        ),
        create(
            r#"{"Name":"refused","Options":{"com.docker.network.bridge.name":"mine0","com.docker.network.driver.mtu":"x"}}"#,
        ),
        create(r#"{"Name":"refused","Internal":true,"IPAM":{"Config":[{"Subnet":"10.1.0.0/24"}]}}"#),
    ]
}

/// Bodies that are no request.
fn bodies() -> Vec<Request> {
    vec![
        create(""),
        create("null"),
        create("{"),
        create("[]"),
        create("7"),
        create("true"),
        create(r#""text""#),
        create(r#"{"Name":"refused"} {"#),
        create(r#"{"Name":7}"#),
        create(r#"{"Name":["a"]}"#),
        create(r#"{"Name":"refused","Driver":7}"#),
        create(r#"{"Name":"refused","Internal":"x"}"#),
        create(r#"{"Name":"refused","Internal":1}"#),
        create(r#"{"Name":"refused","EnableIPv6":"x"}"#),
        create(r#"{"Name":"refused","EnableIPv4":1}"#),
        create(r#"{"Name":"refused","Labels":{"a":1}}"#),
        create(r#"{"Name":"refused","Labels":["a=b"]}"#),
        create(r#"{"Name":"refused","Labels":"a"}"#),
        create(r#"{"Name":"refused","Options":{"a":true}}"#),
        create(r#"{"Name":"refused","Options":[]}"#),
        create(r#"{"Name":"refused","IPAM":"x"}"#),
        create(r#"{"Name":"refused","IPAM":[]}"#),
        create(r#"{"Name":"refused","IPAM":{"Driver":1}}"#),
        create(r#"{"Name":"refused","IPAM":{"Options":{"a":1}}}"#),
        create(r#"{"Name":"refused","IPAM":{"Options":"a"}}"#),
        create(r#"{"Name":"refused","IPAM":{"Config":{}}}"#),
        create(r#"{"Name":"refused","IPAM":{"Config":"x"}}"#),
        create(r#"{"Name":"refused","IPAM":{"Config":["x"]}}"#),
        create(r#"{"Name":"refused","IPAM":{"Config":[{"Subnet":"10.99.0.0/24"},7]}}"#),
        create(r#"{"Name":"refused","IPAM":{"Config":[{"Subnet":1}]}}"#),
        create(r#"{"Name":"refused","IPAM":{"Config":[{"Subnet":"10.99.0.0/24","Gateway":{}}]}}"#),
        create(r#"{"Name":"refused","IPAM":{"Config":[{},{"IPRange":[]}]}}"#),
        create(r#"{"Name":"refused","IPAM":{"Config":[{"AuxiliaryAddresses":[]}]}}"#),
        create(r#"{"Name":"refused","IPAM":{"Config":[{"AuxiliaryAddresses":{"a":1}}]}}"#),
        create(r#"{"Name":"refused","ConfigFrom":"x"}"#),
        create(r#"{"Name":"refused","ConfigFrom":{"Network":1}}"#),
        create(r#"{"Name":"refused","ConfigOnly":"x"}"#),
        create(r#"{"Name":"refused","CheckDuplicate":"x"}"#),
        create(r#"{"Name":"refused"}"#).header("Content-Type", "text/plain"),
        create(r#"{"Name":"refused"}"#).header("Content-Type", ""),
        create(r#"{"Name":7}"#).version("/v1.24"),
        get("/networks"),
    ]
}

/// What Docker serves, or finds out late, and we refuse by name.
fn unsupported() -> Vec<Request> {
    let asked = |why: &str, fields: &str| {
        let body = format!(r#"{{"Name":"theirs",{fields}}}"#);
        [
            post(format!("/networks/create?{why}"), body).unseen(),
            delete("/networks/theirs").unseen(),
        ]
    };
    let option = |why: &str, key: &str, value: &str| asked(why, &format!(r#""Options":{{"{key}":"{value}"}}"#));
    let subnet = |text: &str| {
        asked(
            "unsupported",
            &format!(r#""IPAM":{{"Config":[{{"Subnet":"{text}"}}]}}"#),
        )
    };
    let name = "com.docker.network.bridge.name";
    [
        asked("unsupported", r#""EnableIPv6":true"#),
        asked("unsupported", r#""EnableIPv4":false,"EnableIPv6":true"#),
        asked(
            "unsupported",
            r#""EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fd00:1::/64"}]}"#,
        ),
        asked("unsupported", r#""ConfigOnly":true"#),
        asked("unsupported", r#""Driver":"macvlan""#),
        asked("unsupported", r#""Driver":"ipvlan""#),
        option("unsupported", "com.docker.network.bridge.inhibit_ipv4", "true"),
        option("unsupported", "com.docker.network.container_iface_prefix", "x"),
        option("unsupported", "com.docker.network.bridge.host_binding_ipv4", "::1"),
        subnet("10.200.0.0/31"),
        subnet("10.201.0.0/32"),
        subnet("::ffff:10.202.0.0/120"),
        asked("scope", r#""Scope":"global""#),
        asked("scope", r#""Scope":"nosuch""#),
        option("fault", name, "much-too-long-a-name"),
        option("fault", name, "a/b"),
        option("fault", name, "a b"),
        option("fault", "com.docker.network.driver.mtu", "70000"),
    ]
    .concat()
}

/// Containers on networks, running and not.
fn users() -> Vec<Request> {
    vec![
        container("runs", "plain", "").unseen(),
        post("/containers/runs/start", "").unseen(),
        container(
            "asks",
            "asked",
            r#","NetworkingConfig":{"EndpointsConfig":{"asked":{"IPAMConfig":{"IPv4Address":"10.1.0.130"},"Aliases":["x"]}}}"#,
        )
        .unseen(),
        post("/containers/asks/start", "").unseen(),
        container("still", "labelled", ""),
        container("ended", "inner", ""),
        post("/containers/ended/start", "").unseen(),
        post("/containers/ended/kill", "").unseen(),
        post("/containers/ended/wait", "").unseen(),
        container("bridged", "bridge", "").unseen(),
        post("/containers/bridged/start", "").unseen(),
        container("hosted", "host", "").unseen(),
        post("/containers/hosted/start", "").unseen(),
        container("lonely", "none", "").unseen(),
        post("/containers/lonely/start", "").unseen(),
    ]
}

fn inspections() -> Vec<Request> {
    let mut requests: Vec<Request> = [
        "plain",
        "{plain}",
        "asked",
        "labelled",
        "inner",
        "bridge",
        "host",
        "none",
        "default",
        "nosuch",
        "plai",
        "PLAIN",
        "with%20space",
        "v.w_x-Y9%2Fz:%C3%BC",
        "v.w_x-Y9/z:ü",
        "%20",
        "%2Fplain",
        "plain/",
        "plain/x",
        "..%2Fplain",
        "*",
        "plain?verbose=1",
        "plain?verbose=true&scope=local",
        "plain?verbose=x",
        "plain?verbose=",
        "nosuch?verbose=x",
        "plain?scope=swarm",
        "plain?scope=global",
        "plain?scope=x",
        "plain?scope=",
        "plain?scope=local&scope=swarm",
        "plain?nosuch=1",
        "plain?x=%zz",
    ]
    .into_iter()
    .map(|path| get(format!("/networks/{path}")))
    .collect();
    requests.push(get("/networks/"));
    for version in ["/v1.24", "/v1.27", "/v1.28", "/v1.43", "/v1.47", "/v1.51", ""] {
        for name in ["asked", "inner", "bridge", "host", "none", "nosuch"] {
            requests.push(get(format!("/networks/{name}")).version(version));
        }
    }
    requests
}

#[expect(clippy::too_many_lines, reason = "a flat list")]
fn listings() -> Vec<Request> {
    let filtered = |filters: &str| get(with("/networks", &[("filters", filters)]));
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
        r#"{"driver":["bridge"]}"#,
        r#"{"driver":["null"]}"#,
        r#"{"driver":["none"]}"#,
        r#"{"driver":["host","null"]}"#,
        r#"{"driver":["brid"]}"#,
        r#"{"driver":["nosuch"]}"#,
        r#"{"driver":[""]}"#,
        r#"{"id":["{plain}"]}"#,
        r#"{"id":["{plain}","{labelled}"]}"#,
        r#"{"id":["nosuch"]}"#,
        r#"{"id":[""]}"#,
        r#"{"idOrName":["plain"]}"#,
        r#"{"label":["a"]}"#,
        r#"{"label":["a=b"]}"#,
        r#"{"label":["a=b","c"]}"#,
        r#"{"label":["a=b","a=d"]}"#,
        r#"{"label":["a:b"]}"#,
        r#"{"label":["c="]}"#,
        r#"{"label":[""]}"#,
        r#"{"label":["nosuch"]}"#,
        r#"{"label!":["a"]}"#,
        r#"{"label":{"a=b":true,"c":true}}"#,
        r#"{"name":["plain"]}"#,
        r#"{"name":["la"]}"#,
        r#"{"name":["^la"]}"#,
        r#"{"name":["d$","^plain$"]}"#,
        r#"{"name":["("]}"#,
        r#"{"name":["(","plain"]}"#,
        r#"{"name":[".*"]}"#,
        r#"{"name":[""]}"#,
        r#"{"name":["nosuch"]}"#,
        r#"{"name":["PLAIN"]}"#,
        r#"{"name":["{plain}"]}"#,
        r#"{"scope":["local"]}"#,
        r#"{"scope":["swarm"]}"#,
        r#"{"scope":["loc"]}"#,
        r#"{"scope":["nosuch"]}"#,
        r#"{"scope":["nosuch","local"]}"#,
        r#"{"type":["builtin"]}"#,
        r#"{"type":["custom"]}"#,
        r#"{"type":["builtin","custom"]}"#,
        r#"{"type":["x"]}"#,
        r#"{"type":["x","custom"]}"#,
        r#"{"type":[""]}"#,
        r#"{"type":[]}"#,
        r#"{"type":["Builtin"]}"#,
        r#"{"type":["custom"],"dangling":["true"],"driver":["bridge"]}"#,
        r#"{"type":["custom"],"label":["a"],"name":["la"]}"#,
        r#"{"type":["x"],"dangling":["x"]}"#,
        r#"{"type":["x"],"nosuch":["x"]}"#,
        r#"{"nosuch":["x"]}"#,
        r#"{"nosuch":[]}"#,
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
        get("/networks?filters=%zz"),
        get("/networks?filters"),
        get("/networks?nosuch=1"),
        get("/networks").version("/v1.24"),
        get("/networks").version("/v1.27"),
        get("/networks").version("/v1.28"),
        get("/networks").version("/v1.43"),
        get("/networks").version("/v1.51"),
        get("/networks").version(""),
        filtered(r#"{"dangling":["true"]}"#).version("/v1.24"),
        filtered(r#"{"name":{"plain":true}}"#).version("/v1.24"),
        filtered(r#"{"type":["custom"]}"#).version("/v1.43"),
    ]);
    requests
}

/// Every write is followed by a list.
fn listed(writes: Vec<Request>) -> Vec<Request> {
    writes.into_iter().flat_map(|write| [write, get("/networks")]).collect()
}

fn removals() -> Vec<Request> {
    listed(vec![
        delete("/networks/nosuch"),
        delete("/networks/%20"),
        delete("/networks/"),
        delete("/networks"),
        delete("/networks/plai"),
        delete("/networks/bridge"),
        delete("/networks/host"),
        delete("/networks/none"),
        delete("/networks/default"),
        delete("/networks/plain"),
        delete("/networks/{plain}"),
        delete("/networks/plain?force=1"),
        delete("/networks/asked").version("/v1.24"),
        delete("/networks/labelled"),
        delete("/networks/labelled"),
        delete("/networks/{labelled}"),
        delete("/networks/inner").version("/v1.43"),
        delete("/networks/with%20space"),
        delete("/networks/v.w_x-Y9%2Fz:%C3%BC"),
        delete("/networks/mtu"),
        delete("/networks/bridged"),
        delete("/networks/v24").version("/v1.24"),
        delete("/networks/unversioned").version(""),
        post("/containers/runs/kill", "").unseen(),
        post("/containers/runs/wait", "").unseen(),
        delete("/networks/plain"),
        post("/containers/runs/start", "").unseen(),
        post("/containers/still/start", "").unseen(),
        delete("/containers/runs?force=1").unseen(),
        delete("/containers/still?force=1").unseen(),
        delete("/containers/asks?force=1").unseen(),
        delete("/networks/asked"),
    ])
}

fn prunings() -> Vec<Request> {
    let prune = |filters: &str| post(with("/networks/prune", &[("filters", filters)]), "");
    let mut script = vec![
        create(r#"{"Name":"first","Labels":{"a":"b","p":""}}"#),
        create(r#"{"Name":"second","Labels":{"a":"c","p":""}}"#),
        create(r#"{"Name":"used","Labels":{"p":""}}"#),
        create(r#"{"Name":"kept","Labels":{"k":""}}"#),
        container("user", "used", "").unseen(),
        post("/containers/user/start", "").unseen(),
    ];
    script.extend(
        [
            r#"{"nosuch":["x"]}"#,
            r#"{"dangling":["true"]}"#,
            r#"{"name":["first"]}"#,
            r#"{"until":["x"]}"#,
            r#"{"until":[""]}"#,
            r#"{"until":["1h","2h"]}"#,
            r#"{"until":["1h"]}"#,
            r#"{"until":["2001-02-03"]}"#,
            r#"{"until":["2001-02-03T04:05:06Z"]}"#,
            r#"{"until":["1000000"]}"#,
            r#"{"label":[1]}"#,
            "x",
            "[]",
            "{",
            r#"{"label":["nosuch"]}"#,
            r#"{"label":["a=b","nosuch"]}"#,
            r#"{"label":["a="]}"#,
            r#"{"label":["a=b"],"until":["1h"]}"#,
            r#"{"label":["a=b"]}"#,
            r#"{"label":["a"],"label!":["a=c"]}"#,
            r#"{"label":["p"],"label!":["a","x"]}"#,
            r#"{"label!":["k"],"until":["0s"]}"#,
        ]
        .map(prune),
    );
    script.extend([
        create(r#"{"Name":"third","Labels":{"a":"b"}}"#),
        create(r#"{"Name":"fourth"}"#),
        prune(r#"{"label":{"a=b":true}}"#).version("/v1.24"),
        prune(r#"{"label":["a=b"]}"#).version("/v1.25"),
        prune(r#"{"until":["24h"]}"#).version("/v1.43"),
        get("/networks"),
        post("/networks/prune", "{}"),
        post("/networks/prune", "x").header("Content-Type", "text/plain"),
        create(r#"{"Name":"fifth"}"#),
        post("/networks/prune", "").version("/v1.24"),
        post("/networks/prune", "").version(""),
        post("/containers/user/kill", "").unseen(),
        post("/containers/user/wait", "").unseen(),
        post("/networks/prune?stopped", "").unseen(),
        delete("/containers/user?force=1").unseen(),
        delete("/networks/used?stopped").unseen(),
        post("/networks/prune", ""),
        get("/networks/prune"),
        get("/networks"),
    ]);
    script
}
