//! `conexd`: the daemon. It reads flags and `daemon.json`, opens its sockets, restores what ran, and serves.
//!
//! Installed as `dockerd` it takes the same flags and listens on Docker's socket by default.

mod config_file;
mod options;
mod sockets;
mod start;

use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    match start::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to start daemon: {error:#}");
            ExitCode::FAILURE
        }
    }
}
