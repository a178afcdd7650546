//! Engine API, "System": ping, version, info, auth, events, disk usage.

use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use conex_engine::{DataUsageQuery, EventsQuery};

use crate::answer::{Answer, Failure, lines, ok};
use crate::router::Call;

/// `GET` and `HEAD /_ping`.
pub(crate) fn ping(method: &Method) -> Answer {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL.as_str(), "no-cache, no-store, must-revalidate"),
        (header::PRAGMA.as_str(), "no-cache"),
        ("Swarm", "inactive"),
        // Which builder the CLI asks for; it is answered that there is none yet.
        ("Builder-Version", "1"),
    ];
    let body = if method == Method::HEAD { "" } else { "OK" };
    Ok((StatusCode::OK, headers, body).into_response())
}

/// `GET /version`.
pub(crate) fn version(call: &Call) -> Answer {
    ok(&call.engine.version())
}

/// `GET /info`.
pub(crate) async fn info(call: Call) -> Answer {
    ok(&call.engine.info().await?)
}

/// `POST /auth`.
pub(crate) async fn auth(mut call: Call) -> Answer {
    let body = call.json_bytes().await?;
    ok(&call.engine.log_in(&body).await?)
}

/// `GET /events`.
pub(crate) fn events(call: &Call) -> Answer {
    let query = EventsQuery {
        since: call.query.time("since")?,
        until: call.query.time("until")?,
        filters: call.query.filters()?,
    };
    lines(call.engine.events(query)?)
}

/// `GET /system/df`.
pub(crate) async fn data_usage(call: Call) -> Answer {
    let mut query = DataUsageQuery::default();
    let types = call.query.all("type");
    for kind in &types {
        match *kind {
            "image" => query.images = true,
            "container" => query.containers = true,
            "volume" => query.volumes = true,
            "build-cache" => query.build_cache = true,
            _ => return Err(Failure::bad_request(format!("unknown object type: {kind}"))),
        }
    }
    if types.is_empty() {
        query = DataUsageQuery {
            images: true,
            containers: true,
            volumes: true,
            build_cache: true,
        };
    }
    ok(&call.engine.data_usage(query).await?)
}

/// What an engine that is not in a swarm answers.
pub(crate) fn not_in_a_swarm() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    )
}
