//! Input and output of containers and execs: byte exact, bounded, and nobody in the way of anybody else.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use conex_tests::{Said, Sandbox, eventually, frames};

/// A gigabyte, as the project promises it.
const GIGABYTE: usize = 1 << 30;

/// Most memory that the daemon, the template or a monitor may take in these tests, KiB.
const MOST_MEMORY: u64 = 64 << 10;

/// Bytes that never repeat within a test (xorshift64, Marsaglia 2003), the same at both ends.
struct Noise(u64);

impl Noise {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
    }
}

fn docker(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command
        .env("DOCKER_HOST", format!("unix://{}", sandbox.socket().display()))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// Sends noise through a command and compares what comes back, byte by byte.
fn echo(mut command: Command, total: usize) {
    const BLOCK: usize = 1 << 16;
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        let (mut noise, mut block) = (Noise::new(), vec![0; BLOCK]);
        for _ in 0..total / BLOCK {
            noise.fill(&mut block);
            input.write_all(&block).unwrap();
        }
    });
    let mut output = child.stdout.take().unwrap();
    let (mut noise, mut expected, mut block) = (Noise::new(), vec![0; BLOCK], vec![0; BLOCK]);
    for number in 0..total / BLOCK {
        noise.fill(&mut expected);
        output.read_exact(&mut block).unwrap();
        assert!(block == expected, "block {number} differs");
    }
    assert_eq!(output.read(&mut block).unwrap(), 0, "more than was sent came back");
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
}

fn assert_small(sandbox: &Sandbox) {
    let usage = sandbox.usage();
    assert!(usage.len() >= 2, "{usage:?}");
    for usage in usage {
        assert!(usage.peak < MOST_MEMORY, "{usage:?}");
    }
}

#[test]
fn a_gigabyte_goes_into_a_container_and_out_of_it_byte_by_byte() {
    let sandbox = Sandbox::new();
    // Without a log, which would be three times as large.
    let arguments = ["run", "-i", "--name", "pipe", "--log-driver", "none", "busybox", "cat"];
    let watched = thread::scope(|scope| {
        let done = scope.spawn(|| echo(docker(&sandbox, &arguments), GIGABYTE));
        let mut peaks = Vec::new();
        while !done.is_finished() {
            peaks = sandbox.shim_usage();
            thread::sleep(Duration::from_millis(50));
        }
        done.join().unwrap();
        peaks
    });
    assert_small(&sandbox);
    for usage in watched {
        assert!(usage.peak < MOST_MEMORY, "{usage:?}");
    }
}

#[test]
fn a_gigabyte_goes_into_an_exec_and_out_of_it_byte_by_byte() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "host", "busybox", "sleep", "1000"]);
    echo(docker(&sandbox, &["exec", "-i", "host", "cat"]), GIGABYTE);
    // The monitor is still there and tells the most that it ever had.
    assert_small(&sandbox);
}

#[test]
fn output_goes_on_when_the_input_has_ended() {
    let sandbox = Sandbox::new();
    let script = "cat; sleep 0.3; echo after; echo error >&2; exit 5";
    let said = sandbox.with_input(&["run", "-i", "--rm", "busybox", "sh", "-c", script], b"before\n");
    assert_eq!(
        (said.out.as_str(), said.err.as_str(), said.code),
        ("before\nafter", "error", 5)
    );
    sandbox.ok(&["run", "-d", "--name", "host", "busybox", "sleep", "1000"]);
    let said = sandbox.with_input(&["exec", "-i", "host", "sh", "-c", script], b"before\n");
    assert_eq!(
        (said.out.as_str(), said.err.as_str(), said.code),
        ("before\nafter", "error", 5)
    );
    // A consumer that has enough ends the client, not the container.
    let path = sandbox.dir().join("file");
    std::fs::write(&path, "1\n2\n3\n").unwrap();
    let line = format!(
        "docker run -i --name piped busybox sh -c 'cat; echo after' < {} | tail -n 2",
        path.display()
    );
    let output = shell(&sandbox, &line).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3\nafter\n");
}

