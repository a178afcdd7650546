//! Images: pulled from registries of every kind, loaded, listed, tagged, removed.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../../crates/registry/tests/support/registries.rs"]
mod registries;

use std::path::Path;
use std::process::Command;

use conex_tests::{
    Sandbox, archive_of, busybox_archive, busybox_layer, compressed, config_of, dist, eventually, layer_of, noise,
};
use registries::faulty::{Fault, Faulty};
use registries::http::{Gate, Reply};
use registries::image::{
    Content, DOCKER_CONFIG, DOCKER_LAYER, Image, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, index,
};
use registries::real::{Access, Protocol, RealRegistry};
use registries::tokens::{Policy, TokenServer};

fn image(config_type: &str, layers: &[(&str, &str, &[u8])]) -> Image {
    let plain: Vec<&[u8]> = layers.iter().map(|(_, _, bytes)| *bytes).collect();
    Image {
        config: Content::new(config_type, config_of(&plain)),
        layers: layers
            .iter()
            .map(|(media_type, program, bytes)| Content::new(media_type, compressed(program, bytes)))
            .collect(),
    }
}

/// A file below a symbolic link that points out of the root.
fn linked_layer() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_ustar();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    archive.append_link(&mut link, "out", "../../../../../tmp").unwrap();
    let mut file = tar::Header::new_ustar();
    file.set_mode(0o644);
    file.set_size(1);
    archive.append_data(&mut file, "out/conex-escaped", &b"x"[..]).unwrap();
    archive.into_inner().unwrap()
}

fn open_registry(sandbox: &Sandbox) -> RealRegistry {
    RealRegistry::start(&sandbox.dir().join("registry"), &Access::Open, &Protocol::Http)
}

#[test]
fn an_image_is_pulled_and_runs_and_the_second_time_it_is_there() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let busybox = image(
        OCI_CONFIG,
        &[
            (OCI_LAYER_GZIP, "gzip", &busybox_layer()),
            (OCI_LAYER_ZSTD, "zstd", &layer_of(&[("etc/second", b"zstd\n")])),
        ],
    );
    registry.pusher("team/busybox", None).image(&busybox, "latest");
    let name = format!("{}/team/busybox", registry.domain());
    let run = ["run", "--rm", "--network", "none", &name, "cat", "/etc/second"];
    let said = sandbox.docker(&run);
    assert_eq!((said.out.as_str(), said.code), ("zstd", 0), "{said:?}");
    for words in [
        "Unable to find image",
        "Pulling from team/busybox",
        "Pull complete",
        "Digest: sha256:",
        "Status: Downloaded newer image for",
    ] {
        assert!(said.err.contains(words), "{words}: {said:?}");
    }
    assert_eq!(sandbox.docker(&run).err, "");
    assert!(sandbox.ok(&["pull", &name]).contains("Status: Image is up to date for"));
    let listed = sandbox.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(listed, format!("{name}:latest"));
}

#[test]
fn without_a_tag_all_of_a_repository_are_pulled() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let busybox = image(OCI_CONFIG, &[(OCI_LAYER_GZIP, "gzip", &busybox_layer())]);
    let more = layer_of(&[("etc/more", b"x")]);
    let larger = image(
        OCI_CONFIG,
        &[
            (OCI_LAYER_GZIP, "gzip", &busybox_layer()),
            (OCI_LAYER_GZIP, "gzip", &more),
        ],
    );
    for (tag, image) in [("1", &busybox), ("2", &busybox), ("latest", &larger)] {
        registry.pusher("team/several", None).image(image, tag);
    }
    let name = format!("{}/team/several", registry.domain());
    let said = sandbox.ok(&["pull", "-a", &name]);
    for words in [
        "1: Pulling from team/several",
        "2: Pulling from team/several",
        "latest: Pulling from team/several",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let outcome = format!("Status: Downloaded newer image for {name}\n{name}");
    assert!(said.ends_with(&outcome), "{said}");
    assert_eq!(said.matches("Status: ").count(), 1, "{said}");
    let listed = sandbox.ok(&["images", "--format", "{{.Tag}}", &name]);
    let mut tags: Vec<&str> = listed.lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "2", "latest"]);
    let again = sandbox.ok(&["pull", "-a", &name]);
    assert!(
        again.ends_with(&format!("Status: Image is up to date for {name}\n{name}")),
        "{again}"
    );
    let until = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    let form = "{{.Action}} {{.Actor.ID}}";
    let events = sandbox.ok(&["events", "--since", "1h", "--until", &until, "--format", form]);
    let pulls: Vec<&str> = events.lines().filter(|line| line.starts_with("pull ")).collect();
    assert_eq!(pulls, [format!("pull {name}"), format!("pull {name}")]);
    let refused = sandbox.request("POST", &format!("/v1.50/images/create?fromImage={name}x"), "");
    assert_eq!(refused.0, 404, "{}", refused.1);
}

