//! A part of a blob, or all of it, as a stream that goes on where its connection broke.
//!
//! ```text
//!   begin --200 or 206--> reading --last byte--> end
//!                         |   ^
//!        broke or stalled v   | `Range: bytes=<position>-`, answered by 206, or by 200 whose beginning is skipped
//!                        pause      (attempts without progress are counted; refusals by the registry are final)
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conex_reference::Reference;
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use hyper::{Response, StatusCode};

use crate::error::{RegistryError, Result, TransportError};
use crate::manifest::Descriptor;
use crate::session::Session;
use crate::transport::{Body, content_length};

/// As much must have come since the last failure for it to be forgotten, so that a registry which breaks off after
/// every byte does not keep us for ever.
const PROGRESS: u64 = 1 << 20;

/// Longest pause before a new attempt that nobody asked for.
const PAUSE: Duration = Duration::from_secs(30);

/// What is read.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) session: Arc<Session>,
    pub(crate) repository: Reference,
    pub(crate) descriptor: Descriptor,
}

impl Source {
    fn operation(&self) -> String {
        format!(
            "GET blob {} of {}",
            self.descriptor.digest,
            self.repository.familiar_name()
        )
    }

    fn wrong(&self, reason: String) -> RegistryError {
        RegistryError::Protocol {
            operation: self.operation(),
            reason,
        }
    }
}

/// What a server is taken for that sends all of a blob where a part was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    /// One that knows no ranges: the reading goes on to the end of the blob.
    Taken,
    /// One of no use here.
    Refused,
}

pub(crate) struct Reading {
    source: Source,
    /// The number of the endpoint that is asked first.
    endpoint: usize,
    /// Where in the blob the next byte belongs.
    position: u64,
    /// Where the reading ends.
    end: u64,
    whole: Whole,
    /// Whether a part was asked for and came.
    is_ranged: bool,
    /// Bytes of the present body that lie before the position.
    skip: u64,
    body: Option<Body>,
    /// Since there was progress.
    failures: u32,
    failed_at: u64,
}

impl Reading {
    pub(crate) fn new(source: Source, span: Range<u64>, endpoint: usize, whole: Whole) -> Self {
        Self {
            source,
            endpoint,
            position: span.start,
            end: span.end,
            whole,
            is_ranged: false,
            skip: 0,
            body: None,
            failures: 0,
            failed_at: span.start,
        }
    }

    /// Where it ends; that may be further on once there was an answer.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The number of the endpoint that answered last.
    pub(crate) fn endpoint(&self) -> usize {
        self.endpoint
    }

    /// Whether the server gives parts.
    pub(crate) fn is_ranged(&self) -> bool {
        self.is_ranged
    }

    /// The next piece; `None` after the last byte, an error when there is no hope.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            if self.position >= self.end {
                return None;
            }
            let piece = match &mut self.body {
                Some(body) => body.next().await.unwrap_or(Err(TransportError::UnexpectedEnd)),
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
                    self.endpoint += 1;
                    let operation = self.source.operation();
                    if let Err(error) = self.pause(RegistryError::Body { operation, source }).await {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// What of these bytes is new, and wanted.
    fn accept(&mut self, mut bytes: Bytes) -> Option<Result<Bytes>> {
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        // Not longer than `bytes`, hence within usize.
        let mut new = bytes.split_off(usize::try_from(skipped).unwrap_or(bytes.len()));
        if new.is_empty() {
            return None;
        }
        let size = self.source.descriptor.size;
        if self.position + new.len() as u64 > size {
            return Some(Err(RegistryError::TooLarge {
                operation: self.source.operation(),
                limit: size,
            }));
        }
        // A server may give more than the part that was asked for.
        new.truncate(usize::try_from(self.end - self.position).unwrap_or(new.len()));
        self.position += new.len() as u64;
        Some(Ok(new))
    }

    /// Asks for the rest, until it begins to come or the attempts are used up.
    pub(crate) async fn connect_again(&mut self) -> Result<()> {
        loop {
            let headers = range(self.position, self.end, self.source.descriptor.size);
            let Source {
                session,
                repository,
                descriptor,
            } = &self.source;
            let error = match session
                .blob(repository, descriptor.digest, &headers, self.endpoint)
                .await
            {
                Ok((response, endpoint)) => {
                    self.endpoint = endpoint;
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
        let size = self.source.descriptor.size;
        let is_part = head.status == StatusCode::PARTIAL_CONTENT;
        let start = if is_part { range_start(&head.headers) } else { Some(0) };
        let Some(start) = start.filter(|start| *start <= self.position) else {
            let reason = format!("bytes from {} on were asked for, others came", self.position);
            return Err(self.source.wrong(reason));
        };
        if !is_part && self.end < size {
            if self.whole == Whole::Refused {
                return Err(self.source.wrong("a part was asked for, all came".to_owned()));
            }
            self.end = size;
        }
        if let Some(length) = content_length(&head.headers) {
            let ends = start.saturating_add(length);
            // A part may end where it was to, or with the blob.
            if ends != size && (self.end == size || ends > size) {
                let reason = format!("blob has {ends} bytes, its descriptor says {size}");
                return Err(self.source.wrong(reason));
            }
        }
        self.is_ranged = is_part;
        self.skip = self.position - start;
        self.body = Some(Body::new(body, self.source.session.transport.limits().stall));
        Ok(())
    }

    /// Waits before a new attempt, as long as the registry asks for; gives the error back where there were enough of them.
    async fn pause(&mut self, error: RegistryError) -> Result<()> {
        if self.position.saturating_sub(self.failed_at) >= PROGRESS {
            self.failures = 0;
        }
        self.failed_at = self.position;
        self.failures += 1;
        let limits = self.source.session.transport.limits();
        if self.failures >= limits.attempts || error.asks_too_much() {
            return Err(error);
        }
        let factor = 1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
        let pause = limits.pause.saturating_mul(factor).min(PAUSE);
        tokio::time::sleep(pause.max(error.retry_after().unwrap_or_default())).await;
        Ok(())
    }
}

/// What asks for the bytes from `position` to `end` of a blob.
fn range(position: u64, end: u64, size: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let last = if end < size {
        (end - 1).to_string()
    } else {
        String::new()
    };
    if (position > 0 || end < size)
        && let Ok(range) = HeaderValue::try_from(format!("bytes={position}-{last}"))
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
