//! Images of several platforms under one name: pulled, run, pushed, saved, loaded, removed.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../../crates/registry/tests/support/registries.rs"]
mod registries;

use std::collections::BTreeSet;
use std::fs;

use conex_tests::{Sandbox, busybox_layer, layer_of};
use registries::http::send;
use registries::image::{Content, Image, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, index};
use registries::real::{Access, Protocol, RealRegistry};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn open_registry(sandbox: &Sandbox) -> RealRegistry {
    RealRegistry::start(&sandbox.dir().join("registry"), &Access::Open, &Protocol::Http)
}

/// An image that says of which platform it is: its programs are this machine's, whatever it says.
fn image_for(architecture: &str, more: &str) -> Image {
    let which = layer_of(&[("etc/which", format!("{architecture}{more}\n").as_bytes())]);
    let layers = [busybox_layer(), which];
    let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["cat", "/etc/which"], "Env": ["PATH=/bin"]},
        "history": [{"created_by": "busybox"}, {"created_by": architecture}],
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    Image {
        config: Content::new(OCI_CONFIG, config.to_string()),
        layers: layers.map(|layer| Content::new(LAYER, layer)).to_vec(),
    }
}

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!(
        "sha256:{}",
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    )
}

/// Puts an index of two images into a registry; its digest.
fn push_both(registry: &RealRegistry, repository: &str, more: &str) -> String {
    let pusher = registry.pusher(repository, None);
    let (amd, arm) = (image_for("amd64", more), image_for("arm64", more));
    let (amd, arm) = (pusher.image(&amd, "amd"), pusher.image(&arm, "arm"));
    let both = index(OCI_INDEX, &[(&arm, "linux", "arm64", ""), (&amd, "linux", "amd64", "")]);
    pusher.manifest(&both, "latest");
    sha256(&both.bytes)
}

fn pull_both(sandbox: &Sandbox, name: &str) {
    sandbox.ok(&["pull", "-q", name]);
    sandbox.ok(&["pull", "-q", "--platform", "linux/arm64", name]);
}

fn id_of(sandbox: &Sandbox, name: &str, platform: &str) -> String {
    sandbox.ok(&["image", "inspect", "--platform", platform, "--format", "{{.Id}}", name])
}

fn runs(sandbox: &Sandbox, options: &[&str], name: &str) -> String {
    let mut command = vec!["run", "--rm", "--network", "none", "--pull", "never"];
    command.extend(options);
    command.push(name);
    sandbox.ok(&command)
}

/// What there is of images on disk: blobs and layers.
fn on_disk(sandbox: &Sandbox) -> BTreeSet<String> {
    let names = |dir: &str| {
        let entries = fs::read_dir(sandbox.dir().join("data").join(dir)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap())
    };
    names("content/blobs/sha256").chain(names("layers")).collect()
}

#[test]
fn a_name_means_an_image_for_each_platform_and_this_machines_where_none_is_said() {
    let mut sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    push_both(&registry, "both", "");
    let name = format!("{}/both", registry.domain());
    pull_both(&sandbox, &name);
    assert!(sandbox.ok(&["pull", &name]).contains("Image is up to date"));
    let listed = || sandbox.ok(&["images", "--no-trunc", "--format", "{{.Repository}} {{.ID}}"]);
    let (amd, arm) = (
        id_of(&sandbox, &name, "linux/amd64"),
        id_of(&sandbox, &name, "linux/arm64"),
    );
    assert_ne!(amd, arm);
    assert_eq!(listed(), format!("{name} {amd}"));
    let all = sandbox.ok(&["images", "-aq", "--no-trunc"]);
    assert_eq!(
        all.lines().collect::<BTreeSet<_>>(),
        BTreeSet::from([amd.as_str(), arm.as_str()])
    );
    sandbox.kill();
    sandbox.start(&[]);
    for (options, architecture) in [
        (&[][..], "amd64"),
        (&["--platform", "linux/amd64"], "amd64"),
        (&["--platform", "linux/arm64"], "arm64"),
        (&["--platform", "linux/arm64/v8"], "arm64"),
    ] {
        assert_eq!(runs(&sandbox, options, &name), architecture, "{options:?}");
    }
    assert_eq!(runs(&sandbox, &[], &arm), "arm64");
    let said = sandbox.docker(&["run", "--rm", "--pull", "never", "--platform", "linux/s390x", &name]);
    let words = "was found but does not provide the specified platform (linux/s390x)";
    assert!(said.err.contains(words), "{said:?}");
    let made_by = [
        "history",
        "--platform",
        "linux/arm64",
        "--format",
        "{{.CreatedBy}}",
        &name,
    ];
    assert_eq!(sandbox.ok(&made_by), "arm64\nbusybox");
    // A tag takes all platforms along; the tag of an id is of that image alone.
    sandbox.ok(&["tag", &name, "another"]);
    sandbox.ok(&["tag", &amd, "alone"]);
    assert_eq!(id_of(&sandbox, "another", "linux/arm64"), arm);
    let said = sandbox.docker(&["image", "inspect", "--platform", "linux/arm64", "alone"]);
    let words = "its platform (linux/amd64) does not match the specified platform (linux/arm64)";
    assert!(said.err.contains(words), "{said:?}");
}