#[test]
fn docker_manifests_and_indexes_are_understood() {
    let sandbox = Sandbox::beside_registries();
    let registry = open_registry(&sandbox);
    let pusher = registry.pusher("multi", None);
    let ours = image(DOCKER_CONFIG, &[(DOCKER_LAYER, "gzip", &busybox_layer())]);
    let other = image(OCI_CONFIG, &[(OCI_LAYER_GZIP, "gzip", &layer_of(&[("other", b"x")]))]);
    let (ours, other) = (pusher.image(&ours, "ours"), pusher.image(&other, "other"));
    let both = index(
        OCI_INDEX,
        &[(&other, "linux", "s390x", ""), (&ours, "linux", "amd64", "")],
    );
    pusher.manifest(&both, "latest");
    let name = format!("{}/multi", registry.domain());
    assert_eq!(
        sandbox.ok(&["run", "--rm", "--network", "none", &name, "echo", "ours"]),
        "ours"
    );
    let refused = sandbox.docker(&["pull", "--platform", "linux/riscv64", &name]);
    assert!(
        refused.err.contains("no matching manifest for linux/riscv64"),
        "{refused:?}"
    );
}

#[test]
fn registries_that_want_to_know_who_asks_are_told() {
    let sandbox = Sandbox::beside_registries();
    let busybox = image(OCI_CONFIG, &[(OCI_LAYER_GZIP, "gzip", &busybox_layer())]);
    let basic = RealRegistry::start(
        &sandbox.dir().join("basic"),
        &Access::Basic {
            username: "me",
            password: "pass",
        },
        &Protocol::Http,
    );
    basic
        .pusher("private", Some(&registries::encoding::basic("me", "pass")))
        .image(&busybox, "latest");
    let name = format!("{}/private", basic.domain());
    let refused = sandbox.docker(&["pull", &name]);
    assert!(
        refused.err.contains("no basic auth credentials") || refused.err.contains("unauthorized"),
        "{refused:?}"
    );
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"bWU6cGFzcw=="}}}}}}"#, basic.domain());
    std::fs::write(sandbox.dir().join("config.json"), config).unwrap();
    let pulled = sandbox.docker(&["--config", sandbox.dir().to_str().unwrap(), "pull", &name]);
    assert!(pulled.out.contains("Downloaded newer image"), "{pulled:?}");

    let tokens = TokenServer::start(&sandbox.dir().join("tokens"), Policy::Anonymous);
    let bearer = RealRegistry::start(&sandbox.dir().join("bearer"), &Access::Bearer(&tokens), &Protocol::Http);
    bearer
        .pusher("shared", Some(&tokens.authorization("shared")))
        .image(&busybox, "latest");
    assert!(
        sandbox
            .ok(&["pull", &format!("{}/shared", bearer.domain())])
            .contains("Downloaded newer image")
    );
}

fn staged(sandbox: &Sandbox, file: &str) -> bool {
    let layers = std::fs::read_dir(sandbox.dir().join("data/layers")).unwrap();
    layers.flatten().any(|layer| layer.path().join(file).exists())
}

