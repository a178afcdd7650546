//! Running programs.

use std::path::PathBuf;
use std::process::Command;

/// A command's outcome in words.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Runs a command and says what failed.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let words = format!("{command:?}");
    eprintln!("+ {words}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{words}: {status}")),
        Err(error) => Err(format!("{words}: {error}")),
    }
}

/// Runs a command and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let words = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{words}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{words}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The project's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Cargo, as it was called.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}
