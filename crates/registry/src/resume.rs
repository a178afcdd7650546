//! A blob as a stream that goes on where its connection broke.
//!
//! ```text
//!   open --200 or 206--> reading --last byte--> end
//!                        |   ^
//!       broke or stalled v   | `Range: bytes=<position>-`, answered by 206, or by 200 whose beginning is skipped
//!                       pause      (attempts without progress are counted; refusals by the registry are final)
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conex_reference::Reference;
use futures_util::StreamExt as _;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use hyper::{Response, StatusCode};

use crate::error::{RegistryError, Result, TransportError};
use crate::manifest::Descriptor;
use crate::registry::Blob;
use crate::session::Session;
use crate::transport::{content_length, next_piece};

/// As much must have come since the last failure for it to be forgotten, so that a registry which breaks off after
/// every byte does not keep us for ever.
const PROGRESS: u64 = 1 << 20;

/// Longest pause before a new attempt.
const PAUSE: Duration = Duration::from_secs(30);

/// Begins to read a blob from `offset` on. What the registry refuses at once is an error here and not in the stream.
pub(crate) async fn open(
    session: Arc<Session>,
    repository: Reference,
    descriptor: Descriptor,
    offset: u64,
) -> Result<Blob> {
    let size = descriptor.size;
    let mut reading = Reading {
        source: session.begin(descriptor.digest),
        session,
        repository,
        descriptor,
        position: offset,
        skip: 0,
        body: None,
        failures: 0,
        failed_at: offset,
    };
    if offset < size {
        reading.connect_again().await?;
    }
    let pieces = stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await? {
            Ok(bytes) => Some((Ok(bytes), Some(reading))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(Blob {
        size,
        stream: pieces.boxed(),
    })
}

struct Reading {
    session: Arc<Session>,
    repository: Reference,
    descriptor: Descriptor,
    /// The number of the endpoint that is asked first.
    source: usize,
    /// Where in the blob the next byte belongs.
    position: u64,
    /// Bytes of the present body that lie before the position.
    skip: u64,
    body: Option<Incoming>,
    /// Since there was progress.
    failures: u32,
    failed_at: u64,
}

impl Reading {
    /// The next piece; `None` after the last byte, an error when there is no hope.
    async fn next(&mut self) -> Option<Result<Bytes>> {
        let stall = self.session.transport.limits().stall;
        loop {
            if self.position >= self.descriptor.size {
                return None;
            }
            let piece = match &mut self.body {
                Some(body) => next_piece(body, stall)
                    .await
                    .unwrap_or(Err(TransportError::UnexpectedEnd)),
                None => {
                    if let Err(error) = self.connect_again().await {
                        return Some(Err(error));
                    }
                    continue;
                }
            };
            match piece {
                Ok(bytes) => match self.accept(bytes) {
                    Some(outcome) => return Some(outcome),
                    None => continue,
                },
                Err(source) => {
                    self.body = None;
                    // Another may do better.
                    self.source += 1;
                    let operation = self.operation();
                    if let Err(error) = self.pause(RegistryError::Body { operation, source }).await {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// What of these bytes is new.
    fn accept(&mut self, mut bytes: Bytes) -> Option<Result<Bytes>> {
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        // Not longer than `bytes`, hence within usize.
        let new = bytes.split_off(usize::try_from(skipped).unwrap_or(bytes.len()));
        if new.is_empty() {
            return None;
        }
        self.position += new.len() as u64;
        if self.position > self.descriptor.size {
            return Some(Err(RegistryError::TooLarge {
                operation: self.operation(),
                limit: self.descriptor.size,
            }));
        }
        Some(Ok(new))
    }

    /// Asks for the rest, until it begins to come or the attempts are used up.
    async fn connect_again(&mut self) -> Result<()> {
        loop {
            let headers = range(self.position);
            let error = match self
                .session
                .blob(&self.repository, self.descriptor.digest, &headers, self.source)
                .await
            {
                Ok((response, source)) => {
                    self.source = source;
                    return self.begin(response);
                }
                Err(error) => error,
            };
            if !error.is_passing() {
                return Err(error);
            }
            self.pause(error).await?;
        }
    }

    /// Takes a new body, after checking that it is the part that was asked for.
    fn begin(&mut self, response: Response<Incoming>) -> Result<()> {
        let (head, body) = response.into_parts();
        let is_part = head.status == StatusCode::PARTIAL_CONTENT;
        let start = if is_part { range_start(&head.headers) } else { Some(0) };
        let wrong = |reason: String| RegistryError::Protocol {
            operation: self.operation(),
            reason,
        };
        let Some(start) = start.filter(|start| *start <= self.position) else {
            return Err(wrong(format!(
                "bytes from {} on were asked for, others came",
                self.position
            )));
        };
        if let Some(length) = content_length(&head.headers)
            && start.saturating_add(length) != self.descriptor.size
        {
            return Err(wrong(format!(
                "blob has {} bytes, its descriptor says {}",
                start.saturating_add(length),
                self.descriptor.size
            )));
        }
        self.skip = self.position - start;
        self.body = Some(body);
        Ok(())
    }

    /// Waits before a new attempt; gives the error back where there were enough of them.
    async fn pause(&mut self, error: RegistryError) -> Result<()> {
        if self.position.saturating_sub(self.failed_at) >= PROGRESS {
            self.failures = 0;
        }
        self.failed_at = self.position;
        self.failures += 1;
        let limits = self.session.transport.limits();
        if self.failures >= limits.attempts {
            return Err(error);
        }
        let factor = 1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
        tokio::time::sleep(limits.pause.saturating_mul(factor).min(PAUSE)).await;
        Ok(())
    }

    fn operation(&self) -> String {
        format!(
            "GET blob {} of {}",
            self.descriptor.digest,
            self.repository.familiar_name()
        )
    }
}

fn range(position: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if position > 0
        && let Ok(range) = HeaderValue::try_from(format!("bytes={position}-"))
    {
        headers.insert(RANGE, range);
    }
    headers
}

/// The first byte of `Content-Range: bytes 5-9/10`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    value.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}
