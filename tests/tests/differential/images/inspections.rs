//! Images inspected.

use crate::archives::Saved;
use crate::harness::{Request, get, head, with};

/// Names that there are, and are not, and that are none.
const NAMES: &[&str] = &[
    "full",
    "full:1",
    "full:latest",
    "team/full:2",
    "docker.io/library/full:1",
    "library/full:1",
    "index.docker.io/full:1",
    "old:1",
    "a/b/c:tag_1.x-Y",
    "reg.example:5000/team/app:1",
    "empty:1",
    "null:1",
    "arm:1",
    "bare:1",
    "configless:1",
    "layerless:1",
    "busybox",
    "nosuch",
    "full:nosuch",
    "FULL",
    "Full:1",
    "team/full",
    "full:",
    ":1",
    "full::1",
    "a/b",
    "-",
    "%20",
    "full%201",
    "full%3A1",
    "a%2Fb%2Fc:tag_1.x-Y",
    "sha256",
    "sha256:",
    "sha256:0",
    "sha256:xyz",
    "fu",
    "..",
    ".",
    "",
];

pub(crate) fn inspections(images: &[Saved]) -> Vec<Request> {
    let (id, nameless) = (images[0].id(), images[4].id());
    let digits = &id[7..];
    let mut script: Vec<Request> = NAMES.iter().copied().map(inspect).collect();
    script.extend([
        inspect(&id),
        inspect(digits),
        inspect(&digits[..12]),
        inspect(&digits[..5]),
        inspect(&id[..19]),
        inspect(&digits.to_uppercase()),
        inspect(&digits[1..]),
        inspect(&nameless),
        inspect(&nameless[7..19]),
        inspect(&format!("full@{id}")),
        inspect(&format!("full:1@{id}")),
        inspect(&format!("full:{digits}")),
        inspect(&"0".repeat(64)),
        inspect(&format!("sha256:{}", "0".repeat(64))),
        head("/images/full/json"),
        asked(&[("manifests", "1")]),
        asked(&[("manifests", "0")]),
        asked(&[("size", "1")]),
    ]);
    for version in [
        "", "/v1.24", "/v1.25", "/v1.40", "/v1.43", "/v1.44", "/v1.45", "/v1.46", "/v1.47", "/v1.48", "/v1.49",
        "/v1.51",
    ] {
        script.extend(["full", "null:1", "bare:1"].map(|name| inspect(name).version(version)));
    }
    script.extend(platforms());
    script
}

fn inspect(name: &str) -> Request {
    get(format!("/images/{name}/json"))
}

fn asked(parameters: &[(&str, &str)]) -> Request {
    get(with("/images/full/json", parameters))
}

/// Images of one platform, or of none.
fn platforms() -> Vec<Request> {
    vec![
        asked(&[("platform", r#"{"os":"linux","architecture":"amd64"}"#)]),
        asked(&[("platform", r#"{"os":"linux","architecture":"arm64"}"#)]),
        asked(&[("platform", r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#)]),
        asked(&[("platform", r#"{"os":"linux"}"#)]),
        asked(&[("platform", r#"{"architecture":"amd64"}"#)]),
        asked(&[("platform", "{}")]),
        asked(&[("platform", "{")]),
        asked(&[("platform", "null")]),
        asked(&[("platform", "[]")]),
        asked(&[("platform", "linux/amd64")]),
        asked(&[("platform", "")]),
        asked(&[
            ("platform", r#"{"os":"linux","architecture":"amd64"}"#),
            ("manifests", "1"),
        ]),
        asked(&[("platform", r#"{"os":"windows","architecture":"amd64"}"#)]),
        get(with(
            "/images/arm:1/json",
            &[("platform", r#"{"os":"linux","architecture":"arm","variant":"v7"}"#)],
        )),
        get(with(
            "/images/arm:1/json",
            &[("platform", r#"{"os":"linux","architecture":"arm","variant":"v6"}"#)],
        )),
        get(with(
            "/images/arm:1/json",
            &[("platform", r#"{"os":"linux","architecture":"arm"}"#)],
        )),
        get(with(
            "/images/nosuch/json",
            &[("platform", r#"{"os":"linux","architecture":"arm"}"#)],
        )),
        asked(&[("platform", r#"{"os":"linux","architecture":"arm64"}"#)]).version("/v1.48"),
    ]
}
