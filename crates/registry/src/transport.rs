//! Requests and answers over the pool of connections: time limits, redirects, bodies of bounded length.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use crate::config::Limits;
use crate::connect::Connector;
use crate::error::{LONGEST_WAIT, RegistryError, Result, TransportError};
use crate::hosts::Peer;

/// How many redirects are followed; as many as Go's client does.
const REDIRECTS: usize = 10;

/// What a request carries.
type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// How long a connection is kept for the next request of the same pull.
const IDLE: Duration = Duration::from_secs(15);

/// The HTTP client of one pull or push.
pub(crate) struct Transport {
    client: legacy::Client<Connector, RequestBody>,
    connector: Connector,
    user_agent: HeaderValue,
}

/// A request, which may be sent several times.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    /// Headers that nobody gets to see but the server that is asked.
    pub(crate) own: HeaderMap,
    pub(crate) body: Bytes,
    /// Path of another repository that the registry reads for it, which a token must allow.
    pub(crate) reads_also: Option<String>,
}

/// An answer, with who gave it.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    /// True where redirects led to another host than the one that was asked.
    pub(crate) is_foreign: bool,
}

impl Outgoing {
    pub(crate) fn get(url: String) -> Self {
        Self::new(Method::GET, url)
    }

    /// A request without a body.
    pub(crate) fn new(method: Method, url: String) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            own: HeaderMap::new(),
            body: Bytes::new(),
            reads_also: None,
        }
    }

    /// The request as errors name it.
    pub(crate) fn operation(&self) -> String {
        format!("{} {}", self.method, self.url)
    }

    pub(crate) fn transport_error(&self, source: TransportError) -> RegistryError {
        RegistryError::Transport {
            method: method_name(&self.method),
            url: self.url.clone(),
            source,
        }
    }

    pub(crate) fn protocol_error(&self, reason: String) -> RegistryError {
        RegistryError::Protocol {
            operation: self.operation(),
            reason,
        }
    }
}

