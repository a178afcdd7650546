//! The crates' edges are those of the table in `ARCHITECTURE.md`, and the rules about them hold.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

type Edges = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Rows of the form: crate, layer, what, `depends on:` and names in backquotes.
fn table() -> Edges {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let names = cells.get(3)?.strip_prefix("depends on:")?;
        let names = names
            .split(',')
            .map(|name| name.trim().trim_matches('`').to_owned())
            .filter(|name| !name.is_empty());
        Some((cells[0].trim_matches('`').to_owned(), names.collect()))
    };
    text.lines().filter_map(row).collect()
}

fn metadata() -> Edges {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = |name: &serde_json::Value| name.as_str().unwrap().strip_prefix("conex-").map(str::to_owned);
    let packages = value["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| package["name"] != "conex-tests");
    packages
        .filter_map(|package| {
            let dependencies = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|edge| edge["kind"].is_null());
            Some((
                ours(&package["name"])?,
                dependencies.filter_map(|edge| ours(&edge["name"])).collect(),
            ))
        })
        .collect()
}

#[test]
fn every_edge_stands_in_the_table() {
    let (table, found) = (table(), metadata());
    for (name, edges) in &found {
        assert_eq!(table.get(name), Some(edges), "the row of {name}");
    }
    assert_eq!(table.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
}

#[test]
fn nothing_is_built_without_guards_unless_it_is_said() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut have_it = Vec::new();
    for package in value["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let features = &package["features"];
        if features.get("without-guards").is_some() {
            have_it.push(name);
        }
        assert!(features.get("default").is_none(), "{name} has features by default");
        for edge in package["dependencies"].as_array().unwrap() {
            let asked = edge["features"].as_array().unwrap();
            assert!(!asked.iter().any(|feature| feature == "without-guards"), "{name}");
        }
    }
    have_it.sort_unstable();
    assert_eq!(have_it, ["conex-runtime", "conex-sys"]);
}

/// Whether an SPDX expression can be satisfied by licences of a list. `AND` binds closer than `OR`; in the crates of the
/// tree brackets stand around alternatives only.
fn is_satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    let brackets = expression.contains('(');
    let all_of = |text: &str| {
        text.split(" AND ")
            .all(|name| allowed.contains(name.trim_matches(['(', ')', ' '])))
    };
    if brackets {
        let mut groups = expression.split(" AND ");
        groups.all(|group| group.split(" OR ").any(all_of))
    } else {
        expression.split(" OR ").any(all_of)
    }
}

#[test]
fn every_licence_in_the_tree_is_one_of_the_allowed() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let list = deny.split_once("allow = [").unwrap().1.split_once(']').unwrap().0;
    let allowed: BTreeSet<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(is_satisfied("(GPL-3.0 OR MIT) AND Zlib", &allowed) && is_satisfied("GPL-2.0 OR MIT AND ISC", &allowed));
    assert!(!is_satisfied("GPL-3.0", &allowed) && !is_satisfied("MIT AND AGPL-3.0", &allowed));
    assert!(!is_satisfied("(MIT OR ISC) AND GPL-2.0", &allowed));
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = value["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{}", packages.len());
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_satisfied(licence, &allowed), "{}: {licence}", package["name"]);
    }
}

#[test]
fn unsafe_stands_in_sys_alone() {
    fn search(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                search(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && std::fs::read_to_string(&path)
                    .unwrap()
                    .lines()
                    .any(|line| line.contains("unsafe {") || line.contains("unsafe fn"))
            {
                found.push(path);
            }
        }
    }
    for entry in std::fs::read_dir(root().join("crates")).unwrap().flatten() {
        if entry.file_name() != "sys" {
            let mut found = Vec::new();
            search(&entry.path().join("src"), &mut found);
            assert!(found.is_empty(), "{found:?}");
        }
    }
}
