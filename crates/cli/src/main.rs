//! `conex`: the verbs and flags of `docker`, over the Engine API's socket and nothing else.
//!
//! Where no daemon is named and none answers at the default socket, one is started ([`embedded`]). Exit codes are
//! Docker's: the container's own for `run` and `exec`; 125 where the daemon or the command line is at fault, 126 and 127
//! where the container's program cannot be run or found; 1 for other commands.

mod commands;
mod credentials;
mod embedded;
mod failure;
mod format;
mod options;
mod progress;
mod session;
mod signals;
mod table;
mod terminal;
mod units;

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind;

use crate::failure::Failure;
use crate::options::Options;

/// What a command line that is not understood ends with.
const USAGE: i32 = 125;

fn main() {
    let code = match Options::try_parse() {
        Ok(options) => run(options),
        Err(error) => {
            // Nothing is left to say where the terminal is gone.
            let _ = error.print();
            let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if help { 0 } else { USAGE }
        }
    };
    // Not by returning: a thread may still wait for a key.
    std::process::exit(code);
}

fn run(options: Options) -> i32 {
    let program = std::env::args_os().next().unwrap_or_else(|| OsString::from("conex"));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::new(USAGE, format!("start the event loop: {error}"))),
    };
    let endpoint = match embedded::endpoint(options.host.as_deref(), |name| std::env::var(name).ok()) {
        Ok(endpoint) => endpoint,
        Err(error) => return report(&Failure::new(USAGE, error.to_string())),
    };
    if let Err(error) = embedded::ensure_daemon(&endpoint, &program) {
        return report(&Failure::new(options.command.daemon_failure_code(), error.to_string()));
    }
    let client = conex_client::Client::new(endpoint.into_inner());
    match runtime.block_on(options.command.run(&client)) {
        Ok(code) => code,
        Err(failure) => report(&failure),
    }
}

fn report(failure: &Failure) -> i32 {
    if !failure.message.is_empty() {
        eprintln!("{}", failure.message);
    }
    failure.code
}
