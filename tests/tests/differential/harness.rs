//! The same requests to both engines, and what is compared of their answers.
//!
//! A script is a list of requests; `{1}` in one is the id that the first create answered, `{name}` that of the create that was
//! [`named`](Request::named). After each write the object is inspected without being told. What differs is gathered, and told by
//! [`Pair::finish`] together with what the operations still lack.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use conex_tests::{Engine, Question, Reply, Sandbox, hex};
use serde_json::Value;

use crate::decode::{Reading, decoded};
use crate::normal::{Normal, differences};
use crate::tally::{Operation, Tally, Unreached};

/// Header fields that clients look at; of the others only that there is an answer matters.
const HEADERS: [&str; 13] = [
    "Content-Type",
    "Api-Version",
    "Ostype",
    "Docker-Experimental",
    "Builder-Version",
    "Swarm",
    "Upgrade",
    "Connection",
    "Location",
    "Warning",
    "WWW-Authenticate",
    "Cache-Control",
    "Pragma",
];

/// How long an answer may take where the request says nothing else.
const PATIENCE: Duration = Duration::from_secs(15);

/// A difference that stays: requests that begin so (`POST /path`, or `/path` for every method) or end so (`?mark`), where in the answer (`status`,
/// a header's name, or what a JSON pointer contains), and why.
pub(crate) type Difference = (&'static str, &'static str, &'static str);

/// Differences that any script may meet.
const EVERYWHERE: &[Difference] = &[
    ("/containers/", "/ResolvConfPath", "files of a container lie elsewhere"),
    ("/containers/", "/HostnamePath", "files of a container lie elsewhere"),
    ("/containers/", "/HostsPath", "files of a container lie elsewhere"),
    ("/containers/", "/LogPath", "files of a container lie elsewhere"),
    ("/containers/", "/GraphDriver/Data", "layers lie elsewhere"),
    ("/containers/", "/HostConfig/Runtime", "the runtime is our own"),
    (
        "/containers/",
        "/HostConfig/Dns",
        "a list that is not given is shown empty, as the CLI gives it",
    ),
    (
        "/containers/",
        "/HostConfig/PortBindings",
        "a map that is not given is shown empty, as the CLI gives it",
    ),
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
];

/// A request of a script.
#[derive(Clone)]
pub(crate) struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    version: &'static str,
    reading: Reading,
    name: Option<&'static str>,
    input: Option<Vec<u8>>,
    frames: Vec<u8>,
    lines: usize,
    patience: Duration,
    until: Option<&'static str>,
    is_inspected: bool,
    is_later: bool,
}

/// A request of any method.
pub(crate) fn request(method: &'static str, path: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
    Request {
        method,
        path: path.into(),
        headers: Vec::new(),
        body: body.into(),
        version: "/v1.50",
        reading: Reading::ByType,
        name: None,
        input: None,
        frames: Vec::new(),
        lines: usize::MAX,
        patience: PATIENCE,
        until: None,
        is_inspected: true,
        is_later: false,
    }
}

pub(crate) fn get(path: impl Into<String>) -> Request {
    request("GET", path, "")
}

pub(crate) fn head(path: impl Into<String>) -> Request {
    request("HEAD", path, "")
}

/// A POST with a JSON body, or without one where the text is empty.
pub(crate) fn post(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
    request("POST", path, body)
}

pub(crate) fn put(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
    request("PUT", path, body)
}

pub(crate) fn delete(path: impl Into<String>) -> Request {
    request("DELETE", path, "")
}

