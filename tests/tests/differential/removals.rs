//! Images removed: by name, by id, in use, with children; and pruned.

use conex_tests::busybox_layer;
use serde_json::{Value, json};

use crate::archives::{Saved, layer};
use crate::harness::{Difference, Pair, Request, delete, get, post, with};
use crate::images::load;

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    ("/images/", "/GraphDriver/Data", "layers lie elsewhere"),
    ("/images/", "/Metadata/LastTagTime", "a load tags"),
    ("/images/", "/DockerVersion", "it says nothing of the image"),
    (
        "DELETE /images/one:1?platforms=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22amd64%22%7D&platforms",
        "",
        "each of several platforms can be removed",
    ),
    (
        "DELETE /images/nosuch:1?platforms=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22amd64%22%7D&platforms",
        "",
        "each of several platforms can be removed",
    ),
    (
        "POST /commit?container=of-used",
        "/message",
        "the image that is gone is named, not a file of the store",
    ),
    (
        "POST /images/prune?filters=%7B%22until",
        "status",
        "a client's fault is answered with 400",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn removals_of_images_are_answered_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&names());
    pair.compare(&ids());
    pair.compare(&used_by_still());
    pair.compare(&used_by_running());
    pair.compare(&children());
    pair.compare(&prunings());
    pair.finish(
        &[
            ("DELETE", "/images/{name}", &[200, 404, 409]),
            ("POST", "/images/prune", &[200]),
        ],
        &[],
    );
}

