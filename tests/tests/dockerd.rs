//! The daemon under Docker's name, with Docker's flags and files.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../../crates/registry/tests/support/registries.rs"]
mod registries;

use std::path::{Path, PathBuf};
use std::process::Command;

use conex_tests::{Sandbox, busybox_archive};
use registries::image::{Content, DOCKER_CONFIG};
use registries::real::{Access, Protocol, RealRegistry};

fn conexd() -> PathBuf {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist");
    dist.join("conexd").canonicalize().unwrap()
}

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
            "bash",
            "-euc",
            script,
        ])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Removes the parent cgroup of a daemon that has ended.
fn remove_cgroups(parent: &str) {
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        // A hierarchy that was not used has none.
        let _ = std::fs::remove_dir(hierarchy.path().join(parent));
    }
    let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(parent));
}

#[test]
fn under_dockers_name_it_is_where_docker_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let archive = busybox_archive(dir.path());
    let conexd = conexd();
    let dockerd = dir.path().join("dockerd");
    std::os::unix::fs::symlink(conexd, &dockerd).unwrap();
    let config = dir.path().join("daemon.json");
    let parent = format!("conex-test-dockerd-{}", std::process::id());
    std::fs::write(
        &config,
        format!(r#"{{"debug":true,"cgroup-parent":"/{parent}","exec-opts":["native.cgroupdriver=cgroupfs"]}}"#),
    )
    .unwrap();
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
    remove_cgroups(&parent);
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

/// What a registry has stored that was given `library/busybox` and `team/tool:2`.
fn stored_hub(dir: &Path) -> PathBuf {
    let registry = RealRegistry::start(&dir.join("registry"), &Access::Open, &Protocol::Http);
    let busybox = registries::image::Image {
        config: Content::new(DOCKER_CONFIG, conex_tests::config_of(&[&conex_tests::busybox_layer()])),
        layers: vec![Content::new(
            "application/vnd.docker.image.rootfs.diff.tar",
            conex_tests::busybox_layer(),
        )],
    };
    registry.pusher("library/busybox", None).image(&busybox, "latest");
    registry.pusher("team/tool", None).image(&busybox, "2");
    let hub = dir.join("hub");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(dir.join("registry/storage"))
        .arg(&hub)
        .status()
        .unwrap();
    assert!(copied.success());
    hub
}

/// Docker Hub is a registry of the name `registry-1.docker.io` here: the real registry program, with a certificate of that
/// name, in a network and under a hosts file of the test's own.
#[test]
fn a_short_name_is_fetched_from_docker_hub() {
    let dir = tempfile::tempdir().unwrap();
    let hub = stored_hub(dir.path());
    let conexd = conexd();
    let script = format!(
        "mount -t tmpfs none /run; mount -t tmpfs none /var/lib; ip link set lo up; unset DOCKER_HOST
         export no_proxy='*' NO_PROXY='*'; unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
         cd {dir}
         openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out certificate -days 2 \\
             -subj /CN=hub -addext subjectAltName=DNS:registry-1.docker.io 2>/dev/null
         mkdir -p etc/certs.d/registry-1.docker.io; cp certificate etc/certs.d/registry-1.docker.io/ca.crt
         mkdir -p /etc/docker; mount --bind etc /etc/docker
         echo '127.0.0.1 localhost registry-1.docker.io' > hosts; mount --bind hosts /etc/hosts
         printf 'version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {hub}}}}}\n' > hub.yml
         printf 'http: {{addr: \"127.0.0.1:443\", tls: {{certificate: certificate, key: key}}}}\n' >> hub.yml
         docker-registry serve hub.yml >registry.log 2>&1 &
         {conexd} --data-root /run/d --exec-root /run/e --bridge none -H unix:///run/c.sock --cgroup-parent /{parent} \\
             2>/run/log & daemon=$!
         export DOCKER_HOST=unix:///run/c.sock
         for i in $(seq 100); do docker version >/dev/null 2>&1 && break; sleep 0.1; done
         for i in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/443) 2>/dev/null && break; sleep 0.1; done
         docker run --rm --network none busybox echo from the hub
         docker pull team/tool:2 | grep -v Digest | sort
         docker images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' | sort
         kill $daemon; wait $daemon || true",
        dir = dir.path().display(),
        hub = hub.display(),
        conexd = conexd.display(),
        parent = format_args!("conex-test-hub-{}", std::process::id()),
    );
    let (success, out, err) = isolated(&script);
    remove_cgroups(&format!("conex-test-hub-{}", std::process::id()));
    assert!(success, "{out}\n{err}");
    for line in [
        "from the hub",
        "2: Pulling from team/tool",
        "Status: Downloaded newer image for team/tool:2",
        "docker.io/team/tool:2",
        "busybox:latest",
        "team/tool:2",
    ] {
        assert!(out.lines().any(|said| said == line), "{line}: {out}\n{err}");
    }
    assert!(err.contains("Unable to find image 'busybox:latest' locally"), "{err}");
    assert!(err.contains("latest: Pulling from library/busybox"), "{err}");
}

/// A daemon in a chroot has another root than its mount namespace; the containers' namespaces must end at their own root.
#[test]
fn in_a_chroot_containers_are_as_shut_as_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let archive = busybox_archive(dir.path());
    let conexd = conexd();
    let parent = format!("conex-test-chroot-{}", std::process::id());
    let script = format!(
        "mount --make-rprivate /
         mkdir {dir}/root; mount --rbind / {dir}/root
         mount -t tmpfs none {dir}/root/run; ip link set lo up
         chroot {dir}/root {conexd} --data-root /run/d --exec-root /run/e --bridge none -H unix:///run/c.sock \\
             --cgroup-parent /{parent} 2>{dir}/log & daemon=$!
         export DOCKER_HOST=unix://{dir}/root/run/c.sock
         for i in $(seq 100); do docker version >/dev/null 2>&1 && break; sleep 0.1; done
         docker load -q -i {archive}
         docker run -d --name shut --network none busybox sleep 1000 >/dev/null
         docker exec shut sh -c 'tr \"\\0\" \" \" < /proc/1/cmdline; echo'
         docker exec shut ls -d {dir} /etc/secret 2>&1 | sort
         docker rm -f shut >/dev/null
         kill $daemon; wait $daemon || true",
        dir = dir.path().display(),
        conexd = conexd.display(),
        archive = archive.display(),
    );
    let (success, out, err) = isolated(&script);
    remove_cgroups(&parent);
    assert!(
        success,
        "{out}\n{err}\n{:?}",
        std::fs::read_to_string(dir.path().join("log"))
    );
    let said: Vec<&str> = out.lines().map(str::trim_end).collect();
    let absent = format!("ls: {}: No such file or directory", dir.path().display());
    assert_eq!(said[1..], ["sleep 1000", "/etc/secret", &absent], "{out}\n{err}");
}
