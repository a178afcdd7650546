//! A connection as the protocol of its receiver uses it: bytes one way, or requests with answers.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use conex_container::logging::Remote;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::batch::Batch;
use crate::channel::Channel;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of an answer that are read.
const ANSWER: usize = 64 * 1024;

/// A connection to a receiver.
pub(crate) enum Connection {
    Channel(Channel),
    Http(SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(crate) async fn open(to: &Remote) -> io::Result<Self> {
        let channel = Channel::connect(to.address()).await?;
        match (to, channel) {
            (Remote::Splunk(_), Channel::Tcp(stream)) => http(stream).await,
            (Remote::Splunk(_), Channel::Tls(stream)) => http(stream).await,
            (_, channel) => Ok(Self::Channel(channel)),
        }
    }

    /// Sends a batch; whether the receiver has said that it has it.
    pub(crate) async fn send(&mut self, batch: Batch) -> io::Result<bool> {
        match self {
            Self::Channel(channel) => {
                channel.send(&batch.messages).await?;
                channel.expect(&batch.answer).await?;
                Ok(!batch.answer.is_empty())
            }
            Self::Http(sender) => {
                if let Some(request) = batch.request {
                    let asked = tokio::time::timeout(PATIENCE, post(sender, request)).await;
                    asked.map_err(io::Error::from)??;
                }
                Ok(true)
            }
        }
    }

    /// Waits until the other end is gone. Cancel-safe.
    pub(crate) async fn broken(&mut self) -> io::Error {
        match self {
            Self::Channel(channel) => channel.broken().await,
            // It is seen when the next request is sent, and nothing is underway until then.
            Self::Http(_) => std::future::pending().await,
        }
    }

    /// Whether the other host has taken all that was sent.
    pub(crate) fn is_taken(&self) -> bool {
        match self {
            Self::Channel(channel) => channel.is_taken(),
            Self::Http(_) => true,
        }
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Connection> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // What goes wrong is told to whoever sends.
    tokio::spawn(connection);
    Ok(Connection::Http(sender))
}

async fn post(sender: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> io::Result<()> {
    sender.ready().await.map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER)
        .collect()
        .await
        .map_err(io::Error::other)?;
    if status == StatusCode::OK {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Err(io::Error::other(format!("the receiver answers {status}: {words}")))
}
