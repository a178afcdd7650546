//! Volumes: made, named, filled, shared, removed, and never lost.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

use conex_protocol::fail_points;
use conex_tests::{Sandbox, eventually};
use serde_json::Value;

fn inspect(sandbox: &Sandbox, format: &str, name: &str) -> String {
    sandbox.ok(&["inspect", "--format", format, name])
}

/// The directory of a volume.
fn data(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox
        .ok(&["volume", "inspect", "--format", "{{.Mountpoint}}", name])
        .into()
}

/// Names of all volumes.
fn names(sandbox: &Sandbox, options: &[&str]) -> Vec<String> {
    let said = sandbox.ok(&[["volume", "ls", "-q"].as_slice(), options].concat());
    said.lines().map(str::to_owned).collect()
}

/// Volume of a container that nobody named.
fn unnamed(sandbox: &Sandbox, container: &str) -> String {
    inspect(sandbox, "{{range .Mounts}}{{.Name}}{{end}}", container)
}

/// Events until now.
fn events(sandbox: &Sandbox, options: &[&str]) -> String {
    let now = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    sandbox.ok(&[["events", "--since", "1h", "--until", &now].as_slice(), options].concat())
}

/// An image whose `/seed` has contents, an owner and a mode, and is declared a volume.
fn seeded_image(sandbox: &Sandbox) {
    let archive = conex_tests::seeded_archive(sandbox.dir());
    sandbox.ok(&["load", "-i", archive.to_str().unwrap()]);
}

#[test]
fn volumes_are_made_found_listed_and_removed() {
    let mut sandbox = Sandbox::new();
    assert_eq!(sandbox.ok(&["volume", "create", "--label", "a=b", "one"]), "one");
    assert_eq!(sandbox.ok(&["volume", "create", "--label", "a=c", "one"]), "one");
    let made = sandbox.ok(&["volume", "create"]);
    assert_eq!(made.len(), 64);
    sandbox.ok(&["volume", "create", "other.one"]);
    let form = "{{.Driver}} {{.Scope}} {{.Labels}}";
    assert_eq!(
        sandbox.ok(&["volume", "inspect", "--format", form, "one"]),
        "local local map[a:b]"
    );
    assert!(data(&sandbox, "one").is_dir());
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(
        sandbox.ok(&["volume", "inspect", "--format", form, "one"]),
        "local local map[a:b]"
    );
    sandbox.ok(&["create", "--name", "user", "-v", "one:/data", "busybox"]);
    assert_eq!(names(&sandbox, &["--filter", "name=^one"]), ["one"]);
    assert_eq!(names(&sandbox, &["--filter", "label=a=b"]), ["one"]);
    assert_eq!(names(&sandbox, &["--filter", "dangling=false"]), ["one"]);
    assert_eq!(
        names(&sandbox, &["--filter", "dangling=true", "--filter", "name=one"]),
        ["other.one"]
    );
    let said = sandbox.docker(&["volume", "rm", "one"]);
    let id = inspect(&sandbox, "{{.Id}}", "user");
    assert!(
        said.err.contains(&format!("remove one: volume is in use - [{id}]")),
        "{said:?}"
    );
    sandbox.ok(&["rm", "user"]);
    sandbox.ok(&["volume", "rm", "one", "other.one", &made]);
    assert!(names(&sandbox, &[]).is_empty());
    assert!(
        sandbox
            .docker(&["volume", "rm", "one"])
            .err
            .contains("get one: no such volume")
    );
    sandbox.ok(&["volume", "rm", "-f", "one"]);
    assert!(
        sandbox
            .docker(&["volume", "inspect", "one"])
            .err
            .contains("get one: no such volume")
    );
}

