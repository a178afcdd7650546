//! Our own checks of the high-level API of the Docker SDK for Python, whose own tests are in no package.

use std::path::Path;

use crate::junit;
use crate::stage::{Stage, suites};
use crate::suite::{Results, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "docker-sdk",
    images: &["busybox"],
    flags: &[],
    left_out: Vec::new,
    run,
    differences: &[(
        "test_containers::test_run_with_an_init",
        "an init process is refused by name",
    )],
};

fn run(stage: &Stage) -> Results {
    let report = stage.dir().join("docker-sdk.xml");
    let mut pytest = stage.command(&suites().join("venv/bin/pytest"));
    pytest
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites/docker_sdk"))
        .args(["-p", "no:cacheprovider", "-v", "--timeout", "60", "--junit-xml"])
        .arg(&report)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    // How many fail is told by the report.
    let _ = pytest.status().unwrap();
    junit::load(&report)
}
