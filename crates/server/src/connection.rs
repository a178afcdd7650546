//! Connections: accepted, served, bounded, and given up when the daemon ends.

mod registry;
mod watched;

use std::future::Future;
use std::io;
use std::time::Instant;

use axum::body::Body;
use axum::http::Request;
use conex_engine::{Caller, Engine};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::connection::registry::{Place, REVIEW, Registry};
pub(crate) use crate::connection::watched::Watched;
use crate::router;

/// Serves a UNIX socket until `stop`.
pub async fn serve_unix(engine: Engine, listener: UnixListener, stop: impl Future<Output = ()> + Send) {
    let (registry, mut review) = (Registry::new(), tokio::time::interval(REVIEW));
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(&engine, &registry, caller(&stream), stream).await,
                Err(error) => pause(&error).await,
            },
            _ = review.tick() => registry.close_overdue(Instant::now()),
            () = &mut stop => return,
        }
    }
}

/// Serves a TCP socket until `stop`.
pub async fn serve_tcp(engine: Engine, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
    let (registry, mut review) = (Registry::new(), tokio::time::interval(REVIEW));
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Keystrokes of an attached terminal are small and must not wait for each other.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "set TCP_NODELAY");
                    }
                    admit(&engine, &registry, None, stream).await;
                }
                Err(error) => pause(&error).await,
            },
            _ = review.tick() => registry.close_overdue(Instant::now()),
            () = &mut stop => return,
        }
    }
}

/// Out of descriptors, most likely: others are about to be closed.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "accept a connection");
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

/// The process at the other end, as it was when it connected (`SO_PEERCRED`).
fn caller(stream: &UnixStream) -> Option<Caller> {
    let found = stream.peer_cred().ok()?;
    Some(Caller {
        user: found.uid(),
        group: found.gid(),
    })
}

/// Serves a connection where there is room for one more.
async fn admit<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    engine: &Engine,
    registry: &Registry,
    caller: Option<Caller>,
    stream: S,
) {
    match registry.admit().await {
        Some(place) => drop(tokio::spawn(serve(engine.clone(), place, caller, stream))),
        None => tracing::warn!("a connection is refused: all that there may be are in use"),
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    engine: Engine,
    place: Place,
    caller: Option<Caller>,
    stream: S,
) {
    let entry = &place.entry;
    let of_request = entry.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let (engine, busy) = (engine.clone(), of_request.begin());
        async move {
            let response = router::serve(engine, request.map(Body::new)).await;
            Ok::<_, std::convert::Infallible>(response.map(|body| busy.until_sent(body)))
        }
    });
    let stream = TokioIo::new(Watched::new(stream, entry.clone()));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(stream, service);
    tokio::select! {
        ended = connection.with_upgrades() => if let Err(error) = ended {
            // Clients that go away in the middle are normal.
            tracing::debug!(%error, "a connection ended");
        },
        () = entry.closed() => tracing::debug!("a connection was idle, or took too long over a request's head"),
    }
}