#[test]
fn a_layer_is_unpacked_while_another_still_arrives() {
    let sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    let parts = image(
        OCI_CONFIG,
        &[
            (OCI_LAYER_GZIP, "gzip", &layer_of(&[("first", b"1")])),
            (OCI_LAYER_GZIP, "gzip", &layer_of(&[("second", b"2")])),
        ],
    );
    registry.add("parts", "latest", &parts);
    let gate = Gate::default();
    registry.order(
        &parts.layers[0].digest().to_string(),
        Fault::WithholdLastByte(gate.clone()),
        1,
    );
    let mut pull = sandbox.background(&["pull", &format!("{}/parts", registry.domain())]);
    eventually("the second layer, unpacked", || staged(&sandbox, "second"));
    gate.open();
    assert!(pull.wait().unwrap().success());
}

#[test]
fn the_first_files_of_a_layer_are_on_disk_while_it_stalls() {
    let sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    // Random enough that half of the blob is half of the archive.
    let noise = noise(4_000_000, 0);
    let large = image(
        OCI_CONFIG,
        &[(
            OCI_LAYER_GZIP,
            "gzip",
            &layer_of(&[("early", b"there"), ("large", &noise)]),
        )],
    );
    registry.add("large", "latest", &large);
    let gate = Gate::default();
    let half = large.layers[0].bytes.len() / 2;
    registry.order(
        &large.layers[0].digest().to_string(),
        Fault::StallAfter(half, gate.clone()),
        1,
    );
    let mut pull = sandbox.background(&["pull", &format!("{}/large", registry.domain())]);
    eventually("the first file", || staged(&sandbox, "early"));
    gate.open();
    assert!(pull.wait().unwrap().success());
}

/// A pull that fails; what it said.
fn refused(sandbox: &Sandbox, domain: &str, name: &str) -> String {
    let said = sandbox.docker(&["pull", &format!("{domain}/{name}")]);
    assert_ne!(said.code, 0, "{said:?}");
    format!("{}{}", said.out, said.err)
}

fn assert_nothing_left(sandbox: &Sandbox) {
    assert_eq!(sandbox.ok(&["images", "-aq"]), "");
    eventually("an empty layer store", || {
        std::fs::read_dir(sandbox.dir().join("data/layers")).unwrap().count() == 0
    });
}

#[test]
fn what_a_registry_does_wrong_is_told_and_nothing_is_left() {
    let sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    let domain = registry.domain();
    let refused = |name: &str| refused(&sandbox, &domain, name);
    let good = image(OCI_CONFIG, &[(OCI_LAYER_GZIP, "gzip", &layer_of(&[("file", b"x")]))]);

    assert!(refused("nosuch").contains("nosuch"), "{}", refused("nosuch"));
    let mut wrong = good.clone();
    wrong.config = Content::new(OCI_CONFIG, config_of(&[b"something else"]));
    registry.add("diff-id", "latest", &wrong);
    assert!(
        refused("diff-id").contains("layer verification failed"),
        "{}",
        refused("diff-id")
    );
    // A layer that is right, beside one that is not what the configuration says.
    let other = layer_of(&[("other", b"y")]);
    let mut beside = image(
        OCI_CONFIG,
        &[
            (OCI_LAYER_GZIP, "gzip", &other),
            (OCI_LAYER_GZIP, "gzip", &layer_of(&[("file", b"z")])),
        ],
    );
    beside.config = Content::new(OCI_CONFIG, config_of(&[&other, b"something else"]));
    registry.add("beside", "latest", &beside);
    assert!(refused("beside").contains("layer verification failed"));
    registry.add("corrupt", "latest", &good);
    registry.order(&good.layers[0].digest().to_string(), Fault::Corrupt, 100);
    let said = refused("corrupt");
    assert!(said.contains("failed"), "{said}");
    registry.add_manifest(
        "no-json",
        "latest",
        &Content::new("application/vnd.oci.image.manifest.v1+json", "no json"),
    );
    assert!(
        refused("no-json").contains("invalid manifest"),
        "{}",
        refused("no-json")
    );
    assert_nothing_left(&sandbox);
    // There is no transfer to go on with.
    assert_eq!(partials(&sandbox), []);
}

