//! Progress of pulls and loads, redrawn in place on a terminal, line by line elsewhere.

use std::io::{self, IsTerminal, Write};

use conex_api_types::ProgressMessage;
use conex_client::Lines;

use crate::failure::Failure;
use crate::units;

/// Prints a stream of progress to its end; an error in it is the command's.
pub(crate) async fn print(mut lines: Lines<ProgressMessage>, out: &mut dyn Write, tty: bool) -> Result<(), Failure> {
    let mut screen = Screen::default();
    while let Some(message) = lines.next().await? {
        let error = message.error_detail.as_ref().map(|detail| detail.message.clone());
        if let Some(error) = error.or_else(|| message.error.clone()) {
            return Err(Failure::new(1, error));
        }
        let text = if tty { screen.draw(&message) } else { line(&message) };
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| Failure::local("write progress", &error))?;
    }
    Ok(())
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// One line for files and pipes; numbers, which would come by the thousand, are left out.
fn line(message: &ProgressMessage) -> String {
    // For programs; people have been told in another line.
    if message.aux.is_some() {
        return String::new();
    }
    if let Some(text) = &message.stream {
        return text.clone();
    }
    if bar(message).is_some() {
        return String::new();
    }
    let status = message.status.as_deref().unwrap_or_default();
    match &message.id {
        Some(id) => format!("{id}: {status}\n"),
        None => format!("{status}\n"),
    }
}

fn bar(message: &ProgressMessage) -> Option<String> {
    if let Some(bar) = message.progress.as_ref().filter(|bar| !bar.is_empty()) {
        return Some(bar.clone());
    }
    let detail = message.progress_detail?;
    let current = i64::try_from(detail.current.filter(|current| *current > 0)?).unwrap_or(i64::MAX);
    match detail
        .total
        .and_then(|total| i64::try_from(total).ok())
        .filter(|total| *total > 0)
    {
        None => Some(units::bytes(current)),
        Some(total) => {
            let done = usize::try_from(current.min(total).saturating_mul(50) / total).unwrap_or(0);
            let arrow = format!("{}>", "=".repeat(done.saturating_sub(1)));
            Some(format!(
                "[{arrow:<50}]  {}/{}",
                units::bytes(current),
                units::bytes(total)
            ))
        }
    }
}

/// Lines on a terminal, one for each id, that are drawn over.
#[derive(Default)]
struct Screen {
    ids: Vec<String>,
}

impl Screen {
    fn draw(&mut self, message: &ProgressMessage) -> String {
        let Some(id) = message.id.as_ref().filter(|_| message.progress_detail.is_some()) else {
            // What stands on its own ends the block above it.
            self.ids.clear();
            return line(message);
        };
        let status = message.status.as_deref().unwrap_or_default();
        let text = match bar(message) {
            Some(bar) => format!("{id}: {status} {bar}"),
            None => format!("{id}: {status}"),
        };
        match self.ids.iter().position(|known| known == id) {
            None => {
                self.ids.push(id.clone());
                format!("{text}\n")
            }
            Some(position) => {
                let up = self.ids.len() - position;
                format!("\x1b[{up}A\x1b[2K\r{text}\r\x1b[{up}B")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use conex_api_types::ProgressDetail;

    use super::*;

    fn message(id: &str, status: &str, numbers: Option<(u64, u64)>) -> ProgressMessage {
        ProgressMessage {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail {
                current: numbers.map(|numbers| numbers.0),
                total: numbers.map(|numbers| numbers.1),
            }),
            ..ProgressMessage::default()
        }
    }

    #[test]
    fn without_a_terminal_numbers_are_left_out() {
        assert_eq!(line(&message("ab", "Pull complete", None)), "ab: Pull complete\n");
        assert_eq!(line(&message("ab", "Downloading", Some((1, 2)))), "");
    }

    #[test]
    fn what_is_for_programs_is_not_printed() {
        let pushed = conex_api_types::PushResult {
            tag: "1".to_owned(),
            digest: "sha256:0".to_owned(),
            size: 1,
        };
        let message = ProgressMessage {
            aux: Some(pushed),
            ..ProgressMessage::default()
        };
        assert_eq!(
            (line(&message), Screen::default().draw(&message)),
            (String::new(), String::new())
        );
    }

    #[test]
    fn on_a_terminal_every_layer_keeps_its_line() {
        let mut screen = Screen::default();
        assert_eq!(screen.draw(&message("a", "Waiting", None)), "a: Waiting\n");
        assert_eq!(screen.draw(&message("b", "Waiting", None)), "b: Waiting\n");
        assert!(
            screen
                .draw(&message("a", "Downloading", Some((5, 10))))
                .starts_with("\x1b[2A\x1b[2K\ra: Downloading [==")
        );
        assert!(screen.draw(&message("b", "Pull complete", None)).starts_with("\x1b[1A"));
    }
}
