//! Images that are made here: of a container's changes (`docker commit`), and of a root file system (`docker import`).

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use conex_tests::{Sandbox, archive_from, busybox_layer, eventually, layer_of};
use serde_json::{Value, json};

/// What is inspected of an image or a container.
fn inspect(sandbox: &Sandbox, name: &str) -> Value {
    let all: Value = serde_json::from_str(&sandbox.ok(&["inspect", name])).unwrap();
    all[0].clone()
}

/// All events of a kind so far.
fn events(sandbox: &Sandbox, filters: &[&str]) -> Vec<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let until = (now.as_secs() + 1).to_string();
    let mut arguments = vec!["events", "--since", "0", "--until", &until, "--format", "{{json .}}"];
    arguments.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
    let events = sandbox.ok(&arguments);
    events.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a script in a container of an image.
fn run(sandbox: &Sandbox, image: &str, script: &str) -> String {
    sandbox.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "sh",
        image,
        "-c",
        script,
    ])
}

/// An image with a directory, two files, a variable, a port, a volume and a label.
fn load_base(sandbox: &Sandbox) -> String {
    let fields = r#""created":"2026-01-01T00:00:00Z","history":[{"created":"2026-01-01T00:00:00Z","created_by":"base"},{"created":"2026-01-01T00:00:00Z","created_by":"more"}],
        "config":{"Cmd":["sh"],"Env":["PATH=/bin","FROM_IMAGE=yes"],"ExposedPorts":{"80/tcp":{}},"Volumes":{"/data":{}},"Labels":{"made":"here"},"WorkingDir":"/home"}"#;
    let second = layer_of(&[
        ("opt/full/a", b"a"),
        ("opt/full/b", b"b"),
        ("opt/gone", b"x"),
        ("opt/stays", b"s"),
    ]);
    let path = sandbox.dir().join("base.tar");
    std::fs::write(&path, archive_from(&["base:1"], fields, &[&busybox_layer(), &second])).unwrap();
    sandbox.ok(&["load", "-q", "-i", path.to_str().unwrap()]);
    inspect(sandbox, "base:1")["Id"].as_str().unwrap().to_owned()
}

/// Arguments between bars.
fn arguments(text: &str) -> Vec<&str> {
    text.split('|').collect()
}

/// What the container of `committed_with_all_flags` runs.
const SCRIPT: &str = "echo hi > /new; sleep 1000";

/// An image `made:1` of a running container, with every flag; its id.
fn committed_with_all_flags(sandbox: &Sandbox) -> String {
    let run =
        "run|-d|--name|box|--network|none|--hostname|h|-e|A=1|-l|lab=el|--expose|90|--stop-signal|SIGINT|base:1|sh|-c";
    sandbox.ok(&[arguments(run).as_slice(), &[SCRIPT]].concat());
    let commit = r#"commit|-a|me <m@e>|-m|said|-c|CMD ["x", "y"]|-c|ENV B=$A C="a b"|-c|ENTRYPOINT e f|-c|EXPOSE 81 82/udp|
        -c|LABEL q=w|-c|ONBUILD RUN true|-c|USER worker|-c|VOLUME /v2|-c|WORKDIR sub|-c|HEALTHCHECK --interval=5s CMD true|
        box|made:1"#;
    let commit: Vec<&str> = commit.split('|').map(str::trim).collect();
    sandbox.ok(&commit)
}

#[test]
fn a_commit_says_what_the_container_the_image_and_the_flags_say() {
    let sandbox = Sandbox::empty();
    load_base(&sandbox);
    let id = committed_with_all_flags(&sandbox);
    let image = inspect(&sandbox, "made:1");
    assert_eq!(image["Id"], id);
    assert_eq!(
        image["Config"],
        json!({
            "Cmd": ["x", "y"], "Entrypoint": ["/bin/sh", "-c", "e f"], "User": "worker", "WorkingDir": "/home/sub",
            "Env": ["A=1", "PATH=/bin", "FROM_IMAGE=yes", "B=1", "C=a b"],
            "ExposedPorts": {"80/tcp": {}, "81/tcp": {}, "82/udp": {}, "90/tcp": {}},
            "Volumes": {"/data": {}, "/v2": {}}, "Labels": {"lab": "el", "made": "here", "q": "w"},
            "OnBuild": ["RUN true"], "StopSignal": "SIGINT",
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000_i64},
        })
    );
    let said = json!([image["Author"], image["Comment"], image["Architecture"], image["Os"]]);
    assert_eq!(said, json!(["me <m@e>", "said", "amd64", "linux"]));
    assert_eq!(inspect(&sandbox, "box")["State"]["Paused"], false);
}