#[test]
fn a_layer_that_leaves_the_root_is_refused() {
    let sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    let domain = registry.domain();
    let refused = |name: &str| refused(&sandbox, &domain, name);
    for (name, path) in [("climbs", "../outside"), ("absolute", "/outside")] {
        registry.add(
            name,
            "latest",
            &image(OCI_CONFIG, &[(OCI_LAYER_GZIP, "gzip", &layer_of(&[(path, b"x")]))]),
        );
        assert!(refused(name).contains("outside"), "{}", refused(name));
    }
    registry.add(
        "linked",
        "latest",
        &image(OCI_CONFIG, &[(OCI_LAYER_GZIP, "gzip", &linked_layer())]),
    );
    assert!(refused("linked").contains("out"), "{}", refused("linked"));
    assert_nothing_left(&sandbox);
    assert!(!sandbox.dir().join("data/outside").exists());
    assert!(!std::path::Path::new("/tmp/conex-escaped").exists());
    assert!(!std::path::Path::new("/outside").exists());
}

#[test]
fn transfers_that_break_off_or_ask_for_ever_are_told() {
    let sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    let domain = registry.domain();
    let refused = |name: &str| refused(&sandbox, &domain, name);
    let good = image(OCI_CONFIG, &[(OCI_LAYER_GZIP, "gzip", &layer_of(&[("file", b"x")]))]);
    let mut truncated = good.clone();
    truncated.layers[0] = Content::new(OCI_LAYER_GZIP, compressed("gzip", &busybox_layer()));
    truncated.config = Content::new(OCI_CONFIG, config_of(&[&busybox_layer()]));
    registry.add("truncated", "latest", &truncated);
    registry.order(
        &truncated.layers[0].digest().to_string(),
        Fault::TruncateAfter(100_000),
        100,
    );
    let said = refused("truncated");
    assert!(said.contains("EOF"), "{said}");
    registry.add("asks-for-ever", "latest", &good);
    let who = || Reply::error(401, "UNAUTHORIZED", "authentication required").header("WWW-Authenticate", "Basic");
    registry.order("/v2/asks-for-ever/", Fault::Instead(who()), 1000);
    let said = refused("asks-for-ever");
    assert!(
        said.contains("unauthorized") || said.contains("no basic auth credentials"),
        "{said}"
    );
    assert_nothing_left(&sandbox);
}

#[test]
fn a_registry_that_is_down_is_told() {
    let sandbox = Sandbox::beside_registries();
    let said = sandbox.docker(&["pull", "127.0.0.1:1/x"]);
    assert!(said.err.contains("connection refused"), "{said:?}");
}

#[test]
fn an_archive_is_loaded_tagged_and_removed() {
    let sandbox = Sandbox::empty();
    let archive = busybox_archive(sandbox.dir());
    assert_eq!(
        sandbox.ok(&["load", "-i", archive.to_str().unwrap()]),
        "Loaded image: busybox:latest"
    );
    sandbox.ok(&["tag", "busybox", "mine:1"]);
    let ids: Vec<String> = sandbox
        .ok(&["images", "--format", "{{.ID}}"])
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
    assert_eq!(
        sandbox.ok(&[
            "inspect",
            "--format",
            "{{.Os}} {{index .Config.Labels \"made\"}}",
            &ids[0]
        ]),
        "linux here"
    );
    assert_eq!(sandbox.ok(&["rmi", "busybox"]), "Untagged: busybox:latest");
    sandbox.ok(&["create", "--name", "user", "mine:1"]);
    let refused = sandbox.docker(&["rmi", "mine:1"]);
    assert!(
        refused
            .err
            .contains("conflict: unable to remove repository reference \"mine:1\" (must force)"),
        "{refused:?}"
    );
    sandbox.ok(&["rm", "user"]);
    let removed = sandbox.ok(&["rmi", "mine:1"]);
    assert!(
        removed.contains("Untagged: mine:1") && removed.contains("Deleted: sha256:"),
        "{removed}"
    );
    assert_eq!(sandbox.ok(&["images", "-aq"]), "");
    assert!(sandbox.docker(&["rmi", "mine:1"]).err.contains("No such image: mine:1"));
    for name in ["BAD", "a/push%20x"] {
        let refused = sandbox.request("DELETE", &format!("/v1.50/images/{name}"), "");
        assert_eq!(refused.0, 400, "{}", refused.1);
    }
    // What is wrong with an archive is told by the stream.
    let refused = sandbox.request("POST", "/v1.50/images/load", "no archive at all");
    assert!(refused.0 == 200 && refused.1.contains("\"errorDetail\""), "{refused:?}");
    let broken = sandbox.dir().join("broken.tar");
    std::fs::write(&broken, b"no archive at all").unwrap();
    assert_ne!(sandbox.docker(&["load", "-i", broken.to_str().unwrap()]).code, 0);
}

