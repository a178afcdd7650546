//! Why a process could not be started, in words that clients match on.

use std::io;

use conex_spec::plan::Step;

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The program was not found (exit code 127).
    NotFound,
    /// The program may not be executed, or is a directory (exit code 126).
    NotExecutable,
    /// The user or group is not in the container's files.
    NoSuchUser,
    /// The working directory is unusable.
    WorkingDirectory,
    /// The kernel refused a limit.
    Limit,
    /// Anything else.
    Other,
}

/// A start that failed; everything that it made has been undone.
#[derive(Debug)]
pub struct StartError {
    /// What kind.
    pub reason: Reason,
    /// Number of the error (errno(3)), 0 where none applies.
    pub errno: i32,
    /// What failed on what, and why.
    pub message: String,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// A failure of the parent's own work.
    pub(crate) fn of_parent(operation: &str, error: &io::Error) -> Self {
        Self {
            reason: Reason::Other,
            errno: error.raw_os_error().unwrap_or(0),
            message: format!("{operation}: {}", conex_sys::words(error)),
        }
    }

    /// A failure of a step in the child.
    pub(crate) fn of_step(step: Option<&Step>, errno: i32, detail: &str) -> Self {
        let (reason, message) = match step {
            Some(Step::Execute { argv, .. }) => program(argv.first().map_or("", String::as_str), errno),
            Some(Step::FindProgram { program: name, .. }) => program(name, errno),
            Some(Step::User(_)) => (Reason::NoSuchUser, detail.to_owned()),
            Some(Step::WorkingDirectory { path, .. }) => (
                Reason::WorkingDirectory,
                format!(
                    "chdir to cwd (\"{}\") set in config.json failed: {}",
                    path.display(),
                    text_of(errno)
                ),
            ),
            // What a hook says is no errno's.
            Some(Step::Hooks { .. }) => (Reason::Other, detail.to_owned()),
            _ => (Reason::Other, format!("{detail}: {}", text_of(errno))),
        };
        Self { reason, errno, message }
    }
}

fn program(name: &str, errno: i32) -> (Reason, String) {
    let not_found = errno == rustix::io::Errno::NOENT.raw_os_error();
    let message = match (not_found, name.contains('/')) {
        (true, false) => format!("exec: \"{name}\": executable file not found in $PATH"),
        (true, true) => format!("exec: \"{name}\": stat {name}: no such file or directory"),
        (false, _) => format!("exec: \"{name}\": {}", text_of(errno)),
    };
    (
        if not_found {
            Reason::NotFound
        } else {
            Reason::NotExecutable
        },
        message,
    )
}

fn text_of(errno: i32) -> String {
    conex_sys::words(&io::Error::from_raw_os_error(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execute(name: &str) -> Step {
        Step::Execute {
            argv: vec![name.into()],
            env: vec![],
        }
    }

    #[test]
    fn a_missing_program_is_worded_as_clients_expect() {
        let error = StartError::of_step(Some(&execute("nosuch")), 2, "");
        assert_eq!(error.reason, Reason::NotFound);
        assert_eq!(error.message, "exec: \"nosuch\": executable file not found in $PATH");
        let error = StartError::of_step(Some(&execute("/no/such")), 2, "");
        assert_eq!(
            error.message,
            "exec: \"/no/such\": stat /no/such: no such file or directory"
        );
    }

    #[test]
    fn a_directory_cannot_be_executed() {
        let error = StartError::of_step(Some(&execute("/etc")), 13, "");
        assert_eq!(
            (error.reason, error.message.as_str()),
            (Reason::NotExecutable, "exec: \"/etc\": permission denied")
        );
    }
}