#[test]
fn a_committed_image_stands_upon_the_containers() {
    let sandbox = Sandbox::empty();
    let base = load_base(&sandbox);
    let id = committed_with_all_flags(&sandbox);
    let image = inspect(&sandbox, "made:1");
    assert_eq!(image["Parent"], base);
    let layers = |image: &Value| image["RootFS"]["Layers"].as_array().unwrap().clone();
    let (below, all) = (layers(&inspect(&sandbox, "base:1")), layers(&image));
    assert_eq!((all.len(), &all[..2]), (3, below.as_slice()));
    let (status, history) = sandbox.request("GET", "/images/made:1/history", "");
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!((status, history.as_array().unwrap().len()), (200, 3));
    let latest = json!([
        history[0]["Id"],
        history[0]["CreatedBy"],
        history[0]["Comment"],
        history[0]["Size"]
    ]);
    assert_eq!(latest, json!([id, format!("sh -c {SCRIPT}"), "said", 3]));
    // What it was made of cannot be taken away from below it.
    let said = sandbox.docker(&["rmi", &base]);
    assert!(said.err.contains("image has dependent child images"), "{said:?}");
}

#[test]
fn the_events_tell_the_pause_the_image_its_name_and_the_commit() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]);
    let id = sandbox.ok(&["commit", "-m", "said", "box", "made:1"]);
    let silent = sandbox.ok(&["commit", "--pause=false", "box"]);
    let events = events(&sandbox, &[]);
    let count = |kind: &str, action: &str| {
        let same = events
            .iter()
            .filter(|event| event["Type"] == kind && event["Action"] == action);
        same.count()
    };
    assert_eq!((count("container", "pause"), count("container", "unpause")), (1, 1));
    assert_eq!((count("image", "create"), count("image", "tag")), (2, 1));
    let commits: Vec<&Value> = events.iter().filter(|event| event["Action"] == "commit").collect();
    for (commit, (id, name, comment)) in commits.iter().zip([(&id, "made:1", "said"), (&silent, "", "")]) {
        let attributes = &commit["Actor"]["Attributes"];
        assert_eq!(
            json!([
                commit["Type"],
                attributes["imageID"],
                attributes["imageRef"],
                attributes["comment"],
                attributes["name"]
            ]),
            json!(["container", id, name, comment, "box"])
        );
    }
    assert_eq!(commits.len(), 2);
}

/// What a container does to its files, and what shows that an image has it.
const CHANGES: &str = "mkdir -p /new/dir; echo hi > /new/f; ln /new/f /new/g; ln -s f /new/l; rm -rf /opt/full; mkdir /opt/full; \
    echo c > /opt/full/c; rm /opt/gone; mknod /new/fifo p; mknod /new/null c 1 3; chown 1000:1001 /new/f; chmod 4750 /new/f; \
    echo changed >> /etc/passwd; touch -d '2020-01-02 03:04:05' /new/dir; mkdir /etc/dir; chmod 1777 /new";
const LOOK: &str = "ls /opt /opt/full; cat /new/g; stat -c '%a %u %g %h %F' /new/f /new/g /new/dir /new/fifo /new; \
    stat -c '%F %t %T' /new/null; readlink /new/l; stat -c %Y /new/dir; tail -n 1 /etc/passwd; cat /opt/stays; ls -d /etc/dir";
const SEEN: &str = "/opt:\nfull\nstays\n\n/opt/full:\nc\nhi\n4750 1000 1001 2 regular file\n4750 1000 1001 2 regular file\n\
    755 0 0 2 directory\n644 0 0 1 fifo\n1777 0 0 3 directory\ncharacter special file 1 3\nf\n1577934245\nchanged\ns/etc/dir";

