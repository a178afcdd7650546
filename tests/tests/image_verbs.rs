//! What is done with images that are here: their history, lists with filters, prunes.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use conex_tests::{Sandbox, archive_from, busybox_layer, layer_of};

/// Loads an image of one layer; its id.
fn load(sandbox: &Sandbox, names: &[&str], fields: &str, layers: &[&[u8]]) -> String {
    let path = sandbox.dir().join("load.tar");
    std::fs::write(&path, archive_from(names, fields, layers)).unwrap();
    let said = sandbox.ok(&["load", "-i", path.to_str().unwrap()]);
    if let Some(name) = names.first() {
        return sandbox.ok(&["inspect", "--format", "{{.Id}}", name]);
    }
    said.trim_start_matches("Loaded image ID: ").to_owned()
}

/// An image of a day, with labels as JSON.
fn dated(sandbox: &Sandbox, name: &str, day: u32, labels: &str) -> String {
    let fields = format!(
        r#""created":"2026-01-{day:02}T00:00:00Z","config":{{"Cmd":["sh"],"Labels":{labels}}},"history":[{{"created":"2026-01-{day:02}T00:00:00Z","created_by":"made on {day}"}}]"#
    );
    let contents = format!("{name}{day}");
    let names: &[&str] = if name.is_empty() { &[] } else { &[name] };
    load(sandbox, names, &fields, &[&layer_of(&[("file", contents.as_bytes())])])
}

#[test]
fn a_history_tells_of_each_layer_and_of_what_made_none() {
    let sandbox = Sandbox::empty();
    let fields = r#""created":"2026-01-03T00:00:00Z","config":{"Cmd":["sh"]},"history":[
        {"created":"2026-01-01T00:00:00Z","created_by":"ADD rootfs /"},
        {"created":"2026-01-02T00:00:00Z","created_by":"ENV A=1","empty_layer":true},
        {"created":"2026-01-03T00:00:00Z","created_by":"RUN second","comment":"said"}]"#;
    let (first, second) = (layer_of(&[("a", b"12345")]), layer_of(&[("b", b"123")]));
    let id = load(&sandbox, &["told:1", "also:2"], fields, &[&first, &second]);
    let (status, body) = sandbox.request("GET", "/images/told:1/history", "");
    assert_eq!(status, 200, "{body}");
    let history: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!([
        {"Comment":"said","Created":1_767_398_400,"CreatedBy":"RUN second","Id":id,"Size":3,"Tags":["also:2","told:1"]},
        {"Comment":"","Created":1_767_312_000,"CreatedBy":"ENV A=1","Id":"<missing>","Size":0,"Tags":null},
        {"Comment":"","Created":1_767_225_600,"CreatedBy":"ADD rootfs /","Id":"<missing>","Size":5,"Tags":null},
    ]);
    let mut history = history;
    if let Some(tags) = history[0]["Tags"].as_array_mut() {
        tags.sort_by_key(ToString::to_string);
    }
    assert_eq!(history, expected);
    let shown = sandbox.ok(&["history", "--format", "{{.CreatedBy}} {{.Size}}", "told:1"]);
    assert_eq!(shown, "RUN second 3B\nENV A=1 0B\nADD rootfs / 5B");
    let missing = sandbox.docker(&["history", "nosuch"]);
    assert!(missing.err.contains("No such image: nosuch"), "{missing:?}");
}

