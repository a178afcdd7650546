//! What a registry may have wrong.

use conex_tests::{Said, Sandbox, busybox_archive, compressed, config_of, layer_of, noise};

use crate::making::{bits, flipped, image, image_of};
use crate::registries::faulty::{Fault, Faulty};
use crate::registries::http::Reply;
use crate::registries::image::{
    Content, Image, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST, index,
};
use crate::state::{State, refused, state};

/// A store that has something, a registry, and what the store was.
struct Pulls {
    sandbox: Sandbox,
    registry: Faulty,
    before: State,
}

impl Pulls {
    fn new() -> Self {
        let sandbox = Sandbox::beside_registries();
        let registry = Faulty::start();
        let archive = busybox_archive(sandbox.dir());
        sandbox.ok(&["load", "-q", "-i", archive.to_str().unwrap()]);
        registry.add(
            "good",
            "latest",
            &image_of(OCI_LAYER_GZIP, compressed("gzip", &good()), &good()),
        );
        sandbox.ok(&["pull", "-q", &format!("{}/good", registry.domain())]);
        let before = state(&sandbox);
        Self {
            sandbox,
            registry,
            before,
        }
    }

    fn pull(&self, name: &str) -> Said {
        self.sandbox
            .docker(&["pull", &format!("{}/{name}", self.registry.domain())])
    }

    /// A pull of this fails with all of these words, and changes nothing.
    fn refused(&self, name: &str, words: &[&str]) {
        refused(&self.sandbox, &self.before, name, &self.pull(name), words);
    }

    /// Has an image under a name, as this manifest says.
    fn add_as(&self, name: &str, image: &Image, manifest: &str) -> Content {
        self.registry.add(name, "other", image);
        let manifest = Content::new(OCI_MANIFEST, manifest);
        self.registry.add_manifest(name, "latest", &manifest);
        manifest
    }

    /// What is there can be used, and the registry still serves what is right.
    fn assert_works(&self) {
        let (name, right) = ("right", image());
        self.registry.add(name, "latest", &right);
        let said = self.pull(name);
        assert_eq!(said.code, 0, "{said:?}");
    }
}

fn good() -> Vec<u8> {
    layer_of(&[("good", b"good")])
}

fn manifest_of(image: &Image) -> String {
    String::from_utf8(image.manifest().bytes).unwrap()
}

#[test]
fn a_bit_that_is_wrong_anywhere_is_told_with_the_blob() {
    let pulls = Pulls::new();
    let right = image();
    pulls.registry.add("flipped", "inner", &right);
    let manifest = right.manifest();
    let index = index(OCI_INDEX, &[(&manifest, "linux", "amd64", "")]);
    pulls.registry.add_manifest("flipped", "latest", &index);
    for (blob, count) in [
        (&manifest, 5),
        (&right.config, 5),
        (&right.layers[0], 4),
        (&right.layers[1], 4),
    ] {
        let digest = blob.digest().to_string();
        for bit in bits(blob.bytes.len(), count) {
            let wrong = Reply::new(200, &blob.media_type, flipped(&blob.bytes, bit));
            pulls.registry.order(&digest, Fault::Instead(wrong), 100);
            pulls.refused("flipped", &["verification failed for digest", &digest]);
            pulls.registry.forget_orders();
        }
    }
    // Of the index nothing tells what it should be, where it is asked for by its tag: what can be read of it holds.
    for bit in [0, 3, 9, 12] {
        let wrong = Content::new(OCI_INDEX, flipped(&index.bytes, bit));
        pulls.registry.add_manifest("flipped", "latest", &wrong);
        let name = format!("(manifest {})", wrong.digest());
        pulls.refused("flipped", &["invalid manifest: ", "line 1 column", &name]);
    }
    // By its digest it is found out.
    pulls.registry.add_manifest("flipped", "latest", &index);
    let digest = index.digest().to_string();
    for bit in bits(index.bytes.len(), 3) {
        let wrong = Reply::new(200, OCI_INDEX, flipped(&index.bytes, bit));
        pulls.registry.order(&digest, Fault::Instead(wrong), 100);
        pulls.refused(
            &format!("flipped@{digest}"),
            &["manifest verification failed for digest", &digest],
        );
        pulls.registry.forget_orders();
    }
    pulls.assert_works();
}

