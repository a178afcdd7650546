//! Containers with an init (`--init`).

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;
use std::time::{Duration, Instant};

use conex_tests::{Engine, Sandbox, dist, eventually};

#[test]
fn the_init_is_the_first_process_and_nothing_of_the_engine() {
    let sandbox = Sandbox::new();
    let script = "echo $$; cat /proc/1/comm; tr '\\0' ' ' < /proc/1/cmdline; echo; readlink /proc/1/exe; \
                  grep VmRSS /proc/1/status; ls /proc/1/fd";
    let said = sandbox.run(&["--init"], script);
    let mut lines = said.lines();
    let mut next = || lines.next().unwrap();
    assert_ne!(next(), "1", "{said}");
    assert_eq!(next(), "conex-init", "{said}");
    assert!(next().starts_with("conex-init /bin/sh sh -c "), "{said}");
    assert_eq!(next(), "/memfd:conex-init (deleted)", "{said}");
    let resident: u32 = next().split_whitespace().nth(1).unwrap().parse().unwrap();
    // A few pages; without an init of its own the engine's would be some hundred.
    assert!(resident <= 40, "{said}");
    assert_eq!(lines.collect::<Vec<_>>(), ["0", "1", "2"], "{said}");
    assert_eq!(sandbox.run(&[], "echo $$"), "1");
    // It cannot be overwritten (CVE-2019-5736).
    let said = sandbox.run(&["--init"], "echo x > /proc/1/exe || echo refused");
    assert_eq!(said, "refused");
}

#[test]
fn the_end_of_the_program_is_the_end_of_the_container() {
    let sandbox = Sandbox::new();
    let code = |script: &str| {
        let run = [
            "run",
            "--rm",
            "--init",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            script,
        ];
        sandbox.docker(&run).code
    };
    assert_eq!(code("exit 7"), 7);
    assert_eq!(code("kill -TERM $$"), 143);
    assert_eq!(code("kill -KILL $$"), 137);
    // A process that is left behind does not keep it.
    assert_eq!(code("sleep 1000 & exit 3"), 3);
}

#[test]
fn orphans_are_reaped() {
    let sandbox = Sandbox::new();
    // The shell, which reaps as well, is gone before they end.
    let orphans = "for n in 1 2 3 4 5 6 7 8; do (sleep 1 & exec true); done; exec sleep 1000";
    let zombies = "grep -l 'State:.Z' /proc/[0-9]*/status | wc -l";
    for (name, option, count) in [("with", "--init=true", "0"), ("without", "--init=false", "8")] {
        sandbox.ok(&["run", "-d", "--name", name, option, "busybox", "sh", "-c", orphans]);
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(sandbox.ok(&["exec", name, "sh", "-c", zombies]), count, "{name}");
    }
}

#[test]
fn signals_go_to_the_program() {
    let sandbox = Sandbox::new();
    // The kernel drops it for a first process that does not catch it; the program is none.
    sandbox.ok(&["run", "-d", "--init", "--name", "plain", "busybox", "sleep", "1000"]);
    let before = Instant::now();
    sandbox.ok(&["stop", "-t", "30", "plain"]);
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    let code = |name: &str| sandbox.ok(&["inspect", "--format", "{{.State.ExitCode}}", name]);
    assert_eq!(code("plain"), "143");
    let script = "trap 'echo usr1' USR1; trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done";
    sandbox.ok(&["run", "-d", "--init", "--name", "traps", "busybox", "sh", "-c", script]);
    eventually("the traps", || sandbox.ok(&["logs", "traps"]) == "ready");
    sandbox.ok(&["kill", "-s", "USR1", "traps"]);
    eventually("the signal", || sandbox.ok(&["logs", "traps"]) == "ready\nusr1");
    sandbox.ok(&["stop", "traps"]);
    assert_eq!(code("traps"), "4");
}

