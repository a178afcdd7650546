//! The same requests to Docker's own daemon and to ours: status, content type and JSON are the same, or the difference is
//! listed here with its reason. Run by `cargo xtask reference`.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fmt::Write;

use conex_tests::{Answer, Engine, Sandbox};
use serde_json::Value;

/// A request; `{1}` in path or body is the id that the first create of the script answered.
struct Request {
    method: &'static str,
    path: &'static str,
    body: &'static str,
}

const fn get(path: &'static str) -> Request {
    Request {
        method: "GET",
        path,
        body: "",
    }
}

const fn post(path: &'static str, body: &'static str) -> Request {
    Request {
        method: "POST",
        path,
        body,
    }
}

const fn delete(path: &'static str) -> Request {
    Request {
        method: "DELETE",
        path,
        body: "",
    }
}

/// Pointers into answers that may differ: the request's path begins with the first, the pointer ends with the second.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("/containers/", "/ResolvConfPath", "files of a container lie elsewhere"),
    ("/containers/", "/HostnamePath", "files of a container lie elsewhere"),
    ("/containers/", "/HostsPath", "files of a container lie elsewhere"),
    ("/containers/", "/LogPath", "files of a container lie elsewhere"),
    ("/containers/", "/NetworkSettings/SandboxID", "made anew at each start"),
    ("/containers/", "/NetworkSettings/SandboxKey", "made anew at each start"),
    ("/containers/", "/GraphDriver/Data", "layers lie elsewhere"),
    ("/images/", "/GraphDriver/Data", "layers lie elsewhere"),
    ("/containers/", "/HostConfig/Runtime", "the runtime is our own"),
    (
        "/containers/",
        "/HostConfig/Dns",
        "a list that is not given is shown empty, as the CLI gives it",
    ),
    ("/containers/", "/HostConfig/PortBindings", "as above"),
    (
        "/containers/",
        "/MacAddress",
        "follows from the address, so that neighbours' caches stay right",
    ),
    (
        "/containers/",
        "/SandboxID",
        "the container's, whose network namespace it is",
    ),
    (
        "/containers/",
        "/SandboxKey",
        "no file of the host keeps the namespace; it is found by the process",
    ),
    ("/images/", "/Metadata/LastTagTime", "a load tags"),
    ("/images/busybox/tag", "", "a tag without a name is refused"),
    // Docker answers some faults of clients with 500 and with words of its own insides.
    (
        "/containers/create?name=relative",
        "head",
        "a client's fault is answered with 400",
    ),
    (
        "/containers/create?name=mode",
        "head",
        "a client's fault is answered with 400",
    ),
    ("/containers/one/stop?t=x", "", "a client's fault is answered with 400"),
    ("/containers/json?limit=x", "", "a client's fault is answered with 400"),
    ("/containers/host/exec", "head", "a client's fault is answered with 400"),
];

/// What cannot be the same in two runs, made the same.
struct Normal<'a> {
    /// What creates have answered.
    ids: &'a [String],
}

impl Normal<'_> {
    fn text(&self, text: &str) -> String {
        let ids = self.ids;
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut normal = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end.max(1).min(rest.len()));
            let made = ids.iter().position(|id| word.len() >= 12 && id.starts_with(word));
            match made {
                Some(number) => write!(normal, "<{} digits of id {number}>", word.len()).unwrap(),
                // The digests of the same content are the same.
                None if word.len() == 64 && is_hex(word) && !normal.ends_with("sha256:") => normal.push_str("<id>"),
                None => normal.push_str(word),
            }
            rest = tail;
        }
        if normal.len() >= 20 && normal.starts_with("20") && normal.ends_with('Z') && normal.contains('T') {
            return "<time>".to_owned();
        }
        normal
    }

    fn value(&self, key: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Number(_) if ["Pid", "Created", "Size", "SizeRootFs", "SizeRw"].contains(&key) => {
                Value::String("<number>".to_owned())
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.value(key, item)).collect()),
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| (self.text(key), self.value(key, value)));
                Value::Object(fields.collect())
            }
            other => other.clone(),
        }
    }
}

