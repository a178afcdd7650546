//! Engine API, "Networks".

use axum::http::StatusCode;
use axum::response::IntoResponse;
use conex_api_types::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};

use crate::answer::{Answer, Failure, json, no_content, ok};
use crate::query::until;
use crate::router::Call;

/// Filters of a pruning that are understood.
const PRUNE_FILTERS: [&str; 3] = ["label", "label!", "until"];

/// `GET /networks`.
pub(crate) fn list(call: &Call) -> Answer {
    ok(&call.engine.networks(&call.query.filters()?)?)
}

/// `GET /networks/{id}`. `verbose` tells more of a swarm's networks only.
pub(crate) fn inspect(call: &Call, id: &str) -> Answer {
    ok(&call.engine.inspect_network(id, call.query.text("scope"))?)
}

/// `POST /networks/create`.
pub(crate) async fn create(mut call: Call) -> Answer {
    let request = call.body::<NetworkCreateRequest>().await?.unwrap_or_default();
    Ok(json(StatusCode::CREATED, &call.engine.create_network(request).await?))
}

/// `DELETE /networks/{id}`.
pub(crate) async fn remove(call: Call, id: &str) -> Answer {
    call.engine.remove_network(id).await?;
    no_content()
}

/// `POST /networks/{id}/connect`.
pub(crate) async fn connect(mut call: Call, id: &str) -> Answer {
    let request = call.body::<NetworkConnectRequest>().await?.unwrap_or_default();
    call.engine.connect_network(id, request).await?;
    Ok(StatusCode::OK.into_response())
}

/// `POST /networks/{id}/disconnect`.
pub(crate) async fn disconnect(mut call: Call, id: &str) -> Answer {
    let request = call.body::<NetworkDisconnectRequest>().await?.unwrap_or_default();
    call.engine.disconnect_network(id, request).await?;
    Ok(StatusCode::OK.into_response())
}

/// `POST /networks/prune`.
pub(crate) async fn prune(call: Call) -> Answer {
    let filters = call.query.filters()?;
    filters
        .require_known(&PRUNE_FILTERS)
        .map_err(|error| Failure::bad_request(error.to_string()))?;
    let until = until(&filters)?;
    ok(&call.engine.prune_networks(&filters, until).await?)
}