#[test]
fn what_is_written_into_a_volume_outlives_containers_and_daemon() {
    let mut sandbox = Sandbox::new();
    sandbox.run(&["-v", "kept:/data"], "echo written > /data/file");
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(sandbox.run(&["-v", "kept:/data"], "cat /data/file"), "written");
    let refused = sandbox.run(&["-v", "kept:/data:ro"], "touch /data/x 2>&1; cat /data/file");
    assert!(
        refused.contains("Read-only file system") && refused.ends_with("written"),
        "{refused}"
    );
    let mount = "type=volume,src=kept,dst=/data,readonly";
    assert!(
        sandbox
            .run(&["--mount", mount], "touch /data/x 2>&1 || true")
            .contains("Read-only")
    );
    assert_eq!(
        fs::read_to_string(data(&sandbox, "kept").join("file")).unwrap(),
        "written\n"
    );
}

#[test]
fn an_empty_volume_is_filled_from_the_image_once() {
    let sandbox = Sandbox::new();
    seeded_image(&sandbox);
    let look = "cat /seed/dir/file; stat -c %u:%g:%a /seed; readlink /seed/link";
    let seeded = |options: &[&str]| {
        let arguments = [["run", "--rm"].as_slice(), options, &["seeded", "sh", "-c", look]].concat();
        sandbox.ok(&arguments)
    };
    assert_eq!(seeded(&["-v", "named:/seed"]), "contents\n1000:1001:750\ndir/file");
    // At creation, not at the start.
    sandbox.ok(&["create", "--name", "never", "-v", "early:/seed", "seeded"]);
    assert!(data(&sandbox, "early").join("dir/file").exists());
    // Declared by the image.
    assert_eq!(seeded(&[]), "contents\n1000:1001:750\ndir/file");
    // What is there stays.
    fs::write(data(&sandbox, "named").join("dir/file"), "changed\n").unwrap();
    assert!(seeded(&["-v", "named:/seed"]).starts_with("changed"));
    let bare = sandbox.docker(&["run", "--rm", "-v", "bare:/seed:nocopy", "seeded", "ls", "-A", "/seed"]);
    assert_eq!((bare.code, bare.out.as_str()), (0, ""));
}

#[test]
fn a_volume_that_a_container_has_is_filled_under_its_eyes() {
    let sandbox = Sandbox::new();
    seeded_image(&sandbox);
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "first",
        "-v",
        "shared:/x",
        "busybox",
        "sleep",
        "1000",
    ]);
    sandbox.ok(&["create", "-v", "shared:/seed", "seeded"]);
    assert_eq!(sandbox.ok(&["exec", "first", "cat", "/x/dir/file"]), "contents");
    sandbox.ok(&["exec", "first", "touch", "/x/new"]);
    assert!(data(&sandbox, "shared").join("new").exists());
}

#[test]
fn volumes_that_nobody_named_go_with_their_container_where_that_is_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.run(&["-v", "/data", "-v", "named:/named"], "touch /data/file");
    assert_eq!(names(&sandbox, &[]), ["named"], "--rm takes them along");
    sandbox.ok(&["create", "--name", "one", "-v", "/data", "busybox"]);
    let kept = unnamed(&sandbox, "one");
    sandbox.ok(&["rm", "one"]);
    assert_eq!(
        names(&sandbox, &["--filter", "label=com.docker.volume.anonymous"]),
        std::slice::from_ref(&kept)
    );
    sandbox.ok(&[
        "create",
        "--name",
        "two",
        "-v",
        "/data",
        "-v",
        "named:/named",
        "busybox",
    ]);
    sandbox.ok(&["create", "--name", "three", "--volumes-from", "two", "busybox"]);
    sandbox.ok(&["rm", "-v", "two"]);
    assert_eq!(names(&sandbox, &[]).len(), 3, "another container has it");
    sandbox.ok(&["rm", "-v", "three"]);
    let mut left = names(&sandbox, &[]);
    left.sort();
    let mut wanted = vec![kept, "named".to_owned()];
    wanted.sort();
    assert_eq!(left, wanted);
}