/// An image made on this day of a month long ago, of a layer of its own upon busybox's.
fn dated(names: &[&'static str], day: u32, labels: Value) -> Saved {
    let fields = json!({
        "architecture": "amd64", "os": "linux", "created": format!("1990-02-{day:02}T00:00:00Z"),
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": labels},
        "history": [{"created_by": "ADD busybox"}, {"created_by": "COPY one"}]
    });
    let content = format!("{day} {names:?}");
    Saved::new(names, fields, &[busybox_layer(), layer("etc/one", &content)])
}

fn remove(path: &str) -> Request {
    delete(format!("/images/{path}"))
}

/// A removal, and all that is left.
fn shown(removals: Vec<Request>) -> Vec<Request> {
    removals
        .into_iter()
        .flat_map(|removal| [removal, get("/images/json?all=1")])
        .collect()
}

fn names() -> Vec<Request> {
    let several = dated(
        &["several:1", "several:2", "several:latest", "zother:1"],
        1,
        json!({"k": "v"}),
    );
    let one = dated(&["one:1"], 2, json!({"k": "v"}));
    let again = dated(&["again:1", "again:2"], 3, json!({"k": "v"}));
    let mut script = vec![load(&[&several]), load(&[&one]), load(&[&again])];
    script.extend(shown(vec![
        remove("nosuch"),
        remove("nosuch?force=1"),
        remove("several:nosuch"),
        remove("zother"),
        remove("BAD"),
        remove("BAD?force=1"),
        remove("%20"),
        remove(""),
        remove("a/b/c"),
        remove("sever"),
        remove(&format!("several@{}", several.id())),
        remove(&"0".repeat(64)),
        remove("several:1"),
        remove("several:1"),
        remove("several"),
        remove("several:2?noprune=1"),
        remove("zother:1?force=0&noprune=0"),
        remove("docker.io/library/one:1"),
        remove("again:1?force=1"),
        remove("again:2?force=true&noprune=true"),
    ]));
    script.extend(platforms(&one));
    script.push(remove("one:1?force=x").version("/v1.24"));
    script
}

/// One image of a platform, which is named or not.
fn platforms(one: &Saved) -> Vec<Request> {
    let mut script = vec![load(&[one])];
    script.extend(shown(vec![delete(with(
        "/images/one:1",
        &[("platforms", r#"{"os":"linux","architecture":"amd64"}"#)],
    ))]));
    script.push(load(&[one]));
    script.extend(shown(vec![
        delete(with("/images/one:1", &[("platforms", "{")])),
        delete(with("/images/one:1", &[("platforms", "{")])).version("/v1.49"),
    ]));
    script.push(load(&[one]));
    script.extend(shown(vec![
        delete(with("/images/one:1", &[("platforms", r#"{"os":"linux"}"#)])),
        delete(with(
            "/images/one:1",
            &[("platforms", r#"{"os":"linux","architecture":"arm64"}"#)],
        )),
        delete(with(
            "/images/one:1",
            &[
                ("platforms", r#"{"os":"linux","architecture":"amd64"}"#),
                ("force", "1"),
            ],
        )),
    ]));
    script.push(load(&[one]));
    let platform = |architecture: &'static str| match architecture {
        "amd64" => ("platforms", r#"{"os":"linux","architecture":"amd64"}"#),
        _ => ("platforms", r#"{"os":"linux","architecture":"arm64"}"#),
    };
    script.extend(shown(vec![
        delete(with("/images/one:1", &[platform("amd64"), platform("arm64")])),
        delete(with("/images/one:1", &[("platforms", "")])),
        delete(with("/images/nosuch:1", &[platform("amd64")])),
        delete(with("/images/nosuch:1", &[platform("amd64"), platform("arm64")])),
    ]));
    script
}

fn ids() -> Vec<Request> {
    let single = dated(&["single:1"], 4, json!({"k": "v"}));
    let tags = dated(&["tags:1", "tags:2"], 5, json!({"k": "v"}));
    let repositories = dated(&["first:1", "second:1"], 6, json!({"k": "v"}));
    let nameless = dated(&[], 7, json!({"k": "v"}));
    let again = dated(&["short:1"], 8, json!({"k": "v"}));
    let mut script = vec![
        load(&[&single]),
        load(&[&tags]),
        load(&[&repositories]),
        load(&[&nameless]),
        load(&[&again]),
    ];
    script.extend(shown(vec![
        remove(&single.id()),
        remove(&single.id()),
        remove(&tags.id()),
        remove(&format!("{}?force=1", tags.id())),
        remove(&repositories.id()[7..]),
        remove(&format!("{}?force=1&noprune=1", &repositories.id()[7..])),
        remove(&nameless.id()[7..19]),
        remove(&again.id()[..19]),
    ]));
    script
}

fn container(name: &str, image: &str, command: &str) -> Request {
    let body = format!(r#"{{"Image":"{image}","Cmd":["sh","-c","{command}"]}}"#);
    post(format!("/containers/create?name={name}"), body).unseen()
}

fn used_by_still() -> Vec<Request> {
    let used = dated(&["used:1"], 9, json!({"k": "v"}));
    let twice = dated(&["twice:1", "twice:2"], 10, json!({"k": "v"}));
    let ended = dated(&["ended:1"], 11, json!({"k": "v"}));
    let nameless = dated(&[], 12, json!({"k": "v"}));
    let mut script = vec![
        load(&[&used]),
        load(&[&twice]),
        load(&[&ended]),
        load(&[&nameless]),
        container("of-used", "used:1", "cat /etc/one").named("of-used"),
        container("of-twice", "twice:1", "true").named("of-twice"),
        container("of-ended", "ended:1", "true").named("of-ended"),
        container("of-nameless", &nameless.id(), "true").named("of-nameless"),
        post("/containers/of-ended/start", "").unseen(),
        post("/containers/of-ended/wait", "").unseen(),
    ];
    script.extend(shown(vec![
        remove("used:1"),
        remove("docker.io/library/used:1"),
        remove(&used.id()),
        remove(&nameless.id()),
        remove("twice:1"),
        remove("twice:2"),
        remove(&twice.id()),
        remove(&format!("{}?force=1", ended.id())),
        remove("used:1?force=1"),
        remove("twice:2?force=1&noprune=1"),
        remove(&format!("{}?force=1", nameless.id())),
    ]));
    script.extend([
        get("/containers/of-used/json"),
        get("/containers/json?all=1"),
        post("/containers/of-used/start", "").unseen(),
        post("/containers/of-used/wait", "").unseen(),
        get("/containers/of-used/logs?stdout=1"),
        post("/commit?container=of-used&repo=again", ""),
        delete("/containers/of-used").unseen(),
        delete("/containers/of-twice").unseen(),
        delete("/containers/of-ended").unseen(),
        delete("/containers/of-nameless").unseen(),
        get("/images/json?all=1"),
    ]);
    script
}

fn used_by_running() -> Vec<Request> {
    let runs = dated(&["runs:1"], 13, json!({"k": "v"}));
    let twice = dated(&["both:1", "both:2"], 14, json!({"k": "v"}));
    let paused = dated(&["paused:1"], 15, json!({"k": "v"}));
    let mut script = vec![
        load(&[&runs]),
        load(&[&twice]),
        load(&[&paused]),
        container("of-runs", "runs:1", "sleep 1000").named("of-runs"),
        container("of-both", "both:1", "sleep 1000").named("of-both"),
        container("of-paused", "paused:1", "sleep 1000").named("of-paused"),
        post("/containers/of-runs/start", "").unseen(),
        post("/containers/of-both/start", "").unseen(),
        post("/containers/of-paused/start", "").unseen(),
        post("/containers/of-paused/pause", "").unseen(),
    ];
    script.extend(shown(vec![
        remove("runs:1"),
        remove(&runs.id()),
        remove(&format!("{}?force=1", runs.id())),
        remove("runs:1?force=1"),
        remove(&runs.id()),
        remove(&format!("{}?force=1", runs.id())),
        remove("both:1"),
        remove("both:2"),
        remove("both:2?force=1&noprune=1"),
        remove("paused:1"),
        remove(&paused.id()),
        remove(&format!("{}?force=1", paused.id())),
        remove("paused:1?force=1"),
    ]));
    script.extend([
        get("/containers/json?all=1"),
        get("/containers/of-runs/json"),
        delete("/containers/of-runs?force=1").unseen(),
        delete("/containers/of-both?force=1").unseen(),
        delete("/containers/of-paused?force=1").unseen(),
    ]);
    script.extend(shown(vec![
        remove(&runs.id()),
        remove(&twice.id()),
        remove(&paused.id()),
    ]));
    script
}

/// Images that others were made upon.
fn children() -> Vec<Request> {
    let parent = dated(&["parent:1"], 16, json!({"k": "v"}));
    let kept = dated(&["kept:1"], 17, json!({"k": "v"}));
    let mut script = vec![
        load(&[&parent]),
        load(&[&kept]),
        container("of-parent", "parent:1", "echo 1 > /new").named("of-parent"),
        post("/containers/of-parent/start", "").unseen(),
        post("/containers/of-parent/wait", "").unseen(),
        post("/commit?container=of-parent&repo=child&tag=1", "").named("child"),
        // Images of the same second are listed in any order.
        container("of-kept", "kept:1", "sleep 1.1; echo 2 > /other").named("of-kept"),
        post("/containers/of-kept/start", "").unseen(),
        post("/containers/of-kept/wait", "").unseen(),
        post("/commit?container=of-kept&repo=of-kept", "").named("upon-kept"),
        container("pause", "busybox", "sleep 1.1"),
        post("/containers/pause/start", "").unseen(),
        post("/containers/pause/wait", "").unseen(),
        post("/commit?container=of-parent", "").named("nameless"),
        delete("/containers/pause").unseen(),
        delete("/containers/of-parent").unseen(),
        delete("/containers/of-kept").unseen(),
    ];
    script.extend(shown(vec![
        remove(&parent.id()),
        remove(&format!("{}?force=1", parent.id())),
        remove("parent:1"),
        remove(&parent.id()),
        remove("{nameless}"),
        remove("child:1"),
        remove("kept:1?force=1"),
        remove("of-kept?noprune=1"),
        remove(&kept.id()),
    ]));
    script
}

fn prunings() -> Vec<Request> {
    let prune = |filters: &str| post(with("/images/prune", &[("filters", filters)]), "");
    let images = [
        dated(&["keep:1"], 18, json!({"keep": "yes"})),
        dated(&["user:1"], 19, json!({"k": "v"})),
        dated(&["left:1", "left:2"], 20, json!({"kind": "x"})),
        dated(&["right:1"], 21, json!({"kind": "y"})),
        dated(&[], 22, json!({"kind": "x"})),
        dated(&[], 23, json!({"keep": "yes"})),
        dated(&[], 24, json!({"k": "v"})),
    ];
    let mut script: Vec<Request> = images.iter().map(|image| load(&[image])).collect();
    script.extend([
        container("of-user", "user:1", "true"),
        container("of-nameless", &images[6].id(), "true"),
        prune(r#"{"nosuch":["1"]}"#),
        prune(r#"{"dangling":["x"]}"#),
        prune(r#"{"dangling":["true","false"]}"#),
        prune(r#"{"dangling":[]}"#),
        prune(r#"{"until":["x"]}"#),
        prune(r#"{"until":["1h","2h"]}"#),
        prune("{"),
        prune("[]"),
        prune(r#"{"label":"x"}"#),
        prune(r#"{"until":["1990-02-22"]}"#),
        prune(r#"{"label":["nosuch"]}"#),
        prune(r#"{"label":["kind=x"]}"#),
        prune(r#"{"label!":["keep"]}"#),
        post("/images/prune", ""),
        post("/images/prune", ""),
        prune(r#"{"dangling":["1"]}"#),
        prune(r#"{"dangling":["false"],"until":["1990-02-18"]}"#),
        prune(r#"{"dangling":["0"],"label":["kind=y"]}"#).version("/v1.25"),
        prune(r#"{"dangling":["false"],"label!":["keep=yes"]}"#),
        prune(r#"{"dangling":{"false":true}}"#).version(""),
        get("/images/json?all=1"),
    ]);
    script
}
