//! Images: loaded, listed, inspected, named; how they came about.

mod filters;
mod inspections;
mod population;

use serde_json::json;

use crate::archives::{Saved, archive, layer};
use crate::harness::{Difference, Pair, Request, delete, get, head, post, with};
use filters::filters;
use inspections::inspections;
use population::population;

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    ("/images/", "/GraphDriver/Data", "layers lie elsewhere"),
    ("/images/", "/Metadata/LastTagTime", "a load tags"),
    (
        "GET /images/json?manifests=1",
        "/Manifests",
        "Docker tells them with another store only",
    ),
    (
        "GET /images/full/json?manifests=1",
        "/Manifests",
        "Docker tells them with another store only",
    ),
    ("/images/", "/DockerVersion", "it says nothing of the image"),
    ("/images/full/json", "/Container", "it says nothing of the image"),
    ("/images/", "/ContainerConfig", "it says nothing of the image"),
    ("GET /images/json?unlabelled", "/Labels", "no labels are told as none"),
    (
        "GET /images/json?filters=%7B%22label%22%3A%7B%22kind%22%3Afalse",
        "",
        "what is false is not asked for",
    ),
    (
        "GET /images/json?filters=%7B%22label%22%3A%5B%5D",
        "",
        "nothing is asked for",
    ),
    (
        "GET /images/json?filters=%7B%22reference%22%3A%5B%22%5B%22",
        "",
        "a fault of the client's is a 400",
    ),
    (
        "GET /images/json?filters=%7B%22reference%22%3A%5B%22%5Ba%22",
        "",
        "a fault of the client's is a 400",
    ),
    (
        "GET /images/json?filters=%7B%22until%22%3A%5B%22x%22",
        "",
        "a fault of the client's is a 400",
    ),
    (
        "GET /images/json?filters=%7B%22until%22%3A%5B%22%22",
        "",
        "a fault of the client's is a 400",
    ),
    (
        "GET /images/json?filters=%7B%22until%22%3A%5B%221990-02%22",
        "",
        "a fault of the client's is a 400",
    ),
    ("POST /images/full/tag?unnamed", "", "a tag without a name is refused"),
    (
        "POST /images/full/tag?repo=a.b_c",
        "",
        "a first part with a dot is a host",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn images_are_answered_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    let images = population();
    let loads: Vec<Request> = images.iter().map(|image| load(&[image])).collect();
    pair.compare(&loads);
    pair.compare(&listings(&images));
    pair.compare(&filters(&images));
    pair.compare(&inspections(&images));
    pair.compare(&histories(&images));
    pair.compare(&tags(&images));
    pair.compare(&oddities());
    pair.finish(
        &[
            ("GET", "/images/json", &[200]),
            ("GET", "/images/{name}/json", &[200, 404]),
            ("GET", "/images/{name}/history", &[200, 404]),
            ("POST", "/images/{name}/tag", &[201, 400, 404, 409]),
        ],
        &[(
            "POST",
            "/images/{name}/tag",
            409,
            "a name that another image has is taken from it",
        )],
    );
}

pub(crate) fn load(images: &[&Saved]) -> Request {
    post("/images/load?quiet=1", archive(images)).header("Content-Type", "application/x-tar")
}

