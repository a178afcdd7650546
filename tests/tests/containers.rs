//! The life of containers, driven by the `docker` CLI.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::{Duration, Instant};

use conex_tests::{Sandbox, eventually};

#[test]
fn a_container_runs_says_something_and_is_gone() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok(&["run", "--rm", "busybox", "echo", "hi"]), "hi");
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
}

#[test]
fn standard_output_and_error_are_told_apart() {
    let sandbox = Sandbox::new();
    let said = sandbox.docker(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("out", "err", 0));
}

#[test]
fn standard_input_reaches_the_process_whole_and_its_end_too() {
    let sandbox = Sandbox::new();
    let input: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|number| number.to_le_bytes())
        .take(4_000_000)
        .collect();
    let said = sandbox.with_input(&["run", "--rm", "-i", "busybox", "sh", "-c", "wc -c"], &input);
    assert_eq!((said.out.as_str(), said.code), ("4000000", 0), "{said:?}");
}

#[test]
fn exit_codes_are_those_of_docker() {
    let sandbox = Sandbox::new();
    let code = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["run", "--rm"].into_iter().chain(arguments.iter().copied()).collect();
        sandbox.docker(&arguments).code
    };
    assert_eq!(code(&["busybox", "sh", "-c", "exit 42"]), 42);
    assert_eq!(code(&["busybox", "no-such-program"]), 127);
    assert_eq!(code(&["busybox", "/etc/passwd"]), 126);
    assert_eq!(code(&["--no-such-flag", "busybox", "true"]), 125);
    assert_eq!(code(&["-u", "ghost", "busybox", "true"]), 125);
    assert_eq!(code(&["busybox", "sh", "-c", "sh -c 'kill -TERM $$'; exit $?"]), 143);
}

#[test]
fn a_detached_container_is_listed_inspected_stopped_and_removed() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&[
        "run", "-d", "--name", "web", "--label", "a=b", "busybox", "sleep", "1000",
    ]);
    assert_eq!(sandbox.ok(&["ps", "-q", "--no-trunc"]), id);
    assert_eq!(
        sandbox.ok(&["ps", "--filter", "label=a=b", "--format", "{{.Names}}"]),
        "web"
    );
    assert_eq!(
        sandbox.ok(&["ps", "--filter", "label=a=c", "--format", "{{.Names}}"]),
        ""
    );
    assert_eq!(
        sandbox.ok(&[
            "inspect",
            "--format",
            "{{.State.Status}} {{.Path}} {{.Config.Labels.made}}",
            "web"
        ]),
        "running sleep here"
    );
    let refused = sandbox.docker(&["rm", "web"]);
    assert!(
        refused
            .err
            .contains("stop the container before removing or force remove"),
        "{refused:?}"
    );
    assert_eq!(sandbox.ok(&["stop", "-t", "1", "web"]), "web");
    assert_eq!(
        sandbox.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "web"]),
        "exited 137"
    );
    assert_eq!(sandbox.ok(&["start", "web"]), "web");
    assert_eq!(sandbox.ok(&["kill", "web"]), "web");
    assert_eq!(sandbox.ok(&["wait", "web"]), "137");
    assert_eq!(sandbox.ok(&["rm", "web"]), "web");
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_process_that_drops_the_stop_signal_is_not_waited_for_unless_asked() {
    let sandbox = Sandbox::new();
    let took = |arguments: &[&str]| {
        let before = Instant::now();
        sandbox.ok(arguments);
        before.elapsed()
    };
    sandbox.ok(&["run", "-d", "--name", "deaf", "busybox", "sleep", "1000"]);
    // The grace period would be ten seconds.
    let at_once = took(&["stop", "deaf"]);
    assert!(at_once < Duration::from_secs(5), "{at_once:?}");
    assert_eq!(
        sandbox.ok(&["inspect", "--format", "{{.State.ExitCode}}", "deaf"]),
        "137"
    );
    sandbox.ok(&["start", "deaf"]);
    let at_once = took(&["restart", "deaf"]);
    assert!(at_once < Duration::from_secs(5), "{at_once:?}");
    let asked = took(&["stop", "-t", "2", "deaf"]);
    assert!(asked >= Duration::from_secs(2), "{asked:?}");
    // A handler that takes its time is waited for.
    let script = "trap 'sleep 2; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    sandbox.ok(&["run", "-d", "--name", "slow", "busybox", "sh", "-c", script]);
    eventually("the trap", || sandbox.ok(&["logs", "slow"]) == "ready");
    sandbox.ok(&["stop", "slow"]);
    assert_eq!(sandbox.ok(&["inspect", "--format", "{{.State.ExitCode}}", "slow"]), "3");
}

