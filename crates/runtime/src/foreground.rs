//! A process in the foreground: its terminal is passed through, what we are signalled goes on to it, its exit code becomes
//! ours.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use conex_launch::ProcessStdio;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::{self, OptionalActions, Termios};

/// How often the size of our own terminal is compared with that of the container's.
const RESIZE_PERIOD: Duration = Duration::from_millis(250);

/// Waits for a child; returns its exit code.
pub(crate) fn wait(pidfd: &OwnedFd, stdio: ProcessStdio) -> Result<u8> {
    let signals = conex_sys::signal::for_another().context("hold signals back")?;
    if let ProcessStdio::Terminal { master } = stdio {
        let raw = RawMode::enter();
        pass_through(&master, pidfd, &signals).context("pass the terminal through")?;
        drop(raw);
    }
    await_end(pidfd, &signals).context("wait for the process")?;
    let status = conex_sys::process::wait(pidfd.as_fd()).context("wait for the process")?;
    Ok(u8::try_from(status.code()).unwrap_or(u8::MAX))
}

fn await_end(pidfd: &OwnedFd, signals: &OwnedFd) -> Result<()> {
    loop {
        let mut polled = [PollFd::new(pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
        let [ended, signalled] = polled.map(|one| !one.revents().is_empty());
        if ended {
            return Ok(());
        }
        if signalled {
            hand_on(signals, pidfd)?;
        }
    }
}

/// The process is in a session of its own, so that what a terminal signals to ours does not reach it either.
fn hand_on(signals: &OwnedFd, pidfd: &OwnedFd) -> Result<()> {
    while let Some(signal) = conex_sys::signal::next(signals.as_fd())? {
        // Of the size of its terminal it is told by that.
        if signal != Signal::WINCH.as_raw() {
            // One that has ended needs none.
            let _ = conex_sys::process::signal(pidfd.as_fd(), signal);
        }
    }
    Ok(())
}

/// Our own terminal in raw mode, until this is dropped.
struct RawMode(Option<Termios>);

impl RawMode {
    fn enter() -> RawMode {
        let Ok(before) = termios::tcgetattr(rustix::stdio::stdin()) else {
            return RawMode(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        // Without a raw terminal keys are echoed twice, but the process works.
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw);
        RawMode(Some(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal may be gone by now.
            let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

fn pass_through(master: &OwnedFd, pidfd: &OwnedFd, signals: &OwnedFd) -> Result<()> {
    let period = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(RESIZE_PERIOD.subsec_nanos()),
    };
    let mut input_open = true;
    loop {
        copy_size(master.as_fd());
        let input_events = if input_open { PollFlags::IN } else { PollFlags::empty() };
        let mut polled = [
            PollFd::new(master, PollFlags::IN),
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(rustix::stdio::stdin(), input_events),
            PollFd::new(signals, PollFlags::IN),
        ];
        match poll(&mut polled, Some(&period)) {
            Err(Errno::INTR) => continue,
            outcome => outcome?,
        };
        let [output, ended, input, signalled] = polled.map(|one| one.revents());
        if !signalled.is_empty() {
            hand_on(signals, pidfd)?;
        }
        if !output.is_empty() {
            // All slaves are closed when reading fails (EIO, pts(4)).
            if !copy(master.as_fd(), rustix::stdio::stdout())? {
                return Ok(());
            }
            continue;
        }
        if !ended.is_empty() {
            return Ok(());
        }
        if input_open && !input.is_empty() {
            input_open = copy(rustix::stdio::stdin(), master.as_fd())?;
        }
    }
}

/// Copies what there is; false at the end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<bool> {
    let mut buffer = [0_u8; 4096];
    let count = match rustix::io::read(from, &mut buffer) {
        Ok(0) | Err(Errno::IO) => return Ok(false),
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        outcome => outcome?,
    };
    let mut rest = &buffer[..count];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}

fn copy_size(master: BorrowedFd<'_>) {
    let Ok(size) = termios::tcgetwinsize(rustix::stdio::stdin()) else {
        return;
    };
    let same = |other: &termios::Winsize| other.ws_row == size.ws_row && other.ws_col == size.ws_col;
    if !termios::tcgetwinsize(master).is_ok_and(|other| same(&other)) {
        // The size is a comfort; the process works with a wrong one.
        let _ = termios::tcsetwinsize(master, size);
    }
}
