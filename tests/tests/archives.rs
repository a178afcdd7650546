//! Archives of images: of part of an image's layers, and to and from other programs.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use conex_tests::{Sandbox, archive_of_all, busybox_archive, busybox_layer, dist, hex};
use serde_json::Value;

/// `conex` beside a sandbox's daemon.
fn conex(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let mut command = Command::new(dist().join("conex"));
    command
        .arg("--host")
        .arg(format!("unix://{}", sandbox.socket().display()));
    command.args(arguments).output().unwrap()
}

fn conex_ok(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let output = conex(sandbox, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn program(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output().unwrap();
    assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn path(dir: &Path, file: &str) -> String {
    dir.join(file).to_str().unwrap().to_owned()
}

/// A sandbox with `busybox`, and `more` upon it.
fn with_more() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "--name",
        "c1",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo more > /etc/more",
    ]);
    sandbox.ok(&["commit", "c1", "more"]);
    sandbox
}

fn prints_more(sandbox: &Sandbox, image: &str) -> String {
    sandbox.ok(&["run", "--rm", "--network", "none", image, "cat", "/etc/more"])
}

fn id(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok(&["image", "inspect", "--format", "{{.Id}}", name])
}

#[test]
fn an_archive_since_an_image_has_only_the_layers_that_it_lacks() {
    let sandbox = with_more();
    let (whole, part) = (path(sandbox.dir(), "whole.tar"), path(sandbox.dir(), "part.tar"));
    conex_ok(&sandbox, &["save", "-o", &whole, "more"]);
    conex_ok(&sandbox, &["save", "--since", "busybox", "-o", &part, "more"]);
    let size = |path: &str| fs::metadata(path).unwrap().len();
    assert!(size(&whole) > busybox_layer().len() as u64);
    assert!(size(&part) < 40_000, "{}", size(&part));
    // Who has not what it was saved upon is told, and nothing is left.
    let other = Sandbox::empty();
    let refused = conex(&other, &["load", "-i", &part]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && words.contains("is not in the archive, nor is it here"),
        "{words}"
    );
    assert_eq!(other.ok(&["images", "-aq"]), "");
    assert_eq!(fs::read_dir(other.dir().join("data/layers")).unwrap().count(), 0);
    let base = busybox_archive(other.dir());
    other.ok(&["load", "-q", "-i", base.to_str().unwrap()]);
    assert_eq!(conex_ok(&other, &["load", "-i", &part]), "Loaded image: more:latest");
    assert_eq!(
        (prints_more(&other, "more"), id(&other, "more")),
        ("more".to_owned(), id(&sandbox, "more"))
    );
    let refused = conex(&sandbox, &["save", "--since", "nothing", "-o", &part, "more"]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("No such image: nothing"),
        "{refused:?}"
    );
    let names: Vec<PathBuf> = fs::read_dir(sandbox.dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(
        names.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")),
        "{names:?}"
    );
}

/// A layer of members as they are given: directories end with a slash, a link has a target.
fn layer_with(members: &[(&str, u32, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, contents) in members {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_size(0);
        if let Some(target) = contents.strip_prefix("=> ") {
            header.set_entry_type(tar::EntryType::Link);
            archive.append_link(&mut header, name, target).unwrap();
        } else if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, name, std::io::empty()).unwrap();
        } else {
            header.set_size(contents.len() as u64);
            archive.append_data(&mut header, name, contents.as_bytes()).unwrap();
        }
    }
    archive.into_inner().unwrap()
}

