//! Entries as events of Splunk's HTTP Event Collector, many in a request.

use std::io::{self, Write};

use bytes::Bytes;
use conex_container::logging::{Address, Form, Splunk};
use conex_log::{Entry, Stream};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::{Request, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::order::About;

/// An entry as an event; nothing for one without text, which Splunk refuses.
pub(crate) fn event(to: &Splunk, about: &About, entry: &Entry<'_>) -> io::Result<Vec<u8>> {
    let text = entry.line.strip_suffix(b"\n").unwrap_or(entry.line);
    let text = String::from_utf8_lossy(text);
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let time: Timestamp = entry.time.parse().unwrap_or_default();
    let mut event = Map::new();
    let time = format!("{}.{:06}", time.as_second(), time.subsec_microsecond());
    event.insert("time".into(), json!(time));
    event.insert("host".into(), json!(about.hostname));
    for (name, value) in [
        ("source", &to.source),
        ("sourcetype", &to.sourcetype),
        ("index", &to.index),
    ] {
        if let Some(value) = value {
            event.insert(name.into(), json!(value));
        }
    }
    event.insert("event".into(), said(to, about, entry.stream, &text));
    serde_json::to_vec(&Value::Object(event)).map_err(io::Error::from)
}

fn said(to: &Splunk, about: &About, stream: Stream, text: &str) -> Value {
    if to.form == Form::Raw {
        let attributes = about.attributes.iter().map(|(name, value)| format!("{name}={value} "));
        let prefix: String = Some(format!("{} ", about.tag))
            .filter(|tag| tag.trim() != "")
            .into_iter()
            .chain(attributes)
            .collect();
        return json!(format!("{prefix}{text}"));
    }
    let as_json = || serde_json::from_str::<Value>(text).ok();
    let line = match to.form {
        Form::Json => as_json().unwrap_or_else(|| json!(text)),
        Form::Inline | Form::Raw => json!(text),
    };
    let source = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    let mut said = json!({ "line": line, "source": source });
    if !about.tag.is_empty() {
        said["tag"] = json!(about.tag);
    }
    if !about.attributes.is_empty() {
        said["attrs"] = json!(about.attributes);
    }
    said
}

/// The request with some events.
pub(crate) fn request(to: &Splunk, about: &About, events: &[Vec<u8>]) -> io::Result<Request<Full<Bytes>>> {
    let mut body = events.concat();
    let mut request = Request::post(&to.path)
        .header(header::AUTHORIZATION, format!("Splunk {}", to.token))
        .header(header::CONTENT_TYPE, "application/json");
    if let Address::Tcp { to, .. } = &to.address {
        request = request.header(header::HOST, to);
    }
    if to.has_channel {
        request = request.header("X-Splunk-Request-Channel", channel(&about.container_id));
    }
    if let Some(level) = to.gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(&body)?;
        body = encoder.finish()?;
        request = request.header(header::CONTENT_ENCODING, "gzip");
    }
    request.body(Full::new(body.into())).map_err(io::Error::other)
}

/// A UUID that is the container's, and the same in each forwarder.
fn channel(container: &str) -> String {
    let part = |from: usize, to: usize| container.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;
    use conex_log::Attributes;

    fn sent(form: Form, line: &[u8]) -> Value {
        let to = Splunk {
            address: Address::Tcp {
                to: "h:1".into(),
                tls: None,
            },
            path: "/p".into(),
            token: "t".into(),
            source: None,
            sourcetype: None,
            index: Some("i".into()),
            form,
            gzip: None,
            has_channel: false,
        };
        let about = About {
            tag: "tag".into(),
            hostname: "host".into(),
            attributes: [("kind".to_owned(), "x".to_owned())].into(),
            ..About::default()
        };
        let entry = Entry {
            stream: Stream::Stderr,
            time: "2026-03-04T05:06:07.250999999Z",
            line,
            attributes: &Attributes::new(),
        };
        let event = event(&to, &about, &entry).unwrap();
        serde_json::from_slice(&event).unwrap_or_default()
    }

    #[test]
    fn an_event_is_what_its_form_says() {
        let inline = sent(Form::Inline, b"{\"a\":1}\n");
        assert_eq!(
            (&inline["time"], &inline["host"], &inline["index"]),
            (&json!("1772600767.250999"), &json!("host"), &json!("i"))
        );
        let said = json!({"line": "{\"a\":1}", "source": "stderr", "tag": "tag", "attrs": {"kind": "x"}});
        assert_eq!(inline["event"], said);
        assert_eq!(sent(Form::Json, b"{\"a\":1}\n")["event"]["line"], json!({"a": 1}));
        assert_eq!(sent(Form::Json, b"words\n")["event"]["line"], json!("words"));
        assert_eq!(sent(Form::Raw, b"words\n")["event"], json!("tag kind=x words"));
        assert_eq!(sent(Form::Inline, b" \n"), Value::Null);
    }
}
