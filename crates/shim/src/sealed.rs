//! The sealed copy in memory that the program runs from: a container that breaks out cannot overwrite the host's file, and
//! an upgrade on disk does not disturb.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use conex_sys::memfd;
use conex_sys::process::{self, ExecStrings};
use rustix::fs::{CWD, Mode, OFlags};

/// Set once the program runs from its sealed copy, to what tells it from any other: a digest of its bytes.
const VARIABLE: &str = "CONEX_SHIM_SEALED";

/// Which program this is, where it runs from a sealed copy.
pub(crate) fn build() -> Option<String> {
    env::var(VARIABLE).ok()
}

/// The copy that this program runs from.
pub(crate) fn program() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, "/proc/self/exe", flags, Mode::empty())?)
}

/// The environment of a program that runs from a sealed copy.
pub(crate) fn environment(build: &str) -> Vec<(String, String)> {
    env::vars()
        .filter(|(name, _)| name != VARIABLE)
        .chain([(VARIABLE.to_owned(), build.to_owned())])
        .collect()
}

/// Runs the program from a sealed copy of itself, with these arguments; returns only the error.
pub(crate) fn reexecute(arguments: &[&str]) -> io::Error {
    let attempt = || -> io::Result<io::Error> {
        let bytes = fs::read("/proc/self/exe")?;
        let copy = memfd::sealed("conex-shim", &bytes)?;
        let mut digest = DefaultHasher::new();
        digest.write(&bytes);
        let environment = environment(&format!("{:016x}", digest.finish()));
        execute(&copy, arguments, &environment)
    };
    attempt().unwrap_or_else(|error| error)
}

/// Executes the program in this copy; returns only the error.
pub(crate) fn execute(copy: &OwnedFd, arguments: &[&str], environment: &[(String, String)]) -> io::Result<io::Error> {
    let words = ["conex-shim"].iter().chain(arguments);
    let argv: Vec<String> = words.map(|word| (*word).to_owned()).collect();
    let variables = environment.iter().map(|(name, value)| format!("{name}={value}"));
    let env: Vec<String> = variables.collect();
    Ok(process::execute_fd(
        copy.as_fd(),
        &ExecStrings::new(&argv)?,
        &ExecStrings::new(&env)?,
    ))
}
