//! Logs: kept within their bounds, in Docker's format, and given back as they were written.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use conex_tests::{Engine, Sandbox, busybox_archive, eventually};
use serde_json::Value;

/// Runs a script to its end, with these options of its log.
fn run(sandbox: &Sandbox, name: &str, options: &[&str], script: &str) {
    let mut arguments = vec!["run", "--name", name, "--network", "none", "-d"];
    arguments.extend(options.iter().flat_map(|option| match option.split_once('=') {
        Some(("driver", driver)) => ["--log-driver", driver],
        _ => ["--log-opt", option],
    }));
    arguments.extend(["busybox", "sh", "-c", script]);
    sandbox.ok(&arguments);
}

fn ended(sandbox: &Sandbox, name: &str) {
    assert_eq!(sandbox.ok(&["wait", name]), "0");
}

/// The files of a log, newest first, and their sizes.
fn files(path: &Path) -> Vec<(String, u64)> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    let mut files: Vec<(String, u64)> = entries
        .map(|entry| entry.unwrap())
        .filter_map(|entry| {
            let found = entry.file_name().into_string().unwrap();
            let rest = found.strip_prefix(name)?.to_owned();
            Some((rest, entry.metadata().unwrap().len()))
        })
        .collect();
    files.sort();
    files
}

fn names(path: &Path) -> Vec<String> {
    files(path).into_iter().map(|(name, _)| name).collect()
}

fn path(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.ok(&["inspect", "--format", "{{.LogPath}}", name]).into()
}

fn logs(sandbox: &Sandbox, arguments: &[&str]) -> String {
    sandbox.ok(&[&["logs"][..], arguments].concat())
}

/// Numbers that follow each other; the first of them.
fn numbers(text: &str, last: u64) -> u64 {
    let mut numbers = text.lines().map(|line| line.parse::<u64>().unwrap());
    let first = numbers.next().unwrap();
    let mut expected = first;
    for number in numbers {
        expected += 1;
        assert_eq!(number, expected);
    }
    assert_eq!(expected, last);
    first
}

#[test]
fn a_log_has_no_more_and_no_larger_files_than_it_may() {
    let sandbox = Sandbox::new();
    run(&sandbox, "box", &["max-size=100k", "max-file=3"], "seq 1 50000");
    ended(&sandbox, "box");
    let path = path(&sandbox, "box");
    let files = files(&path);
    assert_eq!(names(&path), ["", ".1", ".2"]);
    for (name, size) in &files {
        // What is read from a pipe at once is not divided.
        assert!(*size < 100_000 + 64 * 1024 * 20, "{name}: {size}");
    }
    let first = numbers(&logs(&sandbox, &["box"]), 50_000);
    assert!(first > 1, "{files:?}");
    for tail in [1, 100, 3000] {
        let text = logs(&sandbox, &["--tail", &tail.to_string(), "box"]);
        assert_eq!(numbers(&text, 50_000), 50_001 - tail);
    }
    // The next run goes on in the same files.
    sandbox.ok(&["start", "box"]);
    ended(&sandbox, "box");
    assert_eq!(names(&path), ["", ".1", ".2"]);
    // One file is begun anew.
    run(&sandbox, "one", &["max-size=10k"], "seq 1 50000");
    ended(&sandbox, "one");
    assert_eq!(names(&self::path(&sandbox, "one")), [""]);
    assert!(numbers(&logs(&sandbox, &["one"]), 50_000) > 1);
}

#[test]
fn a_log_that_nobody_bounds_is_bounded_and_one_may_have_no_bound() {
    let sandbox = Sandbox::new();
    let script = "yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -n 1500000";
    run(&sandbox, "box", &[], script);
    run(&sandbox, "whole", &["max-size=-1"], script);
    ended(&sandbox, "box");
    ended(&sandbox, "whole");
    let bounded = path(&sandbox, "box");
    assert_eq!(names(&bounded), ["", ".1", ".2", ".3", ".4"]);
    for (name, size) in files(&bounded) {
        assert!(size < 21_000_000, "{name}: {size}");
    }
    let whole = path(&sandbox, "whole");
    assert_eq!(names(&whole), [""]);
    assert!(files(&whole)[0].1 > 150_000_000);
}

