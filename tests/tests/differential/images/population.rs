//! The images that both engines have.

use conex_tests::busybox_layer;
use serde_json::{Value, json};

use crate::archives::{Saved, layer};

/// Images that say much of themselves and little, older and younger, with several names and none.
pub(crate) fn population() -> Vec<Saved> {
    let busybox = busybox_layer();
    vec![
        Saved::new(
            &["full:1", "team/full:2", "full:latest"],
            full(),
            &[busybox.clone(), layer("etc/second", "two\n")],
        ),
        Saved::new(&["old:1"], dated(1, json!({"kind": "x"})), &[layer("old", "12345")]),
        Saved::new(
            &["a/b/c:tag_1.x-Y"],
            dated(2, json!({"kind": "y", "more": "1"})),
            &[layer("abc", "1")],
        ),
        Saved::new(
            &["reg.example:5000/team/app:1"],
            dated(3, json!(null)),
            &[layer("app", "123")],
        ),
        Saved::new(&[], dated(4, json!({"kind": "x"})), &[layer("nameless", "1234567")]),
        Saved::new(&["empty:1"], empty(), &[busybox]),
        Saved::new(&["null:1"], null(), &[layer("null", "")]),
        Saved::new(&["arm:1"], arm(), &[layer("arm", "arm")]),
        Saved::new(&["bare:1"], json!({"os": "linux"}), &[layer("bare", "bare")]),
        Saved::new(
            &["configless:1"],
            json!({"architecture": "amd64", "os": "linux", "created": "1990-03-05T00:00:00Z", "config": null}),
            &[layer("less", "less")],
        ),
        Saved::new(
            &["layerless:1"],
            json!({"architecture": "amd64", "os": "linux", "created": "1990-03-06T00:00:00Z", "config": {}}),
            &[],
        ),
    ]
}

/// One that says all that there is to say.
fn full() -> Value {
    json!({
        "architecture": "amd64", "os": "linux", "created": "1990-01-05T06:07:08.123456789Z",
        "author": "somebody <s@example.org>", "comment": "as it was said", "docker_version": "1.2.3",
        "container": "0123456789ab", "container_config": {"Hostname": "h", "Cmd": ["/bin/sh", "-c", "#(nop)"]},
        "config": {
            "Hostname": "host", "Domainname": "domain", "User": "worker:audio", "AttachStdin": false,
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Tty": true, "OpenStdin": true, "StdinOnce": false,
            "Env": ["PATH=/bin", "A=b c", "EMPTY="], "Cmd": ["echo", "x"], "Entrypoint": ["/bin/busybox"],
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000, "Timeout": 2_000_000_000,
                "StartPeriod": 3_000_000_000_u64, "StartInterval": 4_000_000_000_u64, "Retries": 5},
            "ArgsEscaped": true, "Image": "sha256:x", "Volumes": {"/v": {}, "/w": {}}, "WorkingDir": "/home",
            "NetworkDisabled": true, "MacAddress": "02:42:ac:11:00:02", "OnBuild": ["RUN a", "RUN b"],
            "Labels": {"a": "b", "kind": "full", "empty": ""}, "StopSignal": "SIGINT", "StopTimeout": 3,
            "Shell": ["/bin/ash", "-c"]
        },
        "history": [
            {"created": "1990-01-01T00:00:00Z", "created_by": "ADD rootfs /", "author": "first"},
            {"created": "1990-01-02T00:00:00Z", "created_by": "ENV A=b c", "empty_layer": true, "comment": "said"},
            {"created": "1990-01-03T00:00:00.5Z", "created_by": "RUN x", "comment": "last"},
            {"created_by": "LABEL a=b", "empty_layer": true}
        ]
    })
}

fn dated(day: u32, labels: Value) -> Value {
    json!({
        "architecture": "amd64", "os": "linux", "created": format!("1990-02-{day:02}T00:00:00Z"),
        "config": {"Cmd": ["sh"], "Labels": labels}
    })
}

fn empty() -> Value {
    json!({
        "architecture": "amd64", "os": "linux", "created": "1990-03-01T00:00:00Z", "author": "", "comment": "",
        "config": {"Hostname": "", "User": "", "Env": [], "Cmd": [], "Entrypoint": [], "Volumes": {}, "WorkingDir": "",
            "OnBuild": [], "ExposedPorts": {}, "StopSignal": "", "Shell": []},
        "history": []
    })
}

fn null() -> Value {
    json!({
        "architecture": "amd64", "os": "linux", "created": "1990-03-02T00:00:00Z",
        "config": {"Env": null, "Cmd": null, "Entrypoint": null, "Volumes": null, "OnBuild": null, "Labels": null,
            "ExposedPorts": null, "Healthcheck": null, "Shell": null},
        "history": null
    })
}

fn arm() -> Value {
    json!({
        "architecture": "arm", "variant": "v7", "os": "linux", "os.version": "1.0", "os.features": ["x"],
        "created": "1990-03-03T00:00:00+01:00", "config": {"Env": ["PATH=/bin"]},
        "history": [{"created": "1990-03-03T00:00:00Z", "created_by": "COPY arm", "comment": "of the last"}]
    })
}
