//! Images pushed to registries, what registries are asked besides, and what an index is.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../../crates/registry/tests/support/registries.rs"]
mod registries;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use conex_reference::Digest;
use conex_tests::{Sandbox, archive_from, busybox_layer, compressed, config_of, layer_of, noise};
use registries::encoding::{base64, field, x_registry_auth};
use registries::http::{Reply, Request, Server, breaking_off, send};
use registries::image::{
    Content, DOCKER_CONFIG, DOCKER_MANIFEST, Image, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_LAYER_ZSTD,
    OCI_MANIFEST, index,
};
use registries::real::{Access, Protocol, RealRegistry};
use registries::tokens::{Policy, TokenServer};
use serde_json::{Value, json};

fn open_registry(sandbox: &Sandbox) -> RealRegistry {
    RealRegistry::start(&sandbox.dir().join("registry"), &Access::Open, &Protocol::Http)
}

/// Loads an image of these layers under these names, which have tags or get the usual one.
fn load(sandbox: &Sandbox, names: &[&str], layers: &[&[u8]]) {
    let path = sandbox.dir().join("image.tar");
    let tagged = |name: &&str| match name.rsplit_once('/') {
        Some((_, last)) if last.contains(':') => (*name).to_owned(),
        _ => format!("{name}:latest"),
    };
    let names: Vec<String> = names.iter().map(tagged).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fields = r#""config":{"Cmd":["sh"],"Env":["PATH=/bin"]},"history":[]"#;
    fs::write(&path, archive_from(&names, fields, layers)).unwrap();
    sandbox.ok(&["load", "-q", "-i", path.to_str().unwrap()]);
}

/// A layer that does not get smaller by compression.
fn large_layer(length: usize) -> Vec<u8> {
    layer_of(&[("noise", &noise(length, 0))])
}

fn id(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok(&["image", "inspect", "--format", "{{.Id}}", name])
}

/// The digest that a push ended with.
fn pushed_digest(said: &str) -> String {
    let (_, rest) = said.split_once(": digest: ").unwrap_or_else(|| panic!("{said}"));
    rest.split(' ').next().unwrap().to_owned()
}

/// What a registry has under `/v2/`.
fn fetch(registry: &RealRegistry, path: &str) -> (String, Vec<u8>) {
    let accept = [("Accept", format!("{DOCKER_MANIFEST}, {OCI_MANIFEST}, {OCI_INDEX}"))];
    let accept = accept.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (status, headers, body) = send(registry.address, "GET", &format!("/v2/{path}"), &accept, b"").unwrap();
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    let media_type = headers.into_iter().find(|(name, _)| name == "content-type");
    (media_type.unwrap().1, body)
}

