//! Engine API, "Images": pull, push, search, load, import, commit, list, inspect, history, tag, remove, prune.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use conex_api_types::{ContainerCreateRequest, HostConfig, IdResponse, ImageSummary};
use conex_engine::{CommitRequest, ImagesQuery, ImportRequest, ImportSource, PullRequest, PushRequest, SearchRequest};
use futures_util::StreamExt;

use crate::answer::{self, Answer, Failure, lines, ok};
use crate::json;
use crate::query::until;
use crate::router::Call;
use crate::upload::Upload;

/// `POST /images/create`.
pub(crate) async fn create(call: Call) -> Answer {
    if call.query.text("fromImage").is_empty() && !call.query.text("fromSrc").is_empty() {
        return import(call).await;
    }
    let request = PullRequest {
        from_image: call.query.text("fromImage").to_owned(),
        tag: call.query.text("tag").to_owned(),
        platform: call.query.some("platform"),
        auth: call.header("X-Registry-Auth"),
    };
    lines(call.engine.pull(request).await?)
}

/// `POST /images/{name}/push`.
pub(crate) async fn push(mut call: Call, name: &str) -> Answer {
    let auth = call.header("X-Registry-Auth").filter(|header| !header.is_empty());
    let auth_body = match &auth {
        Some(_) => Bytes::new(),
        None => call.bytes().await?,
    };
    // Clients of before sent what they send with a pull, which nobody read.
    let platform = match call.query.some("platform").filter(|_| call.version >= (1, 46)) {
        Some(text) => {
            let wrong = |words| Failure::bad_request(format!("failed to parse platform: {words}"));
            Some(json::parameter(&text).map_err(wrong)?)
        }
        None => None,
    };
    let request = PushRequest {
        name: name.to_owned(),
        tag: call.query.text("tag").to_owned(),
        platform,
        auth,
        auth_body,
    };
    lines(call.engine.push(request).await?)
}

/// `GET /images/search`.
pub(crate) async fn search(call: Call) -> Answer {
    let limit = call.query.number("limit");
    let request = SearchRequest {
        term: call.query.text("term").to_owned(),
        limit: limit.map_err(|failure| failure.within("invalid limit specified"))?,
        filters: call.query.filters()?,
        auth: call.header("X-Registry-Auth"),
    };
    ok(&call.engine.search(request).await?)
}

/// `GET /distribution/{name}/json`.
pub(crate) async fn distribution(call: Call, name: &str) -> Answer {
    let auth = call.header("X-Registry-Auth");
    ok(&call.engine.distribution(name, auth.as_deref()).await?)
}

/// `POST /images/create` of an archive.
async fn import(mut call: Call) -> Answer {
    let source = match call.query.text("fromSrc") {
        "-" => ImportSource::Body(Upload::new(std::mem::take(call.request.body_mut())).boxed()),
        url => ImportSource::Url(url.to_owned()),
    };
    let request = ImportRequest {
        source,
        repo: call.query.text("repo").to_owned(),
        tag: call.query.text("tag").to_owned(),
        message: call.query.text("message").to_owned(),
        changes: call.query.all("changes").into_iter().map(str::to_owned).collect(),
        platform: call.query.some("platform"),
    };
    lines(call.engine.import(request).await?)
}

/// `POST /commit`.
pub(crate) async fn commit(mut call: Call) -> Answer {
    let config = call.body::<ContainerCreateRequest>().await?;
    let asked_for_more = config.as_ref().is_some_and(|config| {
        config.host_config != HostConfig::default() || !config.networking_config.endpoints_config.is_empty()
    });
    if asked_for_more {
        return Err(Failure::bad_request(
            "HostConfig, NetworkingConfig: an image says nothing of its containers' hosts",
        ));
    }
    let text = |name| call.query.text(name).to_owned();
    let request = CommitRequest {
        container: text("container"),
        repo: text("repo"),
        tag: text("tag"),
        comment: text("comment"),
        author: text("author"),
        // Yes is what is meant where nothing is said.
        pause: call.query.text("pause").is_empty() || call.query.flag("pause"),
        changes: call.query.all("changes").into_iter().map(str::to_owned).collect(),
        config,
    };
    let id = call.engine.commit_container(request).await?;
    Ok(answer::json(StatusCode::CREATED, &IdResponse { id }))
}

/// `POST /images/load`.
pub(crate) async fn load(mut call: Call) -> Answer {
    let quiet = call.query.flag("quiet");
    let body = Upload::new(std::mem::take(call.request.body_mut())).boxed();
    lines(call.engine.load(body, quiet).await)
}

/// `GET /images/json`.
pub(crate) async fn list(call: Call) -> Answer {
    let query = ImagesQuery {
        all: call.query.flag("all"),
        filters: call.query.filters()?,
        shared_size: call.query.flag("shared-size"),
    };
    let mut images = call.engine.images(query).await?;
    tell_virtual_sizes(&mut images, call.version);
    ok(&images)
}

/// Version of the API since which images have one size only.
const ONE_SIZE: (u32, u32) = (1, 44);

/// Older clients are told of sizes as they were when images had two.
pub(crate) fn tell_virtual_sizes(images: &mut [ImageSummary], version: (u32, u32)) {
    for image in images {
        image.virtual_size = Some(image.size).filter(|_| version < ONE_SIZE);
    }
}

/// `GET /images/{name}/json`.
pub(crate) async fn inspect(call: Call, name: &str) -> Answer {
    let mut image = call.engine.image(name).await?;
    image.virtual_size = Some(image.size).filter(|_| call.version < ONE_SIZE);
    ok(&image)
}

/// `POST /images/{name}/tag`.
pub(crate) async fn tag(call: Call, name: &str) -> Answer {
    call.engine
        .tag_image(name, call.query.text("repo"), call.query.text("tag"))
        .await?;
    Ok(StatusCode::CREATED.into_response())
}

/// `DELETE /images/{name}`.
pub(crate) async fn remove(call: Call, name: &str) -> Answer {
    ok(&call
        .engine
        .remove_image(name, call.query.flag("force"), !call.query.flag("noprune"))
        .await?)
}

/// `GET /images/{name}/history`.
pub(crate) async fn history(call: Call, name: &str) -> Answer {
    ok(&call.engine.image_history(name).await?)
}

/// `POST /images/prune`.
pub(crate) async fn prune(call: Call) -> Answer {
    let filters = call.query.filters()?;
    let until = until(&filters)?;
    ok(&call.engine.prune_images(&filters, until).await?)
}

/// `GET /images/get`, and `GET /images/{name}/get`.
pub(crate) async fn save(call: Call, name: Option<&str>) -> Answer {
    let names: Vec<String> = match name {
        Some(name) => vec![name.to_owned()],
        None => call.query.all("names").into_iter().map(str::to_owned).collect(),
    };
    if names.is_empty() {
        return Err(Failure::bad_request("no images to be exported were named"));
    }
    let archive = call.engine.save_images(&names).await?;
    let tar = [(header::CONTENT_TYPE, "application/x-tar")];
    Ok((tar, Body::from_stream(archive)).into_response())
}
