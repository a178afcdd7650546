//! A blob on its way to a registry (OCI distribution specification, "Pushing a blob in chunks").
//!
//! ```text
//!   POST uploads/ --202 Location--> PATCH, all in one --202 Location--> PUT ?digest= --201--> done
//!     ^                               |        ^
//!     |                   broke off   v        | what is left
//!     +-- the registry forgot it -- GET --204 Range: 0-<last byte>
//! ```
//!
//! Nothing is kept: what was sent is hashed meanwhile, and whoever has the content gives it again from its beginning where
//! an attempt follows, so that the hash covers all of it. Attempts without progress are counted; what the registry refuses for
//! good is not tried again.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conex_reference::Digest;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use hyper::{Method, StatusCode, Uri};
use sha2::{Digest as _, Sha256};

use crate::destination::Destination;
use crate::error::{RegistryError, Result};
use crate::token::{Freshness, encode};
use crate::transport::{Outgoing, resolve};

/// As much must have arrived since the last failure for it to be forgotten.
const PROGRESS: u64 = 1 << 20;

/// Longest pause before a new attempt.
const PAUSE: Duration = Duration::from_secs(30);

/// How much longer than before a download it is waited before an attempt: more is lost by one that fails.
const PATIENCE: u32 = 4;

/// Codes of the specification that say that this upload came to nothing, and not that another would.
const BEGIN_AGAIN: [&str; 6] = [
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "RANGE_INVALID",
    "SIZE_INVALID",
    "UNKNOWN",
];

/// What is uploaded.
pub trait Upload: Send + Sync {
    /// The content from its beginning; the same bytes each time.
    fn open(&self) -> BoxStream<'static, io::Result<Bytes>>;

    /// An attempt came to nothing; the next begins after these seconds.
    fn retrying_in(&self, seconds: u64);
}

/// A blob that the registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uploaded {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// An upload between attempts.
#[derive(Default)]
struct State {
    /// Where it goes on, where it was begun.
    location: Option<String>,
    /// What the registry was found to have of it.
    received: u64,
    /// Since there was progress.
    failures: u32,
}

impl Destination {
    /// Sends a blob, again where the connection breaks.
    ///
    /// # Errors
    /// The registry refuses it, cannot be reached in spite of several attempts, or the content cannot be read.
    pub async fn upload(&self, content: &dyn Upload) -> Result<Uploaded> {
        let mut state = State::default();
        loop {
            let error = match self.attempt(&mut state, content).await {
                Ok(uploaded) => return Ok(uploaded),
                Err(error) => error,
            };
            state.failures += 1;
            let may_pass = may_pass(&error) && !error.asks_too_much();
            if !may_pass || state.failures >= self.session.transport.limits().attempts {
                if let Some(location) = state.location {
                    self.cancel_upload(location).await;
                }
                return Err(error);
            }
            let asked = error.retry_after().unwrap_or_default();
            self.pause(state.failures, asked, content).await;
        }
    }

    async fn attempt(&self, state: &mut State, content: &dyn Upload) -> Result<Uploaded> {
        let left = match state.location.clone() {
            Some(location) => self.left_of(location).await?,
            None => None,
        };
        let (location, offset) = match left {
            Some(left) => left,
            None => (self.begin_upload().await?, 0),
        };
        if offset >= state.received.saturating_add(PROGRESS) {
            state.failures = 0;
        }
        state.received = offset;
        state.location = Some(location.clone());
        let (uploaded, location) = self.send(location, offset, content).await?;
        // Whatever becomes of the last step: there is nothing to go on with.
        state.location = None;
        let committed = self.commit_upload(location, &uploaded.digest, Bytes::new()).await;
        match committed {
            // The answer may have been lost, and not the blob.
            Err(error) => match self.blob_size(&uploaded.digest).await {
                Ok(Some(_)) => Ok(uploaded),
                _ => Err(error),
            },
            Ok(()) => Ok(uploaded),
        }
    }

    /// Begins an upload; where it goes.
    pub(crate) async fn begin_upload(&self) -> Result<String> {
        let outgoing = self.request(Method::POST, "blobs/uploads/");
        let (outgoing, response) = self.ask_upload(outgoing).await?;
        location(&outgoing, response.headers())
    }

