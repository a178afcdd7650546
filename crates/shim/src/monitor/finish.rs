//! The event loop, and the end of the container.
//!
//! The order at the end is that of who waits for it: the exit is recorded, clients that have taken everything see the end of
//! their streams, the daemon is told, then the container's remains go, and last the clients that are slow.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use conex_protocol::message::ExitRecord;
use conex_protocol::monitor::Input;
use conex_sys::failpoint;
use conex_sys::process::{self, Status};
use rustix::event::epoll::EventFlags;
use serde_json::to_vec;

use crate::monitor::events::Source;
use crate::monitor::state::{FIRST, Monitor};
use crate::monitor::time;

/// How often a log is looked at for whose reader the container waits.
const LOOK: Duration = Duration::from_millis(50);

impl Monitor {
    /// Serves until the container has ended and its clients have taken everything.
    pub(crate) fn serve(&mut self) -> io::Result<()> {
        while !(self.protocol.is_over() && self.clients.is_empty()) {
            let held_up = self.is_paused(FIRST) && self.waits_for_log(FIRST);
            for (source, flags) in self.events.wait(held_up.then_some(LOOK))? {
                self.on(source, flags)?;
            }
            if held_up {
                self.resume(FIRST);
            }
        }
        Ok(())
    }

    fn on(&mut self, source: Source, flags: EventFlags) -> io::Result<()> {
        match source {
            Source::Daemon => self.on_daemon(),
            Source::Newcomer(number) => self.on_newcomer(number)?,
            Source::Listener => self.on_listener()?,
            Source::Children => self.reap()?,
            Source::Output(key, stream) => self.on_output(key, stream),
            Source::Input(key) => {
                self.push_input(key);
                self.read_departed(key);
            }
            Source::Client(number) => self.on_client(number, flags),
        }
        Ok(())
    }

    /// Takes every child that has ended: the first process, execs, and orphans of a container without a pid namespace of
    /// its own.
    pub(crate) fn reap(&mut self) -> io::Result<()> {
        let mut signals = [0; 128];
        // What counts is what can be reaped now, not how many signals were sent.
        let _ = rustix::io::read(&self.children, &mut signals);
        let mut first = None;
        while let Some((pid, status)) = process::reap_any()? {
            match self
                .processes
                .iter()
                .find(|(_, process)| process.pid == pid)
                .map(|(key, _)| *key)
            {
                Some(FIRST) => first = Some(status),
                Some(key) => self.on_exec_exit(key, status),
                None => {}
            }
        }
        // Execs that were killed with the first process are told of before it.
        first.map_or(Ok(()), |status| self.on_first_exit(status))
    }

    fn on_first_exit(&mut self, status: Status) -> io::Result<()> {
        let oom_killed = self.was_killed_for_memory();
        if !self.own_pid_namespace
            && let Some(cgroup) = &self.cgroup
        {
            // What the first process left behind ends with it. What does not is found again when the cgroup is removed.
            let _ = cgroup.kill_all();
        }
        let finished_at = time::now();
        self.drain(FIRST);
        if let Some(log) = &mut self.log {
            // As for every write of the log: the container's end does not depend on it.
            let _ = log.writer.flush(&finished_at);
        }
        let record = ExitRecord {
            code: status.code(),
            oom_killed,
            finished_at,
            started_at: self.started_at.clone(),
        };
        failpoint::hit("monitor.before-exit-record");
        // Where the disk takes nothing, the daemon is told all the same; only one that comes later does not know.
        let _ = publish(Path::new(&self.order.exit_file), &to_vec(&record)?);
        failpoint::hit("monitor.after-exit-record");
        // Clients that have taken everything see the end before anybody hears of it, as at Docker.
        self.finish_clients(FIRST);
        self.step(Input::Ended(record));
        failpoint::hit("monitor.after-exit-told");
        self.remove_remains();
        Ok(())
    }

    fn remove_remains(&mut self) {
        let keys: Vec<u32> = self.processes.keys().copied().collect();
        for key in keys {
            if key != FIRST {
                // Killed with the pid namespace, or by its cgroup; the kernel has not told yet.
                self.on_exec_exit(key, Status::Signaled(9));
            }
            self.finish_clients(key);
            self.processes.remove(&key);
        }
        if let Some(mut cgroup) = self.cgroup.take() {
            // The next start of the daemon removes what could not be removed now.
            let _ = cgroup.remove();
        }
        // Whoever has connected and was not served finds the exit on disk.
        if let Some(listener) = self.listener.take() {
            self.events.remove(&listener);
        }
        self.newcomers.clear();
        self.run_dir.clear();
        self.namespaces.clear();
        self.log = None;
        // The end of the channel says that nothing of the run is left but clients.
        self.lose_daemon();
    }
}

/// Writes a file that is seen whole or not at all.
pub(crate) fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path)
}