#[test]
fn an_image_is_pushed_and_another_daemon_pulls_the_same() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let name = format!("{}/team/app", registry.domain());
    let tag = format!("{name}:v1");
    load(
        &sandbox,
        &[&tag],
        &[&busybox_layer(), &layer_of(&[("etc/second", b"two\n")])],
    );
    let said = sandbox.ok(&["push", &tag]);
    assert!(
        said.starts_with(&format!("The push refers to repository [{name}]")),
        "{said}"
    );
    for words in [": Preparing", ": Pushed", "v1: digest: sha256:", " size: "] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let digest = pushed_digest(&said);
    let (media_type, manifest) = fetch(&registry, "team/app/manifests/v1");
    assert_eq!(Digest::of(&manifest).to_string(), digest);
    assert_eq!(media_type, DOCKER_MANIFEST);
    let parsed: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(parsed["config"]["digest"], json!(id(&sandbox, &tag)));
    assert_eq!(parsed["layers"].as_array().unwrap().len(), 2);
    let digests = sandbox.ok(&["image", "inspect", "--format", "{{json .RepoDigests}}", &tag]);
    assert_eq!(digests, format!(r#"["{name}@{digest}"]"#));

    let other = Sandbox::beside_registries();
    other.ok(&["pull", "-q", &tag]);
    assert_eq!(id(&other, &tag), id(&sandbox, &tag));
    let run = ["run", "--rm", "--network", "none", &tag, "cat", "/etc/second"];
    assert_eq!(other.ok(&run), "two");
    // Neither side sends again what is there: not who pushed it, and not who pulled it.
    for sandbox in [&sandbox, &other] {
        let again = sandbox.ok(&["push", &tag]);
        assert_eq!(again.matches(": Layer already exists").count(), 2, "{again}");
        assert_eq!(pushed_digest(&again), digest);
    }
}

#[test]
fn the_stream_of_a_push_is_dockers() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let name = format!("{}/streamed", registry.domain());
    load(&sandbox, &[&format!("{name}:1")], &[&busybox_layer()]);
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let answer = sandbox.ask("POST", &format!("/v1.47/images/{name}/push?tag=1"), "{}");
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"));
    let lines: Vec<Value> = answer
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines[0],
        json!({"status": format!("The push refers to repository [{name}]")})
    );
    let layer = Digest::of(&busybox_layer()).short();
    assert_eq!(
        lines[1],
        json!({"status": "Preparing", "progressDetail": {}, "id": layer})
    );
    let of_layer: Vec<&Value> = lines.iter().filter(|line| line["id"] == json!(layer)).collect();
    let pushing = of_layer.iter().filter(|line| line["status"] == "Pushing");
    let mut last = 0;
    for line in pushing {
        let current = line["progressDetail"]["current"].as_u64().unwrap();
        assert!(current >= last && line["progress"].is_string(), "{line}");
        last = current;
    }
    assert!(last >= busybox_layer().len() as u64 - 10_240, "{last}");
    assert_eq!(of_layer.last().unwrap()["status"], "Pushed");
    let (digest, size) = (
        lines.last().unwrap()["aux"]["Digest"].clone(),
        lines.last().unwrap()["aux"]["Size"].clone(),
    );
    assert_eq!(
        lines.last().unwrap(),
        &json!({"progressDetail": {}, "aux": {"Tag": "1", "Digest": digest, "Size": size}})
    );
    let told = format!("1: digest: {} size: {size}", digest.as_str().unwrap());
    assert_eq!(lines[lines.len() - 2], json!({"status": told}));

    let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 1;
    let (_, events) = sandbox.request("GET", &format!("/v1.47/events?since={before}&until={until}"), "");
    let pushes: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["Action"] == "push")
        .map(|event| event["Actor"].clone())
        .collect();
    assert_eq!(
        pushes,
        [json!({"ID": format!("{name}:1"), "Attributes": {"name": name}})]
    );
}

#[test]
fn all_tags_are_pushed_where_none_is_named() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let name = format!("{}/many", registry.domain());
    let (one, two) = (format!("{name}:one"), format!("{name}:two"));
    load(&sandbox, &[&one, &two], &[&layer_of(&[("a", b"1")])]);
    let three = format!("{name}:three");
    load(
        &sandbox,
        &[&three],
        &[&layer_of(&[("a", b"1")]), &layer_of(&[("b", b"2")])],
    );
    sandbox.ok(&["tag", &one, &format!("{}/elsewhere:four", registry.domain())]);
    let said = sandbox.ok(&["push", "-a", &name]);
    for tag in ["one", "two", "three"] {
        assert!(said.contains(&format!("{tag}: digest: sha256:")), "{tag}: {said}");
    }
    assert_eq!(said.matches(": Pushed").count(), 2, "{said}");
    let (_, tags) = fetch(&registry, "many/tags/list");
    let tags: Value = serde_json::from_slice(&tags).unwrap();
    let mut tags: Vec<&str> = tags["tags"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, ["one", "three", "two"]);
}

