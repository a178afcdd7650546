//! Manifests, indexes and configurations.

use conex_image::ImageConfig;
use conex_reference::Platform;
use conex_registry::{Manifest, manifest};
use serde_json::Value;

use crate::fuzzer::{Target, as_it_is, shape};

const TYPES: [&str; 5] = [
    manifest::OCI_INDEX,
    manifest::OCI_MANIFEST,
    manifest::DOCKER_LIST,
    manifest::DOCKER_MANIFEST,
    "application/json",
];

const WORDS: [&[u8]; 16] = [
    b"\"schemaVersion\":2",
    b"\"mediaType\":\"application/vnd.oci.image.index.v1+json\"",
    b"\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"",
    b"\"manifests\":[",
    b"\"config\":{",
    b"\"layers\":[",
    b"\"digest\":\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
    b"\"size\":18446744073709551616",
    b"\"size\":-1",
    b"\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"null",
    b"\\u0000",
    b"1e999",
    b"\"fsLayers\":[]",
    b"\"rootfs\":{\"diff_ids\":[\"\"]}",
];

fn check(input: &[u8]) -> String {
    let mut did = String::new();
    for media_type in TYPES {
        let parsed = manifest::parse(media_type, input);
        // What is printed of it means the same.
        if let Ok(value) = serde_json::from_slice::<Value>(input)
            && let Ok(before) = &parsed
        {
            let after = manifest::parse(media_type, value.to_string().as_bytes()).unwrap();
            assert_eq!(before, &after, "{media_type}");
        }
        match parsed {
            Ok(Manifest::Index(entries)) => {
                let of = |machine: &str| manifest::select(&entries, &Platform::of_machine(machine)).is_ok();
                did += &format!("index {} {} ", of("x86_64"), of("s390x"));
            }
            Ok(Manifest::Image { layers, .. }) => did += &format!("image {} ", layers.len().min(3)),
            Err(error) => did += &shape(&error.to_string()),
        }
    }
    match serde_json::from_slice::<ImageConfig>(input) {
        Ok(config) => {
            let text = serde_json::to_vec(&config).unwrap();
            assert_eq!(serde_json::from_slice::<ImageConfig>(&text).unwrap(), config);
            did += &format!(
                "config {} {}",
                config.rootfs.diff_ids.len().min(3),
                config.history.len().min(3)
            );
        }
        Err(error) => did += &shape(&error.to_string()),
    }
    did
}

const TARGET: Target<'_> = Target {
    name: "manifests",
    words: &WORDS,
    mend: &as_it_is,
    check: &check,
};

#[test]
fn manifests_are_parsed_and_printed() {
    TARGET.run();
}

#[test]
#[ignore = "writes the corpus"]
fn keep_manifests() {
    let descriptor = |media_type: &str| {
        let digits = "0123456789abcdef".repeat(4);
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{digits}","size":7}}"#)
    };
    let image = |own: &str| {
        let (config, layer) = (descriptor(manifest::OCI_CONFIG), descriptor(manifest::DOCKER_LAYER));
        format!(r#"{{"schemaVersion":2,"mediaType":"{own}","config":{config},"layers":[{layer},{layer}]}}"#)
    };
    let entry = descriptor(manifest::OCI_MANIFEST);
    let entry = entry.trim_end_matches('}');
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{entry},"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}},{entry}}}]}}"#
    );
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Env":["A=b"],"Labels":{"a":"b"},
        "ExposedPorts":{"80/tcp":{}},"Healthcheck":{"Test":["NONE"],"Interval":1},"Volumes":null},"history":[{"created_by":"x",
        "empty_layer":true}],"rootfs":{"type":"layers","diff_ids":["sha256:00"]}}"#;
    let seeds = [
        ("oci", image(manifest::OCI_MANIFEST).into_bytes()),
        ("docker", image(manifest::DOCKER_MANIFEST).into_bytes()),
        ("index", index.into_bytes()),
        (
            "schema-1",
            br#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#.to_vec(),
        ),
        ("config", config.as_bytes().to_vec()),
    ];
    TARGET.keep(&seeds);
}
