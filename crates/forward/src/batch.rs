//! Entries that are sent at once, in the words of their receiver.

use std::io;

use conex_container::logging::Remote;
use conex_log::Entry;

use crate::order::Follow;
use crate::{fluentd, gelf, syslog};

/// What is sent at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Messages, each a datagram where they go as such.
    pub(crate) messages: Vec<Vec<u8>>,
    /// What the receiver answers when it has taken them; empty where it does not answer.
    pub(crate) answer: Vec<u8>,
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
        }
        Ok(())
    }

    /// All that was added, to be sent.
    pub(crate) fn finish(mut self, follow: &Follow, number: u64) -> Self {
        if let Remote::Fluentd(to) = &follow.to
            && self.entries > 0
        {
            let chunk = to.request_ack.then(|| format!("{:.12}-{number}", follow.name));
            let collected = std::mem::take(&mut self.collected);
            self.messages = vec![collected.message(&follow.about, chunk.as_deref())];
            self.answer = chunk.map(|chunk| fluentd::acknowledgement(&chunk)).unwrap_or_default();
        }
        self
    }
}
