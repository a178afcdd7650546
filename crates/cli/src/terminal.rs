//! The terminal that the command was typed at.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Rows and columns.
pub(crate) type Size = (u16, u16);

/// Standard input is a terminal whose keys go to the container one by one; as it was before when dropped.
pub(crate) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Sets standard input raw; `None` where it is no terminal.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The terminal may be gone; there is nobody to tell.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.before);
    }
}

/// Size of the terminal at standard output, or else at standard input.
pub(crate) fn size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout().as_fd())
        .or_else(|_| tcgetwinsize(io::stdin().as_fd()))
        .ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Refuses a terminal for a container where input comes from something else: keys could not be told from data.
pub(crate) fn check_input(tty: bool, input: bool) -> Result<(), crate::failure::Failure> {
    if tty && input && !io::stdin().is_terminal() {
        return Err(crate::failure::Failure::new(1, "the input device is not a TTY"));
    }
    Ok(())
}
