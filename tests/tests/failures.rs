//! What fails under running containers, as `docs/failures.md` has it: they go on, and what can be told is told.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// A host that loses its power: everything dies at once, and the next boot has another id.
#[test]
fn what_ran_on_a_host_that_lost_its_power_is_ended_and_its_policy_decides() {
    let boot = tempfile::NamedTempFile::new().unwrap();
    let boots_as = |id: &str| fs::write(boot.path(), format!("{id}\n")).unwrap();
    boots_as("4f6d3e3c-0000-4000-8000-000000000001");
    let bind = format!(
        "mount --bind {} /proc/sys/kernel/random/boot_id && exec \"$@\"",
        boot.path().display()
    );
    let mut sandbox = Sandbox::started_by(&["unshare", "--mount", "sh", "-c", &bind, "sh"]);
    let sleep = ["busybox", "sleep", "1000"];
    sandbox.ok(&[&["run", "-d", "--name", "once"], &sleep[..]].concat());
    sandbox.ok(&[&["run", "-d", "--restart", "always", "--name", "always"], &sleep[..]].concat());
    sandbox.ok(&[
        &["run", "-d", "--restart", "unless-stopped", "--name", "stopped"],
        &sleep[..],
    ]
    .concat());
    sandbox.ok(&["stop", "-t", "0", "stopped"]);
    assert_eq!(
        sandbox
            .docker(&["run", "--name", "ended", "busybox", "sh", "-c", "exit 4"])
            .code,
        4
    );
    // As at a crash of the daemon, the monitors and the containers, but in the same boot: that is a restart.
    for (id, restarts) in [
        ("4f6d3e3c-0000-4000-8000-000000000001", 1),
        ("4f6d3e3c-0000-4000-8000-000000000002", 0),
    ] {
        lose_power(&mut sandbox);
        boots_as(id);
        sandbox.start(&[]);
        let state = |name: &str| {
            let format = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}";
            sandbox.ok(&["inspect", "--format", format, name])
        };
        eventually("what is always wanted runs again", || {
            state("always") == format!("running 0 {restarts}")
        });
        assert_eq!(state("once"), "exited 255 0");
        assert_eq!(state("stopped"), "exited 137 0");
        assert_eq!(state("ended"), "exited 4 0");
        assert_eq!(sandbox.ok(&["exec", "always", "echo", "hi"]), "hi");
    }
}