#[test]
fn layers_of_a_neighbour_are_mounted() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let (one, two) = (
        format!("{}/one", registry.domain()),
        format!("{}/team/two", registry.domain()),
    );
    load(&sandbox, &[&one, &two], &[&busybox_layer()]);
    let first = sandbox.ok(&["push", &one]);
    let second = sandbox.ok(&["push", &two]);
    assert!(second.contains(": Mounted from one"), "{second}");
    assert_eq!(pushed_digest(&second), pushed_digest(&first));
    let other = Sandbox::beside_registries();
    other.ok(&["pull", "-q", &two]);
    assert_eq!(id(&other, &two), id(&sandbox, &two));
}

#[test]
fn more_layers_than_uploads_wait_for_their_turn() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let name = format!("{}/layered", registry.domain());
    let layers: Vec<Vec<u8>> = (0..8_u8).map(|n| layer_of(&[(&format!("file{n}"), &[n; 9])])).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    load(&sandbox, &[&name], &layers);
    let said = sandbox.ok(&["push", &name]);
    assert_eq!(said.matches(": Preparing").count(), 8, "{said}");
    assert_eq!(said.matches(": Waiting").count(), 3, "{said}");
    assert_eq!(said.matches(": Pushed").count(), 8, "{said}");
    let other = Sandbox::beside_registries();
    other.ok(&["pull", "-q", &name]);
    assert_eq!(id(&other, &name), id(&sandbox, &name));
}

/// A directory for the client's configuration with this login.
fn login(sandbox: &Sandbox, domain: &str, username: &str, password: &str) -> String {
    let dir = sandbox.dir().join(format!("client-{password}"));
    fs::create_dir_all(&dir).unwrap();
    let auth = base64(format!("{username}:{password}").as_bytes());
    let config = json!({"auths": {domain: {"auth": auth}}});
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    dir.to_str().unwrap().to_owned()
}

#[test]
fn only_who_may_push_does() {
    let sandbox = Sandbox::beside_registries();
    let account = Access::Basic {
        username: "me",
        password: "pass",
    };
    let registry = RealRegistry::start(&sandbox.dir().join("basic"), &account, &Protocol::Http);
    let domain = registry.domain();
    let name = format!("{domain}/private");
    load(&sandbox, &[&name], &[&busybox_layer()]);
    let anonymous = sandbox.docker(&["push", &name]);
    assert_eq!(
        (anonymous.err.as_str(), anonymous.code),
        ("no basic auth credentials", 1),
        "{anonymous:?}"
    );
    let wrong = login(&sandbox, &domain, "me", "wrong");
    let refused = sandbox.docker(&["--config", &wrong, "push", &name]);
    assert_eq!(
        (refused.err.as_str(), refused.code),
        ("unauthorized: authentication required", 1),
        "{refused:?}"
    );
    let right = login(&sandbox, &domain, "me", "pass");
    let said = sandbox.ok(&["--config", &right, "push", &name]);
    assert!(said.contains("latest: digest: sha256:"), "{said}");
}

#[test]
fn tokens_are_asked_for_that_let_push() {
    let sandbox = Sandbox::beside_registries();
    let policy = Policy::Account {
        username: "me".to_owned(),
        password: "pass".to_owned(),
    };
    let tokens = TokenServer::start(&sandbox.dir().join("tokens"), policy);
    let registry = RealRegistry::start(&sandbox.dir().join("bearer"), &Access::Bearer(&tokens), &Protocol::Http);
    let domain = registry.domain();
    let (one, two) = (format!("{domain}/one"), format!("{domain}/two"));
    load(&sandbox, &[&one, &two], &[&busybox_layer()]);
    let refused = sandbox.docker(&["push", &one]);
    let denied = "denied: requested access to the resource is denied";
    assert_eq!((refused.err.as_str(), refused.code), (denied, 1), "{refused:?}");
    let config = login(&sandbox, &domain, "me", "pass");
    let said = sandbox.ok(&["--config", &config, "push", &one]);
    assert!(
        said.contains(": Pushed") && said.contains("latest: digest: sha256:"),
        "{said}"
    );
    let said = sandbox.ok(&["--config", &config, "push", &two]);
    assert!(said.contains(": Mounted from one"), "{said}");
}