    /// Ends an upload with its digest and what is not sent yet.
    pub(crate) async fn commit_upload(&self, location: String, digest: &Digest, rest: Bytes) -> Result<()> {
        let separator = if location.contains('?') { '&' } else { '?' };
        let digest = encode(&digest.to_string());
        let mut outgoing = Outgoing::new(Method::PUT, format!("{location}{separator}digest={digest}"));
        outgoing.headers.insert(CONTENT_TYPE, OCTETS);
        outgoing.body = rest;
        self.ask_upload(outgoing).await?;
        Ok(())
    }

    /// Tells the registry that nobody goes on with an upload.
    pub(crate) async fn cancel_upload(&self, location: String) {
        // A registry that does not care collects it by itself.
        let _ = self.ask_upload(Outgoing::new(Method::DELETE, location)).await;
    }

    /// Where an upload goes on, and how many bytes of it have arrived; `None` where it is to be begun again.
    async fn left_of(&self, upload: String) -> Result<Option<(String, u64)>> {
        let (outgoing, response) = match self.ask_upload(Outgoing::get(upload.clone())).await {
            Ok(answer) => answer,
            Err(error) if error.is_passing() => return Err(error),
            Err(_) => return Ok(None),
        };
        let arrived = received(response.headers());
        Ok(arrived.map(|arrived| (location(&outgoing, response.headers()).unwrap_or(upload), arrived)))
    }

    /// Sends what comes after `offset`; where the upload goes on.
    async fn send(&self, upload: String, offset: u64, content: &dyn Upload) -> Result<(Uploaded, String)> {
        let endpoint = self.reached.endpoint();
        let mut freshness = Freshness::Cached;
        loop {
            let mut outgoing = endpoint.ask(Method::PATCH, upload.clone());
            outgoing.headers.insert(CONTENT_TYPE, OCTETS);
            if endpoint.owns(&upload) {
                let session = &self.session;
                session
                    .authorize(endpoint, &self.repository, &mut outgoing, freshness)
                    .await?;
            }
            let tally = Arc::new(Mutex::new(Tally::default()));
            let body = tallied(content.open(), offset, tally.clone());
            let response = self.session.transport.send_stream(&outgoing, body).await;
            if let Some(source) = tallied_so_far(&tally).failure.take() {
                return Err(RegistryError::Content { source });
            }
            let response = response?;
            // The token may have expired on the way.
            if response.status() == StatusCode::UNAUTHORIZED && freshness == Freshness::Cached {
                freshness = Freshness::Renewed;
                continue;
            }
            let response = self
                .session
                .successful(endpoint, &self.repository, &outgoing, response)
                .await?;
            let location = location(&outgoing, response.headers())?;
            let uploaded = tallied_so_far(&tally).uploaded();
            let early = || outgoing.protocol_error("answered before it had all".to_owned());
            return uploaded.map(|uploaded| (uploaded, location)).ok_or_else(early);
        }
    }

    /// Waits before another attempt, as long as the registry asks for at least, and tells how long.
    async fn pause(&self, failures: u32, asked: Duration, content: &dyn Upload) {
        let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
        let base = self.session.transport.limits().pause.saturating_mul(PATIENCE);
        let mut left = base.saturating_mul(factor).min(PAUSE).max(asked);
        while !left.is_zero() {
            content.retrying_in(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
            let step = left.min(Duration::from_secs(1));
            tokio::time::sleep(step).await;
            left -= step;
        }
    }
}

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Where an answer sends us on.
pub(crate) fn location(outgoing: &Outgoing, headers: &HeaderMap) -> Result<String> {
    let base = outgoing.url.parse::<Uri>().ok();
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let resolved = base.zip(location).and_then(|(base, location)| resolve(&base, location));
    let lacking = || outgoing.protocol_error("an answer without a usable Location".to_owned());
    resolved.map(|uri| uri.to_string()).ok_or_else(lacking)
}

/// The bytes that `Range: 0-<last byte>` counts; registries write `0-0` both for nothing and for one byte, and the first is
/// taken for true, since a byte that is sent twice is found out by the digest and one that is not sent as well.
fn received(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    let (first, last) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    match last {
        _ if first != 0 => None,
        0 => Some(0),
        last => last.checked_add(1),
    }
}

fn may_pass(error: &RegistryError) -> bool {
    match error {
        RegistryError::Refused { cause, .. } => BEGIN_AGAIN.contains(&cause.code.as_str()) || error.is_passing(),
        // An upload that the registry forgot, in the words of a proxy before it.
        RegistryError::UnreadableResponse { status: 404, .. } => true,
        _ => error.is_passing(),
    }
}

/// What went by.
#[derive(Default)]
struct Tally {
    hash: Sha256,
    size: u64,
    is_complete: bool,
    failure: Option<io::Error>,
}

impl Tally {
    fn uploaded(&self) -> Option<Uploaded> {
        let digest = Digest::from_bytes(self.hash.clone().finalize().into());
        self.is_complete.then_some(Uploaded {
            digest,
            size: self.size,
        })
    }

