//! `logs`, and the replay of a log before an attach.

mod keeping;

pub(crate) use keeping::{file, forwarding, order};

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use conex_log::{Attributes, Entry, Reader, Stream};
use conex_stream::{ByteStream, Changes};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::containers::Container;
use crate::containers::task::View;
use crate::count::Counted;
use crate::engine::{Engine, Inner, Logs};
use crate::error::{Error, ErrorKind, Result};
use crate::requests::{AttachQuery, ClientConnection, LogsQuery, Timestamp};

/// Bytes that are collected before they are sent.
const CHUNK: usize = 128 * 1024;

/// Bytes of the log that are looked at before the thread is given back, wanted or not.
const STRETCH: usize = 4 * 1024 * 1024;

impl Engine {
    /// A container's log, on as it grows where that is asked for.
    pub async fn logs(&self, id: &str, query: LogsQuery) -> Result<Logs> {
        let container = self.inner.containers.find(id)?;
        let tty = container.config.tty;
        let stream = follow(&self.inner, &container, query).await?;
        Ok(Logs { tty, stream })
    }
}

/// A log that is read for a client.
struct Cursor {
    path: PathBuf,
    reader: Option<Reader>,
    query: LogsQuery,
    tty: bool,
}

/// What a look at the log gave.
enum Look {
    /// Entries for the client; empty where none of those looked at are wanted.
    Entries(Vec<u8>),
    /// The log's present end.
    NothingNow,
    /// The end of the wanted time.
    Past,
}

/// A look that a thread takes, and whether the container had ended before it.
struct Looking {
    look: JoinHandle<(Cursor, io::Result<Look>)>,
    ended: bool,
}

struct Following {
    /// `None` while a thread reads.
    cursor: Option<Cursor>,
    /// The look that is taken while the client gets what the one before it gave.
    ahead: Option<Looking>,
    path: PathBuf,
    changes: Option<Changes>,
    view: watch::Receiver<View>,
    /// Counts as long as the log is followed.
    _follower: Option<Counted>,
    /// One more look after the container has ended: what it wrote last is there by then.
    last_look: bool,
}

async fn follow(inner: &Arc<Inner>, container: &Container, query: LogsQuery) -> Result<ByteStream> {
    let path = file(inner, container).ok_or_else(|| {
        Error::new(
            ErrorKind::NotImplemented,
            "configured logging driver does not support reading",
        )
    })?;
    let failed = |error: io::Error| Error::new(ErrorKind::System, format!("read {}: {error}", path.display()));
    let follower = query.follow.then(|| container.followers.one_more());
    let (view, last_look, tty, file) = (container.watch(), !query.follow, container.config.tty, path.clone());
    let opened = tokio::task::spawn_blocking(move || Cursor::open(file, query, tty)).await;
    let cursor = opened
        .map_err(io::Error::other)
        .and_then(|opened| opened)
        .map_err(failed)?;
    let following = Following {
        cursor: Some(cursor),
        ahead: None,
        path,
        changes: None,
        view,
        _follower: follower,
        last_look,
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
        // A container that was never started has no log; it is an empty one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Cursor {
    /// Opens a log where the client wants to begin.
    fn open(path: PathBuf, query: LogsQuery, tty: bool) -> io::Result<Self> {
        let mut reader = open(&path)?;
        if let (Some(reader), Some(tail)) = (&mut reader, query.tail) {
            reader.seek_tail(tail)?;
        }
        Ok(Self {
            path,
            reader,
            query,
            tty,
        })
    }

    /// Whole entries up to the size of a chunk.
    fn look(&mut self) -> io::Result<Look> {
        if self.reader.is_none() {
            self.reader = open(&self.path)?;
        }
        let Some(reader) = &mut self.reader else {
            return Ok(Look::NothingNow);
        };
        let (mut chunk, mut seen) = (Vec::new(), 0);
        while chunk.len() < CHUNK && seen < STRETCH {
            let Some(entry) = reader.next_entry()? else { break };
            seen += entry.line.len() + entry.time.len();
            let time = (self.query.since.is_some() || self.query.until.is_some()).then(|| time_of(&entry));
            if time > self.query.until && self.query.until.is_some() {
                return Ok(if chunk.is_empty() {
                    Look::Past
                } else {
                    Look::Entries(chunk)
                });
            }
            let wanted = match entry.stream {
                Stream::Stderr => self.query.stderr,
                Stream::Stdout => self.query.stdout,
            };
            if time >= self.query.since && wanted {
                render(&mut chunk, &entry, &self.query, self.tty || self.query.unframed);
            }
        }
        Ok(if seen == 0 {
            Look::NothingNow
        } else {
            Look::Entries(chunk)
        })
    }
}

impl Following {
    /// The next bytes; `None` at the end.
    async fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(Looking { look, ended }) = self.ahead.take().or_else(|| self.look()) else {
                return Ok(None);
            };
            let (cursor, look) = look.await.map_err(io::Error::other)?;
            self.cursor = Some(cursor);
            match look? {
                Look::Entries(chunk) if chunk.is_empty() => {}
                Look::Entries(chunk) => {
                    if chunk.len() >= CHUNK {
                        self.ahead = self.look();
                    }
                    return Ok(Some(chunk.into()));
                }
                Look::Past => return Ok(None),
                Look::NothingNow if ended => return Ok(None),
                Look::NothingNow => self.wait_for_more().await?,
            }
        }
    }

    /// Lets a thread look. The state is looked at before the log, so that nothing written between the two is missed.
    fn look(&mut self) -> Option<Looking> {
        let mut cursor = self.cursor.take()?;
        let ended = self.last_look || !self.view.borrow().state.is_running();
        let look = tokio::task::spawn_blocking(move || {
            let look = cursor.look();
            (cursor, look)
        });
        Some(Looking { look, ended })
    }

    async fn wait_for_more(&mut self) -> io::Result<()> {
        if self.changes.is_none() {
            self.changes = Changes::watch(&self.path)?;
            // What was written before the watch began is read now.
            if self.changes.is_some() {
                return Ok(());
            }
        }
        let Some(changes) = &self.changes else {
            // The owner publishes what comes next, the start among it.
            let _ = self.view.changed().await;
            return Ok(());
        };
        tokio::select! {
            changed = changes.wait() => changed,
            // The owner published something: its end, perhaps.
            _ = self.view.changed() => Ok(()),
        }
    }
}