#[test]
fn mounts_are_taken_from_other_containers() {
    let sandbox = Sandbox::new();
    let dir = sandbox.dir().join("bound");
    fs::create_dir(&dir).unwrap();
    let bind = format!("{}:/bound", dir.display());
    sandbox.ok(&[
        "create",
        "--name",
        "source",
        "-v",
        "named:/named",
        "-v",
        &bind,
        "--tmpfs",
        "/tmpfs",
        "busybox",
    ]);
    sandbox.run(
        &["--volumes-from", "source"],
        "echo a > /named/file; echo b > /bound/file",
    );
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "b\n");
    let said = sandbox.run(
        &["--volumes-from", "source:ro", "-v", "own:/named"],
        "ls /named; touch /bound/x 2>&1 || true; touch /named/x; ls -d /tmpfs 2>&1 || true",
    );
    assert!(
        said.contains("Read-only file system") && said.contains("No such file"),
        "{said}"
    );
    assert!(data(&sandbox, "own").join("x").exists());
    for (from, words) in [
        ("nosuch", "No such container: nosuch"),
        ("source:bad", "invalid mode: bad"),
    ] {
        let said = sandbox.docker(&["create", "--volumes-from", from, "busybox"]);
        assert!(said.err.contains(words), "{said:?}");
    }
}

#[test]
fn inspection_tells_of_mounts_as_docker_does() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "create",
        "--name",
        "one",
        "-v",
        "named:/a:ro",
        "-v",
        "/b",
        "--mount",
        "type=tmpfs,dst=/c",
        "busybox",
    ]);
    let mounts: Value = serde_json::from_str(&inspect(&sandbox, "{{json .Mounts}}", "one")).unwrap();
    let at = |target: &str| {
        mounts
            .as_array()
            .unwrap()
            .iter()
            .find(|mount| mount["Destination"] == target)
            .unwrap()
            .clone()
    };
    let (named, unnamed, tmpfs) = (at("/a"), at("/b"), at("/c"));
    assert_eq!(
        named,
        serde_json::json!({"Type": "volume", "Name": "named", "Source": data(&sandbox, "named"), "Destination": "/a",
            "Driver": "local", "Mode": "ro", "RW": false, "Propagation": ""})
    );
    assert_eq!(
        (unnamed["Name"].as_str().unwrap().len(), &unnamed["RW"]),
        (64, &Value::Bool(true))
    );
    assert!(tmpfs["Type"] == "tmpfs" && tmpfs.get("Name").is_none());
    assert_eq!(
        sandbox.ok(&["ps", "-a", "--format", "{{.Names}}", "--filter", "volume=named"]),
        "one"
    );
    assert_eq!(
        sandbox.ok(&["ps", "-a", "--format", "{{.Names}}", "--filter", "volume=/b"]),
        "one"
    );
    assert_eq!(
        sandbox.ok(&["ps", "-a", "--format", "{{.Names}}", "--filter", "volume=/x"]),
        ""
    );
}

#[test]
fn a_part_of_a_volume_is_mounted_and_nothing_else() {
    let sandbox = Sandbox::new();
    sandbox.run(
        &["-v", "whole:/v"],
        "mkdir -p /v/part; echo in > /v/part/file; ln -s /etc /v/link",
    );
    let part = |subpath: &str| format!("type=volume,src=whole,dst=/x,volume-subpath={subpath}");
    assert_eq!(sandbox.run(&["--mount", &part("part")], "cat /x/file"), "in");
    let said = sandbox.docker(&["run", "--rm", "--mount", &part("nosuch"), "busybox", "true"]);
    assert!(
        said.code != 0 && said.err.contains("no such file or directory"),
        "{said:?}"
    );
    let said = sandbox.docker(&["run", "--rm", "--mount", &part("link"), "busybox", "ls", "/x"]);
    assert!(said.code != 0 && !said.out.contains("passwd"), "{said:?}");
    let said = sandbox.docker(&["create", "--mount", &part("../x"), "busybox"]);
    assert!(
        said.err.contains("subpath must be a relative path within the volume"),
        "{said:?}"
    );
}

/// Whether something is mounted on a volume's directory.
fn is_mounted(sandbox: &Sandbox, name: &str) -> bool {
    let at = data(sandbox, name);
    sandbox
        .in_namespace("cat", &["/proc/self/mounts"])
        .out
        .lines()
        .any(|line| line.split(' ').nth(1).map(Path::new) == Some(at.as_path()))
}

