//! Engine API, "Exec".

use axum::http::StatusCode;
use axum::response::IntoResponse;
use conex_api_types::{ExecCreateRequest, ExecStartRequest, IdResponse};
use conex_container::ExecConfig;
use conex_engine::ExecStart;

use crate::answer::{Answer, json, ok};
use crate::hijack::{Content, hijack};
use crate::router::Call;
use crate::routes::containers::size;

/// The first version of the API that gives an exec the size of its terminal.
const CONSOLE_SIZE: (u32, u32) = (1, 42);

/// `POST /containers/{id}/exec`.
pub(crate) async fn create(mut call: Call, id: &str) -> Answer {
    let mut request = call.body::<ExecCreateRequest>().await?.unwrap_or_default();
    request.console_size = request.console_size.filter(|_| call.version >= CONSOLE_SIZE);
    let id = call.engine.exec_create(id, ExecConfig::from_request(request)?).await?;
    Ok(json(StatusCode::CREATED, &IdResponse { id }))
}

/// `POST /exec/{id}/start`.
pub(crate) async fn start(mut call: Call, id: &str) -> Answer {
    let request = call.body::<ExecStartRequest>().await?.unwrap_or_default();
    let start = ExecStart {
        detach: request.detach,
        tty: request.tty,
        console_size: request
            .console_size
            .filter(|_| call.version >= CONSOLE_SIZE)
            .map(|[rows, columns]| (rows, columns)),
    };
    match call.engine.exec_start(id, start).await? {
        None => Ok(StatusCode::OK.into_response()),
        Some(pending) => {
            let content = Content::of_tty(pending.tty());
            hijack(call, content, move |client| pending.connect(client))
        }
    }
}

/// `POST /exec/{id}/resize`.
pub(crate) async fn resize(call: Call, id: &str) -> Answer {
    let (rows, columns) = size(&call)?;
    call.engine.exec_resize(id, rows, columns).await?;
    Ok(StatusCode::OK.into_response())
}

/// `GET /exec/{id}/json`.
pub(crate) async fn inspect(call: Call, id: &str) -> Answer {
    ok(&call.engine.exec_inspect(id).await?)
}