#[test]
fn a_layer_that_leans_on_those_below_is_loaded_upon_each_of_them() {
    let below = |mode, text| {
        layer_with(&[
            ("own/", mode, ""),
            ("own/file", 0o644, text),
            ("own/gone", 0o644, "gone"),
            ("hidden/", 0o755, ""),
            ("hidden/old", 0o644, "old"),
        ])
    };
    let (first, second) = (below(0o750, "contents-1"), below(0o711, "contents-2"));
    // What `own` is like and what the link means is for the layer below to say.
    let upper = layer_with(&[
        ("own/more", 0o640, "more"),
        ("own/.wh.gone", 0o644, ""),
        ("own/link", 0o644, "=> own/file"),
        ("hidden/", 0o700, ""),
        ("hidden/.wh..wh..opq", 0o644, ""),
        ("hidden/new", 0o644, "new"),
    ]);
    let busybox = busybox_layer();
    let fields = r#""created":"2026-01-01T00:00:00Z","config":{},"history":[]"#;
    let archive = archive_of_all(&[
        (&["first:latest"], fields, &[&busybox, &first, &upper]),
        (&["second:latest"], fields, &[&busybox, &second, &upper, &upper]),
    ]);
    let sandbox = Sandbox::empty();
    let (all, saved) = (path(sandbox.dir(), "all.tar"), path(sandbox.dir(), "saved.tar"));
    fs::write(&all, &archive).unwrap();
    sandbox.ok(&["load", "-q", "-i", &all]);
    let seen = |image| {
        let look = "stat -c '%a %n' /own /hidden; stat -c '%a %h %n' /own/*; cat /own/link /own/more /hidden/*";
        sandbox.ok(&["run", "--rm", "--network", "none", image, "/bin/sh", "-c", look])
    };
    let expected = |mode, text| {
        format!("{mode} /own\n700 /hidden\n644 2 /own/file\n644 2 /own/link\n640 1 /own/more\n{text}morenew")
    };
    assert_eq!(seen("first"), expected("750", "contents-1"));
    assert_eq!(seen("second"), expected("711", "contents-2"));
    // All layers come back as they were.
    sandbox.ok(&["save", "-o", &saved, "first", "second"]);
    let names = program("tar", &["-tf", &saved]);
    for layer in [&busybox, &first, &second, &upper] {
        let digest = hex(layer);
        assert!(names.contains(&format!("blobs/sha256/{digest}")), "{digest}: {names}");
    }
    // What is here is not unpacked again, but compared with its name.
    sandbox.ok(&["load", "-q", "-i", &saved]);
    let digest = hex(&first);
    let mut wrong = fs::read(&saved).unwrap();
    let at = wrong.windows(10).position(|bytes| bytes == b"contents-1").unwrap();
    wrong[at] ^= 1;
    fs::write(&saved, wrong).unwrap();
    let refused = sandbox.docker(&["load", "-q", "-i", &saved]);
    assert!(
        refused.code != 0 && refused.err.contains(&format!("blobs/sha256/{digest} has the digest")),
        "{refused:?}"
    );
    let layers = fs::read_dir(sandbox.dir().join("data/layers")).unwrap();
    assert!(
        layers
            .into_iter()
            .all(|layer| !layer.unwrap().file_name().to_string_lossy().starts_with("tmp-"))
    );
}

#[test]
fn an_image_that_is_committed_squashed_has_one_layer_of_all() {
    let sandbox = with_more();
    sandbox.ok(&[
        "run",
        "--name",
        "d1",
        "--network",
        "none",
        "more",
        "sh",
        "-c",
        "rm /etc/secret; chmod 700 /home; ln /etc/more /etc/two",
    ]);
    let made = conex_ok(&sandbox, &["commit", "--squash", "d1", "one"]);
    sandbox.ok(&["commit", "d1", "three"]);
    assert_eq!(made, id(&sandbox, "one"));
    let layers = [
        "image",
        "inspect",
        "--format",
        "{{len .RootFS.Layers}} {{.Parent}}",
        "one",
    ];
    assert_eq!(sandbox.ok(&layers), "1");
    let list = "find / -xdev \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o -exec ls -ldn --full-time {} +";
    let files = |image: &str| {
        sandbox.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--hostname",
            "h",
            image,
            "sh",
            "-c",
            list,
        ])
    };
    let (squashed, stacked) = (files("one"), files("three"));
    assert_eq!(comparable(&squashed), comparable(&stacked));
    assert!(
        !squashed.contains("/etc/secret") && squashed.contains("/etc/two"),
        "{squashed}"
    );
    assert_eq!(
        sandbox.ok(&["history", "-q", "one"]).lines().count(),
        sandbox.ok(&["history", "-q", "three"]).lines().count()
    );
    sandbox.ok(&["rm", "c1", "d1"]);
    sandbox.ok(&["rmi", "three", "more", "busybox"]);
    assert_eq!(prints_more(&sandbox, "one"), "more");
    // It is an image as any other: its archive comes back.
    let saved = path(sandbox.dir(), "one.tar");
    sandbox.ok(&["save", "-o", &saved, "one"]);
    sandbox.ok(&["rmi", "one"]);
    sandbox.ok(&["load", "-q", "-i", &saved]);
    assert_eq!(id(&sandbox, "one"), made);
}