#[test]
fn a_device_is_mounted_while_containers_run_and_survives_the_daemon() {
    let mut sandbox = Sandbox::new();
    let options = [
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "-o",
        "o=size=1m,mode=700,uid=1000",
    ];
    sandbox.ok(&[["volume", "create"].as_slice(), &options, &["memory"]].concat());
    for name in ["one", "two"] {
        sandbox.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "-v",
            "memory:/m",
            "busybox",
            "sleep",
            "1000",
        ]);
    }
    assert_eq!(sandbox.ok(&["exec", "one", "stat", "-c", "%u %a", "/m"]), "1000 700");
    sandbox.ok(&["exec", "one", "touch", "/m/file"]);
    assert_eq!(sandbox.ok(&["exec", "two", "ls", "/m"]), "file");
    sandbox.ok(&["kill", "one"]);
    assert!(is_mounted(&sandbox, "memory"));
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(sandbox.ok(&["exec", "two", "ls", "/m"]), "file");
    sandbox.ok(&["kill", "two"]);
    eventually("the end of the mount", || !is_mounted(&sandbox, "memory"));
    // One that nobody takes off while there is no daemon.
    sandbox.ok(&["start", "two"]);
    let pid = inspect(&sandbox, "{{.State.Pid}}", "two");
    sandbox.kill();
    assert!(
        std::process::Command::new("kill")
            .args(["-9", &pid])
            .status()
            .unwrap()
            .success()
    );
    sandbox.start(&[]);
    eventually("the end of the mount", || !is_mounted(&sandbox, "memory"));
}

