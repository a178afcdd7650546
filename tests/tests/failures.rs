//! What fails under running containers, as `docs/failures.md` has it: they go on, and what can be told is told.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use conex_tests::{Sandbox, busybox_archive, eventually};

fn succeed(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// A file system for a data root, in a file; unmounted at the end.
struct Disk {
    mounted: PathBuf,
}

impl Disk {
    /// Gives a daemon that has not run yet so many megabytes of ext4.
    fn under(sandbox: &mut Sandbox, megabytes: u32) -> Self {
        sandbox.kill();
        let (image, mounted) = (sandbox.dir().join("disk"), sandbox.dir().join("data"));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        succeed("truncate", &[&format!("--size={megabytes}M"), &text(&image)]);
        succeed("mkfs.ext4", &["-q", "-F", &text(&image)]);
        succeed(
            "mount",
            &["-o", "loop,errors=remount-ro", &text(&image), &text(&mounted)],
        );
        sandbox.start(&[]);
        let archive = busybox_archive(sandbox.dir());
        sandbox.ok(&["load", "-q", "-i", archive.to_str().unwrap()]);
        Self { mounted }
    }

    /// Its block device, as the kernel calls it.
    fn device(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let of = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == self.mounted.to_str());
        let device = of.unwrap().split(' ').next().unwrap().to_owned();
        device.trim_start_matches("/dev/").to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.mounted).status();
    }
}

/// A container that says a number each moment, and a client of it that writes them to a file.
fn counter(sandbox: &Sandbox) -> (Child, PathBuf) {
    let script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
    let fixed = [
        "run",
        "-d",
        "--name",
        "counter",
        "--network",
        "none",
        "--stop-timeout",
        "0",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    sandbox.ok(&fixed);
    let seen = sandbox.dir().join("seen");
    let client = Command::new("docker")
        .env("DOCKER_HOST", format!("unix://{}", sandbox.socket().display()))
        .args(["attach", "--no-stdin", "counter"])
        .stdout(fs::File::create(&seen).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("output", || !fs::read_to_string(&seen).unwrap().is_empty());
    (client, seen)
}

fn ends(client: &mut Child) {
    for _ in 0..1000 {
        if client.try_wait().unwrap().is_some() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    client.kill().unwrap();
    panic!("the client does not see the end");
}

fn lines(seen: &Path) -> usize {
    fs::read_to_string(seen).unwrap().lines().count()
}

/// Whether a client goes on to get output, number by number.
fn goes_on(seen: &Path) {
    let before = lines(seen);
    eventually("more output", || lines(seen) > before + 20);
    let text = fs::read_to_string(seen).unwrap();
    let whole = text.rsplit_once('\n').unwrap().0;
    let numbers: Vec<usize> = whole.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

/// The container goes on, and is listed and entered.
fn works(sandbox: &Sandbox, seen: &Path) {
    goes_on(seen);
    assert_eq!(sandbox.ok(&["exec", "counter", "echo", "here"]), "here");
    assert_eq!(sandbox.ok(&["ps", "--format", "{{.Names}}"]), "counter");
}

#[test]
fn a_disk_that_fills_stops_no_container() {
    let mut sandbox = Sandbox::empty();
    let disk = Disk::under(&mut sandbox, 64);
    let (mut client, seen) = counter(&sandbox);
    let filler = disk.mounted.join("filler");
    // As much as there is room for.
    let _ = Command::new("dd")
        .args(["if=/dev/zero", &format!("of={}", filler.display()), "bs=64k"])
        .output();
    works(&sandbox, &seen);
    let said = sandbox.docker(&["create", "--name", "another", "busybox", "true"]);
    if said.code != 0 {
        assert!(said.err.to_lowercase().contains("no space left on device"), "{said:?}");
    }
    // Its end is known, though there is no room to note it.
    sandbox.ok(&["kill", "counter"]);
    ends(&mut client);
    eventually("its end", || {
        sandbox.ok(&[
            "inspect",
            "--format",
            "{{.State.Status}} {{.State.ExitCode}}",
            "counter",
        ]) == "exited 137"
    });
    fs::remove_file(&filler).unwrap();
    sandbox.ok(&["start", "counter"]);
    sandbox.ok(&["rm", "-f", "counter"]);
    assert_eq!(sandbox.run(&[], "echo goes on"), "goes on");
    sandbox.terminate();
}

#[test]
fn a_data_root_that_becomes_read_only_stops_no_container() {
    let mut sandbox = Sandbox::empty();
    let disk = Disk::under(&mut sandbox, 64);
    let (mut client, seen) = counter(&sandbox);
    // What the kernel does when it finds the file system damaged.
    let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", disk.device());
    fs::write(trigger, "a test").unwrap();
    works(&sandbox, &seen);
    assert!(sandbox.ok(&["logs", "--tail", "1", "counter"]).parse::<u32>().unwrap() > 0);
    let said = sandbox.docker(&["create", "busybox", "true"]);
    assert_ne!(said.code, 0);
    let words = said.err.to_lowercase();
    assert!(
        words.contains("read-only file system") || words.contains("input/output error"),
        "{said:?}"
    );
    sandbox.ok(&["kill", "counter"]);
    ends(&mut client);
    eventually("its end", || {
        sandbox.ok(&[
            "inspect",
            "--format",
            "{{.State.Status}} {{.State.ExitCode}}",
            "counter",
        ]) == "exited 137"
    });
    // One that comes later cannot work here, and says so.
    sandbox.terminate();
    let said = sandbox.log();
    assert!(!said.contains("panicked"), "{said}");
    drop(disk);
}
