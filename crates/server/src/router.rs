//! From a method and a path to a route.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use conex_engine::{Caller, Engine};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::answer::{Answer, Bare, Failure, bare};
use crate::query::Query;
use crate::request_line::Target;
use crate::routes::{archive, containers, create, execs, images, networks, system, volumes};
use crate::{json, media_type, request_line, version};

/// Largest body that is read into memory; archives are streamed instead.
const LARGEST_BODY: u64 = 8 * 1024 * 1024;

/// How long a client may take over the next part of a body that is read into memory.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How much of a body that was refused is still read, so that its client comes to read the answer.
const DISCARDED: usize = 64 * 1024 * 1024;

/// Reads on from a client that still sends, for a while.
fn discard(mut body: BodyDataStream) {
    tokio::spawn(async move {
        let mut left = DISCARDED;
        while let Ok(Some(Ok(chunk))) = timeout(LONGEST_PAUSE, body.next()).await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    });
}

fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    match chunks.len() {
        1 => chunks.remove(0),
        _ => chunks.concat().into(),
    }
}

/// A request whose path is understood.
pub(crate) struct Call {
    /// The engine.
    pub(crate) engine: Engine,
    /// Version of the API that the client speaks.
    pub(crate) version: (u32, u32),
    /// Parameters.
    pub(crate) query: Query,
    /// The request itself.
    pub(crate) request: Request<Body>,
}

impl Call {
    /// The body as JSON; `None` where there is none, which is no error.
    pub(crate) async fn body<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let bytes = self.json_bytes().await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        json::parse(&bytes).map(Some)
    }

    /// The body, which says that it is JSON unless it is empty.
    pub(crate) async fn json_bytes(&mut self) -> Result<Bytes, Failure> {
        let content_type = self.header("Content-Type").unwrap_or_default();
        let is_empty = self.request.body().size_hint().exact() == Some(0);
        let judged = match content_type.as_str() {
            "" if is_empty => Ok(()),
            _ => media_type::require_json(&content_type),
        };
        // The body is taken first: a refusal while the client still writes would be lost with the connection.
        let bytes = self.bytes().await?;
        judged.map_err(Failure::bad_request)?;
        Ok(bytes)
    }

    /// The body as it is.
    pub(crate) async fn bytes(&mut self) -> Result<Bytes, Failure> {
        let body = std::mem::take(self.request.body_mut());
        let announced = body.size_hint().lower();
        let mut body = body.into_data_stream();
        // Kept in the pieces in which they came: a large buffer that is given up leaves a hole in the heap.
        let (mut chunks, mut length) = (Vec::new(), 0);
        loop {
            if length.max(announced) > LARGEST_BODY {
                discard(body);
                let words = format!("read the request's body: it is larger than {LARGEST_BODY} bytes");
                return Err(Failure::bad_request(words));
            }
            match timeout(LONGEST_PAUSE, body.next()).await {
                Ok(None) => return Ok(joined(chunks)),
                Ok(Some(Ok(chunk))) => {
                    length += chunk.len() as u64;
                    chunks.push(chunk);
                }
                Ok(Some(Err(error))) => {
                    // What is known of it is one level down.
                    let cause = std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string);
                    return Err(Failure::bad_request(format!("read the request's body: {cause}")));
                }
                Err(_) => {
                    let words = "read the request's body: the client has stopped sending";
                    return Err(Failure::bad_request(words));
                }
            }
        }
    }

    /// Who calls, where the connection tells.
    pub(crate) fn caller(&self) -> Option<Caller> {
        self.request.extensions().get().copied()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    }
}

