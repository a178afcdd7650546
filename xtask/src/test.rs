//! Everything that is checked, in the order of what fails fastest.

use std::path::Path;
use std::process::Command;

use crate::run::{Outcome, cargo, output, run};
use crate::{build, packages, previous, unstable, vm};

/// Seconds that each target of the fuzzers gets.
const FUZZING: &str = "60";

/// Installs what the tests need and runs them all.
pub(crate) fn test() -> Outcome {
    packages::install(&packages::RUN)?;
    packages::install(&packages::REGISTRY)?;
    packages::install(&packages::PEERS)?;
    packages::install(&packages::TEST)?;
    packages::install(&packages::FILE_SYSTEM)?;
    packages::install_docker_client()?;
    // Where the tests look for it.
    unstable::fetch("compose", &["docker-compose"])?;
    packages::unpack("receivers", &packages::RECEIVERS)?;
    run(cargo().args(["fmt", "--all", "--check"]))?;
    // No target of a package: its build script compiles it.
    run(Command::new("rustfmt").args(["--edition", "2024", "--check", "crates/sys/init/main.rs"]))?;
    for small in ["conex-shim", "conex-runtime"] {
        let tree = output(cargo().args(["tree", "--locked", "-p", small, "-e", "normal"]))?;
        if tree.contains("tokio") {
            return Err(format!("tokio is in the tree of {small}"));
        }
    }
    run(cargo().args([
        "clippy",
        "--release",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    previous::build()?;
    build::build()?;
    let mut test = cargo();
    test.args(["test", "--release", "--locked", "--workspace"]);
    run(test.env("CONEX_FUZZ_SECONDS", FUZZING))?;
    if Path::new("/sys/fs/cgroup/memory").exists() {
        let of_version_1 = ["--test", "kernel", "--", "--ignored"];
        run(cargo()
            .args(["test", "--release", "--locked", "-p", "conex-cgroup"])
            .args(of_version_1))?;
    }
    vm::all(vm::Extent::Small)
}