#[test]
fn an_archive_of_an_image_is_loaded_however_it_is_compressed() {
    let sandbox = Sandbox::empty();
    let archive = busybox_archive(sandbox.dir());
    let bytes = std::fs::read(&archive).unwrap();
    for program in ["gzip", "zstd", "bzip2", "xz"] {
        let packed = compressed(program, &bytes);
        let said = sandbox.with_input(&["load"], &packed);
        assert_eq!(said.out, "Loaded image: busybox:latest", "{program}: {said:?}");
        sandbox.ok(&["rmi", "busybox"]);
        // What breaks off, and what is wrong in its middle.
        let mut wrong = packed.clone();
        wrong[packed.len() / 2] ^= 0x55;
        for bad in [&packed[..packed.len() / 2], &wrong] {
            let said = sandbox.with_input(&["load"], bad);
            assert_ne!(said.code, 0, "{program}: {said:?}");
            assert_eq!(sandbox.ok(&["images", "-aq"]), "");
        }
    }
}

#[test]
fn an_image_that_is_removed_by_force_stays_for_its_stopped_containers() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo x > /new",
    ]);
    let id = sandbox.ok(&["image", "inspect", "--format", "{{.Id}}", "busybox"]);
    let listed = |sandbox: &Sandbox| sandbox.ok(&["ps", "-a", "--no-trunc", "--format", "{{.Image}}"]);
    assert_eq!(listed(&sandbox), "busybox");
    assert_eq!(
        sandbox.ok(&["rmi", "-f", "busybox"]),
        format!("Untagged: busybox:latest\nDeleted: {id}")
    );
    for _ in 0..2 {
        assert_eq!(sandbox.ok(&["images", "-aq"]), "");
        assert!(sandbox.docker(&["image", "inspect", &id]).err.contains("No such image"));
        assert!(sandbox.docker(&["create", &id]).err.contains("No such image"));
        assert_eq!(listed(&sandbox), id);
        assert_eq!(
            sandbox.ok(&["inspect", "--format", "{{.Config.Image}} {{.Image}}", "box"]),
            format!("busybox {id}")
        );
        assert!(sandbox.ok(&["diff", "box"]).contains("A /new"));
        sandbox.ok(&["start", "-a", "box"]);
        sandbox.kill();
        sandbox.start(&[]);
    }
    sandbox.ok(&["rm", "box"]);
    assert_eq!(
        sandbox
            .ok(&["system", "df", "--format", "{{.Type}} {{.Size}}"])
            .lines()
            .next(),
        Some("Images 0B")
    );
}

#[test]
fn an_image_that_is_removed_by_force_keeps_what_runs() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["image", "inspect", "--format", "{{.Id}}", "busybox"]);
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]);
    // Its image stays for it, without a name.
    assert_eq!(sandbox.ok(&["rmi", "-f", "busybox"]), "Untagged: busybox:latest");
    assert_eq!(
        sandbox.ok(&["images", "-q", "--no-trunc", "--filter", "dangling=true"]),
        id
    );
    assert!(
        sandbox
            .docker(&["rmi", "-f", &id])
            .err
            .contains("is being used by running container")
    );
    assert_eq!(sandbox.ok(&["ps", "--no-trunc", "--format", "{{.Image}}"]), id);
    sandbox.ok(&["rm", "-f", "box"]);
}

