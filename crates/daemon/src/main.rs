//! `conexd`: the daemon. It reads flags and `daemon.json`, opens its sockets, restores what ran, and serves.
//!
//! Installed as `dockerd` it takes the same flags and listens on Docker's socket by default.

mod config_file;
mod forward;
mod options;
mod remap;
mod shutdown;
mod sockets;
mod start;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    let settled = conex_sys::signal::settle().context("unblock the signals");
    let run = if options.forward_logs { forward::run } else { start::run };
    match settled.and_then(|()| run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to start daemon: {error:#}");
            ExitCode::FAILURE
        }
    }
}
