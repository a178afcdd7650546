//! Images on their way: pulled, pushed, saved, loaded, imported, committed, and what registries and an index tell of them.

use std::path::Path;

use conex_tests::{Engine, Sandbox, busybox_layer, compressed, layer_of};
use serde_json::json;

use crate::archives::{Saved, archive, layer, with_manifest};
use crate::decode::Reading;
use crate::harness::{Difference, Pair, Request, get, post, with};
use crate::images::load;
use crate::registries::encoding::x_registry_auth;
use crate::registries::http::{Reply, Server};
use crate::registries::image::{
    Content, DOCKER_CONFIG, DOCKER_LAYER, Image, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, index,
};
use crate::registries::real::{Access, Protocol, RealRegistry};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    ("/images/", "/GraphDriver/Data", "layers lie elsewhere"),
    ("/images/", "/Metadata/LastTagTime", "a pull tags"),
    (
        "POST /images/create?fromImage={registry}%2Fteam%2Fdocker&tag=latest",
        "/layers/",
        "a layer that came by an archive is not fetched",
    ),
    (
        "POST /images/create?",
        "/message",
        "a name that is none is told as such",
    ),
    (
        "POST /images/create?",
        "status",
        "a name that is none is the client's fault",
    ),
    (
        "POST /images/{registry}/team/docker/push?tag=v1",
        "/lines/",
        "an image that did not change keeps its manifest",
    ),
    (
        "POST /images/{registry}/oci/push?tag=both",
        "/lines/",
        "an image that did not change keeps its manifest",
    ),
    (
        "GET /distribution/{registry}/team/docker:v1/json",
        "/Descriptor/",
        "an image that did not change keeps its manifest",
    ),
    (
        "GET /distribution/{registry}/oci:both/json",
        "/Descriptor/",
        "an image that did not change keeps its manifest",
    ),
    (
        "GET /distribution/{registry}/oci:one/json",
        "/Platforms",
        "its configuration says it",
    ),
];

/// The same of searches.
const OF_SEARCHES: &[Difference] = &[
    (
        "GET /images/search?term={index}%2Fq&limit=-1",
        "",
        "a number out of range is the client's fault",
    ),
    (
        "GET /images/search?",
        "/message",
        "the resolver does not tell which server it asked",
    ),
];

/// The same of archives.
const OF_ARCHIVES: &[Difference] = &[
    (
        "POST /images/load",
        "/stream",
        "Docker tells the ids of earlier loads again",
    ),
    (
        "POST /images/load",
        "/error",
        "what is wrong with an archive is told in its own terms",
    ),
    (
        "GET /images/",
        "/blobs/sha256/<id>/",
        "files of the time before manifests, which no engine of today reads, are not written",
    ),
    (
        "GET /images/",
        "/digest",
        "the manifest's fields stand in another order",
    ),
    ("GET /images/", "/length", "white space"),
    ("GET /images/", "/oci-layout/content", "white space"),
    ("GET /images/", "/repositories/content", "white space"),
    (
        "GET /images/get?names=BAD",
        "status",
        "a name that is none is the client's fault",
    ),
];

/// An image as registries have it, for a platform.
fn image(config_type: &str, layer_type: &str, architecture: &str, layers: &[Vec<u8>]) -> Image {
    let fields = json!({
        "architecture": architecture, "os": "linux", "created": format!("1990-02-{:02}T00:00:00Z", layers.len()),
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"of": architecture}},
    });
    let saved = Saved::new(&[], fields, layers);
    Image {
        config: Content::new(config_type, saved.config()),
        layers: layers
            .iter()
            .map(|layer| Content::new(layer_type, compressed("gzip", layer)))
            .collect(),
    }
}

