//! Key sequences that detach a client: `ctrl-p,ctrl-q`.

/// A sequence that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid detach keys ({text}) provided")]
pub struct UnknownKey {
    text: String,
}

/// Docker's sequence: ctrl-p, ctrl-q.
pub const DEFAULT: [u8; 2] = [16, 17];

/// Parses keys separated by commas: single characters and `ctrl-` with `a`-`z`, `@`, `[`, `\`, `]`, `^`, `_`.
pub fn parse(text: &str) -> Result<Vec<u8>, UnknownKey> {
    text.split(',')
        .map(|key| parse_key(key).ok_or_else(|| UnknownKey { text: text.to_owned() }))
        .collect()
}

fn parse_key(key: &str) -> Option<u8> {
    match (key.as_bytes(), key.strip_prefix("ctrl-").map(str::as_bytes)) {
        (_, Some([letter @ (b'@' | b'a'..=b'z' | b'['..=b'_')])) => Some(letter.to_ascii_uppercase() - b'@'),
        ([letter], _) if letter.is_ascii() => Some(*letter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_understood() {
        assert_eq!(parse("ctrl-p,ctrl-q").unwrap(), DEFAULT);
        assert_eq!(parse("a,ctrl-@,ctrl-_").unwrap(), [b'a', 0, 31]);
        assert_eq!(
            parse("ctrl-").unwrap_err().to_string(),
            "Invalid detach keys (ctrl-) provided"
        );
        assert!(parse("ctrl-P").is_err());
    }
}
