//! Logical lines: what stands on several lines with a backslash at their ends is one, and comments are none.

/// The logical lines of a text, without those that are blank.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut physical = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    while let Some(first) = physical.next() {
        if is_comment(first) {
            continue;
        }
        let (mut line, mut goes_on) = continued(first.trim_start());
        while goes_on {
            let Some(next) = physical.next() else { break };
            // A comment or an empty line in between does not end it.
            if is_comment(next) || next.trim().is_empty() {
                continue;
            }
            let (part, more) = continued(next);
            line.push_str(&part);
            goes_on = more;
        }
        if !line.trim().is_empty() {
            lines.push(line);
        }
    }
    lines
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// A line without the backslash that continues it, and whether it had one; two of them are no continuation.
fn continued(line: &str) -> (String, bool) {
    let end = line.trim_end_matches([' ', '\t']);
    match end.strip_suffix('\\') {
        Some(before) if !before.ends_with('\\') => (before.to_owned(), true),
        _ => (line.to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_joins_lines_and_comments_are_left_out() {
        let text = "# one\n ENV A=1 \\\n# two\n\n  B=2\r\nUSER x\\\\\n\n  \nCMD y\\";
        assert_eq!(lines(text), ["ENV A=1   B=2", "USER x\\\\", "CMD y"]);
        assert!(lines(" \n#\n").is_empty());
    }
}