/// Puts the same into each registry.
fn fill(registry: &RealRegistry) {
    let two = [busybox_layer(), layer("etc/second", "two\n")];
    let docker = image(DOCKER_CONFIG, DOCKER_LAYER, "amd64", &two);
    let oci = image(OCI_CONFIG, OCI_LAYER_GZIP, "amd64", &[layer("oci", "amd64")]);
    let arm = image(OCI_CONFIG, OCI_LAYER_GZIP, "arm64", &[layer("oci", "arm64")]);
    registry.pusher("team/docker", None).image(&docker, "latest");
    registry.pusher("team/docker", None).image(&docker, "v1");
    let pusher = registry.pusher("oci", None);
    let (oci, arm) = (pusher.image(&oci, "one"), pusher.image(&arm, "two"));
    pusher.manifest(
        &index(
            OCI_INDEX,
            &[(&arm, "linux", "arm64", "v8"), (&oci, "linux", "amd64", "")],
        ),
        "both",
    );
    pusher.manifest(&index(OCI_INDEX, &[(&arm, "linux", "s390x", "")]), "foreign");
}

/// Two engines beside a registry each, which have the same.
fn pair(directory: &Path, differences: &[Difference]) -> (Pair, [RealRegistry; 2]) {
    let start = |name: &str| {
        let registry = RealRegistry::start(&directory.join(name), &Access::Open, &Protocol::Http);
        fill(&registry);
        registry
    };
    let registries = ["theirs", "ours"].map(start);
    let mut pair = Pair::beside_registries(differences);
    let [theirs, ours] = registries.each_ref().map(RealRegistry::domain);
    pair.know("registry", theirs, ours);
    (pair, registries)
}

fn pull(parameters: &[(&str, &str)]) -> Request {
    post(
        with("/images/create", parameters).replace("%7Bregistry%7D", "{registry}"),
        "",
    )
    .reading(Reading::Progress)
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn pulls_and_pushes_are_answered_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (mut pair, _registries) = pair(directory.path(), DIFFERENCES);
    pair.compare(&pulls());
    pair.compare(&pushes());
    pair.compare(&distributions());
    pair.finish(
        &[
            ("POST", "/images/create", &[200, 404]),
            ("POST", "/images/{name}/push", &[200, 404]),
            ("GET", "/distribution/{name}/json", &[200, 401]),
        ],
        &[
            (
                "GET",
                "/distribution/{name}/json",
                401,
                "the registry asks for no credentials",
            ),
            ("POST", "/images/{name}/push", 404, "the stream tells it"),
        ],
    );
}

