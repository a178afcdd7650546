//! The command line without a daemon: it starts one, once, that stays.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;
use std::process::Command;

use conex_tests::{busybox_archive, eventually};

/// A mount namespace in which `/run`, `/var/lib` and `/sys/fs/cgroup` of the defaults are the test's own is not enough for
/// processes that outlive their parent, so the whole test runs in namespaces whose end takes everything along.
#[test]
fn two_clients_at_once_start_one_daemon_that_outlives_them() {
    let dir = tempfile::tempdir().unwrap();
    let archive = busybox_archive(dir.path());
    let dist = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/dist")
        .canonicalize()
        .unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, script_text(&dist, &archive)).unwrap();
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-eu",
        ])
        .arg(&script)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        ["hi", "hi", "daemons 1", "hi", "daemons 1", "kept", "flat", "flags 3"],
        "{err}"
    );
    // The end of the namespace was the daemon's `kill -9`: nobody was left to remove its cgroup.
    eventually("the end of the cgroups", || {
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let _ = std::fs::remove_dir(hierarchy.path().join("conex"));
        }
        let _ = std::fs::remove_dir("/sys/fs/cgroup/conex");
        !Path::new("/sys/fs/cgroup/memory/conex").exists()
    });
}

fn script_text(dist: &Path, archive: &Path) -> String {
    format!(
        "
mount -t tmpfs none /run; mount -t tmpfs none /var/lib; ip link set lo up
export PATH={dist}:$PATH; unset DOCKER_HOST CONEX_HOST
conex load -i {archive} >/dev/null
pkill -x conexd; while pgrep -x conexd >/dev/null; do sleep 0.05; done
conex run --rm busybox echo hi & one=$!
conex run --rm busybox echo hi & two=$!
wait $one; wait $two
echo daemons $(pgrep -xc conexd)
# The end of a terminal: its whole session is hung up.
setsid --wait sh -c 'conex ps >/dev/null; kill -HUP 0' || true
setsid --wait sh -c 'conex ps >/dev/null; kill -INT 0' || true
conex run --rm busybox echo hi
echo daemons $(pgrep -xc conexd)
conex run --name made busybox sh -c 'echo kept >/file' && conex commit -m said -c 'CMD cat /file' made kept:1 >/dev/null
conex run --rm kept:1
tar -xOf {archive} $(tar -tf {archive} | grep '/layer.tar$') | conex import -c 'ENV PATH=/bin' - flat:1 >/dev/null
conex run --rm flat:1 echo flat
conex create --name flags --health-cmd true --health-interval 1s --log-driver local --log-opt max-size=1m busybox >/dev/null
echo flags $(conex inspect flags | tr -d ' \n' | grep -oE '\"CMD-SHELL\",\"true\"|\"Interval\":1000000000|\"max-size\":\"1m\"' | wc -l)
",
        dist = dist.display(),
        archive = archive.display()
    )
}
