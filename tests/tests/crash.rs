//! `kill -9` at every named point and at any moment: what ran goes on, what ended is known, nothing is left over.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::Duration;

use conex_protocol::fail_points;
use conex_tests::{COUNTER, Sandbox, assert_no_gap, eventually};

#[test]
fn what_runs_outlives_the_daemon_and_what_ended_meanwhile_is_known() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "counter", "busybox", "sh", "-c", COUNTER]);
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "short",
        "busybox",
        "sh",
        "-c",
        "sleep 0.5; exit 5",
    ]);
    let mut terminal = sandbox.spawn_on_terminal(&["run", "--name", "tty", "-it", "busybox", "sh"]);
    eventually("the terminal's container", || {
        sandbox.ok(&["ps", "--format", "{{.Names}}"]).contains("tty")
    });
    sandbox.kill();
    thread::sleep(Duration::from_millis(700));
    sandbox.start(&[]);
    assert_eq!(sandbox.ok(&["ps", "--format", "{{.Names}}"]).lines().count(), 2);
    assert_eq!(sandbox.ok(&["wait", "short"]), "5");
    assert_eq!(sandbox.ok(&["exec", "counter", "echo", "in"]), "in");
    let mut stdin = terminal.stdin.take().unwrap();
    stdin.write_all(b"echo alive-$((40+2))\n").unwrap();
    eventually("the terminal's answer", || {
        sandbox.ok(&["logs", "tty"]).contains("alive-42")
    });
    drop(stdin);
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    sandbox.ok(&["stop", "-t", "0", "counter"]);
    assert_no_gap(&sandbox.ok(&["logs", "counter"]));
}

#[test]
fn a_daemon_killed_at_a_named_point_leaves_a_state_that_the_next_one_understands() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "counter", "busybox", "sh", "-c", COUNTER]);
    for point in fail_points::DAEMON {
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        let id = sandbox.docker(&["create", "--name", "victim", "busybox", "sleep", "1000"]);
        if id.code == 0 {
            sandbox.docker(&["start", "victim"]);
            sandbox.docker(&["exec", "victim", "true"]);
            sandbox.docker(&["kill", "victim"]);
            sandbox.docker(&["rm", "victim"]);
        }
        eventually(point, || !is_alive(&sandbox));
        sandbox.await_death();
        sandbox.start(&[]);
        assert_eq!(
            sandbox.ok(&["inspect", "--format", "{{.State.Running}}", "counter"]),
            "true",
            "{point}"
        );
        // Whatever the victim is now, it can be removed, or was never there.
        let left = sandbox.ok(&["ps", "-a", "--filter", "name=victim", "--format", "{{.Names}}"]);
        if !left.is_empty() {
            sandbox.ok(&["rm", "-f", "victim"]);
        }
        let counters = sandbox.cgroups().len();
        eventually(&format!("only the counter's cgroups after {point}"), || {
            sandbox.cgroups().len() <= counters
        });
    }
    sandbox.ok(&["stop", "-t", "0", "counter"]);
    assert_no_gap(&sandbox.ok(&["logs", "counter"]));
}

fn is_alive(sandbox: &Sandbox) -> bool {
    sandbox.docker(&["version", "--format", "{{.Server.Version}}"]).code == 0
}

#[test]
fn a_monitor_or_template_killed_at_a_named_point_leaves_nothing() {
    for point in fail_points::MONITOR.iter().chain(fail_points::TEMPLATE) {
        let mut sandbox = Sandbox::new();
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        sandbox.docker(&["create", "--name", "victim", "busybox", "sleep", "1000"]);
        sandbox.docker(&["start", "victim"]);
        sandbox.docker(&["exec", "victim", "true"]);
        sandbox.docker(&["kill", "victim"]);
        eventually(&format!("the end of the container after {point}"), || {
            sandbox.ok(&["inspect", "--format", "{{.State.Running}}", "victim"]) == "false"
        });
        sandbox.kill();
        sandbox.start(&[]);
        sandbox.ok(&["rm", "-f", "victim"]);
    }
}