#[test]
fn what_cannot_be_pushed_is_told() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let name = format!("{}/there", registry.domain());
    let absent = format!("{}/absent", registry.domain());
    load(
        &sandbox,
        &[&format!("{name}:1"), "127.0.0.1:1/nowhere:latest"],
        &[&layer_of(&[("a", b"1")])],
    );
    let refused = |arguments: &[&str]| {
        let said = sandbox.docker(arguments);
        assert_eq!(said.code, 1, "{said:?}");
        said.err
    };
    assert_eq!(
        refused(&["push", &format!("{absent}:1")]),
        format!("An image does not exist locally with the tag: {absent}")
    );
    assert_eq!(
        refused(&["push", &format!("{name}:2")]),
        format!("tag does not exist: {name}:2")
    );
    assert_eq!(
        refused(&["push", "127.0.0.1:1/nowhere"]),
        "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused"
    );
}

#[test]
fn what_is_no_request_for_a_push_is_refused() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let name = format!("{}/there", registry.domain());
    load(&sandbox, &[&format!("{name}:1")], &[&layer_of(&[("a", b"1")])]);
    let digest = pushed_digest(&sandbox.ok(&["push", &format!("{name}:1")]));
    let push = |path: &str| sandbox.request("POST", &format!("/v1.47/images/{path}"), "{}");
    let (status, body) = push(&format!("{name}@{digest}/push"));
    assert!(
        status == 200 && body.contains("cannot push a digest reference"),
        "{status} {body}"
    );
    for (path, status, words) in [
        (format!("{name}/push?tag=a:b"), 400, "invalid tag format"),
        (
            "UPPER/push?tag=1".to_owned(),
            400,
            "invalid reference format: repository name (library/UPPER) must be lowercase",
        ),
        (
            format!("{name}/push?tag=1&platform=%7B%22os%22%3A%22linux%22%7D"),
            400,
            "both OS and Architecture must be provided",
        ),
        (
            format!("{name}/push?tag=1&platform=x"),
            400,
            "failed to parse platform: invalid character 'x' looking for beginning of value",
        ),
    ] {
        assert_eq!(
            push(&path),
            (status, format!("{}\n", json!({"message": words}))),
            "{path}"
        );
    }
    let foreign = "%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22s390x%22%7D";
    let (status, body) = push(&format!("{name}/push?tag=1&platform={foreign}"));
    assert!(
        status == 404 && body.contains("does not match the specified platform (linux/s390x)"),
        "{body}"
    );
    let own = foreign.replace("s390x", "amd64");
    let (status, body) = push(&format!("{name}/push?tag=1&platform={own}"));
    assert!(status == 200 && body.contains(&digest), "{body}");
}

#[test]
fn credentials_that_cannot_be_read_count_as_none() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let name = format!("{}/open", registry.domain());
    load(&sandbox, &[&name], &[&layer_of(&[("a", b"1")])]);
    let post = |path: &str| {
        let reply = sandbox.exchange(&conex_tests::Question {
            method: "POST",
            path: &format!("/v1.47/images/{path}"),
            headers: &[("X-Registry-Auth".to_owned(), "%%".to_owned())],
            body: b"",
            input: None,
            frames: &[],
            lines: usize::MAX,
            patience: std::time::Duration::from_secs(60),
        });
        (reply.status, String::from_utf8(reply.body).unwrap())
    };
    let (status, said) = post(&format!("{name}/push?tag=latest"));
    assert!(status == 200 && said.contains("latest: digest: sha256:"), "{said}");
    sandbox.ok(&["rmi", &name]);
    let (status, said) = post(&format!("create?fromImage={name}&tag=latest"));
    assert!(status == 200 && said.contains("Downloaded newer image"), "{said}");
}