impl Transport {
    pub(crate) fn new(connector: Connector, user_agent: HeaderValue) -> Self {
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector.clone());
        Self {
            client,
            connector,
            user_agent,
        }
    }

    /// Takes down how hosts are connected to of whom something is said.
    pub(crate) fn introduce(&self, peers: Vec<(String, Peer)>) {
        self.connector.tls.introduce(peers);
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.connector.limits
    }

    /// Sends a request and follows redirects until an answer that is none.
    pub(crate) async fn send(&self, outgoing: &Outgoing) -> Result<Answer> {
        let mut uri: Uri = outgoing
            .url
            .parse()
            .map_err(|error| outgoing.protocol_error(format!("invalid URL: {error}")))?;
        let mut headers = outgoing.headers.clone();
        headers.extend(outgoing.own.clone());
        let mut is_foreign = false;
        for _ in 0..=REDIRECTS {
            let response = self.ask(outgoing, &uri, &headers).await?;
            if !is_redirect(response.status()) {
                return Ok(Answer { response, is_foreign });
            }
            let next = response
                .headers()
                .get(LOCATION)
                .and_then(|location| location.to_str().ok());
            let next = next.and_then(|location| resolve(&uri, location));
            let next = next.ok_or_else(|| outgoing.protocol_error("redirect without a usable Location".to_owned()))?;
            if origin(&next) != origin(&uri) {
                // Storage behind a registry has its own signature in the URL, and is not to see ours.
                headers.clone_from(&outgoing.headers);
                headers.remove(AUTHORIZATION);
                is_foreign = true;
            }
            uri = next;
        }
        Err(outgoing.protocol_error(format!("stopped after {REDIRECTS} redirects")))
    }

    /// As `send`, again after as long as the server asks to wait.
    pub(crate) async fn send_patiently(&self, outgoing: &Outgoing) -> Result<Answer> {
        let mut attempts = 1;
        loop {
            let answer = self.send(outgoing).await?;
            let wait = retry_after(answer.response.status(), answer.response.headers());
            match wait.filter(|wait| *wait <= LONGEST_WAIT && attempts < self.limits().attempts) {
                Some(wait) => wait_for(outgoing, wait).await,
                None => return Ok(answer),
            }
            attempts += 1;
        }
    }

    async fn ask(&self, outgoing: &Outgoing, uri: &Uri, headers: &HeaderMap) -> Result<Response<Incoming>> {
        let body = Full::new(outgoing.body.clone()).map_err(|never| match never {});
        let request = self.request(outgoing, uri, headers, body.boxed_unsync());
        match timeout(self.answer_limit(), self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(outgoing.transport_error(connection_error(&error))),
            Err(_) => Err(outgoing.transport_error(TransportError::ResponseTimeout)),
        }
    }

    /// Sends a request with a body that comes piece by piece, in chunks (RFC 9112, section 7.1). Redirects are not
    /// followed. It may take as long as it likes while pieces are taken.
    pub(crate) async fn send_stream(
        &self,
        outgoing: &Outgoing,
        body: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<Response<Incoming>> {
        let uri: Uri = outgoing
            .url
            .parse()
            .map_err(|error| outgoing.protocol_error(format!("invalid URL: {error}")))?;
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        let frames = body.map_ok(move |bytes| {
            counter.fetch_add(1, Ordering::Relaxed);
            Frame::data(bytes)
        });
        let mut headers = outgoing.headers.clone();
        headers.extend(outgoing.own.clone());
        let request = self.request(outgoing, &uri, &headers, StreamBody::new(frames).boxed_unsync());
        let mut answer = std::pin::pin!(self.client.request(request));
        loop {
            let before = taken.load(Ordering::Relaxed);
            match timeout(self.answer_limit() + self.limits().stall, &mut answer).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(outgoing.transport_error(connection_error(&error))),
                Err(_) if taken.load(Ordering::Relaxed) == before => {
                    return Err(outgoing.transport_error(TransportError::ResponseTimeout));
                }
                Err(_) => {}
            }
        }
    }

    fn request(&self, outgoing: &Outgoing, uri: &Uri, headers: &HeaderMap, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(USER_AGENT, self.user_agent.clone());
        if uri.scheme_str() == Some("http")
            && let Some(proxy) = self.connector.proxy(uri)
            && let Some(authorization) = proxy.basic_auth()
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        request
    }

    /// How long an answer may take. Connecting has limits of its own, so that its errors tell more than this one.
    fn answer_limit(&self) -> Duration {
        let limits = self.limits();
        limits.connect * 2 + limits.handshake + limits.response
    }

    /// The whole body of an answer, if it is not longer than `limit` bytes.
    pub(crate) async fn read_all(&self, outgoing: &Outgoing, body: Incoming, limit: u64) -> Result<Bytes> {
        let mut body = Body::new(body, self.limits().stall);
        let mut bytes = BytesMut::new();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|source| RegistryError::Body {
                operation: outgoing.operation(),
                source,
            })?;
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(RegistryError::TooLarge {
                    operation: outgoing.operation(),
                    limit,
                });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }
}

/// How long a server asks to wait that is asked too often or has too much to do; in seconds, or until a date.
pub(crate) fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    retry_after_at(status, headers, jiff::Timestamp::now())
}

fn retry_after_at(status: StatusCode, headers: &HeaderMap, now: jiff::Timestamp) -> Option<Duration> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    // One that is over asks for nothing more.
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// Waits as long as a server asks to.
async fn wait_for(outgoing: &Outgoing, wait: Duration) {
    tracing::info!(
        url = outgoing.url,
        seconds = wait.as_secs(),
        "the registry asks to wait"
    );
    tokio::time::sleep(wait).await;
}

/// Least that is to come of a body in the time after which it counts as standing still: one that trickles is no better.
const TRICKLE: u64 = 8 << 10;

/// A body, which must keep coming.
pub(crate) struct Body {
    body: Incoming,
    stall: Duration,
    /// Time that was spent on waiting for it, since so much came as is least.
    waited: Duration,
    came: u64,
}

impl Body {
    pub(crate) fn new(body: Incoming, stall: Duration) -> Self {
        Self {
            body,
            stall,
            waited: Duration::ZERO,
            came: 0,
        }
    }

    /// The next bytes; `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<std::result::Result<Bytes, TransportError>> {
        let asked = Instant::now();
        let limit = self.stall.saturating_sub(self.waited);
        let piece = next_piece(&mut self.body, limit, self.stall).await;
        self.waited += asked.elapsed();
        self.came += piece.iter().flatten().map(|bytes| bytes.len() as u64).sum::<u64>();
        if self.came >= TRICKLE {
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        piece
    }
}

