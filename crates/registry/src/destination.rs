//! Where a push goes: one repository, at the endpoint that answered (OCI distribution specification, "Push").

use std::time::Duration;

use bytes::Bytes;
use conex_reference::{Digest, Reference};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::config::Limits;
use crate::error::{RegistryError, Result};
use crate::session::{Reached, Session};
use crate::token;
use crate::transport::{Outgoing, content_length};
use crate::upload;

/// A repository that is pushed to, with credentials, tokens and connections.
pub struct Destination {
    pub(crate) session: Session,
    pub(crate) reached: Reached,
    pub(crate) repository: Reference,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Destination")
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}

impl Destination {
    /// The repository, without tag and digest.
    pub fn repository(&self) -> &Reference {
        &self.repository
    }

    /// Bytes of a blob that the repository has; `None` where it has not.
    ///
    /// # Errors
    /// The registry refuses to tell, or cannot be reached.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let outgoing = self.request(Method::HEAD, &format!("blobs/{digest}"));
        let endpoint = self.reached.endpoint();
        let answer = self.session.fetch(endpoint, &self.repository, outgoing).await;
        let (outgoing, response) = match answer {
            // A `HEAD` has no words for it.
            Err(RegistryError::UnreadableResponse { status: 404, .. }) => return Ok(None),
            answer => answer?,
        };
        let lacking = || outgoing.protocol_error("an answer without Content-Length".to_owned());
        content_length(response.headers()).map(Some).ok_or_else(lacking)
    }

    /// Makes a blob of another repository of the registry one of this repository; `false` where the registry does not.
    ///
    /// # Errors
    /// The registry refuses, or cannot be reached.
    pub async fn mount(&self, digest: &Digest, from: &Reference) -> Result<bool> {
        let other = self.reached.endpoint().path(from.path());
        let path = format!("blobs/uploads/?mount={digest}&from={}", token::encode(&other));
        let mut outgoing = self.request(Method::POST, &path);
        outgoing.reads_also = Some(other);
        let (outgoing, response) = self
            .session
            .fetch(self.reached.endpoint(), &self.repository, outgoing)
            .await?;
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        // The registry has begun an upload instead, which nobody goes on with.
        if let Ok(location) = upload::location(&outgoing, response.headers()) {
            self.cancel_upload(location).await;
        }
        Ok(false)
    }

    /// Sends a small blob, in one request, where the repository does not have it.
    ///
    /// # Errors
    /// The registry refuses, or cannot be reached.
    pub async fn put_blob(&self, bytes: Bytes) -> Result<()> {
        let digest = Digest::of(&bytes);
        if let Ok(Some(_)) = self.blob_size(&digest).await {
            return Ok(());
        }
        let mut attempts = Attempts::new(self.session.transport.limits());
        loop {
            match self.try_put_blob(&digest, bytes.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    async fn try_put_blob(&self, digest: &Digest, bytes: Bytes) -> Result<()> {
        let location = self.begin_upload().await?;
        self.commit_upload(location, digest, bytes).await
    }

    /// Gives a manifest a tag.
    ///
    /// # Errors
    /// The registry refuses, or cannot be reached.
    pub async fn put_manifest(&self, tag: &str, media_type: &str, bytes: Bytes) -> Result<()> {
        let mut outgoing = self.request(Method::PUT, &format!("manifests/{tag}"));
        outgoing.body = bytes;
        let media_type = HeaderValue::try_from(media_type)
            .map_err(|_| outgoing.protocol_error(format!("{media_type:?} is no media type")))?;
        outgoing.headers.insert(CONTENT_TYPE, media_type);
        let endpoint = self.reached.endpoint();
        let mut attempts = Attempts::new(self.session.transport.limits());
        loop {
            let answer = self.session.fetch_once(endpoint, &self.repository, outgoing.clone());
            match answer.await {
                Ok(_) => return Ok(()),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    /// Sends a request to where an upload stands. What a registry has elsewhere does not get to see our authorization.
    pub(crate) async fn ask_upload(&self, mut outgoing: Outgoing) -> Result<(Outgoing, Response<Incoming>)> {
        let endpoint = self.reached.endpoint();
        if endpoint.owns(&outgoing.url) {
            outgoing.own = endpoint.headers.clone();
        }
        let (outgoing, response) = if endpoint.owns(&outgoing.url) {
            self.session.authorized(endpoint, &self.repository, outgoing).await?
        } else {
            let answer = self.session.transport.send(&outgoing).await?;
            (outgoing, answer.response)
        };
        let response = self
            .session
            .successful(endpoint, &self.repository, &outgoing, response)
            .await?;
        Ok((outgoing, response))
    }

    /// A request below the repository.
    pub(crate) fn request(&self, method: Method, path: &str) -> Outgoing {
        let endpoint = self.reached.endpoint();
        endpoint.ask(method, endpoint.url(&self.repository, path))
    }
}

/// Attempts at a request that is small.
struct Attempts {
    left: u32,
    pause: Duration,
}

impl Attempts {
    fn new(limits: &Limits) -> Self {
        Self {
            left: limits.attempts,
            pause: limits.pause,
        }
    }

    /// Waits before the next attempt; gives the error back where there is none.
    async fn after(&mut self, error: RegistryError) -> Result<()> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || !error.is_passing() || error.asks_too_much() {
            return Err(error);
        }
        tokio::time::sleep(self.pause.max(error.retry_after().unwrap_or_default())).await;
        self.pause = self.pause.saturating_mul(2);
        Ok(())
    }
}