#[test]
fn archives_that_share_layers_are_loaded_at_once() {
    let sandbox = Sandbox::empty();
    let layer = busybox_layer();
    let archives: Vec<_> = (0..6)
        .map(|number| {
            let path = sandbox.dir().join(format!("{number}.tar"));
            std::fs::write(&path, archive_of(&format!("shared{number}"), &layer)).unwrap();
            path
        })
        .collect();
    let loads: Vec<_> = archives
        .iter()
        .map(|path| sandbox.background(&["load", "-q", "-i", path.to_str().unwrap()]))
        .collect();
    for load in loads {
        let output = load.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(sandbox.ok(&["images", "-q"]).lines().count(), 6);
    for number in 0..6 {
        assert_eq!(
            sandbox.ok(&["run", "--rm", &format!("shared{number}"), "echo", "whole"]),
            "whole"
        );
    }
}

#[test]
fn a_pull_that_dies_with_the_daemon_leaves_nothing_and_begins_again() {
    let mut sandbox = Sandbox::beside_registries();
    let registry = Faulty::start();
    let parts = image(
        OCI_CONFIG,
        &[
            (OCI_LAYER_GZIP, "gzip", &busybox_layer()),
            (OCI_LAYER_ZSTD, "zstd", &layer_of(&[("second", b"two\n")])),
        ],
    );
    registry.add("parts", "latest", &parts);
    let name = format!("{}/parts", registry.domain());
    let size = parts.layers[0].bytes.len();
    // At the manifest, in the first layer, between its last byte and its record, and at any moment.
    for round in 0..12 {
        let gate = Gate::default();
        let fault = match round % 3 {
            0 => Some(Fault::StallAfter(size * round / 12, gate.clone())),
            1 => Some(Fault::WithholdLastByte(gate.clone())),
            _ => None,
        };
        if let Some(fault) = fault {
            registry.order(&parts.layers[0].digest().to_string(), fault, 1);
        }
        let mut pull = sandbox.background(&["pull", &name]);
        std::thread::sleep(std::time::Duration::from_millis(20 + 13 * round as u64));
        sandbox.kill();
        gate.open();
        pull.wait().unwrap();
        registry.forget_orders();
        sandbox.start(&[]);
        // It is there whole, or not at all.
        let there = !sandbox.ok(&["images", "-q"]).is_empty();
        if !there {
            assert_nothing_left(&sandbox);
            assert_eq!(
                std::fs::read_dir(sandbox.dir().join("data/content/ingest"))
                    .unwrap()
                    .count(),
                0
            );
            sandbox.ok(&["pull", "-q", &name]);
        }
        assert_eq!(
            sandbox.ok(&["run", "--rm", "--network", "none", &name, "cat", "/second"]),
            "two",
            "round {round}"
        );
        sandbox.ok(&["rmi", &name]);
        assert_nothing_left(&sandbox);
    }
}

/// What came of pulls that broke off: bytes, by the blobs' digests.
fn partials(sandbox: &Sandbox) -> Vec<(String, u64)> {
    let files = std::fs::read_dir(sandbox.dir().join("data/content/partial")).unwrap();
    let files = files.flatten().map(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        (format!("sha256:{name}"), file.metadata().unwrap().len())
    });
    files.collect()
}

/// Pulls of a small and a large layer that break off when nine tenths of the large one are there.
struct Broken {
    registry: Faulty,
    small: Content,
    large: Content,
    name: String,
}

impl Broken {
    fn new() -> Self {
        let registry = Faulty::start();
        let noise = noise(4_000_000, 0);
        let parts = image(
            OCI_CONFIG,
            &[
                (OCI_LAYER_GZIP, "gzip", &layer_of(&[("small", b"is whole")])),
                (OCI_LAYER_GZIP, "gzip", &layer_of(&[("large", &noise)])),
            ],
        );
        registry.add("parts", "latest", &parts);
        let name = format!("{}/parts", registry.domain());
        let [small, large] = <[Content; 2]>::try_from(parts.layers).ok().unwrap();
        Self {
            registry,
            small,
            large,
            name,
        }
    }

