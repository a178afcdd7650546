//! Suites of foreign clients: fetched, and run on Docker's own engine and on ours.

mod bollard;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, cargo, root, run};
use crate::{build, packages, reference, unstable};

/// What the suites need of the machine besides what tests need: their images are made of these programs.
const NEEDED: [(&str, &str); 2] = [
    ("/usr/share/doc/python3-venv", "python3-venv"),
    ("/usr/bin/ldd", "libc-bin"),
];

/// Runs the suites whose name begins with one of these, or all of them.
pub(crate) fn suites(names: &[String]) -> Outcome {
    packages::install(&packages::RUN)?;
    packages::install(&packages::REGISTRY)?;
    packages::install(&packages::TEST)?;
    packages::install(&reference::NEEDED)?;
    packages::install(&NEEDED)?;
    packages::install_docker_client()?;
    let reference = reference::fetch()?;
    // The sources of the reference, which have the description of its API.
    unstable::fetch("description", &["golang-github-docker-docker-dev"])?;
    fetch_python()?;
    bollard::fetch()?;
    build::build()?;
    run(cargo()
        .args(["test", "--release", "--locked", "--no-fail-fast", "-p", "conex-tests"])
        .args(["--test", "suites", "--", "--ignored", "--nocapture", "--test-threads=1"])
        .args(names)
        .env("CONEX_TEST_REFERENCE", &reference)
        .env("CONEX_TEST_PATIENCE", "60")
        .env("PATH", reference::path_with(&reference)))
}

fn dir() -> PathBuf {
    root().join("target/suites")
}

/// What comes from PyPI, in an environment of its own: the clients, pytest, and aiodocker's tests, which only its source
/// distribution has.
fn fetch_python() -> Outcome {
    let wanted = root().join("tests/tests/suites/requirements.txt");
    let there = dir().join("requirements.txt");
    if same(&wanted, &there) {
        return Ok(());
    }
    let environment = dir().join("venv");
    run(Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--clear"])
        .arg(&environment))?;
    let pip = || Command::new(environment.join("bin/pip"));
    run(pip()
        .args(["install", "--quiet", "--no-deps", "--requirement"])
        .arg(&wanted))?;
    let sources = dir().join("sources");
    empty(&sources)?;
    run(pip()
        .args([
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            "aiodocker",
            "--constraint",
        ])
        .arg(&wanted)
        .arg("--dest")
        .arg(&sources)
        .arg("aiodocker"))?;
    let unpacked = dir().join("aiodocker");
    empty(&unpacked)?;
    let archives = fs::read_dir(&sources).map_err(|error| format!("read {}: {error}", sources.display()))?;
    for archive in archives.flatten() {
        run(Command::new("tar")
            .args(["--extract", "--strip-components=1", "--file"])
            .arg(archive.path())
            .arg("--directory")
            .arg(&unpacked))?;
    }
    fs::copy(&wanted, &there).map_err(|error| format!("write {}: {error}", there.display()))?;
    Ok(())
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((fs::read(one), fs::read(other)), (Ok(one), Ok(other)) if one == other)
}

/// A directory with nothing in it.
fn empty(path: &Path) -> Outcome {
    let made = fs::remove_dir_all(path)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .and_then(|()| fs::create_dir_all(path));
    made.map_err(|error| format!("empty {}: {error}", path.display()))
}