fn time_of(entry: &Entry<'_>) -> Timestamp {
    let time: jiff::Timestamp = entry.time.parse().unwrap_or_default();
    Timestamp {
        seconds: time.as_second(),
        nanoseconds: time.subsec_nanosecond().unsigned_abs(),
    }
}

/// One entry as a client sees it (Engine API, "Stream format").
fn render(out: &mut Vec<u8>, entry: &Entry<'_>, query: &LogsQuery, unframed: bool) {
    let time = if query.timestamps { entry.time } else { "" };
    let after_time = if query.timestamps { " " } else { "" };
    let attributes = if query.details {
        details(entry.attributes)
    } else {
        String::new()
    };
    let parts = [time, after_time, &attributes].map(str::as_bytes);
    if !unframed {
        let length = parts.iter().map(|part| part.len()).sum::<usize>() + entry.line.len();
        out.extend_from_slice(&[entry.stream.number(), 0, 0, 0]);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(entry.line);
}

/// Attributes as clients see them: pairs in their order, escaped as in a query, and a blank.
fn details(attributes: &Attributes) -> String {
    let pairs = attributes
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join(",") + " "
}

/// Text as it stands in a query, as Go escapes it.
fn escaped(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        byte => format!("%{byte:02X}"),
    });
    bytes.collect()
}

/// The longest that a client is given to read the head of its answer.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);

/// Waits until the client has read the head of its answer. Some read it through a buffer and go on with the socket itself,
/// the Docker SDK for Python among them: what has come along with the head is lost to them.
async fn head_is_read(socket: &UnixStream) {
    let deadline = Instant::now() + HEAD_PATIENCE;
    while Instant::now() < deadline && matches!(conex_sys::descriptor::is_all_taken(socket.as_fd()), Ok(false)) {
        // The kernel tells nobody when the other end reads.
        tokio::time::sleep(Duration::from_millis(1)).await;
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
        unframed: query.unframed,
        ..LogsQuery::default()
    };
    let mut log = follow(inner, container, wanted).await?;
    let failed = |error: io::Error| Error::new(ErrorKind::System, format!("replay the log: {error}"));
    let socket = std::os::unix::net::UnixStream::from(client.socket);
    socket.set_nonblocking(true).map_err(failed)?;
    // Whatever kind of socket it is: all that is done is wait and write.
    let mut socket = UnixStream::from_std(socket).map_err(failed)?;
    head_is_read(&socket).await;
    while let Some(chunk) = log.next().await {
        socket.write_all(&chunk.map_err(failed)?).await.map_err(failed)?;
    }
    Ok(ClientConnection {
        socket: socket.into_std().map_err(failed)?.into(),
        preread: client.preread,
    })
}