    /// Begins a pull, and comes back when it stands still.
    fn begin(&self, sandbox: &Sandbox) -> (std::process::Child, Gate) {
        let gate = Gate::default();
        let most = self.large.bytes.len() * 9 / 10;
        let (small, large) = (self.small.digest().to_string(), self.large.digest().to_string());
        self.registry.order(&large, Fault::StallAfter(most, gate.clone()), 1);
        let pull = sandbox.background(&["pull", &self.name]);
        // What is kept is what was unpacked, a little less than what came.
        let all = (self.small.bytes.len() as u64, self.large.bytes.len() as u64 * 88 / 100);
        eventually("nine tenths", || {
            let there = partials(sandbox);
            let length = |digest: &str| {
                there
                    .iter()
                    .find(|(name, _)| name == digest)
                    .map_or(0, |(_, length)| *length)
            };
            length(&small) == all.0 && length(&large) >= all.1
        });
        (pull, gate)
    }

    /// Pulls to the end; the places from which each blob was asked for.
    fn finish(&self, sandbox: &Sandbox) -> Vec<(String, u64)> {
        let before = self.registry.server.requests().len();
        sandbox.ok(&["pull", "-q", &self.name]);
        let requests = self.registry.server.requests().split_off(before);
        let of_layers = [&self.small, &self.large].map(|layer| layer.digest().to_string());
        let asked = requests.iter().filter_map(|request| {
            let digest = of_layers
                .iter()
                .find(|digest| request.path.ends_with(digest.as_str()))?;
            let range = request.header("range").unwrap_or("bytes=0-");
            let start = range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?;
            Some((digest.clone(), start))
        });
        asked.collect()
    }
}

#[test]
fn a_pull_that_breaks_off_goes_on_where_it_was() {
    let mut sandbox = Sandbox::beside_registries();
    let broken = Broken::new();
    for how in ["the client goes away", "the daemon ends", "the daemon is killed"] {
        let (mut pull, gate) = broken.begin(&sandbox);
        match how {
            "the client goes away" => pull.kill().unwrap(),
            "the daemon ends" => sandbox.terminate(),
            _ => sandbox.kill(),
        }
        pull.wait().unwrap();
        if how == "the client goes away" {
            assert_nothing_left(&sandbox);
        }
        gate.open();
        if how != "the client goes away" {
            sandbox.start(&[]);
        }
        let asked = broken.finish(&sandbox);
        // Of the small layer nothing is asked for again, of the large one not more than an eighth.
        let [(digest, start)] = asked.as_slice() else {
            panic!("{how}: {asked:?}");
        };
        assert_eq!(*digest, broken.large.digest().to_string(), "{how}");
        let length = broken.large.bytes.len() as u64;
        assert!(length - start < length * 12 / 100, "{how}: {start} of {length}");
        assert_eq!(partials(&sandbox), [], "{how}");
        sandbox.ok(&["create", "--name", "made", &broken.name, "x"]);
        let said = sandbox.docker(&["cp", "made:/large", "-"]);
        assert!(said.out.len() > 4_000_000 / 2, "{how}");
        sandbox.ok(&["rm", "made"]);
        sandbox.ok(&["rmi", &broken.name]);
        assert_nothing_left(&sandbox);
    }
}

