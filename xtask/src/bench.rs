//! The figures of `SPECIFICATION.md`, on a file system as servers have it: ext4 with a journal.

use std::fs;
use std::process::Command;

use crate::run::{Outcome, cargo, root, run};
use crate::{build, packages, reference};

/// Measures what is named, or everything.
pub(crate) fn bench(names: &[String]) -> Outcome {
    let (runtimes, engines): (Vec<_>, Vec<_>) = names.iter().partition(|name| *name == "runtimes");
    if !runtimes.is_empty() || names.is_empty() {
        bench_runtimes()?;
    }
    if engines.is_empty() && !names.is_empty() {
        return Ok(());
    }
    bench_engines(&engines)
}

/// The OCI runtime beside others.
fn bench_runtimes() -> Outcome {
    packages::install(&packages::REGISTRY)?;
    packages::install(&packages::PEERS)?;
    packages::install(&packages::TEST)?;
    build::build()?;
    run(cargo().args(["bench", "--locked", "-p", "conex-runtime", "--bench", "runtimes"]))
}

/// The engine beside the reference.
fn bench_engines(names: &[&String]) -> Outcome {
    reference::install()?;
    packages::install(&packages::FILE_SYSTEM)?;
    packages::install(&packages::FLOOR)?;
    build::build()?;
    let reference = reference::fetch()?;
    let (image, mounted) = (root().join("target/bench.img"), root().join("target/bench"));
    fs::create_dir_all(&mounted).map_err(|error| format!("create {}: {error}", mounted.display()))?;
    run(Command::new("truncate").arg("--size=20G").arg(&image))?;
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted))?;
    let measured = run(cargo()
        .args(["bench", "--locked", "-p", "conex-tests", "--bench", "engines", "--"])
        .args(names)
        .env("TMPDIR", &mounted)
        .env("CONEX_TEST_PATIENCE", "60")
        .env("CONEX_TEST_REFERENCE", &reference)
        .env("PATH", reference::path_with(&reference)));
    let unmounted = run(Command::new("umount").arg("--recursive").arg(&mounted));
    let removed = fs::remove_file(&image).map_err(|error| format!("remove {}: {error}", image.display()));
    measured.and(unmounted).and(removed)
}
