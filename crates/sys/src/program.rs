//! Programs of the host that are given a text.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

/// Runs a program with a text on its standard input, in the language of the C locale; what it writes to standard error is kept.
///
/// # Errors
/// It cannot be started or waited for.
pub fn feed(command: &mut Command, text: &str) -> io::Result<Output> {
    let mut child = command
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

/// What a program said, in one line.
#[must_use]
pub fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")
}
