//! The daemon under Docker's name, with Docker's flags and files.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;
use std::process::Command;

use conex_tests::{Sandbox, busybox_archive};

/// Runs a script in namespaces of its own, whose end takes along what it started; what it printed.
fn isolated(script: &str) -> (bool, String, String) {
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-euc",
            script,
        ])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn under_dockers_name_it_is_where_docker_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let archive = busybox_archive(dir.path());
    let conexd = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/dist/conexd")
        .canonicalize()
        .unwrap();
    let dockerd = dir.path().join("dockerd");
    std::os::unix::fs::symlink(conexd, &dockerd).unwrap();
    let config = dir.path().join("daemon.json");
    let parent = format!("conex-test-dockerd-{}", std::process::id());
    std::fs::write(&config, format!(r#"{{"debug":true,"cgroup-parent":"/{parent}"}}"#)).unwrap();
    let bad = dir.path().join("bad.json");
    std::fs::write(&bad, r#"{"debug":true,"nosuch-key":1}"#).unwrap();
    let script = format!(
        "mount -t tmpfs none /run; mount -t tmpfs none /var/lib; ip link set lo up; unset DOCKER_HOST
         if {dockerd} --config-file {bad} 2>/run/refused; then echo started; fi
         grep -o nosuch-key /run/refused | head -n 1
         {dockerd} --config-file {config} --pidfile /run/d.pid --group root \\
             -H unix:///var/run/docker.sock -H tcp://127.0.0.1:2375 2>/run/log & daemon=$!
         for i in $(seq 100); do docker version >/dev/null 2>&1 && break; sleep 0.1; done
         docker load -q -i {archive} >/dev/null
         docker run --rm busybox echo by-socket
         docker -H tcp://127.0.0.1:2375 run --rm busybox echo by-tcp
         test $(cat /run/d.pid) = $daemon && echo pidfile
         stat -c %a /var/run/docker.sock
         kill $daemon; wait $daemon || true
         test -e /run/d.pid || echo no pidfile
         {dockerd} --cgroup-parent /{parent} 2>/run/log & daemon=$!
         for i in $(seq 100); do docker version >/dev/null 2>&1 && break; sleep 0.1; done
         docker images -q | wc -l
         kill $daemon; wait $daemon || true",
        dockerd = dockerd.display(),
        bad = bad.display(),
        config = config.display(),
        archive = archive.display(),
    );
    let (success, out, err) = isolated(&script);
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        // A hierarchy that was not used has none.
        let _ = std::fs::remove_dir(hierarchy.path().join(&parent));
    }
    let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(&parent));
    assert!(success, "{out}\n{err}");
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        ["nosuch-key", "by-socket", "by-tcp", "pidfile", "660", "no pidfile", "1"],
        "{err}"
    );
}

#[test]
fn a_kernel_that_appends_no_layers_is_served_by_the_older_way() {
    let mut sandbox = Sandbox::new();
    let script = "echo x > /etc/own; rm /etc/passwd; ls /etc; grep ' / / ' /proc/self/mountinfo";
    let newer = sandbox.run(&[], script);
    sandbox.kill();
    sandbox.start(&[("CONEX_WITHOUT", "lowerdir+")]);
    let older = sandbox.run(&[], script);
    let files = |text: &str| {
        text.lines()
            .filter(|line| !line.contains("overlay"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(files(&newer), files(&older));
    assert!(
        files(&older).contains("own") && !files(&older).contains("passwd"),
        "{older}"
    );
    // The older way mounts by names relative to the store, the newer by descriptors.
    assert!(
        older.contains("lowerdir=") && !newer.contains("lowerdir=l"),
        "{newer}\n{older}"
    );
}