    /// What of these bytes lies behind `offset`.
    fn add(&mut self, mut bytes: Bytes, offset: u64) -> Bytes {
        self.hash.update(&bytes);
        let before = offset.saturating_sub(self.size).min(bytes.len() as u64);
        self.size += bytes.len() as u64;
        // Not longer than `bytes`, hence within usize.
        bytes.split_off(usize::try_from(before).unwrap_or(bytes.len()))
    }
}

fn tallied_so_far(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts and hashes all of the content, and gives what lies behind `offset`.
fn tallied(
    content: BoxStream<'static, io::Result<Bytes>>,
    offset: u64,
    tally: Arc<Mutex<Tally>>,
) -> BoxStream<'static, io::Result<Bytes>> {
    let pieces = stream::unfold(Some((content, tally)), move |state| async move {
        let (mut content, tally) = state?;
        loop {
            match content.next().await {
                Some(Ok(bytes)) => {
                    let rest = tallied_so_far(&tally).add(bytes, offset);
                    if !rest.is_empty() {
                        return Some((Ok(rest), Some((content, tally))));
                    }
                }
                Some(Err(error)) => {
                    let broken = io::Error::from(error.kind());
                    tallied_so_far(&tally).failure = Some(error);
                    // Cuts the request off, so that the registry does not take a part for all.
                    return Some((Err(broken), None));
                }
                None => {
                    tallied_so_far(&tally).is_complete = true;
                    return None;
                }
            }
        }
    });
    pieces.boxed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranged(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, value.parse().ok()?);
        received(&headers)
    }

    #[test]
    fn what_has_arrived_is_told_by_the_last_byte() {
        assert_eq!(ranged("0-99"), Some(100));
        assert_eq!(ranged("bytes=0-99"), Some(100));
        assert_eq!(ranged("0-0"), Some(0));
        for wrong in [
            "5-99",
            "0-",
            "-1",
            "x",
            "0-18446744073709551615",
            "0-99999999999999999999",
        ] {
            assert_eq!(ranged(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_location_is_resolved_against_what_was_asked() {
        let outgoing = Outgoing::get("http://reg:5000/v2/a/blobs/uploads/".to_owned());
        let at = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, value.parse().unwrap());
            location(&outgoing, &headers)
        };
        assert_eq!(at("/v2/a/x?_state=y").unwrap(), "http://reg:5000/v2/a/x?_state=y");
        assert_eq!(at("https://store/x").unwrap(), "https://store/x");
        assert!(at("ftp://store/x").is_err());
        assert!(location(&outgoing, &HeaderMap::new()).is_err());
    }

    #[tokio::test]
    async fn what_broke_off_is_cut_at_the_offset_and_hashed_whole() {
        let pieces = || stream::iter(["abc", "def", "g"].map(|text| Ok(Bytes::from(text)))).boxed();
        for offset in 0..9 {
            let tally = Arc::new(Mutex::new(Tally::default()));
            let rest: Vec<Bytes> = tallied(pieces(), offset, tally.clone())
                .map(|piece| piece.unwrap())
                .collect()
                .await;
            let expected = "abcdefg".get(usize::try_from(offset).unwrap()..).unwrap_or("");
            assert_eq!(rest.concat(), expected.as_bytes(), "{offset}");
            let uploaded = tallied_so_far(&tally).uploaded().unwrap();
            assert_eq!((uploaded.digest, uploaded.size), (Digest::of(b"abcdefg"), 7));
        }
    }

    #[tokio::test]
    async fn content_that_cannot_be_read_is_no_blob() {
        let pieces = [Ok(Bytes::from("abc")), Err(io::Error::other("gone"))];
        let tally = Arc::new(Mutex::new(Tally::default()));
        let sent: Vec<_> = tallied(stream::iter(pieces).boxed(), 0, tally.clone()).collect().await;
        assert!(sent.len() == 2 && sent[1].is_err());
        assert!(tallied_so_far(&tally).uploaded().is_none());
        assert_eq!(tallied_so_far(&tally).failure.take().unwrap().to_string(), "gone");
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(value in "[ -~]*") {
            let _ = ranged(&value);
        }
    }
}