#[test]
fn a_push_that_breaks_off_goes_on() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let proxy = breaking_off(registry.address, 1_000_000, 1);
    let name = format!("{proxy}/broken");
    load(&sandbox, &[&name], &[&large_layer(3_000_000)]);
    let said = sandbox.ok(&["push", &name]);
    assert!(
        said.contains(": Retrying in ") && said.contains("latest: digest: sha256:"),
        "{said}"
    );
    let other = Sandbox::beside_registries();
    other.ok(&["pull", "-q", &name]);
    assert_eq!(id(&other, &name), id(&sandbox, &name));
}

#[test]
fn a_registry_that_dies_halfway_is_told_and_takes_the_image_when_it_is_back() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    // All connections that send much break off.
    let proxy = breaking_off(registry.address, 500_000, usize::MAX);
    let small = layer_of(&[("small", b"x")]);
    let name = format!("{proxy}/dying");
    load(&sandbox, &[&name], &[&small, &large_layer(2_000_000)]);
    let said = sandbox.docker(&["push", &name]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(!said.err.is_empty() && !said.out.contains("digest:"), "{said:?}");
    let whole = format!("{}/dying", registry.domain());
    sandbox.ok(&["tag", &name, &whole]);
    assert!(sandbox.ok(&["push", &whole]).contains("latest: digest: sha256:"));
    let other = Sandbox::beside_registries();
    other.ok(&["pull", "-q", &whole]);
    assert_eq!(id(&other, &whole), id(&sandbox, &whole));
}

#[test]
fn a_client_that_goes_away_ends_its_push() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let name = format!("{}/left", registry.domain());
    load(&sandbox, &[&name], &[&large_layer(30_000_000)]);
    let mut push = sandbox.background(&["push", &name]);
    std::thread::sleep(std::time::Duration::from_millis(150));
    push.kill().unwrap();
    push.wait().unwrap();
    // The image can be pushed and removed as if nothing had been.
    assert!(sandbox.ok(&["push", &name]).contains("latest: digest: sha256:"));
    sandbox.ok(&["rmi", &name]);
    assert_eq!(sandbox.ok(&["images", "-aq"]), "");
}

fn two_layers() -> Image {
    let (first, second) = (layer_of(&[("first", b"1\n")]), layer_of(&[("second", b"2\n")]));
    Image {
        config: Content::new(OCI_CONFIG, config_of(&[&first, &second])),
        layers: vec![
            Content::new(OCI_LAYER_GZIP, compressed("gzip", &first)),
            Content::new(OCI_LAYER_ZSTD, compressed("zstd", &second)),
        ],
    }
}

#[test]
fn an_image_keeps_its_digest_within_a_registry_and_over_restarts() {
    let mut sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let manifest = registry.pusher("origin", None).image(&two_layers(), "latest");
    let (origin, copy) = (
        format!("{}/origin", registry.domain()),
        format!("{}/team/copy", registry.domain()),
    );
    sandbox.ok(&["pull", "-q", &origin]);
    sandbox.kill();
    sandbox.start(&[]);
    sandbox.ok(&["tag", &origin, &copy]);
    let said = sandbox.ok(&["push", &copy]);
    assert_eq!(said.matches(": Mounted from origin").count(), 2, "{said}");
    assert_eq!(pushed_digest(&said), manifest.digest().to_string());
    assert_eq!(
        fetch(&registry, "team/copy/manifests/latest"),
        (OCI_MANIFEST.to_owned(), manifest.bytes)
    );
}

