//! `POST /images/create` from a registry.

use std::sync::Arc;

use conex_image::{FindError, Progress, ProgressSink, PullError, Status};
use conex_reference::{Platform, Reference};
use conex_registry::HttpRegistry;
use tokio::sync::mpsc;

use crate::engine::{Engine, Inner, ProgressStream};
use crate::error::{Error, ErrorKind, Result};
use crate::images::stream::{AbortOnDrop, Line, sink, streamed};
use crate::images::{credentials, invalid};
use crate::requests::PullRequest;

impl Engine {
    /// Pulls an image, or all of a repository where neither tag nor digest is asked for. What fails before the first line
    /// is an error of the request itself.
    ///
    /// # Errors
    /// 400 for a name or a platform that is none, 404 for what the registry does not have or does not show.
    pub async fn pull(&self, request: PullRequest) -> Result<ProgressStream> {
        let reference = reference(&request)?;
        let asked = request.platform.as_deref().filter(|text| !text.is_empty());
        let platform = self.inner.platform_or_host(asked)?;
        let credentials = credentials(request.auth.as_deref());
        let (lines, stream) = mpsc::unbounded_channel();
        let pull = Pull {
            registry: self.inner.registries.registry(credentials),
            is_asked: asked.is_some(),
            platform,
            sink: sink(lines.clone()),
            inner: self.inner.clone(),
        };
        let pulling = tokio::spawn(async move {
            let outcome = if reference.is_name_only() {
                pull.all(&reference).await
            } else {
                pull.one(&reference, pull.sink.clone()).await.map(|_| ())
            };
            match outcome {
                Ok(()) => pull
                    .inner
                    .tell_of_image("pull", &reference.familiar(), &reference.familiar_name()),
                Err(error) => {
                    let kind = if error.is_not_found() {
                        ErrorKind::NotFound
                    } else {
                        ErrorKind::System
                    };
                    // The first line may not have been sent yet; then this becomes the request's own error.
                    let _ = lines.send(Line::Failure(Error::new(kind, error.to_string())));
                }
            }
        });
        // A client that goes away ends its pull: dropping the stream drops this guard.
        streamed(stream, AbortOnDrop(pulling)).await
    }
}

/// A pull under way.
struct Pull {
    registry: HttpRegistry,
    platform: Platform,
    /// Whether the client said the platform.
    is_asked: bool,
    sink: ProgressSink,
    inner: Arc<Inner>,
}

/// What a pull found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Newer,
    Same,
}

impl Pull {
    async fn one(&self, reference: &Reference, sink: ProgressSink) -> std::result::Result<Found, PullError> {
        let request = conex_image::PullRequest {
            registry: Arc::new(self.registry.clone()),
            reference: reference.clone(),
            platform: self.platform.clone(),
        };
        let pulled = self.inner.images.pull(request, sink).await?;
        tracing::info!(image = %reference.familiar(), id = %pulled.image.id, "pulled");
        let built_for = pulled.image.config.platform();
        if self.is_asked && self.platform.rank(&built_for).is_none() {
            let other = FindError::OtherPlatform {
                name: reference.familiar(),
                built_for: built_for.to_string(),
                wanted: self.platform.to_string(),
            };
            let status = Status::OtherPlatform(other.to_string());
            (self.sink)(Progress { id: None, status });
        }
        Ok(if pulled.up_to_date { Found::Same } else { Found::Newer })
    }

    /// Every tag of a repository, one after the other; the first that fails is the last.
    async fn all(&self, repository: &Reference) -> std::result::Result<(), PullError> {
        let mut found = Found::Same;
        for tag in self.registry.tags(repository).await? {
            let reference = repository.clone().with_tag(&tag).map_err(PullError::Tag)?;
            if self.one(&reference, self.without_outcome()).await? == Found::Newer {
                found = Found::Newer;
            }
        }
        let name = repository.familiar();
        let status = match found {
            Found::Newer => Status::DownloadedNewer(name),
            Found::Same => Status::UpToDate(name),
        };
        (self.sink)(Progress { id: None, status });
        Ok(())
    }

    /// What came of all tags is told at the end, not of each.
    fn without_outcome(&self) -> ProgressSink {
        let outer = self.sink.clone();
        Arc::new(move |progress| {
            if !matches!(progress.status, Status::DownloadedNewer(_) | Status::UpToDate(_)) {
                outer(progress);
            }
        })
    }
}

fn reference(request: &PullRequest) -> Result<Reference> {
    // Older clients write a colon and no tag where they want all.
    let name = request.from_image.strip_suffix(':').unwrap_or(&request.from_image);
    let reference = Reference::parse(name).map_err(invalid)?;
    if request.tag.is_empty() {
        return Ok(reference);
    }
    let named = reference.without_tag_and_digest();
    named.with_tag_or_digest(&request.tag).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_its_own_takes_the_place_of_that_of_the_name() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let by_digest = format!("a@{digest}");
        for (from_image, tag, expected) in [
            ("a", "", "a"),
            ("a:", "", "a"),
            ("a:1", "", "a:1"),
            ("a", "2", "a:2"),
            ("a:1", "2", "a:2"),
            ("a:1", &digest, &by_digest),
            (&by_digest, "", &by_digest),
        ] {
            let request = PullRequest {
                from_image: from_image.to_owned(),
                tag: tag.to_owned(),
                ..PullRequest::default()
            };
            assert_eq!(reference(&request).unwrap().familiar(), expected, "{from_image} {tag}");
        }
    }
}
