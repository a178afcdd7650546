//! Entries in the native protocol of systemd's journal: fields, a datagram for each entry
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use conex_log::{Entry, Stream};

use crate::order::About;

/// An entry as the journal takes it, with Docker's fields.
pub(crate) fn message(about: &About, entry: &Entry<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let (text, is_whole) = match entry.line.strip_suffix(b"\n") {
        Some(text) => (text, true),
        None => (entry.line, false),
    };
    let priority = match entry.stream {
        Stream::Stdout => "6",
        Stream::Stderr => "3",
    };
    field(&mut out, "MESSAGE", text);
    for (name, value) in [
        ("PRIORITY", priority),
        (
            "CONTAINER_ID",
            about.container_id.get(..12).unwrap_or(&about.container_id),
        ),
        ("CONTAINER_ID_FULL", &about.container_id),
        ("CONTAINER_NAME", &about.container_name),
        ("CONTAINER_TAG", &about.tag),
        ("IMAGE_NAME", &about.image_name),
        ("SYSLOG_IDENTIFIER", &about.tag),
        ("SYSLOG_TIMESTAMP", entry.time),
    ] {
        field(&mut out, name, value.as_bytes());
    }
    if !is_whole {
        field(&mut out, "CONTAINER_PARTIAL_MESSAGE", b"true");
    }
    for (name, value) in &about.attributes {
        field(&mut out, &named(name), value.as_bytes());
    }
    out
}

/// A name that the journal takes: capitals, digits and underscores, none of them in front.
fn named(name: &str) -> String {
    let letters = name.bytes().map(|letter| match letter.to_ascii_uppercase() {
        letter @ (b'A'..=b'Z' | b'0'..=b'9') => char::from(letter),
        _ => '_',
    });
    letters.collect::<String>().trim_start_matches('_').to_owned()
}

/// A field; one with a newline has its length before it.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if name.is_empty() {
        return;
    }
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use conex_log::Attributes;

    #[test]
    fn an_entry_is_its_fields() {
        let about = About {
            tag: "t".into(),
            container_id: "0123456789abcdef".into(),
            attributes: [
                ("com.x-y".to_owned(), "a\nb".to_owned()),
                ("_".to_owned(), "c".to_owned()),
            ]
            .into(),
            ..About::default()
        };
        let entry = Entry {
            stream: Stream::Stderr,
            time: "T",
            line: b"\xff words",
            attributes: &Attributes::new(),
        };
        let message = message(&about, &entry);
        assert!(message.starts_with(b"MESSAGE=\xff words\nPRIORITY=3\nCONTAINER_ID=0123456789ab\n"));
        assert!(
            message.ends_with(b"CONTAINER_PARTIAL_MESSAGE=true\nCOM_X_Y\n\x03\0\0\0\0\0\0\0a\nb\n"),
            "{message:?}"
        );
    }
}
