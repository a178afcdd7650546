//! Clients on the streams of containers: attached, by WebSocket, with terminals of some size.

use crate::decode::Reading;
use crate::harness::{Difference, Pair, Request, get, post};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    (
        "POST /containers/bare/attach",
        "",
        "who asks for no upgrade can only read: there is no other way of HTTP to tell input from the next request",
    ),
    (
        "GET /containers/web-left/attach/ws",
        "/close",
        "a close is answered with its own code (RFC 6455, section 5.5.1)",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn clients_are_attached_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&attachments());
    pair.compare(&impossible_attachments());
    pair.compare(&websockets());
    pair.compare(&sizes());
    pair.finish(
        &[
            ("POST", "/containers/{id}/attach", &[101, 200, 400, 404]),
            ("GET", "/containers/{id}/attach/ws", &[101, 200, 400, 404]),
            ("POST", "/containers/{id}/resize", &[200, 404]),
        ],
        &[(
            "GET",
            "/containers/{id}/attach/ws",
            200,
            "a WebSocket is opened with 101 (RFC 6455); neither engine answers 200",
        )],
    );
}

/// A container with input that begins when it is attached to.
fn create(name: &str, script: &str, fields: &str) -> Request {
    post(
        format!("/containers/create?name={name}"),
        format!(r#"{{"Image":"busybox","Cmd":["sh","-c","{script}"],"OpenStdin":true,"StdinOnce":true{fields}}}"#),
    )
}

fn start(name: &str) -> Request {
    post(format!("/containers/{name}/start"), "").unseen()
}

fn attach(name: &str, query: &str) -> Request {
    post(format!("/containers/{name}/attach{query}"), "").unseen()
}

/// Says what it reads, on both streams.
const ECHO: &str = "while read line; do echo out $line; echo err $line >&2; done; echo end";

fn attachments() -> Vec<Request> {
    let all = "?stream=1&stdin=1&stdout=1&stderr=1";
    vec![
        create("frames", ECHO, ""),
        attach("frames", all).hijacked("a\nb\n").later(),
        start("frames"),
        post("/containers/frames/wait", ""),
        attach("frames", "?logs=1&stdout=1&stderr=1").hijacked(""),
        attach("frames", "?logs=1&stdout=1").hijacked(""),
        attach("frames", "?logs=1&stderr=1"),
        create("bare", ECHO, ""),
        attach("bare", all).input("c\n").later(),
        start("bare"),
        post("/containers/bare/wait", ""),
        create("one-stream", ECHO, ""),
        attach("one-stream", "?stream=1&stdin=1&stderr=1")
            .hijacked("d\n")
            .later(),
        start("one-stream"),
        post("/containers/one-stream/wait", ""),
        create("tty", "read line; echo got $line", r#","Tty":true"#),
        attach("tty", all).open("hello\n").later(),
        start("tty"),
        post("/containers/tty/wait", ""),
        create("old", ECHO, "").version("/v1.24"),
        attach("old", all)
            .version("/v1.24")
            .hijacked("e\n")
            .reading(Reading::Frames)
            .later(),
        start("old"),
        post("/containers/old/wait", ""),
        create("detached", "echo before; sleep 1000", r#","Tty":true"#),
        start("detached"),
        get("/containers/detached/logs?stdout=1").until("before"),
        attach("detached", "?stream=1&stdin=1&stdout=1&detachKeys=ctrl-x").hijacked("\u{18}"),
        attach("detached", "?stream=1&stdin=1&stdout=1&logs=1").hijacked("\u{10}\u{11}"),
        post("/containers/detached/kill", ""),
    ]
}

fn impossible_attachments() -> Vec<Request> {
    vec![
        attach("nosuch", "?stream=1&stdout=1"),
        attach("nosuch", "?stream=1&stdout=1").hijacked(""),
        attach("frames", "?stream=1&stdout=1&detachKeys=nosuch-key"),
        attach("frames", "?stream=1&stdout=1&detachKeys=nosuch-key").hijacked(""),
        attach("frames", ""),
        attach("frames", "").hijacked(""),
        create("paused", "sleep 1000", ""),
        start("paused"),
        post("/containers/paused/pause", ""),
        attach("paused", "?stream=1&stdout=1"),
        attach("paused", "?stream=1&stdout=1").hijacked(""),
        post("/containers/paused/kill", ""),
    ]
}

/// A client's frame of text (RFC 6455, section 5.2), masked with zeroes.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// A client's frame of a close with a code, masked with zeroes.
fn close(code: u16) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    vec![0x88, 0x82, 0, 0, 0, 0, high, low]
}

fn websocket(name: &str, query: &str) -> Request {
    get(format!("/containers/{name}/attach/ws{query}"))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Origin", "http://localhost")
        .reading(Reading::WebSocket)
}

fn websockets() -> Vec<Request> {
    let all = "?stream=1&stdin=1&stdout=1&stderr=1";
    vec![
        create("web", "read line; echo got $line", ""),
        websocket("web", all).frames(frame("hello\n")).later(),
        start("web"),
        post("/containers/web/wait", ""),
        websocket("web", "?logs=1&stdout=1"),
        create("web-tty", "read line; echo got $line", r#","Tty":true"#),
        websocket("web-tty", all).frames(frame("hi\n")).later(),
        start("web-tty"),
        post("/containers/web-tty/wait", ""),
        create("web-out", "echo only out; sleep 0.3; echo err >&2", ""),
        websocket("web-out", "?stream=1&stdout=1").later(),
        start("web-out"),
        post("/containers/web-out/wait", ""),
        websocket("web-out", "?logs=1&stdout=1&stderr=1").version("/v1.24"),
        create("web-closed", "cat", ""),
        start("web-closed"),
        websocket("web-closed", all).frames(close(1000)),
        create("web-left", "cat", ""),
        start("web-left"),
        websocket("web-left", all).frames(close(1001)),
        websocket("nosuch", all),
        websocket("web", "?stream=1&detachKeys=nosuch-key"),
        get("/containers/web/attach/ws?stream=1&stdout=1"),
        get("/containers/nosuch/attach/ws?stream=1&stdout=1"),
        post("/containers/paused/start", "").unseen(),
        post("/containers/paused/pause", ""),
        websocket("paused", all),
        post("/containers/paused/kill", ""),
    ]
}

fn sizes() -> Vec<Request> {
    let resize = |name: &str, query: &str| post(format!("/containers/{name}/resize{query}"), "");
    vec![
        create(
            "sized",
            "trap 'stty size' WINCH; echo up; while :; do sleep 0.1; done",
            r#","Tty":true"#,
        ),
        resize("sized", "?h=24&w=80"),
        start("sized"),
        get("/containers/sized/logs?stdout=1").until("up"),
        resize("sized", "?h=24&w=80"),
        get("/containers/sized/logs?stdout=1").until("24 80"),
        resize("sized", "?h=1&w=65535"),
        get("/containers/sized/logs?stdout=1").until("65535"),
        resize("sized", "?h=0&w=0"),
        resize("sized", "?h=24"),
        resize("sized", "?w=80"),
        resize("sized", ""),
        resize("sized", "?h=x&w=80"),
        resize("sized", "?h=24&w=-1"),
        resize("sized", "?h=24&w=4294967296"),
        resize("sized", "?h=24&w=70000"),
        resize("nosuch", "?h=24&w=80"),
        resize("nosuch", "?h=x&w=80"),
        post("/containers/sized/kill", ""),
        resize("sized", "?h=24&w=80"),
    ]
}
