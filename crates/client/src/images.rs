//! Images.

use conex_api_types::{IdResponse, ImageDeleteResponse, ImageSummary, ProgressMessage, SearchResult};
use hyper::{Method, header};
use serde::de::DeserializeOwned;

use crate::body::{Archive, Chunks, Lines};
use crate::call::{empty, operation};
use crate::query::Target;
use crate::{Client, Result};

/// What to pull.
#[derive(Debug, Clone, Copy, Default)]
pub struct PullOptions<'a> {
    /// Name, with tag or digest where one is meant.
    pub image: &'a str,
    /// Every tag of the name.
    pub all_tags: bool,
    /// `linux/arm64`.
    pub platform: Option<&'a str>,
    /// Value of `X-Registry-Auth`.
    pub credentials: Option<&'a str>,
}

/// What to push.
#[derive(Debug, Clone, Copy, Default)]
pub struct PushOptions<'a> {
    /// Name, with a tag; without one all tags are meant.
    pub image: &'a str,
    /// JSON of the API.
    pub platform: Option<&'a str>,
    /// Value of `X-Registry-Auth`.
    pub credentials: Option<&'a str>,
}

/// What to search for.
#[derive(Debug, Clone, Copy, Default)]
pub struct SearchOptions<'a> {
    /// Name or a part of it.
    pub term: &'a str,
    /// Most results that are wanted.
    pub limit: Option<&'a str>,
    /// JSON of the API.
    pub filters: Option<&'a str>,
}

/// Credentials of nobody, which a push must have: `{}`.
const ANONYMOUS: &str = "e30=";

/// What to make an image of a container of.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommitOptions<'a> {
    /// The container.
    pub container: &'a str,
    /// Name of the image; empty for none.
    pub repository: &'a str,
    /// Its tag.
    pub tag: &'a str,
    /// A comment.
    pub comment: &'a str,
    /// Who makes it.
    pub author: &'a str,
    /// Leave the container's processes running meanwhile.
    pub unpaused: bool,
    /// One layer of all that the container shows.
    pub squash: bool,
    /// Instructions of a Dockerfile.
    pub changes: &'a [String],
}

/// What to save.
#[derive(Debug, Clone, Copy, Default)]
pub struct SaveOptions<'a> {
    /// Names or ids.
    pub images: &'a [String],
    /// JSON of the API.
    pub platform: Option<&'a str>,
    /// The image whose layers are left out (Conex).
    pub since: Option<&'a str>,
}

/// What to make an image of a root file system of.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions<'a> {
    /// `-` for what is sent, or a URL.
    pub source: &'a str,
    /// Name of the image; empty for none.
    pub repository: &'a str,
    /// Its tag.
    pub tag: &'a str,
    /// A comment.
    pub message: &'a str,
    /// `linux/arm64`.
    pub platform: Option<&'a str>,
    /// Instructions of a Dockerfile.
    pub changes: &'a [String],
}

/// Which images to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImagesOptions<'a> {
    /// With those that have no name.
    pub all: bool,
    /// JSON of the API.
    pub filters: Option<&'a str>,
}

impl Client {
    /// `POST /images/create`.
    pub async fn pull(&self, options: PullOptions<'_>) -> Result<Lines<ProgressMessage>> {
        // Without a tag all are meant.
        let (name, tag) = if options.all_tags {
            (options.image, None)
        } else {
            let (name, tag) = split_tag(options.image);
            (name, Some(tag))
        };
        let target = Target::new(&["images", "create"])
            .with("fromImage", name)
            .maybe("tag", tag)
            .maybe("platform", options.platform);
        let response = self
            .send(Method::POST, &target, empty(), |request| match options.credentials {
                Some(credentials) => request.header("X-Registry-Auth", credentials),
                None => request,
            })
            .await?;
        Ok(Lines::new(response.into_body(), operation(&Method::POST, &target)))
    }

    /// `POST /images/{name}/push`.
    pub async fn push(&self, options: PushOptions<'_>) -> Result<Lines<ProgressMessage>> {
        let (name, tag) = match options.image.rsplit_once(':') {
            // A colon before the last slash is that of a port.
            Some((name, tag)) if !tag.contains('/') && !name.contains('@') => (name, Some(tag)),
            _ => (options.image, None),
        };
        let target = Target::new(&["images", name, "push"])
            .maybe("tag", tag)
            .maybe("platform", options.platform);
        let credentials = options.credentials.unwrap_or(ANONYMOUS);
        let response = self
            .send(Method::POST, &target, empty(), |request| {
                request.header("X-Registry-Auth", credentials)
            })
            .await?;
        Ok(Lines::new(response.into_body(), operation(&Method::POST, &target)))
    }

