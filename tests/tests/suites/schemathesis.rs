//! schemathesis on the description of the API: requests made from it, valid and not, whose answers must be as it says.

use std::path::Path;

use crate::description;
use crate::junit;
use crate::stage::{Stage, suites};
use crate::suite::{Results, Suite, Verdict};

pub(crate) const SUITE: Suite = Suite {
    name: "schemathesis",
    images: &["busybox"],
    // It speaks no UNIX socket.
    flags: &["-H", "tcp://127.0.0.1:2375"],
    left_out: || {
        operations()
            .filter_map(|(operation, why)| Some((operation, why?)))
            .collect()
    },
    run,
    differences: &[(
        "POST /containers/{id}/restart status_code_conformance",
        "an unknown signal is the client's fault, which the description does not know",
    )],
};

/// What is looked for in each answer, and the codes by which the report names what is wrong.
const CHECKS: [(&str, &[&str]); 4] = [
    ("not_a_server_error", &["ST101", "ST102"]),
    ("status_code_conformance", &["ST103"]),
    ("content_type_conformance", &["ST104", "ST105", "ST106"]),
    ("response_schema_conformance", &["ST108", "ST109", "ST110"]),
];

/// Beginnings of paths whose operations neither engine is asked, and why.
const LEFT_OUT: [(&str, &str); 10] = [
    ("/build", "builds"),
    ("/session", "builds"),
    ("/plugins", "plugins"),
    ("/swarm", "clusters"),
    ("/nodes", "clusters"),
    ("/services", "clusters"),
    ("/tasks", "clusters"),
    ("/secrets", "clusters"),
    ("/configs", "clusters"),
    ("/containers/{id}/attach/ws", "schemathesis speaks no WebSocket"),
];

/// All operations of the description, and why they are left out, where they are.
fn operations() -> impl Iterator<Item = (String, Option<&'static str>)> {
    description::operations().into_iter().map(|(path, operation)| {
        let left_out = LEFT_OUT.iter().find(|(beginning, _)| path.starts_with(beginning));
        (operation, left_out.map(|(_, why)| *why))
    })
}

fn run(stage: &Stage) -> Results {
    let report = stage.dir().join("schemathesis.xml");
    let checks = CHECKS.map(|(name, _)| name).join(",");
    let mut st = stage.command(&suites().join("venv/bin/st"));
    st.current_dir(stage.dir())
        .arg("run")
        .arg(description::path())
        .args(["--url", "http://127.0.0.1:2375/v1.51", "--checks", &checks])
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
        .arg(&report)
        .env(
            "SCHEMATHESIS_HOOKS",
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites/schemathesis/hooks.py"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1");
    for (operation, _) in operations().filter(|(_, why)| why.is_none()) {
        st.args(["--include-operation-id", &operation]);
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
        for (check, codes) in CHECKS {
            let told = |code: &&str| body.contains(&format!("- {code} "));
            let verdict = if body.contains("<skipped") {
                Verdict::Skipped
            } else if body.contains("<error") || codes.iter().any(told) {
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
