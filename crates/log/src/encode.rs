//! One log line as JSON, escaped as Go's encoder escapes, since readers compare files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Stream;

/// Appends the object and its newline. `attributes` are an object as JSON, or nothing.
pub(crate) fn line(out: &mut Vec<u8>, stream: Stream, bytes: &[u8], attributes: &str, time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    let mut is_text = true;
    for chunk in bytes.utf8_chunks() {
        escape(out, chunk.valid());
        // One replacement character per byte that is no UTF-8.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
            is_text = false;
        }
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    if !attributes.is_empty() {
        out.extend_from_slice(b"\",\"attrs\":");
        out.extend_from_slice(attributes.as_bytes());
        out.extend_from_slice(b",\"time\":\"");
    } else {
        out.extend_from_slice(b"\",\"time\":\"");
    }
    out.extend_from_slice(time.as_bytes());
    if is_text {
        out.extend_from_slice(b"\"}\n");
    } else {
        out.extend_from_slice(b"\",\"bytes\":\"");
        out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
        out.extend_from_slice(b"\"}\n");
    }
}

/// Which bytes cannot stand as they are; 0xe2 begins U+2028 and U+2029, among others.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        special[control] = true;
        control += 1;
    }
    let mut letters: &[u8] = b"\"\\<>&\xe2";
    while let [letter, rest @ ..] = letters {
        special[*letter as usize] = true;
        letters = rest;
    }
    special
};

fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| SPECIAL[usize::from(*byte)]) {
        at += found;
        let short = match bytes[at] {
            b'"' => b"\\\"".as_slice(),
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            8 => b"\\b",
            12 => b"\\f",
            0xe2 => match &bytes[at + 1..] {
                [0x80, 0xa8, ..] => b"\\u2028",
                [0x80, 0xa9, ..] => b"\\u2029",
                _ => {
                    at += 1;
                    continue;
                }
            },
            _ => b"",
        };
        out.extend_from_slice(&bytes[plain..at]);
        if short.is_empty() {
            out.extend_from_slice(format!("\\u{:04x}", bytes[at]).as_bytes());
        } else {
            out.extend_from_slice(short);
        }
        at += if bytes[at] == 0xe2 { 3 } else { 1 };
        plain = at;
    }
    out.extend_from_slice(&bytes[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        line(&mut out, Stream::Stdout, bytes, "", "T");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_looks_as_docker_writes_it() {
        assert_eq!(
            encoded(b"hello\n"),
            "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"T\"}\n"
        );
        assert_eq!(
            encoded(b"<a&b>\x1b"),
            "{\"log\":\"\\u003ca\\u0026b\\u003e\\u001b\",\"stream\":\"stdout\",\"time\":\"T\"}\n"
        );
        assert_eq!(
            encoded("a\u{2028}\u{2029}\u{2030}é\0".as_bytes()),
            "{\"log\":\"a\\u2028\\u2029\u{2030}é\\u0000\",\"stream\":\"stdout\",\"time\":\"T\"}\n"
        );
        assert_eq!(
            encoded(b"\xff"),
            "{\"log\":\"\\ufffd\",\"stream\":\"stdout\",\"time\":\"T\",\"bytes\":\"/w==\"}\n"
        );
        let mut out = Vec::new();
        line(&mut out, Stream::Stderr, b"x", r#"{"tag":"a"}"#, "T");
        assert_eq!(
            out,
            b"{\"log\":\"x\",\"stream\":\"stderr\",\"attrs\":{\"tag\":\"a\"},\"time\":\"T\"}\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_text_is_read_back(text in ".*") {
            let value: serde_json::Value = serde_json::from_str(&encoded(text.as_bytes())).unwrap();
            prop_assert_eq!(value["log"].as_str().unwrap(), text);
        }

        #[test]
        fn any_bytes_make_one_line_of_json(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = encoded(&bytes);
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }
}