fn shell(sandbox: &Sandbox, line: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .env("DOCKER_HOST", format!("unix://{}", sandbox.socket().display()))
        .args(["-c", line]);
    command
}

/// Writes three megabytes, then says so in a file.
const TALKATIVE: &str =
    "read go; i=0; while [ $i -lt 3000 ]; do printf '%01000d\\n' $i; i=$((i+1)); done; touch /finished; sleep 1000";

#[test]
fn a_client_that_does_not_read_holds_back_its_process_and_nobody_else() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "-di", "--name", "talk", "busybox", "sh", "-c", TALKATIVE]);
    sandbox.ok(&["run", "-d", "--name", "other", "busybox", "sleep", "1000"]);
    let has_finished = || sandbox.docker(&["exec", "talk", "ls", "/finished"]).code == 0;
    let mut stuck = sandbox.hijack("/v1.50/containers/talk/attach?stream=1&stdin=1&stdout=1", "");
    stuck.write_all(b"go\n").unwrap();
    let log_length = || sandbox.ok(&["logs", "talk"]).len();
    // It stands still: what the pipes and buffers on the way hold is less than it has to say.
    eventually("the process is held back", || {
        let before = log_length();
        thread::sleep(Duration::from_millis(300));
        before > 0 && before == log_length()
    });
    assert!(!has_finished());
    // Others are served meanwhile, of the same container and of others.
    let before = Instant::now();
    assert_eq!(sandbox.ok(&["exec", "talk", "echo", "hi"]), "hi");
    assert_eq!(sandbox.ok(&["exec", "other", "echo", "hi"]), "hi");
    assert_eq!(sandbox.ok(&["ps", "-q"]).lines().count(), 2);
    assert_eq!(sandbox.ok(&["run", "--rm", "busybox", "echo", "hi"]), "hi");
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    // Nothing is lost to one that is only slow ...
    let mut read = vec![0; 1 << 20];
    stuck.read_exact(&mut read).unwrap();
    assert!(!has_finished());
    // ... and one that dies holds nobody back.
    drop(stuck);
    eventually("the process goes on without its client", has_finished);
    assert_eq!(sandbox.ok(&["logs", "talk"]).lines().count(), 3_000);
    assert_small(&sandbox);
}

#[test]
fn a_client_that_does_not_read_does_not_keep_its_container_from_ending() {
    let sandbox = Sandbox::new();
    let script = "read go; yes | head -c 3000000; sleep 1000";
    sandbox.ok(&["run", "-di", "--name", "talk", "busybox", "sh", "-c", script]);
    let mut stuck = sandbox.hijack("/v1.50/containers/talk/attach?stream=1&stdin=1&stdout=1", "");
    stuck.write_all(b"go\n").unwrap();
    thread::sleep(Duration::from_millis(300));
    sandbox.ok(&["kill", "talk"]);
    assert_eq!(sandbox.ok(&["wait", "talk"]), "137");
    sandbox.ok(&["start", "talk"]);
    sandbox.ok(&["rm", "-f", "talk"]);
    // What the process wrote before its end is still there for it.
    let mut rest = Vec::new();
    stuck.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > 100_000, "{}", rest.len());
}

#[test]
fn input_that_was_sent_before_the_connection_broke_is_not_lost() {
    let sandbox = Sandbox::new();
    // The process does not read before its client is gone.
    let script = "sleep 1; wc -c > /count; sleep 1000";
    sandbox.ok(&["create", "-i", "--name", "count", "busybox", "sh", "-c", script]);
    let mut client = sandbox.hijack("/v1.50/containers/count/attach?stream=1&stdin=1", "");
    sandbox.ok(&["start", "count"]);
    client.write_all(&[b'x'; 150_000]).unwrap();
    drop(client);
    eventually("everything is counted", || {
        sandbox.docker(&["exec", "count", "cat", "/count"]).out == "150000"
    });
}