#[test]
fn another_index_under_the_name_takes_it_from_all_platforms() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    push_both(&registry, "moving", "");
    let name = format!("{}/moving", registry.domain());
    pull_both(&sandbox, &name);
    let before = id_of(&sandbox, &name, "linux/arm64");
    push_both(&registry, "moving", " anew");
    sandbox.ok(&["pull", "-q", &name]);
    assert_eq!(runs(&sandbox, &[], &name), "amd64 anew");
    let said = sandbox.docker(&["run", "--rm", "--pull", "never", "--platform", "linux/arm64", &name]);
    assert!(said.err.contains("does not match the specified platform"), "{said:?}");
    // What had the name is there without it, for its digest.
    assert_eq!(
        sandbox.ok(&["image", "inspect", "--format", "{{.RepoTags}}", &before]),
        "[]"
    );
}

#[test]
fn what_is_pushed_is_all_platforms_by_the_same_index_or_the_one_that_is_asked_for() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let digest = push_both(&registry, "source", "");
    let name = format!("{}/source", registry.domain());
    pull_both(&sandbox, &name);
    let target = format!("{}/target", registry.domain());
    sandbox.ok(&["tag", &name, &target]);
    let said = sandbox.ok(&["push", &target]);
    assert!(said.contains(&format!("latest: digest: {digest}")), "{said}");
    let other = Sandbox::beside_registries();
    pull_both(&other, &target);
    assert_eq!(runs(&other, &["--platform", "linux/arm64"], &target), "arm64");
    // One of them.
    let one = format!("{}/target:one", registry.domain());
    sandbox.ok(&["tag", &name, &one]);
    sandbox.ok(&["push", "--platform", "linux/arm64", &one]);
    let accept = [("Accept", OCI_MANIFEST)];
    let (status, headers, body) = send(registry.address, "GET", "/v2/target/manifests/one", &accept, b"").unwrap();
    let media_type = headers.iter().find(|(name, _)| name == "content-type").unwrap();
    assert_eq!((status, media_type.1.as_str()), (200, OCI_MANIFEST));
    let manifest: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        manifest["config"]["digest"],
        json!(id_of(&sandbox, &name, "linux/arm64"))
    );
    // An index of what is here, where the one that they came by has more.
    let part = Sandbox::beside_registries();
    let pusher = registry.pusher("more", None);
    let images = ["amd64", "arm64", "s390x"].map(|architecture| (architecture, image_for(architecture, "")));
    let pushed = images.map(|(architecture, image)| (pusher.image(&image, architecture), architecture));
    let entries: Vec<_> = pushed
        .iter()
        .map(|(manifest, on)| (manifest, "linux", *on, ""))
        .collect();
    pusher.manifest(&index(OCI_INDEX, &entries), "latest");
    let name = format!("{}/more", registry.domain());
    pull_both(&part, &name);
    let target = format!("{}/less", registry.domain());
    part.ok(&["tag", &name, &target]);
    part.ok(&["push", "-q", &target]);
    pull_both(&other, &target);
    assert_eq!(runs(&other, &["--platform", "linux/arm64"], &target), "arm64");
    let refused = other.docker(&["pull", "--platform", "linux/s390x", &target]);
    assert!(
        refused.err.contains("no matching manifest for linux/s390x"),
        "{refused:?}"
    );
}

#[test]
fn an_archive_has_all_platforms_or_one() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    push_both(&registry, "saved", "");
    let name = format!("{}/saved", registry.domain());
    pull_both(&sandbox, &name);
    let path = |file: &str| sandbox.dir().join(file).to_str().unwrap().to_owned();
    let (all, arm) = (path("all.tar"), path("arm.tar"));
    sandbox.ok(&["save", "-o", &all, &name]);
    sandbox.ok(&["save", "--platform", "linux/arm64", "-o", &arm, &name]);
    let other = Sandbox::empty();
    assert_eq!(
        other.ok(&["load", "-q", "-i", &arm]),
        format!("Loaded image: {name}:latest")
    );
    assert_eq!(runs(&other, &[], &name), "arm64");
    other.ok(&["rmi", &name]);
    other.ok(&["load", "-q", "-i", &all]);
    assert_eq!(runs(&other, &[], &name), "amd64");
    assert_eq!(runs(&other, &["--platform", "linux/arm64"], &name), "arm64");
    assert_eq!(other.ok(&["images", "-q"]).lines().count(), 1);
    other.ok(&["rmi", &name]);
    assert!(on_disk(&other).is_empty(), "{:?}", on_disk(&other));
    other.ok(&["load", "-q", "--platform", "linux/arm64", "-i", &all]);
    assert_eq!(runs(&other, &[], &name), "arm64");
    let said = other.docker(&["load", "--platform", "linux/s390x", "-i", &all]);
    assert!(
        said.err
            .contains("does not provide the specified platform (linux/s390x)"),
        "{said:?}"
    );
}

