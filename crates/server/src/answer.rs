//! Answers: JSON bodies, streams of JSON lines, and errors.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use conex_api_types::ErrorResponse;
use conex_container::Invalid;
use conex_engine::{Error, ErrorKind};
use futures_util::{Stream, StreamExt};
use serde::Serialize;

/// An answer or an error.
pub(crate) type Answer = Result<Response, Failure>;

/// An error as HTTP tells it.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    message: String,
    form: Form,
    bare: Option<Bare>,
}

/// How an error is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    /// To those who speak no version that knows errors in JSON, and about what is wrong below the API.
    Text,
    /// As the stream that was asked for would have been.
    Stream,
}

impl Failure {
    /// With a status and words.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            form: Form::Json,
            bare: None,
        }
    }

    /// With a status and words, as plain text.
    pub(crate) fn text(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            form: Form::Text,
            ..Self::new(status, message)
        }
    }

    /// Without a word of whether experiments are on.
    pub(crate) fn without_experiments(self) -> Self {
        Self {
            bare: Some(Bare::OfExperiments),
            ..self
        }
    }

    /// With what was being done before its own words.
    pub(crate) fn within(self, operation: &str) -> Self {
        Self {
            message: format!("{operation}: {}", self.message),
            ..self
        }
    }

    /// As it is told to a client that takes the answer for a stream.
    pub(crate) fn told_as_stream(self) -> Self {
        Self {
            form: Form::Stream,
            ..self
        }
    }

    /// Its words.
    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// A request that is malformed.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

/// The one place where an engine's class becomes a status.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::InvalidParameter => StatusCode::BAD_REQUEST,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::System => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::System {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(error = %error, cause, "a request failed");
        }
        Self::new(status(error.kind()), error.message())
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::bad_request(invalid.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        // RFC 9110, section 15.4.5: an answer of 304 has no body.
        if self.status == StatusCode::NOT_MODIFIED {
            return self.status.into_response();
        }
        let bare_of = self.bare;
        let mut response = match self.form {
            Form::Json => json(self.status, &ErrorResponse { message: self.message }),
            Form::Text => (self.status, self.message).into_response(),
            Form::Stream => {
                let media_type = [(header::CONTENT_TYPE, HeaderValue::from_static(RAW_STREAM))];
                bare((self.status, media_type, format!("{}\r\n", self.message)).into_response())
            }
        };
        if let Some(of) = bare_of {
            response.extensions_mut().insert(of);
        }
        response
    }
}

/// The media type of bytes as they are.
pub(crate) const RAW_STREAM: &str = "application/vnd.docker.raw-stream";

/// Marks an answer that lacks header fields that others have, as Docker writes some by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bare {
    /// It says nothing of the engine.
    OfAll,
    /// It does not say whether experiments are on.
    OfExperiments,
}

/// The same answer without a word of the engine.
pub(crate) fn bare(mut response: Response) -> Response {
    response.extensions_mut().insert(Bare::OfAll);
    response
}

/// A JSON body.
pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            (
                status,
                [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
                bytes,
            )
                .into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A JSON body with status 200.
pub(crate) fn ok<T: Serialize>(body: &T) -> Answer {
    Ok(json(StatusCode::OK, body))
}

/// Status 204.
pub(crate) fn no_content() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A stream of JSON lines.
pub(crate) fn lines<T: Serialize>(stream: impl Stream<Item = T> + Send + 'static) -> Answer {
    let lines = stream.map(|item| {
        let mut line = serde_json::to_vec(&item).map_err(std::io::Error::other)?;
        // Docker ends its lines so; some clients split at it.
        line.extend_from_slice(b"\r\n");
        Ok::<Bytes, std::io::Error>(line.into())
    });
    Ok((
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        Body::from_stream(lines),
    )
        .into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_statuses_of_the_api() {
        let of = |kind| Failure::from(Error::new(kind, "x")).status.as_u16();
        assert_eq!(of(ErrorKind::NotFound), 404);
        assert_eq!(of(ErrorKind::InvalidParameter), 400);
        assert_eq!(of(ErrorKind::Conflict), 409);
        assert_eq!(of(ErrorKind::NotModified), 304);
        assert_eq!(of(ErrorKind::System), 500);
    }
}
