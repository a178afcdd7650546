//! What goes wrong between us and a registry.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use conex_reference::Digest;

use crate::hosts::HostsError;

/// Longest that a server may have a request wait; one that wants more time is told as the refusal that it is.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Result of talking to a registry.
pub type Result<T> = std::result::Result<T, RegistryError>;

/// Why a manifest or a blob could not be fetched or sent. `Display` is what the user of Docker's client sees at a pull,
/// `plain` at a push.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry denied access, or hides that the repository does not exist.
    #[error("pull access denied for {repository}, repository does not exist or may require 'docker login': {cause}")]
    AccessDenied {
        /// The registry.
        host: String,
        /// Familiar name of the repository.
        repository: String,
        /// What the registry said.
        cause: RegistryMessage,
    },
    /// There is no manifest of this tag or digest.
    #[error("manifest for {reference} not found: {cause}")]
    ManifestUnknown {
        /// The registry.
        host: String,
        /// Familiar form of the reference.
        reference: String,
        /// What the registry said.
        cause: RegistryMessage,
    },
    /// The registry has no such repository.
    #[error("repository {repository} not found: {cause}")]
    RepositoryUnknown {
        /// The registry.
        host: String,
        /// Familiar name of the repository.
        repository: String,
        /// What the registry said.
        cause: RegistryMessage,
    },
    /// The registry, or its token server, refused the request for another reason.
    #[error("{cause}")]
    Refused {
        /// Who refused.
        host: String,
        /// The request: `GET https://...`.
        operation: String,
        /// What it said.
        cause: RegistryMessage,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The registry does not take the credentials.
    #[error("login attempt to {url} failed with status: {status} {reason}")]
    LoginRefused {
        /// What was asked for.
        url: String,
        /// The status code.
        status: u16,
        /// Its name.
        reason: &'static str,
    },
    /// The registry's token server does not take the credentials.
    #[error("Get {url:?}: {cause}")]
    LoginDenied {
        /// What was asked for.
        url: String,
        /// What it said.
        cause: RegistryMessage,
    },
    /// The registry wants a name and a password, and there are none.
    #[error("Get {url:?}: no basic auth credentials")]
    NoCredentials {
        /// What was asked for.
        url: String,
    },
    /// What a login is for is no name of a registry.
    #[error("unable to parse server address: {address:?} is no name of a registry")]
    ServerAddress {
        /// The host, without scheme and path.
        address: String,
    },
    /// A status that has no place in the protocol.
    #[error("received unexpected HTTP status: {status}")]
    UnexpectedStatus {
        /// The request: `GET https://...`.
        operation: String,
        /// `500 Internal Server Error`.
        status: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// An error whose body says nothing that the protocol knows.
    #[error("error parsing HTTP {status} response body: {reason}: {body:?}")]
    UnreadableResponse {
        /// The request: `GET https://...`.
        operation: String,
        /// The status code.
        status: u16,
        /// What is wrong with the body.
        reason: String,
        /// The beginning of the body.
        body: String,
    },
    /// No connection, or none that lasted.
    #[error("{method} {url:?}: {source}")]
    Transport {
        /// `Get`, `Post`, `Patch`.
        method: &'static str,
        /// What was asked for.
        url: String,
        /// What happened.
        source: TransportError,
    },
    /// The body of an answer broke off or stood still, in spite of new attempts.
    #[error("{operation}: {source}")]
    Body {
        /// The request: `GET https://...`.
        operation: String,
        /// What happened at last.
        source: TransportError,
    },
    /// The manifest is not the one that was asked for.
    #[error("manifest verification failed for digest {expected}")]
    ManifestDigest {
        /// The registry.
        host: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// More bytes than the protocol or the descriptor allows.
    #[error("{operation}: response is larger than {limit} bytes")]
    TooLarge {
        /// The request: `GET https://...`.
        operation: String,
        /// The bound.
        limit: u64,
    },
    /// An answer that lacks or garbles a header or a field that the protocol demands.
    #[error("{operation}: {reason}")]
    Protocol {
        /// The request: `GET https://...`.
        operation: String,
        /// What is wrong.
        reason: String,
    },
    /// What is said of the hosts of the registry cannot be used.
    #[error("{source}")]
    Hosts {
        /// What is wrong.
        source: HostsError,
    },
    /// What was to be sent cannot be read.
    #[error("{source}")]
    Content {
        /// What happened.
        source: io::Error,
    },
}

/// An error in the registry's words: `manifest unknown: manifest unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryMessage {
    /// The code of the distribution specification, section "Error Codes": `MANIFEST_UNKNOWN`.
    pub code: String,
    /// The text beside it.
    pub message: String,
}

impl fmt::Display for RegistryMessage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code.to_lowercase().replace('_', " "), self.message)
    }
}