async fn next_piece(
    body: &mut Incoming,
    limit: Duration,
    stall: Duration,
) -> Option<std::result::Result<Bytes, TransportError>> {
    loop {
        let frame = match timeout(limit, body.frame()).await {
            Ok(frame) => frame?,
            Err(_) => {
                return Some(Err(TransportError::Stalled {
                    seconds: stall.as_secs(),
                }));
            }
        };
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(bytes)) => return Some(Ok(bytes)),
            Ok(Err(_trailers)) => {}
            Err(error) => return Some(Err(body_error(&error))),
        }
    }
}

/// `Content-Length`, where there is one that can be read.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Our own error of connecting comes wrapped by the pool.
fn connection_error(error: &legacy::Error) -> TransportError {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<TransportError>() {
            return ours.clone();
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
            return match body_error(hyper) {
                TransportError::UnexpectedEnd => TransportError::Http {
                    reason: "EOF".to_owned(),
                },
                other => other,
            };
        }
        cause = error.source();
    }
    TransportError::Http {
        reason: error.to_string(),
    }
}

fn body_error(error: &hyper::Error) -> TransportError {
    let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    // A server says after the handshake what it has against us.
    let tls = io.and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
    if let Some(source) = tls.cloned() {
        return TransportError::Tls { source };
    }
    match io.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::UnexpectedEof) => TransportError::UnexpectedEnd,
        Some(std::io::ErrorKind::ConnectionReset) => TransportError::Http {
            reason: "read: connection reset by peer".to_owned(),
        },
        // Canceled: the connection was gone before the request was on it.
        _ if error.is_incomplete_message() || error.is_canceled() => TransportError::UnexpectedEnd,
        _ => TransportError::Http {
            reason: error.to_string(),
        },
    }
}

/// The method as Go's client begins its errors.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::HEAD => "Head",
        Method::POST => "Post",
        Method::PUT => "Put",
        Method::PATCH => "Patch",
        Method::DELETE => "Delete",
        _ => "Get",
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Scheme, host and port, in which two URLs must agree to be of the same server.
pub(crate) fn origin(uri: &Uri) -> (String, String, u16) {
    let scheme = uri.scheme_str().unwrap_or_default().to_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    (scheme, uri.host().unwrap_or_default().to_lowercase(), port)
}

/// A `Location` against the URL that it was sent for (RFC 3986, section 5.2, without dot segments).
pub(crate) fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let absolute = if location.starts_with("http://") || location.starts_with("https://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{}{location}", base.authority()?)
    } else if location.is_empty() || location.contains("://") {
        return None;
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{}{directory}/{location}", base.authority()?)
    };
    absolute.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_against_the_url_they_came_from() {
        let base: Uri = "https://reg:5000/v2/a/blobs/x?y=1".parse().unwrap();
        for (location, expected) in [
            ("https://cdn/x?sig=%2F", Some("https://cdn/x?sig=%2F")),
            ("//cdn/x#part", Some("https://cdn/x")),
            ("/v2/b", Some("https://reg:5000/v2/b")),
            ("other", Some("https://reg:5000/v2/a/blobs/other")),
            ("ftp://cdn/x", None),
            ("", None),
        ] {
            let expected = expected.map(|url| url.parse::<Uri>().unwrap());
            assert_eq!(resolve(&base, location), expected, "{location}");
        }
    }

    #[test]
    fn a_server_may_ask_to_wait_in_seconds_or_until_a_date() {
        let now = "2026-10-21T07:28:00Z".parse().unwrap();
        let asked = |status: u16, text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            retry_after_at(StatusCode::from_u16(status).unwrap(), &headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(asked(429, "120"), Some(120));
        assert_eq!(asked(503, " 3 "), Some(3));
        assert_eq!(asked(429, "Wed, 21 Oct 2026 07:28:30 GMT"), Some(30));
        assert_eq!(asked(429, "Wed, 21 Oct 2026 07:27:00 GMT"), Some(0));
        assert_eq!(asked(429, "soon"), None);
        assert_eq!(asked(200, "120"), None);
        assert_eq!(
            retry_after_at(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), now),
            None
        );
    }

    #[test]
    fn a_standard_port_is_the_same_server_and_another_scheme_is_not() {
        let origin = |url: &str| origin(&url.parse().unwrap());
        assert_eq!(origin("https://Reg/a"), origin("https://reg:443/b"));
        assert_ne!(origin("https://reg/a"), origin("http://reg/a"));
        assert_ne!(origin("https://reg/a"), origin("https://reg:5000/a"));
    }
}