/// A path with parameters, escaped.
pub(crate) fn with(path: &str, parameters: &[(&str, &str)]) -> String {
    let escaped = |text: &str| {
        let bytes = text.bytes().map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
        bytes.collect::<String>()
    };
    let pairs: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

#[allow(dead_code, reason = "each part of the comparison says what it needs of a request")]
impl Request {
    /// A header field; an empty value leaves out one that would be sent otherwise.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What stands before the path instead of `/v1.50`; nothing, or another version.
    pub(crate) fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// The name under which the `Id` (or `Name`) that is answered is known to later requests: `{name}`.
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// How the body is understood where its media type does not say.
    pub(crate) fn reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    /// Asks for the connection itself (`Upgrade: tcp`), sends this and closes its end for writing.
    pub(crate) fn hijacked(self, input: impl Into<Vec<u8>>) -> Self {
        self.header("Connection", "Upgrade")
            .header("Upgrade", "tcp")
            .input(input)
    }

    /// As `hijacked`, but this end stays open.
    pub(crate) fn open(self, input: impl Into<Vec<u8>>) -> Self {
        self.header("Connection", "Upgrade")
            .header("Upgrade", "tcp")
            .frames(input)
    }

    /// What is sent once the answer has begun, after which this end is closed for writing.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// What is sent once the answer has begun; this end stays open.
    pub(crate) fn frames(mut self, frames: impl Into<Vec<u8>>) -> Self {
        self.frames = frames.into();
        self
    }

    /// How many lines of an answer without end are compared.
    pub(crate) fn lines(mut self, lines: usize) -> Self {
        self.lines = lines;
        self
    }

    /// How long the end of the answer is waited for; one that goes on is compared as far as it came.
    pub(crate) fn patience(mut self, milliseconds: u64) -> Self {
        self.patience = Duration::from_millis(milliseconds);
        self
    }

    /// Asks again until the answer contains this.
    pub(crate) fn until(mut self, text: &'static str) -> Self {
        self.until = Some(text);
        self
    }

    /// A write whose object is not inspected at once, because it is about to change by itself.
    pub(crate) fn unseen(mut self) -> Self {
        self.is_inspected = false;
        self
    }

    /// Is asked beside the requests after it; its answer is compared at the script's end.
    pub(crate) fn later(mut self) -> Self {
        self.is_later = true;
        self.unseen()
    }

    fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The body for a reader; of an archive only that there is one.
    fn text(&self) -> String {
        match std::str::from_utf8(&self.body) {
            Ok(text) if !text.contains('\0') => format!("{} {text}", self.version),
            _ => format!("{} <{} bytes>", self.version, self.body.len()),
        }
    }

    /// The same with the names of ids filled in, and the time (`{now}`, seconds since 1970).
    fn filled(&self, ids: &[(String, String)]) -> Self {
        let fill = |text: &str| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let text = text.replace("{now}", &format!("{:.9}", now.as_secs_f64()));
            ids.iter()
                .rev()
                .fold(text, |text, (name, id)| text.replace(&format!("{{{name}}}"), id))
        };
        let mut filled = self.clone();
        filled.path = fill(&self.path);
        if let Ok(text) = std::str::from_utf8(&self.body) {
            filled.body = fill(text).into_bytes();
        }
        filled
    }

    fn send(&self, sandbox: &Sandbox) -> Reply {
        let path = format!("{}{}", self.version, self.path);
        let question = Question {
            method: self.method,
            path: &path,
            headers: &self.headers,
            body: &self.body,
            input: self.input.as_deref(),
            frames: &self.frames,
            lines: self.lines,
            patience: self.patience,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = sandbox.exchange(&question);
            let has_come = |text: &str| String::from_utf8_lossy(&reply.body).contains(text);
            if self.until.is_none_or(has_come) || Instant::now() > deadline {
                return reply;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether a listed difference is about a request.
fn is_meant(request: &Request, line: &str, path: &str) -> bool {
    let is_marked = path.starts_with('?') && request.path.ends_with(path);
    line.starts_with(path) || request.path.starts_with(path) || is_marked
}

/// Where the object of a write is seen.
fn inspection(request: &Request, answer: &Value) -> Option<Request> {
    let path = request.path.split('?').next()?;
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let answered = |field: &str| answer[field].as_str();
    let path = match (request.method, segments.as_slice()) {
        ("GET" | "HEAD", _) => return None,
        (_, ["containers", "create"]) => format!("/containers/{}/json", answered("Id")?),
        (_, ["containers", _, "exec"]) => format!("/exec/{}/json", answered("Id")?),
        (_, ["networks", "create"]) => format!("/networks/{}", answered("Id")?),
        (_, ["volumes", "create"]) => format!("/volumes/{}", answered("Name")?),
        (_, [_, "prune"]) => format!("/{}{}", segments[0], listing(segments[0])?),
        (_, ["exec", id, ..]) => format!("/exec/{id}/json"),
        (_, ["containers", id, ..]) => format!("/containers/{id}/json"),
        (_, ["networks", id, ..]) => format!("/networks/{id}"),
        (_, ["volumes", name, ..]) => format!("/volumes/{name}"),
        ("POST", ["commit"]) => format!("/images/{}/json", answered("Id")?),
        ("POST", ["images", "load"]) => "/images/json?all=1".to_owned(),
        ("POST", ["images", "create"]) => format!("/images/{}/json", imported(answer)?),
        // Names of images contain slashes.
        ("DELETE", ["images", name @ ..]) | ("POST", ["images", name @ .., "tag" | "push"]) => {
            format!("/images/{}/json", name.join("/"))
        }
        _ => return None,
    };
    Some(get(path))
}

/// The id that an import ends with.
fn imported(answer: &Value) -> Option<&str> {
    let last = answer["lines"].as_array()?.last()?;
    last["status"].as_str().filter(|status| status.starts_with("sha256:"))
}

fn listing(kind: &str) -> Option<&'static str> {
    match kind {
        "containers" | "images" => Some("/json?all=1"),
        "volumes" | "networks" => Some(""),
        _ => None,
    }
}

/// The digest of layers upon each other (OCI image specification, "Layer ChainID").
fn chain_id(diff_ids: &[&str]) -> String {
    let mut layers = diff_ids.iter().map(|&layer| layer.to_owned());
    let first = layers.next().unwrap_or_default();
    layers.fold(first, |below, layer| {
        format!("sha256:{}", hex(format!("{below} {layer}").as_bytes()))
    })
}

/// An answer, made comparable.
struct Seen {
    status: u16,
    headers: BTreeMap<&'static str, String>,
    body: Value,
}

/// One engine in the course of a script.
struct Side {
    sandbox: Arc<Sandbox>,
    /// Names of ids and the ids, the latest last.
    ids: Vec<(String, String)>,
    /// Names of what each engine has for itself, as the address of a registry, and what it is.
    own: Vec<(&'static str, String)>,
}

impl Side {
    fn new(sandbox: Sandbox) -> Self {
        Self {
            sandbox: Arc::new(sandbox),
            ids: Vec::new(),
            own: Vec::new(),
        }
    }

    fn begin(&self, request: &Request) -> JoinHandle<Reply> {
        let own = self.own.iter().map(|(name, what)| ((*name).to_owned(), what.clone()));
        let known: Vec<(String, String)> = own.chain(self.ids.iter().cloned()).collect();
        let (request, sandbox) = (request.filled(&known), Arc::clone(&self.sandbox));
        thread::spawn(move || request.send(&sandbox))
    }

    /// Learns the digests of what was made here, in which times are: an image, its layer, and the manifest of what was
    /// compressed.
    fn learn(&mut self, request: &Request, body: &Value) {
        if let (Some(name), Some(id)) = (request.name, imported(body)) {
            self.ids.push((name.to_owned(), id.to_owned()));
        }
        let lines = body["lines"].as_array().into_iter().flatten();
        for (line, name) in lines.filter_map(|line| Some((line, request.name?))) {
            if let Some(digest) = line["aux"]["Digest"].as_str() {
                self.ids.push((name.to_owned(), digest.to_owned()));
            }
        }
        let layers = body["RootFS"]["Layers"].as_array();
        let id = body["Id"].as_str().unwrap_or_default();
        let made = self
            .ids
            .iter()
            .find(|(_, made)| made == id)
            .map(|(name, _)| name.clone());
        if let (Some(name), Some(layers)) = (made, layers) {
            let layers: Vec<&str> = layers.iter().filter_map(Value::as_str).collect();
            let chain_id = chain_id(&layers);
            let last = layers
                .last()
                .map(|&layer| (format!("layer of {name}"), layer.to_owned()));
            self.ids.extend(last);
            self.ids.push((format!("chain of {name}"), chain_id));
        }
    }

    /// Keeps what a create answered, and makes the answer comparable. Returns it also as it came.
    fn see(&mut self, request: &Request, reply: &Reply, number: usize) -> (Seen, Value) {
        let body = decoded(request.reading, reply);
        let id = body["Id"].as_str().or_else(|| body["Name"].as_str());
        if let (201, Some(id)) = (reply.status, id) {
            self.ids.push((number.to_string(), id.to_owned()));
            if let Some(name) = request.name {
                self.ids.push((name.to_owned(), id.to_owned()));
            }
        }
        self.learn(request, &body);
        let normal = Normal {
            ids: &self.ids,
            own: &self.own,
            dir: self.sandbox.dir().to_str().unwrap(),
        };
        let headers = HEADERS.iter().map(|name| (*name, normal.text(reply.header(name))));
        let mut headers: BTreeMap<&'static str, String> = headers.collect();
        if reply.status != 101 {
            headers.remove("Connection");
        }
        let seen = Seen {
            status: reply.status,
            headers,
            body: normal.value("", &body),
        };
        (seen, body)
    }
}

/// A request that is under way at both engines.
struct Pending {
    request: Request,
    theirs: JoinHandle<Reply>,
    ours: JoinHandle<Reply>,
}

/// Docker's engine and ours, side by side.
pub(crate) struct Pair {
    theirs: Side,
    ours: Side,
    /// How many objects the script has made.
    made: usize,
    listed: Vec<Difference>,
    met: Vec<bool>,
    /// Differences that may be met or not.
    by_chance: &'static [Difference],
    report: String,
    tally: Tally,
}

impl Pair {
    /// Both engines with busybox, and the differences that are listed for the scripts to come.
    pub(crate) fn new(listed: &[Difference]) -> Self {
        Self::of(Sandbox::with_busybox, listed)
    }

    /// As `new`, but both share the host's network, so that they reach registries on its loopback, and have no bridge.
    pub(crate) fn beside_registries(listed: &[Difference]) -> Self {
        Self::of(Sandbox::with_busybox_beside_registries, listed)
    }

    /// Both engines in sandboxes of one kind.
    pub(crate) fn of(sandbox: impl Fn(Engine) -> Sandbox, listed: &[Difference]) -> Self {
        let root =
            std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
        Self {
            theirs: Side::new(sandbox(Engine::Reference(root.into()))),
            ours: Side::new(sandbox(Engine::Conex)),
            made: 0,
            listed: listed.to_vec(),
            met: vec![false; listed.len()],
            by_chance: &[],
            report: String::new(),
            tally: Tally::default(),
        }
    }

    /// What differs at times.
    pub(crate) fn by_chance(mut self, differences: &'static [Difference]) -> Self {
        self.by_chance = differences;
        self
    }

    /// Makes known what each engine has for itself: `{name}` in requests.
    pub(crate) fn know(&mut self, name: &'static str, theirs: impl Into<String>, ours: impl Into<String>) {
        self.theirs.own.push((name, theirs.into()));
        self.ours.own.push((name, ours.into()));
    }

    /// Runs the `docker` CLI on both, which must succeed; for what a script takes as given.
    #[allow(dead_code, reason = "each part of the comparison says what it takes as given")]
    pub(crate) fn prepare(&self, arguments: &[&str]) {
        self.theirs.sandbox.ok(arguments);
        self.ours.sandbox.ok(arguments);
    }

    /// Sends a script to both engines and compares every answer.
    pub(crate) fn compare(&mut self, script: &[Request]) {
        // Numbers begin anew with each script; what went before is still known as an id.
        self.made = 0;
        let mut later = Vec::new();
        for request in script {
            let pending = Pending {
                request: request.clone(),
                theirs: self.theirs.begin(request),
                ours: self.ours.begin(request),
            };
            if request.is_later {
                later.push(pending);
                // Those after it are to find it waiting.
                thread::sleep(Duration::from_millis(300));
            } else {
                self.settle(pending);
            }
        }
        for pending in later {
            self.settle(pending);
        }
    }

    /// Compares the answers to a request, and what is seen of its object after it.
    fn settle(&mut self, pending: Pending) {
        let Pending { request, theirs, ours } = pending;
        let (theirs, ours) = (theirs.join().unwrap(), ours.join().unwrap());
        if theirs.status == 201 || ours.status == 201 {
            self.made += 1;
        }
        let (theirs, raw) = self.theirs.see(&request, &theirs, self.made);
        let (ours, _) = self.ours.see(&request, &ours, self.made);
        self.tally.count(request.method, &request.path, theirs.status);
        self.report(&request, &theirs, &ours);
        let is_inspected = request.is_inspected && theirs.status == ours.status;
        let Some(mut inspection) = inspection(&request, &raw).filter(|_| is_inspected) else {
            return;
        };
        // An object that was answered with its id is known by its number on either side.
        let last = self
            .theirs
            .ids
            .last()
            .filter(|(_, id)| inspection.path.contains(id.as_str()));
        if let Some((name, id)) = last {
            inspection.path = inspection.path.replace(id.as_str(), &format!("{{{name}}}"));
        }
        let theirs = self.theirs.begin(&inspection).join().unwrap();
        let ours = self.ours.begin(&inspection).join().unwrap();
        let (theirs, _) = self.theirs.see(&inspection, &theirs, self.made);
        let (ours, _) = self.ours.see(&inspection, &ours, self.made);
        inspection.path = format!("{} after {}", inspection.path, request.line());
        self.report(&inspection, &theirs, &ours);
    }

    fn report(&mut self, request: &Request, theirs: &Seen, ours: &Seen) {
        let line = request.line();
        let mut found = Vec::new();
        if theirs.status != ours.status {
            let what = format!("Docker {}, Conex {}", theirs.status, ours.status);
            found.push(("status".to_owned(), what));
        }
        let is_known = |place: &str| {
            let is = |(path, part, _): &Difference| is_meant(request, &line, path) && place.contains(part);
            self.listed.iter().any(is)
        };
        if theirs.status != ours.status && !is_known("status") {
            // The rest of two different answers says little: the bodies as they are.
            let _ = writeln!(
                self.report,
                "{line} {}\n    Docker {} {}\n    Conex  {} {}",
                request.text(),
                theirs.status,
                theirs.body,
                ours.status,
                ours.body
            );
            return;
        }
        for (name, theirs) in &theirs.headers {
            let ours = ours.headers.get(name).map_or("", String::as_str);
            if theirs != ours {
                found.push(((*name).to_owned(), format!("Docker {theirs:?}, Conex {ours:?}")));
            }
        }
        differences("", &theirs.body, &ours.body, &mut found);
        for (place, what) in found {
            let is = |(path, part, _): &Difference| is_meant(request, &line, path) && place.contains(part);
            if let Some(index) = self.listed.iter().position(is) {
                self.met[index] = true;
            } else if !EVERYWHERE.iter().chain(self.by_chance).any(is) {
                let _ = writeln!(self.report, "{line} {}\n    {place}: {what}", request.text());
            }
        }
    }

    /// Tells what differed and is not listed, what is listed and did not differ, and what the operations lack: eight requests
    /// and every documented status for each. `unreached` are statuses that no request brings about, with the reason.
    pub(crate) fn finish(mut self, operations: &[Operation], unreached: &[Unreached]) {
        for ((path, place, why), _) in self.listed.iter().zip(&self.met).filter(|(_, met)| !**met) {
            let _ = writeln!(self.report, "listed and not met: {path} {place} ({why})");
        }
        let (table, lacks) = self.tally.held_against(operations, unreached);
        println!("{table}");
        self.report.push_str(&lacks);
        assert!(self.report.is_empty(), "\n{}", self.report);
    }
}
