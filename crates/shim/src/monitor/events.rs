//! The event loop's sources: epoll(7) with a number per source.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The connection to the daemon.
    Daemon,
    /// A connection to `control.sock` whose greeting is awaited.
    Newcomer(u32),
    /// `control.sock`.
    Listener,
    /// SIGCHLD.
    Children,
    /// An output of a process: 1 or 2.
    Output(u32, u8),
    /// Standard input of a process.
    Input(u32),
    /// A client.
    Client(u32),
}

impl Source {
    fn number(self) -> u64 {
        let pair = |kind: u64, index: u32, extra: u8| kind << 56 | u64::from(extra) << 32 | u64::from(index);
        match self {
            Self::Daemon => pair(0, 0, 0),
            Self::Newcomer(index) => pair(1, index, 0),
            Self::Listener => pair(2, 0, 0),
            Self::Children => pair(3, 0, 0),
            Self::Output(index, stream) => pair(5, index, stream),
            Self::Input(index) => pair(6, index, 0),
            Self::Client(index) => pair(7, index, 0),
        }
    }

    fn of(number: u64) -> Self {
        let index = (number & 0xffff_ffff) as u32;
        match number >> 56 {
            0 => Self::Daemon,
            1 => Self::Newcomer(index),
            2 => Self::Listener,
            3 => Self::Children,
            5 => Self::Output(index, (number >> 32 & 0xff) as u8),
            6 => Self::Input(index),
            _ => Self::Client(index),
        }
    }
}

/// An epoll instance.
#[derive(Debug)]
pub(crate) struct Events {
    epoll: OwnedFd,
}

/// What is waited for.
pub(crate) const READ: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);
pub(crate) const WRITE: EventFlags = EventFlags::OUT;

impl Events {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
        })
    }

    /// Waits for a source from now on.
    pub(crate) fn add(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(source.number()), flags)?)
    }

    /// Waits for something else of a source.
    pub(crate) fn change(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            fd,
            EventData::new_u64(source.number()),
            flags,
        )?)
    }

    /// Does not wait for a source any more.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // Only a descriptor that was never added is an error here.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until something is ready, at most so long where that is said.
    pub(crate) fn wait(&self, most: Option<Duration>) -> io::Result<Vec<(Source, EventFlags)>> {
        let mut ready = Vec::with_capacity(16);
        let most = most.and_then(|most| Timespec::try_from(most).ok());
        rustix::io::retry_on_intr(|| {
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), most.as_ref())
        })?;
        Ok(ready
            .iter()
            .map(|event: &epoll::Event| (Source::of(event.data.u64()), event.flags))
            .collect())
    }
}
