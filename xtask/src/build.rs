//! The four programs, side by side in `target/dist`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::run::{Outcome, cargo, output, root, run};

/// Where the programs are.
pub(crate) fn dist() -> PathBuf {
    root().join("target/dist")
}

/// Builds them.
pub(crate) fn build() -> Outcome {
    let mut daemon = cargo();
    daemon.args(["build", "--release", "--locked", "-p", "conex-daemon"]);
    run(daemon.envs(origin()))?;
    run(&mut client())?;
    let target = host_target()?;
    run(&mut small_programs(&["conex-shim", "conex-runtime"], &target))?;
    fs::create_dir_all(dist()).map_err(|error| format!("create {}: {error}", dist().display()))?;
    let target_dir = root().join("target");
    for (dir, name) in [
        (target_dir.join("release"), "conexd"),
        (target_dir.join("release"), "conex"),
        (target_dir.join(&target).join("release"), "conex-shim"),
        (target_dir.join(&target).join("release"), "conex-runtime"),
    ] {
        place(&dir.join(name), &dist().join(name))?;
    }
    Ok(())
}

/// Cargo, to build the client. It is linked statically: to find libraries and their symbols takes a fifth of what a command
/// costs. Only its own crate is told so, since what it is made of is the same either way.
fn client() -> Command {
    let mut client = cargo();
    client.args(["rustc", "--release", "--locked", "-p", "conex-cli", "--bin", "conex"]);
    client.args(["--", "-C", "target-feature=+crt-static"]);
    client
}

/// Cargo, to build what runs in containers' vicinity. It is linked statically: it must not depend on files of the host.
pub(crate) fn small_programs(packages: &[&str], target: &str) -> Command {
    let mut small = cargo();
    small.args(["build", "--release", "--locked", "--target", target]);
    small.args(packages.iter().flat_map(|package| ["-p", package]));
    small.env("RUSTFLAGS", "-C target-feature=+crt-static");
    small
}

/// Builds the runtime whose guards can be switched off, as the tests of escapes build it and where they do.
pub(crate) fn without_guards() -> Outcome<PathBuf> {
    let (target, dir) = (host_target()?, root().join("target/without-guards"));
    let mut runtime = cargo();
    runtime.args(["build", "--quiet", "--locked", "-p", "conex-runtime"]);
    runtime.args(["--features", "without-guards", "--target", &target, "--target-dir"]);
    runtime.arg(&dir);
    runtime.env("RUSTFLAGS", "-C target-feature=+crt-static");
    run(runtime.env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    Ok(dir.join(target).join("debug/conex-runtime"))
}

/// What is built: the commit, and its time in the place of that of the build, which is not the same twice. Nothing outside a
/// repository.
fn origin() -> Vec<(&'static str, String)> {
    let git = |format: &str| {
        let mut git = Command::new("git");
        let show = git
            .current_dir(root())
            .args(["show", "--no-patch", "--date=iso-strict"]);
        output(show.arg(format!("--format={format}"))).ok()
    };
    let variables = [("CONEX_BUILD_COMMIT", "%H"), ("CONEX_BUILD_TIME", "%cd")];
    let told = variables
        .into_iter()
        .filter_map(|(name, format)| Some((name, git(format)?)));
    told.map(|(name, value)| (name, value.trim().to_owned())).collect()
}

/// Replaces a program by rename: one that runs keeps its own file.
pub(crate) fn place(from: &std::path::Path, to: &std::path::Path) -> Outcome {
    let new = to.with_extension("new");
    fs::copy(from, &new).map_err(|error| format!("copy {}: {error}", from.display()))?;
    fs::rename(&new, to).map_err(|error| format!("rename to {}: {error}", to.display()))
}

pub(crate) fn host_target() -> Outcome<String> {
    let text = output(Command::new("rustc").arg("-vV"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host".to_owned())
}
