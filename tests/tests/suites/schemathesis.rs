//! schemathesis on the description of the API: requests made from it, valid and not, whose answers must be as it says.

use std::path::{Path, PathBuf};

use crate::junit;
use crate::stage::{Stage, suites};
use crate::suite::{Results, Suite, Verdict};

pub(crate) const SUITE: Suite = Suite {
    name: "schemathesis",
    images: &["busybox"],
    // It speaks no UNIX socket.
    flags: &["-H", "tcp://127.0.0.1:2375"],
    run,
    differences: &[(
        "GET /volumes/{name} response_schema_conformance",
        "on Docker no volume of a guessed name is there; `Options` that were not given are null on both",
    )],
};

/// What is looked for in each answer, and the code by which the report names it.
const CHECKS: [(&str, &str); 4] = [
    ("not_a_server_error", "ST101"),
    ("status_code_conformance", "ST103"),
    ("content_type_conformance", "ST104"),
    ("response_schema_conformance", "ST108"),
];

/// The operations that are asked: those of volumes and networks, and what only tells of the rest. Builds, clusters and
/// plugins are not here; streams do not end; what starts processes of random requests is left to the other suites.
const OPERATIONS: [&str; 12] = [
    "ContainerList",
    "ContainerInspect",
    "ContainerTop",
    "ContainerChanges",
    "ExecInspect",
    "ImageList",
    "ImageInspect",
    "ImageHistory",
    "SystemInfo",
    "SystemVersion",
    "SystemPing",
    "SystemDataUsage",
];

/// The description, beside the project or where `CONEX_API_DESCRIPTION` says; it is not ours to keep here.
fn description() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/engine-api-v1.50.yaml");
    let path = std::env::var_os("CONEX_API_DESCRIPTION").map_or_else(beside, PathBuf::from);
    assert!(
        path.is_file(),
        "the API's description is needed and is not at {}: set CONEX_API_DESCRIPTION",
        path.display()
    );
    path
}

fn run(stage: &Stage) -> Results {
    let report = stage.dir().join("schemathesis.xml");
    let checks = CHECKS.map(|(name, _)| name).join(",");
    let mut st = stage.command(&suites().join("venv/bin/st"));
    st.current_dir(stage.dir())
        .arg("run")
        .arg(description())
        .args(["--url", "http://127.0.0.1:2375/v1.50", "--checks", &checks])
        .args([
            "--phases",
            "coverage,fuzzing",
            "--max-examples",
            "10",
            "--seed",
            "1",
            "--no-shrink",
        ])
        .args(["--continue-on-failure", "--request-timeout", "10", "--report", "junit"])
        .arg("--report-junit-path")
        .arg(&report);
    for tag in ["Volume", "Network"] {
        st.args(["--include-tag", tag]);
    }
    for operation in OPERATIONS {
        st.args(["--include-operation-id", operation]);
    }
    // What fails is told by the report.
    let _ = st.status().unwrap();
    let text = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{}: {error}", report.display()));
    results(&text)
}

/// Each check of each operation. One that was broken off, as by a request without an answer, passed none.
fn results(report: &str) -> Results {
    let mut results = Results::new();
    for (head, body) in junit::cases(report) {
        let operation = junit::attribute(head, "name").expect("an operation has a name");
        for (check, code) in CHECKS {
            let verdict = if body.contains("<skipped") {
                Verdict::Skipped
            } else if body.contains("<error") || body.contains(&format!("- {code} ")) {
                Verdict::Failed
            } else {
                Verdict::Passed
            };
            results.insert(format!("{operation} {check}"), verdict);
        }
    }
    results
}

#[test]
fn each_check_of_an_operation_is_told() {
    let report = r#"<testcase name="GET /x" time="1"><failure message="ST103">1.

        - ST103 Undocumented status code</failure></testcase><testcase name="GET /y" time="1" />"#;
    let results = results(report);
    assert_eq!(results.len(), 8);
    let failed: Vec<&String> = results
        .iter()
        .filter(|(_, verdict)| **verdict == Verdict::Failed)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(failed, ["GET /x status_code_conformance"]);
}