/// Serves one request.
pub(crate) async fn serve(engine: Engine, request: Request<Body>) -> Response {
    tracing::debug!(method = %request.method(), uri = %request.uri(), "request");
    let mut response = match route(engine, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    };
    let bare = response.extensions().get::<Bare>().copied();
    let headers = response.headers_mut();
    if bare != Some(Bare::OfAll) {
        headers.insert("Api-Version", HeaderValue::from_static("1.51"));
        headers.insert("Ostype", HeaderValue::from_static("linux"));
    }
    if bare.is_none() {
        headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    }
    headers.insert(
        "Server",
        HeaderValue::from_static(concat!("Conex/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
    response
}

async fn route(engine: Engine, request: Request<Body>) -> Answer {
    let path = match request_line::target(&request)? {
        Target::Path(path) => path,
        Target::Elsewhere(path) => return moved(&path),
    };
    let (version, path) = version::split(&path)?;
    let query = Query::parse(request.uri().query().unwrap_or(""))?;
    let method = request.method().clone();
    let call = Call {
        engine,
        version,
        query,
        request,
    };
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    match (&method, parts.as_slice()) {
        // Answered for whatever is asked, for browsers that ask before they send.
        (&Method::OPTIONS, _) => Ok(StatusCode::OK.into_response()),
        (&Method::GET | &Method::HEAD, ["_ping"]) => system::ping(&method),
        (&Method::GET, ["version"]) => system::version(&call),
        (&Method::GET, ["info"]) => system::info(call).await,
        (&Method::POST, ["auth"]) => system::auth(call).await,
        (&Method::GET, ["system", "df"]) => system::data_usage(call).await,
        (&Method::GET, ["conex", "system", "df"]) => system::disk_usage(call).await,
        (&Method::POST, ["conex", "system", "check"]) => system::check(&call),
        (&Method::GET, ["events"]) => system::events(&call),
        (
            &Method::GET | &Method::POST | &Method::DELETE,
            ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..],
        ) => Err(system::not_in_a_swarm()),
        (&Method::POST, ["commit"]) => images::commit(call).await,
        (_, ["images", rest @ ..]) => image(call, &method, rest).await,
        (&Method::GET, ["distribution", name @ .., "json"]) if !name.is_empty() => {
            images::distribution(call, &name.join("/")).await
        }
        (_, ["networks", rest @ ..]) => network(call, &method, rest).await,
        (_, ["volumes", rest @ ..]) => volume(call, &method, rest).await,
        (_, ["containers", rest @ ..]) => containers_of(call, &method, rest).await,
        (_, ["exec", id, action]) => match (&method, *action) {
            (&Method::POST, "start") => execs::start(call, id).await,
            (&Method::POST, "resize") => execs::resize(call, id).await,
            (&Method::GET, "json") => execs::inspect(call, id).await,
            _ => not_found(),
        },
        _ => not_found(),
    }
}

async fn image(call: Call, method: &Method, rest: &[&str]) -> Answer {
    match (method, rest) {
        (&Method::POST, ["create"]) => images::create(call).await,
        (&Method::POST, ["load"]) => images::load(call).await,
        (&Method::GET, ["json"]) => images::list(call).await,
        (&Method::GET, ["search"]) => images::search(call).await,
        (&Method::GET, ["get"]) => images::save(call, None).await,
        (&Method::POST, ["prune"]) => images::prune(call).await,
        // Names of images contain slashes.
        (&Method::DELETE, [_, ..]) => images::remove(call, &rest.join("/")).await,
        (_, [name @ .., action]) if !name.is_empty() => {
            let name = name.join("/");
            match (method, *action) {
                (&Method::GET, "json") => images::inspect(call, &name).await,
                (&Method::GET, "get") => images::save(call, Some(&name)).await,
                (&Method::GET, "history") => images::history(call, &name).await,
                (&Method::POST, "tag") => images::tag(call, &name).await,
                (&Method::POST, "push") => images::push(call, &name).await,
                _ => not_found(),
            }
        }
        _ => not_found(),
    }
}

async fn containers_of(call: Call, method: &Method, rest: &[&str]) -> Answer {
    match (method, rest) {
        (&Method::POST, ["create"]) => create::create(call).await,
        (&Method::POST, ["prune"]) => containers::prune(call).await,
        (&Method::GET, ["json"]) => containers::list(call).await,
        (&Method::GET | &Method::POST, [_, "checkpoints"]) | (&Method::DELETE, [_, "checkpoints", _]) => {
            Err(system::experimental())
        }
        // Docker takes all that follows for a name.
        (&Method::DELETE, name) if !name.is_empty() => containers::remove(call, &name.join("/")).await,
        (&Method::GET, [id, "attach", "ws"]) => containers::attach_websocket(call, id).await,
        (_, [id, action]) => container(call, method, id, action).await,
        _ => not_found(),
    }
}

async fn container(call: Call, method: &Method, id: &str, action: &str) -> Answer {
    match (method, action) {
        (&Method::GET, "json") => containers::inspect(call, id).await,
        (&Method::GET, "logs") => containers::logs(call, id).await,
        (&Method::POST, "start") => containers::start(call, id).await,
        (&Method::POST, "stop") => containers::stop(call, id).await,
        (&Method::POST, "restart") => containers::restart(call, id).await,
        (&Method::POST, "kill") => containers::kill(call, id).await,
        (&Method::POST, "wait") => containers::wait(call, id).await,
        (&Method::POST, "rename") => containers::rename(call, id).await,
        (&Method::POST, "pause") => containers::pause(call, id).await,
        (&Method::POST, "unpause") => containers::unpause(call, id).await,
        (&Method::GET, "stats") => containers::stats(call, id).await,
        (&Method::GET, "changes") => containers::changes(call, id).await,
        (&Method::GET, "top") => containers::top(call, id).await,
        (&Method::HEAD, "archive") => archive::stat(call, id).await,
        (&Method::GET, "archive") => archive::get(call, id).await,
        (&Method::PUT, "archive") => archive::put(call, id).await,
        (&Method::GET, "export") => archive::export(call, id).await,
        (&Method::POST, "attach") => containers::attach(call, id).await,
        (&Method::POST, "resize") => containers::resize(call, id).await,
        (&Method::POST, "update") => containers::update(call, id).await,
        (&Method::POST, "exec") => execs::create(call, id).await,
        _ => not_found(),
    }
}

async fn network(call: Call, method: &Method, rest: &[&str]) -> Answer {
    match (method, rest) {
        (&Method::GET, [] | [""]) => networks::list(&call),
        (&Method::POST, ["create"]) => networks::create(call).await,
        (&Method::POST, ["prune"]) => networks::prune(call).await,
        (&Method::GET, id) => networks::inspect(&call, &id.join("/")),
        (&Method::DELETE, id) if !id.is_empty() => networks::remove(call, &id.join("/")).await,
        (&Method::POST, [id @ .., "connect"]) => networks::connect(call, &id.join("/")).await,
        (&Method::POST, [id @ .., "disconnect"]) => networks::disconnect(call, &id.join("/")).await,
        _ => not_found(),
    }
}

async fn volume(call: Call, method: &Method, rest: &[&str]) -> Answer {
    match (method, rest) {
        (&Method::GET, []) => volumes::list(&call),
        (&Method::POST, ["create"]) => volumes::create(call).await,
        (&Method::POST, ["prune"]) => volumes::prune(call).await,
        (&Method::GET, name) => volumes::inspect(&call, &name.join("/")),
        (&Method::PUT, name) if !name.is_empty() => volumes::update(),
        (&Method::DELETE, name) if !name.is_empty() => volumes::remove(call, &name.join("/")).await,
        _ => not_found(),
    }
}

/// Sends the client to another path.
fn moved(path: &str) -> Answer {
    let Ok(location) = HeaderValue::from_str(path) else {
        return not_found();
    };
    Ok(bare(
        (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, location)]).into_response(),
    ))
}

fn not_found() -> Answer {
    let failure = Failure::new(StatusCode::NOT_FOUND, "page not found");
    Ok(bare(failure.into_response()))
}
