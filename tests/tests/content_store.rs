//! The content store as other programs read it in place, what is kept in it, and what is found wrong with it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../../crates/registry/tests/support/registries.rs"]
mod registries;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use conex_protocol::fail_points;
use conex_reference::Digest;
use conex_tests::{Engine, Sandbox, archive_from, busybox_layer, compressed, config_of, eventually, layer_of};
use registries::encoding::basic;
use registries::image::{
    Content, DOCKER_CONFIG, DOCKER_LAYER, Image, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST,
    index,
};
use registries::proxy::{Ill, Proxy};
use registries::real::{Access, Protocol, RealRegistry};
use serde_json::Value;

fn open_registry(sandbox: &Sandbox) -> RealRegistry {
    RealRegistry::start(&sandbox.dir().join("registry"), &Access::Open, &Protocol::Http)
}

/// An image of two layers, compressed in two ways.
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

/// An image of one layer with Docker's media types.
fn of_dockers_types() -> Image {
    let layer = layer_of(&[("third", b"3\n")]);
    Image {
        config: Content::new(DOCKER_CONFIG, config_of(&[&layer])),
        layers: vec![Content::new(DOCKER_LAYER, compressed("gzip", &layer))],
    }
}

fn content(sandbox: &Sandbox) -> PathBuf {
    sandbox.dir().join("data/content")
}

/// Runs a program and gives its standard output.
fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    output.stdout
}

/// The manifest by which `skopeo` knows an image in the store.
fn manifest_in_place(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    let source = format!("oci:{}:{name}", content(sandbox).display());
    run("skopeo", &["inspect", "--raw", &source])
}

