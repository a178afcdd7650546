//! Output of processes: into the log first, then to the clients.

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::monitor::events::{READ, Source};
use crate::monitor::log::Log;
use crate::monitor::state::{FIRST, Monitor, ProcessKey};
use crate::monitor::time;

/// Bytes read at once.
const CHUNK: usize = 32 * 1024;

/// How a read went.
enum Read {
    Some,
    NothingNow,
    Ended,
}

impl Monitor {
    /// An output is readable.
    pub(crate) fn on_output(&mut self, key: ProcessKey, stream: u8) {
        match self.read_output(key, stream) {
            Read::Some if self.has_to_wait(key) => self.pause(key),
            Read::Some | Read::NothingNow => {}
            Read::Ended => self.close_output(key, stream),
        }
    }

    fn read_output(&mut self, key: ProcessKey, stream: u8) -> Read {
        // Not kept, so that an idle monitor holds no buffer; not cleared, so that pages are touched as far as they are filled.
        let mut bytes = Vec::with_capacity(CHUNK);
        let output = self
            .processes
            .get(&key)
            .and_then(|process| process.outputs.iter().find(|o| o.stream == stream));
        let Some(output) = output else { return Read::Ended };
        loop {
            match rustix::io::read(&output.fd, spare_capacity(&mut bytes)) {
                Ok(0) => return Read::Ended,
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Read::NothingNow,
                // A terminal whose slave is closed everywhere answers EIO.
                Err(_) => return Read::Ended,
            }
        }
        if key == FIRST
            && let Some(log) = &mut self.log
        {
            let kind = if stream == 2 {
                conex_log::Stream::Stderr
            } else {
                conex_log::Stream::Stdout
            };
            // A full disk must not stop the container; the clients still get everything.
            let _ = log.writer.write(kind, &bytes, &time::now());
        }
        self.distribute(key, stream, &bytes);
        Read::Some
    }

    fn close_output(&mut self, key: ProcessKey, stream: u8) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        if let Some(position) = process.outputs.iter().position(|output| output.stream == stream) {
            let output = process.outputs.remove(position);
            if !output.paused {
                self.events.remove(&output.fd);
            }
        }
    }

    /// Whether a process's outputs are not to be read: a client cannot follow, or the log's reader.
    fn has_to_wait(&self, key: ProcessKey) -> bool {
        self.is_congested(key) || self.waits_for_log(key)
    }

    /// Whether the log's reader has to read on first, which nothing tells of: it is looked at again and again.
    pub(crate) fn waits_for_log(&self, key: ProcessKey) -> bool {
        key == FIRST && self.log.as_ref().is_some_and(Log::is_held_up)
    }

    /// The process's outputs are not read until those who cannot follow have caught up.
    fn pause(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        for output in process.outputs.iter_mut().filter(|output| !output.paused) {
            self.events.remove(&output.fd);
            output.paused = true;
        }
    }

    /// Whether a process's outputs are not read at present.
    pub(crate) fn is_paused(&self, key: ProcessKey) -> bool {
        let process = self.processes.get(&key);
        process.is_some_and(|process| process.outputs.iter().any(|output| output.paused))
    }

    /// Reads on where nobody has to be waited for any more.
    pub(crate) fn resume(&mut self, key: ProcessKey) {
        if self.has_to_wait(key) {
            return;
        }
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        for output in process.outputs.iter_mut().filter(|output| output.paused) {
            if self
                .events
                .add(&output.fd, Source::Output(key, output.stream), READ)
                .is_ok()
            {
                output.paused = false;
            }
        }
    }

    /// Reads everything that an ended process has left in its pipes.
    pub(crate) fn drain(&mut self, key: ProcessKey) {
        let streams: Vec<u8> = match self.processes.get(&key) {
            Some(process) => process.outputs.iter().map(|output| output.stream).collect(),
            None => return,
        };
        for stream in streams {
            while let Read::Some = self.read_output(key, stream) {}
            self.close_output(key, stream);
        }
    }
}