    /// `GET /images/search`.
    pub async fn search(&self, options: SearchOptions<'_>) -> Result<Vec<SearchResult>> {
        let target = Target::new(&["images", "search"])
            .with("term", options.term)
            .maybe("limit", options.limit)
            .maybe("filters", options.filters);
        self.json(Method::GET, &target).await
    }

    /// `POST /commit`; the image's id.
    pub async fn commit(&self, options: CommitOptions<'_>) -> Result<String> {
        let target = Target::new(&["commit"])
            .with("container", options.container)
            .with("repo", options.repository)
            .with("tag", options.tag)
            .with("comment", options.comment)
            .with("author", options.author)
            .with("pause", if options.unpaused { "0" } else { "1" })
            .flag("squash", options.squash);
        let target = options
            .changes
            .iter()
            .fold(target, |target, change| target.with("changes", change));
        let made: IdResponse = self.json(Method::POST, &target).await?;
        Ok(made.id)
    }

    /// `POST /images/create` of an archive; nothing is sent where the source is a URL.
    pub async fn import(&self, options: ImportOptions<'_>, archive: Option<Archive>) -> Result<Lines<ProgressMessage>> {
        let target = Target::new(&["images", "create"])
            .with("fromSrc", options.source)
            .with("repo", options.repository)
            .with("tag", options.tag)
            .with("message", options.message)
            .maybe("platform", options.platform);
        let target = options
            .changes
            .iter()
            .fold(target, |target, change| target.with("changes", change));
        let body = archive.map_or_else(empty, |archive| archive.0);
        let response = self.send(Method::POST, &target, body, tar).await?;
        Ok(Lines::new(response.into_body(), operation(&Method::POST, &target)))
    }

    /// `POST /images/load`.
    pub async fn load(&self, archive: Archive, quiet: bool, platform: Option<&str>) -> Result<Lines<ProgressMessage>> {
        let target = Target::new(&["images", "load"]).with("quiet", if quiet { "1" } else { "0" });
        let target = target.maybe("platform", platform);
        let response = self.send(Method::POST, &target, archive.0, tar).await?;
        Ok(Lines::new(response.into_body(), operation(&Method::POST, &target)))
    }

    /// `GET /images/get`.
    pub async fn save(&self, options: SaveOptions<'_>) -> Result<Chunks> {
        let target = Target::new(&["images", "get"])
            .maybe("platform", options.platform)
            .maybe("since", options.since);
        let images = options.images.iter();
        let target = images.fold(target, |target, image| target.with("names", image));
        let response = self.send(Method::GET, &target, empty(), |request| request).await?;
        Ok(Chunks::new(response.into_body(), operation(&Method::GET, &target)))
    }

    /// `GET /images/json`.
    pub async fn images(&self, options: ImagesOptions<'_>) -> Result<Vec<ImageSummary>> {
        let target = Target::new(&["images", "json"])
            .flag("all", options.all)
            .maybe("filters", options.filters);
        self.json(Method::GET, &target).await
    }

    /// `GET /images/{name}/json`, as a type of `conex-api-types` or as plain JSON.
    pub async fn image<T: DeserializeOwned>(&self, name: &str, platform: Option<&str>) -> Result<T> {
        let target = Target::new(&["images", name, "json"]).maybe("platform", platform);
        self.json(Method::GET, &target).await
    }

    /// `POST /images/{name}/tag`.
    pub async fn tag_image(&self, name: &str, repository: &str, tag: &str) -> Result<()> {
        let target = Target::new(&["images", name, "tag"])
            .with("repo", repository)
            .with("tag", tag);
        self.plain(Method::POST, &target).await
    }

    /// `DELETE /images/{name}`.
    pub async fn remove_image(
        &self,
        name: &str,
        force: bool,
        prune: bool,
        platforms: &[String],
    ) -> Result<Vec<ImageDeleteResponse>> {
        let target = Target::new(&["images", name])
            .flag("force", force)
            .flag("noprune", !prune);
        let platforms = platforms.iter();
        let target = platforms.fold(target, |target, platform| target.with("platforms", platform));
        self.json(Method::DELETE, &target).await
    }
}

/// Says that the body is an archive.
fn tar(mut request: hyper::http::request::Builder) -> hyper::http::request::Builder {
    if let Some(headers) = request.headers_mut() {
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/x-tar"),
        );
    }
    request
}

/// Name, and tag or digest; `latest` where there is neither.
fn split_tag(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        return (name, digest);
    }
    match image.rsplit_once(':') {
        // A colon before the last slash is that of a port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split_tag("127.0.0.1:5000/a"), ("127.0.0.1:5000/a", "latest"));
        assert_eq!(split_tag("127.0.0.1:5000/a:b"), ("127.0.0.1:5000/a", "b"));
        assert_eq!(split_tag("a@sha256:00"), ("a", "sha256:00"));
    }
}
