//! The real Compose with a small project: what it makes, changes and takes away.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use conex_tests::{Said, Sandbox, eventually};
use serde_json::Value;

const PROJECT: &str = r#"
name: small
services:
  store:
    image: busybox
    command: sh -c 'echo $$WORD > /data/word; exec httpd -f -p 80 -h /data'
    environment: { WORD: first }
    volumes: [ "kept:/data" ]
    networks: { back: { aliases: [ shelf ] } }
    stop_signal: SIGKILL
  front:
    image: busybox
    command: sh -c 'echo up; cp /etc/greeting /web/greeting; exec httpd -f -p 80 -h /web'
    depends_on: [ store ]
    networks: [ back, outer ]
    ports: [ "127.0.0.1:8080:80" ]
    volumes: [ "./files:/files:ro", "/web" ]
    tmpfs: [ /scratch ]
    configs: [ { source: greeting, target: /etc/greeting } ]
    labels: { of: front }
    mem_limit: 64m
    stop_grace_period: 1s
configs:
  greeting: { content: "welcome\n" }
networks:
  back: { internal: true }
  outer: {}
volumes:
  kept: { labels: { of: project } }
"#;

struct Project {
    sandbox: Sandbox,
}

impl Project {
    fn new() -> Self {
        Self::of(PROJECT)
    }

    fn of(text: &str) -> Self {
        let sandbox = Sandbox::new();
        fs::write(sandbox.dir().join("compose.yaml"), text).unwrap();
        fs::create_dir(sandbox.dir().join("files")).unwrap();
        fs::write(sandbox.dir().join("files/word"), "of the host").unwrap();
        Self { sandbox }
    }

    /// Runs Compose.
    fn output(&self, arguments: &[&str]) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = root.join("../target/compose/root/usr/libexec/docker/cli-plugins/docker-compose");
        Command::new(&program)
            .current_dir(self.sandbox.dir())
            .env("DOCKER_HOST", format!("unix://{}", self.sandbox.socket().display()))
            .args(["--ansi", "never", "--progress", "plain"])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{} (cargo xtask test fetches it): {error}", program.display()))
    }

    /// Runs Compose, which must succeed; returns what it printed.
    fn compose(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(
            output.status.success(),
            "compose {arguments:?}: {output:?}\n{}",
            self.sandbox.log()
        );
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Services and states of the project's containers.
    fn states(&self) -> Vec<(String, String)> {
        let lines = self.compose(&["ps", "--all", "--format", "json"]);
        let containers = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut states: Vec<_> = containers
            .map(|container| (text(&container["Service"]), text(&container["State"])))
            .collect();
        states.sort();
        states
    }

    /// What the host gets from the published port.
    fn fetched(&self, path: &str) -> Said {
        let address = format!("http://127.0.0.1:8080/{path}");
        self.sandbox
            .in_namespace("curl", &["--silent", "--fail", "--max-time", "5", &address])
    }

    /// Waits until the front service gets this word from the store, by a name of it.
    fn eventually_told(&self, name: &str, word: &str) {
        let address = format!("http://{name}/word");
        eventually("the store's answer", || {
            let said = self
                .sandbox
                .docker(&["exec", "small-front-1", "wget", "-q", "-O", "-", &address]);
            said.out == word
        });
    }

    fn eventually_fetched(&self, path: &str, words: &str) {
        eventually("the published port", || self.fetched(path).out == words);
    }
}

fn states(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(service, state)| ((*service).to_owned(), (*state).to_owned()))
        .collect()
}

#[test]
fn a_small_project_comes_up_talks_and_changes() {
    let project = Project::new();
    let sandbox = &project.sandbox;
    project.compose(&["up", "--detach"]);
    let running = states(&[("front", "running"), ("store", "running")]);
    assert_eq!(project.states(), running);
    project.eventually_told("store", "first");
    project.eventually_told("shelf", "first");
    project.eventually_fetched("greeting", "welcome");
    let script = "cat /files/word; echo; touch /files/x 2>/dev/null || echo read-only; mount | grep -c ' /scratch '";
    assert_eq!(
        project.compose(&["exec", "-T", "front", "sh", "-c", script]),
        "of the host\nread-only\n1"
    );
    assert_eq!(project.compose(&["logs", "--no-log-prefix", "front"]), "up");
    assert_eq!(project.compose(&["port", "front", "80"]), "127.0.0.1:8080");
    assert!(project.compose(&["top", "store"]).contains("httpd -f -p 80"));

    // Nothing changed: nothing is made anew.
    let ids = || {
        sandbox.ok(&[
            "ps",
            "--quiet",
            "--no-trunc",
            "--filter",
            "label=com.docker.compose.service=store",
        ])
    };
    let before = ids();
    project.compose(&["up", "--detach"]);
    assert_eq!(ids(), before);
    // A change makes the service anew, with its volume.
    let changed = PROJECT.replace("WORD: first", "WORD: second");
    fs::write(sandbox.dir().join("compose.yaml"), changed).unwrap();
    project.compose(&["up", "--detach"]);
    assert_ne!(ids(), before);
    project.eventually_told("shelf", "second");
    project.compose(&["down", "--timeout", "0", "--volumes"]);
    sandbox.ok(&["volume", "prune", "--force"]);
    eventually("nothing is left", || sandbox.remains().is_empty());
}