#[test]
fn layers_that_break_off_or_are_wrong_although_their_digests_are_right_are_told_with_the_place() {
    let pulls = Pulls::new();
    let contents = noise(200_000, 0);
    let archive = layer_of(&[("first", &contents), ("second", b"x")]);
    let (gzip, zstd) = (compressed("gzip", &archive), compressed("zstd", &archive));
    // The sum of a gzip stream is in its last eight bytes.
    let sum = flipped(&gzip, (gzip.len() - 8) * 8);
    let cases: [(&str, &str, &[u8], &str); 6] = [
        (
            "cut-gzip",
            OCI_LAYER_GZIP,
            &gzip[..gzip.len() / 2],
            "unexpected EOF (byte ",
        ),
        (
            "cut-zstd",
            OCI_LAYER_ZSTD,
            &zstd[..zstd.len() / 2],
            "unexpected EOF (byte ",
        ),
        ("wrong-gzip", OCI_LAYER_GZIP, &sum, "(byte "),
        ("wrong-zstd", OCI_LAYER_ZSTD, &flipped(&zstd, zstd.len() * 4), "(byte "),
        ("head-gzip", OCI_LAYER_GZIP, &gzip[..5], "unexpected EOF (byte "),
        ("head-zstd", OCI_LAYER_ZSTD, &zstd[..5], "unexpected EOF (byte "),
    ];
    for (name, media_type, blob, words) in cases {
        let image = image_of(media_type, blob.to_vec(), &archive);
        pulls.registry.add(name, "latest", &image);
        let layer = format!("of the compressed archive) (layer {})", image.layers[0].digest());
        pulls.refused(name, &["failed to register layer: ", words, &layer]);
    }
    // What is wrong within.
    let second = 512 + 200_000_usize.next_multiple_of(512);
    let mut header = archive.clone();
    header[second + 3] ^= 1;
    for (name, archive, words) in [
        (
            "cut-archive",
            &archive[..100_000],
            "unexpected EOF (byte 100000 of the archive)".to_owned(),
        ),
        (
            "cut-header",
            &archive[..second + 100],
            format!("unexpected EOF (byte {second} of the archive)"),
        ),
        (
            "wrong-header",
            header.as_slice(),
            format!("archive/tar: invalid tar header: checksum (byte {second} of the archive)"),
        ),
    ] {
        let image = image_of(OCI_LAYER_GZIP, compressed("gzip", archive), archive);
        pulls.registry.add(name, "latest", &image);
        pulls.refused(name, &[&words, &format!("(layer {})", image.layers[0].digest())]);
    }
    // A layer that is right beside one that is not goes with it.
    let mut beside = image();
    beside.config = Content::new(OCI_CONFIG, config_of(&[&contents, &contents]));
    pulls.registry.add("diff-id", "latest", &beside);
    pulls.refused("diff-id", &["layer verification failed", "(layer sha256:"]);
    pulls.assert_works();
}

