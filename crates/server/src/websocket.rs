//! Connections that become WebSockets (RFC 6455): `attach` for browsers.
//!
//! Unlike a hijacked connection, this one stays with the daemon, which alone speaks the protocol: between it and the engine
//! there is a pair of sockets. What the container writes goes out in binary messages; what comes in messages of either kind
//! is its input.

use std::future::Future;
use std::io;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use conex_engine::ClientConnection;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::answer::{Answer, Failure, bare};

/// Largest message that is taken; a larger one ends the connection.
const LARGEST_MESSAGE: usize = 1 << 20;

/// Bytes of output that go into one message at most.
const CHUNK: usize = 16 * 1024;

/// What the engine says of the client's connection.
type Connecting = JoinHandle<Result<(), conex_engine::Error>>;

/// Answers, and serves the connection once the answer is out.
pub(crate) fn upgrade<F, Fut>(mut request: Request<Body>, connect: F) -> Answer
where
    F: FnOnce(ClientConnection) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), conex_engine::Error>> + Send + 'static,
{
    let Some(key) = key(request.headers()) else {
        // Docker's words, without a type.
        let mut response = (StatusCode::BAD_REQUEST, "not websocket protocol").into_response();
        response.headers_mut().remove(header::CONTENT_TYPE);
        return Ok(bare(response));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Err(error) = serve(upgrade, connect).await {
            tracing::debug!(%error, "serve a WebSocket");
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .body(Body::empty())
        .map(bare)
        .map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// The client's key (RFC 6455, section 4.2.1).
fn key(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name: header::HeaderName, wanted: &str| {
        let values = headers
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok());
        let mut tokens = values.flat_map(|value| value.split(',').map(str::trim));
        tokens.any(|token| token.eq_ignore_ascii_case(wanted))
    };
    let is_upgrade = has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade");
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    key.filter(|_| is_upgrade && has(header::SEC_WEBSOCKET_VERSION, "13"))
        .cloned()
}

async fn serve<F, Fut>(upgrade: OnUpgrade, connect: F) -> io::Result<()>
where
    F: FnOnce(ClientConnection) -> Fut,
    Fut: Future<Output = Result<(), conex_engine::Error>> + Send + 'static,
{
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    let client = ClientConnection {
        socket: theirs.into(),
        preread: Bytes::new(),
    };
    // Beside the carrying: a log that is replayed first may be longer than what the pair holds.
    let connecting = tokio::spawn(connect(client));
    carry(socket, ours, connecting).await
}

/// Carries bytes both ways until either side ends.
async fn carry<S>(socket: WebSocketStream<S>, ours: UnixStream, connecting: Connecting) -> io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sink, mut messages) = socket.split();
    let (mut output, mut input) = ours.into_split();
    let outwards = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = output.read(&mut chunk).await?;
            if count == 0 {
                break;
            }
            let message = Message::Binary(Bytes::copy_from_slice(&chunk[..count]));
            sink.send(message).await.map_err(io::Error::other)?;
        }
        // The answer is out: only a message can tell what went wrong.
        if let Ok(Err(error)) = connecting.await {
            let words = Message::Text(error.to_string().into());
            sink.send(words).await.map_err(io::Error::other)?;
        }
        let close = CloseFrame {
            code: CloseCode::Normal,
            reason: Utf8Bytes::default(),
        };
        sink.send(Message::Close(Some(close))).await.map_err(io::Error::other)?;
        sink.close().await.map_err(io::Error::other)
    };
    let inwards = async {
        while let Some(message) = messages.next().await {
            match message.map_err(io::Error::other)? {
                Message::Binary(bytes) => input.write_all(&bytes).await?,
                Message::Text(text) => input.write_all(text.as_bytes()).await?,
                // The answer to a close goes out as the end of the messages is read (RFC 6455, section 5.5.1).
                Message::Close(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = outwards => ended,
        ended = inwards => ended,
    }
}