/// A monitor that dies between the record of the exit and its own cleaning is cleaned up after by the daemon, and does
/// not hold up the next start.
#[test]
fn a_monitor_killed_after_the_exit_does_not_hold_up_the_next_start() {
    let mut sandbox = Sandbox::new();
    sandbox.kill();
    sandbox.start(&[("CONEX_FAIL_POINT", "monitor.after-exit-record")]);
    sandbox.docker(&["run", "--name", "again", "busybox", "sh", "-c", "exit 4"]);
    eventually("the end of the container", || {
        sandbox.ok(&["inspect", "--format", "{{.State.Running}}", "again"]) == "false"
    });
    let started = std::time::Instant::now();
    sandbox.ok(&["start", "again"]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    eventually("the second end", || {
        sandbox.ok(&["inspect", "--format", "{{.State.ExitCode}}", "again"]) == "4"
    });
    eventually("no cgroup", || sandbox.cgroups().is_empty());
}

#[test]
fn random_kills_lose_nothing() {
    let rounds: u32 = std::env::var("CONEX_CRASH_ROUNDS").map_or(200, |rounds| rounds.parse().unwrap());
    let mut sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "counter", "busybox", "sh", "-c", COUNTER]);
    for round in 0..rounds {
        let name = format!("r{round}");
        let mut client = sandbox.background(&["run", "--name", &name, "busybox", "sh", "-c", "exit 3"]);
        // Another moment of the run in each round.
        thread::sleep(Duration::from_micros(u64::from(round * 7919 % 120) * 1000));
        sandbox.kill();
        client.wait().unwrap();
        sandbox.start(&[]);
        assert_eq!(
            sandbox.ok(&["inspect", "--format", "{{.State.Running}}", "counter"]),
            "true",
            "round {round}"
        );
        let left = sandbox.ok(&[
            "ps",
            "-a",
            "--filter",
            &format!("name=^/{name}$"),
            "--format",
            "{{.Names}}",
        ]);
        if !left.is_empty() {
            eventually("the end of the container", || {
                sandbox.ok(&["inspect", "--format", "{{.State.Running}}", &name]) == "false"
            });
            let state = sandbox.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", &name]);
            assert!(
                ["created 0", "exited 3"].contains(&state.as_str()),
                "round {round}: {state}"
            );
            sandbox.ok(&["rm", &name]);
        }
    }
    sandbox.ok(&["stop", "-t", "0", "counter"]);
    assert_no_gap(&sandbox.ok(&["logs", "counter"]));
}

