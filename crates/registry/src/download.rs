//! Whatever a URL names, fetched with the proxies, certificates and time limits of registries.

use futures_util::StreamExt as _;
use futures_util::stream;

use crate::error::RegistryError;
use crate::http::Client;
use crate::registry::BlobStream;
use crate::transport::{Body, Outgoing, content_length};

/// Longest body of a refusal that is told.
const REFUSAL: u64 = 8 << 10;

/// A download that was not begun.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Nobody answers, or not as HTTP wants it.
    #[error(transparent)]
    Fetch(#[from] RegistryError),
    /// The server refuses.
    #[error("failed to GET {url} with status {status}: {body}")]
    Refused {
        /// What was asked for.
        url: String,
        /// `404 Not Found`.
        status: String,
        /// The status code.
        code: u16,
        /// What the server said.
        body: String,
    },
}

impl DownloadError {
    /// The status code of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Fetch(_) => None,
        }
    }
}

/// A download that has begun.
pub struct Download {
    /// Bytes of all of it, where the server said.
    pub size: Option<u64>,
    /// What comes. It ends with an error where the server breaks off.
    pub stream: BlobStream,
}

impl Client {
    /// Begins to fetch what a URL names (`http`, `https`); redirects are followed.
    ///
    /// # Errors
    /// Nobody answers, or the server refuses.
    pub async fn download(&self, url: &str) -> Result<Download, DownloadError> {
        let transport = self.transport();
        let outgoing = Outgoing::get(url.to_owned());
        let (head, body) = transport.send_patiently(&outgoing).await?.response.into_parts();
        if !head.status.is_success() {
            let body = transport.read_all(&outgoing, body, REFUSAL).await;
            return Err(DownloadError::Refused {
                url: url.to_owned(),
                status: head.status.to_string(),
                code: head.status.as_u16(),
                // The status says enough where the body does not come, or is long.
                body: String::from_utf8_lossy(&body.unwrap_or_default()).trim().to_owned(),
            });
        }
        let size = content_length(&head.headers);
        let reading = (Body::new(body, transport.limits().stall), outgoing.operation());
        let pieces = stream::unfold(Some(reading), |reading| async {
            let (mut body, operation) = reading?;
            match body.next().await? {
                Ok(bytes) => Some((Ok(bytes), Some((body, operation)))),
                Err(source) => Some((Err(RegistryError::Body { operation, source }), None)),
            }
        });
        Ok(Download {
            size,
            stream: pieces.boxed(),
        })
    }
}