fn pulls() -> Vec<Request> {
    let named = |name: &str| pull(&[("fromImage", name)]);
    let tagged = |name: &str, tag: &str| pull(&[("fromImage", name), ("tag", tag)]);
    let of = |name: &str, tag: &str, platform: &str| pull(&[("fromImage", name), ("tag", tag), ("platform", platform)]);
    let inspect = |name: &str| get(format!("/images/{name}/json"));
    vec![
        tagged("{registry}/team/docker", "latest"),
        inspect("{registry}/team/docker"),
        tagged("{registry}/team/docker", "latest"),
        tagged("{registry}/team/docker", "v1"),
        named("{registry}/team/docker:v1"),
        named("{registry}/team/docker"),
        tagged("{registry}/oci", "both"),
        inspect("{registry}/oci:both"),
        of("{registry}/oci", "both", "linux/amd64"),
        of("{registry}/oci", "both", "linux/s390x"),
        of("{registry}/oci", "both", "nonsense/"),
        of("{registry}/oci", "foreign", ""),
        of("{registry}/oci", "one", "linux/arm64"),
        tagged("{registry}/oci", "nosuch"),
        tagged("{registry}/nosuch", "latest"),
        tagged("{registry}/oci", "BAD TAG"),
        named("{registry}/BAD"),
        named(""),
        pull(&[]),
        tagged(
            "{registry}/oci",
            "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ),
        tagged("127.0.0.1:1/nobody", "latest"),
        tagged("{registry}/team/docker", "latest").header("X-Registry-Auth", "no base64 at all"),
        tagged("{registry}/team/docker", "latest").version("/v1.24"),
        get("/images/json"),
    ]
}

fn pushes() -> Vec<Request> {
    let mine = Saved::new(
        &["mine:1", "mine:2"],
        json!({"architecture": "amd64", "os": "linux", "created": "1990-02-03T00:00:00Z", "config": {"Cmd": ["x"]}}),
        &[layer("mine", "1"), layer("mine", "2")],
    );
    let auth = x_registry_auth("", "");
    let push = |name: &str, query: &str| {
        post(format!("/images/{name}/push{query}"), "")
            .reading(Reading::Progress)
            .header("X-Registry-Auth", &auth)
            .unseen()
    };
    let tag = |name: &str, tag: &str| post(format!("/images/mine:1/tag?repo={name}&tag={tag}"), "").unseen();
    let amd = "%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22amd64%22%7D";
    vec![
        load(&[&mine]),
        tag("{registry}/mine", "1"),
        tag("{registry}/mine", "2"),
        push("{registry}/mine", "?tag=1").named("pushed"),
        push("{registry}/mine", "?tag=1").named("pushed again"),
        push("{registry}/mine", ""),
        push("{registry}/mine:2", ""),
        push("{registry}/mine", "?tag=nosuch"),
        push("{registry}/nosuch", "?tag=1"),
        push("{registry}/nosuch", ""),
        push("{registry}/BAD", ""),
        push("127.0.0.1:1/mine", "?tag=1"),
        push("{registry}/mine", &format!("?tag=1&platform={amd}")),
        push("{registry}/mine", "?tag=1&platform=%7B"),
        push("{registry}/team/docker", "?tag=v1"),
        push("{registry}/oci", "?tag=both"),
        post("/images/{registry}/mine/push?tag=1", "{}")
            .reading(Reading::Progress)
            .version("/v1.24")
            .unseen(),
        post("/images/{registry}/mine/push?tag=1", "")
            .reading(Reading::Progress)
            .unseen(),
    ]
}

fn distributions() -> Vec<Request> {
    let ask = |name: &str| get(format!("/distribution/{name}/json"));
    vec![
        ask("{registry}/team/docker"),
        ask("{registry}/team/docker:v1"),
        ask("{registry}/oci:one"),
        ask("{registry}/oci:both"),
        ask("{registry}/oci:foreign"),
        ask("{registry}/oci:nosuch"),
        ask("{registry}/nosuch"),
        ask("{registry}/BAD"),
        ask("127.0.0.1:1/nobody"),
        ask("{registry}/oci@sha256:0000000000000000000000000000000000000000000000000000000000000000"),
    ]
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn searches_are_answered_the_same() {
    let results = json!({"num_results": 3, "query": "q", "results": [
        {"name": "one", "description": "first", "star_count": 3, "is_official": true, "is_automated": false},
        {"name": "team/two", "description": "", "star_count": 0, "is_official": false, "is_automated": false},
        {"name": "three", "description": "third\nline", "star_count": 30, "is_official": false, "is_automated": true},
    ]});
    let server = Server::start(move |request| {
        let body = if request.path.starts_with("/v1/search") {
            results.to_string()
        } else {
            "{}".to_owned()
        };
        Reply::new(200, "application/json", body)
    });
    let mut pair = Pair::beside_registries(OF_SEARCHES);
    pair.know("index", server.address.to_string(), server.address.to_string());
    let ask = |parameters: &[(&str, &str)]| get(with("/images/search", parameters).replace("%7Bindex%7D", "{index}"));
    let term = ("term", "{index}/q");
    pair.compare(&[
        ask(&[term]),
        ask(&[term, ("limit", "2")]),
        ask(&[term, ("limit", "0")]),
        ask(&[term, ("limit", "101")]),
        ask(&[term, ("limit", "-1")]),
        ask(&[term, ("limit", "x")]),
        ask(&[term, ("filters", r#"{"is-official":["true"]}"#)]),
        ask(&[term, ("filters", r#"{"is-official":["x"]}"#)]),
        ask(&[term, ("filters", r#"{"stars":["3"]}"#)]),
        ask(&[term, ("filters", r#"{"stars":["x"]}"#)]),
        ask(&[term, ("filters", r#"{"nosuch":["x"]}"#)]),
        ask(&[term, ("filters", "{")]),
        ask(&[]),
        ask(&[("term", "")]),
        ask(&[("term", "127.0.0.1:1/q")]),
    ]);
    pair.finish(&[("GET", "/images/search", &[200])], &[]);
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn archives_of_images_are_answered_the_same() {
    let mut pair = Pair::new(OF_ARCHIVES);
    let two = Saved::new(
        &["two:1", "two:latest"],
        json!({"architecture": "amd64", "os": "linux", "created": "1990-02-03T00:00:00Z", "config": {"Cmd": ["x"]}}),
        &[layer("file", "1"), layer("file", "2")],
    );
    let nameless = Saved::new(
        &[],
        json!({"architecture": "amd64", "os": "linux", "created": "1990-02-04T00:00:00Z", "config": {}}),
        &[layer("file", "3")],
    );
    let loaded = |body: Vec<u8>| post("/images/load", body).reading(Reading::Progress);
    let quiet = |body: Vec<u8>| loaded(body);
    let both = archive(&[&two, &nameless]);
    pair.compare(&[
        loaded(both.clone()),
        loaded(both.clone()),
        loaded(compressed("gzip", &both)),
        post("/images/load?quiet=1", both.clone()).reading(Reading::Progress),
        quiet(Vec::new()),
        loaded(b"no archive".to_vec()),
        loaded(layer_of(&[("file", b"nothing of an image")])),
        loaded(with_manifest(&[&two], b"[")),
        loaded(with_manifest(&[&two], br#"[{"Config":"nosuch.json","Layers":[]}]"#)),
    ]);
    let save = |path: &str| get(path.to_owned());
    pair.compare(&[
        save("/images/two/get"),
        save("/images/two:1/get"),
        save("/images/docker.io/library/two:1/get"),
        save("/images/busybox:latest/get"),
        save("/images/get?names=two"),
        save(&format!("/images/{}/get", nameless.id())),
        save(&format!("/images/get?names={}", nameless.id())),
        save("/images/nosuch/get"),
        save("/images/get?names=two:1&names=nosuch"),
        save("/images/get?names=BAD"),
        save("/images/get?names=two:latest"),
        save("/images/get?names=busybox"),
        save("/images/two/get").version("/v1.24"),
        save("/images/get?names=two:latest&names=two:1"),
        save("/images/get?names=two:1&names=two:1"),
        save("/images/busybox/get"),
    ]);
    pair.finish(
        &[
            ("POST", "/images/load", &[200]),
            ("GET", "/images/{name}/get", &[200]),
            ("GET", "/images/get", &[200]),
        ],
        &[],
    );
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn archives_go_from_either_engine_to_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
    let theirs = Sandbox::with_busybox_beside_registries(Engine::Reference(root.into()));
    let ours = Sandbox::with_busybox_beside_registries(Engine::Conex);
    let id = |sandbox: &Sandbox, name: &str| sandbox.ok(&["image", "inspect", "--format", "{{.Id}}", name]);
    for (number, (from, to)) in [(&theirs, &ours), (&ours, &theirs)].into_iter().enumerate() {
        let (name, container) = (format!("made:{number}"), format!("made-{number}"));
        let script = format!("echo {number} >/etc/number; rm /etc/secret; ln /etc/number /etc/same");
        let run = [
            "run",
            "--network",
            "none",
            "--name",
            &container,
            "busybox",
            "sh",
            "-c",
            &script,
        ];
        from.ok(&run);
        from.ok(&["commit", &container, &name]);
        let path = directory.path().join(&container);
        let path = path.to_str().unwrap();
        from.ok(&["save", "-o", path, &name, "busybox"]);
        to.ok(&["load", "-q", "-i", path]);
        assert_eq!(id(from, &name), id(to, &name));
        let shown = [
            "run",
            "--rm",
            "--network",
            "none",
            &name,
            "sh",
            "-c",
            "cat /etc/same; ls /etc/secret || true",
        ];
        assert_eq!(to.ok(&shown), number.to_string());
    }
    // Of several platforms Docker takes the one that is meant where none is said.
    let registry = RealRegistry::start(&directory.path().join("registry"), &Access::Open, &Protocol::Http);
    fill(&registry);
    let name = format!("{}/oci:both", registry.domain());
    ours.ok(&["pull", "-q", "--platform", "linux/arm64", &name]);
    ours.ok(&["pull", "-q", &name]);
    let path = directory.path().join("both.tar");
    ours.ok(&["save", "-o", path.to_str().unwrap(), &name]);
    theirs.ok(&["load", "-q", "-i", path.to_str().unwrap()]);
    assert_eq!(id(&theirs, &name), id(&ours, &name));
}
