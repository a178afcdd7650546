//! Engine API, "System": ping, version, info, auth, events, disk usage.

use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use conex_api_types::SystemInfo;
use conex_engine::{DataUsageQuery, EventsQuery, Repair};
use serde_json::Value;

use crate::answer::{Answer, Failure, lines, ok};
use crate::router::Call;
use crate::routes::images::tell_virtual_size;

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
    let mut info = call.engine.info().await?;
    adapt(&mut info, call.version);
    ok(&info)
}

/// What was added later is not told to older clients, and what is gone is.
fn adapt(info: &mut SystemInfo, version: (u32, u32)) {
    if version < (1, 50) {
        info.bridge_nf_iptables = Some(false);
        info.bridge_nf_ip6tables = Some(false);
    }
    if version < (1, 49) {
        info.firewall_backend = None;
        for commit in [
            &mut info.runc_commit,
            &mut info.containerd_commit,
            &mut info.init_commit,
        ] {
            commit.expected = Some(commit.id.clone());
        }
    }
    if version < (1, 47) {
        info.registry_config.nondistributable_cidrs = Some(Value::Null);
        info.registry_config.nondistributable_hostnames = Some(Value::Null);
    }
    if version < (1, 25) {
        for option in &mut info.security_options {
            // `name=seccomp,profile=builtin`
            let name = option.split(',').find_map(|part| part.strip_prefix("name="));
            *option = name.unwrap_or(option).to_owned();
        }
    }
}

/// `POST /auth`.
pub(crate) async fn auth(mut call: Call) -> Answer {
    // Whatever the media type: Docker does not look at it here.
    let body = call.bytes().await?;
    ok(&call.engine.log_in(&body).await?)
}

/// `GET /events`.
pub(crate) fn events(call: &Call) -> Answer {
    let query = EventsQuery {
        since: call.query.time("since")?,
        until: call.query.time("until")?,
        filters: call.query.filters()?,
    };
    if let (Some(since), Some(until)) = (query.since, query.until)
        && since > until
    {
        let (since, until) = (call.query.text("since"), call.query.text("until"));
        let text = format!("`since` time ({since}) cannot be after `until` time ({until})");
        return Err(Failure::bad_request(text));
    }
    lines(call.engine.events(query)?)
}

/// `GET /system/df`.
pub(crate) async fn data_usage(call: Call) -> Answer {
    let mut query = DataUsageQuery::default();
    // Clients before this version could not choose.
    let chosen = if call.version < (1, 42) {
        Vec::new()
    } else {
        call.query.all("type")
    };
    for kind in &chosen {
        match *kind {
            "image" => query.images = true,
            "container" => query.containers = true,
            "volume" => query.volumes = true,
            "build-cache" => query.build_cache = true,
            _ => return Err(Failure::bad_request(format!("unknown object type: {kind}"))),
        }
    }
    if chosen.is_empty() {
        query = DataUsageQuery {
            images: true,
            containers: true,
            volumes: true,
            build_cache: true,
        };
    }
    let mut usage = call.engine.data_usage(query).await?;
    for image in usage.images.iter_mut().flatten() {
        tell_virtual_size(image, call.version);
    }
    ok(&usage)
}

/// `GET /conex/system/df`, of Conex alone.
pub(crate) async fn disk_usage(call: Call) -> Answer {
    ok(&call.engine.disk_usage().await?)
}

/// `POST /conex/system/check`, of Conex alone.
pub(crate) fn check(call: &Call) -> Answer {
    let repair = if call.query.flag("repair") {
        Repair::Asked
    } else {
        Repair::NotAsked
    };
    lines(call.engine.check(repair)?)
}

/// What needs an engine that is in its experimental mode, which there is none of.
pub(crate) fn experimental() -> Failure {
    Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.",
    )
}

/// What an engine that is not in a swarm answers.
pub(crate) fn not_in_a_swarm() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    )
}