#[test]
fn images_are_listed_by_when_and_how_they_were_made() {
    let sandbox = Sandbox::empty();
    for (name, day, labels) in [
        ("a/one:1", 1, r#"{"kind":"x"}"#),
        ("b/two:1", 2, r#"{"kind":"y","more":"1"}"#),
        ("three:2", 3, "{}"),
    ] {
        dated(&sandbox, name, day, labels);
    }
    let nameless = dated(&sandbox, "", 4, "{}");
    let listed = |filters: &[&str]| {
        let mut arguments = vec!["images", "--format", "{{.Repository}}:{{.Tag}}"];
        arguments.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
        sandbox.ok(&arguments).replace('\n', " ")
    };
    assert_eq!(listed(&[]), "<none>:<none> three:2 b/two:1 a/one:1");
    for (filters, expected) in [
        (&["before=three:2"][..], "b/two:1 a/one:1"),
        (&["since=a/one:1"], "<none>:<none> three:2 b/two:1"),
        (&["since=a/one:1", "before=three:2"], "b/two:1"),
        (&["before=three:2", "before=b/two:1"], "a/one:1"),
        (&["until=2026-01-03T00:00:00Z"], "b/two:1 a/one:1"),
        (&["until=24h"], "<none>:<none> three:2 b/two:1 a/one:1"),
        (&["dangling=true"], "<none>:<none>"),
        (&["dangling=false"], "three:2 b/two:1 a/one:1"),
        (&["label=kind"], "b/two:1 a/one:1"),
        (&["label=kind=y"], "b/two:1"),
        (&["label=kind", "label=more=1"], "b/two:1"),
        (&["reference=*/*"], "b/two:1 a/one:1"),
        (&["reference=th*"], "three:2"),
        (&["reference=[ab]/*:1"], "b/two:1 a/one:1"),
        (&["reference=a/one", "reference=three"], "three:2 a/one:1"),
    ] {
        assert_eq!(listed(filters), expected, "{filters:?}");
    }
    let ids = sandbox.ok(&["images", "-q", "--no-trunc", "--filter", "dangling=true"]);
    assert_eq!(ids, nameless);
    for (filter, words) in [
        ("before=nosuch", "No such image: nosuch"),
        ("since=nosuch", "No such image: nosuch"),
        ("dangling=perhaps", "invalid filter 'dangling"),
        ("nosuch=1", "invalid filter 'nosuch'"),
    ] {
        let said = sandbox.docker(&["images", "--filter", filter]);
        assert!(said.err.contains(words) && said.code == 1, "{filter}: {said:?}");
    }
}

#[test]
fn a_prune_takes_what_has_no_name_and_with_all_what_no_container_has() {
    let sandbox = Sandbox::new();
    dated(&sandbox, "keep:1", 1, r#"{"keep":"yes"}"#);
    dated(&sandbox, "old:1", 2, "{}");
    let nameless = dated(&sandbox, "", 3, "{}");
    sandbox.ok(&["create", "--name", "user", "busybox"]);
    let names = || {
        let mut names: Vec<String> = sandbox
            .ok(&["images", "--format", "{{.Repository}}"])
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names.join(" ")
    };
    let (status, body) = sandbox.request("POST", "/images/prune", "");
    let pruned: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(pruned["ImagesDeleted"][0]["Deleted"], nameless, "{body}");
    // The contents of the one file: its image's name and day.
    assert_eq!(pruned["SpaceReclaimed"], 1, "{body}");
    assert_eq!(names(), "busybox keep old");
    let again = sandbox.request("POST", "/images/prune", "").1;
    assert!(again.contains(r#""ImagesDeleted":null"#), "{again}");

    let said = sandbox.ok(&[
        "image",
        "prune",
        "-a",
        "-f",
        "--filter",
        "until=2026-01-01T12:00:00Z",
        "--filter",
        "label!=keep",
    ]);
    assert_eq!(said, "Total reclaimed space: 0B");
    let said = sandbox.ok(&["image", "prune", "-a", "-f", "--filter", "label!=keep"]);
    assert!(said.contains("untagged: old:1"), "{said}");
    assert_eq!(names(), "busybox keep");
    sandbox.ok(&["image", "prune", "-a", "-f"]);
    assert_eq!(names(), "busybox");
    let wrong = sandbox.docker(&["image", "prune", "-f", "--filter", "nosuch=1"]);
    assert!(wrong.err.contains("invalid filter 'nosuch'"), "{wrong:?}");
}

/// The diff ids of an image.
fn layers_of(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok(&["inspect", "--format", "{{.Id}} {{.RootFS.Layers}}", name])
}

#[test]
fn what_is_saved_is_loaded_as_what_it_was() {
    let sandbox = Sandbox::new();
    let fields = r#""created":"2026-01-03T00:00:00Z","config":{"Cmd":["sh"]}"#;
    let busybox = busybox_layer();
    let second = layer_of(&[("etc/.wh.secret", b""), ("etc/more", b"more\n")]);
    load(&sandbox, &["two:1", "two:2", "other:1"], fields, &[&busybox, &second]);
    let before = layers_of(&sandbox, "two:1");
    let file = sandbox.dir().join("saved.tar");
    let file = file.to_str().unwrap();
    sandbox.ok(&["save", "-o", file, "two", "busybox:latest"]);
    let listed = std::process::Command::new("tar").args(["-tf", file]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in ["index.json", "manifest.json", "oci-layout", "repositories"] {
        assert!(listed.lines().any(|line| line == name), "{name}: {listed}");
    }
    let other = Sandbox::empty();
    let said = other.ok(&["load", "-i", file]);
    let mut said: Vec<&str> = said.lines().collect();
    said.sort_unstable();
    let expected = [
        "Loaded image: busybox:latest",
        "Loaded image: two:1",
        "Loaded image: two:2",
    ];
    assert_eq!(said, expected);
    assert_eq!(layers_of(&other, "two:2"), before);
    let script = "cat /etc/more; ls /etc/secret 2>&1 || true";
    let ran = other.ok(&["run", "--rm", "--network", "none", "two:1", "sh", "-c", script]);
    assert!(ran.starts_with("more\n") && ran.contains("No such file"), "{ran}");
    // By its id an image is saved without a name.
    let id = sandbox.ok(&["inspect", "--format", "{{.Id}}", "other:1"]);
    sandbox.ok(&["save", "-o", file, &id]);
    let nameless = Sandbox::empty();
    assert_eq!(nameless.ok(&["load", "-i", file]), format!("Loaded image ID: {id}"));
    let missing = sandbox.docker(&["save", "-o", file, "nosuch:1"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert_eq!(sandbox.request("GET", "/images/nosuch:1/get", "").0, 404);
}

#[test]
fn a_layer_whose_files_were_changed_behind_our_back_is_not_saved() {
    let sandbox = Sandbox::empty();
    let fields = r#""created":"2026-01-03T00:00:00Z","config":{"Cmd":["sh"]}"#;
    load(&sandbox, &["whole:1"], fields, &[&layer_of(&[("file", b"as it was")])]);
    let file = sandbox.dir().join("saved.tar");
    let file = file.to_str().unwrap();
    sandbox.ok(&["save", "-o", file, "whole:1"]);
    let data = sandbox.dir().join("data");
    let layers: Vec<_> = std::fs::read_dir(data.join("layers")).unwrap().flatten().collect();
    let skeletons: Vec<_> = std::fs::read_dir(data.join("skeletons")).unwrap().flatten().collect();
    assert_eq!((layers.len(), skeletons.len()), (1, 1));
    std::fs::write(layers[0].path().join("file"), "otherwise").unwrap();
    assert_ne!(sandbox.docker(&["save", "-o", file, "whole:1"]).code, 0);
    std::fs::remove_file(skeletons[0].path()).unwrap();
    let said = sandbox.docker(&["save", "-o", file, "whole:1"]);
    assert!(said.err.contains("has no reconstruction data"), "{said:?}");
    sandbox.ok(&["rmi", "whole:1"]);
}