/// Every pointer at which two values differ, with what stands there.
fn differences(at: &str, theirs: &Value, ours: &Value, found: &mut Vec<(String, String)>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let mut keys: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let pointer = format!("{at}/{key}");
                match (theirs.get(key), ours.get(key)) {
                    (Some(theirs), Some(ours)) => differences(&pointer, theirs, ours, found),
                    (Some(theirs), None) => found.push((pointer, format!("Docker {theirs}, Conex has none"))),
                    (_, ours) => found.push((pointer, format!("Docker has none, Conex {}", ours.unwrap()))),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                differences(&format!("{at}/{index}"), theirs, ours, found);
            }
        }
        _ if theirs == ours => {}
        _ => found.push((at.to_owned(), format!("Docker {theirs}, Conex {ours}"))),
    }
}

/// One engine in the course of a script.
struct Side {
    sandbox: Sandbox,
    ids: Vec<String>,
}

impl Side {
    fn new(engine: Engine) -> Self {
        Self {
            sandbox: Sandbox::with_busybox(engine),
            ids: Vec::new(),
        }
    }

    fn ask(&mut self, request: &Request) -> (Answer, Value) {
        let fill = |text: &str| {
            let numbered = self.ids.iter().enumerate();
            numbered.fold(text.to_owned(), |text, (index, id)| {
                text.replace(&format!("{{{}}}", index + 1), id)
            })
        };
        let path = format!("/v1.50{}", fill(request.path));
        let mut answer = self.sandbox.ask(request.method, &path, &fill(request.body));
        let value = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body.clone()));
        if answer.status == 201
            && let Some(id) = value["Id"].as_str()
        {
            self.ids.push(id.to_owned());
        }
        let normal = Normal { ids: &self.ids }.value("", &value);
        answer.body.clear();
        (answer, normal)
    }
}

/// Sends a script to both engines and compares every answer.
fn compare(script: &[Request]) {
    let root = std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
    let mut theirs = Side::new(Engine::Reference(root.into()));
    let mut ours = Side::new(Engine::Conex);
    let mut report = String::new();
    for request in script {
        let (their_head, their_body) = theirs.ask(request);
        let (our_head, our_body) = ours.ask(request);
        let mut found = Vec::new();
        if their_head != our_head {
            found.push(("head".to_owned(), format!("Docker {their_head:?}, Conex {our_head:?}")));
        }
        differences("", &their_body, &our_body, &mut found);
        for (pointer, what) in found {
            let known = DIFFERENCES
                .iter()
                .any(|(path, end, _)| request.path.starts_with(path) && pointer.contains(end));
            if !known {
                let _ = writeln!(report, "{} {} {pointer}: {what}", request.method, request.path);
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn a_containers_life_is_answered_the_same() {
    compare(&[
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

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn fields_other_than_the_defaults_are_shown_the_same() {
    compare(&[
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

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn containers_that_cannot_be_made_are_refused_the_same() {
    compare(&[
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

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn what_cannot_be_done_is_refused_the_same() {
    compare(&[
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
        get("/exec/nosuch/json"),
        post("/exec/nosuch/start", "{}"),
        get("/containers/json?filters=x"),
        get("/containers/json?filters=%7B%22nosuch%22%3A%5B%22x%22%5D%7D"),
        get("/containers/json?limit=x"),
        get("/images/nosuch/json"),
        delete("/images/nosuch"),
        post("/images/busybox/tag?repo=BAD", ""),
        post("/images/busybox/tag", ""),
        get("/nosuch"),
    ]);
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn execs_and_images_are_shown_the_same() {
    compare(&[
        get("/images/busybox/json"),
        get("/images/json"),
        post("/images/busybox/tag?repo=mine&tag=1", ""),
        get("/images/json?filters=%7B%22reference%22%3A%5B%22mine%22%5D%7D"),
        post(
            "/containers/create?name=host",
            r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#,
        ),
        post("/containers/host/start", ""),
        post(
            "/containers/host/exec",
            r#"{"Cmd":["sleep","1000"],"Env":["A=1"],"User":"worker","WorkingDir":"/tmp","Tty":false}"#,
        ),
        get("/exec/{2}/json"),
        post("/exec/{2}/start", r#"{"Detach":true}"#),
        post("/exec/{2}/start", r#"{"Detach":true}"#),
        post("/containers/host/exec", r#"{}"#),
        post(
            "/containers/host/exec",
            r#"{"Cmd":["true"],"DetachKeys":"nosuch-key-name"}"#,
        ),
        delete("/images/mine:1"),
        delete("/images/busybox"),
        delete("/containers/host"),
        delete("/containers/host?force=1"),
    ]);
}