#[test]
fn digests_and_sizes_that_lie_are_told() {
    let pulls = Pulls::new();
    let right = image();
    let manifest = manifest_of(&right);
    for (what, content) in [
        ("config", &right.config),
        ("layer", &right.layers[0]),
        ("layer", &right.layers[1]),
    ] {
        let (length, digest) = (content.bytes.len(), content.digest().to_string());
        for lie in [0, 1, length - 1, length + 1, length + 100_000, usize::MAX >> 1] {
            let lying = manifest.replace(&format!("\"size\":{length}"), &format!("\"size\":{lie}"));
            assert_ne!(lying, manifest);
            pulls.add_as("size", &right, &lying);
            pulls.refused("size", &[&digest]);
            assert!(!what.is_empty());
        }
        // Another blob in its place.
        let other = format!("sha256:{}", "5".repeat(64));
        pulls.add_as("digest", &right, &manifest.replace(&digest, &other));
        pulls.refused("digest", &["blob unknown to registry"]);
        let wrong = Reply::new(200, "application/octet-stream", content.bytes.clone());
        pulls.registry.order(&other, Fault::Instead(wrong), 100);
        pulls.refused("digest", &["verification failed for digest", &other]);
        pulls.registry.forget_orders();
    }
    // The size of a manifest in its index.
    let inner = right.manifest();
    let listed = index(OCI_INDEX, &[(&inner, "linux", "amd64", "")]);
    let text = String::from_utf8(listed.bytes).unwrap();
    let length = inner.bytes.len();
    pulls.registry.add("listed", "inner", &right);
    let lying = text.replace(&format!("\"size\":{length}"), &format!("\"size\":{}", length + 1));
    pulls
        .registry
        .add_manifest("listed", "latest", &Content::new(OCI_INDEX, lying));
    let digest = inner.digest().to_string();
    pulls.refused("listed", &["size verification failed for", &digest]);
    // More layers than diff ids, and diff ids that are none.
    let digest = format!("(config {})", right.config.digest());
    let doubled = manifest.replace("\"layers\":[", &format!("\"layers\":[{},", layer_entry(&manifest)));
    pulls.add_as("more", &right, &doubled);
    pulls.refused("more", &["2 diff ids for 3 layers", &digest]);
    let mut odd = right.clone();
    odd.config = Content::new(OCI_CONFIG, r#"{"os":"linux","rootfs":{"diff_ids":["../../etc","x"]}}"#);
    pulls.registry.add("odd", "latest", &odd);
    pulls.refused(
        "odd",
        &["invalid image configuration", &odd.config.digest().to_string()],
    );
    odd.config = Content::new(OCI_CONFIG, r#"{"os":"linux","rootfs":7}"#);
    pulls.registry.add("no-config", "latest", &odd);
    let digest = format!("(config {})", odd.config.digest());
    pulls.refused(
        "no-config",
        &["invalid image configuration: ", "line 1 column", &digest],
    );
    pulls.assert_works();
}

/// The first layer's entry of a manifest.
fn layer_entry(manifest: &str) -> String {
    let layers = manifest.split_once("\"layers\":[").unwrap().1;
    format!("{}}}", layers.split_once('}').unwrap().0)
}

#[test]
fn indexes_that_go_in_circles_or_too_deep_are_told() {
    let pulls = Pulls::new();
    let right = image();
    let manifest = right.manifest();
    pulls.registry.add("deep", "inner", &right);
    let mut deeper = manifest.clone();
    let mut levels = Vec::new();
    for _ in 0..6 {
        deeper = index(OCI_INDEX, &[(&deeper, "linux", "amd64", "")]);
        pulls.registry.add_manifest("deep", "latest", &deeper);
        levels.push(deeper.digest().to_string());
    }
    pulls.refused(
        "deep",
        &["invalid manifest: indexes are nested too deeply", "(index sha256:"],
    );
    assert!(levels.iter().any(|level| pulls.pull("deep").err.contains(level)));
    // An index that has itself can be had only of a registry that lies about its digest.
    let first = index(OCI_INDEX, &[(&manifest, "linux", "amd64", "")]);
    let second = index(OCI_INDEX, &[(&first, "linux", "amd64", "")]);
    pulls.registry.add_manifest("circle", "latest", &second);
    let again = Reply::new(200, OCI_INDEX, second.bytes.clone());
    let digest = first.digest().to_string();
    pulls.registry.order(&digest, Fault::Instead(again), 100);
    pulls.refused("circle", &["manifest verification failed for digest", &digest]);
    pulls.assert_works();
}

#[test]
fn types_that_lie_are_told() {
    let pulls = Pulls::new();
    let right = image();
    let (manifest, text) = (right.manifest(), manifest_of(&right));
    let listed = index(OCI_INDEX, &[(&manifest, "linux", "amd64", "")]);
    // A manifest that comes as an index, and the other way round.
    pulls.registry.add("swapped", "inner", &right);
    for (content, media_type) in [(&manifest, OCI_INDEX), (&listed, OCI_MANIFEST)] {
        let lying = Content::new(media_type, content.bytes.clone());
        pulls.registry.add_manifest("swapped", "latest", &lying);
        let digest = format!("(manifest {})", lying.digest());
        pulls.refused("swapped", &["unsupported manifest media type", &digest]);
    }
    // An index that calls a manifest an index.
    let lying = index(
        OCI_INDEX,
        &[(&Content::new(OCI_INDEX, manifest.bytes.clone()), "linux", "amd64", "")],
    );
    pulls.registry.add_manifest("swapped", "latest", &lying);
    let digest = format!("(manifest {})", manifest.digest());
    pulls.refused("swapped", &["unsupported manifest media type", &digest]);
    // Something else than an image.
    let chart = pulls.add_as(
        "chart",
        &right,
        &text.replace(OCI_CONFIG, "application/vnd.cncf.helm.config.v1+json"),
    );
    let digest = format!("(manifest {})", chart.digest());
    let words = r#"Encountered remote "application/vnd.cncf.helm.config.v1+json"(unknown) when fetching"#;
    pulls.refused("chart", &[words, &digest]);
    let signed = pulls.add_as(
        "signed",
        &right,
        &text.replace(OCI_LAYER_ZSTD, "application/vnd.in-toto+json"),
    );
    let (digest, layer) = (
        format!("(manifest {})", signed.digest()),
        right.layers[1].digest().to_string(),
    );
    pulls.refused(
        "signed",
        &["is of type \"application/vnd.in-toto+json\"", &layer, &digest],
    );
    // How a layer is compressed is told by its bytes.
    let swapped = text
        .replace(OCI_LAYER_ZSTD, "+")
        .replace(OCI_LAYER_GZIP, OCI_LAYER_ZSTD)
        .replace('+', OCI_LAYER_GZIP);
    assert_ne!(swapped, text);
    let one = image_of(
        OCI_LAYER_ZSTD,
        right.layers[0].bytes.clone(),
        &layer_of(&[("first", &noise(20_000, 0)), ("second", b"x")]),
    );
    pulls.registry.add("compression", "latest", &one);
    let said = pulls.pull("compression");
    assert_eq!(said.code, 0, "{said:?}");
}