/// Lines of ls(1) but for what the engine mounts, and without what overlayfs says of the links of directories.
fn comparable(text: &str) -> Vec<String> {
    let mounted = ["hosts", "hostname", "resolv.conf", " /", " /etc"];
    let lines = text
        .lines()
        .filter(|line| !mounted.iter().any(|name| line.ends_with(name)));
    let without_links = |line: &str| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with('d') {
            words.remove(1);
        }
        words.join(" ")
    };
    lines.map(without_links).collect()
}

#[test]
fn skopeo_takes_what_is_saved_and_what_it_writes_is_loaded() {
    let sandbox = with_more();
    let saved = path(sandbox.dir(), "saved.tar");
    sandbox.ok(&["save", "-o", &saved, "more"]);
    for form in ["docker-archive", "oci-archive"] {
        let copied = path(sandbox.dir(), &format!("{form}.tar"));
        let target = format!("{form}:{copied}:example.org/copied:{form}");
        program(
            "skopeo",
            &["copy", "--insecure-policy", &format!("docker-archive:{saved}"), &target],
        );
        let config = program("skopeo", &["inspect", "--config", "--raw", &format!("{form}:{copied}")]);
        let parsed: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(parsed["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
        let other = Sandbox::empty();
        let name = format!("example.org/copied:{form}");
        assert_eq!(
            other.ok(&["load", "-q", "-i", &copied]),
            format!("Loaded image: {name}")
        );
        assert_eq!(prints_more(&other, &name), "more");
        // Into OCI's form skopeo writes another configuration.
        if form == "docker-archive" {
            assert_eq!(id(&other, &name), id(&sandbox, "more"));
        }
    }
    // As the OCI layout that the archive is too.
    let layout = program("skopeo", &["inspect", "--raw", &format!("oci-archive:{saved}")]);
    assert!(layout.contains("application/vnd.oci.image.config.v1+json"), "{layout}");
}

#[test]
fn podman_takes_what_is_saved_and_what_it_saves_is_loaded() {
    let sandbox = with_more();
    let saved = path(sandbox.dir(), "saved.tar");
    sandbox.ok(&["save", "-o", &saved, "more"]);
    let (root, run) = (path(sandbox.dir(), "podman"), path(sandbox.dir(), "podman-run"));
    let podman = |arguments: &[&str]| {
        let store = ["--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
        program("podman", &[&store, arguments].concat())
    };
    let loaded = podman(&["load", "-q", "-i", &saved]);
    assert!(loaded.ends_with("more:latest"), "{loaded}");
    for form in ["docker-archive", "oci-archive"] {
        let written = path(sandbox.dir(), &format!("podman-{form}.tar"));
        podman(&["save", "-q", "--format", form, "-o", &written, "more"]);
        let other = Sandbox::empty();
        let said = other.ok(&["load", "-q", "-i", &written]);
        let name = said.strip_prefix("Loaded image: ").unwrap_or_else(|| panic!("{said}"));
        assert_eq!(prints_more(&other, name), "more", "{form}");
    }
    podman(&["rmi", "-af"]);
}
