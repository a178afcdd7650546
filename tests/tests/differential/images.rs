//! Images: shown, named, removed.

use crate::harness::{Difference, Pair, delete, get, post};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    ("/images/", "/GraphDriver/Data", "layers lie elsewhere"),
    ("/images/", "/Metadata/LastTagTime", "a load tags"),
    ("POST /images/busybox/tag", "", "a tag without a name is refused"),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn images_are_answered_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&[
        get("/images/nosuch/json"),
        delete("/images/nosuch"),
        post("/images/busybox/tag?repo=BAD", ""),
        post("/images/busybox/tag", ""),
        get("/nosuch"),
        get("/images/busybox/json"),
        get("/images/json"),
        post("/images/busybox/tag?repo=mine&tag=1", ""),
        get("/images/json?filters=%7B%22reference%22%3A%5B%22mine%22%5D%7D"),
        delete("/images/mine:1"),
        delete("/images/busybox"),
    ]);
    pair.finish(&[], &[]);
}
