//! Engine API, "Volumes".

use axum::http::StatusCode;
use conex_api_types::{Filters, VolumeCreateRequest};

use crate::answer::{Answer, Failure, json, no_content, ok};
use crate::router::Call;

/// Since then a prune without filters spares what has a name.
const SPARES_NAMED: (u32, u32) = (1, 42);

/// Since then there are volumes of swarms; older clients' fields of theirs say nothing.
const CLUSTER_VOLUMES: (u32, u32) = (1, 42);

/// `GET /volumes`.
pub(crate) fn list(call: &Call) -> Answer {
    let filters = Filters::parse(call.query.text("filters"))
        .map_err(|error| Failure::bad_request(format!("error reading volume filters: {error}")))?;
    ok(&call.engine.volumes(&filters)?)
}

/// `GET /volumes/{name}`.
pub(crate) fn inspect(call: &Call, name: &str) -> Answer {
    ok(&call.engine.inspect_volume(name)?)
}

/// `POST /volumes/create`.
pub(crate) async fn create(mut call: Call) -> Answer {
    let mut request = call.body::<VolumeCreateRequest>().await?.unwrap_or_default();
    request.cluster_volume_spec = request.cluster_volume_spec.filter(|_| call.version >= CLUSTER_VOLUMES);
    Ok(json(StatusCode::CREATED, &call.engine.create_volume(request).await?))
}

/// `PUT /volumes/{name}`, which is for volumes of a swarm only.
pub(crate) fn update() -> Answer {
    Err(Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "volume update only valid for cluster volumes, but swarm is unavailable",
    ))
}

/// `DELETE /volumes/{name}`.
pub(crate) async fn remove(call: Call, name: &str) -> Answer {
    call.engine.remove_volume(name, call.query.flag("force")).await?;
    no_content()
}

/// `POST /volumes/prune`.
pub(crate) async fn prune(call: Call) -> Answer {
    let filters = call.query.filters()?;
    let all_by_default = call.version < SPARES_NAMED;
    ok(&call.engine.prune_volumes(&filters, all_by_default).await?)
}