#[test]
fn an_image_has_what_its_container_changed_whether_that_runs_or_not() {
    let sandbox = Sandbox::empty();
    load_base(&sandbox);
    let script = format!("{CHANGES}; touch /ready; sleep 1000");
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        "base:1",
        "sh",
        "-c",
        &script,
    ]);
    eventually("the changes", || {
        sandbox.docker(&["exec", "box", "ls", "/ready"]).code == 0
    });
    sandbox.ok(&["commit", "box", "running:1"]);
    sandbox.ok(&["pause", "box"]);
    sandbox.ok(&["commit", "box", "paused:1"]);
    assert_eq!(
        inspect(&sandbox, "box")["State"]["Paused"],
        true,
        "what a client paused stays so"
    );
    sandbox.ok(&["unpause", "box"]);
    sandbox.ok(&["kill", "box"]);
    sandbox.ok(&["commit", "box", "stopped:1"]);
    for image in ["running:1", "paused:1", "stopped:1"] {
        assert_eq!(run(&sandbox, image, LOOK), SEEN, "{image}");
    }
    // The same changes are the same layer.
    let layers = |image: &str| inspect(&sandbox, image)["RootFS"]["Layers"].clone();
    assert_eq!(layers("running:1"), layers("stopped:1"));
    sandbox.ok(&["rm", "box"]);
    sandbox.ok(&["rmi", "running:1", "paused:1"]);
    assert_eq!(run(&sandbox, "stopped:1", LOOK), SEEN);
}

#[test]
fn a_commit_of_a_commit_stands_upon_it() {
    let sandbox = Sandbox::empty();
    load_base(&sandbox);
    let commit = |image: &str, script: &str, name: &str| {
        sandbox.ok(&["run", "--name", "box", "--network", "none", image, "sh", "-c", script]);
        sandbox.ok(&["commit", "box", name]);
        sandbox.ok(&["rm", "box"]);
    };
    commit(
        "base:1",
        "echo one > /one; echo 1 > /both; mkdir /dir; echo x > /dir/x",
        "first:1",
    );
    commit(
        "first:1",
        "rm /one; echo 2 > /both; rm -r /dir; mkdir /dir; echo y > /dir/y",
        "second:1",
    );
    commit("second:1", "rm -r /dir; echo back > /one", "third:1");
    let look = "cat /one /both; ls /dir";
    assert_eq!(run(&sandbox, "first:1", look), "one\n1\nx");
    assert_eq!(
        run(&sandbox, "second:1", "ls /one 2>/dev/null; cat /both; ls /dir"),
        "2\ny"
    );
    assert_eq!(
        run(&sandbox, "third:1", "cat /one /both; ls / | grep dir; true"),
        "back\n2"
    );
    assert_eq!(
        inspect(&sandbox, "third:1")["Parent"],
        inspect(&sandbox, "second:1")["Id"]
    );
    let history = sandbox.ok(&["history", "--format", "{{.ID}}", "--no-trunc", "third:1"]);
    let ids: Vec<Value> = history.lines().map(Value::from).collect();
    let expected: Vec<Value> = ["third:1", "second:1", "first:1", "base:1"]
        .map(|name| inspect(&sandbox, name)["Id"].clone())
        .to_vec();
    assert_eq!(ids[..4], expected);
}

#[test]
fn a_container_that_changed_nothing_adds_no_layer() {
    let sandbox = Sandbox::empty();
    load_base(&sandbox);
    sandbox.ok(&["create", "--name", "created", "--network", "none", "base:1"]);
    sandbox.ok(&[
        "run",
        "--name",
        "ran",
        "--network",
        "none",
        "-v",
        "/data",
        "base:1",
        "true",
    ]);
    for (container, image) in [("created", "of-created:1"), ("ran", "of-ran:1")] {
        sandbox.ok(&["commit", "-c", "ENV X=1", container, image]);
    }
    let layers = |image: &str| inspect(&sandbox, image)["RootFS"]["Layers"].clone();
    assert_eq!(layers("of-created:1"), layers("base:1"));
    assert_eq!(run(&sandbox, "of-created:1", "echo $X"), "1");
    let file = sandbox.dir().join("saved.tar");
    sandbox.ok(&["save", "-o", file.to_str().unwrap(), "of-ran:1"]);
    // Nothing but what the volume is mounted on.
    let archive = std::fs::read(&file).unwrap();
    assert_eq!(members_of_last_layer(&archive), ["data/"]);
}

