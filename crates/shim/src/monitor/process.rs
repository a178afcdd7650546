//! Processes enter the event loop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use conex_launch::ProcessStdio;

use crate::monitor::events::{READ, Source};
use crate::monitor::state::{Input, Monitor, Output, Process, ProcessKey};

impl Monitor {
    /// Adopts a process that was just started.
    pub(crate) fn adopt(
        &mut self,
        key: ProcessKey,
        exec: Option<String>,
        (pid, pidfd): (i32, OwnedFd),
        stdio: ProcessStdio,
    ) -> io::Result<()> {
        let (input, outputs, terminal) = match stdio {
            ProcessStdio::Pipes { stdin, stdout, stderr } => (stdin, vec![(1, stdout), (2, stderr)], false),
            ProcessStdio::Terminal { master } => (Some(master.try_clone()?), vec![(1, master)], true),
            ProcessStdio::Inherit => (None, Vec::new(), false),
        };
        for (stream, fd) in &outputs {
            conex_sys::descriptor::set_nonblocking(fd.as_fd(), true)?;
            self.events.add(fd, Source::Output(key, *stream), READ)?;
        }
        if let Some(fd) = &input {
            conex_sys::descriptor::set_nonblocking(fd.as_fd(), true)?;
        }
        let process = Process {
            exec,
            pid,
            pidfd,
            input: input.map(|fd| Input {
                fd,
                waiting: Vec::new(),
                close: false,
                watched: false,
            }),
            outputs: outputs
                .into_iter()
                .map(|(stream, fd)| Output {
                    stream,
                    fd,
                    paused: false,
                })
                .collect(),
            terminal,
        };
        self.processes.insert(key, process);
        Ok(())
    }

    /// Bytes of a client for a process; a process that takes no more loses them, as a closed pipe does.
    pub(crate) fn feed(&mut self, key: ProcessKey, bytes: &[u8]) {
        let Some(input) = self.processes.get_mut(&key).and_then(|process| process.input.as_mut()) else {
            return;
        };
        input.waiting.extend_from_slice(bytes);
        self.push_input(key);
    }

    /// Closes the input once everything before was taken. A terminal has no end of input.
    pub(crate) fn end_input(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        if process.terminal {
            return;
        }
        if let Some(input) = &mut process.input {
            input.close = true;
            self.push_input(key);
        }
    }

    /// Writes what waits, as far as there is room.
    pub(crate) fn push_input(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        let Some(input) = &mut process.input else { return };
        let mut broken = false;
        while !input.waiting.is_empty() {
            match rustix::io::write(&input.fd, &input.waiting) {
                Ok(count) => drop(input.waiting.drain(..count)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        if broken || (input.waiting.is_empty() && input.close) {
            if input.watched {
                self.events.remove(&input.fd);
            }
            process.input = None;
        } else if input.watched == input.waiting.is_empty() {
            input.watched = !input.watched;
            // A terminal's master is watched for output under another descriptor, so both may wait.
            let _ = if input.watched {
                self.events
                    .add(&input.fd, Source::Input(key), crate::monitor::events::WRITE)
            } else {
                self.events.remove(&input.fd);
                Ok(())
            };
        }
        self.review_clients(key);
    }

    /// Whether a process has room for more input.
    pub(crate) fn has_room(&self, key: ProcessKey) -> bool {
        let input = self.processes.get(&key).and_then(|process| process.input.as_ref());
        input.is_none_or(|input| input.waiting.len() < INPUT_BUFFER)
    }
}

/// Input that is held for a process before its clients are not read any more.
const INPUT_BUFFER: usize = 64 * 1024;
