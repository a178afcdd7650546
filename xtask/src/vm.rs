//! The root tests inside another kernel: Debian's 6.1 with the unified hierarchy of cgroup v2, under qemu.
//!
//! ```text
//!   kernel package --> vmlinuz, modules          (downloaded and unpacked, never installed)
//!   test programs, target/dist, docker, ip, nft, ... with their libraries --> an ext4 disk
//!   busybox, virtio modules --> initramfs: finds the disk and switches to it
//!   the disk's /sbin/init: mounts, runs the tests one after the other, says how they went, powers off
//! ```

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::run::{Outcome, cargo, output, root, run};
use crate::{build, packages};

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All root tests.
    All,
    /// The few that show the other kernel's ways: limits, devices, the bridge, a crash.
    Small,
}

/// Run in every machine: the clock is the machine's own.
const CLOCK: (&str, &[&str]) = ("failures", &["--ignored", "a_clock_that_jumps_holds_nothing_up"]);

/// Run in every machine, whose kernel has AppArmor: the host's may not.
const APPARMOR: (&str, &[&str]) = ("apparmor", &["--ignored"]);

/// The first is of a kernel without a module that the others load.
const RATES: [(&str, &[&str]); 2] = [("rates", &["--ignored"]), ("rates", &[])];

/// Test programs with the names that are run; no name runs all.
const ALL: [(&str, &[&str]); 10] = [
    APPARMOR,
    ("isolation", &[]),
    ("namespaces", &[]),
    ("network", &[]),
    ("containers", &[]),
    ("crash", &[]),
    ("embedded", &[]),
    RATES[0],
    RATES[1],
    CLOCK,
];
const SMALL: [(&str, &[&str]); 6] = [
    APPARMOR,
    ("isolation", &[]),
    ("network", &[]),
    (
        "containers",
        &[
            "a_container_runs_says_something_and_is_gone",
            "a_detached_container_is_listed_inspected_stopped_and_removed",
            "exit_codes_are_those_of_docker",
        ],
    ),
    (
        "crash",
        &["what_runs_outlives_the_daemon_and_what_ended_meanwhile_is_known"],
    ),
    CLOCK,
];

/// Programs of the machine that the tests call.
const PROGRAMS: [&str; 13] = [
    "docker", "env", "ip", "mount", "nft", "nsenter", "pgrep", "pkill", "script", "setsid", "sh", "tc", "unshare",
];

/// How long the machine may take, under emulation without help of the processor.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Begins the line that says how the tests went.
const VERDICT: &str = "conex-vm-verdict:";

/// Boots the machine and runs the tests in it.
pub(crate) fn vm(extent: Extent) -> Outcome {
    packages::install(&packages::VM)?;
    packages::install_docker_client()?;
    packages::unpack("apparmor", &packages::APPARMOR)?;
    let dir = root().join("target/vm");
    create(&dir)?;
    let kernel = kernel(&dir)?;
    let disk = disk(&dir, &kernel, extent)?;
    let initramfs = initramfs(&dir, &kernel)?;
    boot(&kernel.image, &initramfs, &disk)
}

struct Kernel {
    image: PathBuf,
    /// `lib/modules/<release>`.
    modules: PathBuf,
}

/// Debian's kernel for machines in a cloud, unpacked.
fn kernel(dir: &Path) -> Outcome<Kernel> {
    let unpacked = dir.join("kernel");
    if !unpacked.join("complete").exists() {
        remove(&unpacked)?;
        create(&unpacked)?;
        let depends = output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
        let package = depends
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
            .ok_or("linux-image-cloud-amd64 depends on no kernel; is the package list there? (apt-get update)")?;
        run(Command::new("apt-get")
            .current_dir(&unpacked)
            .args(["download", &format!("linux-image-{package}")]))?;
        let archive = entries(&unpacked)?
            .into_iter()
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or("apt-get download left no package")?;
        run(Command::new("dpkg").arg("-x").arg(&archive).arg(&unpacked))?;
        let modules = only(&unpacked.join("lib/modules"))?;
        run(Command::new("/sbin/depmod")
            .arg("-b")
            .arg(&unpacked)
            .arg(name(&modules)))?;
        write(&unpacked.join("complete"), "", 0o644)?;
    }
    let modules = only(&unpacked.join("lib/modules"))?;
    Ok(Kernel {
        image: unpacked.join(format!("boot/vmlinuz-{}", name(&modules))),
        modules,
    })
}

