//! bollard's own tests, which are in its crate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{dir, empty};
use crate::run::{Outcome, cargo, output, run};

/// The release that speaks the reference's version of the API.
const VERSION: &str = "0.19.4";

/// Fetches the crate and builds its tests.
pub(crate) fn fetch() -> Outcome {
    let unpacked = dir().join("bollard");
    let version = dir().join("bollard.version");
    if fs::read_to_string(&version).is_ok_and(|there| there == VERSION) {
        return build(&unpacked);
    }
    let source = download()?;
    empty(&unpacked)?;
    run(Command::new("cp")
        .args(["--recursive", "--no-target-directory"])
        .arg(&source)
        .arg(&unpacked))?;
    // It lies below our own workspace and belongs to none.
    let manifest = unpacked.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| format!("read {}: {error}", manifest.display()))?;
    write(&manifest, &format!("{text}\n[workspace]\n"))?;
    build(&unpacked)?;
    write(&version, VERSION)
}

fn build(unpacked: &Path) -> Outcome {
    run(cargo()
        .current_dir(unpacked)
        .args(["test", "--locked", "--tests", "--no-run", "--target-dir"])
        .arg(dir().join("bollard-target")))
}

/// A project that depends on the crate makes cargo fetch it; where it lies is told by the metadata.
fn download() -> Outcome<PathBuf> {
    let scratch = dir().join("bollard-scratch");
    empty(&scratch.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"scratch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [dependencies]\nbollard = \"={VERSION}\"\n[workspace]\n"
    );
    write(&scratch.join("Cargo.toml"), &manifest)?;
    write(&scratch.join("src/lib.rs"), "")?;
    let metadata = output(
        cargo()
            .current_dir(&scratch)
            .args(["metadata", "--format-version", "1"]),
    )?;
    let end = format!("/bollard-{VERSION}/Cargo.toml");
    let mut strings = metadata.split('"');
    let found = strings.find(|text| text.ends_with(&end));
    let found = found.ok_or_else(|| format!("cargo metadata names no {end}"))?;
    Ok(PathBuf::from(found.trim_end_matches("/Cargo.toml")))
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))
}
