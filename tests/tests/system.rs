//! The engine as a whole: what it tells of itself, of what happened, and of the disk that it takes.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use conex_tests::{Engine, Sandbox};
use serde_json::Value;

/// The events of a query, one a line, in few words.
fn events(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let form = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
    let fixed = ["events", "--format", form];
    sandbox.ok(&fixed.iter().chain(arguments).copied().collect::<Vec<_>>())
}

fn now(sandbox: &Sandbox) -> String {
    sandbox.ok(&["info", "--format", "{{.SystemTime}}"])
}

#[test]
fn what_happened_is_known_after_a_crash_of_the_daemon() {
    let mut sandbox = Sandbox::with_busybox(Engine::Conex);
    let since = now(&sandbox);
    sandbox.ok(&["run", "--name", "before", "--network", "none", "busybox", "true"]);
    sandbox.kill();
    sandbox.start(&[]);
    sandbox.ok(&["rm", "before"]);
    let until = now(&sandbox);
    let life = "container create before\ncontainer attach before\nnetwork connect none\ncontainer start before\n\
                network disconnect none\ncontainer die before\n\
                container destroy before";
    assert_eq!(events(&sandbox, &["--since", &since, "--until", &until]), life);
    // Without `--since` all that is past is told.
    let all = events(&sandbox, &["--until", &until]);
    assert!(all.ends_with(life) && all.contains("image load"), "{all}");
    let of_image = events(
        &sandbox,
        &["--since", &since, "--until", &until, "--filter", "image=busybox"],
    );
    let containers: Vec<&str> = life.lines().filter(|line| line.starts_with("container")).collect();
    assert_eq!(of_image.lines().collect::<Vec<_>>(), containers);
}

#[test]
fn events_are_asked_for_in_the_right_order_and_by_known_filters() {
    let sandbox = Sandbox::with_busybox(Engine::Conex);
    let (status, body) = sandbox.request("GET", "/events?since=200&until=100", "");
    assert_eq!(status, 400);
    assert!(body.contains("cannot be after `until` time"), "{body}");
    let (status, body) = sandbox.request(
        "GET",
        "/events?until=1&filters=%7B%22colour%22%3A%5B%22red%22%5D%7D",
        "",
    );
    assert_eq!(
        (status, body.contains("invalid filter 'colour'")),
        (400, true),
        "{body}"
    );
}

#[test]
fn an_engine_keeps_its_id() {
    let mut sandbox = Sandbox::with_busybox(Engine::Conex);
    let id = |sandbox: &Sandbox| sandbox.ok(&["info", "--format", "{{.ID}}"]);
    let before = id(&sandbox);
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(id(&sandbox), before);
    assert_ne!(id(&Sandbox::with_busybox(Engine::Conex)), before);
}

#[test]
fn the_disk_that_is_taken_is_told() {
    let sandbox = Sandbox::with_busybox(Engine::Conex);
    let write = "dd if=/dev/zero of=/file bs=1000 count=1000 2>/dev/null";
    sandbox.ok(&[
        "run",
        "--name",
        "writer",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        write,
    ]);
    sandbox.ok(&["create", "--name", "idle", "--network", "none", "busybox"]);
    let df = |query: &str| -> Value {
        let (status, body) = sandbox.request("GET", &format!("/system/df{query}"), "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let all = df("");
    let image = &all["Images"][0];
    assert_eq!(image["Containers"], 2);
    assert_eq!(image["SharedSize"], 0);
    assert_eq!(all["LayersSize"], image["Size"]);
    let size = |name: &str| {
        let containers = all["Containers"].as_array().unwrap();
        let found = containers.iter().find(|one| one["Names"][0] == name);
        found.unwrap()["SizeRw"].as_u64().unwrap_or(0)
    };
    assert_eq!((size("/writer"), size("/idle")), (1_000_000, 0));
    let only = df("?type=container");
    assert!(only["Images"].is_null() && only["Containers"].is_array(), "{only}");
    assert!(df("?type=image&type=volume")["Containers"].is_null());
    let (status, body) = sandbox.request("GET", "/system/df?type=nosuch", "");
    assert_eq!(
        (status, body.contains("unknown object type: nosuch")),
        (400, true),
        "{body}"
    );
    let table = sandbox.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert_eq!(table, "Images 1 1\nContainers 2 0\nLocal Volumes 0 0\nBuild Cache 0 0");
}