#[test]
fn a_program_that_cannot_be_run_is_told_as_without_an_init() {
    let sandbox = Sandbox::new();
    for program in ["nosuch", "/nosuch", "/etc", "/etc/passwd"] {
        let run = |option: &str| {
            let said = sandbox.docker(&["run", "--rm", option, "--network", "none", "busybox", program]);
            (said.code, said.err)
        };
        assert_eq!(run("--init=true"), run("--init=false"), "{program}");
    }
    // A path is what the container's `PATH` says.
    let searched = ["-e", "PATH=/nowhere::/tmp", "--tmpfs", "/tmp:exec", "-w", "/bin"];
    assert_eq!(
        sandbox.ok(&[&["run", "--rm", "--init"][..], &searched, &["busybox", "echo", "here"]].concat()),
        "here"
    );
}

#[test]
fn a_user_and_a_terminal_have_it_too() {
    let sandbox = Sandbox::new();
    let said = sandbox.run(
        &["--init", "-u", "1234:5678", "--cap-drop", "ALL"],
        "id -u; cat /proc/1/comm; grep Uid /proc/1/status",
    );
    assert_eq!(said, "1234\nconex-init\nUid:\t1234\t1234\t1234\t1234");
    // The terminal's foreground is the program's, so that a shell has job control and ^C reaches what it runs.
    let said = sandbox.on_terminal(
        &[
            "run",
            "--rm",
            "-it",
            "--init",
            "busybox",
            "sh",
            "-c",
            "echo up; sleep 1000; echo not reached",
        ],
        &[(Duration::from_secs(2), "\u{3}")],
    );
    assert!(said.out.contains("up") && !said.out.contains("not reached"), "{said:?}");
    assert_eq!(said.code, 130, "{said:?}");
}

#[test]
fn the_daemon_says_what_containers_get_that_do_not() {
    let sandbox = Sandbox::with_flags(Engine::Conex, &["--init"]);
    let busybox = conex_tests::busybox_archive(sandbox.dir());
    sandbox.ok(&["load", "-q", "-i", busybox.to_str().unwrap()]);
    let first = "cat /proc/1/comm";
    assert_eq!(sandbox.run(&[], first), "conex-init");
    assert_eq!(sandbox.run(&["--init=false"], first), "cat");
    // An init that is not the first process of its namespace reaps all the same.
    let orphan = "(sleep 0.3 & echo $! > /tmp/pid; exec true); sleep 0.1; cut -d' ' -f4 /proc/$(cat /tmp/pid)/stat; echo $PPID; \
                  sleep 0.5; ls /proc/$(cat /tmp/pid)/stat 2>&1 | grep -c 'No such'";
    let said = sandbox.run(&["--pid", "host"], orphan);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() == 3 && lines[0] == lines[1] && lines[2] == "1", "{said}");
    assert_eq!(sandbox.ok(&["info", "--format", "{{.InitBinary}}"]), "conex-init");
    let name = sandbox.ok(&["create", "busybox", "true"]);
    assert_eq!(
        sandbox.ok(&["inspect", "--format", "{{.HostConfig.Init}}", &name]),
        "<nil>"
    );
}

#[test]
fn our_own_command_line_asks_for_an_init_and_for_namespaces() {
    let sandbox = Sandbox::new();
    let conex = |options: &[&str], script: &str| {
        let mut command = Command::new(dist().join("conex"));
        command.env("DOCKER_HOST", format!("unix://{}", sandbox.socket().display()));
        command
            .args(["run", "--rm"])
            .args(options)
            .args(["busybox", "sh", "-c", script]);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let first = "cat /proc/1/comm";
    assert_eq!(conex(&["--init"], first).0, "conex-init");
    assert_eq!(conex(&["--init=false"], first).0, "cat");
    for (option, namespace) in [
        ("--pid", "pid"),
        ("--ipc", "ipc"),
        ("--uts", "uts"),
        ("--cgroupns", "cgroup"),
    ] {
        let host = std::fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap();
        let of = |options: &[&str]| conex(options, &format!("readlink /proc/self/ns/{namespace}")).0;
        assert_eq!(of(&[&format!("{option}=host")]), host.display().to_string(), "{option}");
    }
    let (_, refusal) = conex(&["--userns", "nonsense"], "true");
    assert!(refusal.contains("invalid USER mode"), "{refusal}");
    let (_, refusal) = conex(&["--pid", "nonsense"], "true");
    assert!(refusal.contains("invalid PID mode: nonsense"), "{refusal}");
}
