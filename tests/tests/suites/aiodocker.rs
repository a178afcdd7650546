//! aiodocker's own tests, from its source distribution.

use crate::junit;
use crate::stage::{Stage, suites};
use crate::suite::{Results, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "aiodocker",
    images: &[
        "python:latest",
        "python:3.13-alpine",
        "python:3.14-alpine",
        "registry:2",
    ],
    flags: &[],
    run,
    differences: &[],
};

/// Files about clusters, which are made by a daemon within a container.
const CLUSTERS: [&str; 5] = [
    "test_configs.py",
    "test_nodes.py",
    "test_secrets.py",
    "test_services.py",
    "test_swarm.py",
];

/// Tests that build images; the second does not say so.
const BUILDS: &str = "not build and not (test_prune_images and not without)";

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
            "-v",
            "--timeout",
            "60",
        ])
        .args(["-k", BUILDS])
        .arg("--junit-xml")
        .arg(&report)
        // The registries that it starts are reached by their published ports.
        .env("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
        .env("TESTCONTAINERS_HOST_OVERRIDE", "localhost")
        // Its container is an image that only a real Docker Hub has.
        .env("TESTCONTAINERS_RYUK_DISABLED", "true");
    for file in CLUSTERS {
        pytest.arg(format!("--ignore=tests/{file}"));
    }
    // How many fail is told by the report.
    let _ = pytest.status().unwrap();
    junit::load(&report)
}