#[test]
fn older_files_are_compressed_and_read_all_the_same() {
    let sandbox = Sandbox::new();
    let options = ["max-size=1m", "max-file=4", "compress=true"];
    run(
        &sandbox,
        "box",
        &options,
        "for i in $(seq 1 20); do seq $((i*5000-4999)) $((i*5000)); sleep 0.1; done",
    );
    let follower = Command::new("docker")
        .env("DOCKER_HOST", format!("unix://{}", sandbox.socket().display()))
        .args(["logs", "-f", "box"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    ended(&sandbox, "box");
    // Who follows has seen all of it, from file to file.
    let followed = String::from_utf8(follower.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(numbers(&followed, 100_000), 1);
    let path = path(&sandbox, "box");
    eventually("the last one is compressed", || {
        names(&path) == ["", ".1.gz", ".2.gz", ".3.gz"]
    });
    for (name, size) in files(&path).iter().skip(1) {
        assert!(*size < 300_000, "{name}: {size}");
    }
    let first = numbers(&logs(&sandbox, &["box"]), 100_000);
    assert!(first > 1);
    assert_eq!(numbers(&logs(&sandbox, &["--tail", "30000", "box"]), 100_000), 70_001);
}

#[test]
fn entries_say_what_was_chosen_of_the_container() {
    let sandbox = Sandbox::new();
    let arguments = [
        "run",
        "--name",
        "box",
        "--network",
        "none",
        "--label",
        "kind=a b",
        "--label",
        "other=x",
        "-e",
        "COLOUR=red",
        "--log-opt",
        "labels=kind,nosuch",
        "--log-opt",
        "env-regex=^COL",
        "--log-opt",
        "tag={{.Name}}/{{.ImageName}}",
        "busybox",
        "echo",
        "hello",
    ];
    sandbox.ok(&arguments);
    let text = fs::read_to_string(path(&sandbox, "box")).unwrap();
    let attributes = r#""attrs":{"COLOUR":"red","kind":"a b","tag":"box/busybox"}"#;
    assert!(
        text.starts_with(&format!(r#"{{"log":"hello\n","stream":"stdout",{attributes},"time":""#)),
        "{text}"
    );
    assert_eq!(
        logs(&sandbox, &["--details", "box"]),
        "COLOUR=red,kind=a+b,tag=box%2Fbusybox hello"
    );
    assert_eq!(logs(&sandbox, &["box"]), "hello");
}

#[test]
fn each_driver_keeps_output_where_it_says() {
    let sandbox = Sandbox::new();
    // No file gives way while one is compressed: what comes later finds that done.
    run(
        &sandbox,
        "local",
        &["driver=local", "max-size=100k", "max-file=2"],
        "seq 1 25000; sleep 2; seq 25001 50000",
    );
    ended(&sandbox, "local");
    let dir = sandbox
        .dir()
        .join("data/containers")
        .join(sandbox.ok(&["inspect", "--format", "{{.Id}}", "local"]));
    assert_eq!(path(&sandbox, "local"), Path::new(""));
    let log = dir.join("local-logs/container.log");
    eventually("the older file is compressed", || names(&log) == ["", ".1.gz"]);
    assert!(numbers(&logs(&sandbox, &["local"]), 50_000) > 1);
    run(&sandbox, "none", &["driver=none"], "echo lost");
    ended(&sandbox, "none");
    let said = sandbox.docker(&["logs", "none"]);
    assert!(
        said.err.contains("configured logging driver does not support reading"),
        "{said:?}"
    );
    // Either mode never waits for anybody.
    run(
        &sandbox,
        "mode",
        &["mode=non-blocking", "max-buffer-size=1m"],
        "echo kept",
    );
    ended(&sandbox, "mode");
    assert_eq!(logs(&sandbox, &["mode"]), "kept");
}

/// What `docker logs` gives of both outputs, byte by byte.
fn bytes(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    let output = Command::new("docker")
        .env("DOCKER_HOST", format!("unix://{}", sandbox.socket().display()))
        .args(["logs", name])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    output.stdout
}

#[test]
fn what_is_no_text_comes_back_byte_for_byte() {
    let sandbox = Sandbox::new();
    for (name, script) in [
        ("random", "head -c 3000000 /dev/urandom | tee /copy"),
        ("latin", "printf 'caf\\351\\n\\000\\377\\376 no end' | tee /copy"),
        (
            "zeros",
            "head -c 100000000 /dev/zero | tr '\\0' '\\200' | tee /copy; echo >> /copy; echo",
        ),
        (
            "long",
            "head -c 100000000 /dev/zero | tr '\\0' x > /copy; echo >> /copy; cat /copy",
        ),
    ] {
        for driver in ["driver=json-file", "driver=local"] {
            let name = format!("{name}-{}", &driver[7..]);
            run(&sandbox, &name, &[driver, "max-size=-1"], script);
            ended(&sandbox, &name);
            let copy = sandbox.dir().join(&name);
            sandbox.ok(&["cp", &format!("{name}:/copy"), copy.to_str().unwrap()]);
            assert!(bytes(&sandbox, &name) == fs::read(&copy).unwrap(), "{name}");
            sandbox.ok(&["rm", &name]);
        }
    }
}

#[test]
fn the_daemon_says_how_output_is_kept_where_a_container_does_not() {
    let sandbox = Sandbox::with_flags(
        Engine::Conex,
        &[
            "--log-driver",
            "local",
            "--log-opt",
            "max-size=1m",
            "--log-opt",
            "compress=false",
        ],
    );
    let archive = busybox_archive(sandbox.dir());
    sandbox.ok(&["load", "-q", "-i", archive.to_str().unwrap()]);
    assert_eq!(sandbox.ok(&["info", "--format", "{{.LoggingDriver}}"]), "local");
    let config = |name: &str| -> Value {
        let text = sandbox.ok(&["inspect", "--format", "{{json .HostConfig.LogConfig}}", name]);
        serde_json::from_str(&text).unwrap()
    };
    run(&sandbox, "own", &["max-size=2m"], "echo a");
    let own = serde_json::json!({"Type": "local", "Config": {"max-size": "2m", "compress": "false"}});
    assert_eq!(config("own"), own);
    run(&sandbox, "other", &["driver=json-file"], "echo a");
    assert_eq!(config("other"), serde_json::json!({"Type": "json-file", "Config": {}}));
    ended(&sandbox, "other");
    assert!(path(&sandbox, "other").exists());
}

#[test]
fn what_no_log_can_be_is_refused_when_the_container_is_made() {
    let sandbox = Sandbox::new();
    for (log, words) in [
        (
            r#"{"Type":"nosuch"}"#,
            r#"error looking up logging plugin nosuch: plugin \"nosuch\" not found"#,
        ),
        (
            r#"{"Type":"json-file","Config":{"nosuch":"x"}}"#,
            "unknown log opt 'nosuch' for json-file log driver",
        ),
        (r#"{"Config":{"max-size":"x"}}"#, "invalid size: 'x'"),
        (
            r#"{"Config":{"tag":"{{.Nosuch}}"}}"#,
            "can't evaluate .Nosuch in type *logger.Info",
        ),
        (r#"{"Config":{"env-regex":"["}}"#, "error parsing regexp"),
        (
            r#"{"Type":"none","Config":{"tag":"x"}}"#,
            "unknown log opt 'tag' for none log driver",
        ),
    ] {
        let body = format!(r#"{{"Image":"busybox","HostConfig":{{"LogConfig":{log}}}}}"#);
        let (status, said) = sandbox.request("POST", "/v1.50/containers/create", &body);
        assert!(status == 400 && said.contains(words), "{log}: {status} {said}");
    }
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
}