#[test]
fn every_client_that_is_attached_gets_everything_it_asked_for() {
    let sandbox = Sandbox::new();
    let script = "read go; echo out; echo err >&2; read go; exit 3";
    sandbox.ok(&["run", "-di", "--name", "talk", "busybox", "sh", "-c", script]);
    let attach = |query: &str| sandbox.hijack(&format!("/v1.50/containers/talk/attach?{query}"), "");
    let both = attach("stream=1&stdout=1&stderr=1");
    let first = attach("stream=1&stdout=1");
    let second = attach("stream=1&stderr=1");
    let mut input = attach("stream=1&stdin=1");
    // Nothing was asked for: there is nothing to wait for.
    assert_eq!(frames(attach("stream=1")), (String::new(), String::new()));
    input.write_all(b"go\n").unwrap();
    eventually("the output", || sandbox.docker(&["logs", "talk"]).err == "err");
    let log = |query: &str| frames(attach(query));
    assert_eq!(log("logs=1&stdout=1&stderr=1"), ("out\n".into(), "err\n".into()));
    assert_eq!(log("logs=1&stdout=1"), ("out\n".into(), String::new()));
    assert_eq!(log("logs=1&stderr=1&stream=0"), (String::new(), "err\n".into()));
    let late = attach("logs=1&stream=1&stdout=1&stderr=1");
    let only_late = attach("stream=1&stdout=1&stderr=1");
    // An attached client goes away with its container, however many there are.
    input.write_all(b"go\n").unwrap();
    assert_eq!(frames(both), ("out\n".into(), "err\n".into()));
    assert_eq!(frames(first), ("out\n".into(), String::new()));
    assert_eq!(frames(second), (String::new(), "err\n".into()));
    assert_eq!(frames(late), ("out\n".into(), "err\n".into()));
    assert_eq!(frames(only_late), (String::new(), String::new()));
    assert_eq!(frames(input), (String::new(), String::new()));
    assert_eq!(sandbox.ok(&["wait", "talk"]), "3");
}

#[test]
fn a_log_does_not_come_along_with_the_head_of_the_answer() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "--name", "said", "busybox", "echo", "out"]);
    for _ in 0..20 {
        let mut stream = UnixStream::connect(sandbox.socket()).unwrap();
        let ask = "POST /v1.50/containers/said/attach?logs=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: tcp\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(ask.as_bytes()).unwrap();
        // A client that reads its socket through a buffer, and is slow to do so.
        thread::sleep(Duration::from_millis(20));
        let mut buffer = [0; 8192];
        let length = stream.read(&mut buffer).unwrap();
        assert!(buffer[..length].ends_with(b"\r\n\r\n"));
        assert_eq!(frames(stream).0, "out\n");
    }
}

#[test]
fn a_log_is_replayed_to_clients_that_do_not_read_without_holding_up_others() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "--name", "long", "busybox", "sh", "-c", "yes | head -c 3000000"]);
    // More than a pool of threads has.
    let path = "/v1.50/containers/long/attach?logs=1&stdout=1";
    let stuck: Vec<UnixStream> = (0..600).map(|_| sandbox.hijack(path, "")).collect();
    thread::sleep(Duration::from_millis(500));
    let before = Instant::now();
    assert_eq!(sandbox.ok(&["run", "--rm", "busybox", "echo", "hi"]), "hi");
    assert_eq!(sandbox.ok(&["logs", "--tail", "1", "long"]), "y");
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    drop(stuck);
    eventually("their descriptors are closed", || {
        sandbox.daemon_usage().descriptors < 100
    });
}