#[test]
fn what_a_registry_has_is_told_without_a_pull() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let pusher = registry.pusher("multi", None);
    // Of an OCI manifest Docker tells no platform.
    let image = Image {
        config: Content::new(DOCKER_CONFIG, two_layers().config.bytes),
        ..two_layers()
    };
    let manifest = pusher.image(&image, "one");
    let both = index(
        OCI_INDEX,
        &[(&manifest, "linux", "arm", "v7"), (&manifest, "linux", "amd64", "")],
    );
    pusher.manifest(&both, "latest");
    let ask = |name: &str| {
        let (status, body) = sandbox.request("GET", &format!("/v1.47/distribution/{name}/json"), "");
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let name = format!("{}/multi", registry.domain());
    let descriptor = |content: &Content| {
        let digest = content.digest().to_string();
        json!({"mediaType": content.media_type, "digest": digest, "size": content.bytes.len()})
    };
    let amd64 = json!({"os": "linux", "architecture": "amd64"});
    let arm = json!({"os": "linux", "architecture": "arm", "variant": "v7"});
    assert_eq!(
        ask(&name),
        (200, json!({"Descriptor": descriptor(&both), "Platforms": [arm, amd64]}))
    );
    for name in [format!("{name}:one"), format!("{name}@{}", manifest.digest())] {
        let expected = json!({"Descriptor": descriptor(&manifest), "Platforms": [amd64]});
        assert_eq!(ask(&name), (200, expected), "{name}");
    }
    let message = |words: &str| json!({"message": words});
    let unknown = message("manifest unknown: manifest unknown");
    for absent in [format!("{name}:absent"), format!("{}/absent", registry.domain())] {
        assert_eq!(ask(&absent), (404, unknown.clone()), "{absent}");
    }
    assert_eq!(ask("a:b:c"), (400, message("invalid reference format")));
    assert_eq!(sandbox.ok(&["images", "-aq"]), "");
    assert_eq!(
        sandbox
            .request("POST", &format!("/v1.47/distribution/{name}/json"), "")
            .0,
        404
    );
}

#[test]
fn what_a_private_registry_has_is_told_to_whom_it_trusts() {
    let sandbox = Sandbox::beside_registries();
    let account = Access::Basic {
        username: "me",
        password: "pass",
    };
    let registry = RealRegistry::start(&sandbox.dir().join("basic"), &account, &Protocol::Http);
    let authorization = registries::encoding::basic("me", "pass");
    let manifest = registry
        .pusher("private", Some(&authorization))
        .image(&two_layers(), "latest");
    let ask = |password: &str| {
        // Docker takes it with its padding only.
        let mut header = x_registry_auth("me", password);
        header.extend(std::iter::repeat_n('=', header.len().wrapping_neg() % 4));
        let auth = [("X-Registry-Auth".to_owned(), header)];
        let path = format!("/v1.47/distribution/{}/private/json", registry.domain());
        let reply = sandbox.exchange(&conex_tests::Question {
            method: "GET",
            path: &path,
            headers: &auth,
            body: b"",
            input: None,
            frames: &[],
            lines: usize::MAX,
            patience: std::time::Duration::from_secs(60),
        });
        (reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap())
    };
    let (status, answer) = ask("pass");
    assert_eq!(
        (status, &answer["Descriptor"]["digest"]),
        (200, &json!(manifest.digest().to_string()))
    );
    assert_eq!(
        ask("wrong"),
        (401, json!({"message": "unauthorized: authentication required"}))
    );
}

/// An index that knows three repositories.
fn known(request: &Request) -> Reply {
    let result = |name: &str, stars: u32, official: bool| {
        json!({"name": name, "description": format!("All of {name}"), "star_count": stars, "is_official": official,
               "is_automated": true, "is_trusted": false})
    };
    let results = [
        result("thing", 10, true),
        result("team/thing", 3, false),
        result("a/thing", 1, false),
    ];
    let body = json!({"query": "thing", "num_results": 3, "results": results}).to_string();
    match request.path.as_str() {
        "/v1/_ping" => Reply::new(200, "application/json", "true"),
        "/v1/search" => Reply::new(200, "application/json", body),
        _ => Reply::new(404, "text/plain", "no page"),
    }
}

