//! Connections: accepted, served, and given up when the daemon ends.

use std::future::Future;
use std::io;

use axum::body::Body;
use axum::http::Request;
use conex_engine::Engine;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::router;

/// Serves a UNIX socket until `stop`.
pub async fn serve_unix(engine: Engine, listener: UnixListener, stop: impl Future<Output = ()> + Send) {
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => serve(engine.clone(), stream),
                Err(error) => pause(&error).await,
            },
            () = &mut stop => return,
        }
    }
}

/// Serves a TCP socket until `stop`.
pub async fn serve_tcp(engine: Engine, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Keystrokes of an attached terminal are small and must not wait for each other.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "set TCP_NODELAY");
                    }
                    serve(engine.clone(), stream);
                }
                Err(error) => pause(&error).await,
            },
            () = &mut stop => return,
        }
    }
}

/// Out of descriptors, most likely: others are about to be closed.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "accept a connection");
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(engine: Engine, stream: S) {
    tokio::spawn(async move {
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let engine = engine.clone();
            async move { Ok::<_, std::convert::Infallible>(router::serve(engine, request.map(Body::new)).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.with_upgrades().await {
            // Clients that go away in the middle are normal.
            tracing::debug!(%error, "a connection ended");
        }
    });
}
