//! A disk that fills while an image comes in or is made: it is told, what was taken is given back, and the next try goes well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use conex_tests::{Said, Sandbox, archive_of, busybox_archive, eventually, layer_of};

use crate::making::image_of;
use crate::registries::faulty::Faulty;
use crate::registries::image::OCI_LAYER_GZIP;
use crate::state::{State, assert_unchanged, state};

/// Megabytes of the file system, and of what does not fit.
const DISK: u64 = 64;
const LARGE: u32 = 60;

fn succeed(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// A daemon whose data-root is a small ext4, with busybox.
struct Full {
    sandbox: Sandbox,
    registry: Faulty,
    mounted: PathBuf,
    before: State,
    free: u64,
}

impl Full {
    fn new() -> Self {
        let mut sandbox = Sandbox::beside_registries();
        sandbox.kill();
        let (image, mounted) = (sandbox.dir().join("disk"), sandbox.dir().join("data"));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        succeed("truncate", &[&format!("--size={DISK}M"), &text(&image)]);
        succeed("mkfs.ext4", &["-q", "-F", "-m", "0", &text(&image)]);
        succeed("mount", &["-o", "loop", &text(&image), &text(&mounted)]);
        sandbox.start(&[]);
        let archive = busybox_archive(sandbox.dir());
        sandbox.ok(&["load", "-q", "-i", archive.to_str().unwrap()]);
        let mut full = Self {
            before: state(&sandbox),
            free: 0,
            registry: Faulty::start(),
            mounted,
            sandbox,
        };
        full.free = full.free_bytes();
        full
    }

    fn free_bytes(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.mounted).unwrap();
        found.f_bfree * found.f_frsize
    }

    /// What was refused is told, nothing of it is left, and the room is there again.
    fn given_back(&self, what: &str, said: &Said) {
        let text = format!("{}{}", said.out, said.err).to_lowercase();
        assert!(
            said.code != 0 && text.contains("no space left on device"),
            "{what}: {said:?}"
        );
        assert_unchanged(&self.sandbox, &self.before, what);
        // A directory keeps the blocks that its entries once took, and the metadata's file has pages to spare.
        eventually(&format!("room after {what}"), || {
            self.free_bytes() + (3 << 20) > self.free
        });
        assert_eq!(self.sandbox.run(&["--network", "none"], "echo lives"), "lives");
    }

    /// Takes all room but so many megabytes, until it is dropped.
    fn ballast(&self, left: u64) -> Ballast {
        let path = self.mounted.join("ballast");
        let size = self.free_bytes().saturating_sub(left << 20);
        succeed("fallocate", &["-l", &size.to_string(), path.to_str().unwrap()]);
        Ballast(path)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.mounted).status();
    }
}

struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Bytes that take their room: no two blocks are the same.
fn bytes(megabytes: u32) -> Vec<u8> {
    let mut state = 1_u64;
    let words = (0..u64::from(megabytes) << 17).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state ^ (state >> 29)).to_le_bytes()
    });
    words.collect()
}

#[test]
fn a_disk_that_fills_during_a_pull_a_load_or_an_import_gives_back_what_was_taken() {
    let full = Full::new();
    let large = layer_of(&[("large", &bytes(LARGE))]);
    let small = layer_of(&[("large", &bytes(8))]);
    for (name, layer) in [("large", &large), ("small", &small)] {
        full.registry
            .add(name, "latest", &image_of(OCI_LAYER_GZIP, layer.clone(), layer));
    }
    let pull = |name: &str| {
        full.sandbox
            .docker(&["pull", "-q", &format!("{}/{name}", full.registry.domain())])
    };
    let load = |layer: &[u8]| full.sandbox.with_input(&["load", "-q"], &archive_of("loaded", layer));
    let import = |layer: &[u8]| full.sandbox.with_input(&["import", "-", "imported:1"], layer);

    full.given_back("a pull", &pull("large"));
    full.given_back("a load", &load(&large));
    full.given_back("an import", &import(&large));
    // Very little is left: not even the first file has room.
    let ballast = full.ballast(2);
    for (what, said) in [
        ("a pull", pull("small")),
        ("a load", load(&small)),
        ("an import", import(&small)),
    ] {
        let text = format!("{}{}", said.out, said.err).to_lowercase();
        assert!(
            said.code != 0 && text.contains("no space left on device"),
            "{what}: {said:?}"
        );
        assert_unchanged(&full.sandbox, &full.before, what);
    }
    drop(ballast);
    // What is made again has room.
    for (what, said) in [
        ("a pull", pull("small")),
        ("a load", load(&small)),
        ("an import", import(&small)),
    ] {
        assert_eq!(said.code, 0, "{what}: {said:?}");
    }
    full.sandbox.ok(&[
        "rmi",
        &format!("{}/small", full.registry.domain()),
        "loaded",
        "imported:1",
    ]);
    assert_unchanged(&full.sandbox, &full.before, "all is removed");
}

#[test]
fn a_disk_that_fills_during_a_commit_gives_back_what_was_taken() {
    let full = Full::new();
    // A container's files have room once, not twice.
    let script =
        "i=0; while [ $i -lt 36 ]; do dd if=/dev/urandom of=/file$i bs=1M count=1 2>/dev/null; i=$((i+1)); done";
    full.sandbox.ok(&[
        "run",
        "--name",
        "filled",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let before = state(&full.sandbox);
    let said = full.sandbox.docker(&["commit", "filled", "committed:1"]);
    let text = format!("{}{}", said.out, said.err).to_lowercase();
    assert!(said.code != 0 && text.contains("no space left on device"), "{said:?}");
    assert_unchanged(&full.sandbox, &before, "a commit");
    assert_eq!(
        full.sandbox.ok(&["inspect", "--format", "{{.State.Status}}", "filled"]),
        "exited"
    );
    full.sandbox.ok(&["rm", "filled"]);
    eventually("room after a commit", || full.free_bytes() + (3 << 20) > full.free);
    full.sandbox
        .ok(&["run", "--name", "few", "--network", "none", "busybox", "touch", "/new"]);
    full.sandbox.ok(&["commit", "few", "committed:1"]);
    full.sandbox.ok(&["rm", "few"]);
    full.sandbox.ok(&["rmi", "committed:1"]);
}
