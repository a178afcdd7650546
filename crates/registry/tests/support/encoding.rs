//! Base64 and percent-decoding, a few lines each rather than a dependency.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 of RFC 4648, section 4, padded.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = u32::from(chunk[0]) << 16
            | u32::from(chunk.get(1).copied().unwrap_or(0)) << 8
            | u32::from(chunk.get(2).copied().unwrap_or(0));
        for position in 0..4 {
            let digit = STANDARD[(word >> (18 - 6 * position) & 63) as usize];
            text.push(if position > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

/// Base64 of RFC 4648, section 5, without padding: the parts of a token and `X-Registry-Auth`.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// `Basic ...`, the value of `Authorization`.
pub(crate) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{username}:{password}").as_bytes()))
}

/// The value of `X-Registry-Auth` that a client sends for a name and a password.
pub(crate) fn x_registry_auth(username: &str, password: &str) -> String {
    base64url(format!(r#"{{"username":"{username}","password":"{password}"}}"#).as_bytes())
}

/// The decoded value of a field of a query or form.
pub(crate) fn field(query: &str, name: &str) -> Option<String> {
    fields(query, name).into_iter().next()
}

/// The decoded values of a field that may be there several times.
pub(crate) fn fields(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&');
    let values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    values.map(percent_decode).collect()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