#[test]
fn what_was_kept_of_a_pull_and_is_not_right_is_fetched_anew() {
    let mut sandbox = Sandbox::beside_registries();
    let broken = Broken::new();
    let (mut pull, gate) = broken.begin(&sandbox);
    sandbox.kill();
    pull.wait().unwrap();
    gate.open();
    // A disk that has lost some of it.
    let large = broken.large.digest().to_string();
    let path = sandbox
        .dir()
        .join("data/content/partial")
        .join(large.trim_start_matches("sha256:"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    sandbox.start(&[]);
    let asked = broken.finish(&sandbox);
    let again: Vec<u64> = asked
        .iter()
        .filter(|(digest, _)| *digest == large)
        .map(|(_, start)| *start)
        .collect();
    assert_eq!((again.len(), again.last()), (2, Some(&0)), "{asked:?}");
    assert_eq!(partials(&sandbox), []);
}

#[test]
fn what_was_kept_of_a_pull_is_pruned_with_images() {
    let mut sandbox = Sandbox::beside_registries();
    let broken = Broken::new();
    let (mut pull, gate) = broken.begin(&sandbox);
    // Not what is being fetched.
    sandbox.ok(&["image", "prune", "-f"]);
    let large = broken.large.digest().to_string();
    assert!(partials(&sandbox).iter().any(|(digest, _)| *digest == large));
    sandbox.kill();
    pull.wait().unwrap();
    gate.open();
    sandbox.start(&[]);
    // (The client shows the space only where images were deleted.)
    let kept: u64 = partials(&sandbox).iter().map(|(_, length)| *length).sum();
    let (_, said) = sandbox.request("POST", "/v1.50/images/prune", "");
    assert!(
        said.contains(&format!(r#""SpaceReclaimed":{kept}"#)) && kept > 1_000_000,
        "{said}"
    );
    assert_eq!(partials(&sandbox), []);
}

#[test]
fn a_login_is_tried_at_the_registry_and_serves_later_pulls() {
    let sandbox = Sandbox::beside_registries();
    let busybox = image(OCI_CONFIG, &[(OCI_LAYER_GZIP, "gzip", &busybox_layer())]);
    let account = Access::Basic {
        username: "me",
        password: "pass",
    };
    let basic = RealRegistry::start(&sandbox.dir().join("basic"), &account, &Protocol::Http);
    let authorization = registries::encoding::basic("me", "pass");
    basic.pusher("private", Some(&authorization)).image(&busybox, "latest");
    let strict = Policy::Strict {
        username: "me".to_owned(),
        password: "pass".to_owned(),
    };
    let tokens = TokenServer::start(&sandbox.dir().join("tokens"), strict);
    let bearer = RealRegistry::start(&sandbox.dir().join("bearer"), &Access::Bearer(&tokens), &Protocol::Http);
    let config = sandbox.dir().join("docker-config");
    let docker = |arguments: &[&str]| {
        let config = ["--config", config.to_str().unwrap()];
        sandbox.docker(&[&config, arguments].concat())
    };
    for domain in [basic.domain(), bearer.domain()] {
        let refused = docker(&["login", "-u", "me", "-p", "wrong", &domain]);
        assert_ne!(refused.code, 0, "{refused:?}");
        assert!(
            refused.err.contains("401") || refused.err.contains("unauthorized"),
            "{refused:?}"
        );
        let taken = docker(&["login", "-u", "me", "-p", "pass", &domain]);
        assert!(taken.code == 0 && taken.out.contains("Login Succeeded"), "{taken:?}");
    }
    let pulled = docker(&["pull", &format!("{}/private", basic.domain())]);
    assert!(pulled.out.contains("Downloaded newer image"), "{pulled:?}");
    // Our own command line finds what the other has stored.
    let name = format!("{}/private", basic.domain());
    let conex = |config: &Path, arguments: &[&str]| {
        let host = format!("unix://{}", sandbox.socket().display());
        let mut conex = Command::new(dist().join("conex"));
        conex.env("DOCKER_CONFIG", config).args(["-H", &host]);
        conex.args(arguments).output().unwrap()
    };
    for (verb, refused) in [
        ("push", "no basic auth credentials"),
        ("pull", "no basic auth credentials"),
    ] {
        let without = conex(sandbox.dir(), &[verb, &name]);
        let said = String::from_utf8_lossy(&without.stderr).into_owned();
        assert!(!without.status.success() && said.contains(refused), "{verb}: {said}");
        let with = conex(&config, &[verb, &name]);
        assert!(with.status.success(), "{verb}: {with:?}");
    }
    let nowhere = docker(&["login", "-u", "me", "-p", "pass", "127.0.0.1:1"]);
    assert!(nowhere.err.contains("connection refused"), "{nowhere:?}");
}
