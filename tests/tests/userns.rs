//! Containers whose ids are others on the host (`userns-remap`), and those that opt out of it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use conex_tests::{Said, Sandbox, dist, eventually, seeded_archive};
use tempfile::TempDir;

/// The first subordinate ids of the user of these tests.
const USERS: u32 = 100_000;
const GROUPS: u32 = 200_000;

const SLEEP: [&str; 2] = ["sleep", "600"];

/// A daemon in a mount namespace that has accounts of its own.
struct Remapped {
    sandbox: Sandbox,
    etc: TempDir,
}

impl Deref for Remapped {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl DerefMut for Remapped {
    fn deref_mut(&mut self) -> &mut Sandbox {
        &mut self.sandbox
    }
}

impl Remapped {
    /// One that maps the ids of containers to those of the user `mapped`.
    fn new() -> Self {
        Self::with("--userns-remap mapped")
    }

    fn with(flags: &str) -> Self {
        Self::in_etc(tempfile::tempdir().unwrap(), flags)
    }

    /// One with programs of its own, of which `conex-shim` is another build than the present one.
    fn of_programs() -> Self {
        let etc = tempfile::tempdir().unwrap();
        let programs = etc.path().join("programs");
        fs::create_dir(&programs).unwrap();
        fs::copy(dist().join("conexd"), programs.join("conexd")).unwrap();
        let shim = programs.join("conex-shim");
        fs::copy(dist().join("conex-shim"), &shim).unwrap();
        let mut bytes = fs::OpenOptions::new().append(true).open(&shim).unwrap();
        bytes.write_all(&[0]).unwrap();
        drop(bytes);
        Self::in_etc(etc, "--userns-remap mapped")
    }

    fn in_etc(etc: TempDir, flags: &str) -> Self {
        for (name, text) in [
            (
                "passwd",
                "root:x:0:0:root:/:/bin/sh\nmapped:x:700:700::/:/bin/sh\nlonely:x:701:701::/:/bin/sh\n",
            ),
            ("group", "root:x:0:\nmapped:x:700:\nlonely:x:701:\n"),
            ("subuid", "mapped:100000:65536\n"),
            ("subgid", "mapped:200000:65536\n"),
            ("flags", flags),
        ] {
            fs::write(etc.path().join(name), text).unwrap();
        }
        let of = etc.path().display();
        let script = format!(
            "for file in passwd group subuid subgid; do mount --bind {of}/$file /etc/$file || exit 1; done
             if [ -d {of}/programs ]; then shift; set -- {of}/programs/conexd \"$@\"; fi
             exec \"$@\" $(cat {of}/flags)"
        );
        let sandbox = Sandbox::started_by(&["unshare", "--mount", "sh", "-c", &script, "sh"]);
        Self { sandbox, etc }
    }

    /// Flags of the daemons that are started from now on.
    fn set(&self, flags: &str) {
        fs::write(self.etc.path().join("flags"), flags).unwrap();
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.etc.path().join(name), text).unwrap();
    }

    /// Starts a container that sleeps; returns its id.
    fn sleeper(&self, name: &str, options: &[&str]) -> String {
        let head = ["run", "-d", "--name", name];
        self.ok(&[&head[..], options, &["busybox"], &SLEEP].concat())
    }

    fn inside(&self, name: &str, script: &str) -> String {
        self.ok(&["exec", name, "sh", "-c", script])
    }

    /// The directory that has what is a container's.
    fn directory(&self, id: &str) -> PathBuf {
        self.dir().join("data/containers").join(id)
    }

    /// Where a volume's files are.
    fn volume(&self, name: &str) -> PathBuf {
        self.dir().join("data/volumes").join(name).join("_data")
    }
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

fn mapped(uid: u32, gid: u32) -> (u32, u32) {
    (USERS + uid, GROUPS + gid)
}

fn refused(said: &Said, words: &str) {
    assert!(said.code != 0 && said.err.contains(words), "{said:?}");
}

#[test]
fn root_of_a_container_is_the_users_first_subordinate_id() {
    let sandbox = Remapped::new();
    let numbers = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        numbers(sandbox.run(&[], "cat /proc/self/uid_map")),
        ["0", "100000", "65536"]
    );
    assert_eq!(
        numbers(sandbox.run(&[], "cat /proc/self/gid_map")),
        ["0", "200000", "65536"]
    );
    assert_eq!(sandbox.run(&[], "id -u; id -g"), "0\n0");
    // The image's ids are what the container sees.
    let seen = "stat -c %u:%g / /bin/busybox /etc/secret; cat /etc/secret";
    assert_eq!(sandbox.run(&[], seen), "0:0\n0:0\n0:0\nsecret");
    let id = sandbox.sleeper("one", &["--user", "worker", "--group-add", "3000"]);
    let pid = sandbox.ok(&["inspect", "-f", "{{.State.Pid}}", "one"]);
    let process = PathBuf::from(format!("/proc/{pid}"));
    assert_eq!(owner(&process), mapped(1000, 1000));
    assert_eq!(
        sandbox.inside("one", "id"),
        "uid=1000(worker) gid=1000(worker) groups=29(audio),1000(worker),3000"
    );
    // All namespaces belong to the user namespace: the first process's own, and no other container's.
    sandbox.sleeper("two", &[]);
    let namespace = |name| sandbox.inside(name, "readlink /proc/self/ns/user");
    assert_ne!(namespace("one"), namespace("two"));
    assert_ne!(
        namespace("one"),
        fs::read_link("/proc/self/ns/user").unwrap().display().to_string()
    );
    for file in ["hosts", "hostname", "resolv.conf", "upper"] {
        assert_eq!(owner(&sandbox.directory(&id).join(file)), mapped(0, 0), "{file}");
    }
    let options = sandbox.ok(&["info", "-f", "{{.SecurityOptions}}"]);
    assert!(options.contains("name=userns"), "{options}");
    sandbox.ok(&["rm", "-f", "one", "two"]);
    eventually("nothing is left", || sandbox.remains().is_empty());
}

