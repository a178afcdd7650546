//! An earlier `conex-shim`, from which and to which the tests upgrade.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::build::{host_target, place, small_programs};
use crate::run::{Outcome, root, run};

/// Where it comes from: the commit of the last release, or, as there is none yet, the first one whose monitors can execute
/// another program. It has to speak the version of the protocol before the present one, or the present one.
const COMMIT: &str = "3345b670a9d71cc25e57050b60f3cd857956e04c";

fn dir() -> PathBuf {
    root().join("target/previous")
}

/// Builds `target/previous/conex-shim` where it is not there yet. A clone without the commit is completed.
pub(crate) fn build() -> Outcome {
    let (built_from, source) = (dir().join("commit"), dir().join("source"));
    if fs::read_to_string(&built_from).is_ok_and(|commit| commit == COMMIT) {
        return Ok(());
    }
    if source.exists() {
        fs::remove_dir_all(&source).map_err(|error| format!("remove {}: {error}", source.display()))?;
    }
    fs::create_dir_all(&source).map_err(|error| format!("create {}: {error}", source.display()))?;
    let archive = dir().join("source.tar");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(root()).args(arguments);
        git
    };
    if run(&mut git(&["cat-file", "-e", COMMIT])).is_err() {
        // A shallow clone.
        run(&mut git(&["fetch", "--quiet", "--unshallow"]))
            .map_err(|error| format!("{error}; the commit {COMMIT} is needed"))?;
    }
    run(git(&["archive", "--output"]).arg(&archive).arg(COMMIT))?;
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&source))?;
    fs::remove_file(&archive).map_err(|error| format!("remove {}: {error}", archive.display()))?;
    let target = host_target()?;
    // In a directory of its own: in ours cargo would take the earlier crates for the present ones, whose names are the same.
    let built = dir().join("target");
    run(small_programs(&["conex-shim"], &target)
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", &built))?;
    let shim = built.join(target).join("release/conex-shim");
    place(&shim, &dir().join("conex-shim"))?;
    fs::write(&built_from, COMMIT).map_err(|error| format!("write {}: {error}", built_from.display()))
}