#[test]
fn an_index_is_searched() {
    let sandbox = Sandbox::beside_registries();
    let server = Server::start(known);
    let term = format!("{}/some%20thing", server.address);
    let search = |query: &str| {
        let (status, body) = sandbox.request("GET", &format!("/v1.47/images/search?term={term}{query}"), "");
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let result = |name: &str, stars: u32, official: bool| {
        json!({"name": name, "description": format!("All of {name}"), "star_count": stars, "is_official": official,
               "is_automated": false})
    };
    let all = [
        result("thing", 10, true),
        result("team/thing", 3, false),
        result("a/thing", 1, false),
    ];
    assert_eq!(search(""), (200, json!(all)));
    let asked = |at: usize| {
        let requests = server.requests();
        let searches: Vec<&Request> = requests.iter().filter(|request| request.path == "/v1/search").collect();
        let query = &searches[at].query;
        (field(query, "q").unwrap(), field(query, "n").unwrap())
    };
    assert_eq!(asked(0), ("some thing".to_owned(), "25".to_owned()));
    assert_eq!(search("&limit=7"), (200, json!(all)));
    assert_eq!(asked(1).1, "7");
    let filtered = |filters: Value| search(&format!("&filters={}", filters.to_string().replace('"', "%22")));
    assert_eq!(filtered(json!({"stars": ["3"]})), (200, json!(all[..2])));
    assert_eq!(filtered(json!({"is-official": ["false"]})), (200, json!(all[1..])));
    assert_eq!(filtered(json!({"is-automated": ["true"]})), (200, json!([])));
    let name = format!("{}/thing", server.address);
    let format = [
        "search",
        "--filter",
        "stars=3",
        "--format",
        "{{.Name}} {{.StarCount}} {{.IsOfficial}}",
        &name,
    ];
    assert_eq!(sandbox.ok(&format), "thing 10 [OK]\nteam/thing 3");
}

#[test]
fn what_cannot_be_searched_is_told() {
    let sandbox = Sandbox::beside_registries();
    let server = Server::start(|request| match request.path.as_str() {
        "/v1/_ping" => Reply::new(200, "application/json", "true"),
        _ => Reply::new(200, "text/html", "<html>"),
    });
    let search = |query: &str| sandbox.request("GET", &format!("/v1.47/images/search?{query}"), "");
    let refused = "dial tcp 127.0.0.1:1: connect: connection refused";
    let nobody = format!(
        "invalid registry endpoint \"http://127.0.0.1:1/v1/\". HTTPS attempt: Get \"https://127.0.0.1:1/v1/_ping\": \
         {refused}. HTTP attempt: Get \"http://127.0.0.1:1/v1/_ping\": {refused}"
    );
    for (query, status, words) in [
        ("term=x&limit=101", 400, "limit 101 is outside the range of [1, 100]"),
        (
            "term=x&limit=x",
            400,
            "invalid limit specified: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        ("term=x&filters=x", 400, "invalid filter"),
        (
            "term=x&filters=%7B%22no%22%3A%5B%22x%22%5D%7D",
            400,
            "invalid filter 'no'",
        ),
        (
            "term=x&filters=%7B%22stars%22%3A%5B%22x%22%5D%7D",
            400,
            "invalid filter 'stars=x': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "term=x&filters=%7B%22is-official%22%3A%5B%22x%22%5D%7D",
            400,
            "invalid filter 'is-official=[x]'",
        ),
        (
            "term=https://a/b",
            400,
            "invalid repository name: repository name (https://a/b) should not have a scheme",
        ),
        ("term=127.0.0.1:1/x", 400, &nobody),
    ] {
        assert_eq!(
            search(query),
            (status, format!("{}\n", json!({"message": words}))),
            "{query}"
        );
    }
    let (status, body) = search(&format!("term={}/x", server.address));
    assert!(
        status == 500 && body.contains("error decoding registry search results: "),
        "{status} {body}"
    );
}
