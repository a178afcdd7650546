//! Images from a registry and to it: manifests whole, blobs as streams that survive a broken connection.
//!
//! `Registry` is what the image store pulls through; `HttpRegistry` is the real one, an HTTP client of the OCI
//! distribution specification (and of Docker Registry v2, from which that came). One `HttpRegistry` serves one pull: it
//! has that client's credentials, tokens and connections, and frees them when it is dropped. An idle daemon keeps
//! a `Client`, which is only configuration.
//!
//! ```text
//!   Client --registry(credentials)--> HttpRegistry
//!                                       |  per domain:     endpoints (mirrors, https, http where allowed), asked `/v2/` once
//!                                       |  per request:    challenge -> token or password, redirects, retry once on 401
//!                                       +- manifest(ref)   whole, at most 4 MiB, digest checked
//!                                       +- blob(desc, at)  stream; goes on by `Range` where the connection broke
//!                                       +- tags(repo)      all pages of the list
//! ```
//!
//! `Destination` is the other direction, for the length of one push: `upload` draws how a blob travels.
//!
//! `Client::search` asks an index for names.
//!
//! `manifest` says what a manifest means and chooses among platforms; it has no effects. Errors have the texts that
//! users of Docker's client know, since tools match on them.

mod challenge;
mod config;
mod connect;
mod credentials;
mod destination;
mod download;
mod endpoint;
mod error;
mod hosts;
mod http;
pub mod manifest;
mod parts;
mod quota;
mod registry;
mod response;
mod resume;
mod search;
mod session;
mod tags;
mod tls;
mod token;
mod transport;
mod upload;

pub use crate::config::{ClientConfig, ConfigError, Limits, Proxies};
pub use crate::credentials::{Credentials, CredentialsError};
pub use crate::destination::Destination;
pub use crate::download::{Download, DownloadError};
pub use crate::error::{ErrorKind, RegistryError, Result, TransportError};
pub use crate::hosts::HostsError;
pub use crate::http::{Client, HttpRegistry};
pub use crate::manifest::{Descriptor, IndexEntry, Manifest, ManifestError};
pub use crate::quota::Quota;
pub use crate::registry::{Blob, BlobStream, FetchedManifest, Registry};
pub use crate::search::{Found, SearchError};
pub use crate::upload::{Upload, Uploaded};
