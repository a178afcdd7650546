//! What clients ask for and cannot have: a clear answer in Docker's words, and nothing left behind.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;

use conex_tests::{Sandbox, eventually, layer_of};

#[test]
fn a_body_that_is_no_json_is_refused() {
    let sandbox = Sandbox::new();
    for body in ["{", "[]", "{\"Image\": 7}", "\u{0}", "{\"Image\":\"busybox\"} and more"] {
        let (status, answer) = sandbox.request("POST", "/v1.50/containers/create", body);
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer.contains("\"message\":"), "{body}: {answer}");
    }
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    let (status, answer) = sandbox.request("POST", "/v1.50/containers/create?name=good", "{\"Image\":\"busybox\"}");
    assert_eq!(status, 201, "{answer}");
}

#[test]
fn versions_are_served_from_the_oldest_to_our_own() {
    let sandbox = Sandbox::new();
    let (status, answer) = sandbox.request("GET", "/v1.99/version", "");
    assert_eq!(status, 400);
    assert!(
        answer.contains("client version 1.99 is too new. Maximum supported API version is"),
        "{answer}"
    );
    let (status, answer) = sandbox.request("GET", "/v1.12/version", "");
    assert_eq!(status, 400);
    assert!(
        answer.contains("client version 1.12 is too old. Minimum supported API version is"),
        "{answer}"
    );
    for path in ["/version", "/v1.24/version", "/v1.50/version"] {
        assert_eq!(sandbox.request("GET", path, "").0, 200, "{path}");
    }
    let (status, answer) = sandbox.request("GET", "/v1.50/nosuch", "");
    assert_eq!(status, 404);
    assert!(answer.contains("page not found"), "{answer}");
}

#[test]
fn fields_that_nobody_knows_are_no_reason_to_refuse() {
    let sandbox = Sandbox::new();
    let body = r#"{"Image":"busybox","Cmd":["true"],"OfAnOlderVersion":{"a":[1]},"HostConfig":{"Nobody":true}}"#;
    let (status, answer) = sandbox.request("POST", "/v1.24/containers/create?name=old", body);
    assert_eq!(status, 201, "{answer}");
    assert_eq!(sandbox.ok(&["start", "old"]), "old");
    assert_eq!(sandbox.ok(&["wait", "old"]), "0");
}

#[test]
fn what_cannot_be_run_is_told_with_dockers_exit_codes() {
    let sandbox = Sandbox::new();
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let said = sandbox.docker(arguments);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(words), "{words}: {said:?}");
    };
    refused(
        &["run", "--rm", "busybox", "nosuch"],
        127,
        "executable file not found in $PATH",
    );
    refused(&["run", "--rm", "busybox", "/etc/passwd"], 126, "permission denied");
    refused(
        &["run", "--rm", "-u", "nobody-there", "busybox", "true"],
        125,
        "unable to find user nobody-there",
    );
    refused(&["run", "--rm", "127.0.0.1:1/nosuch"], 125, "connection refused");
    refused(&["run", "--rm", "busybox:nosuch"], 125, "busybox:nosuch");
    sandbox.ok(&["create", "--name", "taken", "busybox"]);
    refused(
        &["run", "--name", "taken", "busybox"],
        125,
        "is already in use by container",
    );
    refused(&["exec", "taken", "true"], 1, "is not running");
    refused(&["rmi", "busybox"], 1, "container");
    refused(&["start", "nosuch"], 1, "No such container: nosuch");
    refused(
        &["run", "--memory", "1k", "busybox"],
        125,
        "Minimum memory limit allowed is 6MB",
    );
    assert_eq!(sandbox.ok(&["ps", "-a", "--format", "{{.Names}}"]), "taken");
    eventually("no cgroups", || sandbox.cgroups().is_empty());
}