#[test]
fn a_name_is_removed_with_all_platforms_or_from_one() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    push_both(&registry, "removed", "");
    let name = format!("{}/removed", registry.domain());
    pull_both(&sandbox, &name);
    sandbox.ok(&["create", "--name", "user", "--platform", "linux/arm64", &name]);
    let refused = sandbox.docker(&["rmi", &name]);
    assert!(refused.err.contains("(must force) - container"), "{refused:?}");
    assert_eq!(runs(&sandbox, &[], &name), "amd64");
    // What no container has goes.
    sandbox.ok(&["image", "prune", "-af"]);
    assert_eq!(runs(&sandbox, &[], &name), "arm64");
    sandbox.ok(&["rm", "user"]);
    sandbox.ok(&["pull", "-q", &name]);
    let arm = id_of(&sandbox, &name, "linux/arm64");
    let removed = sandbox.ok(&["rmi", "--platform", "linux/arm64", &name]);
    assert!(removed.starts_with(&format!("Deleted: {arm}")), "{removed}");
    assert_eq!(runs(&sandbox, &[], &name), "amd64");
    let refused = sandbox.docker(&["rmi", "--platform", "linux/arm64", &name]);
    assert!(
        refused.err.contains("does not match the specified platform"),
        "{refused:?}"
    );
    sandbox.ok(&["pull", "-q", "--platform", "linux/arm64", &name]);
    let removed = sandbox.ok(&["rmi", &name]);
    assert_eq!(
        removed.matches(&format!("Untagged: {name}:latest")).count(),
        1,
        "{removed}"
    );
    assert!(removed.contains(&format!("Deleted: {arm}")), "{removed}");
    assert!(on_disk(&sandbox).is_empty(), "{:?}", on_disk(&sandbox));
}

#[test]
fn the_manifests_under_a_name_are_told_whether_they_are_here_or_not() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    push_both(&registry, "told", "");
    let name = format!("{}/told", registry.domain());
    sandbox.ok(&["pull", "-q", &name]);
    sandbox.ok(&["create", "--name", "user", &name]);
    let told = || {
        let (status, body) = sandbox.request("GET", "/v1.50/images/json?manifests=1", "");
        assert_eq!(status, 200, "{body}");
        let images: Value = serde_json::from_str(&body).unwrap();
        images[0]["Manifests"].clone()
    };
    let container = sandbox.ok(&["inspect", "--format", "{{.Id}}", "user"]);
    let manifests = told();
    let (arm, amd) = (&manifests[0], &manifests[1]);
    assert_eq!(manifests.as_array().unwrap().len(), 2);
    assert_eq!((&arm["Available"], &amd["Available"]), (&json!(false), &json!(true)));
    assert_eq!((&arm["Kind"], &amd["Kind"]), (&json!("image"), &json!("image")));
    let manifest = image_for("arm64", "").manifest();
    assert_eq!(arm["ID"], json!(manifest.digest().to_string()));
    let descriptor = json!({"mediaType": OCI_MANIFEST, "digest": arm["ID"], "size": manifest.bytes.len()});
    assert_eq!(arm["Descriptor"], descriptor);
    assert_eq!(
        arm["ImageData"]["Platform"],
        json!({"architecture": "arm64", "os": "linux"})
    );
    assert_eq!(amd["ImageData"]["Containers"], json!([container]));
    let size = amd["ImageData"]["Size"]["Unpacked"].as_i64().unwrap();
    assert!(size > i64::try_from(busybox_layer().len()).unwrap() / 2, "{size}");
    assert_eq!(
        amd["Size"]["Total"],
        json!(size + amd["Size"]["Content"].as_i64().unwrap())
    );
    sandbox.ok(&["pull", "-q", "--platform", "linux/arm64", &name]);
    assert_eq!(told()[0]["Available"], json!(true));
    // The tree of the command line.
    let tree = sandbox.ok(&["images", "--tree"]);
    assert!(tree.contains("linux/amd64") && tree.contains("linux/arm64"), "{tree}");
    let (_, inspected) = sandbox.request("GET", &format!("/v1.50/images/{name}/json?manifests=1"), "");
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Manifests"], told());
}
