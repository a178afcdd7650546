//! `POST /images/{name}/push`.

use conex_image::PushError;
use conex_reference::Reference;
use conex_registry::Credentials;
use tokio::sync::mpsc;

use crate::engine::{Engine, ProgressStream};
use crate::error::{Error, ErrorKind, Result};
use crate::images::stream::{AbortOnDrop, Line, sink, streamed};
use crate::images::{credentials, invalid, platform_of};
use crate::requests::PushRequest;

impl Engine {
    /// Pushes an image. What fails is told in the stream, whose first line comes before anything is tried.
    ///
    /// # Errors
    /// 400 for a name, a tag or a platform that is none, 404 where the image was built for another platform.
    pub async fn push(&self, request: PushRequest) -> Result<ProgressStream> {
        let reference = reference(&request)?;
        if let Some(platform) = &request.platform {
            self.find_image_for(&reference.familiar(), Some(platform))?;
        }
        let platform = request.platform.as_ref().map(platform_of).transpose()?;
        let credentials = match &request.auth {
            Some(header) => credentials(Some(header)),
            None => Credentials::from_json(&request.auth_body).unwrap_or_default(),
        };
        let (lines, stream) = mpsc::unbounded_channel();
        let sink = sink(lines.clone());
        let request = conex_image::PushRequest {
            registries: self.inner.registries.clone(),
            credentials,
            reference: reference.clone(),
            platform,
        };
        let inner = self.inner.clone();
        let pushing = tokio::spawn(async move {
            let name = reference.familiar();
            match inner.images.push(request, sink).await {
                Ok(()) => {
                    inner.tell_of_image("push", &name, &reference.familiar_name());
                    tracing::info!(image = %name, "pushed");
                }
                Err(error) => {
                    tracing::info!(image = %name, %error, "not pushed");
                    let _ = lines.send(Line::Failure(Error::new(kind(&error), error.to_string())));
                }
            }
        });
        // A client that goes away ends its push.
        streamed(stream, AbortOnDrop(pushing)).await
    }
}

fn reference(request: &PushRequest) -> Result<Reference> {
    let reference = Reference::parse(&request.name).map_err(invalid)?;
    match request.tag.as_str() {
        "" => Ok(reference),
        tag => reference.with_tag(tag).map_err(invalid),
    }
}

/// The class, where the failure is the request's own.
fn kind(error: &PushError) -> ErrorKind {
    match error {
        PushError::NoImage(_) | PushError::NoTag(_) | PushError::NoTags(_) => ErrorKind::NotFound,
        PushError::Digest => ErrorKind::InvalidParameter,
        _ => ErrorKind::System,
    }
}