/// The tests, and what they need.
fn disk(dir: &Path, kernel: &Kernel, extent: Extent) -> Outcome<PathBuf> {
    let tree = dir.join("root");
    remove(&tree)?;
    for directory in [
        "dev", "proc", "sys", "run", "tmp", "root", "etc", "sbin", "tests", "var/lib",
    ] {
        create(&tree.join(directory))?;
    }
    busybox(&tree)?;
    for program in PROGRAMS {
        program_with_libraries(&tree, &find(program)?)?;
    }
    apparmor(&tree)?;
    let tests: &[(&str, &[&str])] = match extent {
        Extent::All => &ALL,
        Extent::Small => &SMALL,
    };
    let built = test_programs()?;
    let mut commands = String::new();
    for (test, names) in tests {
        let program = built
            .iter()
            .find(|program| name(program).rsplit_once('-').is_some_and(|(stem, _)| stem == *test))
            .ok_or_else(|| format!("the test program {test} was not built"))?;
        libraries(&tree, program)?;
        copy(program, &tree.join("tests").join(test))?;
        commands.push_str(&format!(
            "/tests/{test} --test-threads=1 {} || failed=\"$failed {test}\"\n",
            names.join(" ")
        ));
    }
    // The tests look where they were built.
    for program in entries(&build::dist())? {
        libraries(&tree, &program)?;
        copy(&program, &inside(&tree, &program))?;
    }
    create(&inside(&tree, &root().join("tests")))?;
    run(Command::new("cp").arg("-a").arg(&kernel.modules).arg(&{
        let place = tree.join("lib/modules");
        create(&place)?;
        place
    }))?;
    write(&tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n", 0o644)?;
    write(&tree.join("etc/group"), "root:x:0:\n", 0o644)?;
    write(&tree.join("sbin/init"), &init(&commands), 0o755)?;
    let disk = dir.join("disk");
    if disk.exists() {
        fs::remove_file(&disk).map_err(|error| format!("remove {}: {error}", disk.display()))?;
    }
    run(Command::new("/sbin/mkfs.ext4")
        .args(["-q", "-d"])
        .arg(&tree)
        .arg(&disk)
        .arg("1500M"))?;
    Ok(disk)
}

/// The parser of profiles, and what they include.
fn apparmor(tree: &Path) -> Outcome {
    let unpacked = root().join("target/apparmor/root");
    let parser = unpacked.join("sbin/apparmor_parser");
    copy(&parser, &tree.join("sbin/apparmor_parser"))?;
    libraries(tree, &parser)?;
    run(Command::new("cp")
        .arg("-a")
        .arg(unpacked.join("etc/apparmor.d"))
        .arg(tree.join("etc")))
}

fn init(commands: &str) -> String {
    format!(
        "#!/bin/sh\n\
         export PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/root CONEX_TEST_PATIENCE=30 CONEX_CRASH_ROUNDS=15\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sysfs /sys\n\
         mount -t securityfs securityfs /sys/kernel/security\n\
         mount -t devtmpfs dev /dev 2>/dev/null\n\
         mkdir -p /dev/pts /dev/shm\n\
         mount -t devpts -o ptmxmode=666 devpts /dev/pts\n\
         mount -t tmpfs tmpfs /dev/shm\n\
         mount -t tmpfs tmpfs /run\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         ip link set lo up\n\
         uname -r\n\
         failed=\n\
         {commands}\
         if [ -z \"$failed\" ]; then echo '{VERDICT} passed'; else echo \"{VERDICT} failed:$failed\"; fi\n\
         poweroff -f\n"
    )
}

/// The first root: loads the drivers of the disk, and goes over to it.
fn initramfs(dir: &Path, kernel: &Kernel) -> Outcome<PathBuf> {
    let tree = dir.join("initramfs");
    remove(&tree)?;
    for directory in ["dev", "proc", "disk", "modules"] {
        create(&tree.join(directory))?;
    }
    busybox(&tree)?;
    let drivers = kernel.modules.join("kernel/drivers");
    let virtio = entries(&drivers.join("virtio"))?;
    let modules = virtio.into_iter().chain([drivers.join("block/virtio_blk.ko")]);
    for module in modules {
        copy(&module, &tree.join("modules").join(name(&module)))?;
    }
    // Twice: a module whose own needs come later in the alphabet finds them in the second round.
    let script = "#!/bin/sh\n\
         mount -t proc proc /proc\n\
         mount -t devtmpfs dev /dev\n\
         for round in 1 2 3; do for module in /modules/*; do insmod $module 2>/dev/null; done; done\n\
         for wait in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; sleep 1; done\n\
         mount -t ext4 /dev/vda /disk && umount /proc && exec switch_root /disk /sbin/init\n\
         poweroff -f\n";
    write(&tree.join("init"), script, 0o755)?;
    let image = dir.join("initramfs.cpio");
    let packed = format!(
        "cd {} && find . | /bin/busybox cpio -o -H newc > {}",
        tree.display(),
        image.display()
    );
    run(Command::new("sh").args(["-c", &packed]))?;
    Ok(image)
}

/// Runs the machine until it powers itself off, shows its console, and takes the verdict from it.
fn boot(kernel: &Path, initramfs: &Path, disk: &Path) -> Outcome {
    let drive = format!("file={},format=raw,if=virtio,cache=unsafe", disk.display());
    let mut machine = Command::new("qemu-system-x86_64")
        // Emulated everywhere: what helps the processor is half there on machines that are virtual themselves.
        .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
        .args(["-m", "2048", "-smp", "2", "-nographic", "-no-reboot", "-nic", "none"])
        .args(["-append", "console=ttyS0 panic=-1 quiet apparmor=1 security=apparmor"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-drive", &drive])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("qemu-system-x86_64: {error}"))?;
    let console = machine.stdout.take().ok_or("the machine has no console")?;
    let (say, said) = mpsc::channel();
    let over = Arc::new(AtomicBool::new(false));
    let reader_is_over = over.clone();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            println!("vm: {line}");
            if let Some((_, verdict)) = line.split_once(VERDICT) {
                // Nobody listens any more when the time is up.
                let _ = say.send(verdict.trim().to_owned());
            }
        }
        reader_is_over.store(true, Ordering::Release);
    });
    let verdict = said.recv_timeout(PATIENCE);
    let _ = machine.kill();
    let ended = machine.wait().map_err(|error| format!("wait for the machine: {error}"));
    let _ = reader.join();
    ended?;
    match verdict.as_deref() {
        Ok("passed") => Ok(()),
        Ok(other) => Err(format!("in the virtual machine: {other}")),
        Err(_) if over.load(Ordering::Acquire) => Err("the virtual machine ended without a verdict".into()),
        Err(_) => Err("the virtual machine did not come to an end".into()),
    }
}

