//! `logs`, and the replay of a log before an attach.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use conex_log::{Entry, Reader};
use futures_util::stream;
use futures_util::{StreamExt, stream::BoxStream};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::containers::Container;
use crate::containers::task::View;
use crate::engine::{Engine, Inner, Logs};
use crate::error::{Error, ErrorKind, Result};
use crate::requests::{AttachQuery, ClientConnection, LogsQuery, Timestamp};

/// Bytes that are collected before they are sent.
const CHUNK: usize = 32 * 1024;

impl Engine {
    /// A container's log, on as it grows where that is asked for.
    pub async fn logs(&self, id: &str, query: LogsQuery) -> Result<Logs> {
        let container = self.inner.containers.find(id)?;
        if !container.config.logs_to_file() {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                "configured logging driver does not support reading",
            ));
        }
        let tty = container.config.tty;
        let stream = follow(&self.inner, &container, query)?;
        Ok(Logs { tty, stream })
    }
}

struct Following {
    reader: Option<Reader>,
    query: LogsQuery,
    tty: bool,
    path: std::path::PathBuf,
    changes: Option<Changes>,
    view: watch::Receiver<View>,
    /// One more look after the container has ended: what it wrote last is there by then.
    last_look: bool,
}

fn follow(
    inner: &Arc<Inner>,
    container: &Container,
    query: LogsQuery,
) -> Result<BoxStream<'static, io::Result<Bytes>>> {
    let path = inner.files.log(&container.id);
    let failed = |error: io::Error| Error::new(ErrorKind::System, format!("read {}: {error}", path.display()));
    // A container that was never started has no log; it is an empty one.
    let mut reader = open(&path).map_err(failed)?;
    if let (Some(reader), Some(tail)) = (&mut reader, query.tail) {
        reader.seek_tail(tail).map_err(failed)?;
    }
    let following = Following {
        reader,
        tty: container.config.tty,
        path: path.clone(),
        changes: None,
        view: container.watch(),
        last_look: !query.follow,
        query,
    };
    let chunks = stream::try_unfold(following, |mut following| async move {
        let chunk = following.next_chunk().await?;
        Ok(chunk.map(|chunk| (chunk, following)))
    });
    Ok(chunks.boxed())
}

fn open(path: &Path) -> io::Result<Option<Reader>> {
    match Reader::open(path) {
        Ok(reader) => Ok(Some(reader)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Following {
    /// The next bytes; `None` at the end.
    async fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            // The state is looked at before the log, so that nothing written between the two is missed.
            let ended = self.last_look || !self.view.borrow().state.is_running();
            let (chunk, past) = self.read_chunk()?;
            if !chunk.is_empty() {
                return Ok(Some(chunk.into()));
            }
            if past || ended {
                return Ok(None);
            }
            self.wait_for_more().await?;
        }
    }

    /// Whole entries up to the size of a chunk, and whether the end of the wanted time was reached.
    fn read_chunk(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut chunk = Vec::new();
        if self.reader.is_none() {
            self.reader = open(&self.path)?;
        }
        let Some(reader) = &mut self.reader else {
            return Ok((chunk, false));
        };
        while chunk.len() < CHUNK {
            let Some(entry) = reader.next_entry()? else { break };
            if self.query.until.is_some_and(|until| time_of(&entry) > until) {
                return Ok((chunk, true));
            }
            let early = self.query.since.is_some_and(|since| time_of(&entry) < since);
            let wanted = if entry.stream.number() == 2 {
                self.query.stderr
            } else {
                self.query.stdout
            };
            // A terminal has one stream.
            if !early && (wanted || self.tty) {
                render(&mut chunk, &entry, &self.query, self.tty);
            }
        }
        Ok((chunk, false))
    }

    async fn wait_for_more(&mut self) -> io::Result<()> {
        if self.changes.is_none() {
            self.changes = Changes::watch(&self.path)?;
            // What was written before the watch began is read now.
            return Ok(());
        }
        let Some(changes) = &self.changes else { return Ok(()) };
        tokio::select! {
            changed = changes.wait() => changed,
            // The owner published something: its end, perhaps.
            _ = self.view.changed() => Ok(()),
        }
    }
}

fn time_of(entry: &Entry) -> Timestamp {
    let time: jiff::Timestamp = entry.time.parse().unwrap_or_default();
    Timestamp {
        seconds: time.as_second(),
        nanoseconds: time.subsec_nanosecond().unsigned_abs(),
    }
}

/// One entry as a client sees it (Engine API, "Stream format").
fn render(out: &mut Vec<u8>, entry: &Entry, query: &LogsQuery, tty: bool) {
    let prefix = if query.timestamps {
        format!("{} ", entry.time)
    } else {
        String::new()
    };
    if !tty {
        let length = u32::try_from(prefix.len() + entry.line.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&[entry.stream.number(), 0, 0, 0]);
        out.extend_from_slice(&length.to_be_bytes());
    }
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(&entry.line);
}

/// Tells when a file grows (inotify(7)).
struct Changes {
    inotify: AsyncFd<Inotify>,
}

struct Inotify(OwnedFd);

impl AsRawFd for Inotify {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Changes {
    fn watch(path: &Path) -> io::Result<Option<Self>> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        match inotify::add_watch(&inotify, path, WatchFlags::MODIFY) {
            Ok(_) => {
                #[expect(
                    deprecated,
                    reason = "its successor is unsafe; `Inotify` owns its descriptor and never changes it"
                )]
                let inotify = AsyncFd::new(Inotify(inotify))?;
                Ok(Some(Self { inotify }))
            }
            // Not started yet: the owner's next state is waited for.
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn wait(&self) -> io::Result<()> {
        let mut ready = self.inotify.readable().await?;
        let mut events = [0; 4096];
        // How many changes there were does not matter.
        let _ = ready.try_io(|inotify| Ok(rustix::io::read(inotify.get_ref().0.as_fd(), &mut events)?));
        Ok(())
    }
}

/// Writes the log so far to a client that attaches; gives the connection back.
pub(crate) async fn replay(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    query: &AttachQuery,
    client: ClientConnection,
) -> Result<ClientConnection> {
    let wanted = LogsQuery {
        stdout: query.stdout,
        stderr: query.stderr,
        ..LogsQuery::default()
    };
    let mut log = follow(inner, container, wanted)?;
    let failed = |error: io::Error| Error::new(ErrorKind::System, format!("replay the log: {error}"));
    let mut socket = std::os::unix::net::UnixStream::from(client.socket);
    while let Some(chunk) = log.next().await {
        let chunk = chunk.map_err(failed)?;
        socket.set_nonblocking(false).map_err(failed)?;
        let written = tokio::task::spawn_blocking(move || socket.write_all(&chunk).map(|()| socket)).await;
        socket = written
            .map_err(|error| failed(io::Error::other(error)))?
            .map_err(failed)?;
    }
    Ok(ClientConnection {
        socket: socket.into(),
        preread: client.preread,
    })
}
