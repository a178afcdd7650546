//! Text that is no JSON, in the words of Go's scanner.

use serde_json::Error;
use serde_json::error::Category;

/// What is wrong with a body.
pub(super) fn words(error: &Error, body: &[u8]) -> String {
    if error.classify() == Category::Eof {
        return "unexpected EOF".to_owned();
    }
    let text = error.to_string();
    let place = match text.split(" at line ").next().unwrap_or_default() {
        "recursion limit exceeded" => return "exceeded max depth".to_owned(),
        "expected value" | "expected ident" => "looking for beginning of value",
        "key must be a string" | "trailing comma" => "looking for beginning of object key string",
        "expected `:`" => "after object key",
        "expected `,` or `}`" => "after object key:value pair",
        "expected `,` or `]`" => "after array element",
        _ => return text,
    };
    match at(body, error.line(), error.column()) {
        Some(b'\'') => format!(r"invalid character '\'' {place}"),
        Some(byte) => {
            format!("invalid character '{}' {place}", char::from(byte).escape_default()).replace("\\\"", "\"")
        }
        None => text,
    }
}

/// The byte at a line and a column, both counted from 1.
fn at(body: &[u8], line: usize, column: usize) -> Option<u8> {
    let line = body.split(|byte| *byte == b'\n').nth(line.checked_sub(1)?)?;
    line.get(column.checked_sub(1)?).copied()
}
