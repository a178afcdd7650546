//! Errors: for people on standard error, for managers in the log file.

use std::fs::OpenOptions;
use std::io::Write;

use crate::arguments::Global;

/// Tells an error with all its causes.
pub(crate) fn fail(global: &Global, error: &anyhow::Error) {
    tell(global, "error", &format!("{error:#}"));
    if global.log.is_some() {
        // Managers read the log, people the terminal.
        eprintln!("conex-runtime: {error:#}");
    }
}

/// Tells something that does not stop the command.
pub(crate) fn warn(global: &Global, message: &str) {
    tell(global, "warning", message);
}

/// Tells which capabilities nobody gets, as there are none of these names.
pub(crate) fn unknown_capabilities(global: &Global, names: &[String]) {
    if !names.is_empty() {
        warn(global, &format!("ignoring unknown capabilities: {}", names.join(", ")));
    }
}

/// Tells what is done, where that is wanted.
pub(crate) fn debug(global: &Global, message: impl FnOnce() -> String) {
    if global.debug {
        tell(global, "debug", &message());
    }
}

fn tell(global: &Global, level: &str, message: &str) {
    let line = if global.json_log {
        let time = jiff::Timestamp::now().to_string();
        serde_json::json!({"level": level, "msg": message, "time": time}).to_string()
    } else {
        format!("conex-runtime: {message}")
    };
    let file = global
        .log
        .as_ref()
        .map(|path| OpenOptions::new().create(true).append(true).open(path));
    match file {
        // A log that cannot be written leaves standard error.
        Some(Ok(file)) if writeln!(&file, "{line}").is_ok() => {}
        _ => eprintln!("{line}"),
    }
}