#[test]
fn a_small_project_stops_starts_and_grows() {
    let project = Project::new();
    project.compose(&["up", "--detach"]);
    let running = states(&[("front", "running"), ("store", "running")]);
    project.compose(&["stop"]);
    assert_eq!(project.states(), states(&[("front", "exited"), ("store", "exited")]));
    assert_ne!(project.fetched("greeting").code, 0);
    project.compose(&["start"]);
    assert_eq!(project.states(), running);
    project.eventually_fetched("greeting", "welcome");
    project.compose(&["restart", "--timeout", "0"]);
    project.compose(&["pause", "store"]);
    assert_eq!(project.states(), states(&[("front", "running"), ("store", "paused")]));
    project.compose(&["unpause", "store"]);
    project.compose(&["up", "--detach", "--scale", "store=3"]);
    assert_eq!(project.states().len(), 4);
    let said = project.compose(&["run", "--rm", "--no-deps", "-T", "store", "sh", "-c", "cat /data/word"]);
    assert_eq!(said, "first");
    fs::write(project.sandbox.dir().join("carried"), "carried\n").unwrap();
    project.compose(&["cp", "carried", "front:/web/carried"]);
    project.eventually_fetched("carried", "carried");
    project.compose(&["down", "--timeout", "0", "--volumes"]);
}

#[test]
fn what_a_small_project_kept_outlives_it_until_it_is_asked_for() {
    let project = Project::new();
    let sandbox = &project.sandbox;
    project.compose(&["up", "--detach"]);
    project.compose(&["down", "--timeout", "0"]);
    assert_eq!(sandbox.ok(&["ps", "--all", "--quiet"]), "");
    assert_eq!(
        sandbox.ok(&["volume", "ls", "--quiet", "--filter", "label=of=project"]),
        "small_kept"
    );
    assert_eq!(sandbox.ok(&["network", "ls", "--quiet", "--filter", "name=small"]), "");
    project.compose(&["up", "--detach", "--no-deps", "front"]);
    project.compose(&["down", "--timeout", "0", "--volumes"]);
    assert_eq!(
        sandbox.ok(&["volume", "ls", "--quiet", "--filter", "label=of=project"]),
        ""
    );
    // Of the first time, when no volumes were to be removed.
    assert_eq!(sandbox.ok(&["volume", "ls", "--quiet"]).lines().count(), 1);
    sandbox.ok(&["volume", "prune", "--force"]);
    assert_eq!(sandbox.ok(&["volume", "ls", "--quiet"]), "");
    eventually("nothing is left", || sandbox.remains().is_empty());
}

#[test]
fn a_project_that_is_attached_ends_with_the_service_that_it_waits_for() {
    let project = Project::new();
    let text = r#"
name: waits
services:
  first: { image: busybox, command: "sh -c 'sleep 1; echo made > /shared/made'", volumes: [ "shared:/shared" ] }
  then:
    image: busybox
    command: sh -c 'cat /shared/made; exit 4'
    volumes: [ "shared:/shared" ]
    depends_on: { first: { condition: service_completed_successfully } }
volumes: { shared: {} }
"#;
    fs::write(project.sandbox.dir().join("compose.yaml"), text).unwrap();
    let output = project.output(&["up", "--exit-code-from", "then", "--no-color"]);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let made = out
        .lines()
        .any(|line| line.starts_with("then-1") && line.ends_with("| made"));
    assert!(made, "{out}");
    project.compose(&["down", "--volumes"]);
    eventually("nothing is left", || project.sandbox.remains().is_empty());
}

/// One service waits for another's health, and one is restarted until it is well.
const HEALTHY: &str = r#"
name: healthy
services:
  store:
    image: busybox
    command: sh -c 'sleep 1; touch /ready; exec sleep 1000'
    stop_signal: SIGKILL
    healthcheck: { test: "test -e /ready", interval: 100ms, retries: 100 }
  front:
    image: busybox
    command: sleep 1000
    stop_signal: SIGKILL
    depends_on: { store: { condition: service_healthy } }
  weak:
    image: busybox
    command: sh -c 'echo run >> /runs; exec sleep 1000'
    stop_signal: SIGKILL
    labels: { conex.health-on-failure: restart }
    healthcheck: { test: [ "CMD-SHELL", "test $$(wc -l < /runs) -ge 3" ], interval: 50ms, retries: 2 }
"#;

#[test]
fn services_wait_for_each_others_health_and_are_restarted_for_their_own() {
    let project = Project::of(HEALTHY);
    let sandbox = &project.sandbox;
    project.compose(&["up", "--detach"]);
    let health = |name: &str| sandbox.ok(&["inspect", "--format", "{{.State.Health.Status}}", name]);
    // Compose has waited.
    assert_eq!(health("healthy-store-1"), "healthy");
    let started = |name: &str| sandbox.ok(&["inspect", "--format", "{{.State.StartedAt}}", name]);
    assert!(started("healthy-store-1") < started("healthy-front-1"));
    eventually("the third run", || health("healthy-weak-1") == "healthy");
    assert_eq!(project.compose(&["exec", "-T", "weak", "wc", "-l", "/runs"]), "3 /runs");
    project.compose(&["down"]);
}

#[test]
fn a_service_shares_namespaces_of_another() {
    let project = Project::of(
        r#"
name: small
services:
  store: { image: busybox, command: sleep 600, ipc: shareable }
  front:
    image: busybox
    command: sleep 600
    pid: "service:store"
    ipc: "service:store"
    network_mode: "service:store"
"#,
    );
    project.compose(&["up", "--detach"]);
    let link = |service: &str, kind: &str| {
        let path = format!("/proc/self/ns/{kind}");
        project.compose(&["exec", "-T", service, "readlink", &path])
    };
    for kind in ["pid", "ipc", "net"] {
        assert_eq!(link("front", kind), link("store", kind), "{kind}");
    }
    assert_ne!(link("front", "mnt"), link("store", "mnt"));
    project.compose(&["down", "--timeout", "0"]);
}
