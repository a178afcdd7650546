//! Handing a ruleset to nft(8).

use std::io;
use std::process::Command;

use conex_network::nft;
use conex_sys::program;

use crate::error::{DriverError, Result};

const PROGRAM: &str = "nft";

/// Where it is looked for after `PATH`, which for a service may lack it.
const USUAL_PATH: &str = "/usr/sbin/nft";

/// Applies a text in one transaction: all of it or nothing.
pub(crate) fn apply(text: &str) -> Result<()> {
    let run = |program: &str| program::feed(Command::new(program).args(["-f", "-"]), text);
    let run = match run(PROGRAM) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => run(USUAL_PATH),
        result => result,
    };
    let output = run.map_err(|source| DriverError::Program {
        program: PROGRAM,
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let message = program::message(&output);
    Err(DriverError::Ruleset {
        table: nft::TABLE,
        message,
    })
}
