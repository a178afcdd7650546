//! What an archive for `docker load` or `docker import` may have wrong.

use conex_tests::{Said, Sandbox, archive_of, busybox_archive, compressed, config_of, layer_of, noise};
use sha2::{Digest, Sha256};

use crate::making::{bits, flipped, member};
use crate::state::{State, refused, state};

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A store that has something, and what it was.
struct Loads {
    sandbox: Sandbox,
    before: State,
}

impl Loads {
    fn new() -> Self {
        let sandbox = Sandbox::empty();
        let archive = busybox_archive(sandbox.dir());
        sandbox.ok(&["load", "-q", "-i", archive.to_str().unwrap()]);
        let before = state(&sandbox);
        Self { sandbox, before }
    }

    fn load(&self, archive: &[u8]) -> Said {
        self.sandbox.with_input(&["load"], archive)
    }

    fn refused(&self, what: &str, archive: &[u8], words: &[&str]) {
        refused(&self.sandbox, &self.before, what, &self.load(archive), words);
    }

    /// Something right comes in.
    fn assert_works(&self) {
        let said = self.load(&archive_of("works", &layer()));
        assert_eq!(said.code, 0, "{said:?}");
    }
}

fn layer() -> Vec<u8> {
    layer_of(&[("first", &noise(20_000, 0)), ("second", b"x")])
}

/// The parts of an archive as `docker save` writes it: layer, configuration and manifest, with their names.
fn parts(layer: &[u8]) -> Vec<(String, Vec<u8>)> {
    let config = config_of(&[layer]).into_bytes();
    let (layer_name, config_name) = (format!("{}/layer.tar", hex(layer)), format!("{}.json", hex(&config)));
    let manifest = format!(r#"[{{"Config":"{config_name}","RepoTags":["a:1"],"Layers":["{layer_name}"]}}]"#);
    vec![
        (layer_name, layer.to_vec()),
        (config_name, config),
        ("manifest.json".to_owned(), manifest.into_bytes()),
    ]
}

/// The parts of an OCI layout.
fn layout() -> Vec<(String, Vec<u8>)> {
    let layer = layer();
    let (blob, config) = (compressed("gzip", &layer), config_of(&[&layer]).into_bytes());
    let descriptor = |media_type: &str, bytes: &[u8]| {
        let (digest, size) = (hex(bytes), bytes.len());
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{digest}","size":{size}"#)
    };
    let (config_entry, layer_entry) = (
        descriptor("application/vnd.oci.image.config.v1+json", &config),
        descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &blob),
    );
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{manifest_type}","config":{config_entry}}},"layers":[{layer_entry}}}]}}"#
    )
    .into_bytes();
    let entry = descriptor(manifest_type, &manifest);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{entry},"annotations":{{"io.containerd.image.name":"docker.io/library/a:1"}}}}]}}"#
    );
    let name = |bytes: &[u8]| format!("blobs/sha256/{}", hex(bytes));
    vec![
        (name(&blob), blob),
        (name(&config), config),
        (name(&manifest), manifest),
        ("index.json".to_owned(), index.into_bytes()),
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
    ]
}

fn archived(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let members = parts
        .iter()
        .flat_map(|(name, bytes)| member(name, tar::EntryType::Regular, bytes));
    members.chain([0; 1024]).collect()
}