/// What became of a connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// The name has no address.
    #[error("dial tcp: lookup {host}: no such host")]
    NoSuchHost {
        /// The name.
        host: String,
    },
    /// The peer could not be reached.
    #[error("dial tcp {address}: {reason}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// The kernel's answer, in the words that Docker's client has for it.
        reason: String,
    },
    /// The proxy did not open the tunnel.
    #[error("proxyconnect tcp: {reason}")]
    Proxy {
        /// What it said.
        reason: String,
    },
    /// The peer is not whom we wanted, or does not speak TLS.
    #[error("{}", tls_reason(.source))]
    Tls {
        /// What the TLS library found.
        source: rustls::Error,
    },
    /// Certificates of the host's directory, or of the system, are unusable.
    #[error("certificates: {reason}")]
    Roots {
        /// What is wrong with them.
        reason: String,
    },
    /// The TLS handshake took too long.
    #[error("net/http: TLS handshake timeout")]
    HandshakeTimeout,
    /// No answer came.
    #[error("net/http: timeout awaiting response headers")]
    ResponseTimeout,
    /// Nothing came for a while in the middle of a body.
    #[error("no data for {seconds} s")]
    Stalled {
        /// How long it was waited.
        seconds: u64,
    },
    /// The peer closed the connection too early.
    #[error("unexpected EOF")]
    UnexpectedEnd,
    /// The connection broke, or the peer does not speak HTTP.
    #[error("{reason}")]
    Http {
        /// What happened.
        reason: String,
    },
}

/// What sort of answer an error deserves; the server maps it to a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nothing there, or nothing that may be seen (Docker answers 404 to both).
    NotFound,
    /// What was asked for cannot be.
    Invalid,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Too many requests.
    TooManyRequests,
    /// The registry cannot be reached or broke off.
    Unavailable,
    /// The registry sent something wrong.
    BadResponse,
    /// It is no fault of the registry's.
    Local,
}

impl RegistryError {
    /// What sort of error this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::AccessDenied { .. } | Self::ManifestUnknown { .. } | Self::RepositoryUnknown { .. } => {
                ErrorKind::NotFound
            }
            Self::ServerAddress { .. } => ErrorKind::Invalid,
            Self::LoginRefused { .. } | Self::LoginDenied { .. } | Self::NoCredentials { .. } => {
                ErrorKind::Unauthorized
            }
            Self::Refused { cause, .. } => match cause.code.as_str() {
                "UNAUTHORIZED" => ErrorKind::Unauthorized,
                "TOOMANYREQUESTS" => ErrorKind::TooManyRequests,
                _ => ErrorKind::BadResponse,
            },
            Self::UnreadableResponse { status: 404, .. } => ErrorKind::NotFound,
            Self::Transport { .. } | Self::Body { .. } | Self::UnexpectedStatus { .. } => ErrorKind::Unavailable,
            Self::UnreadableResponse { .. }
            | Self::ManifestDigest { .. }
            | Self::TooLarge { .. }
            | Self::Protocol { .. } => ErrorKind::BadResponse,
            Self::Content { .. } | Self::Hosts { .. } => ErrorKind::Local,
        }
    }

    /// Whether the same may go well a little later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.kind(), ErrorKind::Unavailable | ErrorKind::TooManyRequests)
    }

    /// Whether a connection broke that had come about, or what came by it is not what it should be.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::Transport { source, .. } => {
                matches!(source, TransportError::Http { .. } | TransportError::UnexpectedEnd)
            }
            Self::Body { .. } | Self::ManifestDigest { .. } => true,
            _ => false,
        }
    }

    /// How long the registry asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::UnexpectedStatus { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether it asks to wait longer than anybody does.
    pub(crate) fn asks_too_much(&self) -> bool {
        self.retry_after().is_some_and(|wait| wait > LONGEST_WAIT)
    }

    /// What the registry said, without what it means for a pull: Docker's words at a push.
    pub fn plain(&self) -> String {
        match self {
            Self::AccessDenied { cause, .. }
            | Self::ManifestUnknown { cause, .. }
            | Self::RepositoryUnknown { cause, .. } => cause.to_string(),
            Self::NoCredentials { .. } => "no basic auth credentials".to_owned(),
            other => other.to_string(),
        }
    }
}

/// The words that Docker's client, a Go program, has for a connection that did not come about.
pub(crate) fn connect_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => format!("connect: {error}"),
    }
}

/// Likewise for TLS.
fn tls_reason(error: &rustls::Error) -> String {
    use rustls::{AlertDescription, CertificateError, InvalidMessage};
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid".to_owned()
        }
        rustls::Error::InvalidCertificate(cause) => format!("tls: failed to verify certificate: x509: {cause}"),
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => "remote error: tls: certificate required".to_owned(),
            AlertDescription::BadCertificate => "remote error: tls: bad certificate".to_owned(),
            AlertDescription::UnknownCA => "remote error: tls: unknown certificate authority".to_owned(),
            alert => format!("remote error: tls: {alert:?}"),
        },
        _ => format!("tls: {error}"),
    }
}