/// Names in the last layer of the only image of an archive.
fn members_of_last_layer(archive: &[u8]) -> Vec<String> {
    let file = |wanted: &str| {
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path_bytes().as_ref() == wanted.as_bytes() {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                return bytes;
            }
        }
        panic!("{wanted} is not in the archive");
    };
    let manifest: Value = serde_json::from_slice(&file("manifest.json")).unwrap();
    let last = manifest[0]["Layers"].as_array().unwrap().last().unwrap().clone();
    let layer = file(last.as_str().unwrap());
    let mut layer = tar::Archive::new(layer.as_slice());
    let names = layer.entries().unwrap();
    names
        .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
        .collect()
}

#[test]
fn a_committed_image_is_saved_and_loaded_elsewhere_as_what_it_is() {
    let sandbox = Sandbox::empty();
    load_base(&sandbox);
    let script =
        format!("{CHANGES}; dd if=/dev/urandom of=/new/big bs=1M count=20 2>/dev/null; md5sum < /new/big > /new/sum");
    sandbox.ok(&[
        "run",
        "--name",
        "box",
        "--network",
        "none",
        "base:1",
        "sh",
        "-c",
        &script,
    ]);
    sandbox.ok(&["commit", "box", "made:1"]);
    let file = sandbox.dir().join("saved.tar");
    let file = file.to_str().unwrap();
    sandbox.ok(&["save", "-o", file, "made:1"]);
    let other = Sandbox::empty();
    other.ok(&["load", "-q", "-i", file]);
    for field in ["Id", "RootFS"] {
        assert_eq!(inspect(&other, "made:1")[field], inspect(&sandbox, "made:1")[field]);
    }
    let look = format!("{LOOK}; md5sum < /new/big | cmp - /new/sum && echo same");
    assert_eq!(run(&other, "made:1", &look), format!("{SEEN}\nsame"));
}

#[test]
fn a_paused_container_is_captured_as_it_was_at_one_moment() {
    let sandbox = Sandbox::new();
    // Each round writes the same number into all files, one after the other.
    let script = "i=0; while :; do i=$((i+1)); for f in $(seq 100 160); do echo $i > /f$f; done; done";
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    eventually("the first round", || {
        sandbox.docker(&["exec", "box", "ls", "/f160"]).code == 0
    });
    for round in 0..5 {
        sandbox.ok(&["commit", "box", "made:1"]);
        let numbers = run(
            &sandbox,
            "made:1",
            "for f in $(seq 100 160); do echo \"n$(cat /f$f)\"; done",
        );
        let numbers: Vec<&str> = numbers.lines().map(|line| &line[1..]).collect();
        assert_eq!(numbers.len(), 61);
        // A file that was opened and not written yet may be empty, but one only.
        let written: Vec<u64> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
        assert!(written.len() >= 60, "round {round}: {numbers:?}");
        let (first, last) = (written[0], written[written.len() - 1]);
        assert!(
            written.is_sorted_by(|one, next| one >= next),
            "round {round}: {numbers:?}"
        );
        assert!(first - last <= 1, "round {round}: {numbers:?}");
    }
    let now = || sandbox.ok(&["exec", "box", "cat", "/f100"]);
    let before = now();
    eventually("it goes on", || now() != before);
    sandbox.ok(&["kill", "box"]);
    eventually("its end", || sandbox.cgroups().is_empty());
}