/// A file of the host's root, in a directory that containers have.
fn host_file(dir: &Path) -> (PathBuf, String) {
    let shared = dir.join("shared");
    fs::create_dir(&shared).unwrap();
    let file = shared.join("file");
    fs::write(&file, "of the host\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    (file, format!("{}:/host", shared.display()))
}

#[test]
fn root_of_a_container_does_not_change_files_of_the_hosts_root() {
    let sandbox = Remapped::new();
    let (file, volume) = host_file(sandbox.dir());
    let change = "echo changed > /host/file";
    refused(
        &sandbox.docker(&["run", "--rm", "-v", &volume, "busybox", "sh", "-c", change]),
        "can't create /host/file: Permission denied",
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "of the host\n");
    // It reads what everybody may, and does not know whose it is.
    let read = "cat /host/file; stat -c %u:%g /host/file";
    assert_eq!(sandbox.run(&["-v", &volume], read), "of the host\n65534:65534");
    // Without the guard it is changed.
    sandbox.run(&["--userns", "host", "-v", &volume], change);
    assert_eq!(fs::read_to_string(&file).unwrap(), "changed\n");
    // A file that was given to the container's root is the container's.
    chown(&file, Some(USERS), Some(GROUPS)).unwrap();
    sandbox.run(&["-v", &volume], "echo again > /host/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "again\n");
    // A directory that the container's root could not reach by its name is bound all the same.
    let hidden = sandbox.dir().join("hidden");
    fs::create_dir(&hidden).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(hidden.join("inner")).unwrap();
    let inner = format!("{}:/inner:ro", hidden.join("inner").display());
    assert_eq!(
        sandbox.run(&["-v", &inner], "touch /inner/x 2>&1 || true"),
        "touch: /inner/x: Read-only file system"
    );
}

#[test]
fn layers_are_shared_by_containers_with_other_ids() {
    let sandbox = Remapped::new();
    let layers = sandbox.dir().join("data/layers");
    let names = || {
        let entries = fs::read_dir(&layers).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let before = names();
    assert_eq!(before.len(), 1);
    assert_eq!(sandbox.run(&[], "stat -c %u /etc/passwd"), "0");
    assert_eq!(sandbox.run(&["--userns", "host"], "stat -c %u /etc/passwd"), "0");
    assert_eq!(names(), before);
    assert_eq!(owner(&before[0].join("etc/passwd")), (0, 0));
}

#[test]
fn files_have_the_mapped_ids_on_the_disk_and_the_images_in_archives() {
    let sandbox = Remapped::new();
    let id = sandbox.sleeper("one", &[]);
    let upper = sandbox.directory(&id).join("upper");
    sandbox.inside(
        "one",
        "echo a > /home/a; chown 1000:29 /home/a; echo x >> /etc/secret; chmod 4755 /home/a",
    );
    assert_eq!(owner(&upper.join("home/a")), mapped(1000, 29));
    assert_eq!(owner(&upper.join("etc/secret")), mapped(0, 0));
    assert_eq!(owner(&upper.join("home")), mapped(0, 0));
    assert_eq!(sandbox.ok(&["diff", "one"]), "C /etc/secret\nC /home\nA /home/a");
    // Out of the container and into it again, while it runs and when it does not.
    for (state, name) in [("running", "b"), ("stopped", "c")] {
        if state == "stopped" {
            sandbox.ok(&["kill", "one"]);
        }
        let out = sandbox.dir().join("out.tar");
        let copied = sandbox
            .background(&["cp", "one:/home/a", "-"])
            .wait_with_output()
            .unwrap();
        fs::write(&out, copied.stdout).unwrap();
        assert_eq!(owners_in(&out), [("a".into(), 1000, 29, 0o4755)], "{state}");
        let renamed = renamed(&out, name);
        let said = sandbox.with_input(&["cp", "-", "one:/home"], &renamed);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(owner(&upper.join("home").join(name)), mapped(1000, 29), "{state}");
        let listed = sandbox.ok(&["export", "one", "-o", sandbox.dir().join("e.tar").to_str().unwrap()]);
        assert_eq!(listed, "");
        let owners = owners_in(&sandbox.dir().join("e.tar"));
        assert!(
            owners.contains(&("home/a".into(), 1000, 29, 0o4755)),
            "{state}: {owners:?}"
        );
        assert!(
            owners.contains(&("etc/secret".into(), 0, 0, 0o600)),
            "{state}: {owners:?}"
        );
    }
    sandbox.ok(&["start", "one"]);
    assert_eq!(
        sandbox.inside("one", "stat -c %u:%g:%a /home/a /home/c"),
        "1000:29:4755\n1000:29:4755"
    );
}

#[test]
fn an_image_of_a_mapped_container_has_the_ids_that_the_container_sees() {
    let sandbox = Remapped::new();
    sandbox.sleeper("one", &[]);
    sandbox.inside("one", "echo a > /home/a; chown 1000:29 /home/a; chmod 4755 /home/a");
    assert_eq!(sandbox.ok(&["commit", "one", "plain"]).len(), "sha256:".len() + 64);
    for userns in ["", "host"] {
        let show = ["stat", "-c", "%u:%g:%a", "/home/a", "/home", "/etc/secret"];
        let said = sandbox.ok(&[&["run", "--rm", "--userns", userns, "plain"], &show[..]].concat());
        assert_eq!(said, "1000:29:4755\n0:0:755\n0:0:600", "{userns}");
    }
}

/// The archive of one file under another name.
fn renamed(path: &Path, name: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let mut members = archive.entries().unwrap();
    let mut member = members.next().unwrap().unwrap();
    let mut header = member.header().clone();
    let mut made = tar::Builder::new(Vec::new());
    made.append_data(&mut header, name, &mut member).unwrap();
    made.into_inner().unwrap()
}

/// Path, owner and mode of all members of an archive.
fn owners_in(path: &Path) -> Vec<(String, u64, u64, u32)> {
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let members = archive.entries().unwrap().map(|member| {
        let member = member.unwrap();
        let (path, header) = (member.path().unwrap().display().to_string(), member.header());
        (
            path,
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mode().unwrap() & 0o7777,
        )
    });
    members.collect()
}

#[test]
fn a_copy_into_a_container_that_was_never_started_makes_what_it_needs_as_its_root() {
    let sandbox = Remapped::new();
    let options = ["-v", "named:/deep/in/here", "--name", "one"];
    let id = sandbox.ok(&[&["create"], &options[..], &["busybox"], &SLEEP].concat());
    let file = sandbox.dir().join("file");
    fs::write(&file, "text").unwrap();
    sandbox.ok(&["cp", file.to_str().unwrap(), "one:/deep/in/here/file"]);
    sandbox.ok(&["cp", file.to_str().unwrap(), "one:/home/file"]);
    let upper = sandbox.directory(&id).join("upper");
    for path in ["deep", "deep/in", "deep/in/here", "home/file"] {
        assert_eq!(owner(&upper.join(path)), mapped(0, 0), "{path}");
    }
    assert_eq!(owner(&sandbox.volume("named").join("file")), mapped(0, 0));
    sandbox.ok(&["start", "one"]);
    assert_eq!(
        sandbox.inside("one", "stat -c %u /deep /deep/in/here/file /home/file"),
        "0\n0\n0"
    );
}

#[test]
fn volumes_belong_to_the_containers_root() {
    let sandbox = Remapped::new();
    sandbox.ok(&["volume", "create", "made"]);
    assert_eq!(owner(&sandbox.volume("made")), mapped(0, 0));
    sandbox.run(
        &["-v", "made:/made", "-v", "named:/named"],
        "touch /made/file /named/file",
    );
    assert_eq!(owner(&sandbox.volume("named")), mapped(0, 0));
    assert_eq!(owner(&sandbox.volume("named").join("file")), mapped(0, 0));
    assert_eq!(
        sandbox.run(&["-v", "made:/made"], "stat -c %u:%g /made /made/file"),
        "0:0\n0:0"
    );
    // What an image has there comes along with its ids, in volumes with a name and without.
    let seeded = seeded_archive(sandbox.dir());
    sandbox.ok(&["load", "-q", "-i", seeded.to_str().unwrap()]);
    sandbox.ok(&["create", "-v", "filled:/seed", "seeded"]);
    assert_eq!(owner(&sandbox.volume("filled")), mapped(1000, 1001));
    let id = sandbox.ok(&["create", "seeded"]);
    let name = sandbox.ok(&["inspect", "-f", "{{(index .Mounts 0).Name}}", &id]);
    assert_eq!(owner(&sandbox.volume(&name)), mapped(1000, 1001));
    let seen = sandbox.ok(&[
        "run",
        "--rm",
        "-v",
        "filled:/seed",
        "seeded",
        "stat",
        "-c",
        "%u:%g:%a",
        "/seed",
    ]);
    assert_eq!(seen, "1000:1001:750");
}

#[test]
fn later_processes_and_terminals_are_the_containers() {
    let sandbox = Remapped::new();
    sandbox.sleeper("one", &["--ulimit", "nofile=100:200", "--oom-score-adj", "300"]);
    assert_eq!(
        sandbox.inside("one", "id -u; ulimit -n; cat /proc/self/oom_score_adj"),
        "0\n100\n300"
    );
    assert_eq!(
        sandbox.ok(&[
            "exec",
            "-u",
            "worker",
            "one",
            "sh",
            "-c",
            "id -u; cat /etc/secret 2>&1; true"
        ]),
        "1000\ncat: can't open '/etc/secret': Permission denied"
    );
    // A program opens its standard output by name.
    for user in ["0", "worker"] {
        assert_eq!(
            sandbox.ok(&["exec", "-u", user, "one", "sh", "-c", "echo text > /dev/stdout"]),
            "text"
        );
        assert_eq!(sandbox.run(&["-u", user], "echo text > /dev/stdout"), "text");
        assert_eq!(
            sandbox.run(&["-u", user, "--userns", "host"], "echo text > /dev/stdout"),
            "text"
        );
    }
    assert_eq!(owner(Path::new("/dev/null")), (0, 0));
    let script = "tty; stat -c %u:%g $(tty); echo text > /dev/tty; echo more > /dev/stdout";
    for arguments in [
        &["exec", "-it", "one", "sh", "-c", script][..],
        &["run", "--rm", "-it", "busybox", "sh", "-c", script],
    ] {
        let said = sandbox.on_terminal(arguments, &[]);
        for words in ["/dev/pts/0", "0:5", "text", "more"] {
            assert!(said.out.contains(words), "{arguments:?}: {said:?}");
        }
    }
    let console = sandbox.on_terminal(
        &["run", "--rm", "-it", "busybox", "stat", "-c", "%u:%g", "/dev/console"],
        &[],
    );
    assert!(console.out.contains("0:5"), "{console:?}");
    assert_eq!(
        sandbox.with_input(&["exec", "-i", "one", "cat"], b"in and out").out,
        "in and out"
    );
}

#[test]
fn a_program_with_the_setuid_bit_makes_its_user_root_of_the_container_only() {
    let sandbox = Remapped::new();
    sandbox.sleeper("one", &[]);
    // Of busybox's programs this is one that goes on as root where it has the bit.
    sandbox.inside(
        "one",
        "cd /home; mkdir -p /var/spool/cron/crontabs plain; chmod 700 /var/spool/cron/crontabs
         echo line > /var/spool/cron/crontabs/worker; cp /bin/busybox busybox; cp busybox plain; chmod 4755 busybox",
    );
    let list = |program| sandbox.docker(&["exec", "-u", "worker", "one", program, "crontab", "-l"]);
    assert_eq!(list("/home/busybox").out, "line");
    refused(&list("/home/plain/busybox"), "");
    let (file, volume) = host_file(sandbox.dir());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    refused(
        &sandbox.docker(&["run", "--rm", "-v", &volume, "busybox", "cat", "/host/file"]),
        "denied",
    );
    assert_eq!(
        sandbox.run(&["-v", &volume, "--userns", "host"], "cat /host/file"),
        "of the host"
    );
}

#[test]
fn kernel_interfaces_are_those_of_the_containers_namespaces() {
    let sandbox = Remapped::new();
    assert_eq!(
        sandbox.run(
            &["--sysctl", "net.ipv4.ip_forward=1"],
            "cat /proc/sys/net/ipv4/ip_forward"
        ),
        "1"
    );
    assert_eq!(
        sandbox.run(&[], "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"),
        "0"
    );
    assert_eq!(sandbox.run(&[], "ls /sys/class/net"), "eth0\nlo");
    assert_eq!(sandbox.run(&["--network", "none"], "ls /sys/class/net"), "lo");
    assert_eq!(
        sandbox.run(&["-h", "named"], "hostname; cat /etc/hostname"),
        "named\nnamed"
    );
    assert_ne!(sandbox.run(&[], "ls /sys/fs/cgroup | wc -l"), "0");
    assert_eq!(
        sandbox.run(
            &["--pids-limit", "7"],
            "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true"
        ),
        "7"
    );
    refused(
        &sandbox.docker(&["run", "--rm", "busybox", "sh", "-c", "mount -t tmpfs none /tmp"]),
        "permission denied",
    );
    refused(
        &sandbox.docker(&["run", "--rm", "busybox", "sh", "-c", "echo x > /proc/sys/kernel/panic"]),
        "an't create",
    );
    // A device that the host has is bound, whatever it is called.
    let zero = "head -c 3 /dev/other | od -An -tx1";
    assert_eq!(
        sandbox.run(&["--device", "/dev/zero:/dev/other"], zero).trim(),
        "00 00 00"
    );
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "8000:80",
        "busybox",
        "sh",
        "-c",
        "echo page > /tmp/index.html; httpd -f -p 80 -h /tmp",
    ]);
    let address = sandbox.ok(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]);
    assert_eq!(
        sandbox.run(&[], &format!("sleep 0.3; wget -qO- http://{address}/")),
        "page"
    );
    assert_eq!(
        sandbox.run(&[], "ping -c 1 127.0.0.1 > /dev/null && echo answered"),
        "answered"
    );
}