#[test]
fn a_directory_of_the_host_is_a_volume() {
    let sandbox = Sandbox::new();
    let dir = sandbox.dir().join("host");
    fs::create_dir(&dir).unwrap();
    let device = format!("device={}", dir.display());
    sandbox.ok(&[
        "volume",
        "create",
        "-o",
        "type=none",
        "-o",
        &device,
        "-o",
        "o=bind",
        "bound",
    ]);
    sandbox.run(&["-v", "bound:/x"], "echo hi > /x/file");
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "hi\n");
    fs::remove_dir_all(&dir).unwrap();
    let said = sandbox.docker(&["run", "--rm", "-v", "bound:/x", "busybox", "true"]);
    assert!(
        said.err.contains("failed to mount local volume") && said.err.contains("no such file"),
        "{said:?}"
    );
    sandbox.ok(&["volume", "rm", "bound"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a flat table")]
fn what_makes_no_sense_is_refused_in_dockers_words_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["volume", "create", "one"]);
    let device = |options: &str| format!(r#"{{"Name":"two","DriverOpts":{options}}}"#);
    for (body, status, words) in [
        (
            r#"{"Name":"x"}"#.to_owned(),
            400,
            "create x: volume name is too short, names should be at least two",
        ),
        (
            r#"{"Name":"a/b"}"#.to_owned(),
            400,
            "create a/b: \\\"a/b\\\" includes invalid characters for a local volume name",
        ),
        (
            r#"{"Name":"two","Driver":"nosuch"}"#.to_owned(),
            404,
            "error looking up volume plugin nosuch: plugin",
        ),
        (
            device(r#"{"foo":"bar"}"#),
            400,
            "create two: invalid option: \\\"foo\\\"",
        ),
        (
            device(r#"{"type":"tmpfs"}"#),
            400,
            "create two: missing required option: \\\"device\\\"",
        ),
        (
            device(r#"{"size":"1m"}"#),
            400,
            "create two: quota size requested but no quota support",
        ),
        (
            r#"{"Name":"two","ClusterVolumeSpec":{"Group":"g"}}"#.to_owned(),
            503,
            "This node is not a swarm manager.",
        ),
    ] {
        let (found, said) = sandbox.request("POST", "/v1.50/volumes/create", &body);
        assert!(found == status && said.contains(words), "{body}: {found} {said}");
    }
    let (status, said) = sandbox.request("PUT", "/v1.50/volumes/one", "{}");
    assert!(
        status == 503 && said.contains("volume update only valid for cluster volumes"),
        "{status} {said}"
    );
    let (status, said) = sandbox.request("GET", "/v1.50/volumes?filters=%7B%22foo%22%3A%5B%22x%22%5D%7D", "");
    assert!(
        status == 400 && said.contains("invalid filter 'foo'"),
        "{status} {said}"
    );
    for (volume, words) in [
        ("one:/x:ro,rw", "invalid mode: ro,rw"),
        ("one:/", "destination can't be '/'"),
        ("a b:/x", "includes invalid characters for a local volume name"),
        ("/a:/b:nocopy", "field VolumeOptions must not be specified"),
    ] {
        let said = sandbox.docker(&["create", "--name", "bad", "-v", "/unnamed", "-v", volume, "busybox"]);
        assert!(said.code != 0 && said.err.contains(words), "{said:?}");
    }
    let said = sandbox.docker(&[
        "create",
        "-v",
        "/unnamed",
        "--mount",
        "type=bind,src=/nosuch,dst=/x",
        "busybox",
    ]);
    assert!(
        said.err.contains("bind source path does not exist: /nosuch"),
        "{said:?}"
    );
    assert_eq!(
        (names(&sandbox, &[]), sandbox.ok(&["ps", "-aq"])),
        (vec!["one".to_owned()], String::new())
    );
    let volumes = sandbox.dir().join("data/volumes");
    assert_eq!(fs::read_dir(volumes).unwrap().count(), 1);
}

#[test]
fn prunes_take_what_nobody_has() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["volume", "create", "--label", "keep", "labelled"]);
    sandbox.ok(&["volume", "create", "named"]);
    let made = sandbox.ok(&["volume", "create"]);
    fs::write(data(&sandbox, &made).join("file"), vec![0; 5000]).unwrap();
    sandbox.ok(&["create", "-v", "used:/x", "-v", "/y", "busybox"]);
    let said = sandbox.ok(&["volume", "prune", "-f"]);
    assert!(
        said.contains(&made) && said.contains("5kB") && !said.contains("named"),
        "{said}"
    );
    let said = sandbox.ok(&["volume", "prune", "-f", "-a", "--filter", "label!=keep"]);
    assert!(said.contains("named") && !said.contains("labelled"), "{said}");
    assert_eq!(names(&sandbox, &["--filter", "dangling=true"]), ["labelled"]);
    // Older clients mean all of them.
    let (status, said) = sandbox.request("POST", "/v1.41/volumes/prune", "");
    assert!(status == 200 && said.contains("labelled"), "{said}");
    let since = events(&sandbox, &["--filter", "type=volume"]);
    assert!(
        since.contains("volume prune") && since.contains("reclaimed=5000"),
        "{since}"
    );
}

#[test]
fn system_df_counts_volumes() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "-v", "used:/x", "busybox"]);
    sandbox.ok(&["volume", "create", "idle"]);
    fs::write(data(&sandbox, "used").join("file"), vec![0; 3000]).unwrap();
    let (_, said) = sandbox.request("GET", "/v1.50/system/df?type=volume", "");
    let said: Value = serde_json::from_str(&said).unwrap();
    let usage = |name: &str| {
        let volumes = said["Volumes"].as_array().unwrap();
        volumes.iter().find(|volume| volume["Name"] == name).unwrap()["UsageData"].clone()
    };
    assert_eq!(usage("used"), serde_json::json!({"RefCount": 1, "Size": 3000}));
    assert_eq!(usage("idle"), serde_json::json!({"RefCount": 0, "Size": 0}));
}

