//! `conex-shim`: the only program that makes containers.
//!
//! `conex-shim template` is started by the daemon with a `SOCK_SEQPACKET` socket as standard input. It forks one
//! monitor per container, without exec; a monitor outlives template and daemon.

mod monitor;
mod sealed;
mod template;

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("template"), None) => done(template::run()),
        (Some(monitor::TAKE_OVER), Some(handover)) => {
            done(monitor::take_over(&handover, sealed::build().unwrap_or_default()))
        }
        (Some(monitor::TRY), Some(handover)) => done(monitor::try_to_take_over(
            &handover,
            sealed::build().unwrap_or_default(),
        )),
        (Some(monitor::PACK), Some(path)) => {
            let packed = conex_log::pack(Path::new(&path));
            done(packed.map_err(|error| format!("compress {path}: {error}")))
        }
        // Started by the daemon, which maps ids and takes the namespaces.
        (Some("namespaces"), user) => {
            let made = conex_sys::userns::unshare_and_wait(user.as_deref().map(Path::new));
            done(made.map_err(|error| format!("make a user namespace: {error}")))
        }
        (Some("--version"), None) => {
            println!("conex-shim {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: conex-shim template    (started by conexd)");
            ExitCode::from(2)
        }
    }
}

fn done(outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conex-shim: {error}");
            ExitCode::FAILURE
        }
    }
}