#[test]
fn containers_share_namespaces_together_with_the_user_namespace() {
    let sandbox = Remapped::new();
    sandbox.sleeper("target", &["--ipc", "shareable"]);
    sandbox.sleeper("plain", &["--userns", "host"]);
    sandbox.inside("target", "echo word > /dev/shm/file");
    let of = |kind: &str| format!("readlink /proc/self/ns/{kind}");
    for (option, kind) in [("--network", "net"), ("--ipc", "ipc"), ("--pid", "pid")] {
        let options = [option, "container:target"];
        assert_eq!(
            sandbox.run(&options, &of(kind)),
            sandbox.inside("target", &of(kind)),
            "{option}"
        );
        assert_eq!(
            sandbox.run(&options, &of("user")),
            sandbox.inside("target", &of("user")),
            "{option}"
        );
        assert_eq!(sandbox.run(&options, "ls /sys/class/net"), "eth0\nlo", "{option}");
        refused(
            &sandbox.docker(&["run", "--rm", option, "container:plain", "busybox", "true"]),
            if option == "--ipc" {
                ""
            } else {
                "it has other ids (--userns)"
            },
        );
        // Who has the host's ids has rights over everybody's.
        let options = [&options[..], &["--userns", "host"]].concat();
        assert_eq!(
            sandbox.run(&options, &of(kind)),
            sandbox.inside("target", &of(kind)),
            "{option}"
        );
    }
    assert_eq!(sandbox.run(&["--ipc", "container:target"], "cat /dev/shm/file"), "word");
    sandbox.sleeper("other", &["--ipc", "shareable"]);
    refused(
        &sandbox.docker(&[
            "run",
            "--rm",
            "--ipc",
            "container:target",
            "--network",
            "container:other",
            "busybox",
            "true",
        ]),
        "its user namespace is not that of the other containers that are joined",
    );
    assert_eq!(sandbox.run(&["--ipc", "host"], "ls -d /dev/mqueue"), "/dev/mqueue");
}