#[test]
fn what_cannot_be_committed_is_refused() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["create", "--name", "box", "--network", "none", "busybox"]);
    let images = sandbox.ok(&["images", "-aq"]);
    for (query, status, words) in [
        ("", 400, "invalid name or ID supplied"),
        ("container=nosuch", 404, "No such container: nosuch"),
        (
            "container=box&repo=UPPER",
            400,
            "repository name (library/UPPER) must be lowercase",
        ),
        ("container=box&repo=a&tag=@", 400, "invalid tag format"),
        (
            "container=box&changes=RUN%20x",
            400,
            "RUN is not a valid change command",
        ),
        ("container=box&changes=ENV%20x", 400, "ENV must have two arguments"),
        ("container=box&changes=EXPOSE%20foo", 400, "Invalid containerPort: foo"),
        ("container=box&changes=STOPSIGNAL%20x", 400, "invalid signal: x"),
        ("container=box&changes=", 400, "file with no instructions"),
    ] {
        let (found, body) = sandbox.request("POST", &format!("/commit?{query}"), "");
        assert_eq!(found, status, "{query}: {body}");
        assert!(body.contains(words), "{query}: {body}");
    }
    let digest = format!("container=box&repo=a@sha256:{id}");
    let (status, body) = sandbox.request("POST", &format!("/commit?{digest}"), "");
    assert!(
        status == 400 && body.contains("cannot import digest reference"),
        "{body}"
    );
    let (status, body) = sandbox.request("POST", "/commit?container=box", "{");
    assert_eq!((status, body.contains("invalid JSON")), (400, true), "{body}");
    assert_eq!(sandbox.ok(&["images", "-aq"]), images);
}

#[test]
fn a_configuration_in_the_request_goes_before_the_containers_own() {
    let sandbox = Sandbox::empty();
    load_base(&sandbox);
    sandbox.ok(&[
        "create",
        "--name",
        "box",
        "--network",
        "none",
        "-e",
        "A=1",
        "base:1",
        "true",
    ]);
    let body = r#"{"Env":["PATH=x","Q=1"],"Labels":{"made":"x","n":"m"},"User":"u","ExposedPorts":{"5/tcp":{}},"Cmd":["z"],
        "Shell":["s","-x"],"OnBuild":["RUN z"]}"#;
    let (status, answer) = sandbox.request("POST", "/commit?container=box&repo=made&changes=ENTRYPOINT%20e", body);
    assert_eq!(status, 201, "{answer}");
    let config = inspect(&sandbox, "made")["Config"].clone();
    for (field, value) in [
        ("Env", json!(["PATH=x", "Q=1", "A=1", "FROM_IMAGE=yes"])),
        ("Labels", json!({"made": "x", "n": "m"})),
        ("User", json!("u")),
        ("ExposedPorts", json!({"5/tcp": {}, "80/tcp": {}})),
        ("Entrypoint", json!(["s", "-x", "e"])),
        ("Cmd", Value::Null),
        ("OnBuild", json!(["RUN z"])),
        ("Volumes", json!({"/data": {}})),
        ("WorkingDir", json!("/home")),
    ] {
        assert_eq!(config[field], value, "{field}");
    }
}

#[test]
fn an_archive_becomes_an_image_of_one_layer() {
    let sandbox = Sandbox::empty();
    let layer = busybox_layer();
    let said = sandbox.with_input(
        &[
            "import",
            "-m",
            "said",
            "-c",
            r#"CMD ["sh"]"#,
            "-c",
            "ENV PATH=/bin X=$PATH",
            "-c",
            "LABEL l=1",
            "-",
            "made:1",
        ],
        &layer,
    );
    assert_eq!(said.code, 0, "{said:?}");
    let image = inspect(&sandbox, "made:1");
    assert_eq!(image["Id"], said.out);
    assert_eq!(
        json!([image["Comment"], image["Parent"], image["Os"]]),
        json!(["said", "", "linux"])
    );
    assert_eq!(image["Config"]["Env"], json!(["PATH=/bin", "X="]));
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    assert_eq!(run(&sandbox, "made:1", "echo $X; cat /etc/secret"), "\nsecret");
    assert_eq!(
        sandbox.ok(&["history", "--format", "{{.Comment}}|{{.CreatedBy}}", "made:1"]),
        "said|"
    );
    // Compressed it is the same layer, and nothing need be said.
    let path = sandbox.dir().join("layer.tar");
    std::fs::write(&path, &layer).unwrap();
    for program in ["gzip", "zstd", "bzip2", "xz"] {
        let packed = std::process::Command::new(program)
            .args(["-q", "-c"])
            .arg(&path)
            .output()
            .unwrap();
        let said = sandbox.with_input(&["import", "-"], &packed.stdout);
        let image = inspect(&sandbox, &said.out);
        assert_eq!(image["RootFS"], inspect(&sandbox, "made:1")["RootFS"], "{program}");
        assert_eq!(
            json!([image["Comment"], image["RepoTags"]]),
            json!(["Imported from -", []])
        );
    }
    let other = sandbox.with_input(&["import", "--platform", "linux/arm64/v8", "-", "arm:1"], &layer);
    assert_eq!(other.code, 0, "{other:?}");
    let image = inspect(&sandbox, "arm:1");
    assert_eq!(json!([image["Architecture"], image["Variant"]]), json!(["arm64", "v8"]));
    assert_eq!(events(&sandbox, &["event=import"]).len(), 6);
    sandbox.ok(&["rmi", "made:1"]);
}