fn listings(images: &[Saved]) -> Vec<Request> {
    let list = |query: &str| get(format!("/images/json{query}"));
    let mut script = vec![
        list(""),
        list("?all=1"),
        list("?all=0"),
        list("?all=x"),
        list("?digests=1"),
        list("?shared-size=1"),
        list("?shared-size=true&all=true&digests=true"),
        list("?shared-size=0"),
        list("?manifests=1"),
        list("?manifests=0&all=1"),
        list("?identity=1"),
        list("?nosuch=1"),
        list("?filter=full"),
        list("?size=1"),
        head("/images/json"),
        post("/images/json", ""),
    ];
    for version in [
        "", "/v1.24", "/v1.25", "/v1.30", "/v1.40", "/v1.41", "/v1.42", "/v1.43", "/v1.44", "/v1.46", "/v1.47",
        "/v1.48", "/v1.49", "/v1.51",
    ] {
        script.push(list("?manifests=1&shared-size=1").version(version));
        script.push(list("?filter=full*&all=1").version(version));
    }
    // A container of one, and an image of a container.
    let made = format!(r#"{{"Image":"{}"}}"#, images[0].id());
    script.extend([
        post("/containers/create?name=made", made).unseen(),
        list(""),
        list("").version("/v1.51"),
        post("/commit?container=made&repo=child&comment=c", ""),
        list(""),
        list("?all=1"),
        list("?all=1&shared-size=1"),
        delete("/images/child").unseen(),
        delete("/containers/made").unseen(),
    ]);
    script
}

fn histories(images: &[Saved]) -> Vec<Request> {
    let history = |name: &str| get(format!("/images/{name}/history"));
    let of_platform = |platform: &str| get(with("/images/full/history", &[("platform", platform)]));
    let id = images[0].id();
    let mut script: Vec<Request> = [
        "full",
        "full:1",
        "team/full:2",
        "busybox",
        "empty:1",
        "null:1",
        "arm:1",
        "bare:1",
        "layerless:1",
        "nosuch",
        "FULL",
        "%20",
    ]
    .into_iter()
    .map(history)
    .collect();
    script.extend([
        history(&id),
        history(&id[7..19]),
        head("/images/full/history"),
        of_platform(r#"{"os":"linux","architecture":"amd64"}"#),
        of_platform(r#"{"os":"linux","architecture":"arm64"}"#),
        of_platform("{"),
        of_platform("linux/amd64"),
        of_platform(r#"{"os":"linux","architecture":"arm64"}"#).version("/v1.47"),
        history("full").version("/v1.24"),
        history("full").version(""),
        history("full").version("/v1.51"),
    ]);
    script
}

fn tags(images: &[Saved]) -> Vec<Request> {
    let tag = |source: &str, parameters: &[(&str, &str)]| post(with(&format!("/images/{source}/tag"), parameters), "");
    let id = images[0].id();
    let (long, longer) = ("t".repeat(128), "t".repeat(129));
    let name_too_long = "n".repeat(256);
    vec![
        tag("full", &[("repo", "mine"), ("tag", "1")]),
        tag("full", &[("repo", "mine")]),
        tag("full", &[("repo", "mine"), ("tag", "")]),
        tag("full", &[("repo", "mine:2")]),
        tag("full", &[("repo", "mine:2"), ("tag", "3")]),
        tag("old:1", &[("repo", "mine"), ("tag", "1")]),
        get("/images/mine:1/json"),
        get("/images/full:1/json"),
        tag("full", &[("repo", "reg.example:5000/a/b"), ("tag", "v1.0_x-Y")]),
        tag("full", &[("repo", "localhost/a")]),
        tag("full", &[("repo", "docker.io/library/official")]),
        tag("full", &[("repo", "index.docker.io/other")]),
        tag("full", &[("repo", "long"), ("tag", &long)]),
        tag(&id, &[("repo", "by-id")]),
        tag(&id[7..19], &[("repo", "by-short-id")]),
        tag(&id, &[("repo", "forced"), ("force", "1")]),
        tag("team/full:2", &[("repo", "slashed")]),
        tag("full", &[("repo", "old"), ("tag", "1")]),
        get("/images/json?all=1"),
        tag("nosuch", &[("repo", "x")]),
        tag("full:nosuch", &[("repo", "x")]),
        tag("FULL", &[("repo", "x")]),
        tag("full", &[("repo", "BAD")]),
        tag("full", &[("repo", "a b")]),
        tag("full", &[("repo", "-a")]),
        tag("full", &[("repo", "a//b")]),
        tag("full", &[("repo", "a"), ("tag", "b c")]),
        tag("full", &[("repo", "a"), ("tag", "-b")]),
        tag("full", &[("repo", "a"), ("tag", "ü")]),
        tag("full", &[("repo", "a"), ("tag", &longer)]),
        tag("full", &[("repo", &name_too_long)]),
        tag("full", &[("repo", &id)]),
        tag("full", &[("repo", &id[7..])]),
        tag("full", &[("repo", &format!("a@{id}"))]),
        tag("full", &[("repo", &format!("a@{id}")), ("tag", "1")]),
        tag("full", &[("repo", "a"), ("tag", &id)]),
        tag("full", &[("repo", "a:b:c")]),
        post("/images/full/tag?unnamed", ""),
        tag("full", &[("unnamed", ""), ("tag", "1")]),
        tag("full", &[("repo", "v24"), ("tag", "1")]).version("/v1.24"),
        tag("full", &[("repo", "unversioned"), ("tag", "1")]).version(""),
        get("/images/json"),
    ]
}

/// What is answered differently with a reason, after all that it would show in.
fn oddities() -> Vec<Request> {
    let unlabelled = json!({
        "architecture": "amd64", "os": "linux", "created": "1990-04-01T00:00:00Z", "config": {"Labels": {}}
    });
    vec![
        load(&[&Saved::new(&["unlabelled:1"], unlabelled, &[layer("x", "x")])]).unseen(),
        get("/images/unlabelled:1/json"),
        get("/images/json?unlabelled&filters=%7B%22reference%22%3A%5B%22unlabelled%22%5D%7D"),
        post("/images/full/tag?repo=a.b_c--d__e%2Ff", "").unseen(),
    ]
}
