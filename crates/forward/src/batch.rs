//! Entries that are sent at once, in the words of their receiver.

use std::io;

use bytes::Bytes;
use conex_container::logging::Remote;
use conex_log::Entry;
use http_body_util::Full;
use hyper::Request;

use crate::order::Follow;
use crate::{fluentd, gelf, journald, splunk, syslog};

/// What is sent at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Messages, each a datagram where they go as such.
    pub(crate) messages: Vec<Vec<u8>>,
    /// What the receiver answers when it has taken them; empty where it does not answer.
    pub(crate) answer: Vec<u8>,
    /// The request with all of it, where the receiver takes requests and some entries are for it.
    pub(crate) request: Option<Request<Full<Bytes>>>,
    /// Entries in it.
    pub(crate) entries: usize,
    collected: fluentd::Batch,
}

impl Batch {
    /// Adds an entry. `number` tells entries apart, also those of an earlier attempt.
    pub(crate) fn add(&mut self, follow: &Follow, entry: &Entry<'_>, number: u64) -> io::Result<()> {
        self.entries += 1;
        match &follow.to {
            Remote::Syslog(to) => self.messages.push(syslog::message(to, &follow.about, entry)),
            Remote::Gelf(to) => self.messages.extend(gelf::messages(to, &follow.about, entry, number)?),
            Remote::Fluentd(to) => self.collected.add(to, &follow.about, entry),
            Remote::Splunk(to) => self.messages.push(splunk::event(to, &follow.about, entry)?),
            Remote::Journald { .. } => self.messages.push(journald::message(&follow.about, entry)),
        }
        Ok(())
    }

    /// All that was added, to be sent.
    pub(crate) fn finish(mut self, follow: &Follow, number: u64) -> io::Result<Self> {
        if let Remote::Splunk(to) = &follow.to
            && self.messages.iter().any(|event| !event.is_empty())
        {
            self.request = Some(splunk::request(to, &follow.about, &self.messages)?);
        }
        if let Remote::Fluentd(to) = &follow.to
            && self.entries > 0
        {
            let chunk = to.request_ack.then(|| format!("{:.12}-{number}", follow.name));
            let collected = std::mem::take(&mut self.collected);
            self.messages = vec![collected.message(&follow.about, chunk.as_deref())];
            self.answer = chunk.map(|chunk| fluentd::acknowledgement(&chunk)).unwrap_or_default();
        }
        Ok(self)
    }
}
