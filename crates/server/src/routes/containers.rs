//! Engine API, "Containers".

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use conex_api_types::{ContainerInspect, HostConfig};
use conex_engine::{AttachQuery, ContainersQuery, LogsQuery, RemoveRequest, StatsKind, StopRequest, WaitCondition};
use futures_util::stream;

use crate::answer::{Answer, Failure, bare, lines, no_content, ok};
use crate::hijack::{Content, hijack};
use crate::query::until;
use crate::router::Call;
use crate::websocket;

/// `GET /containers/json`.
pub(crate) async fn list(call: Call) -> Answer {
    let query = ContainersQuery {
        all: call.query.flag("all"),
        limit: call
            .query
            .number::<i64>("limit")?
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| *limit > 0),
        size: call.query.flag("size"),
        filters: call.query.filters()?,
    };
    ok(&call.engine.containers(query).await?)
}

/// `GET /containers/{id}/json`.
pub(crate) async fn inspect(call: Call, id: &str) -> Answer {
    let mut container = call.engine.inspect(id, call.query.flag("size")).await?;
    if call.version < ALIASES_AS_ASKED {
        add_own_names(&mut container);
    }
    ok(&container)
}

/// Longest body of a start that says nothing, in bytes; Docker's.
const EMPTY_BODY: u64 = 7;

