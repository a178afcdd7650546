//! One log line as JSON, escaped as Go's encoder escapes, since readers compare files.

use crate::Stream;

/// Appends the object and its newline.
pub(crate) fn line(out: &mut Vec<u8>, stream: Stream, bytes: &[u8], time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in bytes.utf8_chunks() {
        escape(out, chunk.valid());
        // One replacement character per byte that is no UTF-8.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

fn escape(out: &mut Vec<u8>, text: &str) {
    let mut plain = 0;
    for (at, letter) in text.char_indices() {
        let short = match letter {
            '"' => b"\\\"".as_slice(),
            '\\' => b"\\\\",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\t' => b"\\t",
            '\u{8}' => b"\\b",
            '\u{c}' => b"\\f",
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[plain..at]);
        if short.is_empty() {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
        } else {
            out.extend_from_slice(short);
        }
        plain = at + letter.len_utf8();
    }
    out.extend_from_slice(&text.as_bytes()[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        line(&mut out, Stream::Stdout, bytes, "T");
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
            encoded(b"\xff"),
            "{\"log\":\"\\ufffd\",\"stream\":\"stdout\",\"time\":\"T\"}\n"
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
