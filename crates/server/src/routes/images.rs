//! Engine API, "Images": pull, push, search, load, import, commit, list, inspect, history, tag, remove, prune.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use conex_api_types::{ConfigOfContainer, ContainerCreateRequest, HostConfig, IdResponse, ImageSummary, Platform};
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
    let platform = platform_since(&call, (1, 46))?;
    let request = PushRequest {
        name: name.to_owned(),
        tag: call.query.text("tag").to_owned(),
        platform,
        auth,
        auth_body,
    };
    lines(call.engine.push(request).await?)
}

/// The parameter `platform`, which clients older than a version do not know.
fn platform_since(call: &Call, version: (u32, u32)) -> Result<Option<Platform>, Failure> {
    let text = call.query.some("platform").filter(|_| call.version >= version);
    text.as_deref().map(platform).transpose()
}

/// A platform as parameters have it: JSON.
fn platform(text: &str) -> Result<Platform, Failure> {
    let wrong = |words| Failure::bad_request(format!("failed to parse platform: {words}"));
    json::parameter(text).map_err(wrong)
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
        squash: call.query.flag("squash"),
        changes: call.query.all("changes").into_iter().map(str::to_owned).collect(),
        config,
    };
    let id = call.engine.commit_container(request).await?;
    Ok(answer::json(StatusCode::CREATED, &IdResponse { id }))
}

/// `POST /images/load`.
pub(crate) async fn load(mut call: Call) -> Answer {
    // Docker's default, which its own command line does not use.
    let quiet = call.query.text("quiet").is_empty() || call.query.flag("quiet");
    let body = Upload::new(std::mem::take(call.request.body_mut())).boxed();
    let platform = platform_since(&call, (1, 48))?;
    lines(call.engine.load(body, quiet, platform.as_ref()).await?)
}

/// `GET /images/json`.
pub(crate) async fn list(call: Call) -> Answer {
    let mut filters = call.query.filters()?;
    if call.version < (1, 41)
        && let Some(pattern) = call.query.some("filter")
    {
        filters.add("reference", pattern);
    }
    let query = ImagesQuery {
        all: call.query.flag("all"),
        filters,
        shared_size: call.query.flag("shared-size") && call.version >= (1, 42),
        containers: call.version >= (1, 51),
        manifests: call.version >= (1, 47) && call.query.flag("manifests"),
    };
    let mut images = call.engine.images(query).await?;
    for image in &mut images {
        tell_virtual_size(image, call.version);
        tell_no_names(image, call.version);
    }
    ok(&images)
}

/// The only size, for clients of the time when an image had two; what is 0 is not told.
fn virtual_size(size: i64, version: (u32, u32)) -> Option<i64> {
    Some(size).filter(|size| *size != 0 && version < (1, 44))
}

/// Older clients are told of sizes as they were when images had two.
pub(crate) fn tell_virtual_size(image: &mut ImageSummary, version: (u32, u32)) {
    image.virtual_size = virtual_size(image.size, version);
}

/// Clients older than API 1.43 show what stands in the place of names.
fn tell_no_names(image: &mut ImageSummary, version: (u32, u32)) {
    if version >= (1, 43) {
        return;
    }
    let names = [&mut image.repo_tags, &mut image.repo_digests];
    for names in names {
        names.take_if(|names| names.is_empty());
    }
    if image.repo_tags.is_none() && image.repo_digests.is_none() {
        image.repo_tags = Some(vec!["<none>:<none>".to_owned()]);
        image.repo_digests = Some(vec!["<none>@<none>".to_owned()]);
    }
}

/// `GET /images/{name}/json`.
pub(crate) async fn inspect(call: Call, name: &str) -> Answer {
    let platform = platform_since(&call, (1, 49))?;
    let manifests = call.version >= (1, 48) && call.query.flag("manifests");
    if platform.is_some() && manifests {
        let words = "conflicting options: manifests and platform options cannot both be set";
        return Err(Failure::bad_request(words));
    }
    let mut image = call.engine.image(name, platform.as_ref(), manifests).await?;
    image.virtual_size = virtual_size(image.size, call.version);
    if call.version < (1, 44) && image.created.is_empty() {
        image.created = "0001-01-01T00:00:00Z".to_owned();
    }
    if call.version < (1, 50) {
        image.config.of_container = Some(ConfigOfContainer::default());
    }
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
    if name.trim().is_empty() {
        return Err(Failure::bad_request("image name cannot be blank"));
    }
    let texts = call.query.all("platforms").into_iter();
    let texts = texts.filter(|_| call.version >= (1, 50));
    let platforms = texts.map(platform).collect::<Result<Vec<Platform>, Failure>>()?;
    let (force, prune) = (call.query.flag("force"), !call.query.flag("noprune"));
    ok(&call.engine.remove_image(name, force, prune, &platforms).await?)
}

/// `GET /images/{name}/history`.
pub(crate) async fn history(call: Call, name: &str) -> Answer {
    let platform = platform_since(&call, (1, 48))?;
    ok(&call.engine.image_history(name, platform.as_ref()).await?)
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
    let platform = platform_since(&call, (1, 48))?;
    let since = call.query.some("since");
    let archive = call.engine.save_images(names, platform.as_ref(), since).await?;
    let tar = [(header::CONTENT_TYPE, "application/x-tar")];
    Ok((tar, Body::from_stream(archive)).into_response())
}
