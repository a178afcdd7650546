//! The filters of the list.

use serde_json::json;

use crate::archives::Saved;
use crate::harness::{Request, get, with};

/// Values of each filter, right and wrong.
const VALUES: [(&str, &[&str]); 6] = [
    (
        "label",
        &[
            "kind", "kind=x", "kind=", "empty=", "empty", "nosuch", "a=b", "=", "", "KIND",
        ],
    ),
    ("dangling", &["true", "false", "1", "0", "yes", "True", ""]),
    (
        "reference",
        &[
            "full",
            "full:1",
            "full:*",
            "f*",
            "*",
            "*:*",
            "*/*",
            "team/*",
            "a/b/c",
            "a/*/c",
            "*/*/*",
            "reg.example:5000/*/*",
            "reg.example:5000/team/app",
            "docker.io/library/full",
            "docker.io/library/full:1",
            "library/full",
            "FULL",
            "[",
            "[a",
            "f[a-u]ll",
            "f[^a]ll",
            r"\f\u\l\l",
            "",
            " ",
            "nosuch",
            "full@sha256:*",
            "?ull",
            "full:?",
        ],
    ),
    (
        "before",
        &["full:1", "old:1", "empty", "empty:1", "nosuch", "BAD", "", "bare:1"],
    ),
    ("since", &["full:1", "old:1", "empty:1", "nosuch", "BAD", "", "bare:1"]),
    (
        "until",
        &[
            "1990-02-03",
            "1990-02-03T00:00:00Z",
            "1990-02-03T00:00:00",
            "1990-02-03T01:00:00+01:00",
            "634003200",
            "634003200.5",
            "24h",
            "1h30m",
            "0",
            "-1h",
            "x",
            "",
            "1990-02",
            "9999-01-01T00:00:00Z",
        ],
    ),
];

pub(crate) fn filters(images: &[Saved]) -> Vec<Request> {
    let filtered = |filters: &str| get(with("/images/json", &[("filters", filters)]));
    let every = |filters: &str| get(with("/images/json", &[("all", "1"), ("filters", filters)]));
    let by = |name: &str, value: &str| filtered(&json!({ name: [value] }).to_string());
    let (id, short) = (images[2].id(), images[2].id()[7..19].to_owned());
    let mut script = vec![
        filtered("{}"),
        filtered("null"),
        filtered("[]"),
        filtered("{"),
        filtered(r#"{"label":"a"}"#),
        filtered(r#"{"label":{"kind":true}}"#),
        filtered(r#"{"label":{"kind":false}}"#),
        filtered(r#"{"label":[]}"#),
        filtered(r#"{"label":["kind","more=1"]}"#),
        filtered(r#"{"label!":["kind"]}"#),
        filtered(r#"{"nosuch":["1"]}"#),
        filtered(r#"{"reference":["full","old"]}"#),
        filtered(r#"{"reference":[]}"#),
        filtered(r#"{"since":["old:1"],"before":["empty:1"]}"#),
        filtered(r#"{"since":["old:1","a/b/c:tag_1.x-Y"]}"#),
        filtered(r#"{"before":["empty:1","old:1"]}"#),
        filtered(r#"{"dangling":["true","false"]}"#),
        filtered(r#"{"dangling":["true","x"]}"#),
        filtered(r#"{"dangling":[]}"#),
        filtered(r#"{"until":["1990-02-03","1990-03-01"]}"#),
        filtered(r#"{"dangling":["true"],"label":["kind=x"]}"#),
        filtered(r#"{"dangling":["false"],"reference":["*"]}"#),
        filtered(r#"{"dangling":["true"],"reference":["*"]}"#),
        every(r#"{"reference":["*"]}"#),
        every(r#"{"dangling":["true"]}"#),
        every(r#"{"dangling":["false"]}"#),
        every(r#"{"label":["kind"]}"#),
    ];
    for (name, values) in VALUES {
        script.extend(values.iter().map(|value| by(name, value)));
    }
    script.extend([
        by("before", &id),
        by("since", &id),
        by("before", &short),
        by("since", &short),
        by("reference", &id),
    ]);
    script
}