/// Runs a line of shell on a terminal of this size; `$!` and the like work as in any script.
fn on_terminal(sandbox: &Sandbox, line: &str, typed: &[(u64, &str)]) -> Said {
    let mut child: Child = Command::new("script")
        .env("DOCKER_HOST", format!("unix://{}", sandbox.socket().display()))
        .args(["--quiet", "--return", "--flush", "--command", line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script(1) is needed");
    let mut stdin = child.stdin.take().unwrap();
    for (pause, text) in typed {
        thread::sleep(Duration::from_millis(*pause));
        // A program that has ended by then takes no more.
        if stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).is_err() {
            break;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Said {
        out: String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
        err: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        code: output.status.code().unwrap_or(-1),
    }
}

#[test]
fn a_terminal_has_the_size_of_the_clients_and_follows_it() {
    let sandbox = Sandbox::new();
    let said = on_terminal(
        &sandbox,
        "stty rows 33 cols 77; docker run --rm -it busybox stty size",
        &[],
    );
    assert_eq!(said.out, "33 77", "{said:?}");
    let script = "stty size; read go; stty size";
    let line = format!(
        "stty rows 30 cols 70; (sleep 1; stty -F /dev/tty rows 20 cols 50) & docker run --rm -it --name size busybox sh -c '{script}'"
    );
    let said = on_terminal(&sandbox, &line, &[(2000, "go\n")]);
    let sizes: Vec<&str> = said
        .out
        .lines()
        .map(str::trim)
        .filter(|line| line.contains(' '))
        .collect();
    assert_eq!(sizes, ["30 70", "20 50"], "{said:?}");
    sandbox.ok(&["run", "-dt", "--name", "host", "busybox", "sleep", "1000"]);
    let line = format!(
        "stty rows 30 cols 70; (sleep 1; stty -F /dev/tty rows 20 cols 50) & docker exec -it host sh -c '{script}'"
    );
    let said = on_terminal(&sandbox, &line, &[(2000, "go\n")]);
    let sizes: Vec<&str> = said
        .out
        .lines()
        .map(str::trim)
        .filter(|line| line.contains(' '))
        .collect();
    assert_eq!(sizes, ["30 70", "20 50"], "{said:?}");
    assert_eq!(
        sandbox.request("POST", "/v1.50/containers/host/resize?h=11&w=22", "").0,
        200
    );
    // The container's own terminal, not that of an exec.
    assert_eq!(
        sandbox.ok(&["exec", "host", "stty", "-F", "/dev/console", "size"]),
        "11 22"
    );
    // What has no terminal is asked by clients all the same.
    sandbox.ok(&["run", "-d", "--name", "plain", "busybox", "sleep", "1000"]);
    let plain = sandbox.request("POST", "/v1.50/containers/plain/resize?h=11&w=22", "");
    assert_eq!(plain.0, 200, "{}", plain.1);
}

#[test]
fn keys_detach_from_run_attach_and_exec() {
    let sandbox = Sandbox::new();
    let config = sandbox.dir().join("config");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("config.json"), r#"{"detachKeys":"ctrl-e,e"}"#).unwrap();
    let config = format!("--config {}", config.display());
    let plain = "--config /nonexistent";
    for (name, config, flag, keys) in [
        ("default", plain, "", "\x10\x11"),
        ("flag", plain, "--detach-keys ctrl-x,y", "\x18y"),
        ("config", config.as_str(), "", "\x05e"),
    ] {
        let line = format!("docker {config} run -it {flag} --name {name} busybox cat");
        let said = on_terminal(&sandbox, &line, &[(1000, "one\n"), (500, keys)]);
        assert!(said.out.contains("one\r\none"), "{name}: {said:?}");
        let line = format!("docker {config} attach {flag} {name}");
        let said = on_terminal(&sandbox, &line, &[(700, "two\n"), (500, keys)]);
        assert!(
            said.out.contains("two\r\ntwo") && said.out.contains("read escape sequence"),
            "{name}: {said:?}"
        );
        let line = format!("docker {config} exec -it {flag} {name} sh -c 'echo $((1+1))-said; cat'");
        let said = on_terminal(&sandbox, &line, &[(1000, "three\n"), (500, keys)]);
        assert!(
            said.out.contains("2-said") && said.out.contains("read escape sequence"),
            "{name}: {said:?}"
        );
        let running = sandbox.ok(&["inspect", "--format", "{{.State.Running}}", name]);
        assert_eq!(running, "true", "{name}");
        // Both the first process and the exec go on.
        assert_eq!(
            sandbox.ok(&["exec", name, "sh", "-c", "ps | grep -c '[c]at'"]),
            "2",
            "{name}"
        );
        sandbox.ok(&["rm", "-f", name]);
    }
    sandbox.ok(&["run", "-dt", "--name", "host", "busybox", "cat"]);
    let refused = sandbox.request(
        "POST",
        "/v1.50/containers/host/attach?stream=1&stdin=1&detachKeys=ctrl-",
        "",
    );
    assert_eq!(refused, (400, "Invalid detach keys (ctrl-) provided\r\n".into()));
    let body = r#"{"Cmd":["cat"],"Tty":true,"DetachKeys":"nosuch"}"#;
    let (status, words) = sandbox.request("POST", "/v1.50/containers/host/exec", body);
    assert_eq!(
        (status, words.as_str()),
        (400, "{\"message\":\"Invalid escape keys (nosuch) provided\"}\n")
    );
}

#[test]
fn attached_clients_and_their_input_survive_the_daemon() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "host", "busybox", "sleep", "1000"]);
    // Not `docker run`: its start may still be on its way when the first answer comes back.
    sandbox.ok(&["create", "-i", "--name", "run", "busybox", "cat"]);
    sandbox.ok(&["start", "run"]);
    let mut run = docker(&sandbox, &["attach", "run"]).spawn().unwrap();
    let mut exec = docker(&sandbox, &["exec", "-i", "host", "cat"]).spawn().unwrap();
    let through = |child: &mut Child, text: &[u8]| {
        child.stdin.as_mut().unwrap().write_all(text).unwrap();
        let mut back = vec![0; text.len()];
        child.stdout.as_mut().unwrap().read_exact(&mut back).unwrap();
        assert_eq!(back, text);
    };
    through(&mut run, b"before\n");
    through(&mut exec, b"before\n");
    sandbox.kill();
    through(&mut run, b"between\n");
    through(&mut exec, b"between\n");
    sandbox.start(&[]);
    through(&mut run, b"after\n");
    through(&mut exec, b"after\n");
    drop((run.stdin.take(), exec.stdin.take()));
    // `docker attach` asks for the exit on a connection that was cut.
    run.wait().unwrap();
    exec.wait().unwrap();
    assert_eq!(sandbox.ok(&["wait", "run"]), "0");
    assert_eq!(sandbox.ok(&["logs", "run"]), "before\nbetween\nafter");
}

