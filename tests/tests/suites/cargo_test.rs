//! The results that Rust's test harness prints.

use std::path::Path;

use crate::suite::{Results, Verdict};

/// Reads what `cargo test` printed.
pub(crate) fn load(path: &Path) -> Results {
    parse(&std::fs::read_to_string(path).unwrap())
}

/// `test <name> ... ok`; what a test itself prints may stand before the verdict, and then lines of its own.
fn parse(text: &str) -> Results {
    let mut results = Results::new();
    for line in text.lines() {
        let Some((name, said)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) else {
            continue;
        };
        let verdict = match said.split(',').next() {
            Some("ok") => Verdict::Passed,
            Some("ignored") => Verdict::Skipped,
            _ => Verdict::Failed,
        };
        let name = name.trim_end_matches(" - should panic");
        results.insert(name.to_owned(), verdict);
    }
    results
}

#[test]
fn what_cargo_prints_is_read() {
    let results = parse(
        "running 3 tests\ntest a ... ok\ntest b::c ... FAILED\ntest d ... ignored, needs a swarm\n\ntest result: FAILED.",
    );
    let expected = [
        ("a", Verdict::Passed),
        ("b::c", Verdict::Failed),
        ("d", Verdict::Skipped),
    ];
    assert_eq!(
        results,
        expected.map(|(name, verdict)| (name.to_owned(), verdict)).into()
    );
}
