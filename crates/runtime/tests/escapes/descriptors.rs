//! What the runtime has open, and what its process is: CVE-2024-21626, CVE-2019-5736, CVE-2016-9962.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::bundle::{Bundle, busybox};
use crate::weakened::{Runtime, reached, write};

/// A directory of the host that no container has.
fn secret() -> TempDir {
    let directory = TempDir::new().unwrap();
    write(directory.path().join("secret"), "of the host");
    fs::copy(busybox(), directory.path().join("busybox")).unwrap();
    directory
}

/// Runs a command of the runtime that has inherited the directory as descriptor 9; tells what it printed.
fn leaking(runtime: &Runtime, bundle: &Bundle, directory: &TempDir, arguments: &[&str]) -> String {
    let own = runtime.command(bundle, arguments);
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 9<\"$0\"; exec \"$@\""])
        .arg(directory.path())
        .arg(own.get_program())
        .args(own.get_args())
        .current_dir(own.get_current_dir().unwrap())
        .stdin(Stdio::null());
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

/// What a first process prints with a directory leaked to it.
fn first(runtime: &Runtime, cwd: &str, argv: &[&str]) -> String {
    let secret = secret();
    let bundle = runtime.bundle(|specification| {
        specification["process"]["cwd"] = json!(cwd);
        specification["process"]["args"] = json!(argv);
    });
    leaking(runtime, &bundle, &secret, &["run", &bundle.id])
}

/// What a later process prints.
fn later(runtime: &Runtime, cwd: &str, argv: &[&str]) -> String {
    let secret = secret();
    let bundle = runtime.bundle(|specification| specification["process"]["args"] = json!(["sleep", "60"]));
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    let arguments = [&["exec", "--cwd", cwd, &bundle.id], argv].concat();
    leaking(runtime, &bundle, &secret, &arguments)
}

const LEAKED: &str = "/proc/self/fd/9";

#[test]
fn no_descriptor_of_the_runtime_is_in_a_container() {
    for attempt in [first, later] {
        let read = |runtime: Runtime| attempt(&runtime, "/", &["cat", "/proc/self/fd/9/secret"]);
        assert_eq!(read(Runtime::without("Descriptors")), "of the host");
        assert_eq!(read(Runtime::without("")), "");
        assert_eq!(read(Runtime::released()), "");
    }
}

#[test]
fn no_working_directory_is_one_of_the_host() {
    for attempt in [first, later] {
        let read = |runtime: Runtime| attempt(&runtime, LEAKED, &["cat", "secret"]);
        assert_eq!(read(Runtime::without("WorkingDirectory,Descriptors")), "of the host");
        // Either guard is enough.
        assert_eq!(read(Runtime::without("WorkingDirectory")), "");
        assert_eq!(read(Runtime::without("Descriptors")), "");
        assert_eq!(read(Runtime::released()), "");
    }
}

#[test]
fn no_program_is_one_of_the_host() {
    let program = "/proc/self/fd/9/busybox";
    for attempt in [first, later] {
        let said = |runtime: Runtime| attempt(&runtime, "/", &[program, "echo", "escaped"]);
        assert_eq!(said(Runtime::without("Descriptors")), "escaped\n");
        assert_eq!(said(Runtime::without("")), "");
        assert_eq!(said(Runtime::released()), "");
    }
}

/// Waits for a process whose program is that of the runtime, keeps that open, lets the process end, and writes.
const OVERWRITE: &str = r#"
while :; do
    for process in /proc/[0-9]*; do
        if [ "$process" != "/proc/$$" ] && grep -q log=/fifo "$process/cmdline" 2>/dev/null; then
            exec 7<"$process/exe" && break 2
        fi
    done
done
cat /fifo >/dev/null
busybox mount -o remount,bind,rw none /proc/self/fd/7 2>/dev/null
tries=0
while [ $tries -lt 100 ]; do
    if echo overwritten 2>/dev/null >/proc/self/fd/7; then echo done; exit; fi
    tries=$((tries + 1)); busybox usleep 10000
done
echo refused
"#;

#[test]
fn the_program_of_the_runtime_cannot_be_overwritten() {
    let overwritten = |runtime: Runtime| {
        let place = TempDir::new().unwrap();
        let copy = place.path().join("conex-runtime");
        fs::copy(&runtime.program, &copy).unwrap();
        let before = fs::read(&copy).unwrap();
        let bundle = Bundle::of(&copy, |specification| {
            specification["process"]["args"] = json!(["sh", "-c", OVERWRITE]);
            for set in ["bounding", "effective", "permitted"] {
                // Not even who may change mounts.
                specification["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
            }
        });
        let evil = bundle.path("rootfs/bin/evil");
        write(&evil, "#!/proc/self/exe --log=/fifo\n");
        fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, bundle.path("rootfs/fifo"), mode).unwrap();
        assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
        // It fails in both cases: the runtime knows no such command.
        let executed = runtime.command(&bundle, &["exec", &bundle.id, "/bin/evil"]).output();
        assert!(!executed.unwrap().status.success());
        let said = |word: &str| fs::read_to_string(bundle.path("log")).unwrap().contains(word);
        for _ in 0..500 {
            if said("done") || said("refused") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let is_overwritten = fs::read(&copy).unwrap() != before;
        assert_eq!(
            is_overwritten,
            said("done"),
            "{:?}",
            fs::read_to_string(bundle.path("log"))
        );
        assert_eq!(is_overwritten, !said("refused"));
        if is_overwritten {
            // What cleans up needs the program.
            fs::remove_file(&copy).unwrap();
            fs::copy(&runtime.program, &copy).unwrap();
        }
        is_overwritten
    };
    assert!(overwritten(Runtime::without("SealedProgram")));
    assert!(!overwritten(Runtime::without("")));
}

/// Reads the environment of a process that is about to execute a program.
const LOOK: &str = r#"
while :; do
    for process in /proc/[0-9]*; do
        if [ "$process" != "/proc/$$" ] && grep -q conex-runtime "$process/cmdline" 2>/dev/null; then
            grep -c SECRET=of-the-host "$process/environ" 2>&1; exit
        fi
    done
done
"#;

#[test]
fn nobody_in_a_container_looks_into_a_process_on_its_way_there() {
    let seen = |runtime: Runtime| {
        let bundle = runtime.bundle(|specification| specification["process"]["args"] = json!(["sh", "-c", LOOK]));
        let fifo = bundle.path("rootfs/fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let mut exec = runtime.command(&bundle, &["exec", &bundle.id, "pwd"]);
        exec.env("CONEX_RACE", "execute:pwd:/fifo").env("SECRET", "of-the-host");
        assert!(bundle.call_into(&["create", &bundle.id], "log"));
        let mut exec = exec.stdout(Stdio::null()).spawn().unwrap();
        let door = reached(&fifo, &mut exec).unwrap();
        bundle.succeed(&["start", &bundle.id]);
        bundle.wait_for("log", "\n");
        drop(door);
        exec.wait().unwrap();
        fs::read_to_string(bundle.path("log")).unwrap()
    };
    assert_eq!(seen(Runtime::without("Dumpable")), "1\n");
    assert!(seen(Runtime::without("")).contains("Permission denied"));
}
