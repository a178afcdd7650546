//! Monitors execute another `conex-shim` while their containers run: nothing of them is lost, and what goes wrong stays
//! small.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use conex_protocol::fail_points;
use conex_tests::{COUNTER, Sandbox, assert_no_gap, dist, eventually, frames};
use tempfile::TempDir;

/// A daemon, and the `conex-shim` that stands beside it.
struct Programs(TempDir);

impl Programs {
    /// Those to begin with: this `conex-shim` as another build, even where it has the same source as the present one. It
    /// has a byte more at its end, which nobody reads.
    fn with(shim: &Path) -> Self {
        let programs = Self(tempfile::tempdir().unwrap());
        fs::copy(dist().join("conexd"), programs.path().join("conexd")).unwrap();
        let mut bytes = fs::read(shim).unwrap();
        bytes.push(0);
        fs::write(programs.first(), bytes).unwrap();
        fs::set_permissions(programs.first(), fs::metadata(shim).unwrap().permissions()).unwrap();
        programs.put(&programs.first());
        programs
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The `conex-shim` to begin with.
    fn first(&self) -> PathBuf {
        self.path().join("first")
    }

    /// Replaces `conex-shim` as a package does.
    fn put(&self, shim: &Path) {
        let new = self.path().join("conex-shim.new");
        fs::copy(shim, &new).unwrap();
        fs::rename(&new, self.path().join("conex-shim")).unwrap();
    }
}

fn present() -> PathBuf {
    dist().join("conex-shim")
}

/// The program of an earlier commit.
fn previous() -> PathBuf {
    let path = dist().join("../previous/conex-shim");
    assert!(path.exists(), "{} is needed: cargo xtask previous", path.display());
    path
}

/// Which program each of the sandbox's shims runs, by their pids.
fn builds(sandbox: &Sandbox) -> BTreeMap<u32, String> {
    let build = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let environment = String::from_utf8(environment).ok()?;
        let build = environment
            .split('\0')
            .find_map(|variable| variable.strip_prefix("CONEX_SHIM_SEALED="))?;
        Some((pid, build.to_owned()))
    };
    sandbox
        .shim_usage()
        .iter()
        .filter_map(|usage| build(usage.pid))
        .collect()
}

/// How many descriptors each monitor has open, by its pid.
fn descriptors(sandbox: &Sandbox, monitors: &BTreeSet<u32>) -> BTreeMap<u32, usize> {
    let usage = sandbox.shim_usage().into_iter();
    let of_monitors = usage.filter(|usage| monitors.contains(&usage.pid));
    of_monitors.map(|usage| (usage.pid, usage.descriptors)).collect()
}

/// Starts the daemon anew with this `conex-shim`, and waits until the monitors run it, too. They stay the same processes.
fn upgrade(sandbox: &mut Sandbox, programs: &Programs, shim: &Path) -> BTreeSet<u32> {
    let containers = sandbox.ok(&["ps", "-q"]).lines().count();
    // What has only been cloned from a monitor still looks like one.
    eventually("there are monitors and a template", || {
        builds(sandbox).len() == containers + 1
    });
    let before = builds(sandbox);
    sandbox.kill();
    programs.put(shim);
    sandbox.start(&[]);
    eventually("the monitors run the other program", || {
        runs_another(&before, &builds(sandbox))
    });
    let after = builds(sandbox);
    before.keys().filter(|pid| after.contains_key(pid)).copied().collect()
}

/// Whether everybody runs one program, nobody one of before, and all but one, the template, is still there.
fn runs_another(before: &BTreeMap<u32, String>, after: &BTreeMap<u32, String>) -> bool {
    let stayed = before.keys().filter(|pid| after.contains_key(pid)).count();
    let programs: BTreeSet<&String> = after.values().collect();
    stayed + 1 == before.len()
        && after.len() == before.len()
        && programs.len() == 1
        && !before.values().any(|build| programs.contains(build))
}

/// A shell on a terminal.
struct Session(UnixStream);