#[test]
fn stopping_without_end_and_restarting_do_what_they_say() {
    let sandbox = Sandbox::new();
    let script = "trap 'sleep 1; exit 6' TERM; echo up; while :; do sleep 0.05; done";
    sandbox.ok(&["run", "-d", "--name", "slow", "busybox", "sh", "-c", script]);
    eventually("the trap", || sandbox.ok(&["logs", "slow"]).contains("up"));
    sandbox.ok(&["stop", "-t", "-1", "slow"]);
    assert_eq!(sandbox.ok(&["inspect", "--format", "{{.State.ExitCode}}", "slow"]), "6");
    sandbox.ok(&["start", "slow"]);
    let pid = sandbox.ok(&["inspect", "--format", "{{.State.Pid}}", "slow"]);
    sandbox.ok(&["restart", "-t", "0", "slow"]);
    let again = sandbox.ok(&["inspect", "--format", "{{.State.Running}} {{.State.Pid}}", "slow"]);
    assert!(
        again.starts_with("true ") && !again.ends_with(&format!(" {pid}")),
        "{again}"
    );
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let mut sandbox = Sandbox::empty();
    sandbox.kill();
    let data = sandbox.dir().join("data");
    let mount = |arguments: &[&str]| {
        assert!(
            Command::new("mount")
                .args(arguments)
                .arg(&data)
                .status()
                .unwrap()
                .success()
        )
    };
    mount(&["-t", "tmpfs", "-o", "size=8m", "tmpfs"]);
    sandbox.start(&[]);

    let noise: Vec<u8> = (0..12_u32 << 20)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let large = sandbox.dir().join("large.tar");
    std::fs::write(
        &large,
        conex_tests::archive_of("large", &layer_of(&[("noise", &noise)])),
    )
    .unwrap();
    let said = sandbox.docker(&["load", "-q", "-i", large.to_str().unwrap()]);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(
        format!("{}{}", said.out, said.err)
            .to_lowercase()
            .contains("no space left on device"),
        "{said:?}"
    );
    assert_eq!(sandbox.ok(&["images", "-aq"]), "");
    eventually("room again", || {
        let used = Command::new("du").arg("-sm").arg(&data).output().unwrap().stdout;
        String::from_utf8(used)
            .unwrap()
            .split('\t')
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            <= 3
    });

    let busybox = conex_tests::busybox_archive(sandbox.dir());
    sandbox.ok(&["load", "-q", "-i", busybox.to_str().unwrap()]);
    assert_eq!(sandbox.run(&[], "echo goes on"), "goes on");
    sandbox.kill();
    // The monitor of the last container may not have let go of its root yet.
    eventually("the disk given back", || {
        Command::new("umount").arg(&data).status().unwrap().success()
    });
    sandbox.start(&[]);
}

#[test]
fn fields_whose_mechanism_is_not_there_are_refused_by_name_and_listed() {
    let sandbox = Sandbox::new();
    let listed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md")).unwrap();
    // No engine has this on Linux; the words are Docker's.
    let hyperv = r#"{"Image":"busybox","HostConfig":{"Isolation":"hyperv"}}"#;
    let (status, words) = sandbox.request("POST", "/v1.50/containers/create", hyperv);
    assert!(
        status == 400 && words.contains("invalid isolation (hyperv): linux only supports 'default'"),
        "{words}"
    );
    for (field, value) in [
        ("LogConfig", r#"{"Type":"awslogs"}"#),
        ("Runtime", r#""crun""#),
        ("Cgroup", r#""container:x""#),
        ("DeviceRequests", r#"[{"Driver":"nvidia","Count":-1}]"#),
        ("KernelMemoryTCP", "100000000"),
        ("CpuCount", "2"),
    ] {
        let create = |value: &str| {
            let body = format!(r#"{{"Image":"busybox","HostConfig":{{"{field}":{value}}}}}"#);
            sandbox.request("POST", "/v1.50/containers/create", &body)
        };
        let (status, words) = create(value);
        assert!(
            status == 400 && words.contains(field) && words.contains("not supported"),
            "{field}: {status} {words}"
        );
        assert!(
            listed.contains(&format!("`{field}`")),
            "docs/compatibility.md does not name {field}"
        );
        // What asks for nothing is no reason to refuse.
        assert_eq!(create("null").0, 201, "{field}");
    }
}

#[test]
fn a_driver_of_cgroups_that_is_not_there_is_refused() {
    let sandbox = Sandbox::empty();
    let start = |driver: &str| {
        let refused = sandbox.run_daemon(&[&format!("--exec-opt=native.cgroupdriver={driver}")], &[]);
        assert_ne!(refused.code, 0);
        refused.err
    };
    assert!(
        !std::path::Path::new("/run/systemd/system").exists(),
        "this is for hosts without"
    );
    let said = start("systemd");
    let words = "systemd not running on this host, cannot use systemd cgroups manager";
    assert!(said.contains(words), "{said}");
    assert!(start("none").contains("native.cgroupdriver option none is internally used"));
    assert!(start("other").contains("native.cgroupdriver option other not supported"));
    assert_eq!(sandbox.ok(&["info", "-f", "{{.CgroupDriver}}"]), "cgroupfs");
}
