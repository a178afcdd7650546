//! Packages of Debian's unstable suite, from the machine's own mirror: newer clients and the reference engine. They are
//! unpacked below `target` and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, output, root, run};

/// Where packages of this name are, or come to be, unpacked.
pub(crate) fn fetch(name: &str, packages: &[&str]) -> Outcome<PathBuf> {
    let dir = root().join("target").join(name);
    let unpacked = dir.join("root");
    if dir.join("complete").exists() {
        return Ok(unpacked);
    }
    let make = |path: &Path| fs::create_dir_all(path).map_err(|error| format!("create {}: {error}", path.display()));
    for directory in ["lists/partial", "cache/archives/partial", "root"] {
        make(&dir.join(directory))?;
    }
    let targets = output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
    let mirror = targets.lines().next().ok_or("apt knows no mirror")?;
    let sources = dir.join("sources.list");
    // Another suite's signatures need not be known to this machine; nothing of it is installed.
    fs::write(&sources, format!("deb [trusted=yes] {mirror} sid main\n"))
        .map_err(|error| format!("write {}: {error}", sources.display()))?;
    run(apt(&dir, &sources).arg("update"))?;
    run(apt(&dir, &sources).arg("download").args(packages))?;
    let entries = fs::read_dir(&dir).map_err(|error| format!("read {}: {error}", dir.display()))?;
    for entry in entries.flatten().map(|entry| entry.path()) {
        if entry.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&entry).arg(&unpacked))?;
        }
    }
    fs::write(dir.join("complete"), "").map_err(|error| error.to_string())?;
    Ok(unpacked)
}

/// apt-get(8) with lists and a cache of its own.
fn apt(dir: &Path, sources: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    apt.current_dir(dir);
    for (name, path) in [
        ("Dir::Etc::sourcelist", sources),
        ("Dir::Etc::sourceparts", Path::new("/dev/null")),
        ("Dir::State::lists", &dir.join("lists")),
        ("Dir::Cache", &dir.join("cache")),
    ] {
        apt.arg("-o").arg(format!("{name}={}", path.display()));
    }
    apt
}
