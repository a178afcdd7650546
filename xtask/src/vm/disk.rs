//! The disk of a machine: its base, the tests, and what they look for.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::base::{inside, libraries};
use super::files::{copy, create, entries, name, remove, write};
use super::flavours::{Flavour, Test};
use super::machine::{Kernel, VERDICT};
use crate::build;
use crate::run::{Outcome, cargo, output, root, run};

/// Makes the disk.
pub(super) fn disk(dir: &Path, kernel: &Kernel, flavour: &Flavour, tests: &[Test]) -> Outcome<PathBuf> {
    let tree = dir.join("root");
    remove(&tree)?;
    flavour.base.fill(dir, &tree)?;
    let commands = programs(&tree, tests)?;
    write(&tree.join("tests/run"), &script(flavour, &commands), 0o755)?;
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

/// Puts the test programs into /tests, and Conex's where it was built; returns the commands that run them.
fn programs(tree: &Path, tests: &[Test]) -> Outcome<String> {
    let built = test_programs()?;
    let mut commands = String::new();
    for (test, arguments) in tests {
        let program = built
            .iter()
            .find(|program| name(program).rsplit_once('-').is_some_and(|(stem, _)| stem == *test))
            .ok_or_else(|| format!("the test program {test} was not built"))?;
        libraries(tree, program)?;
        copy(program, &tree.join("tests").join(test))?;
        commands.push_str(&format!(
            "/tests/{test} --test-threads=1 {} || failed=\"$failed {test}\"\n",
            arguments.join(" ")
        ));
    }
    for program in entries(&build::dist())? {
        libraries(tree, &program)?;
        copy(&program, &inside(tree, &program))?;
    }
    create(&inside(tree, &root().join("tests")))?;
    Ok(commands)
}

fn script(flavour: &Flavour, commands: &str) -> String {
    format!(
        "#!/bin/sh\n\
         export PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/root TERM=dumb CONEX_TEST_PATIENCE=30 CONEX_CRASH_ROUNDS=15\n\
         {}\
         uname -r\n\
         failed=\n\
         {commands}\
         if [ -z \"$failed\" ]; then echo '{VERDICT} passed'; else echo \"{VERDICT} failed:$failed\"; fi\n\
         {}\n",
        flavour.base.preparation(),
        flavour.base.power_off(),
    )
}

/// The test programs of `conex-tests`, built.
fn test_programs() -> Outcome<Vec<PathBuf>> {
    let messages = output(cargo().args([
        "test",
        "--release",
        "--locked",
        "-p",
        "conex-tests",
        "--no-run",
        "--message-format=json",
    ]))?;
    let key = "\"executable\":\"";
    Ok(messages
        .lines()
        .filter_map(|line| line.split_once(key))
        .filter_map(|(_, rest)| rest.split_once('"'))
        .map(|(path, _)| PathBuf::from(path))
        .collect())
}
