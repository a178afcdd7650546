//! The daemon: the one that ordered this monitor, and those that come after it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use conex_protocol::message::{Attachment, FromMonitor, Request};
use conex_protocol::monitor::{Input, Output};
use conex_protocol::{decode, encode};
use conex_sys::seqpacket::Socket;
use conex_sys::{process, pty};

use crate::monitor::events::{READ, Source};
use crate::monitor::state::{FIRST, Monitor};

impl Monitor {
    /// Feeds the protocol, and carries out what it decides.
    pub(crate) fn step(&mut self, input: Input) {
        self.step_with(input, Vec::new());
    }

    /// As `step`, with the descriptors of a message.
    fn step_with(&mut self, input: Input, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        for output in self.protocol.on(input) {
            match output {
                Output::Tell(message) => self.tell(&message),
                Output::Signal { request, signal } => {
                    let outcome = match self.processes.get(&FIRST) {
                        Some(process) => process::signal(process.pidfd.as_fd(), signal),
                        None => Ok(()),
                    };
                    self.settle(request, outcome);
                }
                Output::Resize {
                    request,
                    exec,
                    rows,
                    columns,
                } => {
                    let outcome = self.resize(exec.as_deref(), rows, columns);
                    self.settle(request, outcome);
                }
                Output::Attach { request, attachment } => {
                    let outcome = self.attach_next(attachment, fds.next());
                    self.settle(request, outcome);
                }
                Output::Exec {
                    request,
                    exec,
                    attachment,
                } => self.exec(request, exec, attachment, fds.by_ref().collect()),
                Output::EndExec { exec } => self.end_exec(&exec),
                Output::Upgrade { request, build } => {
                    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "an upgrade needs a program");
                    let program = fds.next().ok_or_else(missing);
                    let outcome = program.and_then(|program| self.upgrade(request, &build, &program));
                    self.settle(request, outcome.map(|never| match never {}));
                }
                // Newcomers are seen to where they came in, and the first process runs already.
                Output::TakeOver | Output::SendAway | Output::Keep(_) | Output::Release => {}
            }
        }
    }

    fn settle(&mut self, request: Request, outcome: io::Result<()>) {
        let outcome = outcome.map_err(|error| (error.raw_os_error().unwrap_or(0), error.to_string()));
        self.step(Input::Settled { request, outcome });
    }

    fn tell(&mut self, message: &FromMonitor) {
        let Some(daemon) = &self.daemon else { return };
        let sent = encode(message)
            .map_err(io::Error::other)
            .and_then(|bytes| daemon.send(&bytes, &[]));
        if sent.is_err() {
            self.lose_daemon();
        }
    }

    /// Takes a connection into the event loop.
    pub(crate) fn serve_daemon(&mut self, socket: Socket) -> io::Result<()> {
        if let Some(earlier) = self.daemon.take() {
            self.events.remove(&earlier);
        }
        self.events.add(&socket, Source::Daemon, READ)?;
        self.daemon = Some(socket);
        Ok(())
    }

    pub(crate) fn lose_daemon(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.events.remove(&daemon);
            self.step(Input::DaemonLost);
        }
    }

    /// The daemon sent something, or is gone.
    pub(crate) fn on_daemon(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        match daemon.receive() {
            Ok(Some((bytes, fds))) => {
                // A message of a newer version is for the daemon to repeat in words that we know.
                if let Ok(message) = decode(&bytes) {
                    let input = Input::Message {
                        message,
                        fds: fds.len(),
                    };
                    self.step_with(input, fds);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => self.lose_daemon(),
        }
    }

    /// A daemon connects to `control.sock`.
    pub(crate) fn on_listener(&mut self) -> io::Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        match listener.accept() {
            Ok(socket) => self.welcome(socket),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Awaits the greeting of a newcomer.
    pub(crate) fn welcome(&mut self, socket: Socket) -> io::Result<()> {
        let number = self.number();
        self.events.add(&socket, Source::Newcomer(number), READ)?;
        self.newcomers.insert(number, socket);
        Ok(())
    }

    /// A newcomer that greets becomes the daemon; one that does anything else is sent away.
    pub(crate) fn on_newcomer(&mut self, number: u32) -> io::Result<()> {
        let Some(socket) = self.newcomers.remove(&number) else {
            return Ok(());
        };
        self.events.remove(&socket);
        let greeting = socket.receive().ok().flatten();
        let Some(Ok(greeting)) = greeting.map(|(bytes, _)| decode(&bytes)) else {
            return Ok(());
        };
        let mut newcomer = Some(socket);
        for output in self.protocol.on(Input::Greeting(greeting)) {
            match (output, newcomer.take()) {
                (Output::TakeOver, Some(socket)) => self.serve_daemon(socket)?,
                (Output::Tell(message), None) => self.tell(&message),
                _ => {}
            }
        }
        Ok(())
    }

    fn resize(&self, exec: Option<&str>, rows: u16, columns: u16) -> io::Result<()> {
        let process = self.processes.values().find(|process| process.exec.as_deref() == exec);
        match process {
            Some(process) if process.terminal => match &process.input {
                Some(input) => pty::set_size(input.fd.as_fd(), rows, columns),
                None => Err(io::Error::new(io::ErrorKind::NotFound, "the terminal is closed")),
            },
            // Clients ask without knowing whether there is a terminal; Docker answers them that it is done.
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended")),
        }
    }

    fn attach_next(&mut self, attachment: Attachment, client: Option<OwnedFd>) -> io::Result<()> {
        let client = client.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an attach needs a client"))?;
        self.attach(FIRST, attachment, client)
    }
}
