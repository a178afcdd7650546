//! bollard's own tests, from its crate.

use std::path::Path;

use crate::cargo_test;
use crate::stage::{Stage, suites};
use crate::suite::{Results, Suite, left_out};

pub(crate) const SUITE: Suite = Suite {
    name: "bollard",
    images: &[],
    flags: &[],
    left_out: || left_out(&LEFT_OUT),
    run,
    differences: &[],
};

/// Parts of the names of tests that neither engine is given, and why.
const LEFT_OUT: [(&str, &str); 9] = [
    ("secret", "clusters"),
    ("service", "clusters"),
    ("task", "clusters"),
    ("node", "clusters"),
    ("swarm", "clusters"),
    ("build", "builds"),
    ("issue_55", "builds"),
    ("wasm", "an image of a registry on the internet"),
    (
        "search",
        "asks Docker Hub for a search, which no registry program answers",
    ),
];

fn run(stage: &Stage) -> Results {
    let said = stage.dir().join("bollard.out");
    let mut cargo = stage.command(Path::new(env!("CARGO")));
    cargo
        .current_dir(suites().join("bollard"))
        .args([
            "test",
            "--offline",
            "--locked",
            "--tests",
            "--no-fail-fast",
            "--target-dir",
        ])
        .arg(suites().join("bollard-target"))
        .args(["--", "--test-threads", "1"])
        // Cargo and what it fetched are where they are always.
        .envs(std::env::vars_os().filter(|(name, _)| name == "HOME"))
        .env("REGISTRY_HTTP_ADDR", "localhost:5000")
        .stdout(std::fs::File::create(&said).unwrap());
    for (name, _) in LEFT_OUT {
        cargo.args(["--skip", name]);
    }
    // How many fail is told by what it prints.
    let _ = cargo.status().unwrap();
    stage.keep(&said);
    cargo_test::load(&said)
}
