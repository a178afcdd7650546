//! aiodocker's own tests, from its source distribution.

use crate::junit;
use crate::stage::{Stage, suites};
use crate::suite::{Results, Suite, left_out};

pub(crate) const SUITE: Suite = Suite {
    name: "aiodocker",
    images: &[
        "python:latest",
        "python:3.13-alpine",
        "python:3.14-alpine",
        "registry:2",
    ],
    flags: &[],
    left_out: || left_out(&[&FILES_LEFT_OUT[..], &LEFT_OUT].concat()),
    run,
    differences: &[],
};

/// Files that neither engine is given, and why.
const FILES_LEFT_OUT: [(&str, &str); 5] = [
    ("test_configs.py", CLUSTERS),
    ("test_nodes.py", CLUSTERS),
    ("test_secrets.py", CLUSTERS),
    ("test_services.py", CLUSTERS),
    ("test_swarm.py", CLUSTERS),
];

const CLUSTERS: &str = "clusters, which it makes of a daemon within a container";

/// Tests that neither engine is given, as pytest selects them by their names, and why.
const LEFT_OUT: [(&str, &str); 2] = [
    ("build", "builds"),
    ("test_prune_images and not without", "builds what it prunes"),
];

fn run(stage: &Stage) -> Results {
    let report = stage.dir().join("aiodocker.xml");
    let mut pytest = stage.command(&suites().join("venv/bin/pytest"));
    pytest
        .current_dir(suites().join("aiodocker"))
        .args([
            "tests",
            "-o",
            "addopts=",
            "-p",
            "no:cacheprovider",
            "-p",
            "collected",
            "-v",
            "--timeout",
            "60",
        ])
        .args(["-k", &selected()])
        .arg("--junit-xml")
        .arg(&report)
        .env(
            "PYTHONPATH",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suites/aiodocker"),
        )
        // The registries that it starts are reached by their published ports.
        .env("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
        .env("TESTCONTAINERS_HOST_OVERRIDE", "localhost")
        // Its container is an image that only a real Docker Hub has.
        .env("TESTCONTAINERS_RYUK_DISABLED", "true");
    for (file, _) in FILES_LEFT_OUT {
        pytest.arg(format!("--ignore=tests/{file}"));
    }
    // How many fail is told by the report.
    let _ = pytest.status().unwrap();
    junit::load(&report)
}

/// pytest's expression for all tests that are not left out.
fn selected() -> String {
    LEFT_OUT.map(|(names, _)| format!("not ({names})")).join(" and ")
}
