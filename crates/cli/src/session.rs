//! Standard input, output and error on one side, a hijacked connection on the other.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use conex_client::{Hijacked, Output, Stream};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// Most that is read of standard input at a time.
const CHUNK: usize = 32 * 1024;
/// What detaches where no other keys are named: Ctrl-P, Ctrl-Q.
const DEFAULT_KEYS: &[u8] = &[0x10, 0x11];

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The daemon's side closed.
    Output,
    /// It closed after the keys that detach were typed.
    Detached,
}

/// Whether standard input goes to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// It does; with a terminal the keys that detach are looked for.
    Attached {
        /// With a terminal.
        tty: bool,
    },
    /// It does not.
    None,
}

/// Copies both ways until the daemon's side closes.
pub(crate) async fn run(connection: Hijacked, input: Input, detach_keys: Option<&str>) -> Result<End, Failure> {
    let multiplexed = connection.multiplexed;
    let (reader, writer) = tokio::io::split(connection.stream);
    let typed = Arc::new(AtomicBool::new(false));
    if let Input::Attached { tty } = input {
        let keys = if tty { Keys::parse(detach_keys)? } else { Keys::none() };
        tokio::spawn(send(read_stdin(), writer, keys, Arc::clone(&typed)));
    } else {
        // The writing half stays open: closing it would be an end of input.
        tokio::spawn(async move {
            let _writer = writer;
            std::future::pending::<()>().await;
        });
    }
    print(Output::of_connection(reader, multiplexed)).await?;
    let detached = typed.load(Ordering::Relaxed);
    Ok(if detached { End::Detached } else { End::Output })
}

/// Prints output until there is no more.
pub(crate) async fn print<R: tokio::io::AsyncRead + Unpin>(mut output: Output<R>) -> Result<(), Failure> {
    loop {
        // A connection that breaks ends the output; what became of the container is asked for afterwards.
        let Ok(Some(chunk)) = output.next().await else {
            return Ok(());
        };
        let written = match chunk.stream {
            Stream::Stdout => write(&mut io::stdout().lock(), &chunk.bytes),
            Stream::Stderr => write(&mut io::stderr().lock(), &chunk.bytes),
        };
        written.map_err(|error| Failure::local("write output", &error))?;
    }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// Standard input can only be read by a thread that waits; it is left behind at the end.
fn read_stdin() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        while let Ok(count) = stdin.read(&mut buffer) {
            if count == 0 || sender.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn send(
    mut input: mpsc::Receiver<Bytes>,
    mut writer: impl AsyncWrite + Unpin,
    mut keys: Keys,
    typed: Arc<AtomicBool>,
) {
    while let Some(bytes) = input.recv().await {
        if keys.typed(&bytes) {
            typed.store(true, Ordering::Relaxed);
        }
        // A container that reads no more is no error of ours.
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
    // The same.
    let _ = writer.shutdown().await;
}

/// Looks for the keys that detach. The daemon acts on them; here they only tell a detachment from an end.
struct Keys {
    sequence: Vec<u8>,
    recent: Vec<u8>,
}

impl Keys {
    fn none() -> Self {
        Self {
            sequence: Vec::new(),
            recent: Vec::new(),
        }
    }

    /// Parses `ctrl-p,ctrl-q`, `a,ctrl-x`.
    fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let sequence = match text {
            None | Some("") => DEFAULT_KEYS.to_vec(),
            Some(text) => text.split(',').map(parse_key).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            sequence,
            recent: Vec::new(),
        })
    }

    /// Whether these bytes complete the sequence.
    fn typed(&mut self, bytes: &[u8]) -> bool {
        let mut complete = false;
        for byte in bytes {
            self.recent.push(*byte);
            if self.recent.len() > self.sequence.len() {
                self.recent.remove(0);
            }
            complete |= !self.sequence.is_empty() && self.recent == self.sequence;
        }
        complete
    }
}

fn parse_key(key: &str) -> Result<u8, Failure> {
    let lower = key.to_ascii_lowercase();
    let code = match (lower.strip_prefix("ctrl-").map(str::as_bytes), key.as_bytes()) {
        (Some([letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]), _) => Some(letter & 0x1f),
        (None, [byte]) => Some(*byte),
        _ => None,
    };
    code.ok_or_else(|| Failure::new(125, format!("invalid detach keys: unknown character: '{key}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_keys_are_found_across_reads() {
        let mut keys = Keys::parse(None).unwrap();
        assert!(!keys.typed(b"ls\r\x10"));
        assert!(keys.typed(b"\x11"));
        assert!(!keys.typed(b"\x11"));
    }

    #[test]
    fn other_keys_may_be_named() {
        let mut keys = Keys::parse(Some("ctrl-a,x")).unwrap();
        assert!(keys.typed(b"\x01x"));
        assert!(!keys.typed(b"\x10\x11"));
        assert!(Keys::parse(Some("ctrl-")).is_err());
        assert!(Keys::parse(Some("ab")).is_err());
    }
}
