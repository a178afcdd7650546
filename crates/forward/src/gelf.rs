//! Entries in Graylog's Extended Log Format, version 1.1: JSON, compressed and in chunks over UDP, ended by a NUL over TCP.

use std::io::{self, Write};

use conex_container::logging::{Address, Compression, Gelf};
use conex_log::{Entry, Stream};
use flate2::write::{GzEncoder, ZlibEncoder};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::order::About;

/// Bytes of a datagram.
const DATAGRAM: usize = 1420;

/// Bytes before each chunk: what it is, of which message, and which of how many.
const HEAD: usize = 12;

/// Chunks of a message at most.
const MOST: usize = 128;

/// Severities of the two outputs, as syslog numbers them.
fn level(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 6,
        Stream::Stderr => 3,
    }
}

/// An entry as it is sent: datagrams, or what goes into a stream. `number` tells messages apart.
pub(crate) fn messages(to: &Gelf, about: &About, entry: &Entry<'_>, number: u64) -> io::Result<Vec<Vec<u8>>> {
    let text = entry.line.strip_suffix(b"\n").unwrap_or(entry.line);
    let time: Timestamp = entry.time.parse().unwrap_or_default();
    let mut fields: Map<String, Value> = Map::new();
    for (name, value) in [
        ("version", json!("1.1")),
        ("host", json!(about.hostname)),
        ("short_message", json!(String::from_utf8_lossy(text))),
        ("timestamp", json!(time.as_millisecond() as f64 / 1000.0)),
        ("level", json!(level(entry.stream))),
        ("_container_id", json!(about.container_id)),
        ("_container_name", json!(about.container_name)),
        ("_image_id", json!(about.image_id)),
        ("_image_name", json!(about.image_name)),
        ("_command", json!(about.command)),
        ("_created", json!(about.created)),
        ("_tag", json!(about.tag)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    for (name, value) in &about.attributes {
        let name = if name.starts_with('_') {
            name.clone()
        } else {
            format!("_{name}")
        };
        fields.insert(name, json!(value));
    }
    let mut message = serde_json::to_vec(&Value::Object(fields))?;
    if matches!(to.address, Address::Tcp { .. }) {
        message.push(0);
        return Ok(vec![message]);
    }
    chunked(&compressed(to, message)?, number)
}

fn compressed(to: &Gelf, message: Vec<u8>) -> io::Result<Vec<u8>> {
    let level = to.level.map_or(flate2::Compression::fast(), flate2::Compression::new);
    match to.compression {
        Compression::None => Ok(message),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(&message)?;
            encoder.finish()
        }
        Compression::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(&message)?;
            encoder.finish()
        }
    }
}

fn chunked(message: &[u8], number: u64) -> io::Result<Vec<Vec<u8>>> {
    if message.len() <= DATAGRAM {
        return Ok(vec![message.to_vec()]);
    }
    let chunks: Vec<&[u8]> = message.chunks(DATAGRAM - HEAD).collect();
    if chunks.len() > MOST {
        return Err(io::Error::other("a message has more chunks than there may be"));
    }
    let head = |index: usize| {
        let counts = [index, chunks.len()].map(|count| u8::try_from(count).unwrap_or(u8::MAX));
        [&[0x1e, 0x0f][..], &number.to_be_bytes(), &counts].concat()
    };
    let datagrams = chunks.iter().enumerate();
    Ok(datagrams
        .map(|(index, chunk)| [&head(index)[..], chunk].concat())
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;
    use conex_log::Attributes;
    use flate2::read::{GzDecoder, ZlibDecoder};
    use std::io::Read;

    fn sent(compression: Compression, address: Address, line: &[u8]) -> Vec<Vec<u8>> {
        let to = Gelf {
            address,
            compression,
            level: None,
        };
        let about = About {
            hostname: "host".into(),
            container_name: "box".into(),
            attributes: [("kind".to_owned(), "x".to_owned()), ("_own".to_owned(), "y".to_owned())].into(),
            ..About::default()
        };
        let entry = Entry {
            stream: Stream::Stderr,
            time: "2026-03-04T05:06:07.250999999Z",
            line,
            attributes: &Attributes::new(),
        };
        messages(&to, &about, &entry, 7).unwrap()
    }

    #[test]
    fn a_message_says_all_of_its_entry() {
        let tcp = Address::Tcp {
            to: "x:1".into(),
            tls: None,
        };
        let message = sent(Compression::None, tcp, b"words \xff\n").concat();
        let (end, json) = message.split_last().unwrap();
        assert_eq!(*end, 0);
        let value: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(
            (&value["short_message"], &value["level"]),
            (&json!("words \u{fffd}"), &json!(3))
        );
        assert_eq!(value["timestamp"], json!(1_772_600_767.25));
        assert_eq!(
            (&value["_kind"], &value["_own"], &value["_container_name"]),
            (&json!("x"), &json!("y"), &json!("box"))
        );
    }

    #[test]
    fn datagrams_are_compressed_and_long_ones_are_cut() {
        let udp = || Address::Udp { to: "x:1".into() };
        let short = sent(Compression::Gzip, udp(), b"words\n");
        let mut text = String::new();
        GzDecoder::new(&short[0][..]).read_to_string(&mut text).unwrap();
        assert!(text.contains("words"));
        let line: Vec<u8> = (0..10_000_u32)
            .map(|number| b'a' + (number * number % 23) as u8)
            .collect();
        let chunks = sent(Compression::None, udp(), &line);
        assert!(chunks.len() > 5 && chunks.iter().all(|chunk| chunk.len() <= DATAGRAM));
        let whole: Vec<u8> = chunks.iter().flat_map(|chunk| chunk[HEAD..].to_vec()).collect();
        assert!(serde_json::from_slice::<Value>(&whole).is_ok());
        for (index, chunk) in chunks.iter().enumerate() {
            assert_eq!(chunk[..2], [0x1e, 0x0f]);
            assert_eq!(usize::from(chunk[10]), index);
            assert_eq!(usize::from(chunk[11]), chunks.len());
        }
        let packed = sent(Compression::Zlib, udp(), b"words\n");
        let mut text = String::new();
        ZlibDecoder::new(&packed[0][..]).read_to_string(&mut text).unwrap();
        assert!(text.contains("words"));
    }
}
