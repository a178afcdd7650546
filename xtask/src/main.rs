//! The project's own commands: `cargo xtask build | quickstart | test`.
//!
//! They do all the set-up on a fresh Debian machine with Rust and root. Standard library only, so that they start fast.

mod build;
mod image;
mod packages;
mod quickstart;
mod run;
mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let outcome = match command.as_deref() {
        Some("build") => build::build(),
        Some("quickstart") => quickstart::quickstart(),
        Some("test") => test::test(),
        _ => {
            eprintln!("usage: cargo xtask build | quickstart | test");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
