//! The disk of a machine: its base, the tests, and what they look for.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::base::{inside, libraries};
use super::files::{copy, create, entries, remove, write};
use super::flavours::{Flavour, Test};
use super::machine::{Kernel, VERDICT};
use crate::run::{Outcome, cargo, output, root, run};
use crate::{build, packages};

/// The tests that need a runtime whose guards can be switched off.
const ESCAPES: &str = "runtime/escapes";

/// Where they find it in the machine.
const WITHOUT_GUARDS: &str = "/tests/conex-runtime-without-guards";

/// Makes the disk.
pub(super) fn disk(dir: &Path, kernel: &Kernel, flavour: &Flavour, tests: &[Test]) -> Outcome<PathBuf> {
    let tree = dir.join("root");
    remove(&tree)?;
    flavour.base.fill(dir, &tree)?;
    let extra = flavour.extra.map_or_else(|| Ok(String::new()), |fill| fill(&tree))?;
    packages::install(flavour.programs)?;
    for (file, _) in flavour.programs {
        installed(&tree, Path::new(file))?;
    }
    let commands = programs(&tree, tests)?;
    write(&tree.join("tests/run"), &script(flavour, &extra, &commands), 0o755)?;
    let modules = tree.join("lib/modules");
    create(&modules)?;
    run(Command::new("cp").arg("-a").arg(&kernel.modules).arg(&modules))?;
    let disk = dir.join("disk");
    remove(&disk)?;
    run(Command::new("/sbin/mkfs.ext4")
        .args(["-q", "-d"])
        .arg(&tree)
        .arg(&disk)
        .arg("2G"))?;
    Ok(disk)
}

/// Puts the test programs into /tests, and Conex's where they were built; returns the commands that run the tests.
fn programs(tree: &Path, tests: &[Test]) -> Outcome<String> {
    let mut commands = String::new();
    let built = test_programs()?;
    for (test, arguments) in tests {
        let source = match test.strip_prefix("runtime/") {
            Some(test) => format!("/crates/runtime/tests/{test}"),
            None => format!("/tests/tests/{test}"),
        };
        // A file, or a folder of several.
        let sources = [source.clone() + ".rs", source + "/main.rs"];
        let (_, program) = built
            .iter()
            .find(|(of, _)| sources.iter().any(|source| of.ends_with(source)))
            .ok_or_else(|| format!("the test program {test} was not built"))?;
        libraries(tree, program)?;
        copy(program, &tree.join("tests").join(test))?;
        commands.push_str(&format!(
            "/tests/{test} --test-threads=1 {} || failed=\"$failed {test}\"\n",
            arguments.join(" ")
        ));
    }
    for program in entries(&build::dist())? {
        installed(tree, &program)?;
    }
    installed(tree, &root().join("target/release/conex-runtime"))?;
    if tests.iter().any(|(test, _)| *test == ESCAPES) {
        copy(&build::without_guards()?, &inside(tree, Path::new(WITHOUT_GUARDS)))?;
    }
    create(&inside(tree, &root().join("tests")))?;
    Ok(commands)
}

/// Copies a program to its own place.
pub(super) fn installed(tree: &Path, program: &Path) -> Outcome {
    libraries(tree, program)?;
    copy(program, &inside(tree, program))
}

fn script(flavour: &Flavour, extra: &str, commands: &str) -> String {
    format!(
        "#!/bin/sh\n\
         export PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/root TERM=dumb\n\
         export CONEX_TEST_PATIENCE=30 CONEX_TEST_SLOWNESS=16 CONEX_CRASH_ROUNDS=15\n\
         export CONEX_RUNTIME_WITHOUT_GUARDS={WITHOUT_GUARDS}\n\
         {}{extra}\
         uname -r\n\
         failed=\n\
         {commands}\
         if [ -z \"$failed\" ]; then echo '{VERDICT} passed'; else echo \"{VERDICT} failed:$failed\"; fi\n\
         {}\n",
        flavour.base.preparation(),
        flavour.base.power_off(),
    )
}

/// All test programs, built, and where their sources are.
fn test_programs() -> Outcome<Vec<(String, PathBuf)>> {
    let mut test = cargo();
    test.args(["test", "--release", "--locked", "--no-run", "--message-format=json"]);
    // As everything is tested: fewer packages have other features, and would be compiled once more.
    let messages = output(test.arg("--workspace"))?;
    let value = |line: &str, key: &str| {
        let (_, rest) = line.split_once(&format!("\"{key}\":\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    Ok(messages
        .lines()
        .filter_map(|line| Some((value(line, "src_path")?, value(line, "executable")?.into())))
        .collect())
}