/// Names by which other programs know images in the store.
fn names_in_place(sandbox: &Sandbox) -> Vec<String> {
    let names = run("umoci", &["ls", "--layout", content(sandbox).to_str().unwrap()]);
    let mut names: Vec<String> = String::from_utf8(names).unwrap().lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// The entries of `index.json`: digest, name as containerd writes it, name as others ask for it.
fn listed(sandbox: &Sandbox) -> Vec<(String, Option<String>, Option<String>)> {
    let index = fs::read(content(sandbox).join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let entries = index["manifests"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let annotations = &entry["annotations"];
            (
                text(&entry["digest"]).unwrap(),
                text(&annotations["io.containerd.image.name"]),
                text(&annotations["org.opencontainers.image.ref.name"]),
            )
        })
        .collect()
}

fn load(sandbox: &Sandbox, name: &str, layers: &[&[u8]]) {
    let path = sandbox.dir().join("image.tar");
    let fields = r#""config":{"Cmd":["sh"],"Env":["PATH=/bin"]},"history":[]"#;
    fs::write(&path, archive_from(&[name], fields, layers)).unwrap();
    sandbox.ok(&["load", "-q", "-i", path.to_str().unwrap()]);
}

#[test]
fn the_content_store_is_a_layout_that_other_programs_read() {
    let mut sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let manifest = registry.pusher("team/app", None).image(&two_layers(), "v1");
    let docker = registry.pusher("old", None).image(&of_dockers_types(), "latest");
    let (app, old) = (
        format!("{}/team/app:v1", registry.domain()),
        format!("{}/old:latest", registry.domain()),
    );
    sandbox.ok(&["pull", "-q", &app]);
    sandbox.ok(&["pull", "-q", &old]);
    load(&sandbox, "made:1", &[&busybox_layer()]);
    sandbox.ok(&["tag", "made:1", "other:2"]);
    let mut expected = vec![app.clone(), old.clone(), "made:1".to_owned(), "other:2".to_owned()];
    expected.sort();
    eventually("all names", || names_in_place(&sandbox) == expected);
    // As it came, to the byte.
    assert_eq!(manifest_in_place(&sandbox, &app), manifest.bytes);
    // Docker's own type, which programs do not take by a name, in OCI's words: the same blobs.
    let translated: Value = serde_json::from_slice(&manifest_in_place(&sandbox, &old)).unwrap();
    let original: Value = serde_json::from_slice(&docker.bytes).unwrap();
    assert_eq!(translated["mediaType"], OCI_MANIFEST);
    assert_eq!(translated["layers"][0]["mediaType"], OCI_LAYER_GZIP);
    assert_eq!(translated["layers"][0]["digest"], original["layers"][0]["digest"]);
    assert_eq!(translated["config"]["digest"], original["config"]["digest"]);
    assert!(listed(&sandbox).contains(&(docker.digest().to_string(), Some(old.clone()), None)));
    // What came without a manifest: the layers as they are in an archive of `docker save`.
    let made: Value = serde_json::from_slice(&manifest_in_place(&sandbox, "made:1")).unwrap();
    assert_eq!(made["layers"][0]["digest"], Digest::of(&busybox_layer()).to_string());
    assert_eq!(made["layers"][0]["size"], busybox_layer().len());

    sandbox.ok(&["rmi", "other:2", &old]);
    expected.retain(|name| *name != "other:2" && *name != old);
    eventually("names that are left", || names_in_place(&sandbox) == expected);
    // A crash before the index is written.
    sandbox.kill();
    let index = fs::read(content(&sandbox).join("index.json")).unwrap();
    fs::write(content(&sandbox).join("index.json"), "{").unwrap();
    fs::remove_file(content(&sandbox).join("oci-layout")).unwrap();
    sandbox.start(&[]);
    eventually("the index, as it was", || {
        fs::read(content(&sandbox).join("index.json")).unwrap() == index
    });
    assert_eq!(names_in_place(&sandbox), expected);
    // What nobody needs any more is gone, the manifests that were made too.
    sandbox.ok(&["rmi", "made:1", &app]);
    eventually("no names", || names_in_place(&sandbox).is_empty());
    assert_eq!(fs::read_dir(content(&sandbox).join("blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn an_image_without_a_tag_is_listed_by_its_digest_or_without_a_name() {
    let mut sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let manifest = registry.pusher("team/app", None).image(&two_layers(), "v1");
    let by_digest = format!("{}/team/app@{}", registry.domain(), manifest.digest());
    sandbox.ok(&["pull", "-q", &by_digest]);
    load(&sandbox, "made:1", &[&layer_of(&[("one", b"1")])]);
    load(&sandbox, "made:1", &[&layer_of(&[("two", b"2")])]);
    sandbox.terminate();
    let mut names: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for (_, _, name) in listed(&sandbox) {
        *names.entry(name).or_default() += 1;
    }
    // An end in order leaves it written.
    let expected = [(None, 1), (Some("made:1".to_owned()), 1), (Some(by_digest), 1)];
    assert_eq!(names, BTreeMap::from(expected));
}

const ALWAYS: [&str; 2] = ["--content-keep", "always"];

/// Blobs of the store, by digest.
fn blobs(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(content(sandbox).join("blobs/sha256")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| format!("sha256:{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    names.sort();
    names
}

fn digests_of(image: &Image) -> Vec<String> {
    let layers = image.layers.iter().map(|layer| layer.digest().to_string());
    layers.collect()
}

/// Copies an image out of the store in place; its manifest and the names of its blobs.
fn copied(sandbox: &Sandbox, name: &str) -> (Vec<u8>, Vec<String>) {
    let to = sandbox.dir().join("copied");
    // What an earlier copy has left.
    let _ = fs::remove_dir_all(&to);
    let source = format!("oci:{}:{name}", content(sandbox).display());
    let target = format!("dir:{}", to.display());
    run(
        "skopeo",
        &["--insecure-policy", "copy", "--preserve-digests", &source, &target],
    );
    let names = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| format!("sha256:{}", name.to_str().unwrap()));
    let mut blobs: Vec<String> = names.filter(|name| name.len() == 71).collect();
    blobs.sort();
    for blob in &blobs {
        let bytes = fs::read(to.join(&blob["sha256:".len()..])).unwrap();
        assert_eq!(Digest::of(&bytes).to_string(), *blob);
    }
    (fs::read(to.join("manifest.json")).unwrap(), blobs)
}

#[test]
fn kept_images_are_copied_out_of_the_store_in_place() {
    let sandbox = Sandbox::beside_registries_with(Engine::Conex, &ALWAYS);
    let registry = open_registry(&sandbox);
    let image = two_layers();
    let manifest = registry.pusher("team/app", None).image(&image, "v1");
    let app = format!("{}/team/app:v1", registry.domain());
    sandbox.ok(&["pull", "-q", &app]);
    let mut expected = digests_of(&image);
    expected.push(image.config.digest().to_string());
    expected.sort();
    eventually("the name", || names_in_place(&sandbox) == [app.clone()]);
    assert_eq!(copied(&sandbox, &app), (manifest.bytes, expected.clone()));
    let partials = fs::read_dir(content(&sandbox).join("partial")).unwrap().count();
    assert_eq!(partials, 0);

    // What is made here is kept as an archive of `docker save` has it.
    let layer = busybox_layer();
    load(&sandbox, "made:1", &[&layer]);
    sandbox.ok(&["create", "--name", "box", "made:1", "true"]);
    sandbox.ok(&["cp", "/etc/hostname", "box:/etc/added"]);
    sandbox.ok(&["commit", "box", "made:2"]);
    eventually("all names", || names_in_place(&sandbox).len() == 3);
    let (_, of_loaded) = copied(&sandbox, "made:1");
    assert!(of_loaded.contains(&Digest::of(&layer).to_string()), "{of_loaded:?}");
    let (made, of_committed) = copied(&sandbox, "made:2");
    assert_eq!(of_committed.len(), 3, "two layers and a configuration");
    let made: Value = serde_json::from_slice(&made).unwrap();
    let diff_ids = sandbox.ok(&["image", "inspect", "--format", "{{json .RootFS.Layers}}", "made:2"]);
    let diff_ids: Vec<String> = serde_json::from_str(&diff_ids).unwrap();
    let layers: Vec<&str> = made["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap())
        .collect();
    assert_eq!(layers, diff_ids);

    // Upon an image that came from a registry, the layers are those of the registry.
    sandbox.ok(&["create", "--name", "box2", &app, "/first"]);
    sandbox.ok(&["cp", "/etc/hostname", "box2:/added"]);
    sandbox.ok(&["commit", "box2", "made:3"]);
    eventually("the name", || names_in_place(&sandbox).contains(&"made:3".to_owned()));
    let (_, of_committed) = copied(&sandbox, "made:3");
    assert_eq!(of_committed.len(), 4);
    assert!(digests_of(&image).iter().all(|layer| of_committed.contains(layer)));
    sandbox.ok(&["rm", "box2"]);
    sandbox.ok(&["rmi", "made:3"]);

    // They go with their images, and not before.
    sandbox.ok(&["rm", "box"]);
    sandbox.ok(&["rmi", "made:2"]);
    assert_eq!(copied(&sandbox, "made:1").1, of_loaded);
    sandbox.ok(&["rmi", "made:1"]);
    assert_eq!(copied(&sandbox, &app).1, expected);
    sandbox.ok(&["rmi", &app]);
    assert_eq!(blobs(&sandbox), [""; 0]);
}

#[test]
fn an_index_is_listed_and_the_image_that_runs_here_is_copied() {
    let sandbox = Sandbox::beside_registries_with(Engine::Conex, &ALWAYS);
    let registry = open_registry(&sandbox);
    let pusher = registry.pusher("team/app", None);
    let own = pusher.image(&two_layers(), "own");
    let other = pusher.image(&Image::of_layers(&[b"of another machine"]), "other");
    let index = index(
        OCI_INDEX,
        &[(&other, "linux", "s390x", ""), (&own, "linux", "amd64", "")],
    );
    pusher.manifest(&index, "v1");
    let app = format!("{}/team/app:v1", registry.domain());
    sandbox.ok(&["pull", "-q", &app]);
    eventually("the name", || names_in_place(&sandbox) == [app.clone()]);
    assert_eq!(manifest_in_place(&sandbox, &app), index.bytes);
    assert_eq!(copied(&sandbox, &app).0, own.bytes);
    let (said, code) = conex(&sandbox, &["system", "check"]);
    assert_eq!(code, 0, "{said}");
    // Without it nobody knows what the name came by.
    fs::remove_file(content(&sandbox).join("blobs/sha256").join(index.digest().hex())).unwrap();
    let (said, code) = conex(&sandbox, &["system", "check"]);
    assert_eq!(code, 1);
    assert!(
        said.contains(&format!("index {} of {app}: is gone", index.digest())),
        "{said}"
    );
    let (said, code) = conex(&sandbox, &["system", "check", "--repair"]);
    assert_eq!(code, 0, "{said}");
    let is_listed = || {
        listed(&sandbox)
            .iter()
            .any(|(digest, _, _)| *digest == index.digest().to_string())
    };
    eventually("the index", is_listed);
    assert_eq!(manifest_in_place(&sandbox, &app), index.bytes);
    sandbox.ok(&["rmi", &app]);
    assert_eq!(blobs(&sandbox), [""; 0]);
}

#[test]
fn a_prune_frees_what_is_kept_of_images() {
    let sandbox = Sandbox::beside_registries_with(Engine::Conex, &ALWAYS);
    load(&sandbox, "made:1", &[&layer_of(&[("one", b"1")])]);
    load(&sandbox, "made:1", &[&layer_of(&[("two", b"2")])]);
    assert_eq!(blobs(&sandbox).len(), 6, "configuration, manifest and layer of each");
    sandbox.ok(&["image", "prune", "-f"]);
    assert_eq!(blobs(&sandbox).len(), 3);
}

#[test]
fn compressed_layers_stay_as_long_as_it_is_said() {
    let mut sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let image = two_layers();
    registry.pusher("team/app", None).image(&image, "v1");
    let app = format!("{}/team/app:v1", registry.domain());
    let (documents, layers) = (2, 2);
    sandbox.ok(&["pull", "-q", &app]);
    assert_eq!(blobs(&sandbox).len(), documents);
    // Another mode tolerates what is not there, and the next pull fetches it.
    sandbox.terminate();
    sandbox.set_flags(&ALWAYS);
    sandbox.start(&[]);
    assert_eq!(names_in_place(&sandbox), [app.as_str()]);
    assert_eq!(blobs(&sandbox).len(), documents);
    let said = sandbox.ok(&["pull", &app]);
    assert!(said.contains("Image is up to date"), "{said}");
    assert_eq!(blobs(&sandbox).len(), documents + layers);
    copied(&sandbox, &app);
    // A layer that was lost is unpacked from what is kept: nobody has to be asked for it.
    let lost = fs::read_dir(sandbox.dir().join("data/layers"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::remove_dir_all(&lost).unwrap();
    for digest in digests_of(&image) {
        let hex = &digest["sha256:".len()..];
        let of_registry = format!(
            "registry/storage/docker/registry/v2/blobs/sha256/{}/{hex}/data",
            &hex[..2]
        );
        fs::remove_file(sandbox.dir().join(of_registry)).unwrap();
    }
    sandbox.ok(&["pull", "-q", &app]);
    assert!(lost.is_dir());
    sandbox.kill();
    sandbox.start(&[]);
    assert!(lost.is_dir());
    assert_eq!(blobs(&sandbox).len(), documents + layers);
    // And the first mode drops what is not kept.
    sandbox.terminate();
    sandbox.set_flags(&[]);
    sandbox.start(&[]);
    assert_eq!(blobs(&sandbox).len(), documents);
}

#[test]
fn a_layer_goes_on_to_another_registry_as_it_came() {
    for flags in [&ALWAYS[..], &[]] {
        let sandbox = Sandbox::beside_registries_with(Engine::Conex, flags);
        let registry = open_registry(&sandbox);
        let other = RealRegistry::start(&sandbox.dir().join("other"), &Access::Open, &Protocol::Http);
        let manifest = registry.pusher("team/app", None).image(&two_layers(), "v1");
        let (app, copy) = (
            format!("{}/team/app:v1", registry.domain()),
            format!("{}/mine:v1", other.domain()),
        );
        sandbox.ok(&["pull", "-q", &app]);
        sandbox.ok(&["tag", &app, &copy]);
        if !flags.is_empty() {
            // What is kept needs nobody.
            drop(registry);
        }
        let said = sandbox.ok(&["push", &copy]);
        assert!(said.contains(&format!("digest: {}", manifest.digest())), "{said}");
        assert!(!said.contains("compressed anew"), "{said}");
    }
}

#[test]
fn a_layer_is_asked_of_the_registry_that_is_pushed_to_by_who_pushes() {
    let sandbox = Sandbox::beside_registries();
    let access = Access::Basic {
        username: "me",
        password: "pass",
    };
    let registry = RealRegistry::start(&sandbox.dir().join("private"), &access, &Protocol::Http);
    let proxy = Proxy::before(registry.address);
    let authorization = basic("me", "pass");
    let manifest = registry
        .pusher("team/app", Some(&authorization))
        .image(&two_layers(), "v1");
    let (app, copy) = (
        format!("{}/team/app:v1", proxy.domain()),
        format!("{}/mine:v1", proxy.domain()),
    );
    let config = sandbox.dir().join("client");
    let as_me = |arguments: &[&str]| sandbox.ok(&[&["--config", config.to_str().unwrap()], arguments].concat());
    as_me(&["login", "-u", "me", "-p", "pass", &proxy.domain()]);
    as_me(&["pull", "-q", &app]);
    sandbox.ok(&["tag", &app, &copy]);
    // A registry that lets nothing be mounted.
    proxy.order("mount=", Ill::CutHead, 1000);
    let said = as_me(&["push", &copy]);
    assert!(!said.contains("Mounted from"), "{said}");
    assert!(said.contains(&format!("digest: {}", manifest.digest())), "{said}");
}

#[test]
fn a_push_that_compresses_anew_says_so() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let other = RealRegistry::start(&sandbox.dir().join("other"), &Access::Open, &Protocol::Http);
    let image = two_layers();
    let manifest = registry.pusher("team/app", None).image(&image, "v1");
    let (app, copy) = (
        format!("{}/team/app:v1", registry.domain()),
        format!("{}/mine:v1", other.domain()),
    );
    sandbox.ok(&["pull", "-q", &app]);
    sandbox.ok(&["tag", &app, &copy]);
    drop(registry);
    let said = sandbox.ok(&["push", &copy]);
    assert!(!said.contains(&manifest.digest().to_string()), "{said}");
    let raw = run(
        "skopeo",
        &["inspect", "--raw", "--tls-verify=false", &format!("docker://{copy}")],
    );
    let pushed: Value = serde_json::from_slice(&raw).unwrap();
    for (at, old) in digests_of(&image).iter().enumerate() {
        let new = pushed["layers"][at]["digest"].as_str().unwrap();
        let line = format!("Layer {old} was compressed anew and is {new} there");
        assert!(said.contains(&line), "{line} in {said}");
    }
}

#[test]
fn what_is_no_way_of_keeping_refuses_the_start() {
    let conexd = conex_tests::dist().join("conexd");
    let output = Command::new(conexd).args(["--content-keep", "never"]).output().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "invalid content-keep: never: must be one of always, until-unpacked";
    assert!(error.contains(expected), "{error}");
}

/// Runs our own command line on a sandbox; output and exit code.
fn conex(sandbox: &Sandbox, arguments: &[&str]) -> (String, i32) {
    let output = Command::new(conex_tests::dist().join("conex"))
        .args(["-H", &format!("unix://{}", sandbox.socket().display())])
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.code().unwrap())
}

/// Bytes of blocks below the data root, as `du` counts them.
fn du(sandbox: &Sandbox) -> u64 {
    let data = sandbox.dir().join("data");
    let said = run("du", &["-sx", "-B1", data.to_str().unwrap()]);
    let said = String::from_utf8(said).unwrap();
    said.split('\t').next().unwrap().parse().unwrap()
}

/// Rows of `system df`: type and bytes.
fn usage(sandbox: &Sandbox) -> (BTreeMap<String, u64>, u64) {
    let (said, code) = conex(sandbox, &["system", "df", "--format", "json"]);
    assert_eq!(code, 0, "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for row in said["Rows"].as_array().unwrap() {
        *kinds.entry(row["Kind"].as_str().unwrap().to_owned()).or_default() += row["Size"].as_u64().unwrap();
    }
    let size = said["Size"].as_u64().unwrap();
    assert_eq!(kinds.values().sum::<u64>(), size);
    (kinds, size)
}

#[test]
fn every_block_of_the_data_root_is_accounted_for() {
    let sandbox = Sandbox::beside_registries_with(Engine::Conex, &ALWAYS);
    let registry = open_registry(&sandbox);
    registry.pusher("team/app", None).image(&two_layers(), "v1");
    sandbox.ok(&["pull", "-q", &format!("{}/team/app:v1", registry.domain())]);
    load(&sandbox, "made:1", &[&busybox_layer()]);
    let fill = "dd if=/dev/zero of=/filled bs=1M count=3; dd if=/dev/zero of=/v/filled bs=1M count=2; seq 100000";
    sandbox.ok(&[
        "run",
        "--network",
        "none",
        "--name",
        "box",
        "-v",
        "vol:/v",
        "made:1",
        "sh",
        "-c",
        fill,
    ]);
    // What a pull that broke off has left.
    let partial = content(&sandbox).join("partial").join(Digest::of(b"partial").hex());
    fs::write(partial, vec![7; 1 << 20]).unwrap();
    eventually("df and du agree", || {
        let (before, (_, size), after) = (du(&sandbox), usage(&sandbox), du(&sandbox));
        before == after && before == size
    });
    let (kinds, size) = usage(&sandbox);
    let at_least = [
        ("layer", 1_000_000),
        ("layer data", 4096),
        ("compressed layer", 1_000_000),
        ("manifest", 4096),
        ("configuration", 4096),
        ("writable layer", 3 << 20),
        ("log", 600_000),
        ("volume", 2 << 20),
        ("broken transfer", 1 << 20),
        ("metadata", 4096),
        ("container", 4096),
        ("layout", 4096),
    ];
    for (kind, bytes) in at_least {
        assert!(kinds.get(kind).is_some_and(|size| *size >= bytes), "{kind}: {kinds:?}");
    }
    assert!(!kinds.contains_key("unreferenced blob"), "{kinds:?}");
    let (said, code) = conex(&sandbox, &["system", "df", "-v"]);
    assert_eq!(code, 0);
    let rows = said.lines();
    let of_box: Vec<&str> = rows
        .clone()
        .filter(|row| row.starts_with("writable layer") && row.ends_with("box"))
        .collect();
    assert_eq!(of_box.len(), 1, "{said}");
    assert!(
        rows.clone()
            .any(|row| row.starts_with("layer ") && row.ends_with("made:1")),
        "{said}"
    );
    let total = rows.last().unwrap();
    let bytes: u64 = total.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(total.starts_with("Total") && bytes.abs_diff(size) < 100_000, "{total}");
}

/// Damages a configuration, two layers, a volume, and adds what nobody has; where that is to be found, and as what.
fn damage(sandbox: &Sandbox, image: &Image, app: &str) -> [(String, &'static str); 6] {
    let layers = sandbox.dir().join("data/layers");
    let busybox = Digest::of(&busybox_layer()).hex()[..12].to_owned();
    let damaged: Vec<PathBuf> = fs::read_dir(&layers)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("first").exists())
        .collect();
    fs::write(damaged[0].join("first"), "x\n").unwrap();
    fs::write(layers.join(&busybox).join("etc/group"), "x").unwrap();
    let config = image.config.digest();
    fs::write(content(sandbox).join("blobs/sha256").join(config.hex()), "{}").unwrap();
    fs::create_dir(sandbox.dir().join("data/containers/stray")).unwrap();
    fs::create_dir(sandbox.dir().join("data/volumes/stray")).unwrap();
    fs::remove_dir_all(sandbox.dir().join("data/volumes/vol")).unwrap();
    let damaged = damaged[0].file_name().unwrap().to_str().unwrap().to_owned();
    [
        (
            format!("configuration {config} of {app}"),
            "its contents are not what its digest says",
        ),
        (format!("layer {busybox} of made:1"), ""),
        (format!("layer {damaged} of {app}"), "its files are not what they were"),
        ("containers/stray".to_owned(), "no container has it"),
        ("volume vol".to_owned(), "its directory is gone"),
        ("volumes/stray".to_owned(), "no volume has it"),
    ]
}

#[test]
fn damage_is_found_and_repaired_beside_what_runs() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let image = two_layers();
    registry.pusher("team/app", None).image(&image, "v1");
    let app = format!("{}/team/app:v1", registry.domain());
    sandbox.ok(&["pull", "-q", &app]);
    load(&sandbox, "made:1", &[&busybox_layer()]);
    sandbox.ok(&[
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        "box",
        "-v",
        "vol:/v",
        "made:1",
        "sleep",
        "1000",
    ]);
    let (said, code) = conex(&sandbox, &["system", "check"]);
    let expected = "checked 2 images, 4 blobs, 3 layers, 1 containers, 1 volumes: nothing is wrong\n";
    assert_eq!((said.as_str(), code), (expected, 0));

    let places = damage(&sandbox, &image, &app);
    let (said, code) = conex(&sandbox, &["system", "check"]);
    assert_eq!(code, 1, "{said}");
    for (place, problem) in &places {
        assert!(
            said.lines()
                .any(|line| line.starts_with(&format!("{place}: {problem}"))),
            "{place}: {said}"
        );
    }
    assert!(said.ends_with("6 findings, 0 repaired\n"), "{said}");

    let (said, code) = conex(&sandbox, &["system", "check", "--repair"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.ends_with("6 findings, 5 repaired\n"), "{said}");
    let origin = format!("{}/team/app", registry.domain());
    assert!(
        said.contains(&format!("repaired: unpacked again from {origin}")),
        "{said}"
    );
    let runs = "not repaired: container ";
    assert!(
        said.lines()
            .any(|line| line.starts_with(&places[1].0) && line.contains(runs)),
        "{said}"
    );
    // What runs is as it was.
    assert_eq!(sandbox.ok(&["exec", "box", "cat", "/etc/group"]), "x");
    sandbox.ok(&["rm", "-f", "box"]);
    sandbox.ok(&["volume", "rm", "vol"]);
    let (said, code) = conex(&sandbox, &["system", "check", "--repair"]);
    // It was loaded, so nobody has it.
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("not repaired: nobody is known to have it"), "{said}");
    sandbox.ok(&["rmi", "made:1"]);
    let (said, code) = conex(&sandbox, &["system", "check"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(sandbox.ok(&["create", "--name", "again", &app, "/first"]).len(), 64);
}

#[test]
fn a_kill_while_blobs_are_published_leaves_an_image_or_nothing() {
    let mut sandbox = Sandbox::beside_registries_with(Engine::Conex, &ALWAYS);
    let registry = open_registry(&sandbox);
    registry.pusher("team/app", None).image(&two_layers(), "v1");
    let app = format!("{}/team/app:v1", registry.domain());
    let points = ["image.synced", "image.before-record", "image.recorded"];
    for point in fail_points::BLOB.iter().copied().chain(points) {
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        sandbox.docker(&["pull", "-q", &app]);
        sandbox.await_death();
        sandbox.start(&[]);
        let is_there = !sandbox.ok(&["images", "-q", &app]).is_empty();
        assert_eq!(is_there, point == "image.recorded", "{point}");
        assert_eq!(blobs(&sandbox).len(), if is_there { 4 } else { 0 }, "{point}");
        let (said, code) = conex(&sandbox, &["system", "check"]);
        assert_eq!(code, 0, "{point}: {said}");
        sandbox.ok(&["pull", "-q", &app]);
        eventually("the name", || names_in_place(&sandbox) == [app.clone()]);
        copied(&sandbox, &app);
        sandbox.ok(&["rmi", &app]);
        assert_eq!(blobs(&sandbox), [""; 0], "{point}");
    }
}
