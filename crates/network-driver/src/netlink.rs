//! A socket to the kernel's routing tables (netlink(7), rtnetlink(7)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::messages::{self, Request};
use crate::replies::{Body, Reply, replies};

/// How long an answer may take. The kernel answers before `send` returns; this is for the answer that was lost because
/// there was no memory for it.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A refusal repeats the request, which is far smaller; an interface without its statistics takes some 1200 bytes.
const ANSWER_BYTES: usize = 8192;

/// The kernel fills at most 32 KiB per datagram of a dump (`NLMSG_GOODSIZE` and the reader's buffer).
const DUMP_BYTES: usize = 32 * 1024;

/// How often a dump is begun anew because what it shows changed meanwhile.
const DUMP_ATTEMPTS: u32 = 8;

/// Bound to the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// In the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0, which is what no protocol means.
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Index of an interface of the socket's namespace (netdevice(7), `SIOCGIFINDEX`).
    pub(crate) fn interface_index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(self.fd.as_fd(), name)?)
    }

    /// Has several requests carried out, in order, by one `send`. The kernel does not stop at one that it refuses; the
    /// first refusal is reported.
    pub(crate) fn request(&mut self, requests: &[Request]) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let last = self.sequence.wrapping_add(requests.len() as u32);
        self.send(&messages::encode(requests, first))?;
        self.sequence = last;
        let mut refusal = 0;
        let mut buffer = [0; ANSWER_BYTES];
        loop {
            let length = self.receive(&mut buffer)?;
            for Reply { sequence, body, .. } in replies(&buffer[..length]) {
                let Body::Answer(errno) = body else { continue };
                // What answers an earlier request belongs to one that was given up.
                let Some(request) = requests.get(sequence.wrapping_sub(first) as usize) else {
                    continue;
                };
                if refusal == 0 && request.is_refused_by(errno) {
                    refusal = errno;
                }
                if sequence == last {
                    return if refusal == 0 {
                        Ok(())
                    } else {
                        Err(io::Error::from_raw_os_error(refusal))
                    };
                }
            }
        }
    }

    /// Asks several questions that have one object for an answer each, by one `send`.
    pub(crate) fn query<T>(&mut self, questions: &[Request], parse: fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
        let first = self.sequence.wrapping_add(1);
        self.send(&messages::encode(questions, first))?;
        self.sequence = self.sequence.wrapping_add(questions.len() as u32);
        let mut objects = Vec::new();
        let mut refusal = 0;
        let mut answered = 0;
        let mut buffer = [0; ANSWER_BYTES];
        while answered < questions.len() {
            let length = self.receive(&mut buffer)?;
            for Reply { sequence, body, .. } in replies(&buffer[..length]) {
                if sequence.wrapping_sub(first) as usize >= questions.len() {
                    continue;
                }
                answered += 1;
                match body {
                    Body::Object(payload) => objects.extend(parse(payload)),
                    Body::Answer(errno) | Body::Done(errno) => refusal = errno,
                }
            }
        }
        if refusal == 0 {
            Ok(objects)
        } else {
            Err(io::Error::from_raw_os_error(refusal))
        }
    }

    /// Reads everything that a dump shows, through `parse`, which passes over what it returns `None` for.
    pub(crate) fn dump<T>(&mut self, request: &Request, parse: fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(objects) = self.try_dump(request, parse)? {
                return Ok(objects);
            }
        }
        Err(io::Error::from(io::ErrorKind::Interrupted))
    }

    fn try_dump<T>(&mut self, request: &Request, parse: fn(&[u8]) -> Option<T>) -> io::Result<Option<Vec<T>>> {
        let expected = self.sequence.wrapping_add(1);
        self.send(&messages::encode(std::slice::from_ref(request), expected))?;
        self.sequence = expected;
        let mut objects = Vec::new();
        let mut complete = true;
        let mut buffer = vec![0; DUMP_BYTES];
        loop {
            let length = self.receive(&mut buffer)?;
            for Reply {
                sequence,
                interrupted,
                body,
            } in replies(&buffer[..length])
            {
                if sequence != expected {
                    continue;
                }
                complete &= !interrupted;
                match body {
                    Body::Object(payload) => objects.extend(parse(payload)),
                    Body::Done(0) => return Ok(complete.then_some(objects)),
                    Body::Done(errno) | Body::Answer(errno) => return Err(io::Error::from_raw_os_error(errno)),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, bytes, SendFlags::empty()))?;
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let received = rustix::io::retry_on_intr(|| rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::TRUNC));
        let (_, length) = received.map_err(|errno| match errno {
            rustix::io::Errno::AGAIN => io::Error::new(io::ErrorKind::TimedOut, "no answer from the kernel"),
            errno => errno.into(),
        })?;
        if length > buffer.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "answer longer than its buffer",
            ));
        }
        Ok(length)
    }
}
