//! Engine API, "Containers": the operations on a container's files.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conex_api_types::ContainerPathStat;
use conex_engine::CopyRequest;
use futures_util::StreamExt;

use crate::answer::{Answer, Failure};
use crate::router::Call;
use crate::upload::Upload;

/// `HEAD /containers/{id}/archive`.
pub(crate) async fn stat(call: Call, id: &str) -> Answer {
    let stat = call.engine.archive_stat(id, path(&call)?).await?;
    with_stat(&stat, Body::empty())
}

/// `GET /containers/{id}/archive`.
pub(crate) async fn get(call: Call, id: &str) -> Answer {
    let (stat, body) = call.engine.archive_get(id, path(&call)?).await?;
    let mut response = with_stat(&stat, Body::from_stream(body))?;
    let media_type = HeaderValue::from_static("application/x-tar");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

/// `PUT /containers/{id}/archive`.
pub(crate) async fn put(mut call: Call, id: &str) -> Answer {
    let body = Upload::new(std::mem::take(call.request.body_mut())).boxed();
    let request = CopyRequest {
        path: path(&call)?.to_owned(),
        copy_owner: call.query.flag("copyUIDGID"),
        keep_kinds: call.query.flag("noOverwriteDirNonDir"),
    };
    call.engine.archive_put(id, request, body).await?;
    Ok(StatusCode::OK.into_response())
}

/// `GET /containers/{id}/export`.
pub(crate) async fn export(call: Call, id: &str) -> Answer {
    let body = call.engine.export(id).await?;
    let media_type = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    )];
    Ok((media_type, Body::from_stream(body)).into_response())
}

fn path(call: &Call) -> Result<&str, Failure> {
    match call.query.text("path") {
        // Docker's words, a missing blank included.
        "" => Err(Failure::bad_request("bad parameter: pathcannot be empty")),
        path => Ok(path),
    }
}

fn with_stat(stat: &ContainerPathStat, body: Body) -> Result<Response, Failure> {
    let failed = |words: String| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, words);
    let text = serde_json::to_vec(stat).map_err(|error| failed(error.to_string()))?;
    Response::builder()
        .header("X-Docker-Container-Path-Stat", STANDARD.encode(text))
        .body(body)
        .map_err(|error| failed(error.to_string()))
}
