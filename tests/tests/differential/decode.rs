//! The bodies of answers as values that can be compared.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use conex_tests::Reply;
use serde_json::{Value, json};

/// How a body is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    dead_code,
    reason = "each part of the comparison says how its answers are understood"
)]
pub(crate) enum Reading {
    /// By its media type.
    ByType,
    /// As frames of standard output and standard error.
    Frames,
    /// As text.
    Text,
    /// As an archive: a list of its members.
    Archive,
    /// As JSON of which only the form matters: which keys there are and of which kind their values are.
    Form,
    /// As lines that tell how something goes on.
    Progress,
    /// As frames of a WebSocket.
    WebSocket,
}

/// The header in which an archive's operations describe a path.
const PATH_STAT: &str = "X-Docker-Container-Path-Stat";

pub(crate) fn decoded(reading: Reading, reply: &Reply) -> Value {
    let media_type = reply.header("Content-Type").split(';').next().unwrap_or_default();
    let is_refusal = reply.status >= 400;
    let reading = match (reading, media_type) {
        _ if is_refusal => Reading::ByType,
        (Reading::ByType, "application/vnd.docker.multiplexed-stream") => Reading::Frames,
        (Reading::ByType, "application/vnd.docker.raw-stream" | "text/plain") => Reading::Text,
        (Reading::ByType, "application/x-tar") => Reading::Archive,
        (reading, _) => reading,
    };
    let text = || String::from_utf8_lossy(&reply.body).into_owned();
    let mut value = match reading {
        Reading::ByType => values(&text()),
        Reading::Form => form(&values(&text())),
        Reading::Text => Value::String(text()),
        Reading::Frames => frames(&reply.body),
        Reading::Archive => archive(&reply.body),
        Reading::Progress => progress(&text()),
        Reading::WebSocket => websocket(&reply.body),
    };
    if !reply.ended {
        value = json!({ "goes on after": value });
    }
    let stat = reply.header(PATH_STAT);
    if !stat.is_empty() {
        let stat = STANDARD.decode(stat).unwrap();
        value = json!({ PATH_STAT: values(&String::from_utf8_lossy(&stat)), "body": value });
    }
    value
}

/// One JSON value, several one after the other as a list, or text that is none.
fn values(text: &str) -> Value {
    let parsed = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let parsed: Result<Vec<Value>, _> = parsed.collect();
    match parsed {
        Ok(values) if values.len() == 1 => values.into_iter().next().unwrap(),
        Ok(values) if !values.is_empty() => Value::Array(values),
        _ => Value::String(text.to_owned()),
    }
}

/// Statuses that only chance decides of: others were faster.
const BY_CHANCE: [&str; 2] = ["Waiting", "Retrying in 1 second"];

/// The lines of a stream that tells how something goes on. Those of each layer stand by themselves, because layers go side by
/// side; of several that tell how far one is there is one, and its numbers are chance.
fn progress(text: &str) -> Value {
    let (mut lines, mut layers) = (Vec::new(), BTreeMap::<String, Vec<Value>>::new());
    let told = match values(text) {
        Value::Array(told) => told,
        one => vec![one],
    };
    for mut line in told {
        if line["progressDetail"]["current"].is_number() {
            line["progressDetail"] = json!("<numbers>");
            line["progress"] = json!(line["progress"].is_string());
        }
        let is_chance = line["status"]
            .as_str()
            .is_some_and(|status| BY_CHANCE.contains(&status));
        let of_layer = line["id"].as_str().filter(|id| id.len() == 12).map(str::to_owned);
        let lines = match of_layer {
            Some(id) => layers.entry(id).or_default(),
            None => &mut lines,
        };
        if !is_chance && lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    json!({ "lines": lines, "layers": layers })
}

fn form(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), form(value))).collect(),
        Value::Array(items) => items.iter().map(form).collect(),
        Value::String(_) => json!("<text>"),
        Value::Number(_) => json!("<number>"),
        other => other.clone(),
    }
}

/// The frames of a stream, joined by what they carry: how output is cut into frames is chance.
fn frames(bytes: &[u8]) -> Value {
    let mut streams: BTreeMap<String, String> = BTreeMap::new();
    let mut rest = bytes;
    while let [kind, 0, 0, 0, a, b, c, d, tail @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (data, tail) = tail.split_at(length.min(tail.len()));
        let stream = streams.entry(format!("stream {kind}")).or_default();
        stream.push_str(&String::from_utf8_lossy(data));
        rest = tail;
    }
    if !rest.is_empty() {
        streams.insert("unframed".to_owned(), String::from_utf8_lossy(rest).into_owned());
    }
    json!(streams)
}

/// The members of an archive by name; of many only their number.
fn archive(bytes: &[u8]) -> Value {
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let link = entry
            .link_name_bytes()
            .map(|link| String::from_utf8_lossy(&link).into_owned());
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let is_text = content.len() < 200;
        let is_json = content.starts_with(b"{") || content.starts_with(b"[");
        let member = json!({
            "type": format!("{:?}", header.entry_type()),
            "mode": format!("{:o}", header.mode().unwrap()),
            "owner": format!("{}:{}", header.uid().unwrap(), header.gid().unwrap()),
            "link": link,
            "length": content.len(),
            "content": is_text.then(|| String::from_utf8_lossy(&content)),
            "json": is_json.then(|| serde_json::from_slice::<Value>(&content).ok()),
        });
        members.insert(path, member);
    }
    json!(members)
}

/// The frames that a server sends (RFC 6455, section 5.2), joined; unmasked, none longer than two bytes of length say.
fn websocket(bytes: &[u8]) -> Value {
    let mut data = String::new();
    let mut close = Value::Null;
    let mut rest = bytes;
    while let [kind, length, tail @ ..] = rest {
        let (length, tail) = match (*length, tail) {
            (126, [a, b, tail @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), tail),
            (length, tail) => (usize::from(length), tail),
        };
        let (payload, tail) = tail.split_at(length.min(tail.len()));
        match (kind & 0xf, payload) {
            (8, [a, b, ..]) => close = json!(u16::from_be_bytes([*a, *b])),
            (8, _) => close = json!("without a code"),
            _ => data.push_str(&String::from_utf8_lossy(payload)),
        }
        rest = tail;
    }
    json!({ "data": data, "close": close })
}
