//! From a method and a path to a route.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use conex_engine::Engine;
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use crate::answer::{Answer, Failure};
use crate::query::{Query, decode_path};
use crate::routes::{archive, containers, execs, images, networks, system};
use crate::version;

/// Largest body that is read into memory; archives are streamed instead.
const LARGEST_BODY: usize = 8 * 1024 * 1024;

/// A request whose path is understood.
pub(crate) struct Call {
    /// The engine.
    pub(crate) engine: Engine,
    /// Parameters.
    pub(crate) query: Query,
    /// The request itself.
    pub(crate) request: Request<Body>,
}

impl Call {
    /// The body as JSON; an empty one is `T`'s default where it has none.
    pub(crate) async fn body<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let bytes = self.bytes().await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| match error.is_eof() {
                true => Failure::bad_request("invalid JSON: unexpected EOF"),
                false => Failure::bad_request(format!("invalid JSON: {error}")),
            })
    }

    pub(crate) async fn bytes(&mut self) -> Result<Bytes, Failure> {
        let body = std::mem::take(self.request.body_mut());
        let collected = Limited::new(body, LARGEST_BODY).collect().await;
        collected
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| Failure::bad_request(format!("read the request's body: {error}")))
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
    let headers = response.headers_mut();
    headers.insert("Api-Version", HeaderValue::from_static("1.51"));
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert(
        "Server",
        HeaderValue::from_static(concat!("Conex/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
    response
}

async fn route(engine: Engine, request: Request<Body>) -> Answer {
    let path = version::strip(request.uri().path())?.to_owned();
    let query = Query::parse(request.uri().query().unwrap_or(""));
    let method = request.method().clone();
    let call = Call { engine, query, request };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (&method, parts.as_slice()) {
        (&Method::GET | &Method::HEAD, ["_ping"]) => system::ping(&method),
        (&Method::GET, ["version"]) => system::version(&call),
        (&Method::GET, ["info"]) => system::info(call).await,
        (&Method::POST, ["auth"]) => system::auth(call).await,
        (&Method::GET, ["system", "df"]) => system::data_usage(call).await,
        (&Method::GET, ["events"]) => system::events(&call),
        (
            &Method::GET | &Method::POST | &Method::DELETE,
            ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..],
        ) => Err(system::not_in_a_swarm()),
        (&Method::POST, ["images", "create"]) => images::create(call).await,
        (&Method::POST, ["images", "load"]) => images::load(call).await,
        (&Method::GET, ["images", "json"]) => images::list(call).await,
        (_, ["images", name @ .., action]) if !name.is_empty() => {
            // Names of images contain slashes.
            let name = decode_path(&name.join("/"));
            match (&method, *action) {
                (&Method::GET, "json") => images::inspect(call, &name).await,
                (&Method::POST, "tag") => images::tag(call, &name).await,
                (&Method::DELETE, last) => images::remove(call, &format!("{name}/{}", decode_path(last))).await,
                _ => Err(not_found()),
            }
        }
        (&Method::DELETE, ["images", name]) => images::remove(call, &decode_path(name)).await,
        (_, ["networks", rest @ ..]) => network(call, &method, rest).await,
        (&Method::POST, ["containers", "create"]) => containers::create(call).await,
        (&Method::POST, ["containers", "prune"]) => containers::prune(call).await,
        (&Method::GET, ["containers", "json"]) => containers::list(call).await,
        (&Method::DELETE, ["containers", id]) => containers::remove(call, id).await,
        (_, ["containers", id, action]) => container(call, &method, id, action).await,
        (_, ["exec", id, action]) => match (&method, *action) {
            (&Method::POST, "start") => execs::start(call, id).await,
            (&Method::POST, "resize") => execs::resize(call, id).await,
            (&Method::GET, "json") => execs::inspect(call, id).await,
            _ => Err(not_found()),
        },
        _ => Err(not_found()),
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
        (&Method::POST, "exec") => execs::create(call, id).await,
        _ => Err(not_found()),
    }
}

async fn network(call: Call, method: &Method, rest: &[&str]) -> Answer {
    match (method, rest) {
        (&Method::GET, [] | [""]) => networks::list(&call),
        (&Method::POST, ["create"]) => networks::create(call).await,
        (&Method::POST, ["prune"]) => networks::prune(call).await,
        (&Method::GET, [id]) => networks::inspect(&call, &decode_path(id)),
        (&Method::DELETE, [id]) => networks::remove(call, &decode_path(id)).await,
        (&Method::POST, [id, "connect"]) => networks::connect(call, &decode_path(id)).await,
        (&Method::POST, [id, "disconnect"]) => networks::disconnect(call, &decode_path(id)).await,
        _ => Err(not_found()),
    }
}

fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "page not found")
}
