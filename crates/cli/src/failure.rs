//! How a command ends that does not succeed.

use std::io;

/// Exit code and words of a command that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Of the process.
    pub(crate) code: i32,
    /// For standard error; empty where all is said.
    pub(crate) message: String,
}

impl Failure {
    /// As it is.
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// An effect on this machine that did not work.
    pub(crate) fn local(what: &str, error: &io::Error) -> Self {
        Self::new(1, format!("{what}: {error}"))
    }

    /// What `run` and `start` say of a container that could not be run. The words of the daemon decide the code, as they
    /// do for Docker's command line: there is no field for it.
    pub(crate) fn of_run(error: &conex_client::Error) -> Self {
        let message = error.to_string();
        Self::new(
            code_of_run(&message),
            format!("conex: {message}\n\nRun 'conex run --help' for more information"),
        )
    }
}

fn code_of_run(message: &str) -> i32 {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["executable file not found", "no such file or directory"]) {
        127
    } else if says(&["permission denied", "is a directory"]) {
        126
    } else {
        125
    }
}

impl From<conex_client::Error> for Failure {
    fn from(error: conex_client::Error) -> Self {
        Self::new(1, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_words_decide_the_exit_code_of_run() {
        assert_eq!(
            code_of_run(r#"exec: "x": executable file not found in $PATH: unknown"#),
            127
        );
        assert_eq!(code_of_run(r#"exec: "/etc": permission denied: unknown"#), 126);
        assert_eq!(code_of_run("Conflict. The container name is already in use"), 125);
    }
}