#[test]
fn a_process_that_handles_the_stop_signal_ends_by_itself() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "polite",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done",
    ]);
    eventually("the trap", || sandbox.ok(&["logs", "polite"]) == "ready");
    sandbox.ok(&["stop", "polite"]);
    assert_eq!(
        sandbox.ok(&["inspect", "--format", "{{.State.ExitCode}}", "polite"]),
        "3"
    );
}

#[test]
fn the_log_is_kept_tailed_and_followed() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "--name",
        "talk",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3; do echo line $i; done; sleep 0.3; echo err >&2",
    ]);
    assert_eq!(
        sandbox
            .ok(&["logs", "talk"])
            .lines()
            .filter(|line| line.starts_with("line"))
            .count(),
        3
    );
    assert_eq!(sandbox.docker(&["logs", "--tail", "1", "talk"]).err, "err");
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "count",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done",
    ]);
    assert_eq!(sandbox.ok(&["logs", "-f", "count"]), "1\n2\n3\n4\n5");
    let stamped = sandbox.ok(&["logs", "-t", "--tail", "1", "count"]);
    assert!(stamped.starts_with("20") && stamped.ends_with("Z 5"), "{stamped}");
}

#[test]
fn command_entrypoint_and_environment_are_overridden() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.ok(&["run", "--rm", "--entrypoint", "echo", "busybox", "mine"]),
        "mine"
    );
    assert_eq!(
        sandbox.run(&["-e", "A=1", "-e", "FROM_IMAGE=no"], "echo $A $FROM_IMAGE"),
        "1 no"
    );
    assert_eq!(
        sandbox.run(&["-e", "FROM_IMAGE"], "env | grep -c FROM_IMAGE || true"),
        "0"
    );
    assert_eq!(
        sandbox.run(&["-w", "/made/here", "-u", "worker"], "pwd; id -un; echo $HOME; id -G"),
        "/made/here\nworker\n/home\n1000 29"
    );
    assert_eq!(sandbox.run(&["-h", "box"], "hostname; cat /etc/hostname"), "box\nbox");
}

#[test]
fn a_later_process_runs_beside_the_first() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "host", "-e", "A=1", "busybox", "sleep", "1000"]);
    assert_eq!(
        sandbox
            .ok(&[
                "exec",
                "host",
                "sh",
                "-c",
                "echo $A; cat /proc/1/cmdline | tr '\\0' ' '"
            ])
            .trim_end(),
        "1\nsleep 1000"
    );
    // The stream ends and the client asks for the exit at once.
    for code in 1..40 {
        let exit = format!("exit {code}");
        assert_eq!(sandbox.docker(&["exec", "host", "sh", "-c", &exit]).code, code);
    }
    assert_eq!(sandbox.docker(&["exec", "host", "nosuch"]).code, 127);
    assert_eq!(
        sandbox.with_input(&["exec", "-i", "host", "cat"], b"through").out,
        "through"
    );
    assert_eq!(
        sandbox.ok(&["exec", "-u", "worker", "-w", "/tmp", "host", "sh", "-c", "id -u; pwd"]),
        "1000\n/tmp"
    );
    sandbox.ok(&["exec", "-d", "host", "touch", "/tmp/made"]);
    eventually("the detached exec", || {
        sandbox.docker(&["exec", "host", "ls", "/tmp/made"]).code == 0
    });
    sandbox.ok(&["stop", "-t", "0", "host"]);
    let refused = sandbox.docker(&["exec", "host", "true"]);
    assert!(refused.err.contains("is not running"), "{refused:?}");
}

#[test]
fn a_terminal_is_one_and_detaches_by_its_keys() {
    let sandbox = Sandbox::new();
    let said = sandbox.on_terminal(
        &["run", "--name", "tty", "-it", "busybox", "sh"],
        &[
            (Duration::from_millis(800), "tty; echo sum-$((40+2))\n"),
            (Duration::from_millis(500), "\x10\x11"),
        ],
    );
    assert!(
        said.out.contains("/dev/pts/0") && said.out.contains("sum-42"),
        "{said:?}"
    );
    assert_eq!(
        sandbox.ok(&["inspect", "--format", "{{.State.Running}}", "tty"]),
        "true"
    );
    let said = sandbox.on_terminal(&["attach", "tty"], &[(Duration::from_millis(500), "exit 4\n")]);
    assert!(said.out.contains("exit 4"), "{said:?}");
    assert_eq!(sandbox.ok(&["wait", "tty"]), "4");
    sandbox.ok(&["start", "tty"]);
    let said = sandbox.on_terminal(&["exec", "-it", "tty", "sh", "-c", "tty && stty size && echo end"], &[]);
    assert!(said.out.contains("/dev/pts/1") && said.out.contains("end"), "{said:?}");
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let sandbox = Sandbox::new();
    let script = "i=0; while [ $i -lt 200000 ]; do echo line-$i; i=$((i+1)); done";
    let mut child = sandbox.background(&["run", "--rm", "busybox", "sh", "-c", script]);
    std::thread::sleep(Duration::from_millis(1500));
    let mut out = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut out).unwrap();
    assert!(child.wait().unwrap().success());
    let numbers = out
        .lines()
        .map(|line| line.trim_start_matches("line-").parse::<u32>().unwrap());
    assert!(numbers.eq(0..200_000));
}

