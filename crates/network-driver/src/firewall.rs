//! Handing a ruleset to nft(8).

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use conex_network::nft;

use crate::error::{DriverError, Result};

const PROGRAM: &str = "nft";

/// Where it is looked for after `PATH`, which for a service may lack it.
const USUAL_PATH: &str = "/usr/sbin/nft";

/// Applies a text in one transaction: all of it or nothing.
pub(crate) fn apply(text: &str) -> Result<()> {
    let run = match run(PROGRAM, text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => run(USUAL_PATH, text),
        result => result,
    };
    let output = run.map_err(|source| DriverError::Program {
        program: PROGRAM,
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(DriverError::Ruleset {
        table: nft::TABLE,
        message,
    })
}

fn run(program: &str, text: &str) -> io::Result<Output> {
    let mut child = Command::new(program)
        .args(["-f", "-"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // It reads all of its input before it writes a word, so that nothing waits for the other. Where it ends early, its
    // own message says more than the broken pipe.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(text.as_bytes());
    }
    child.wait_with_output()
}
