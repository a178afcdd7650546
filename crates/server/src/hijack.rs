//! Connections that change their protocol (Engine API, "Attach to a container", "Hijacking").
//!
//! The answer is `101 UPGRADED` where the client asked for an upgrade, else `200` on a connection that is raw from then on;
//! either way the socket itself is then handed to the engine as a descriptor.

use std::future::Future;
use std::os::fd::OwnedFd;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use conex_engine::ClientConnection;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};

use crate::answer::{Answer, Failure, RAW_STREAM};
use crate::connection::Watched;
use crate::router::Call;

/// What flows on the connection afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes as they are.
    Raw,
    /// Frames.
    Multiplexed,
}

impl Content {
    /// By whether there is a terminal.
    pub(crate) fn of_tty(tty: bool) -> Self {
        if tty { Self::Raw } else { Self::Multiplexed }
    }

    /// An error as the client reads it: on a terminal as it is, else as a frame of standard output, as Docker has it.
    fn error(self, message: &str) -> Vec<u8> {
        let text = format!("{message}\r\n");
        let mut bytes = Vec::new();
        if self == Self::Multiplexed {
            bytes.extend([1, 0, 0, 0]);
            bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
        bytes.extend(text.into_bytes());
        bytes
    }

    /// As clients of a version know it: all streams have one type before 1.42.
    pub(crate) fn media_type(self, version: (u32, u32)) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Multiplexed if version >= (1, 42) => "application/vnd.docker.multiplexed-stream",
            Self::Raw | Self::Multiplexed => RAW_STREAM,
        })
    }
}

/// Answers, and hands the connection over once the answer is out.
pub(crate) fn hijack<F, Fut>(call: Call, content: Content, connect: F) -> Answer
where
    F: FnOnce(ClientConnection) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), conex_engine::Error>> + Send + 'static,
{
    let (mut request, version) = (call.request, call.version);
    if !request.headers().contains_key(header::UPGRADE) {
        return stream(content, connect);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(hand_over(upgrade, content, connect));
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        // Docker's own phrase; clients that read the head by hand look for it.
        .extension(ReasonPhrase::from_static(b"UPGRADED"))
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "tcp")
        .header(header::CONTENT_TYPE, content.media_type(version))
        .body(Body::empty());
    response.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// For clients that ask for no upgrade and only read: the output as the body of the answer. Its input is at its end.
fn stream<F, Fut>(content: Content, connect: F) -> Answer
where
    F: FnOnce(ClientConnection) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), conex_engine::Error>> + Send + 'static,
{
    let failed = |error: std::io::Error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    ours.shutdown(std::net::Shutdown::Write).map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let ours = UnixStream::from_std(ours).map_err(failed)?;
    tokio::spawn(serve(
        ClientConnection {
            socket: theirs.into(),
            preread: bytes::Bytes::new(),
        },
        content,
        connect,
    ));
    let chunks = futures_util::stream::try_unfold(ours, |mut ours| async move {
        let mut chunk = vec![0; CHUNK];
        let count = ours.read(&mut chunk).await?;
        chunk.truncate(count);
        Ok::<_, std::io::Error>((count > 0).then_some((chunk, ours)))
    });
    let response = Response::builder()
        // Docker says so whatever flows.
        .header(header::CONTENT_TYPE, RAW_STREAM)
        .body(Body::from_stream(chunks));
    response.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// Bytes of an answer's body that are read at once.
const CHUNK: usize = 16 * 1024;

async fn hand_over<F, Fut>(upgrade: OnUpgrade, content: Content, connect: F)
where
    F: FnOnce(ClientConnection) -> Fut,
    Fut: Future<Output = Result<(), conex_engine::Error>>,
{
    let client = match upgrade.await {
        Ok(upgraded) => match descriptor(upgraded) {
            Ok(client) => client,
            Err(error) => return tracing::error!(%error, "take a connection over"),
        },
        // The client went away before the answer was out.
        Err(error) => return tracing::debug!(%error, "upgrade a connection"),
    };
    serve(client, content, connect).await;
}

async fn serve<F, Fut>(client: ClientConnection, content: Content, connect: F)
where
    F: FnOnce(ClientConnection) -> Fut,
    Fut: Future<Output = Result<(), conex_engine::Error>>,
{
    // What goes wrong now can only be told on the connection itself, whose end the client sees.
    let words = client.socket.try_clone();
    if let Err(error) = connect(client).await {
        tracing::debug!(%error, "serve an upgraded connection");
        if let Ok(socket) = words {
            // A client that is gone by now has nothing to be told.
            let _ = rustix::io::write(socket, &content.error(&error.to_string()));
        }
    }
}

/// The socket under an upgraded connection, with what was read from it already.
fn descriptor(upgraded: Upgraded) -> std::io::Result<ClientConnection> {
    let upgraded = match upgraded.downcast::<TokioIo<Watched<UnixStream>>>() {
        Ok(parts) => {
            let socket = OwnedFd::from(parts.io.into_inner().into_inner().into_std()?);
            return Ok(ClientConnection {
                socket,
                preread: parts.read_buf,
            });
        }
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<Watched<TcpStream>>>() {
        Ok(parts) => {
            let socket = OwnedFd::from(parts.io.into_inner().into_inner().into_std()?);
            Ok(ClientConnection {
                socket,
                preread: parts.read_buf,
            })
        }
        Err(_) => Err(std::io::Error::other(
            "the connection is neither a UNIX nor a TCP socket",
        )),
    }
}
