//! One log line of JSON back into what was written: quick where it looks as `encode` and Docker write it, by a whole
//! parser where it does not.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::Stream;

/// What stands in a line. It is filled again and again, so that reading a log does not allocate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) stream: Stream,
    pub(crate) time: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) attributes: Attributes,
}

/// What an entry says of its container: labels, variables, a tag.
pub type Attributes = BTreeMap<String, String>;

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    attrs: Attributes,
    #[serde(default)]
    bytes: Option<String>,
}

impl Decoded {
    /// Reads a line, with or without its newline; says whether it is an entry.
    pub(crate) fn read(&mut self, line: &[u8]) -> bool {
        self.read_usual(line).is_some() || self.read_any(line)
    }

    /// A line that has the three fields in their order and nothing else.
    fn read_usual(&mut self, line: &[u8]) -> Option<()> {
        self.bytes.clear();
        self.time.clear();
        self.attributes.clear();
        let rest = unescape(line.strip_prefix(b"{\"log\":\"")?, &mut self.bytes)?;
        let rest = rest.strip_prefix(b",\"stream\":\"std")?;
        let rest = if let Some(rest) = rest.strip_prefix(b"out\",\"time\":\"") {
            self.stream = Stream::Stdout;
            rest
        } else {
            self.stream = Stream::Stderr;
            rest.strip_prefix(b"err\",\"time\":\"")?
        };
        let (time, rest) = rest.split_at(memchr::memchr2(b'"', b'\\', rest)?);
        self.time.push_str(std::str::from_utf8(time).ok()?);
        matches!(rest, b"\"}\n" | b"\"}").then_some(())
    }

    fn read_any(&mut self, line: &[u8]) -> bool {
        let Ok(raw) = serde_json::from_slice::<Raw>(line) else {
            return false;
        };
        *self = Self {
            stream: if raw.stream == "stderr" {
                Stream::Stderr
            } else {
                Stream::Stdout
            },
            time: raw.time,
            bytes: raw
                .bytes
                .and_then(|bytes| STANDARD.decode(bytes).ok())
                .unwrap_or_else(|| raw.log.into_bytes()),
            attributes: raw.attrs,
        };
        true
    }
}

impl Default for Decoded {
    fn default() -> Self {
        Self {
            stream: Stream::Stdout,
            time: String::new(),
            bytes: Vec::new(),
            attributes: Attributes::new(),
        }
    }
}

/// Appends a JSON string's text; gives what follows its closing quote. `None` where it has an escape that is not usual.
fn unescape<'a>(mut text: &'a [u8], bytes: &mut Vec<u8>) -> Option<&'a [u8]> {
    let start = bytes.len();
    loop {
        let (plain, rest) = text.split_at(memchr::memchr2(b'"', b'\\', text)?);
        bytes.extend_from_slice(plain);
        match rest {
            [b'"', rest @ ..] => {
                // What is no UTF-8 is no JSON.
                return std::str::from_utf8(&bytes[start..]).is_ok().then_some(rest);
            }
            [b'\\', b'u', rest @ ..] => {
                let (digits, rest) = rest.split_at_checked(4)?;
                let digits = std::str::from_utf8(digits).ok()?;
                // Halves of a pair are left to the whole parser, and so is a sign, which is no digit.
                let letter = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
                if digits.starts_with('+') {
                    return None;
                }
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                text = rest;
            }
            [_, short, rest @ ..] => {
                bytes.push(match short {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'f' => 12,
                    b'"' | b'\\' | b'/' => *short,
                    _ => return None,
                });
                text = rest;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the quick way reads it, and as the whole parser does.
    fn both(text: &[u8]) -> [Option<Decoded>; 2] {
        let (mut quick, mut whole) = (Decoded::default(), Decoded::default());
        let (usual, any) = (quick.read_usual(text), whole.read_any(text));
        [usual.map(|()| quick), any.then_some(whole)]
    }

    #[test]
    fn what_is_not_usual_is_left_to_the_whole_parser() {
        for (text, log) in [
            (r#"{"log":"a\ud83d\ude00\n","stream":"stdout","time":"t"}"#, "a😀\n"),
            (r#"{"stream":"stdout","log":"x","time":"t"}"#, "x"),
            (r#"{"log":"x","stream":"stdout","attrs":{"a":"b"},"time":"t"}"#, "x"),
            (r#"{"log":"x","stream":"stdout"}"#, "x"),
            (r#"{"log":"x","stream":"stdout","time":"t","bytes":"eQ=="}"#, "y"),
            (r#"{"log":"x","stream":"stdout","time":"t","bytes":"?"}"#, "x"),
        ] {
            assert_eq!(both(text.as_bytes())[0], None);
            let mut decoded = Decoded::default();
            assert!(decoded.read(text.as_bytes()));
            assert_eq!(String::from_utf8(decoded.bytes).unwrap(), log);
        }
        for text in [
            "",
            "{",
            "x",
            r#"{"log":"x","stream":"stdout","time":"t"}}"#,
            r#"{"log":"\u+123"}"#,
        ] {
            assert!(!Decoded::default().read(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_quick_way_and_the_whole_parser_agree(text in proptest::collection::vec(any::<u8>(), 0..100), stderr: bool) {
            let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
            let mut encoded = Vec::new();
            crate::encode::line(&mut encoded, stream, &text, "", "2026-01-01T00:00:00.000000000Z");
            let [quick, whole] = both(&encoded);
            prop_assert_eq!(&whole.as_ref().unwrap().bytes, &text);
            prop_assert_eq!(quick.is_some(), std::str::from_utf8(&text).is_ok());
            prop_assert!(quick.is_none() || quick == whole);
        }

        #[test]
        fn what_the_quick_way_takes_the_whole_parser_takes(
            text in r#"\{"log":"([a-z\\"u0-9]|\\n|\\u00[0-9a-f]{2}){0,8}","stream":"std(out|err)","time":"[a-z\\]{0,2}"\}"#
        ) {
            let [quick, whole] = both(text.as_bytes());
            if quick.is_some() {
                prop_assert_eq!(quick, whole);
            }
        }
    }
}
