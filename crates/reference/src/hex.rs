//! Lower-case hexadecimal of 32 bytes, the one length that ids and digests have.

use std::fmt;

/// Characters in the hexadecimal form of 32 bytes.
pub(crate) const LENGTH: usize = 64;

/// Writes the first `bytes` of a value as lower-case hexadecimal.
pub(crate) fn render(bytes: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

/// The 32 bytes that 64 lower-case hexadecimal digits stand for; `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != LENGTH {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// True for the digits that `render` writes.
pub(crate) fn is_digit(byte: u8) -> bool {
    digit(byte).is_some()
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
