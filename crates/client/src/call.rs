//! Requests and their connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::request::Builder;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};

use crate::query::Target;
use crate::{Endpoint, Error, Result};

/// A connection that changed its protocol: what is written goes to the container, what it writes is read.
///
/// `shutdown` (of `tokio::io::AsyncWriteExt`) closes the container's standard input and leaves the other direction open.
pub struct Hijacked {
    /// The raw connection.
    pub stream: TokioIo<Upgraded>,
    /// Whether its output is framed.
    pub multiplexed: bool,
}

/// A body of a request.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// A client of one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
    /// A connection whose last answer was read to its end, for the next request.
    idle: Arc<Mutex<Option<Sender>>>,
}

/// The sending side of a connection.
type Sender = http1::SendRequest<Body>;

impl Client {
    /// Nothing is opened before the first request.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            idle: Arc::default(),
        }
    }

    /// Where the daemon listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request without a body and takes a body of JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, method: Method, target: &Target) -> Result<T> {
        self.decode(method.clone(), target, empty()).await
    }

    /// Sends and takes JSON.
    pub(crate) async fn json_with<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &Target,
        body: &impl Serialize,
    ) -> Result<T> {
        let body = encode(&method, target, body)?;
        self.decode(method, target, body).await
    }

    async fn decode<T: DeserializeOwned>(&self, method: Method, target: &Target, body: Body) -> Result<T> {
        let operation = operation(&method, target);
        let bytes = self.whole(method, target, body).await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Decode { operation, source })
    }

    /// Sends a request whose answer has no body that matters.
    pub(crate) async fn plain(&self, method: Method, target: &Target) -> Result<()> {
        self.whole(method, target, empty()).await.map(drop)
    }

    /// Sends JSON to an operation whose answer has no body that matters.
    pub(crate) async fn plain_with(&self, method: Method, target: &Target, body: &impl Serialize) -> Result<()> {
        let body = encode(&method, target, body)?;
        self.whole(method, target, body).await.map(drop)
    }

    /// Sends a request and takes the whole answer; the connection is kept for the next request.
    async fn whole(&self, method: Method, target: &Target, body: Body) -> Result<Bytes> {
        let operation = operation(&method, target);
        let (sender, response) = self.exchange(method, target, body, |request| request).await?;
        let bytes = collect(response.into_body(), &operation).await?;
        *self.idle() = Some(sender);
        Ok(bytes)
    }

    /// Sends a request; gives the answer when its head is here, or the daemon's refusal.
    pub(crate) async fn send(
        &self,
        method: Method,
        target: &Target,
        body: Body,
        headers: impl FnOnce(Builder) -> Builder,
    ) -> Result<Response<Incoming>> {
        let (_, response) = self.exchange(method, target, body, headers).await?;
        Ok(response)
    }

    /// The same, with the connection that the answer comes on.
    async fn exchange(
        &self,
        method: Method,
        target: &Target,
        body: Body,
        headers: impl FnOnce(Builder) -> Builder,
    ) -> Result<(Sender, Response<Incoming>)> {
        let operation = operation(&method, target);
        let builder = Request::builder()
            .method(method)
            .uri(target.as_str())
            .header(header::HOST, "conex")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("conex/", env!("CARGO_PKG_VERSION")));
        let request = headers(builder).body(body).map_err(|source| Error::Request {
            operation: operation.clone(),
            source,
        })?;
        let (sender, response) = self.carry(request, &operation).await?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let bytes = collect(response.into_body(), &operation).await?;
            return Err(refusal(status, &bytes));
        }
        Ok((sender, response))
    }

    /// Sends a request on the connection that is there, else on a new one.
    async fn carry(&self, mut request: Request<Body>, operation: &str) -> Result<(Sender, Response<Incoming>)> {
        let failed = |source| Error::Connection {
            operation: operation.to_owned(),
            source,
        };
        let idle = self.idle().take();
        if let Some(mut sender) = idle
            && sender.ready().await.is_ok()
        {
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok((sender, response)),
                Err(error) => error,
            };
            // The daemon has closed it, and nothing of the request was sent.
            let Some(unsent) = error.take_message() else {
                return Err(failed(error.into_error()));
            };
            request = unsent;
        }
        let mut sender = self.connect(operation).await?;
        let response = sender.send_request(request).await.map_err(failed)?;
        Ok((sender, response))
    }

    fn idle(&self) -> MutexGuard<'_, Option<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request that changes the protocol of its connection.
    pub(crate) async fn hijack(&self, target: &Target, body: Body) -> Result<Hijacked> {
        let upgrade = |request: Builder| {
            request
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "tcp")
        };
        let response = self.send(Method::POST, target, body, upgrade).await?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::NotUpgraded {
                status: status.as_u16(),
            });
        }
        let media_type = response.headers().get(header::CONTENT_TYPE);
        let multiplexed = media_type.is_some_and(|value| value.as_bytes().ends_with(b"multiplexed-stream"));
        let upgraded = hyper::upgrade::on(response).await.map_err(|source| Error::Connection {
            operation: operation(&Method::POST, target),
            source,
        })?;
        Ok(Hijacked {
            stream: TokioIo::new(upgraded),
            multiplexed,
        })
    }

    async fn connect(&self, operation: &str) -> Result<Sender> {
        let failed = |source| Error::Connect {
            endpoint: self.endpoint.clone(),
            source,
        };
        match &self.endpoint {
            Endpoint::Unix(path) => shake_hands(UnixStream::connect(path).await.map_err(failed)?, operation).await,
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await.map_err(failed)?;
                // Keystrokes are sent one by one.
                stream.set_nodelay(true).map_err(failed)?;
                shake_hands(stream, operation).await
            }
        }
    }
}

async fn shake_hands<S>(stream: S, operation: &str) -> Result<Sender>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let connected = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = connected.map_err(|source| Error::Connection {
        operation: operation.to_owned(),
        source,
    })?;
    // What goes wrong there is told by the request that waits for its answer.
    tokio::spawn(async move { connection.with_upgrades().await });
    Ok(sender)
}

/// Method and path, as errors name a request.
pub(crate) fn operation(method: &Method, target: &Target) -> String {
    let path = target.as_str().split('?').next().unwrap_or_default();
    format!("{method} {path}")
}

/// No body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body of JSON.
pub(crate) fn encode(method: &Method, target: &Target, body: &impl Serialize) -> Result<Body> {
    let bytes = serde_json::to_vec(body).map_err(|source| Error::Decode {
        operation: operation(method, target),
        source,
    })?;
    Ok(Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed())
}

async fn collect(body: Incoming, operation: &str) -> Result<Bytes> {
    let collected = body.collect().await.map_err(|source| Error::Connection {
        operation: operation.to_owned(),
        source,
    })?;
    Ok(collected.to_bytes())
}

fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let message = match serde_json::from_slice::<conex_api_types::ErrorResponse>(body) {
        Ok(error) => error.message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    Error::Api {
        status: status.as_u16(),
        message,
    }
}
