//! The daemon: the one that ordered this monitor, and those that come after it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use conex_protocol::message::{FromMonitor, ToMonitor, VERSION};
use conex_protocol::{decode, encode};
use conex_sys::seqpacket::Socket;
use conex_sys::{process, pty};

use crate::monitor::events::{READ, Source};
use crate::monitor::state::{FIRST, Monitor};

impl Monitor {
    /// Tells the daemon, where there is one; the next one asks.
    pub(crate) fn tell(&mut self, message: &FromMonitor) {
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
        self.lose_daemon();
        self.events.add(&socket, Source::Daemon, READ)?;
        self.daemon = Some(socket);
        Ok(())
    }

    fn lose_daemon(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.events.remove(&daemon);
        }
    }

    /// The daemon sent something, or is gone.
    pub(crate) fn on_daemon(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        match daemon.receive() {
            Ok(Some((bytes, fds))) => {
                // A message of a newer version is for the daemon to repeat in words that we know.
                if let Ok(message) = decode(&bytes) {
                    self.carry_out(message, fds);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => self.lose_daemon(),
        }
    }

    /// A daemon connects to `control.sock`.
    pub(crate) fn on_listener(&mut self) -> io::Result<()> {
        match self.listener.accept() {
            Ok(socket) => {
                let number = self.number();
                self.events.add(&socket, Source::Newcomer(number), READ)?;
                self.newcomers.insert(number, socket);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A newcomer that greets becomes the daemon; one that does anything else is sent away.
    pub(crate) fn on_newcomer(&mut self, number: u32) -> io::Result<()> {
        let Some(socket) = self.newcomers.remove(&number) else {
            return Ok(());
        };
        self.events.remove(&socket);
        let greeting = socket.receive().ok().flatten();
        let Some(Ok(ToMonitor::Hello { version })) = greeting.map(|(bytes, _)| decode(&bytes)) else {
            return Ok(());
        };
        if version.abs_diff(VERSION) > 1 {
            return Ok(());
        }
        self.serve_daemon(socket)?;
        let hello = FromMonitor::Hello {
            version: VERSION,
            container: self.order.container.clone(),
            pid: self.processes.get(&FIRST).map_or(0, |process| process.pid),
            started_at: self.started_at.clone(),
            execs: self.execs.clone(),
        };
        self.tell(&hello);
        Ok(())
    }

    fn carry_out(&mut self, message: ToMonitor, fds: Vec<OwnedFd>) {
        match message {
            ToMonitor::Hello { .. } | ToMonitor::Go => {}
            ToMonitor::Signal { request, signal } => {
                let outcome = match self.processes.get(&FIRST) {
                    Some(process) => process::signal(process.pidfd.as_fd(), signal),
                    None => Ok(()),
                };
                self.answer(request, outcome);
            }
            ToMonitor::Resize {
                request,
                exec,
                rows,
                columns,
            } => {
                let terminal = self
                    .processes
                    .values()
                    .find(|process| process.exec == exec && process.terminal);
                let outcome = match terminal.and_then(|process| process.input.as_ref()) {
                    Some(input) => pty::set_size(input.fd.as_fd(), rows, columns),
                    None => Err(io::Error::new(io::ErrorKind::NotFound, "the process has no terminal")),
                };
                self.answer(request, outcome);
            }
            ToMonitor::Attach { request, attachment } => {
                let outcome = match fds.into_iter().next() {
                    Some(client) => self.attach(FIRST, attachment, client),
                    None => Err(io::Error::new(io::ErrorKind::InvalidInput, "an attach needs a client")),
                };
                self.answer(request, outcome);
            }
            ToMonitor::Exec {
                request,
                exec,
                attachment,
            } => self.exec(request, exec, attachment, fds),
            ToMonitor::ForgetExec { exec } => self.execs.retain(|state| state.exec != exec || state.code.is_none()),
        }
    }

    fn answer(&mut self, request: u64, outcome: io::Result<()>) {
        let answer = match outcome {
            Ok(()) => FromMonitor::Done { request },
            Err(error) => FromMonitor::Refused {
                request,
                errno: error.raw_os_error().unwrap_or(0),
                message: error.to_string(),
            },
        };
        self.tell(&answer);
    }
}