#[test]
fn a_bit_that_is_wrong_in_an_archive_is_told_with_the_file() {
    let loads = Loads::new();
    let good = parts(&layer());
    // Of the manifest only what cannot be read or found is known to be wrong.
    for (number, words) in [(0, "(layer sha256:"), (1, "invalid archive: ")] {
        let (name, bytes) = &good[number];
        for bit in bits(bytes.len(), 12) {
            // Padding between the members of a layer is not the layer's own, but has its part in the diff id.
            let mut wrong = good.clone();
            wrong[number].1 = flipped(bytes, bit);
            let name = if number == 0 { "" } else { name };
            loads.refused("a flipped bit", &archived(&wrong), &[words, name]);
        }
    }
    let mut wrong = good.clone();
    wrong[2].1 = flipped(&wrong[2].1, 8);
    loads.refused(
        "manifest",
        &archived(&wrong),
        &["invalid archive: manifest.json: ", "line 1 column"],
    );
    let layout = layout();
    for (name, bytes) in &layout[..3] {
        for bit in bits(bytes.len(), 8) {
            let mut wrong = layout.clone();
            wrong.iter_mut().find(|part| part.0 == *name).unwrap().1 = flipped(bytes, bit);
            loads.refused(
                "a layout",
                &archived(&wrong),
                &["invalid archive: ", name, " has the digest sha256:"],
            );
        }
    }
    let said = loads.load(&archived(&layout));
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn archives_that_break_off_miss_something_or_lie_are_told() {
    let loads = Loads::new();
    let good = archived(&parts(&layer()));
    loads.refused("cut", &good[..10_000], &["unexpected EOF (byte 10000 of the archive)"]);
    let mut header = good.clone();
    header[3] ^= 1;
    loads.refused(
        "header",
        &header,
        &["invalid tar header: checksum (byte 0 of the archive)"],
    );
    for program in ["gzip", "zstd", "bzip2", "xz"] {
        let packed = compressed(program, &good);
        let cut = &packed[..packed.len() / 2];
        loads.refused(program, cut, &["unexpected EOF (byte ", "of the compressed archive)"]);
        let mut wrong = packed.clone();
        wrong[packed.len() / 2] ^= 0x55;
        loads.refused(program, &wrong, &["(byte "]);
    }
    for (missing, (name, _)) in parts(&layer()).into_iter().enumerate().take(2) {
        let mut left = parts(&layer());
        left.remove(missing);
        let words = if missing == 0 {
            "is not in the archive, nor is it here"
        } else {
            " is missing"
        };
        loads.refused(
            "missing",
            &archived(&left),
            &[words, name.trim_end_matches("/layer.tar")],
        );
    }
    // Sizes in a layout.
    let mut lying = layout();
    let length = lying[0].1.len();
    let manifest = String::from_utf8(lying[2].1.clone()).unwrap();
    let manifest = manifest
        .replace(&format!("\"size\":{length}"), &format!("\"size\":{}", length + 1))
        .into_bytes();
    let index = String::from_utf8(lying[3].1.clone()).unwrap();
    let old = lying[2].0.trim_start_matches("blobs/sha256/").to_owned();
    lying[3].1 = index.replace(&old, &hex(&manifest)).into_bytes();
    lying[2] = (format!("blobs/sha256/{}", hex(&manifest)), manifest);
    let digest = lying[0].0.replace("blobs/sha256/", "sha256:");
    loads.refused("size", &archived(&lying), &["size verification failed for", &digest]);
    // Of several images one is not right: none comes in.
    let (first, second) = (parts(&layer()), parts(&layer_of(&[("other", b"y")])));
    let list = |part: &[(String, Vec<u8>)]| String::from_utf8(part[2].1.clone()).unwrap();
    let both = format!(
        "[{},{}]",
        list(&first).trim_matches(['[', ']']),
        list(&second).trim_matches(['[', ']'])
    );
    let mut all = [&first[..2], &second[..2]].concat();
    all.push(("manifest.json".to_owned(), both.into_bytes()));
    all[2].1[512] ^= 1;
    loads.refused(
        "one of two",
        &archived(&all),
        &["layer verification failed", "(layer sha256:"],
    );
    loads.assert_works();
}

#[test]
fn root_file_systems_that_are_wrong_are_told_with_the_place() {
    let loads = Loads::new();
    let import = |bytes: &[u8]| loads.sandbox.with_input(&["import", "-", "made:1"], bytes);
    let layer = layer();
    let refused = |what: &str, bytes: &[u8], words: &[&str]| {
        refused(&loads.sandbox, &loads.before, what, &import(bytes), words);
    };
    refused("cut", &layer[..10_000], &["unexpected EOF (byte 10000 of the archive)"]);
    let mut header = layer.clone();
    header[3] ^= 1;
    refused(
        "header",
        &header,
        &["archive/tar: invalid tar header: checksum (byte 0 of the archive)"],
    );
    for program in ["gzip", "zstd", "bzip2", "xz"] {
        let packed = compressed(program, &layer);
        let cut = &packed[..packed.len() / 2];
        refused(program, cut, &["unexpected EOF (byte ", "of the compressed archive)"]);
        let mut wrong = packed.clone();
        wrong[packed.len() / 2] ^= 0x55;
        refused(program, &wrong, &["(byte "]);
    }
    let said = import(&layer);
    assert_eq!(said.code, 0, "{said:?}");
}