#[test]
fn a_log_that_is_followed_ends_before_its_container_is_gone() {
    let sandbox = Sandbox::new();
    for round in 0..10 {
        let name = format!("one{round}");
        sandbox.ok(&[
            "run",
            "-d",
            "--name",
            &name,
            "busybox",
            "sh",
            "-c",
            "echo up; sleep 1000",
        ]);
        let mut follower = UnixStream::connect(sandbox.socket()).unwrap();
        let question = format!("GET /v1.50/containers/{name}/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        follower.write_all(question.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"up\n\r\n") {
            let mut byte = [0];
            follower.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let (status, words) = sandbox.request("DELETE", &format!("/v1.50/containers/{name}?force=1"), "");
        assert_eq!(status, 204, "{words}");
        follower.set_nonblocking(true).unwrap();
        let mut rest = [0; 16];
        let length = follower.read(&mut rest).expect("the end is there");
        assert_eq!(&rest[..length], b"0\r\n\r\n", "round {round}");
    }
    // One that does not read is not waited for.
    let flood = ["run", "-d", "--name", "flood", "busybox", "yes"];
    sandbox.ok(&flood);
    let mut deaf = UnixStream::connect(sandbox.socket()).unwrap();
    deaf.write_all(b"GET /v1.50/containers/flood/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    sandbox.ok(&["rm", "-f", "flood"]);
}

/// A client's frame (RFC 6455, section 5.2), masked with zeros.
fn frame(opcode: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u8::try_from(bytes.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(bytes);
    frame
}

/// Messages of a server until it closes: their bytes together.
fn messages(stream: &mut UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).unwrap();
        let length = match head[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            length => usize::from(length),
        };
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).unwrap();
        match head[0] & 0xf {
            1 | 2 => all.extend(bytes),
            8 => return all,
            other => panic!("a frame of kind {other}"),
        }
    }
}

