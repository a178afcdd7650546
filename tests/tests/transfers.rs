//! Pulls and pushes through a proxy that delays, cuts, throttles and corrupts.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../../crates/registry/tests/support/registries.rs"]
mod registries;

use std::time::Duration;

use conex_tests::{Sandbox, archive_of, busybox_layer, compressed, config_of, eventually, layer_of, noise};
use registries::faulty::{Fault, Faulty};
use registries::http::Reply;
use registries::image::{Content, Image, OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST};
use registries::proxy::{Ill, Proxy};
use registries::real::{Access, Protocol, RealRegistry};

fn image(layers: &[Vec<u8>]) -> Image {
    let plain: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    Image {
        config: Content::new(OCI_CONFIG, config_of(&plain)),
        layers: layers
            .iter()
            .map(|layer| Content::new(OCI_LAYER_GZIP, compressed("gzip -1", layer)))
            .collect(),
    }
}

fn count(sandbox: &Sandbox, directory: &str) -> usize {
    std::fs::read_dir(sandbox.dir().join("data").join(directory))
        .unwrap()
        .count()
}

#[test]
fn a_pull_comes_right_through_every_fault() {
    let sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    let layers = [busybox_layer(), layer_of(&[("large", &noise(3_000_000, 0))])];
    let whole = image(&layers);
    registry.add("whole", "latest", &whole);
    let (large, config) = (whole.layers[1].digest().to_string(), whole.config.digest().to_string());
    let bytes: usize = whole.layers.iter().map(|layer| layer.bytes.len()).sum();
    for (request, ill, again) in [
        ("/manifests/", Ill::Delay(Duration::from_millis(300)), 0),
        ("/manifests/", Ill::CutHead, 0),
        ("/manifests/", Ill::Cut(20), 0),
        ("/manifests/", Ill::Corrupt(20), 0),
        (config.as_str(), Ill::CutHead, 0),
        (&config, Ill::Cut(20), 0),
        (&config, Ill::Corrupt(20), 0),
        (&large, Ill::Delay(Duration::from_millis(300)), 0),
        (&large, Ill::CutHead, 0),
        (&large, Ill::Cut(2_000_000), 0),
        // What is not right comes whole again.
        (&large, Ill::Corrupt(2_000_000), whole.layers[1].bytes.len()),
    ] {
        let proxy = Proxy::before(registry.server.address);
        let name = format!("{}/whole", proxy.domain());
        proxy.order(request, ill, 1);
        sandbox.ok(&["pull", "-q", &name]);
        assert_eq!(proxy.outstanding(), 0, "{request} {ill:?}");
        let most = (bytes + again + 200_000) as u64;
        assert!(proxy.down() < most, "{request} {ill:?}: {} of {most}", proxy.down());
        let run = ["run", "--rm", "--network", "none", &name, "sh", "-c", "wc -c < /large"];
        assert_eq!(sandbox.ok(&run), "3000000", "{request} {ill:?}");
        sandbox.ok(&["rmi", &name]);
        eventually("an empty store", || {
            count(&sandbox, "layers") + count(&sandbox, "content/partial") == 0
        });
    }
}

#[test]
fn what_is_corrupt_for_good_is_told_by_its_digest_and_leaves_the_store_as_it_was() {
    let sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    let other = image(&[layer_of(&[("other", b"x")])]);
    registry.add("other", "latest", &other);
    sandbox.ok(&["pull", "-q", &format!("{}/other", registry.domain())]);
    let whole = image(&[layer_of(&[("large", &noise(1_000_000, 0))])]);
    registry.add("whole", "latest", &whole);
    let listed = || sandbox.ok(&["images", "--digests", "--no-trunc"]);
    let before = (
        listed(),
        count(&sandbox, "layers"),
        count(&sandbox, "content/blobs/sha256"),
    );
    let (layer, config) = (whole.layers[0].digest().to_string(), whole.config.digest().to_string());
    for (blob, words) in [
        (
            &layer,
            format!("filesystem layer verification failed for digest {layer}"),
        ),
        (&config, format!("image config verification failed for digest {config}")),
    ] {
        let proxy = Proxy::before(registry.server.address);
        proxy.order(blob, Ill::Corrupt(100), 10);
        let said = sandbox.docker(&["pull", &format!("{}/whole", proxy.domain())]);
        assert!(said.code == 1 && said.err.contains(&words), "{said:?}");
        // It was tried twice.
        assert_eq!(proxy.outstanding(), 8, "{blob}");
        let after = || {
            (
                listed(),
                count(&sandbox, "layers"),
                count(&sandbox, "content/blobs/sha256"),
            )
        };
        eventually("the store as it was", || after() == before);
        assert_eq!(count(&sandbox, "content/partial"), 0);
    }
}