#[test]
fn sparse_files_are_imported_as_they_are() {
    let sandbox = Sandbox::empty();
    let dir = sandbox.dir().join("sparse");
    std::fs::create_dir(&dir).unwrap();
    let script = "tar -xf ../layer.tar && truncate --size=64M large && echo tail >> large && echo middle | \
        dd of=large bs=1M seek=20 conv=notrunc 2>/dev/null && sha256sum large";
    std::fs::write(sandbox.dir().join("layer.tar"), busybox_layer()).unwrap();
    let shell = |script: &str| {
        let output = std::process::Command::new("sh")
            .current_dir(&dir)
            .args(["-c", script])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let sum = String::from_utf8(shell(script)).unwrap();
    let archive = shell("tar --sparse --format=posix -cf - .");
    assert!(archive.len() < 8 << 20, "{}", archive.len());
    let said = sandbox.with_input(&["import", "-c", "ENV PATH=/bin", "-", "sparse:1"], &archive);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(run(&sandbox, "sparse:1", "cd / && sha256sum large"), sum.trim());
}

#[test]
fn what_a_container_exports_is_imported() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo kept > /file; rm /etc/secret",
    ]);
    let file = sandbox.dir().join("exported.tar");
    sandbox.ok(&["export", "-o", file.to_str().unwrap(), "box"]);
    sandbox.ok(&["import", "-c", "ENV PATH=/bin", file.to_str().unwrap(), "flat:1"]);
    assert_eq!(
        run(&sandbox, "flat:1", "cat /file; ls /etc/secret 2>/dev/null; id -un"),
        "kept\nroot"
    );
}

#[test]
fn archives_and_names_that_are_none_are_refused() {
    let sandbox = Sandbox::empty();
    let layer = busybox_layer();
    for (arguments, input, words) in [
        (&["import", "-", "made:1"][..], &layer[..100_000], "unexpected EOF"),
        (&["import", "-", "made:1"], &[b'x'; 2000], "invalid tar header"),
        (
            &["import", "-c", "FOO x", "-"],
            &layer,
            "FOO is not a valid change command",
        ),
        (
            &["import", "--platform", "windows/amd64", "-"],
            &layer,
            "operating system is not supported",
        ),
        (
            &["import", "--platform", "a/b/c/d", "-"],
            &layer,
            "cannot parse platform specifier",
        ),
    ] {
        let said = sandbox.with_input(arguments, input);
        assert!(said.code == 1 && said.err.contains(words), "{arguments:?}: {said:?}");
    }
    let path = "/images/create?fromSrc=-&repo=a&tag=@";
    assert_eq!(sandbox.request("POST", path, "").0, 400);
    assert_eq!(sandbox.ok(&["images", "-aq"]), "");
}

