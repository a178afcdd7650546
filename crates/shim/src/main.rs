//! `conex-shim`: the only program that makes containers.
//!
//! `conex-shim template` is started by the daemon with a `SOCK_SEQPACKET` socket as standard input. It forks one
//! monitor per container, without exec; a monitor outlives template and daemon.

mod monitor;
mod template;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("template"), None) => match template::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("conex-shim: {error}");
                ExitCode::FAILURE
            }
        },
        (Some(monitor::PACK), Some(path)) => match conex_log::pack(Path::new(&path)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("conex-shim: compress {path}: {error}");
                ExitCode::FAILURE
            }
        },
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