#[test]
fn what_a_user_namespace_rules_out_is_refused_unless_the_container_opts_out() {
    let sandbox = Remapped::new();
    for (options, words) in [
        (
            &["--privileged"][..],
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when \
             running privileged mode",
        ),
        (
            &["--network", "host"],
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (
            &["--pid", "host"],
            "cannot share the host PID namespace when user namespaces are enabled",
        ),
    ] {
        let run = |more: &[&str]| {
            sandbox.docker(
                &[
                    &["run", "--rm"],
                    options,
                    more,
                    &["busybox", "cat", "/proc/self/uid_map"],
                ]
                .concat(),
            )
        };
        refused(&run(&[]), words);
        let said = run(&["--userns", "host"]);
        assert!(
            said.code == 0 && said.out.contains("4294967295"),
            "{options:?}: {said:?}"
        );
    }
    refused(
        &sandbox.docker(&["run", "--userns", "other", "busybox"]),
        "invalid USER mode",
    );
    let words = "not all of its ids are mapped in the user namespace";
    refused(
        &sandbox.docker(&["run", "--rm", "--user", "70000", "busybox", "true"]),
        words,
    );
    assert_eq!(sandbox.run(&["--user", "65535"], "id -u"), "65535");
    assert_eq!(sandbox.run(&["--user", "70000", "--userns", "host"], "id -u"), "70000");
    assert_eq!(sandbox.ok(&["ps", "-aq", "--filter", "status=running"]), "");
}

#[test]
fn containers_keep_their_ids_whatever_becomes_of_the_daemon() {
    let mut sandbox = Remapped::new();
    sandbox.sleeper("one", &[]);
    sandbox.inside("one", "touch /home/before");
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(
        sandbox.inside("one", "id -u; stat -c %u /home/before; cat /proc/self/uid_map | wc -l"),
        "0\n0\n1"
    );
    // A daemon that maps nobody's ids any more, or others.
    for flags in ["", "--userns-remap lonely"] {
        sandbox.terminate();
        sandbox.set(flags);
        sandbox.write("subuid", "mapped:100000:65536\nlonely:400000:65536\n");
        sandbox.write("subgid", "mapped:200000:65536\nlonely:500000:65536\n");
        sandbox.start(&[]);
        assert_eq!(sandbox.inside("one", "stat -c %u /home/before"), "0");
        sandbox.ok(&["restart", "-t", "0", "one"]);
        let map = "cat /proc/self/uid_map; stat -c %u /home/before";
        let said = sandbox.inside("one", map);
        assert_eq!(
            said.split_whitespace().collect::<Vec<_>>(),
            ["0", "100000", "65536", "0"],
            "{flags}"
        );
        let new = sandbox.run(&[], "cat /proc/self/uid_map");
        let host = new.split_whitespace().nth(1).unwrap();
        assert_eq!(host, if flags.is_empty() { "0" } else { "400000" });
    }
    let options = sandbox.ok(&["info", "-f", "{{.SecurityOptions}}"]);
    assert!(options.contains("name=userns"), "{options}");
    sandbox.ok(&["rm", "-f", "one"]);
    eventually("nothing is left", || sandbox.remains().is_empty());
}

/// What the monitor of a container runs; it is the parent of the container's first process.
fn program_of_monitor(pid: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"))?;
    let environment = String::from_utf8(fs::read(format!("/proc/{parent}/environ")).ok()?).ok()?;
    let mut variables = environment.split('\0');
    variables.find_map(|variable| Some(variable.strip_prefix("CONEX_SHIM_SEALED=")?.to_owned()))
}

#[test]
fn a_monitor_goes_on_with_a_mapped_container_when_it_executes_its_successor() {
    let mut sandbox = Remapped::of_programs();
    sandbox.sleeper("one", &[]);
    let pid = sandbox.ok(&["inspect", "-f", "{{.State.Pid}}", "one"]);
    let before = program_of_monitor(&pid).unwrap();
    sandbox.kill();
    let programs = sandbox.etc.path().join("programs");
    fs::copy(dist().join("conex-shim"), programs.join("new")).unwrap();
    fs::rename(programs.join("new"), programs.join("conex-shim")).unwrap();
    sandbox.start(&[]);
    eventually("the monitor runs another program", || {
        program_of_monitor(&pid).is_some_and(|program| program != before)
    });
    assert_eq!(
        sandbox.inside("one", "id -u; echo text > /dev/stdout; stat -c %u /etc/secret"),
        "0\ntext\n0"
    );
    sandbox.ok(&["stop", "-t", "0", "one"]);
    sandbox.ok(&["start", "one"]);
    assert_eq!(sandbox.inside("one", "id -u"), "0");
}

#[test]
fn a_daemon_that_cannot_map_does_not_start_and_says_why() {
    let mut sandbox = Remapped::new();
    sandbox.terminate();
    sandbox.write("subuid", "mapped:100000:65536\n");
    for (flags, words) in [
        ("--userns-remap nosuch", "Error during uid lookup for \"nosuch\""),
        ("--userns-remap 4242", "Uid 4242 has no entry in /etc/passwd"),
        (
            "--userns-remap mapped:nosuch",
            "Error during groupname lookup for \"nosuch\"",
        ),
        (
            "--userns-remap a:b:c",
            "Invalid user/group specification in --userns-remap: \"a:b:c\"",
        ),
        ("--userns-remap lonely", "no subuid ranges found for user \"lonely\""),
        ("--userns-remap default", "there is no user \"dockremap\""),
    ] {
        sandbox.set(flags);
        let said = sandbox.refused_start();
        assert!(said.contains(words), "{flags}: {said}");
    }
    sandbox.set("--userns-remap mapped");
    sandbox.write("subgid", "");
    let said = sandbox.refused_start();
    assert!(said.contains("no subgid ranges found for user \"mapped\""), "{said}");
    // Named in the file as well, it is a conflict; alone it counts.
    sandbox.write("subgid", "mapped:200000:65536\n");
    let file = sandbox.etc.path().join("daemon.json");
    fs::write(&file, r#"{"userns-remap":"700:mapped"}"#).unwrap();
    let named = format!("--config-file {}", file.display());
    sandbox.set(&format!("--userns-remap mapped {named}"));
    let said = sandbox.refused_start();
    assert!(
        said.contains("specified both as a flag and in the configuration file: userns-remap"),
        "{said}"
    );
    sandbox.set(&named);
    sandbox.start(&[]);
    let map = sandbox.run(&[], "cat /proc/self/uid_map");
    assert!(map.contains("100000"), "{map}");
    // Root cannot be another.
    sandbox.terminate();
    sandbox.set("--userns-remap root");
    sandbox.start(&[]);
    assert!(sandbox.run(&[], "cat /proc/self/uid_map").contains("4294967295"));
    assert!(
        sandbox
            .log()
            .contains("root cannot be remapped with itself; user namespaces are OFF")
    );
}

#[test]
fn a_storage_driver_that_does_not_map_is_told_of_at_the_start() {
    let mut sandbox = Remapped::with("--storage-driver vfs");
    sandbox.terminate();
    sandbox.set("--storage-driver vfs --userns-remap mapped");
    let said = sandbox.refused_start();
    assert!(
        said.contains("userns-remap: storage driver vfs cannot map ids: only overlay2 does"),
        "{said}"
    );
}

/// Makes and starts a container by the API: the `docker` CLI itself refuses what Docker does not know.
fn start_with(daemon: &Remapped, name: &str, mode: &str) -> (u16, String) {
    let body = format!(
        r#"{{"Image":"busybox","Cmd":["sleep","600"],"HostConfig":{{"UsernsMode":"{mode}","NetworkMode":"none"}}}}"#
    );
    let made = daemon.request("POST", &format!("/containers/create?name={name}"), &body);
    if made.0 != 201 {
        return made;
    }
    daemon.request("POST", &format!("/containers/{name}/start"), "")
}

#[test]
fn a_container_has_the_ids_that_it_asks_for() {
    let daemon = Remapped::with("");
    assert_eq!(start_with(&daemon, "own", "0:300000:1000").0, 204);
    let map = daemon.inside("own", "cat /proc/self/uid_map /proc/self/gid_map; touch /made; id -u");
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(words, ["0", "300000", "1000", "0", "300000", "1000", "0"]);
    let id = daemon.ok(&["inspect", "--format", "{{.Id}} {{.HostConfig.UsernsMode}}", "own"]);
    let (id, mode) = id.split_once(' ').unwrap();
    assert_eq!(mode, "0:300000:1000");
    assert_eq!(owner(&daemon.directory(id).join("upper/made")), (300_000, 300_000));
    // Another one in the same daemon has the host's.
    assert_eq!(
        daemon
            .run(&["--network", "none"], "cat /proc/self/uid_map")
            .split_whitespace()
            .nth(1),
        Some("0")
    );

    for (mode, words) in [
        ("0:1", "invalid USER mode: 0:1"),
        ("keep-id:size=1", "invalid USER mode: keep-id:size=1"),
        ("keep-id", "--userns keep-id: the user \\\"containers\\\" has no ranges"),
    ] {
        let (status, body) = start_with(&daemon, "wrong", mode);
        assert!(status >= 400 && body.contains(words), "{mode}: {status} {body}");
    }
    let privileged = r#"{"Image":"busybox","HostConfig":{"UsernsMode":"0:300000:1000","Privileged":true}}"#;
    let (status, body) = daemon.request("POST", "/containers/create", privileged);
    assert!(
        status == 400 && body.contains("privileged mode is incompatible"),
        "{status} {body}"
    );
}

/// A user of the host, who may use the daemon's socket.
struct Person<'a> {
    daemon: &'a Remapped,
    conex: PathBuf,
}

impl<'a> Person<'a> {
    const USER: u32 = 1234;
    const GROUP: u32 = 1235;

    fn new(daemon: &'a Remapped) -> Self {
        let everybodys = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        everybodys(daemon.dir(), 0o755);
        everybodys(&daemon.socket(), 0o666);
        let conex = daemon.dir().join("conex");
        fs::copy(dist().join("conex"), &conex).unwrap();
        Self { daemon, conex }
    }

    fn conex(&self, arguments: &[&str]) -> Said {
        let host = format!("unix://{}", self.daemon.socket().display());
        let ids = [format!("--reuid={}", Self::USER), format!("--regid={}", Self::GROUP)];
        let mut command = Command::new("setpriv");
        command.args(ids).arg("--clear-groups").arg(&self.conex);
        let output = command.args(["--host", &host]).args(arguments).output().unwrap();
        Said::new(&output)
    }

    fn run(&self, options: &[&str], script: &str) -> String {
        let arguments = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
        let said = self.conex(&arguments);
        assert_eq!(said.code, 0, "{said:?}");
        said.out.trim().to_owned()
    }
}

#[test]
fn a_container_keeps_the_ids_of_who_calls() {
    let mut daemon = Remapped::in_etc(tempfile::tempdir().unwrap(), "--host tcp://127.0.0.1:2375");
    daemon.write("subuid", "containers:400000:140000\n");
    daemon.write("subgid", "containers:600000:140000\n");
    daemon.terminate();
    daemon.start(&[]);
    let (user, group) = (Person::USER, Person::GROUP);
    let person = Person::new(&daemon);
    let home = daemon.dir().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(user), Some(group)).unwrap();
    let bind = format!("{}:/home", home.display());

    let script = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; stat -c %u:%g /home; touch /home/own";
    let said = person.run(&["--userns", "keep-id", "-v", &bind], script);
    let words: Vec<&str> = said.split_whitespace().collect();
    let map =
        "1234 1235 0 400000 1234 1234 1234 1 1235 401235 64301 0 600000 1235 1235 1235 1 1236 601236 64300 1234:1235";
    assert_eq!(words.join(" "), map);
    assert_eq!(owner(&home.join("own")), (user, group));

    // Under other ids in the container; who is named by --user is not the caller.
    let said = person.run(
        &["--userns", "keep-id:uid=0,gid=0", "-v", &bind],
        "id -u; touch /home/root",
    );
    assert_eq!(said, "0");
    assert_eq!(owner(&home.join("root")), (user, group));
    let said = person.run(
        &["--userns", "keep-id", "--user", "5", "-v", &bind],
        "id -u; touch /home/no 2>&1; touch /tmp/own && stat -c %u /tmp/own",
    );
    assert_eq!(said, "5\ntouch: /home/no: Permission denied\n5");

    // Everybody else's ids are those of no other container.
    for name in ["one", "two"] {
        let run = [
            "run", "-d", "--name", name, "--userns", "keep-id", "busybox", "sleep", "600",
        ];
        let said = person.conex(&run);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let root = |name: &str| {
        let map = daemon.ok(&["exec", "--user", "0", name, "cat", "/proc/self/uid_map"]);
        map.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!((root("one"), root("two")), ("400000".to_owned(), "465536".to_owned()));
    assert_eq!(daemon.ok(&["exec", "one", "id", "-u"]), "1234");
    daemon.ok(&["restart", "-t", "0", "one"]);
    assert_eq!(daemon.ok(&["exec", "one", "id", "-u"]), "1234");
    daemon.ok(&["rm", "-f", "one", "two"]);

    // Nobody tells who is at the other end of a TCP connection.
    let remote = ["--host", "tcp://127.0.0.1:2375"];
    let run = ["run", "--rm", "--userns", "keep-id", "busybox", "true"];
    let said = daemon.in_namespace(person.conex.to_str().unwrap(), &[&remote[..], &run].concat());
    refused(&said, "--userns keep-id: only a UNIX socket tells who calls");
}

#[test]
fn ids_are_allotted_that_no_other_container_has_and_come_back() {
    let daemon = Remapped::with("");
    let (status, body) = start_with(&daemon, "none", "auto");
    assert!(
        status == 400 && body.contains("the user \\\"containers\\\" has no ranges"),
        "{status} {body}"
    );

    let mut daemon = daemon;
    daemon.write("subuid", "mapped:100000:65536\ncontainers:400000:2500\n");
    daemon.write("subgid", "mapped:200000:65536\ncontainers:500000:2500\n");
    daemon.terminate();
    daemon.start(&[]);
    let first_ids = |name: &str| {
        let text = daemon.inside(name, "cat /proc/self/uid_map /proc/self/gid_map");
        let words: Vec<u32> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (words[1], words[4])
    };
    for (name, ids) in [("one", (400_000, 500_000)), ("two", (401_000, 501_000))] {
        assert_eq!(start_with(&daemon, name, "auto:size=1000").0, 204);
        assert_eq!(first_ids(name), ids);
    }
    let (status, body) = start_with(&daemon, "three", "auto:size=1000");
    assert!(
        status == 400 && body.contains("1000 ids in a row are not free"),
        "{status} {body}"
    );
    daemon.ok(&["rm", "--force", "one"]);
    assert_eq!(start_with(&daemon, "three", "auto:size=1000").0, 204);
    assert_eq!(first_ids("three"), (400_000, 500_000), "those of the one that is gone");
}

#[test]
fn what_a_mapped_container_writes_is_limited() {
    let sandbox = Remapped::with("--userns-remap mapped --storage-opt conex.quota=loop");
    sandbox.sleeper("full", &["--storage-opt", "size=32M"]);
    let fill = "dd if=/dev/zero of=/big bs=1M count=64 2>&1; stat -c %u:%g /big; rm /big; touch /kept";
    let said = sandbox.inside("full", fill);
    assert!(
        said.contains("No space left on device") && said.ends_with("\n0:0"),
        "{said}"
    );
    sandbox.ok(&["restart", "-t", "0", "full"]);
    assert_eq!(sandbox.inside("full", "stat -c %u /kept"), "0");
    assert_eq!(sandbox.ok(&["diff", "full"]), "A /kept");
    // The control.
    sandbox.sleeper("free", &[]);
    assert!(!sandbox.inside("free", fill).contains("No space left on device"));
    sandbox.ok(&["rm", "-f", "full", "free"]);
}