#[test]
fn a_push_comes_right_through_every_fault() {
    let sandbox = Sandbox::beside_registries();
    let other = Sandbox::beside_registries();
    let registry = RealRegistry::start(&sandbox.dir().join("registry"), &Access::Open, &Protocol::Http);
    for (number, (request, ill)) in [
        ("HEAD ", Ill::CutHead),
        ("POST ", Ill::Delay(Duration::from_millis(300))),
        ("POST ", Ill::CutHead),
        ("PATCH ", Ill::CutRequest(1_000_000)),
        ("PATCH ", Ill::CutHead),
        ("PUT ", Ill::CutHead),
        ("/manifests/latest", Ill::CutHead),
    ]
    .into_iter()
    .enumerate()
    {
        let proxy = Proxy::before(registry.address);
        let name = format!("{}/pushed{number}", proxy.domain());
        let layer = layer_of(&[("large", &noise(2_000_000 + number, 0))]);
        let archive = archive_of(&name, &layer);
        let loaded = sandbox.with_input(&["load"], &archive);
        assert_eq!(loaded.code, 0, "{loaded:?}");
        proxy.order(request, ill, 1);
        let said = sandbox.ok(&["push", &name]);
        assert!(said.contains("latest: digest: sha256:"), "{request} {ill:?}: {said}");
        assert_eq!(proxy.outstanding(), 0, "{request} {ill:?}");
        other.ok(&["pull", "-q", &name]);
        let id = |sandbox: &Sandbox| sandbox.ok(&["inspect", "--format", "{{.Id}}", &name]);
        assert_eq!(id(&other), id(&sandbox), "{request} {ill:?}");
    }
}

#[test]
fn a_large_layer_comes_by_several_connections_and_is_gone_on_with() {
    let mut sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    let large = image(&[layer_of(&[("large", &noise(48 << 20, 0))])]);
    registry.add("large", "latest", &large);
    let size = large.layers[0].bytes.len() as u64;
    let proxy = Proxy::throttled(registry.server.address, 8 << 20);
    let name = format!("{}/large", proxy.domain());
    let pull = |sandbox: &Sandbox| {
        let begun = std::time::Instant::now();
        sandbox.ok(&["pull", "-q", &name]);
        begun.elapsed()
    };
    let took = pull(&sandbox);
    assert!(proxy.most() >= 3, "{}", proxy.most());
    assert!(proxy.down() < size + 200_000);
    // One connection takes six seconds.
    assert!(took < Duration::from_millis(4500), "{took:?}");
    sandbox.ok(&["rmi", &name]);
    // Killed in the middle: what was unpacked is kept, what was ahead of it is not.
    let before = proxy.down();
    let mut pulling = sandbox.background(&["pull", &name]);
    eventually("half of it", || proxy.down() - before > size / 2);
    sandbox.kill();
    pulling.wait().unwrap();
    sandbox.start(&[]);
    pull(&sandbox);
    let again = proxy.down() - before - size;
    assert!(again < 24 << 20, "{again}");
    sandbox.ok(&["create", "--name", "made", &name, "x"]);
    let copied = sandbox.docker(&["cp", "made:/large", "-"]);
    assert_eq!(copied.code, 0, "{copied:?}");
}