#[test]
fn a_bad_archive_leaves_nothing_behind() {
    let sandbox = Sandbox::empty();
    let layer = busybox_layer();
    let outside = layer_of(&[("good", b"g"), ("../outside", b"x")]);
    let packed = |program: &str| {
        let path = sandbox.dir().join("layer.tar");
        std::fs::write(&path, &layer).unwrap();
        std::process::Command::new(program)
            .args(["-c"])
            .arg(&path)
            .output()
            .unwrap()
            .stdout
    };
    for (input, words) in [
        (&layer[..100_000], "unexpected EOF"),
        (&outside, "is outside of the root file system"),
        (&packed("xz")[..50_000], "unexpected EOF"),
        (&packed("bzip2")[..50_000], "unexpected EOF"),
        (&packed("gzip")[..50_000], "unexpected EOF"),
    ] {
        let said = sandbox.with_input(&["import", "-", "made:1"], input);
        assert!(said.code == 1 && said.err.contains(words), "{words}: {said:?}");
        for directory in ["layers", "skeletons", "content/ingest", "content/blobs/sha256"] {
            let left = std::fs::read_dir(sandbox.dir().join("data").join(directory)).unwrap();
            assert_eq!(left.count(), 0, "{words}: {directory}");
        }
    }
    let (status, body) = sandbox.request("POST", "/images/create?fromSrc=-&tag=x", "");
    assert!(status == 400 && body.contains("has no repository"), "{body}");
}

/// A server that gives each path what is to be answered, until the test ends; its address.
fn serve(answers: Vec<(&'static str, &'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let Some((_, status, body)) = answers.iter().find(|(known, _, _)| *known == path) else {
                continue;
            };
            // One that is cut off is the client's business.
            let _ = connection.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n").as_bytes());
            let _ = connection.write_all(body);
        }
    });
    address
}

/// The head of an answer and a part of its body.
fn with_length(length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[test]
fn an_archive_is_fetched_from_a_server() {
    let layer = busybox_layer();
    let address = serve(vec![
        ("/layer.tar", "200 OK", with_length(layer.len(), &layer)),
        ("/moved", "302 Found", b"Location: /layer.tar\r\n\r\n".to_vec()),
    ]);
    let sandbox = Sandbox::beside_registries();
    let url = format!("http://{address}/layer.tar");
    let said = sandbox.ok(&["import", "-c", "ENV PATH=/bin", &url, "made:1"]);
    let image = inspect(&sandbox, "made:1");
    assert!(said.ends_with(image["Id"].as_str().unwrap()), "{said}");
    assert_eq!(run(&sandbox, "made:1", "cat /etc/secret"), "secret");
    assert_eq!(image["Comment"], format!("Imported from {url}"));
    let (status, lines) = sandbox.request(
        "POST",
        &format!("/images/create?fromSrc={address}/moved&repo=moved"),
        "",
    );
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(status, 200);
    assert_eq!(lines[0]["status"], format!("Downloading from http://{address}/moved"));
    let total = &lines[lines.len() - 2];
    assert_eq!(total["status"], "Importing");
    assert_eq!(
        total["progressDetail"],
        json!({"current": layer.len(), "total": layer.len()})
    );
    assert_eq!(lines[lines.len() - 1]["status"], inspect(&sandbox, "moved")["Id"]);
}

#[test]
fn a_server_that_refuses_or_breaks_off_gives_no_image() {
    let layer = busybox_layer();
    let address = serve(vec![
        ("/short", "200 OK", with_length(layer.len(), &layer[..70_000])),
        ("/gone", "404 Not Found", with_length(4, b"gone")),
    ]);
    let sandbox = Sandbox::beside_registries();
    let (status, body) = sandbox.request("POST", &format!("/images/create?fromSrc={address}/gone"), "");
    let refused = format!("failed to GET http://{address}/gone with status 404 Not Found: gone");
    assert!(status == 404 && body.contains(&refused), "{body}");
    let (status, body) = sandbox.request(
        "POST",
        &format!("/images/create?fromSrc={address}/short&repo=short"),
        "",
    );
    assert!(status == 200 && body.contains("unexpected EOF"), "{body}");
    let (status, body) = sandbox.request("POST", "/images/create?fromSrc=127.0.0.1:1/x", "");
    assert!(status == 500 && body.contains("connection refused"), "{body}");
    assert_eq!(sandbox.ok(&["images", "-aq"]), "");
}