impl Session {
    /// In a container that runs.
    fn exec(sandbox: &Sandbox, container: &str) -> Self {
        let body = r#"{"AttachStdin":true,"AttachStdout":true,"AttachStderr":true,"Tty":true,"Cmd":["sh"]}"#;
        let exec = create_exec(sandbox, container, body);
        Self(sandbox.hijack(&format!("/v1.50/exec/{exec}/start"), r#"{"Detach":false,"Tty":true}"#))
    }

    /// The first process of a container.
    fn attach(sandbox: &Sandbox, container: &str) -> Self {
        Self(sandbox.hijack(
            &format!("/v1.50/containers/{container}/attach?stream=1&stdin=1&stdout=1"),
            "",
        ))
    }

    fn type_in(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until this text was there.
    fn read_to(&mut self, text: &str) {
        self.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (mut seen, mut buffer) = (String::new(), [0; 4096]);
        while !seen.contains(text) {
            let length = self
                .0
                .read(&mut buffer)
                .unwrap_or_else(|error| panic!("{error} after {seen:?}"));
            assert!(length > 0, "the end after {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    fn is_at_its_end(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        self.0.read_to_end(&mut Vec::new()).is_ok()
    }
}

fn create_exec(sandbox: &Sandbox, container: &str, body: &str) -> String {
    let (status, body) = sandbox.request("POST", &format!("/v1.50/containers/{container}/exec"), body);
    assert_eq!(status, 201, "{body}");
    let created: serde_json::Value = serde_json::from_str(&body).unwrap();
    created["Id"].as_str().unwrap().to_owned()
}

#[test]
fn fifty_containers_are_upgraded_from_the_previous_program_to_the_present_one_and_back() {
    let programs = Programs::with(&previous());
    let mut sandbox = Sandbox::of_programs(programs.path(), &[]);
    let counters: Vec<String> = (0..40).map(|number| format!("counter{number}")).collect();
    let shells: Vec<String> = (0..10).map(|number| format!("shell{number}")).collect();
    for name in &counters {
        sandbox.ok(&["run", "-d", "--name", name, "busybox", "sh", "-c", COUNTER]);
    }
    for name in &shells {
        sandbox.ok(&["run", "-dit", "--name", name, "busybox", "sh"]);
    }
    let mut sessions: Vec<Session> = counters.iter().map(|name| Session::exec(&sandbox, name)).collect();
    sessions.extend(shells.iter().map(|name| Session::attach(&sandbox, name)));
    for session in &mut sessions {
        // What is answered later is what this shell has kept.
        session.type_in("kept=here; echo kept-$((6*7))\n");
        session.read_to("kept-42");
    }
    let watcher = sandbox.hijack("/v1.50/containers/counter0/attach?logs=1&stream=1&stdout=1", "");
    let mut open = BTreeMap::new();
    for (round, shim) in [present(), programs.first(), present()].iter().enumerate() {
        for session in &mut sessions {
            session.type_in(&format!("echo $kept-$(({round}"));
        }
        let monitors = upgrade(&mut sandbox, &programs, shim);
        assert_eq!(monitors.len(), 50);
        for session in &mut sessions {
            session.type_in("+40))\n");
            session.read_to(&format!("here-{}", round + 40));
        }
        // Nothing that was open is lost, and nothing is left open.
        let now = descriptors(&sandbox, &monitors);
        if round > 0 {
            assert_eq!(now, open);
        }
        open = now;
        assert_eq!(sandbox.ok(&["exec", "counter1", "echo", "hi"]), "hi");
        assert_eq!(sandbox.ok(&["ps", "-q"]).lines().count(), 50);
    }
    for session in &mut sessions {
        session.type_in("exit 5\n");
        assert!(session.is_at_its_end());
    }
    for name in &shells {
        assert_eq!(sandbox.ok(&["wait", name]), "5");
    }
    for name in &counters {
        sandbox.ok(&["kill", name]);
        assert_eq!(sandbox.ok(&["wait", name]), "137");
        assert_no_gap(&sandbox.ok(&["logs", name]));
    }
    let (out, err) = frames(watcher);
    assert_no_gap(&out);
    assert_eq!(
        (out.trim_end(), err.as_str()),
        (sandbox.ok(&["logs", "counter0"]).as_str(), "")
    );
    for name in counters.iter().chain(&shells) {
        sandbox.ok(&["rm", name]);
    }
}

/// What a monitor holds in the middle of something.
#[test]
fn what_streams_hold_is_not_lost_in_an_upgrade() {
    let programs = Programs::with(&previous());
    let mut sandbox = Sandbox::of_programs(programs.path(), &[]);
    // Half a line.
    let script = "printf 'half a '; read go; echo line; read go; exit 3";
    sandbox.ok(&["run", "-di", "--name", "half", "busybox", "sh", "-c", script]);
    let mut half = sandbox.hijack("/v1.50/containers/half/attach?stream=1&stdin=1", "");
    // Half of the keys by which a client leaves.
    sandbox.ok(&["run", "-dit", "--name", "left", "busybox", "sh"]);
    let mut left = Session::attach(&sandbox, "left");
    left.type_in("\x10");
    // More output than a client has read, and than it can be sent.
    let script = "read go; i=0; while [ $i -lt 3000 ]; do printf '%0999d\\n' $i; i=$((i+1)); done; sleep 1000";
    sandbox.ok(&["run", "-di", "--name", "talk", "busybox", "sh", "-c", script]);
    let mut stuck = sandbox.hijack("/v1.50/containers/talk/attach?stream=1&stdin=1&stdout=1", "");
    stuck.write_all(b"go\n").unwrap();
    // More input than a process has read.
    let script = "read go < /go; wc -c > /count; sleep 1000";
    let script = format!("mkfifo /go; {script}");
    // The input of one that is created attached ends with its client.
    sandbox.ok(&["create", "-i", "--name", "deaf", "busybox", "sh", "-c", &script]);
    sandbox.ok(&["start", "deaf"]);
    let mut loud = sandbox.hijack("/v1.50/containers/deaf/attach?stream=1&stdin=1", "");
    let shouting = thread::spawn(move || {
        loud.write_all(&[b'x'; 400_000]).unwrap();
        loud
    });
    thread::sleep(Duration::from_millis(300));

    upgrade(&mut sandbox, &programs, &present());

    half.write_all(b"go\n").unwrap();
    eventually("the line is whole", || sandbox.ok(&["logs", "half"]) == "half a line");
    half.write_all(b"go\n").unwrap();
    assert_eq!(sandbox.ok(&["wait", "half"]), "3");
    left.type_in("\x11");
    assert!(left.is_at_its_end());
    assert_eq!(
        sandbox.ok(&["inspect", "--format", "{{.State.Running}}", "left"]),
        "true"
    );
    let mut talked = vec![0; 1008 * 1000];
    stuck.read_exact(&mut talked).unwrap();
    drop(stuck);
    let (out, _) = frames(&talked[..whole_frames(&talked)]);
    let expected: String = (0..3000).map(|number| format!("{number:0999}\n")).collect();
    assert!(expected.starts_with(&out) && out.len() > 900_000, "{}", out.len());
    sandbox.ok(&["exec", "deaf", "sh", "-c", "echo go > /go"]);
    drop(shouting.join().unwrap());
    eventually("all input is counted", || {
        sandbox.docker(&["exec", "deaf", "cat", "/count"]).out == "400000"
    });
}

#[test]
fn execs_go_on_and_what_ended_is_known_after_an_upgrade() {
    let programs = Programs::with(&previous());
    let mut sandbox = Sandbox::of_programs(programs.path(), &[]);
    sandbox.ok(&["run", "-d", "--name", "host", "busybox", "sleep", "1000"]);
    let body = |script: &str| format!(r#"{{"AttachStdin":true,"AttachStdout":true,"Cmd":["sh","-c","{script}"]}}"#);
    let start = |exec: &str| {
        let path = format!("/v1.50/exec/{exec}/start");
        sandbox.hijack(&path, r#"{"Detach":false,"Tty":false}"#)
    };
    let ended = create_exec(&sandbox, "host", &body("exit 6"));
    let open = create_exec(&sandbox, "host", &body("read go; echo went; exit 7"));
    frames(start(&ended));
    let mut execed = start(&open);
    let inspect = |sandbox: &Sandbox, exec: &str| {
        let (_, body) = sandbox.request("GET", &format!("/v1.50/exec/{exec}/json"), "");
        let told: serde_json::Value = serde_json::from_str(&body).unwrap();
        (
            told["Running"].as_bool().unwrap_or_else(|| panic!("{told}")),
            told["ExitCode"].as_i64(),
        )
    };

    eventually("both were started", || {
        (inspect(&sandbox, &ended), inspect(&sandbox, &open)) == ((false, Some(6)), (true, None))
    });

    upgrade(&mut sandbox, &programs, &present());

    assert_eq!(inspect(&sandbox, &ended), (false, Some(6)));
    assert_eq!(inspect(&sandbox, &open), (true, None));
    execed.write_all(b"go\n").unwrap();
    assert_eq!(frames(execed), ("went\n".into(), String::new()));
    eventually("the exec's end", || inspect(&sandbox, &open) == (false, Some(7)));
}

/// The length of the frames of a stream that are whole.
fn whole_frames(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some([_, 0, 0, 0, a, b, c, d]) = bytes.get(at..at + 8) {
        let next = at + 8 + u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if next > bytes.len() {
            break;
        }
        at = next;
    }
    at
}

#[test]
fn a_daemon_killed_while_monitors_are_upgraded_loses_nothing() {
    let programs = Programs::with(&present());
    let mut sandbox = Sandbox::of_programs(programs.path(), &[]);
    let names: Vec<String> = (0..10).map(|number| format!("counter{number}")).collect();
    for name in &names {
        sandbox.ok(&["run", "-d", "--name", name, "busybox", "sh", "-c", COUNTER]);
    }
    for round in 0..20 {
        sandbox.kill();
        programs.put(&if round % 2 == 0 { present() } else { programs.first() });
        sandbox.start(&[]);
        // Another moment in each round.
        thread::sleep(Duration::from_millis(round * 7));
    }
    eventually("everybody runs one program", || {
        let builds = builds(&sandbox);
        builds.len() == 11 && builds.values().collect::<BTreeSet<_>>().len() == 1
    });
    for name in &names {
        sandbox.ok(&["kill", name]);
        assert_eq!(sandbox.ok(&["wait", name]), "137");
        assert_no_gap(&sandbox.ok(&["logs", name]));
    }
}

#[test]
fn a_monitor_lost_in_its_upgrade_leaves_the_others_alone_and_one_that_refuses_goes_on() {
    for point in fail_points::UPGRADE {
        let programs = Programs::with(&present());
        let mut sandbox = Sandbox::of_programs(programs.path(), &[("CONEX_FAIL_POINT", point)]);
        for name in ["one", "other"] {
            sandbox.ok(&["run", "-d", "--name", name, "busybox", "sh", "-c", COUNTER]);
        }
        let before = builds(&sandbox);
        sandbox.kill();
        programs.put(&present());
        sandbox.start(&[]);
        let refuses = *point == "monitor.in-trial";
        let says = if refuses {
            "would not take over"
        } else {
            "a monitor was lost in its upgrade; the others keep their program"
        };
        eventually(&format!("{point} is told of"), || sandbox.log().contains(says));
        let state = |name: &str| {
            let format = "{{.State.Status}} {{.State.ExitCode}}";
            sandbox.ok(&["inspect", "--format", format, name])
        };
        let mut states = [state("one"), state("other")];
        states.sort();
        let expected = if refuses {
            ["running 0", "running 0"]
        } else {
            ["exited 255", "running 0"]
        };
        assert_eq!(states, expected, "{point}");
        // Those that are left run what they ran before, and serve.
        let after = builds(&sandbox);
        let kept = before
            .iter()
            .filter(|(pid, build)| after.get(pid) == Some(build))
            .count();
        assert_eq!(kept, if refuses { 2 } else { 1 }, "{point}");
        for name in sandbox.ok(&["ps", "--format", "{{.Names}}"]).lines() {
            assert_eq!(sandbox.ok(&["exec", name, "echo", "hi"]), "hi");
            sandbox.ok(&["kill", name]);
            assert_no_gap(&sandbox.ok(&["logs", name]));
        }
    }
}
