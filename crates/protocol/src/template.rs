//! The template's side: it greets once, then forks as often as it is asked to, and remembers nothing of it.
//!
//! ```text
//!   Strange --Hello--> Greeted --Fork{request}--> Greeted      a fork each
//!      |                  |
//!      +--anything else---+--Hello of a version that is not spoken--> the template ends
//! ```

use crate::message::{FromTemplate, Request, ToTemplate, VERSION};

/// What the template knows of its daemon.
#[derive(Debug, Default)]
pub struct Template {
    greeted: bool,
}

/// What the template does about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send the greeting with its own pid.
    Greet,
    /// Fork a monitor, and answer by [`forked`].
    Fork {
        /// The request.
        request: Request,
    },
    /// Answer without forking.
    Answer(FromTemplate),
    /// End: the daemon speaks another language.
    End,
}

impl Template {
    /// Decides about a message that came with `fds` descriptors.
    pub fn on(&mut self, message: &ToTemplate, fds: usize) -> Action {
        match *message {
            ToTemplate::Hello { version } if version.abs_diff(VERSION) <= 1 => {
                self.greeted = true;
                Action::Greet
            }
            ToTemplate::Hello { .. } => Action::End,
            ToTemplate::Fork { .. } if !self.greeted => Action::End,
            ToTemplate::Fork { request } if fds < 3 => Action::Answer(FromTemplate::ForkFailed {
                request,
                message: "a fork needs an order, a channel and a directory".to_owned(),
            }),
            ToTemplate::Fork { request } => Action::Fork { request },
        }
    }
}

/// The answer to a fork: the monitor's pid, or why there is none.
pub fn forked(request: Request, outcome: Result<i32, String>) -> FromTemplate {
    match outcome {
        Ok(pid) => FromTemplate::Forked { request, pid },
        Err(message) => FromTemplate::ForkFailed { request, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_needs_a_greeting_and_its_descriptors() {
        let mut template = Template::default();
        assert_eq!(template.on(&ToTemplate::Fork { request: 1 }, 3), Action::End);
        assert_eq!(template.on(&ToTemplate::Hello { version: VERSION }, 0), Action::Greet);
        assert_eq!(
            template.on(&ToTemplate::Fork { request: 1 }, 3),
            Action::Fork { request: 1 }
        );
        assert!(matches!(
            template.on(&ToTemplate::Fork { request: 2 }, 2),
            Action::Answer(FromTemplate::ForkFailed { request: 2, .. })
        ));
    }

    #[test]
    fn the_next_version_is_spoken_and_the_one_after_is_not() {
        let mut template = Template::default();
        assert_eq!(template.on(&ToTemplate::Hello { version: VERSION + 2 }, 0), Action::End);
        assert_eq!(
            template.on(&ToTemplate::Hello { version: VERSION + 1 }, 0),
            Action::Greet
        );
    }
}