/// A connection that has become a WebSocket.
fn websocket(sandbox: &Sandbox, path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(sandbox.socket()).unwrap();
    let head = format!(
        "GET /v1.50{path} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    // The example of RFC 6455, section 1.3.
    let accept = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";
    assert!(
        answer.starts_with("http/1.1 101") && answer.contains(accept),
        "{answer}"
    );
    stream
}

#[test]
fn a_websocket_carries_input_and_output() {
    let sandbox = Sandbox::new();
    let script = "echo before; read a; echo got $a >&2; read b; echo and $b";
    sandbox.ok(&["run", "-di", "--name", "one", "busybox", "sh", "-c", script]);
    eventually("the first line", || sandbox.ok(&["logs", "one"]) == "before");
    let path = "/containers/one/attach/ws?logs=1&stream=1&stdin=1&stdout=1&stderr=1";
    let mut stream = websocket(&sandbox, path);
    stream.write_all(&frame(1, b"text\n")).unwrap();
    stream.write_all(&frame(2, b"bytes\n")).unwrap();
    assert_eq!(
        String::from_utf8(messages(&mut stream)).unwrap(),
        "before\ngot text\nand bytes\n"
    );
    // Large output in both directions.
    sandbox.ok(&["run", "-di", "--name", "echo", "busybox", "head", "-c", "600000"]);
    let mut stream = websocket(&sandbox, "/containers/echo/attach/ws?stream=1&stdin=1&stdout=1");
    let sent: Vec<u8> = (0..600_000_u32).map(|number| (number % 251) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        copy.chunks(60_000)
            .for_each(|chunk| writer.write_all(&frame(2, chunk)).unwrap())
    });
    assert!(messages(&mut stream) == sent, "what came back is not what was sent");
    writing.join().unwrap();
    // A client that closes is answered with a close, and the container goes on.
    sandbox.ok(&["run", "-di", "--name", "closed", "busybox", "cat"]);
    let mut stream = websocket(&sandbox, "/containers/closed/attach/ws?stream=1&stdin=1&stdout=1");
    stream.write_all(&frame(8, &1000_u16.to_be_bytes())).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [&[0x88, 2], &1000_u16.to_be_bytes()[..]].concat());
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.Status}}", "closed"]), "running");
    // A client that goes away is let go, one that makes no handshake is refused.
    sandbox.ok(&["run", "-di", "--name", "stays", "busybox", "cat"]);
    let path = "/containers/stays/attach/ws?stream=1&stdout=1";
    let many: Vec<UnixStream> = (0..100).map(|_| websocket(&sandbox, path)).collect();
    assert!(sandbox.daemon_usage().descriptors >= 200);
    drop(many);
    // Some belong to the pool of network namespaces, which is filled meanwhile.
    eventually("their descriptors are closed", || {
        sandbox.daemon_usage().descriptors < 100
    });
    let (status, words) = sandbox.request("GET", "/v1.50/containers/stays/attach/ws?stream=1", "");
    assert!(
        status == 400 && words.contains("not websocket protocol"),
        "{status} {words}"
    );
    let (status, _) = sandbox.request("GET", "/v1.50/containers/nosuch/attach/ws", "");
    assert_eq!(status, 404);
}
