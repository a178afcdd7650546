//! `docker cp` in both directions and `docker export`, of containers that run and of those that do not.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use conex_tests::{Sandbox, eventually};

/// A path below the scratch directory, as text.
fn below(sandbox: &Sandbox, name: &str) -> String {
    sandbox.dir().join(name).display().to_string()
}

/// A tree with what copies can get wrong.
fn tree(sandbox: &Sandbox) -> PathBuf {
    let tree = sandbox.dir().join("tree");
    fs::create_dir_all(tree.join("sub/deep")).unwrap();
    fs::write(tree.join("file"), "contents\n").unwrap();
    fs::set_permissions(tree.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(tree.join("file"), Some(77), Some(88)).unwrap();
    fs::hard_link(tree.join("file"), tree.join("sub/same")).unwrap();
    symlink("../file", tree.join("sub/link")).unwrap();
    fs::set_permissions(tree.join("sub/deep"), fs::Permissions::from_mode(0o1777)).unwrap();
    let times = ["-d", "2001-02-03 04:05:06 UTC"];
    let touched = Command::new("touch")
        .args(times)
        .arg(tree.join("file"))
        .arg(tree.join("sub/deep"))
        .status();
    assert!(touched.unwrap().success());
    tree
}

/// Starts a container and waits until it has carried a script out.
fn run_script(sandbox: &Sandbox, name: &str, script: &str) {
    let script = format!("{script}; echo done; sleep 1000");
    sandbox.ok(&["run", "-d", "--name", name, "busybox", "sh", "-c", &script]);
    eventually("the script", || sandbox.ok(&["logs", name]) == "done");
}

/// Kind, mode, owner, time and contents or target of everything below a directory, by relative path.
fn listing(dir: &Path) -> Vec<String> {
    let script = "find . -mindepth 1 -printf '%p %y %m %U:%G %Ts %l\\n' | sed 's/\\.0*\\( [^ ]*\\)$/\\1/' | sort";
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_tree_comes_back_as_it_went_in() {
    let sandbox = Sandbox::new();
    let tree = tree(&sandbox);
    sandbox.ok(&["create", "--name", "created", "busybox", "sleep", "1000"]);
    sandbox.ok(&["run", "-d", "--name", "running", "busybox", "sleep", "1000"]);
    sandbox.ok(&["run", "--name", "exited", "busybox", "true"]);
    for name in ["created", "running", "exited"] {
        sandbox.ok(&["cp", tree.to_str().unwrap(), &format!("{name}:/tmp/tree")]);
        let out = sandbox.dir().join(name);
        fs::create_dir(&out).unwrap();
        // The client itself does not restore owners.
        let mut unpacking = Command::new("tar")
            .args(["xp", "--same-owner", "--strip-components=1", "-C"])
            .arg(&out)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let archive = sandbox
            .background(&["cp", &format!("{name}:/tmp/tree"), "-"])
            .wait_with_output()
            .unwrap();
        unpacking.stdin.take().unwrap().write_all(&archive.stdout).unwrap();
        assert!(unpacking.wait().unwrap().success());
        assert_eq!(listing(&sandbox.dir().join(name)), listing(&tree), "{name}");
        let inodes = ["file", "sub/same"].map(|file| fs::metadata(sandbox.dir().join(name).join(file)).unwrap().ino());
        assert_eq!(inodes[0], inodes[1], "{name}: a file with two names");
        assert_eq!(
            fs::read_to_string(sandbox.dir().join(name).join("file")).unwrap(),
            "contents\n"
        );
    }
    // What was copied into a container that did not run is there when it does.
    sandbox.ok(&["start", "created"]);
    assert_eq!(
        sandbox.ok(&[
            "exec",
            "created",
            "sh",
            "-c",
            "cat /tmp/tree/sub/link; stat -c '%a %u:%g' /tmp/tree/file"
        ]),
        "contents\n640 77:88"
    );
}

#[test]
fn names_of_copies_are_chosen_as_docker_chooses_them() {
    let sandbox = Sandbox::new();
    let tree = tree(&sandbox);
    let tree = tree.to_str().unwrap();
    run_script(&sandbox, "box", "mkdir -p /a/b; ln -s /a/b /to-b; ln -s /gone /broken");
    let inside = |script: &str| sandbox.ok(&["exec", "box", "sh", "-c", script]);
    sandbox.ok(&["cp", tree, "box:/a"]);
    sandbox.ok(&["cp", &format!("{tree}/."), "box:/to-b"]);
    sandbox.ok(&["cp", &format!("{tree}/file"), "box:/a/renamed"]);
    assert_eq!(
        inside("ls /a /a/b /a/tree | tr '\\n' ' '").trim_end(),
        "/a: b renamed tree  /a/b: file sub  /a/tree: file sub"
    );
    let refused = sandbox.docker(&["cp", &format!("{tree}/file"), "box:/nosuch/dir/"]);
    assert!(
        refused.code == 1 && refused.err.contains("no such directory"),
        "{refused:?}"
    );
    let refused = sandbox.docker(&["cp", "box:/nosuch", tree]);
    assert!(
        refused.err.contains("Could not find the file /nosuch in container box"),
        "{refused:?}"
    );

    // A link is copied as one, or with -L as what it leads to.
    sandbox.ok(&["cp", "box:/to-b", &below(&sandbox, "link")]);
    assert_eq!(fs::read_link(sandbox.dir().join("link")).unwrap(), Path::new("/a/b"));
    sandbox.ok(&["cp", "-L", "box:/to-b", &below(&sandbox, "followed")]);
    assert!(sandbox.dir().join("followed/sub/same").exists());
    sandbox.ok(&["cp", "box:/broken", &below(&sandbox, "broken")]);
    assert_eq!(fs::read_link(sandbox.dir().join("broken")).unwrap(), Path::new("/gone"));

    // Archives on standard input and output.
    let archive = Command::new("tar")
        .args(["c", "-C", tree, "file"])
        .output()
        .unwrap()
        .stdout;
    assert_eq!(sandbox.with_input(&["cp", "-", "box:/a/b/sub"], &archive).code, 0);
    assert_eq!(inside("cat /a/b/sub/file"), "contents");
    let compressed = Command::new("tar")
        .args(["cz", "-C", tree, "file"])
        .output()
        .unwrap()
        .stdout;
    assert_eq!(sandbox.with_input(&["cp", "-", "box:/tmp"], &compressed).code, 0);
    assert_eq!(inside("cat /tmp/file"), "contents");
    assert!(sandbox.ok(&["cp", "box:/a/renamed", "-"]).contains("contents"));
}

#[test]
fn owners_are_those_of_the_archive_or_with_a_the_containers_user() {
    let sandbox = Sandbox::new();
    let file = format!("{}/file", tree(&sandbox).display());
    sandbox.ok(&["run", "-d", "--name", "box", "-u", "worker", "busybox", "sleep", "1000"]);
    sandbox.ok(&["cp", &file, "box:/tmp/kept"]);
    sandbox.ok(&["cp", "-a", &file, "box:/tmp/own"]);
    assert_eq!(
        sandbox.ok(&["exec", "box", "stat", "-c", "%u:%g", "/tmp/kept", "/tmp/own"]),
        "77:88\n1000:1000"
    );
}

/// Sends an archive as it is; the answer with its status at the end.
fn put(sandbox: &Sandbox, query: &str, archive: &[u8]) -> String {
    let path = sandbox.dir().join("body.tar");
    fs::write(&path, archive).unwrap();
    let output = Command::new("curl")
        .args([
            "-s",
            "-X",
            "PUT",
            "-H",
            "Content-Type: application/x-tar",
            "-w",
            " %{http_code}",
        ])
        .arg("--unix-socket")
        .arg(sandbox.socket())
        .arg("--data-binary")
        .arg(format!("@{}", path.display()))
        .arg(format!("http://x/v1.50/containers/box/archive?{query}"))
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// An archive of one member.
fn archive(name: &str, kind: tar::EntryType, link: &str) -> Vec<u8> {
    let contents = if kind == tar::EntryType::Regular { "file" } else { "" };
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(contents.len() as u64);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, contents.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn what_is_of_another_kind_is_replaced_only_where_the_client_allows_it() {
    let sandbox = Sandbox::new();
    run_script(&sandbox, "box", "mkdir -p /a/x/y /b; touch /b/x");
    let (file, directory) = (
        archive("x", tar::EntryType::Regular, ""),
        archive("x", tar::EntryType::Directory, ""),
    );
    for (query, body, answer) in [
        (
            "path=/a&noOverwriteDirNonDir=1",
            &file,
            "cannot overwrite directory \\\"x\\\" with non-directory \\\"/a\\\"",
        ),
        (
            "path=/b&noOverwriteDirNonDir=true",
            &directory,
            "cannot overwrite non-directory \\\"x\\\" with directory \\\"/b\\\"",
        ),
        ("path=/a", &file, " 200"),
        ("path=/b", &directory, " 200"),
    ] {
        let said = put(&sandbox, query, body);
        assert!(said.contains(answer), "{query}: {said}, not {answer}");
    }
    let script = "cat /a/x; test -d /b/x && echo directory";
    assert_eq!(sandbox.ok(&["exec", "box", "sh", "-c", script]), "filedirectory");
}

#[test]
fn archives_that_cannot_be_unpacked_are_refused_with_the_reason() {
    let sandbox = Sandbox::new();
    run_script(&sandbox, "box", "mkdir /a; touch /a/file; ln -s /etc /a/out");
    let file = archive("x", tar::EntryType::Regular, "");
    let through = archive("out/planted", tar::EntryType::Regular, "");
    for (query, body, answer) in [
        (
            "path=/a/file",
            file.as_slice(),
            "extraction point is not a directory\"}\n 400",
        ),
        ("path=/a/file/", &file, "not a directory\"}\n 500"),
        (
            "path=/nosuch",
            &file,
            "Could not find the file /nosuch in container box\"}\n 404",
        ),
        ("", &file, "bad parameter: pathcannot be empty\"}\n 400"),
        (
            "path=/a",
            &archive("../x", tar::EntryType::Regular, ""),
            "invalid entry name \\\"../x\\\"",
        ),
        (
            "path=/a",
            &archive("x", tar::EntryType::Link, "../../etc/passwd"),
            "invalid hardlink",
        ),
        (
            "path=/a",
            &archive("x", tar::EntryType::Link, "nosuch"),
            "link \\\"x\\\": No such file",
        ),
        ("path=/a", &through, "is a symbolic link that leads out of it"),
        ("path=/a", &file[..515], "unexpected EOF"),
        ("path=/a", b"BZh91AYnonsense", "bzip2: invalid data"),
        ("path=/a", &[7; 1024], "invalid tar header"),
    ] {
        let said = put(&sandbox, query, body);
        assert!(said.contains(answer), "{query}: {said}, not {answer}");
    }
    // What was cut off is there as far as it came.
    assert_eq!(sandbox.ok(&["exec", "box", "ls", "/a"]), "file\nout\nx");
    assert_eq!(sandbox.docker(&["exec", "box", "ls", "/etc/planted"]).code, 1);
    // A name that begins with a slash is one below the directory, as for tar(1).
    assert!(put(&sandbox, "path=/a", &archive("/b/x", tar::EntryType::Regular, "")).contains(" 200"));
    assert_eq!(sandbox.ok(&["exec", "box", "cat", "/a/b/x"]), "file");
}

#[test]
fn read_only_stays_read_only() {
    let sandbox = Sandbox::new();
    let file = format!("{}/file", tree(&sandbox).display());
    for side in ["open", "shut"] {
        fs::create_dir(sandbox.dir().join(side)).unwrap();
    }
    let (open, shut) = (
        format!("{}:/open", below(&sandbox, "open")),
        format!("{}:/shut:ro", below(&sandbox, "shut")),
    );
    let options = ["--read-only", "-v", &open, "-v", &shut, "--name"];
    for (name, first) in [("running", vec!["run", "-d"]), ("created", vec!["create"])] {
        let arguments: Vec<&str> = first
            .into_iter()
            .chain(options)
            .chain([name, "busybox", "sleep", "1000"])
            .collect();
        sandbox.ok(&arguments);
        for (target, words) in [
            ("/etc/", "container rootfs is marked read-only"),
            ("/shut/", "mounted volume is marked read-only"),
        ] {
            let refused = sandbox.docker(&["cp", &file, &format!("{name}:{target}")]);
            assert!(
                refused.code == 1 && refused.err.contains(words),
                "{name} {target}: {refused:?}"
            );
        }
        // The same with the guard off, and through the bind of one that does not run as well.
        sandbox.ok(&["cp", &file, &format!("{name}:/open/{name}")]);
        assert_eq!(
            fs::read_to_string(sandbox.dir().join("open").join(name)).unwrap(),
            "contents\n"
        );
        sandbox.ok(&[
            "cp",
            &format!("{name}:/open/{name}"),
            &below(&sandbox, &format!("back-{name}")),
        ]);
    }
    assert_eq!(fs::read_dir(sandbox.dir().join("shut")).unwrap().count(), 0);
}

#[test]
fn links_of_a_container_never_lead_to_the_host() {
    let sandbox = Sandbox::new();
    let file = format!("{}/file", tree(&sandbox).display());
    let victim = sandbox.dir().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("secret"), "of the host").unwrap();
    let host = victim.display().to_string();
    let climbing = format!("../../../../../../..{host}");
    let script =
        format!("ln -s {host} /absolute; ln -s {climbing} /climbing; mkdir /real; ln -s {host}/secret /real/secret");
    sandbox.ok(&["run", "--name", "off", "busybox", "sh", "-c", &script]);
    run_script(&sandbox, "on", &script);
    for name in ["off", "on"] {
        for link in ["absolute", "climbing"] {
            let read = sandbox.docker(&["cp", &format!("{name}:/{link}/secret"), &below(&sandbox, "stolen")]);
            assert!(
                read.code != 0 && read.err.contains("Could not find the file"),
                "{name} {link}: {read:?}"
            );
            let written = sandbox.docker(&["cp", &file, &format!("{name}:/{link}/planted")]);
            assert!(written.code != 0, "{name} {link}: {written:?}");
        }
        // A file replaces the link; nothing is written through it.
        let source = below(&sandbox, "secret");
        fs::write(&source, "of the client").unwrap();
        sandbox.ok(&["cp", &source, &format!("{name}:/real/")]);
        sandbox.ok(&["cp", &format!("{name}:/real/secret"), &below(&sandbox, "back")]);
        assert_eq!(fs::read_to_string(sandbox.dir().join("back")).unwrap(), "of the client");
        // The positive control: the same link leads somewhere once the container has the place.
        let made = sandbox.dir().join("made");
        let _ = fs::remove_dir_all(&made);
        fs::create_dir_all(made.join(host.trim_start_matches('/'))).unwrap();
        sandbox.ok(&["cp", &format!("{}/.", made.display()), &format!("{name}:/")]);
        sandbox.ok(&["cp", &file, &format!("{name}:/absolute/planted")]);
        sandbox.ok(&["cp", &format!("{name}:/climbing/planted"), &below(&sandbox, "back")]);
    }
    assert!(!sandbox.dir().join("stolen").exists());
    let left: Vec<_> = fs::read_dir(&victim)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["secret"]);
    assert_eq!(fs::read_to_string(victim.join("secret")).unwrap(), "of the host");
}

#[test]
fn a_container_that_swaps_directories_for_links_meanwhile_reaches_nothing() {
    let sandbox = Sandbox::new();
    let victim = sandbox.dir().join("victim");
    fs::create_dir_all(victim.join("sub")).unwrap();
    fs::write(victim.join("sub/file"), "of the host").unwrap();
    fs::set_permissions(victim.join("sub"), fs::Permissions::from_mode(0o711)).unwrap();
    let before = listing(&victim);
    let source = sandbox.dir().join("source");
    for number in 0..200 {
        let dir = source.join(format!("dir{number}/sub"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file"), "of the client").unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let script = format!(
        "mkdir /t; while :; do for d in /t/dir*; do rm -rf $d; ln -s {} $d; rm $d; done 2>/dev/null; done",
        victim.display()
    );
    sandbox.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &script]);
    for _ in 0..10 {
        // Most of these fail in the middle, which is as it should be.
        sandbox.docker(&["cp", &format!("{}/.", source.display()), "box:/t"]);
        sandbox.docker(&["cp", "box:/t", &below(&sandbox, "out")]);
    }
    assert_eq!(listing(&victim), before);
    assert_eq!(fs::read_to_string(victim.join("sub/file")).unwrap(), "of the host");
    sandbox.ok(&["rm", "-f", "box"]);
    eventually("the end of the monitor", || sandbox.remains().is_empty());
}

#[test]
fn an_export_is_the_root_file_system_without_what_is_mounted_in_it() {
    let sandbox = Sandbox::new();
    let bind = sandbox.dir().join("bind");
    fs::create_dir(&bind).unwrap();
    fs::write(bind.join("bound"), "not exported").unwrap();
    let volume = format!("{}:/bind", bind.display());
    let script = "echo mine > /made; rm /etc/passwd; echo up; sleep 1000";
    sandbox.ok(&[
        "run", "-d", "--name", "box", "-v", &volume, "--tmpfs", "/tmpfs", "busybox", "sh", "-c", script,
    ]);
    eventually("the script", || sandbox.ok(&["logs", "box"]) == "up");
    sandbox.ok(&["exec", "box", "touch", "/tmpfs/hidden"]);
    let names = |archive: &str| {
        let output = Command::new("tar").args(["tf", archive]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let archive = below(&sandbox, "export.tar");
    for state in ["running", "exited"] {
        sandbox.ok(&["export", "-o", &archive, "box"]);
        let names = names(&archive);
        let has = |name: &str| names.iter().any(|found| found == name);
        assert!(
            has("made") && has("bin/busybox") && has("etc/") && has("bind/") && has("proc/"),
            "{state}: {names:?}"
        );
        assert!(
            !has("etc/passwd") && !has("bind/bound") && !has("tmpfs/hidden"),
            "{state}: {names:?}"
        );
        assert!(
            !names.iter().any(|name| name.starts_with("proc/") && name.len() > 5),
            "{state}: {names:?}"
        );
        sandbox.docker(&["kill", "box"]);
    }
}

#[test]
fn a_copy_of_one_that_does_not_run_leaves_nothing_mounted_and_lets_it_start() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "--name", "box", "busybox", "sleep", "1000"]);
    let archive = sandbox.dir().join("out");
    for _ in 0..5 {
        sandbox.ok(&["cp", "box:/bin", archive.to_str().unwrap()]);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(sandbox.dir().to_str().unwrap()), "{mounts}");
    // Copies and starts at the same time: one waits for the other, and both come about.
    let copies: Vec<_> = (0..4)
        .map(|number| sandbox.background(&["cp", "box:/bin", &below(&sandbox, &format!("out{number}"))]))
        .collect();
    sandbox.ok(&["start", "box"]);
    for copy in copies {
        let output = copy.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(sandbox.ok(&["exec", "box", "echo", "up"]), "up");
}