/// `POST /containers/{id}/start`.
pub(crate) async fn start(call: Call, id: &str) -> Answer {
    // `{}` and a newline or two are what some clients send for nothing.
    let length = call.request.body().size_hint().exact();
    if length.is_none_or(|length| length > EMPTY_BODY) {
        return Err(Failure::bad_request(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    if !call.query.text("checkpoint").is_empty() {
        return Err(Failure::bad_request(
            "checkpoint is only supported in experimental mode",
        ));
    }
    call.engine.start(id, call.query.some("detachKeys")).await?;
    no_content()
}

/// `POST /containers/{id}/stop`.
pub(crate) async fn stop(call: Call, id: &str) -> Answer {
    call.engine.stop(id, stop_request(&call)?).await?;
    no_content()
}

/// `POST /containers/{id}/restart`.
pub(crate) async fn restart(call: Call, id: &str) -> Answer {
    call.engine.restart(id, stop_request(&call)?).await?;
    no_content()
}

fn stop_request(call: &Call) -> Result<StopRequest, Failure> {
    Ok(StopRequest {
        signal: call.query.some("signal"),
        timeout: call.query.number("t")?,
    })
}

/// `POST /containers/{id}/kill`.
pub(crate) async fn kill(call: Call, id: &str) -> Answer {
    call.engine.kill(id, call.query.some("signal")).await?;
    no_content()
}

/// `POST /containers/{id}/rename`.
pub(crate) async fn rename(call: Call, id: &str) -> Answer {
    call.engine.rename(id, call.query.text("name")).await?;
    no_content()
}

/// `POST /containers/{id}/pause`.
pub(crate) async fn pause(call: Call, id: &str) -> Answer {
    call.engine.pause(id).await?;
    no_content()
}

/// `POST /containers/{id}/unpause`.
pub(crate) async fn unpause(call: Call, id: &str) -> Answer {
    call.engine.unpause(id).await?;
    no_content()
}

/// `GET /containers/{id}/top`.
pub(crate) async fn top(call: Call, id: &str) -> Answer {
    ok(&call.engine.top(id, call.query.text("ps_args")).await?)
}

/// `GET /containers/{id}/stats`.
pub(crate) async fn stats(call: Call, id: &str) -> Answer {
    // A stream is what is given where nothing is said.
    let stream = call.query.text("stream").is_empty() || call.query.flag("stream");
    let kind = match (stream, call.query.flag("one-shot")) {
        (true, true) => {
            return Err(Failure::bad_request("cannot have stream=true and one-shot=true"));
        }
        (true, false) => StatsKind::Stream,
        (false, true) => StatsKind::OneShot,
        (false, false) => StatsKind::Once,
    };
    let mut response = lines(call.engine.stats(id, kind).await?)?;
    if kind == StatsKind::Stream {
        // Docker names the type of a single answer only.
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    Ok(response)
}

/// `GET /containers/{id}/changes`.
pub(crate) async fn changes(call: Call, id: &str) -> Answer {
    let changes = call.engine.changes(id).await?;
    ok(&Some(changes).filter(|changes| !changes.is_empty()))
}

/// `POST /containers/prune`.
pub(crate) async fn prune(call: Call) -> Answer {
    let filters = call.query.filters()?;
    let until = until(&filters)?;
    ok(&call.engine.prune_containers(&filters, until).await?)
}

/// `DELETE /containers/{id}`.
pub(crate) async fn remove(call: Call, id: &str) -> Answer {
    let request = RemoveRequest {
        force: call.query.flag("force"),
        volumes: call.query.flag("v"),
        link: call.query.flag("link"),
    };
    call.engine.remove(id, request).await?;
    no_content()
}

/// `POST /containers/{id}/wait`. The head goes out at once: clients start the container when they have it.
pub(crate) async fn wait(call: Call, id: &str) -> Answer {
    let condition = match call.query.text("condition") {
        // Clients of before there were conditions.
        _ if call.version < (1, 30) => WaitCondition::NotRunning,
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(Failure::bad_request(format!("invalid condition: {other:?}"))),
    };
    let waiting = call.engine.wait(id, condition).await?;
    let body = stream::once(async move {
        let outcome = waiting.await.map_err(std::io::Error::other)?;
        serde_json::to_vec(&outcome).map_err(std::io::Error::other)
    });
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((content_type, Body::from_stream(body)).into_response())
}

/// `GET /containers/{id}/logs`.
pub(crate) async fn logs(call: Call, id: &str) -> Answer {
    let tail = call.query.some("tail").filter(|tail| tail != "all");
    let query = LogsQuery {
        follow: call.query.flag("follow"),
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr"),
        since: call.query.time("since")?,
        until: call.query.time("until")?,
        timestamps: call.query.flag("timestamps"),
        // Docker takes what is no number for everything.
        tail: tail.and_then(|tail| tail.parse().ok()),
        details: call.query.flag("details"),
        unframed: false,
    };
    if !query.stdout && !query.stderr {
        return Err(Failure::bad_request(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    let logs = call.engine.logs(id, query).await?;
    let content_type = [(header::CONTENT_TYPE, Content::of_tty(logs.tty).media_type(call.version))];
    Ok((content_type, Body::from_stream(logs.stream)).into_response())
}

/// `POST /containers/{id}/attach`.
pub(crate) async fn attach(call: Call, id: &str) -> Answer {
    let pending = call.engine.attach(id, attach_query(&call)).await;
    let pending = pending.map_err(|error| Failure::from(error).told_as_stream())?;
    let content = Content::of_tty(pending.tty());
    hijack(call, content, move |client| pending.connect(client)).map(bare)
}

/// `GET /containers/{id}/attach/ws`. What flows there has no frames, with a terminal or without.
pub(crate) async fn attach_websocket(call: Call, id: &str) -> Answer {
    let query = AttachQuery {
        unframed: true,
        ..attach_query(&call)
    };
    let pending = call.engine.attach(id, query).await?;
    websocket::upgrade(call.request, move |client| pending.connect(client))
}

fn attach_query(call: &Call) -> AttachQuery {
    AttachQuery {
        logs: call.query.flag("logs"),
        stream: call.query.flag("stream"),
        stdin: call.query.flag("stdin"),
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr"),
        detach_keys: call.query.some("detachKeys"),
        unframed: false,
    }
}

/// `POST /containers/{id}/update`.
pub(crate) async fn update(mut call: Call, id: &str) -> Answer {
    let request = call.body::<HostConfig>().await?.unwrap_or_default();
    ok(&call.engine.update(id, request).await?)
}

/// `POST /containers/{id}/resize`.
pub(crate) async fn resize(call: Call, id: &str) -> Answer {
    let (rows, columns) = size(&call)?;
    call.engine.resize(id, rows, columns).await?;
    Ok(StatusCode::OK.into_response())
}

/// `h` and `w`.
pub(crate) fn size(call: &Call) -> Result<(u16, u16), Failure> {
    let side = |name: &str, side: &str| {
        let text = call.query.text(name);
        let refuse = |why: &str| Failure::bad_request(format!("invalid resize {side} {text:?}: {why}"));
        let number: i64 = text.parse().map_err(|_| refuse("invalid syntax"))?;
        let number = u32::try_from(number).map_err(|_| refuse("value out of range"))?;
        // The kernel knows no larger ones (ioctl_tty(2)).
        Ok::<u16, Failure>(u16::try_from(number).unwrap_or(u16::MAX))
    };
    Ok((side("h", "height")?, side("w", "width")?))
}

/// The first version whose aliases are those that were asked for, and no more.
const ALIASES_AS_ASKED: (u32, u32) = (1, 45);

/// Shows the short id and the host name among the aliases on networks that users made.
fn add_own_names(container: &mut ContainerInspect) {
    let short: String = container.id.chars().take(12).collect();
    let own = [short, container.config.hostname.clone()];
    for (name, settings) in &mut container.network_settings.networks {
        if matches!(name.as_str(), "bridge" | "host" | "none") {
            continue;
        }
        let aliases = settings.aliases.get_or_insert_default();
        for name in own.iter().filter(|name| !name.is_empty()) {
            if !aliases.contains(name) {
                aliases.push(name.clone());
            }
        }
    }
}
