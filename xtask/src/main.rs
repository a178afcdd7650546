//! The project's own commands: `cargo xtask build | quickstart | test | previous | vm [--small] [MACHINE...] | reference |
//! suites [NAME...] | bench [NAME...] | push-large-image REGISTRY`.
//!
//! They do all the set-up on a fresh Debian machine with Rust and root. Standard library only, so that they start fast.

mod bench;
mod build;
mod image;
mod packages;
mod previous;
mod quickstart;
mod reference;
mod run;
mod suites;
mod test;
mod unstable;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let outcome = match command.as_deref() {
        Some("build") => build::build(),
        Some("previous") => previous::build(),
        Some("quickstart") => quickstart::quickstart(),
        Some("test") => test::test(),
        Some("vm") => vm::vm(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("reference") => reference::reference(),
        Some("suites") => suites::suites(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("bench") => bench::bench(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("push-large-image") => match std::env::args().nth(2) {
            Some(registry) => image::push_large(&registry),
            None => Err("the registry is missing: cargo xtask push-large-image 127.0.0.1:5000".into()),
        },
        _ => {
            eprintln!(
                "usage: cargo xtask build | quickstart | test | previous | vm [--small] [MACHINE...] | reference | suites [NAME...] | \
                 bench [NAME...] | push-large-image REGISTRY"
            );
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
