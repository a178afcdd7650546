//! What no client should send: answered as Docker answers it, or cut off; and the daemon's memory and descriptors do not
//! grow with it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use conex_tests::{Sandbox, eventually};

/// How much more memory the daemon may have after something bad than before, KiB.
const GROWTH: u64 = 24 << 10;

/// Sends bytes and reads what comes back until the daemon closes the connection, or ten seconds pass.
fn exchange(sandbox: &Sandbox, bytes: &[u8], shutdown: bool) -> String {
    let mut stream = UnixStream::connect(sandbox.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // What is refused early is not read to its end.
    let _ = stream.write_all(bytes);
    if shutdown {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let mut block = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut block) {
        answer.extend_from_slice(&block[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status and body of an answer.
fn parts(answer: &str) -> (u16, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), body.trim_end())
}

fn head(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n")
}

fn with_body(method: &str, path: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    let more = format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n");
    head(method, path, &more) + body
}

/// Does something twice and checks that the second time leaves the daemon as large as the first.
fn assert_bounded(sandbox: &Sandbox, act: impl Fn()) {
    act();
    let before = sandbox.daemon_usage();
    act();
    eventually("the descriptors are closed", || {
        sandbox.daemon_usage().descriptors <= before.descriptors + 8
    });
    let after = sandbox.daemon_usage();
    assert!(after.resident < before.resident + GROWTH, "{before:?} {after:?}");
    assert!(after.peak < 160 << 10, "{after:?}");
    assert_eq!(
        parts(&exchange(sandbox, head("GET", "/_ping", "").as_bytes(), false)),
        (200, "OK")
    );
}

fn message(words: &str) -> String {
    format!("{{\"message\":{}}}", serde_json::Value::from(words))
}

#[test]
fn requests_that_make_no_sense_are_refused_in_dockers_words() {
    let sandbox = Sandbox::new();
    let not_found = message("page not found");
    let escape = message("invalid URL escape \"%zz\"");
    let cases = [
        ("GET", "/v1.99/info", 400, message("client version 1.99 is too new. Maximum supported API version is 1.51")),
        ("GET", "/v1.99999999999999999/info", 400, message("client version 1.99999999999999999 is too new. Maximum supported API version is 1.51")),
        ("GET", "/v1.10/info", 400, "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version".into()),
        ("GET", "/v1/_ping", 400, "client version 1 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version".into()),
        ("GET", "/v1.24/_ping", 200, "OK".into()),
        ("GET", "/vx.y/_ping", 404, not_found.clone()),
        ("GET", "/v1.50", 404, not_found.clone()),
        ("GET", "/nosuch", 404, not_found.clone()),
        ("GET", "/", 404, not_found.clone()),
        ("GET", "/v1.50/info/", 404, not_found.clone()),
        ("PUT", "/v1.50/info", 404, not_found.clone()),
        ("POST", "/v1.50/containers/json", 404, not_found.clone()),
        ("FOO", "/v1.50/info", 404, not_found.clone()),
        ("GET", "//v1.50/info", 301, String::new()),
        ("GET", "/v1.50/containers/../_ping", 301, String::new()),
        ("GET", "/v1.50/containers/%2Fx/json", 301, String::new()),
        ("GET", "/v1.50/containers/%zz/json", 400, "400 Bad Request".into()),
        ("GET", "/v1.50/containers/json?all=%zz", 400, escape),
        ("GET", "/v1.50/containers/json?all=1;b=2", 400, message("invalid semicolon separator in query")),
        ("GET", "/v1.50/containers/%00/json", 404, "{\"message\":\"No such container: \\u0000\"}".into()),
        ("GET", "/v1.50/containers/no%73uch/json", 404, message("No such container: nosuch")),
    ];
    for (method, path, status, body) in &cases {
        let answer = exchange(&sandbox, head(method, path, "").as_bytes(), false);
        assert_eq!(parts(&answer), (*status, body.as_str()), "{method} {path}");
    }
    let moved = exchange(&sandbox, head("GET", "/v1.50//info?a=b", "").as_bytes(), false);
    assert!(moved.to_lowercase().contains("location: /v1.50/info?a=b"), "{moved}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a flat table")]
fn bodies_that_make_no_sense_are_refused_in_dockers_words() {
    let sandbox = Sandbox::new();
    let path = "/v1.50/containers/create";
    let json = "application/json";
    let nosuch = r#"{"Image":"nosuch"}"#;
    let none = "No such image: nosuch:latest";
    let field = "invalid JSON: json: cannot unmarshal";
    let cases = [
        (json, "{", 400, "invalid JSON: unexpected EOF".to_owned()),
        (json, "", 400, "invalid JSON: got EOF while reading request body".into()),
        (
            json,
            "null",
            400,
            "config cannot be empty in order to create a container".into(),
        ),
        (json, "{} {}", 400, "unexpected content after JSON".into()),
        (
            json,
            r#"{"Image":"nosuch"} x"#,
            400,
            "unexpected content after JSON".into(),
        ),
        (json, r#"{"Image":"nosuch"}  "#, 404, none.into()),
        (json, r#"{"image":"nosuch"}"#, 404, none.into()),
        (json, r#"{"Image":"a","Image":"nosuch"}"#, 404, none.into()),
        (json, r#"{"Image":"nosuch","Nosuch":1}"#, 404, none.into()),
        (
            json,
            r#"{"Image":1}"#,
            400,
            format!("{field} number into Go struct field .Image of type string"),
        ),
        (
            json,
            r#"{"Image":"x","Env":"x"}"#,
            400,
            format!("{field} string into Go struct field .Env of type []string"),
        ),
        (
            json,
            r#"{"HostConfig":{"Memory":"1"}}"#,
            400,
            format!("{field} string into Go struct field .HostConfig.Memory of type int64"),
        ),
        (
            json,
            r#"{"HostConfig":{"Memory":1.5}}"#,
            400,
            format!("{field} number 1.5 into Go struct field .HostConfig.Memory of type int64"),
        ),
        (
            json,
            r#"{"Tty":"yes"}"#,
            400,
            format!("{field} string into Go struct field .Tty of type bool"),
        ),
        (
            json,
            "x",
            400,
            "invalid JSON: invalid character 'x' looking for beginning of value".into(),
        ),
        (
            json,
            r#"{"Image":"nosuch",}"#,
            400,
            "invalid JSON: invalid character '}' looking for beginning of object key string".into(),
        ),
        (
            json,
            "{'a':1}",
            400,
            r"invalid JSON: invalid character '\'' looking for beginning of object key string".into(),
        ),
        ("application/json; charset=utf-8", nosuch, 404, none.into()),
        ("APPLICATION/JSON", nosuch, 404, none.into()),
        (
            "text/plain",
            nosuch,
            400,
            "unsupported Content-Type header (text/plain): must be 'application/json'".into(),
        ),
        (
            "",
            nosuch,
            400,
            "malformed Content-Type header (): mime: no media type".into(),
        ),
        (
            "a/b; =",
            nosuch,
            400,
            "malformed Content-Type header (a/b; =): mime: invalid media parameter".into(),
        ),
    ];
    for (content_type, body, status, words) in &cases {
        let answer = exchange(&sandbox, with_body("POST", path, content_type, body).as_bytes(), false);
        assert_eq!(
            parts(&answer),
            (*status, message(words).as_str()),
            "{content_type} {body}"
        );
    }
    let start = with_body(
        "POST",
        "/v1.50/containers/nosuch/start",
        "text/plain",
        r#"{"Memory":1}"#,
    );
    let words = "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24";
    assert_eq!(
        parts(&exchange(&sandbox, start.as_bytes(), false)),
        (400, message(words).as_str())
    );
    // Docker's answer is 500.
    let login = with_body("POST", "/v1.50/auth", json, "{");
    assert_eq!(parts(&exchange(&sandbox, login.as_bytes(), false)).0, 400);
    let exec = head("POST", "/v1.50/containers/nosuch/exec", "");
    let answer = exchange(&sandbox, exec.as_bytes(), false);
    assert_eq!(parts(&answer), (400, message("No exec command specified").as_str()));
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
}

#[test]
fn heads_and_bodies_that_break_the_protocol_are_refused() {
    let sandbox = Sandbox::new();
    let create = |more: &str| {
        head(
            "POST",
            "/v1.50/containers/create",
            &format!("Content-Type: application/json\r\n{more}"),
        )
    };
    let chunked = create("Transfer-Encoding: chunked\r\n");
    let cases: Vec<(String, u16)> = vec![
        ("GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n".into(), 400),
        (
            "GET /_ping HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n".into(),
            400,
        ),
        ("GET /_ping HTTP/1.0\r\n\r\n".into(), 200),
        ("GET /_ping\r\n\r\n".into(), 400),
        ("\x16\x03\x01\x02\r\n\r\n".into(), 400),
        ("GET /v1.50/containers/\0/json HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        (head("GET", "/_ping", "bad header\r\n"), 400),
        (head("GET", "/_ping", "X : y\r\n"), 400),
        (chunked.clone() + "12\r\n{\"Image\":\"nosuch\"}\r\n0\r\n\r\n", 404),
        (chunked.clone() + "zz\r\n{\"Image\":\"nosuch\"}\r\n0\r\n\r\n", 400),
        (chunked.clone() + "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n", 400),
        (chunked.clone() + "12\r\n{\"Image\":\"nosuch\"}xx0\r\n\r\n", 400),
        (chunked + "12\r\n{\"Im", 400),
        (create("Content-Length: 100\r\n") + "{\"Im", 400),
        (create("Content-Length: x\r\n"), 400),
        (create("Content-Length: -1\r\n"), 400),
        (create("Content-Length: 99999999999999999999\r\n") + "{}", 400),
        (create("Content-Length: 2\r\nContent-Length: 3\r\n") + "{} ", 400),
        (
            create("Transfer-Encoding: gzip, chunked\r\n") + "2\r\n{}\r\n0\r\n\r\n",
            501,
        ),
        (create("Expect: nosuch\r\nContent-Length: 2\r\n") + "{}", 417),
    ];
    assert_bounded(&sandbox, || {
        for (bytes, status) in &cases {
            let answer = exchange(&sandbox, bytes.as_bytes(), true);
            assert_eq!(parts(&answer).0, *status, "{bytes:?}: {answer}");
        }
    });
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
}

#[test]
fn heads_of_any_size_are_cut_off() {
    let sandbox = Sandbox::new();
    let mut lines = String::new();
    for number in 0..10_000 {
        write!(lines, "X-{number}: y\r\n").unwrap();
    }
    let many = head("GET", "/_ping", &lines);
    let long = head("GET", "/_ping", &format!("X: {}\r\n", "y".repeat(4_000_000)));
    // Neither ends: the daemon must not wait for it with everything in memory.
    let endless = format!("GET /_ping HTTP/1.1\r\nHost: x\r\n{}", "X: y\r\n".repeat(700_000));
    assert_bounded(&sandbox, || {
        for bytes in [&many, &long, &endless] {
            for _ in 0..20 {
                assert_eq!(parts(&exchange(&sandbox, bytes.as_bytes(), false)).0, 431);
            }
        }
    });
}

#[test]
fn bodies_of_any_size_are_refused_and_not_kept() {
    let sandbox = Sandbox::new();
    let large = format!(r#"{{"Image":"nosuch","Labels":{{"a":"{}"}}}}"#, "x".repeat(30_000_000));
    let bytes = with_body("POST", "/v1.50/containers/create", "application/json", &large);
    let path = "/v1.50/containers/create";
    let chunked = head(
        "POST",
        path,
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
    );
    let chunked = format!("{chunked}{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    assert_bounded(&sandbox, || {
        thread::scope(|scope| {
            for bytes in [&bytes, &bytes, &chunked, &chunked] {
                scope.spawn(|| {
                    let answer = exchange(&sandbox, bytes.as_bytes(), false);
                    let words = "read the request's body: it is larger than 8388608 bytes";
                    assert_eq!(parts(&answer), (400, message(words).as_str()));
                });
            }
        });
    });
    // Depth costs nothing either.
    let deep = with_body("POST", path, "application/json", &"[".repeat(5_000_000));
    let answer = exchange(&sandbox, deep.as_bytes(), false);
    assert_eq!(
        parts(&answer),
        (400, message("invalid JSON: exceeded max depth").as_str())
    );
}

#[test]
fn heads_that_dribble_are_given_up_and_hold_nobody_up() {
    let sandbox = Sandbox::new();
    let mut slow: Vec<UnixStream> = (0..300)
        .map(|_| UnixStream::connect(sandbox.socket()).unwrap())
        .collect();
    let mut idle = UnixStream::connect(sandbox.socket()).unwrap();
    let begin = Instant::now();
    for (number, byte) in head("GET", "/_ping", &format!("X: {}\r\n", "y".repeat(1_000)))
        .bytes()
        .enumerate()
    {
        slow.retain_mut(|stream| stream.write_all(&[byte]).is_ok());
        if slow.is_empty() {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "they are still open");
        if number % 10 == 0 {
            assert_eq!(
                parts(&exchange(&sandbox, head("GET", "/_ping", "").as_bytes(), false)).0,
                200
            );
        }
        thread::sleep(Duration::from_millis(500));
    }
    assert!(begin.elapsed() > Duration::from_secs(15), "a slow network is no attack");
    assert!(sandbox.daemon_usage().descriptors < 100);
    // One that says nothing at all is kept for its next request.
    idle.write_all(head("GET", "/_ping", "").as_bytes()).unwrap();
    let mut answer = String::new();
    idle.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[test]
fn idle_connections_make_room_for_new_ones() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon_usage();
    let limited = Command::new("prlimit")
        .args(["--pid", &daemon.pid.to_string(), "--nofile=512"])
        .status();
    assert!(limited.unwrap().success());
    let idle: Vec<UnixStream> = (0..3_000)
        .map(|_| UnixStream::connect(sandbox.socket()).unwrap())
        .collect();
    assert_eq!(sandbox.ok(&["run", "--rm", "busybox", "echo", "hi"]), "hi");
    let usage = sandbox.daemon_usage();
    assert!(usage.descriptors < 300, "{usage:?}");
    assert!(usage.resident < daemon.resident + GROWTH, "{daemon:?} {usage:?}");
    assert!(!sandbox.log().contains("Too many open files"), "{}", sandbox.log());
    drop(idle);
    eventually("they are closed", || sandbox.daemon_usage().descriptors < 60);
}

#[test]
fn requests_in_a_row_are_answered_in_a_row() {
    let sandbox = Sandbox::new();
    let one = "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let bytes = one.repeat(999) + &head("GET", "/nosuch", "");
    let answer = exchange(&sandbox, bytes.as_bytes(), false);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 999);
    assert!(answer.ends_with("{\"message\":\"page not found\"}\n"), "{answer}");
    // A client that says nothing more still gets its answer.
    let answer = exchange(
        &sandbox,
        "GET /v1.50/images/json HTTP/1.1\r\nHost: x\r\n\r\n".as_bytes(),
        true,
    );
    assert!(parts(&answer).1.contains("busybox:latest"), "{answer}");
}

#[test]
fn connections_that_change_their_protocol_and_vanish_leave_nothing() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "-i", "--name", "never", "busybox", "cat"]);
    sandbox.ok(&["run", "-di", "--name", "runs", "busybox", "cat"]);
    let upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n";
    let attach = |name: &str| {
        let path = format!("/v1.50/containers/{name}/attach?stream=1&stdin=1&stdout=1");
        format!("POST {path} HTTP/1.1\r\nHost: x\r\n{upgrade}Content-Length: 0\r\n\r\n")
    };
    let vanish = |bytes: &str, half: bool| {
        let mut stream = UnixStream::connect(sandbox.socket()).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
        if half {
            stream.shutdown(Shutdown::Write).unwrap();
        }
    };
    assert_bounded(&sandbox, || {
        for number in 0..200 {
            vanish(&attach("never"), number % 2 == 0);
            vanish(&attach("runs"), number % 2 == 0);
            // Gone before the answer.
            let mut stream = UnixStream::connect(sandbox.socket()).unwrap();
            stream.write_all(attach("runs").as_bytes()).unwrap();
        }
        for _ in 0..20 {
            let (_, body) = sandbox.request(
                "POST",
                "/v1.50/containers/runs/exec",
                r#"{"Cmd":["cat"],"AttachStdin":true}"#,
            );
            let id = serde_json::from_str::<serde_json::Value>(&body).unwrap()["Id"]
                .as_str()
                .unwrap()
                .to_owned();
            vanish(
                &format!("POST /v1.50/exec/{id}/start HTTP/1.1\r\nHost: x\r\n{upgrade}Content-Length: 2\r\n\r\n{{}}"),
                false,
            );
        }
    });
    // The input stays open (-i without an attached creator), execs ended with theirs.
    eventually("the execs have ended", || {
        sandbox
            .docker(&["exec", "runs", "sh", "-c", "ps | grep -c '[c]at'"])
            .out
            == "1"
    });
    let monitors = sandbox.shim_usage();
    assert!(
        monitors
            .iter()
            .all(|usage| usage.descriptors < 40 && usage.resident < 32 << 10),
        "{monitors:?}"
    );
    sandbox.ok(&["start", "never"]);
}
