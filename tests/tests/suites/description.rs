//! The description of the Engine API that the reference comes with, as much of it as is wanted.

use std::path::{Path, PathBuf};

/// Where `cargo xtask suites` keeps it.
pub(crate) fn path() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/description/root/usr/share/gocode/src/github.com/docker/docker/api/swagger.yaml");
    assert!(path.is_file(), "{} is needed: cargo xtask suites", path.display());
    path
}

/// Path and name of each operation.
pub(crate) fn operations() -> Vec<(String, String)> {
    parse(&std::fs::read_to_string(path()).unwrap())
}

fn parse(description: &str) -> Vec<(String, String)> {
    let mut operations = Vec::new();
    let mut path = "";
    for line in description.lines() {
        if let Some(found) = line.strip_prefix("  /").and_then(|rest| rest.strip_suffix(':')) {
            path = found;
        } else if let Some(name) = line.strip_prefix("      operationId: ") {
            operations.push((format!("/{path}"), name.trim_matches('"').to_owned()));
        }
    }
    operations
}

#[test]
fn operations_are_told_by_path_and_name() {
    let text = "paths:\n  /a/{id}:\n    get:\n      operationId: \"AList\"\n    post:\n      operationId: \"AMake\"\n\
                \x20 /b:\n    get:\n      operationId: \"B\"\n";
    let expected = [("/a/{id}", "AList"), ("/a/{id}", "AMake"), ("/b", "B")];
    assert_eq!(
        parse(text),
        expected.map(|(path, name)| (path.to_owned(), name.to_owned()))
    );
}
