//! Engine API, "Containers": create.

mod versions;

use axum::http::StatusCode;
use conex_api_types::ContainerCreateRequest;
use conex_container::{Config, names};

use crate::answer::{Answer, Failure, json};
use crate::router::Call;

/// `POST /containers/create`.
pub(crate) async fn create(mut call: Call) -> Answer {
    // The body is taken first: a refusal while the client still writes would be lost with the connection.
    let request = call.body::<ContainerCreateRequest>().await?;
    let mut request =
        request.ok_or_else(|| Failure::bad_request("invalid JSON: got EOF while reading request body"))?;
    let name = call.query.some("name");
    if let Some(name) = &name {
        names::parse(name)?;
    }
    let warnings = versions::adapt(&mut request, call.version)?;
    let mut config = Config::from_request(request)?;
    if call.version < versions::RECURSIVE_READ_ONLY {
        config.leave_submounts_writable();
    }
    let platform = call
        .query
        .some("platform")
        .filter(|_| call.version >= versions::PLATFORM);
    let mut created = call.engine.create(name, config, platform, call.caller()).await?;
    created.warnings.splice(0..0, warnings);
    Ok(json(StatusCode::CREATED, &created))
}