#[test]
fn events_tell_what_happens_to_volumes_in_dockers_order() {
    let sandbox = Sandbox::new();
    sandbox.run(&["--name", "one", "-v", "named:/a:ro", "-v", "/b"], "true");
    sandbox.ok(&["volume", "rm", "named"]);
    let said = events(
        &sandbox,
        &["--format", "{{.Type}} {{.Action}} {{json .Actor.Attributes}}"],
    );
    let steps: Vec<String> = said
        .lines()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .filter(|step| !step.starts_with("image") && !step.contains("attach"))
        .collect();
    assert_eq!(
        steps,
        [
            "volume create",
            "volume create",
            "container create",
            "volume mount",
            "volume mount",
            "network connect",
            "container start",
            "network disconnect",
            "volume unmount",
            "volume unmount",
            "container die",
            "volume destroy",
            "container destroy",
            "volume destroy",
        ],
        "{said}"
    );
    let mount = said.lines().find(|line| line.starts_with("volume mount")).unwrap();
    assert!(
        mount.contains(r#""destination":"/a","driver":"local","propagation":"","read/write":"false""#),
        "{mount}"
    );
}

#[test]
fn cp_reaches_volumes_of_containers_that_do_not_run() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "--name", "one", "-v", "named:/data", "busybox"]);
    let file = sandbox.dir().join("file");
    fs::write(&file, "copied").unwrap();
    sandbox.ok(&["cp", file.to_str().unwrap(), "one:/data/file"]);
    assert_eq!(
        fs::read_to_string(data(&sandbox, "named").join("file")).unwrap(),
        "copied"
    );
}

#[test]
fn a_backup_becomes_a_volume_again() {
    let mut sandbox = Sandbox::new();
    sandbox.kill();
    let dir = sandbox.dir().join("data/volumes/restored/_data");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("file"), "saved").unwrap();
    sandbox.start(&[]);
    assert_eq!(names(&sandbox, &[]), ["restored"]);
    assert_eq!(sandbox.run(&["-v", "restored:/x"], "cat /x/file"), "saved");
}

#[test]
fn a_daemon_killed_at_any_step_leaves_volumes_whole_or_not_there() {
    for point in fail_points::VOLUME {
        let mut sandbox = Sandbox::new();
        seeded_image(&sandbox);
        sandbox.ok(&["volume", "create", "bystander"]);
        fs::write(data(&sandbox, "bystander").join("file"), "kept").unwrap();
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        let made = sandbox.docker(&["create", "-v", "victim:/seed", "-v", "/unnamed", "seeded"]);
        if made.code == 0 {
            sandbox.docker(&["rm", "-v", made.out.trim()]);
            sandbox.docker(&["volume", "rm", "victim"]);
        }
        sandbox.await_death();
        sandbox.start(&[]);
        assert_eq!(
            fs::read_to_string(data(&sandbox, "bystander").join("file")).unwrap(),
            "kept"
        );
        let left = names(&sandbox, &[]);
        assert!(
            left.iter().all(|name| name == "bystander" || name == "victim"),
            "{point}: {left:?}"
        );
        if *point == "volume.after-tombstone" {
            assert_eq!(left, ["bystander"], "{point}");
        }
        // Filled wholly or not at all, and then by the next.
        let look = [
            "run",
            "--rm",
            "-v",
            "victim:/seed",
            "seeded",
            "sh",
            "-c",
            "cat /seed/dir/file; readlink /seed/link",
        ];
        assert_eq!(sandbox.ok(&look), "contents\ndir/file", "{point}");
        let volumes = fs::read_dir(sandbox.dir().join("data/volumes")).unwrap();
        assert_eq!(volumes.count(), 2, "{point}");
        let beside = fs::read_dir(sandbox.dir().join("data/volumes/victim")).unwrap();
        assert_eq!(beside.count(), 1, "{point}");
    }
}

#[test]
fn volumes_and_their_container_come_and_go_together() {
    for point in [
        "create.before-record",
        "create.after-record",
        "remove.before-record",
        "remove.after-record",
        "remove.before-trash",
    ] {
        let mut sandbox = Sandbox::new();
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        let made = sandbox.docker(&["create", "--name", "one", "-v", "/unnamed", "busybox"]);
        if made.code == 0 {
            sandbox.docker(&["rm", "-v", "one"]);
        }
        sandbox.await_death();
        sandbox.start(&[]);
        let (containers, volumes) = (sandbox.ok(&["ps", "-aq"]).lines().count(), names(&sandbox, &[]).len());
        assert_eq!(containers, volumes, "{point}");
        let directories = fs::read_dir(sandbox.dir().join("data/volumes")).unwrap();
        assert_eq!(directories.count(), volumes, "{point}");
    }
}
