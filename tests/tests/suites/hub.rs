//! What the suites pull from Docker Hub, made of this machine's own programs.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use conex_tests::{busybox_layer, compressed};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::registries::image::{Content, DOCKER_CONFIG, DOCKER_LAYER, Image};
use crate::registries::real::{Access, Protocol, RealRegistry};
use crate::slice::{Slice, script_layer};

/// Says what Docker's image of this name says, on the same line.
const HELLO: &str = "#!/bin/sh\necho\necho 'Hello from Docker!'\necho 'This is an image of the tests.'\n";

/// Serves files as the image that the suites take for it does, by busybox.
const SERVE: &str = "#!/bin/sh\nmkdir -p /www\nexec busybox httpd \"$@\"\n";

const REGISTRY_CONFIG: &str = "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /var/lib/registry\n  delete:\n    \
                               enabled: true\nhttp:\n  addr: :5000\n  secret: s\n";

/// The storage of a registry with all of them, made once for the program.
pub(crate) fn stored() -> PathBuf {
    static HUB: OnceLock<TempDir> = OnceLock::new();
    HUB.get_or_init(fill).path().join("storage")
}

fn fill() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let registry = RealRegistry::start(&dir.path().join("registry"), &Access::Open, &Protocol::Http);
    let shell =
        json!({"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]});
    let busybox = Layer::new(busybox_layer());
    let push = |names: &[&str], tag: &str, config: &Value, layers: &[&Layer]| {
        let image = image(config, layers);
        for name in names {
            registry.pusher(name, None).image(&image, tag);
        }
    };
    push(&["library/busybox", "busybox"], "latest", &shell, &[&busybox]);
    let release = Layer::new(conex_tests::layer_of(&[("etc/alpine-release", b"3.22.0\n")]));
    push(&["library/alpine", "alpine"], "latest", &shell, &[&busybox, &release]);
    let hello = Layer::new(script_layer("hello", HELLO));
    let hello_config = json!({"Cmd": ["/hello"], "Env": ["PATH=/bin"]});
    for tag in ["latest", "linux"] {
        let names = ["library/hello-world", "hello-world"];
        push(&names, tag, &hello_config, &[&busybox, &hello]);
    }
    let served = Layer::new(script_layer("usr/sbin/run_uhttpd", SERVE));
    let settings = Layer::new(conex_tests::layer_of(&[(
        "etc/config/uhttpd",
        b"\nconfig uhttpd main\n",
    )]));
    push(
        &["fussybeaver/uhttpd"],
        "latest",
        &shell,
        &[&busybox, &served, &settings],
    );
    let python = Layer::new(Slice::python().archive());
    for tag in ["latest", "3.13-alpine", "3.14-alpine"] {
        let mut config = shell.clone();
        config["Cmd"] = json!(["python3"]);
        config["Labels"] = json!({"tag": tag});
        push(&["library/python"], tag, &config, &[&busybox, &python]);
    }
    let registry_program = Slice::of(&["/usr/bin/docker-registry"])
        .with_file("etc/docker/registry/config.yml", REGISTRY_CONFIG.as_bytes())
        .archive();
    let registry_config = json!({
        "Entrypoint": ["docker-registry"],
        "Cmd": ["serve", "/etc/docker/registry/config.yml"],
        "Env": ["PATH=/usr/bin:/bin"],
        "ExposedPorts": {"5000/tcp": {}},
        "Volumes": {"/var/lib/registry": {}},
    });
    push(
        &["library/registry"],
        "2",
        &registry_config,
        &[&busybox, &Layer::new(registry_program)],
    );
    keep(&dir.path().join("registry/storage"), &dir.path().join("storage"));
    dir
}

/// The registry removes its own at its end.
fn keep(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

/// A layer as it travels, and the digest of what it is.
struct Layer {
    compressed: Vec<u8>,
    diff_id: String,
}

impl Layer {
    fn new(archive: Vec<u8>) -> Self {
        let hex: String = Sha256::digest(&archive)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            diff_id: format!("sha256:{hex}"),
            compressed: compressed("gzip -1 -n", &archive),
        }
    }
}

fn image(config: &Value, layers: &[&Layer]) -> Image {
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let history: Vec<Value> = layers
        .iter()
        .map(|_| json!({"created": "2026-01-01T00:00:00Z", "created_by": "the tests"}))
        .collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    let layers = layers
        .iter()
        .map(|layer| Content::new(DOCKER_LAYER, layer.compressed.clone()));
    Image {
        config: Content::new(DOCKER_CONFIG, config.to_string()),
        layers: layers.collect(),
    }
}
