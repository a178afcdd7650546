//! What may go wrong with a request.

use std::io;

use thiserror::Error as ThisError;

use crate::Endpoint;

/// What went wrong with a request.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answers at the endpoint.
    #[error("Cannot connect to the Conex daemon at {endpoint}. Is the daemon running?")]
    Connect {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The daemon refused, in its words.
    #[error("Error response from daemon: {message}")]
    Api {
        /// Status of HTTP.
        status: u16,
        /// The daemon's words.
        message: String,
    },
    /// The connection ended or carried something that is not HTTP.
    #[error("{operation}: {source}")]
    Connection {
        /// Method and path.
        operation: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// An upgraded connection broke.
    #[error("{operation}: {source}")]
    Stream {
        /// What was done.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The answer is not what the API says.
    #[error("{operation}: answer not understood: {source}")]
    Decode {
        /// Method and path.
        operation: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A name or id cannot be put into a request.
    #[error("{operation}: {source}")]
    Request {
        /// Method and path.
        operation: String,
        /// Why.
        #[source]
        source: hyper::http::Error,
    },
    /// The daemon did not switch protocols where it should have.
    #[error("unable to upgrade to tcp, received {status}")]
    NotUpgraded {
        /// Status of HTTP.
        status: u16,
    },
}

impl Error {
    /// The status of an answer that refused.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }
}