/// The test programs of `conex-tests`, built.
fn test_programs() -> Outcome<Vec<PathBuf>> {
    let messages = output(cargo().args([
        "test",
        "--release",
        "--locked",
        "-p",
        "conex-tests",
        "--no-run",
        "--message-format=json",
    ]))?;
    let key = "\"executable\":\"";
    Ok(messages
        .lines()
        .filter_map(|line| line.split_once(key))
        .filter_map(|(_, rest)| rest.split_once('"'))
        .map(|(path, _)| PathBuf::from(path))
        .collect())
}

fn busybox(tree: &Path) -> Outcome {
    create(&tree.join("bin"))?;
    copy(Path::new("/bin/busybox"), &tree.join("bin/busybox"))?;
    for applet in output(Command::new("/bin/busybox").arg("--list"))?.split_whitespace() {
        if applet != "busybox" {
            symlink("busybox", tree.join("bin").join(applet)).map_err(|error| format!("link {applet}: {error}"))?;
        }
    }
    // The kernel's own name for it.
    create(&tree.join("sbin"))?;
    symlink("../bin/busybox", tree.join("sbin/modprobe")).map_err(|error| format!("link modprobe: {error}"))
}

fn find(program: &str) -> Outcome<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{program} is needed and is not in PATH"))
}

/// Below `usr/local/bin`, where it goes before busybox's own.
fn program_with_libraries(tree: &Path, program: &Path) -> Outcome {
    copy(program, &tree.join("usr/local/bin").join(name(program)))?;
    libraries(tree, program)
}

fn libraries(tree: &Path, program: &Path) -> Outcome {
    // A static program has none, which ldd(1) calls an error.
    let listed = Command::new("ldd")
        .arg(program)
        .output()
        .map_err(|error| format!("ldd: {error}"))?;
    for word in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
        let library = Path::new(word);
        if library.is_absolute() && !inside(tree, library).exists() {
            copy(library, &inside(tree, library))?;
        }
    }
    Ok(())
}

/// A path of the machine below the tree.
fn inside(tree: &Path, path: &Path) -> PathBuf {
    let path = path
        .canonicalize()
        .ok()
        .filter(|_| path.is_dir())
        .unwrap_or_else(|| path.to_owned());
    tree.join(path.strip_prefix("/").unwrap_or(&path))
}

fn copy(from: &Path, to: &Path) -> Outcome {
    if let Some(parent) = to.parent() {
        create(parent)?;
    }
    let failed = |error: std::io::Error| format!("copy {} to {}: {error}", from.display(), to.display());
    if to.symlink_metadata().is_ok() {
        fs::remove_file(to).map_err(failed)?;
    }
    fs::copy(from, to).map(|_| ()).map_err(failed)
}

fn write(path: &Path, text: &str, mode: u32) -> Outcome {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| format!("write {}: {error}", path.display()))
}

fn create(dir: &Path) -> Outcome {
    fs::create_dir_all(dir).map_err(|error| format!("create {}: {error}", dir.display()))
}

fn remove(dir: &Path) -> Outcome {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("remove {}: {error}", dir.display())),
        _ => Ok(()),
    }
}

fn entries(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |error: std::io::Error| format!("read {}: {error}", dir.display());
    let entries = fs::read_dir(dir).map_err(failed)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn only(dir: &Path) -> Outcome<PathBuf> {
    entries(dir)?
        .into_iter()
        .next()
        .ok_or_else(|| format!("{} is empty", dir.display()))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
