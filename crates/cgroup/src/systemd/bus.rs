//! A connection to systemd (D-Bus specification, "Authentication Protocol" and "Server Addresses").
//!
//! It is read and written by the thread that calls, and closed with the call: neither a thread nor a descriptor of it is
//! there when a process is cloned.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use super::BusError;
use super::message::{self, Arguments, HEAD, Kind, Method, Received};

/// How long systemd may take for all that is asked over one connection; that of runc.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where systemd itself listens, for root alone; no daemon of the bus has to be there.
const DIRECT: &str = "/run/systemd/private";

/// Where the system's bus listens.
const BUS: &str = "/run/dbus/system_bus_socket";

/// Names of systemd on the bus.
const SYSTEMD: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// Which signals the bus is asked for.
const JOBS: &str = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// A connection that calls can be made over.
#[derive(Debug)]
pub(crate) struct Bus {
    stream: UnixStream,
    deadline: Instant,
    serial: u32,
    /// Signals that came before the answer that was waited for.
    signals: VecDeque<Received>,
}

impl Bus {
    /// Connects to what `DBUS_SYSTEM_BUS_ADDRESS` names, else to systemd itself, else to the system's bus.
    pub(crate) fn connect() -> Result<Self, BusError> {
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok();
        if let Some(text) = address.filter(|text| !text.is_empty()) {
            return Self::over(connect_any(&text)?)?.greeted();
        }
        if let Ok(stream) = UnixStream::connect(DIRECT) {
            // It has no names to be given, and sends its signals to everybody.
            return Self::over(stream);
        }
        Self::over(UnixStream::connect(BUS)?)?.greeted()
    }

    fn over(stream: UnixStream) -> Result<Self, BusError> {
        let mut bus = Self {
            stream,
            deadline: Instant::now() + PATIENCE,
            serial: 0,
            signals: VecDeque::new(),
        };
        bus.authenticate()?;
        Ok(bus)
    }

    /// `EXTERNAL`: the kernel tells the other side who this is. `BEGIN` goes with it, as in systemd's own library: what
    /// follows `BEGIN` closely enough to be read together with it lies unread at systemd until more comes.
    fn authenticate(&mut self) -> Result<(), BusError> {
        let user = rustix::process::geteuid().as_raw().to_string();
        let hex: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.write(format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 1024 {
                return Err(BusError::Unreadable);
            }
        }
        if line.starts_with(b"OK ") {
            return Ok(());
        }
        Err(BusError::NotLetIn {
            said: String::from_utf8_lossy(&line).trim().to_owned(),
        })
    }

    /// Gets a name from the bus, and has it and systemd send signals of jobs.
    fn greeted(mut self) -> Result<Self, BusError> {
        let bus = |name| Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            name,
        };
        self.ask(&bus("Hello"), &Arguments::default())?;
        self.ask(&bus("AddMatch"), &Arguments::default().text(JOBS))?;
        self.call("Subscribe", &Arguments::default())?;
        Ok(self)
    }

    /// Calls a method of systemd's manager.
    pub(crate) fn call(&mut self, name: &str, arguments: &Arguments) -> Result<Received, BusError> {
        let method = Method {
            destination: SYSTEMD,
            path: OBJECT,
            interface: INTERFACE,
            name,
        };
        self.ask(&method, arguments)
    }

    /// Reads a property of systemd's manager.
    pub(crate) fn property(&mut self, name: &str) -> Result<String, BusError> {
        let method = Method {
            destination: SYSTEMD,
            path: OBJECT,
            interface: "org.freedesktop.DBus.Properties",
            name: "Get",
        };
        self.ask(&method, &Arguments::default().text(INTERFACE).text(name))?
            .text()
    }

    /// Waits for the end of a job; returns its result.
    pub(crate) fn end_of(&mut self, job: &str) -> Result<String, BusError> {
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.receive()?,
            };
            let is_job = matches!(&signal.kind, Kind::Signal { member } if member == "JobRemoved");
            if is_job {
                let (ended, result) = signal.job()?;
                if ended == job {
                    return Ok(result);
                }
            }
        }
    }

    fn ask(&mut self, method: &Method<'_>, arguments: &Arguments) -> Result<Received, BusError> {
        self.serial += 1;
        let sent = self.serial;
        self.write(&message::call(sent, method, arguments))?;
        loop {
            let received = self.receive()?;
            match &received.kind {
                Kind::Answer { serial } if *serial == sent => return Ok(received),
                Kind::Refusal { serial, name } if *serial == sent => {
                    return Err(BusError::Refused {
                        name: name.clone(),
                        message: received.text().unwrap_or_default(),
                    });
                }
                Kind::Signal { .. } => self.signals.push_back(received),
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> Result<Received, BusError> {
        let mut bytes = vec![0; HEAD];
        self.fill(&mut bytes)?;
        let head = bytes[..HEAD].try_into().map_err(|_| BusError::Unreadable)?;
        bytes.resize(HEAD + message::rest(head)?, 0);
        self.fill(&mut bytes[HEAD..])?;
        message::read(&bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BusError> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        match self.stream.read_exact(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(BusError::Silent),
            read => Ok(read?),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        match self.stream.write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(BusError::Silent),
            written => Ok(written?),
        }
    }

    fn left(&self) -> Result<Duration, BusError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(BusError::Silent)
        } else {
            Ok(left)
        }
    }
}

/// Connects to the first of the addresses where somebody listens.
fn connect_any(addresses: &str) -> Result<UnixStream, BusError> {
    let mut outcome = Err(BusError::NoAddress {
        text: addresses.to_owned(),
    });
    for address in addresses.split(';').filter_map(parse_address) {
        match address.and_then(|address| UnixStream::connect_addr(&address)) {
            Ok(stream) => return Ok(stream),
            Err(error) => outcome = Err(error.into()),
        }
    }
    outcome
}

/// `unix:path=/run/x,guid=...` or `unix:abstract=x`; others are nobody's here.
fn parse_address(text: &str) -> Option<io::Result<SocketAddr>> {
    let mut pairs = text
        .strip_prefix("unix:")?
        .split(',')
        .filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| match key {
        "path" => Some(SocketAddr::from_pathname(unescape(value))),
        "abstract" => Some(SocketAddr::from_abstract_name(unescape(value))),
        _ => None,
    })
}

/// `%2f` stands for the byte of that number.
fn unescape(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => bytes.extend([b"%", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_sockets_are_understood() {
        let path = |text: &str| parse_address(text)?.ok()?.as_pathname().map(ToOwned::to_owned);
        assert_eq!(path("unix:path=/run/bus,guid=12"), Some("/run/bus".into()));
        assert_eq!(path("unix:guid=12,path=/run/a%20bus%3d"), Some("/run/a bus=".into()));
        let address = parse_address("unix:abstract=/tmp/x").unwrap().unwrap();
        assert_eq!(address.as_abstract_name(), Some(b"/tmp/x".as_slice()));
        assert!(parse_address("tcp:host=localhost").is_none());
    }
}
