//! Clients: their input goes to a process, its output to them; a slow one holds the process back, a dead one is dropped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conex_protocol::message::{Attachment, Framing};
use conex_protocol::monitor::Input;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::monitor::detach::Detach;
use crate::monitor::events::{READ, Source, WRITE};
use crate::monitor::state::{Client, FIRST, Monitor, ProcessKey};

/// Output that is held for a client before its process's outputs are not read any more.
const CLIENT_BUFFER: usize = 256 * 1024;

/// Bytes read from a client at once.
const CHUNK: usize = 16 * 1024;

impl Monitor {
    /// Takes a client over.
    pub(crate) fn attach(&mut self, process: ProcessKey, attachment: Attachment, socket: OwnedFd) -> io::Result<()> {
        let preread = STANDARD.decode(&attachment.preread).map_err(io::Error::other)?;
        conex_sys::descriptor::set_nonblocking(socket.as_fd(), true)?;
        let number = self.number();
        self.events.add(&socket, Source::Client(number), READ)?;
        let client = Client {
            socket,
            process,
            streams: attachment.streams,
            framing: attachment.framing,
            detach: Detach::new(attachment.detach_keys),
            waiting: Vec::new(),
            input_ended: false,
            finishing: false,
            departed: false,
            interest: READ,
        };
        self.clients.insert(number, client);
        if !preread.is_empty() {
            self.take_input(number, &preread);
        }
        Ok(())
    }

    /// A client is ready.
    pub(crate) fn on_client(&mut self, number: u32, flags: EventFlags) {
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            return self.on_departure(number);
        }
        if flags.contains(EventFlags::OUT) {
            self.push_client(number);
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
            self.read_client(number);
        }
    }

    /// The client has closed its connection altogether. It gets nothing any more, but what it sent before is not lost:
    /// it is read as the process takes it. (The event loop would tell of the hang-up for ever.)
    fn on_departure(&mut self, number: u32) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        self.events.remove(&client.socket);
        client.departed = true;
        client.waiting = Vec::new();
        let process = client.process;
        self.resume(process);
        self.read_departed(process);
    }

    /// Reads on from clients of a process that have departed, as far as it has room.
    pub(crate) fn read_departed(&mut self, process: ProcessKey) {
        let departed = |(_, client): &(&u32, &Client)| client.process == process && client.departed;
        let numbers: Vec<u32> = self
            .clients
            .iter()
            .filter(departed)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            while self.has_room(process) {
                match self.clients.get(&number) {
                    Some(client) if client.streams.stdin && !client.input_ended => self.read_client(number),
                    Some(_) => self.drop_client(number),
                    None => break,
                }
            }
        }
    }

    fn read_client(&mut self, number: u32) {
        let mut buffer = [0; CHUNK];
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        match rustix::net::recv(&client.socket, &mut buffer, RecvFlags::empty()) {
            Ok((0, _)) => self.on_input_end(number),
            Ok((count, _)) => self.take_input(number, &buffer[..count]),
            Err(Errno::INTR) => {}
            // One that has departed sends no more.
            Err(Errno::AGAIN) if !client.departed => {}
            Err(_) => self.drop_client(number),
        }
    }

    fn take_input(&mut self, number: u32, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        let (passed, detached) = client.detach.filter(bytes);
        let (process, wanted) = (client.process, client.streams.stdin);
        if wanted && !passed.is_empty() {
            self.feed(process, &passed);
        }
        if detached {
            self.detach(number);
        }
    }

    /// The client sends no more: the process's input ends with it, unless it is to stay open for the next client.
    fn on_input_end(&mut self, number: u32) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        client.input_ended = true;
        let (process, wanted) = (client.process, client.streams.stdin);
        if wanted && (process != FIRST || !self.order.keep_stdin_open) {
            self.end_input(process);
        }
        self.review_client(number);
    }

    fn detach(&mut self, number: u32) {
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        let exec = self
            .processes
            .get(&client.process)
            .and_then(|process| process.exec.clone());
        self.step(Input::Detached { exec });
        self.let_go(number);
    }

    /// A connection that broke; its process goes on.
    pub(crate) fn drop_client(&mut self, number: u32) {
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        let (process, ended, wanted) = (client.process, client.input_ended, client.streams.stdin);
        self.let_go(number);
        if wanted && !ended && (process != FIRST || !self.order.keep_stdin_open) {
            self.end_input(process);
        }
    }

    fn let_go(&mut self, number: u32) {
        let Some(client) = self.clients.remove(&number) else {
            return;
        };
        self.events.remove(&client.socket);
        self.resume(client.process);
    }

    /// Output of a process for its clients.
    pub(crate) fn distribute(&mut self, process: ProcessKey, stream: u8, bytes: &[u8]) {
        let numbers: Vec<u32> = self
            .clients
            .iter()
            .filter(|(_, client)| {
                client.process == process
                    && !client.departed
                    && if stream == 2 {
                        client.streams.stderr
                    } else {
                        client.streams.stdout
                    }
            })
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            let Some(client) = self.clients.get_mut(&number) else {
                continue;
            };
            if client.framing == Framing::Multiplexed {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
                client.waiting.extend_from_slice(&[stream, 0, 0, 0]);
                client.waiting.extend_from_slice(&length);
            }
            client.waiting.extend_from_slice(bytes);
            self.push_client(number);
        }
    }

    /// Writes what waits for a client, as far as it takes it.
    pub(crate) fn push_client(&mut self, number: u32) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        let mut written = 0;
        while written < client.waiting.len() {
            match rustix::net::send(&client.socket, &client.waiting[written..], SendFlags::NOSIGNAL) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return self.drop_client(number),
            }
        }
        client.waiting.drain(..written);
        if client.waiting.is_empty() {
            // Memory is not kept for a burst that is over.
            client.waiting = Vec::new();
            if client.finishing {
                return self.let_go(number);
            }
        }
        let process = client.process;
        self.review_client(number);
        self.resume(process);
    }

    /// Waits for what matters of a client: its input while the process has room, room while output waits.
    fn review_client(&mut self, number: u32) {
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        if client.departed {
            return;
        }
        let mut interest = EventFlags::empty();
        if !client.input_ended && self.has_room(client.process) {
            interest |= READ;
        }
        if !client.waiting.is_empty() {
            interest |= WRITE;
        }
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        if interest != client.interest
            && self
                .events
                .change(&client.socket, Source::Client(number), interest)
                .is_ok()
        {
            client.interest = interest;
        }
    }

    /// Looks at all clients of a process again.
    pub(crate) fn review_clients(&mut self, process: ProcessKey) {
        let numbers: Vec<u32> = self
            .clients
            .iter()
            .filter(|(_, client)| client.process == process)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            self.review_client(number);
        }
    }

    /// Whether a client of a process has more waiting than it may.
    pub(crate) fn is_congested(&self, process: ProcessKey) -> bool {
        self.clients
            .values()
            .any(|client| client.process == process && client.waiting.len() >= CLIENT_BUFFER)
    }

    /// The process has ended: its clients go as soon as they have taken everything.
    pub(crate) fn finish_clients(&mut self, process: ProcessKey) {
        let numbers: Vec<u32> = self
            .clients
            .iter()
            .filter(|(_, client)| client.process == process)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            if let Some(client) = self.clients.get_mut(&number) {
                client.finishing = true;
            }
            self.push_client(number);
        }
    }
}