#[test]
fn what_is_no_image_is_refused_in_dockers_words() {
    let sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    let domain = registry.domain();
    let layer = layer_of(&[("file", b"x")]);
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let schema_1 = r#"{"schemaVersion":1,"name":"old","tag":"latest","architecture":"amd64","fsLayers":[],"history":[],"signatures":[]}"#;
    registry.add_manifest("old", "latest", &Content::new(signed, schema_1));
    let helm = "application/vnd.cncf.helm.config.v1+json";
    let chart = Image {
        config: Content::new(helm, "{}"),
        layers: vec![Content::new(
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            compressed("gzip -1", &layer),
        )],
    };
    registry.add("chart", "latest", &chart);
    let unknown = "application/vnd.example.thing.v1+json";
    registry.add_manifest("thing", "latest", &Content::new(unknown, r#"{"schemaVersion":2}"#));
    assert!(chart.manifest().media_type == OCI_MANIFEST);
    for (name, words) in [
        (
            "old",
            format!(
                "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author \
                 of {domain}/old:latest to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More \
                 information at https://docs.docker.com/go/deprecated-image-specs/"
            ),
        ),
        ("chart", format!("Encountered remote {helm:?}(unknown) when fetching")),
        (
            "thing",
            format!("unsupported manifest media type and no default available: {unknown}"),
        ),
    ] {
        let said = sandbox.docker(&["pull", &format!("{domain}/{name}")]);
        assert!(said.code == 1 && said.err.contains(&words), "{name}: {said:?}");
    }
    assert_eq!(sandbox.ok(&["images", "-aq"]), "");
}

#[test]
fn a_limit_of_pulls_is_told_when_it_is_near_and_when_it_is_reached() {
    let sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    let whole = image(&[layer_of(&[("file", b"x")])]);
    let manifest = registry.add("whole", "latest", &whole);
    let told = |remaining: &str| {
        Reply::new(200, &manifest.media_type, manifest.bytes.clone())
            .header("ratelimit-limit", "100;w=21600")
            .header("ratelimit-remaining", remaining)
    };
    let name = format!("{}/whole", registry.domain());
    for (remaining, is_told) in [("11;w=21600", false), ("10;w=21600", true)] {
        registry.order("/manifests/", Fault::Instead(told(remaining)), 1);
        let said = sandbox.ok(&["pull", &name]);
        assert_eq!(
            said.contains("Rate limit: 10 of 100 pulls left in 6 h"),
            is_told,
            "{said}"
        );
    }
    let refusal = Reply::error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.")
        .header("ratelimit-limit", "100;w=21600")
        .header("ratelimit-remaining", "0;w=21600")
        .header("retry-after", "3600");
    registry.order("/manifests/", Fault::Instead(refusal), 1);
    let said = sandbox.docker(&["pull", &name]);
    let words = "toomanyrequests: You have reached your pull rate limit. (0 of 100 pulls left in 6 h, try again at 20";
    assert!(said.code == 1 && said.err.contains(words), "{said:?}");
}

#[test]
fn a_mirror_serves_a_registry_that_nobody_reaches() {
    let registry = Faulty::start();
    registry.add("team/whole", "latest", &image(&[layer_of(&[("file", b"x")])]));
    // The daemon sees another /etc.
    let etc = tempfile::tempdir().unwrap();
    let hosts = |root: &str, host: &str, text: String| {
        let directory = etc.path().join(root).join("certs.d").join(host);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("hosts.toml"), text).unwrap();
    };
    let mirror = format!(
        "[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]",
        registry.domain()
    );
    hosts("conex", "first.invalid", mirror.clone());
    hosts("docker", "second.invalid", mirror.clone());
    hosts("docker", "first.invalid", "nothing = true".to_owned());
    hosts("conex", "wrong.invalid", "nothing = true".to_owned());
    let mount = format!(
        "mount -t overlay -o lowerdir={}:/etc none /etc && exec \"$@\"",
        etc.path().display()
    );
    let sandbox = Sandbox::beside_registries_by(&["unshare", "--mount", "sh", "-c", &mount, "sh"]);
    for host in ["first.invalid", "second.invalid"] {
        let said = sandbox.ok(&["pull", &format!("{host}/team/whole")]);
        assert!(
            said.contains(&format!("Downloaded newer image for {host}/team/whole:latest")),
            "{said}"
        );
    }
    let said = sandbox.docker(&["pull", "wrong.invalid/team/whole"]);
    let words = "/etc/conex/certs.d/wrong.invalid/hosts.toml: line 1: unknown field `nothing`";
    assert!(said.code == 1 && said.err.contains(words), "{said:?}");
    let said = sandbox.docker(&["pull", "other.invalid/team/whole"]);
    assert!(said.code == 1 && said.err.contains("no such host"), "{said:?}");
}