/// Kills the daemon, the monitors and everything in containers, and takes the control groups away.
fn lose_power(sandbox: &mut Sandbox) {
    let shims = sandbox.shim_usage();
    sandbox.kill();
    let in_containers = |sandbox: &Sandbox| -> Vec<String> {
        let groups = sandbox.cgroups().into_iter();
        let procs = groups.filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
        procs
            .flat_map(|procs| procs.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    let victims = shims.iter().map(|usage| usage.pid.to_string());
    for pid in victims.chain(in_containers(sandbox)) {
        // Some have died of the others' deaths.
        let _ = Command::new("kill")
            .args(["-KILL", &pid])
            .stderr(Stdio::null())
            .status();
    }
    eventually("nothing runs", || in_containers(sandbox).is_empty());
    for group in sandbox.cgroups() {
        fs::remove_dir(group).unwrap();
    }
}

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: as when the device is gone, nothing is written any more, and what
/// is asked fails with EIO.
const LOSE_DEVICE: &str = "import fcntl, os, struct, sys\n\
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

fn lose_device(path: &Path) {
    succeed("python3", &["-c", LOSE_DEVICE, path.to_str().unwrap()]);
}

#[test]
fn a_volume_whose_device_is_lost_holds_nobody_up() {
    let sandbox = Sandbox::new();
    let image = sandbox.dir().join("volume");
    let image = image.to_str().unwrap();
    succeed("truncate", &["--size=16M", image]);
    succeed("mkfs.ext4", &["-q", "-F", image]);
    let attached = Command::new("losetup")
        .args(["--find", "--show", image])
        .output()
        .unwrap();
    let device = String::from_utf8(attached.stdout).unwrap().trim().to_owned();
    sandbox.ok(&[
        "volume",
        "create",
        "-d",
        "local",
        "-o",
        "type=ext4",
        "-o",
        &format!("device={device}"),
        "vol",
    ]);
    sandbox.ok(&[
        "run", "-d", "--name", "user", "-v", "vol:/vol", "busybox", "sleep", "1000",
    ]);
    sandbox.ok(&["exec", "user", "sh", "-c", "echo kept > /vol/file && sync"]);
    let pid = sandbox.ok(&["inspect", "--format", "{{.State.Pid}}", "user"]);
    lose_device(Path::new(&format!("/proc/{pid}/root/vol")));
    let said = sandbox.docker(&["exec", "user", "sh", "-c", "echo more > /vol/another"]);
    assert_ne!(said.code, 0);
    assert!(
        said.err.contains("I/O error") || said.err.contains("Input/output error"),
        "{said:?}"
    );
    // Everything else goes on, and nothing waits for the device.
    assert_eq!(sandbox.ok(&["exec", "user", "echo", "here"]), "here");
    let before = Instant::now();
    sandbox.ok(&["stop", "-t", "0", "user"]);
    let said = sandbox.docker(&["start", "user"]);
    assert!(
        said.code == 0 || said.err.to_lowercase().contains("input/output error"),
        "{said:?}"
    );
    sandbox.ok(&["rm", "-f", "user"]);
    assert_eq!(sandbox.run(&[], "echo goes on"), "goes on");
    sandbox.ok(&["volume", "rm", "vol"]);
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    succeed("losetup", &["--detach", &device]);
}

#[test]
fn a_data_root_whose_device_is_lost_stops_no_container() {
    let mut sandbox = Sandbox::empty();
    let disk = Disk::under(&mut sandbox, 64);
    let (mut client, seen) = counter(&sandbox);
    lose_device(&disk.mounted);
    goes_on(&seen);
    assert_eq!(sandbox.ok(&["ps", "--format", "{{.Names}}"]), "counter");
    let said = sandbox.docker(&["create", "busybox", "true"]);
    assert_ne!(said.code, 0);
    assert!(said.err.to_lowercase().contains("input/output error"), "{said:?}");
    sandbox.ok(&["kill", "counter"]);
    ends(&mut client);
    eventually("its end", || {
        let format = "{{.State.Status}} {{.State.ExitCode}}";
        sandbox.ok(&["inspect", "--format", format, "counter"]) == "exited 137"
    });
    sandbox.terminate();
    let said = sandbox.log();
    assert!(!said.contains("panicked"), "{said}");
    drop(disk);
}

/// Sets the machine's clock so many seconds ahead, or back.
fn set_clock(seconds: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let then = now.checked_add_signed(seconds).unwrap();
    succeed("date", &["-s", &format!("@{then}")]);
}

#[test]
#[ignore = "sets the machine's clock; cargo xtask vm runs it"]
fn a_clock_that_jumps_holds_nothing_up() {
    const DAY: i64 = 86_400;
    let sandbox = Sandbox::new();
    let options = ["--health-cmd", "true", "--health-interval", "1s"];
    let sleep = ["busybox", "sleep", "1000"];
    sandbox.ok(&[&["run", "-d", "--name", "checked"], &options[..], &sleep].concat());
    let (mut client, seen) = counter(&sandbox);
    let inspect = |name: &str, field: &str| sandbox.ok(&["inspect", "--format", field, name]);
    for jump in [-DAY, 2 * DAY] {
        let failing = format!("failing{jump}");
        let script = ["busybox", "sh", "-c", "sleep 0.2; exit 1"];
        sandbox.ok(&[&["run", "-d", "--restart", "always", "--name", &failing], &script[..]].concat());
        set_clock(jump);
        let checked = || inspect("checked", "{{range .State.Health.Log}}{{.Start}} {{end}}");
        let before = checked();
        eventually("another check", || checked() != before);
        eventually("restarts", || {
            inspect(&failing, "{{.RestartCount}}").parse::<u32>().unwrap() > 3
        });
        sandbox.ok(&["rm", "-f", &failing]);
        goes_on(&seen);
        // The grace of a stop is that of its own time.
        let script = ["busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"];
        sandbox.ok(&[&["run", "-d", "--name", "stubborn"], &script[..]].concat());
        let mut stop = sandbox.background(&["stop", "-t", "2", "stubborn"]);
        thread::sleep(Duration::from_millis(500));
        set_clock(-jump);
        ends(&mut stop);
        sandbox.ok(&["rm", "stubborn"]);
        set_clock(jump);
    }
    set_clock(-DAY);
    assert_eq!(inspect("checked", "{{.State.Health.Status}}"), "healthy");
    sandbox.ok(&["kill", "counter"]);
    ends(&mut client);
    // The client has come after the first lines.
    let log = sandbox.ok(&["logs", "counter"]);
    let numbers: Vec<usize> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "{numbers:?}");
    let seen = fs::read_to_string(&seen).unwrap();
    assert_eq!(seen.lines().last(), log.lines().last());
}
