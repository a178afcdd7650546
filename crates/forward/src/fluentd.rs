//! Entries in Fluentd's forward protocol, version 1: batches in MessagePack, which the server may be asked to acknowledge.

use std::collections::BTreeMap;

use conex_container::logging::Fluentd;
use conex_log::{Entry, Stream};
use jiff::Timestamp;

use crate::msgpack as pack;
use crate::order::About;

/// Entries that are collected to be sent at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    entries: Vec<u8>,
    count: usize,
}

impl Batch {
    /// Adds an entry: its time and its record.
    pub(crate) fn add(&mut self, to: &Fluentd, about: &About, entry: &Entry<'_>) {
        let out = &mut self.entries;
        self.count += 1;
        pack::array(out, 2);
        let time: Timestamp = entry.time.parse().unwrap_or_default();
        if to.sub_second_precision {
            pack::event_time(out, time.as_second(), time.subsec_nanosecond());
        } else {
            pack::integer(out, u64::try_from(time.as_second()).unwrap_or_default());
        }
        let (text, is_whole) = match entry.line.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (entry.line, false),
        };
        let source = match entry.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let mut record: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for (name, value) in &about.attributes {
            record.insert(name, value.as_bytes());
        }
        let name = format!("/{}", about.container_name);
        record.insert("container_id", about.container_id.as_bytes());
        record.insert("container_name", name.as_bytes());
        record.insert("source", source.as_bytes());
        record.insert("log", text);
        if !is_whole {
            record.insert("partial_message", b"true");
        }
        pack::map(out, record.len());
        for (name, value) in record {
            pack::text(out, name.as_bytes());
            pack::text(out, value);
        }
    }

    /// The message with all of them; `chunk` is what the server is to acknowledge.
    pub(crate) fn message(self, about: &About, chunk: Option<&str>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() + 128);
        pack::array(&mut out, if chunk.is_some() { 3 } else { 2 });
        pack::text(&mut out, about.tag.as_bytes());
        pack::array(&mut out, self.count);
        out.extend(self.entries);
        if let Some(chunk) = chunk {
            pack::map(&mut out, 1);
            pack::text(&mut out, b"chunk");
            pack::text(&mut out, chunk.as_bytes());
        }
        out
    }
}

/// The answer to a chunk.
pub(crate) fn acknowledgement(chunk: &str) -> Vec<u8> {
    let mut out = Vec::new();
    pack::map(&mut out, 1);
    pack::text(&mut out, b"ack");
    pack::text(&mut out, chunk.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use conex_container::logging::Address;
    use conex_log::Attributes;

    #[test]
    fn a_batch_has_a_tag_and_all_its_entries() {
        let to = Fluentd {
            address: Address::Tcp {
                to: "x:1".into(),
                tls: None,
            },
            request_ack: true,
            sub_second_precision: false,
        };
        let about = About {
            tag: "t".into(),
            container_id: "id".into(),
            container_name: "n".into(),
            ..About::default()
        };
        let entry = |line| Entry {
            stream: Stream::Stdout,
            time: "1970-01-01T00:00:05Z",
            line,
            attributes: const { &Attributes::new() },
        };
        let mut batch = Batch::default();
        batch.add(&to, &about, &entry(b"a\n"));
        batch.add(&to, &about, &entry(b"b"));
        let message = batch.message(&about, Some("c1"));
        let record = b"\x84\xaccontainer_id\xa2id\xaecontainer_name\xa2/n\xa3log\xa1a\xa6source\xa6stdout";
        let head = b"\x93\xa1t\x92\x92\x05";
        assert!(message.starts_with(&[&head[..], record].concat()), "{message:02x?}");
        assert!(message.ends_with(b"\x81\xa5chunk\xa2c1"));
        assert!(message.windows(15).any(|window| window == b"partial_message"));
        assert_eq!(acknowledgement("c1"), b"\x81\xa3ack\xa2c1");
    }
}
