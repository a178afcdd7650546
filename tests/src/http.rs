//! Requests as bytes, for what no client sends and for answers that are compared.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a daemon answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Content-Type`, empty where there is none.
    pub content_type: String,
    /// The body, without the encoding of its transfer.
    pub body: String,
}

/// A request with all that can be said in one.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The method.
    pub method: &'a str,
    /// The path with its query, as it stands in the request line.
    pub path: &'a str,
    /// Header fields; one without a value is not sent. `Content-Type` (JSON), `Connection` (`close`) and `Content-Length` are added where they are missing;
    /// the last not beside a `Transfer-Encoding`.
    pub headers: &'a [(String, String)],
    /// The body as it is sent.
    pub body: &'a [u8],
    /// What is sent once the head of the answer is there, after which this end is closed for writing.
    pub input: Option<&'a [u8]>,
    /// What is sent then while this end stays open.
    pub frames: &'a [u8],
    /// How many lines of the answer's body are enough.
    pub lines: usize,
    /// How long the end of the answer is waited for.
    pub patience: Duration,
}

/// An answer as bytes.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header fields as they were sent.
    pub headers: Vec<(String, String)>,
    /// The body, without the encoding of its transfer.
    pub body: Vec<u8>,
    /// Whether it came to its end.
    pub ended: bool,
}

impl Reply {
    /// The first value of a header field, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.next().map_or("", |(_, value)| value)
    }
}

/// Sends a request to change the protocol, which must be let in; what follows the head of the answer is left to be read.
pub(crate) fn hijack(socket: &Path, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{head}");
    stream
}

/// What the frames of a stream carry: standard output and standard error.
pub fn frames(mut stream: impl Read) -> (String, String) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let mut texts = (String::new(), String::new());
    let mut rest = bytes.as_slice();
    while let [kind, 0, 0, 0, a, b, c, d, tail @ ..] = rest {
        let (text, tail) = tail.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        let text = String::from_utf8_lossy(text);
        if *kind == 2 {
            texts.1.push_str(&text);
        } else {
            texts.0.push_str(&text);
        }
        rest = tail;
    }
    assert!(rest.is_empty(), "{rest:?}");
    texts
}

/// Sends one request with a JSON body and reads the answer to its end.
pub(crate) fn request(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    let reply = exchange(
        socket,
        &Question {
            method,
            path,
            headers: &[],
            body: body.as_bytes(),
            input: None,
            frames: &[],
            lines: usize::MAX,
            patience: Duration::from_secs(600),
        },
    );
    Answer {
        status: reply.status,
        content_type: reply.header("Content-Type").to_owned(),
        body: String::from_utf8(reply.body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

/// Sends a request and reads its answer.
pub(crate) fn exchange(socket: &Path, question: &Question<'_>) -> Reply {
    let deadline = Instant::now() + question.patience;
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(&head_of(question)).unwrap();
    // An answer may come before the body is read, and end the connection.
    let _ = stream.write_all(question.body);
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; READ]);
    while !contains(&bytes, b"\r\n\r\n") {
        let more = read_some(&mut stream, &mut bytes, &mut buffer, deadline);
        assert!(more, "{} {}: no answer", question.method, question.path);
    }
    let _ = stream.write_all(question.frames);
    if let Some(input) = question.input {
        // The other end may have closed already; what it answered is compared.
        let _ = stream.write_all(input);
        let _ = stream.shutdown(Shutdown::Write);
    }
    let has_enough = |bytes: &[u8]| {
        let lines = || parsed(question, bytes, false).body.split(|byte| *byte == b'\n').count() - 1;
        question.lines != usize::MAX && lines() >= question.lines
    };
    while !has_enough(&bytes) && read_some(&mut stream, &mut bytes, &mut buffer, deadline) {}
    let ended = Instant::now() < deadline;
    parsed(question, &bytes, ended)
}

fn head_of(question: &Question<'_>) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nHost: x\r\n", question.method, question.path);
    let has = |name: &str| question.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let length = question.body.len().to_string();
    for (name, value, unless) in [
        ("Connection", "close", "Connection"),
        ("Content-Type", "application/json", "Content-Type"),
        ("Content-Length", length.as_str(), "Transfer-Encoding"),
    ] {
        if !has(name) && !has(unless) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    for (name, value) in question.headers.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Bytes that are read at once: few calls, so that what is timed is the engine.
const READ: usize = 256 * 1024;

/// Reads what is there by way of a buffer; false when there will be no more, or not in time.
fn read_some(stream: &mut UnixStream, bytes: &mut Vec<u8>, buffer: &mut [u8], deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    stream.set_read_timeout(Some(left)).unwrap();
    match stream.read(buffer) {
        Ok(0) => false,
        Ok(length) => {
            bytes.extend_from_slice(&buffer[..length]);
            true
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => true,
        Err(_) => false,
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

fn parsed(question: &Question<'_>, bytes: &[u8], ended: bool) -> Reply {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut reply = Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: bytes[end + 4..].to_vec(),
        ended,
    };
    if reply.header("Transfer-Encoding") == "chunked" {
        reply.body = joined(&reply.body);
    }
    if question.lines != usize::MAX {
        let lines = reply.body.split_inclusive(|byte| *byte == b'\n').take(question.lines);
        reply.body = lines.flatten().copied().collect();
    }
    reply
}

/// The chunks of a body as one (RFC 9112, section 7.1); what of the last has come where it does not end.
fn joined(mut chunked: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunked.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&chunked[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let data = &chunked[end + 2..];
        body.extend_from_slice(&data[..size.min(data.len())]);
        if size == 0 || data.len() < size + 2 {
            break;
        }
        chunked = &data[size + 2..];
    }
    body
}
