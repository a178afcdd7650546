//! Engine API, "Networks".

use axum::http::StatusCode;
use axum::response::IntoResponse;
use conex_api_types::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};

use conex_engine::Connected;

use crate::answer::{Answer, Failure, json, no_content, ok};
use crate::query::until;
use crate::router::Call;

/// Filters of a pruning that are understood.
const PRUNE_FILTERS: [&str; 3] = ["label", "label!", "until"];

/// The first version whose lists do not tell who is connected.
const LISTED_ALONE: (u32, u32) = (1, 28);

/// The first version that can do without IPv4.
const IPV4_OPTIONAL: (u32, u32) = (1, 48);

/// Booleans as Go reads them (`strconv.ParseBool`).
const BOOLEANS: [&str; 12] = [
    "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
];

/// `GET /networks`.
pub(crate) fn list(call: &Call) -> Answer {
    let connected = if call.version < LISTED_ALONE {
        Connected::Shown
    } else {
        Connected::Hidden
    };
    ok(&call.engine.networks(&call.query.filters()?, connected)?)
}

/// `GET /networks/{id}`. `verbose` tells more of a swarm's networks only.
pub(crate) fn inspect(call: &Call, id: &str) -> Answer {
    let verbose = call.query.text("verbose");
    if !verbose.is_empty() && !BOOLEANS.contains(&verbose) {
        let words =
            format!("invalid value for verbose: {verbose}: strconv.ParseBool: parsing {verbose:?}: invalid syntax");
        return Err(Failure::bad_request(words));
    }
    ok(&call.engine.inspect_network(id, call.query.text("scope"))?)
}

/// `POST /networks/create`.
pub(crate) async fn create(mut call: Call) -> Answer {
    let mut request = call.body::<NetworkCreateRequest>().await?.unwrap_or_default();
    if call.version < IPV4_OPTIONAL {
        request.enable_ipv4 = None;
    }
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