#[test]
fn names_and_ids_are_resolved_and_told_apart() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["create", "--name", "one", "busybox"]);
    assert_eq!(sandbox.ok(&["inspect", "--format", "{{.Name}}", &id[..8]]), "/one");
    let taken = sandbox.docker(&["create", "--name", "one", "busybox"]);
    assert!(
        taken
            .err
            .contains("The container name \"/one\" is already in use by container"),
        "{taken:?}"
    );
    let wrong = sandbox.docker(&["create", "--name", "a b", "busybox"]);
    assert!(wrong.err.contains("Invalid container name"), "{wrong:?}");
    let none = sandbox.docker(&["inspect", "nosuch"]);
    assert!(none.err.contains("No such object: nosuch"), "{none:?}");
    assert!(
        sandbox
            .docker(&["start", "nosuch"])
            .err
            .contains("No such container: nosuch")
    );
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    let sandbox = Sandbox::new();
    for (options, words) in [
        (["-p", "80:80/sctp"], "publishing ports of SCTP is not supported yet"),
        (
            ["--log-driver", "awslogs"],
            "the log driver awslogs is not supported yet",
        ),
    ] {
        let said = sandbox.docker(&["create", options[0], options[1], "busybox", "true"]);
        assert!(said.err.contains(words) && said.code == 1, "{options:?}: {said:?}");
    }
}

#[test]
fn what_happens_is_told_as_it_happens_and_later() {
    let sandbox = Sandbox::new();
    let since = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    let form = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
    let mut live = sandbox.background(&["events", "--format", form, "--filter", "container=told"]);
    // The client says nothing when it has been let in.
    std::thread::sleep(Duration::from_millis(500));
    sandbox.docker(&["run", "--rm", "--name", "told", "busybox", "sh", "-c", "exit 3"]);
    sandbox.ok(&["run", "--rm", "--name", "other", "busybox", "true"]);
    // `--until 0s` would be the last whole second.
    let until = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    let past = |filters: &[&str]| {
        let arguments: Vec<&str> = ["events", "--since", &since, "--until", &until, "--format", form]
            .into_iter()
            .chain(filters.iter().flat_map(|filter| ["--filter", filter]))
            .collect();
        sandbox.ok(&arguments)
    };
    let life = "container create told\ncontainer attach told\ncontainer start told\ncontainer die told\ncontainer destroy told";
    assert_eq!(past(&["container=told"]), life);
    assert_eq!(past(&["event=die"]), "container die told\ncontainer die other");
    assert_eq!(past(&["type=network", "event=connect"]).lines().count(), 2);
    let exit = [
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "event=die",
        "--filter",
        "container=told",
    ];
    assert!(sandbox.ok(&exit).contains("exitCode=3"));
    live.kill().unwrap();
    let output = live.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), life);
}

#[test]
fn a_signal_is_told_before_the_end_that_it_brings_about() {
    let sandbox = Sandbox::new();
    let since = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    let script = "trap 'exit 3' TERM; while :; do sleep 0.05; done";
    sandbox.ok(&["run", "-d", "--name", "told", "busybox", "sh", "-c", script]);
    sandbox.ok(&["restart", "told"]);
    sandbox.ok(&["kill", "--signal", "TERM", "told"]);
    sandbox.ok(&["wait", "told"]);
    sandbox.ok(&["start", "told"]);
    sandbox.ok(&["rm", "--force", "told"]);
    let hungry = "x=x; while :; do x=$x$x; done";
    sandbox.docker(&[
        "run", "--rm", "--name", "told", "--memory", "8m", "busybox", "sh", "-c", hungry,
    ]);
    let until = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    let mut arguments = vec![
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--format",
        "{{.Action}}",
    ];
    for filter in ["container=told", "event=kill", "event=die", "event=oom"] {
        arguments.extend(["--filter", filter]);
    }
    assert_eq!(sandbox.ok(&arguments), "kill\ndie\nkill\ndie\nkill\ndie\noom\ndie");
}

#[test]
fn a_container_that_removes_itself_is_restarted_and_not_removed() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "-d",
        "--rm",
        "--name",
        "box",
        "--stop-timeout",
        "0",
        "busybox",
        "sleep",
        "1000",
    ]);
    sandbox.ok(&["exec", "box", "touch", "/kept"]);
    sandbox.ok(&["restart", "box"]);
    assert_eq!(sandbox.ok(&["exec", "box", "ls", "/kept"]), "/kept");
    sandbox.ok(&["stop", "box"]);
    eventually("it removes itself", || sandbox.docker(&["inspect", "box"]).code == 1);
}