#[test]
fn an_exec_outlives_the_daemon_and_its_exit_is_known() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(&["run", "-d", "--name", "host", "busybox", "sleep", "1000"]);
    let script = "while [ ! -e /go ]; do sleep 0.05; done; exit 9";
    sandbox.ok(&["exec", "-d", "host", "sh", "-c", script]);
    sandbox.ok(&[
        "exec",
        "-d",
        "host",
        "sh",
        "-c",
        "while [ ! -e /first ]; do sleep 0.05; done; exit 8",
    ]);
    let execs = |sandbox: &Sandbox| {
        let ids = sandbox.ok(&["inspect", "--format", "{{range .ExecIDs}}{{.}} {{end}}", "host"]);
        let mut ids: Vec<String> = ids.split_whitespace().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    let ids = execs(&sandbox);
    assert_eq!(ids.len(), 2);
    sandbox.kill();
    // One ends while no daemon is there, the other after the new one has come.
    let pid = first_process(&sandbox);
    fs::write(format!("/proc/{pid}/root/first"), "").unwrap();
    thread::sleep(Duration::from_millis(300));
    sandbox.start(&[]);
    let state = |id: &str| {
        let (status, answer) = sandbox.request("GET", &format!("/v1.50/exec/{id}/json"), "");
        assert_eq!(status, 200, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        (answer["Running"].as_bool().unwrap(), answer["ExitCode"].as_i64())
    };
    let mut states: Vec<_> = ids.iter().map(|id| state(id)).collect();
    states.sort();
    assert_eq!(states, [(false, Some(8)), (true, None)]);
    assert_eq!(execs(&sandbox).len(), 1);
    sandbox.ok(&["exec", "host", "touch", "/go"]);
    eventually("the second exec's end", || {
        let mut states: Vec<_> = ids.iter().map(|id| state(id)).collect();
        states.sort();
        states == [(false, Some(8)), (false, Some(9))]
    });
}

/// A process of the only container, by its cgroup: no daemon is there to be asked.
fn first_process(sandbox: &Sandbox) -> String {
    let cgroups = sandbox.cgroups();
    let processes = fs::read_to_string(cgroups[0].join("cgroup.procs")).unwrap();
    processes.lines().next().unwrap().to_owned()
}

/// Names in a directory of the data root.
fn names_in(sandbox: &Sandbox, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(sandbox.dir().join("data").join(directory)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.collect()
}

/// An image that was being made is whole, or nothing of it is left; the container that it was made of goes on.
fn assert_whole_or_gone(sandbox: &Sandbox, point: &str, shows: &str) {
    let state = sandbox.ok(&["inspect", "--format", "{{.State.Running}} {{.State.Paused}}", "counter"]);
    assert_eq!(state, "true false", "{point}");
    let is_there = !sandbox.ok(&["images", "-q", "made:1"]).is_empty();
    let (layers, skeletons) = (names_in(sandbox, "layers"), names_in(sandbox, "skeletons"));
    let all = if is_there { 2 } else { 1 };
    assert_eq!(
        (layers.len(), skeletons.len()),
        (all, all),
        "{point}: {layers:?} {skeletons:?}"
    );
    assert_eq!(names_in(sandbox, "content/ingest").len(), 0, "{point}");
    // A configuration and a manifest of each image.
    assert_eq!(names_in(sandbox, "content/blobs/sha256").len(), 2 * all, "{point}");
    eventually("an empty trash", || names_in(sandbox, "trash").is_empty());
    if is_there {
        let look = ["run", "--rm", "--network", "none", "made:1", "cat", "/mark"];
        assert_eq!(sandbox.ok(&look), shows, "{point}");
        let file = sandbox.dir().join("saved.tar");
        sandbox.ok(&["save", "-o", file.to_str().unwrap(), "made:1"]);
        sandbox.ok(&["rmi", "made:1"]);
    }
    assert_eq!(is_there, point == "image.recorded", "{point}");
}

#[test]
fn an_image_that_dies_with_the_daemon_while_it_is_made_is_whole_or_not_there() {
    let mut sandbox = Sandbox::new();
    let script = format!("echo committed > /mark; dd if=/dev/urandom of=/big bs=1M count=4 2>/dev/null; {COUNTER}");
    sandbox.ok(&["run", "-d", "--name", "counter", "busybox", "sh", "-c", &script]);
    eventually("the first line", || !sandbox.ok(&["logs", "counter"]).is_empty());
    for point in fail_points::IMAGE.iter().chain(fail_points::COMMIT) {
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        sandbox.docker(&["commit", "counter", "made:1"]);
        sandbox.await_death();
        sandbox.start(&[]);
        assert_whole_or_gone(&sandbox, point, "committed");
    }
    let archive = sandbox.dir().join("exported.tar");
    let archive = archive.to_str().unwrap();
    sandbox.ok(&["export", "-o", archive, "counter"]);
    for point in fail_points::IMAGE {
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        sandbox.docker(&["import", "-c", "ENV PATH=/bin", archive, "made:1"]);
        sandbox.await_death();
        sandbox.start(&[]);
        assert_whole_or_gone(&sandbox, point, "committed");
    }
    for _ in 0..2 {
        sandbox.ok(&["commit", "counter", "made:1"]);
    }
    sandbox.ok(&["stop", "-t", "0", "counter"]);
    assert_no_gap(&sandbox.ok(&["logs", "counter"]));
}

#[test]
fn a_daemon_that_ends_right_after_a_removal_leaves_nothing() {
    let mut sandbox = Sandbox::new();
    sandbox.kill();
    // The monitor has told the exit, and takes its time to clean up.
    sandbox.start(&[("CONEX_FAIL_POINT", "stop:monitor.after-exit-told")]);
    sandbox.ok(&["run", "-d", "--name", "gone", "busybox", "sleep", "1000"]);
    sandbox.ok(&["rm", "--force", "gone"]);
    let is_stopped =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "));
    let stopped = || sandbox.usage().into_iter().map(|usage| usage.pid).find(is_stopped);
    eventually("a monitor that stopped", || stopped().is_some());
    let monitor = stopped().unwrap();
    let goes_on = thread::spawn(move || {
        thread::sleep(Duration::from_millis(500));
        Command::new("kill")
            .args(["-CONT", &monitor.to_string()])
            .status()
            .unwrap()
    });
    // The sandbox ends its daemon in order and looks for what is left.
    drop(sandbox);
    assert!(goes_on.join().unwrap().success());
}
