//! What an answer that is no success means (OCI distribution specification, "Error Codes").

use std::time::Duration;

use conex_reference::Reference;
use hyper::StatusCode;
use hyper::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;

use crate::challenge::{self, Challenge};
use crate::error::{RegistryError, RegistryMessage};
use crate::quota::Quota;
use crate::transport::retry_after;

/// As much of an unreadable body as an error shows.
const SHOWN: usize = 512;

/// What was asked, for the errors' texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Who answered.
    pub(crate) host: &'a str,
    /// The request: `GET https://...`.
    pub(crate) operation: &'a str,
    /// For what it was made.
    pub(crate) reference: &'a Reference,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<Entry>,
    /// Some token servers say it without a list.
    #[serde(default)]
    details: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// All challenges of an answer.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(challenge::parse).collect()
}

/// The error that an answer stands for.
pub(crate) fn refusal(asked: Asked<'_>, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> RegistryError {
    if !status.is_client_error() {
        let reason = status.canonical_reason().unwrap_or_default();
        return RegistryError::UnexpectedStatus {
            operation: asked.operation.to_owned(),
            status: format!("{} {reason}", status.as_u16()).trim_end().to_owned(),
            retry_after: retry_after(status, headers),
        };
    }
    // RFC 6750, section 3.1: the challenge tells more than the body does.
    let bearer_error = challenges(headers)
        .iter()
        .find_map(bearer_error)
        .filter(|_| status == StatusCode::UNAUTHORIZED);
    match bearer_error.map_or_else(|| message(status, body), Ok) {
        Ok(mut cause) if status == StatusCode::TOO_MANY_REQUESTS => {
            let wait = retry_after(status, headers);
            cause.message.push_str(&limits(headers, wait, jiff::Timestamp::now()));
            classify(asked, cause, wait)
        }
        Ok(cause) => classify(asked, cause, retry_after(status, headers)),
        Err(reason) => RegistryError::UnreadableResponse {
            operation: asked.operation.to_owned(),
            status: status.as_u16(),
            reason,
            body: String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned(),
        },
    }
}

/// What a registry that is asked too often tells of its limits, behind its words.
fn limits(headers: &HeaderMap, wait: Option<Duration>, now: jiff::Timestamp) -> String {
    let quota = Quota::of(headers).map(|quota| quota.to_string());
    let reset = wait.and_then(|wait| now.checked_add(wait).ok());
    let reset = reset.and_then(|reset| jiff::Timestamp::from_second(reset.as_second()).ok());
    let reset = reset.map(|reset| format!("try again at {reset}"));
    let told: Vec<String> = quota.into_iter().chain(reset).collect();
    if told.is_empty() {
        String::new()
    } else {
        format!(" ({})", told.join(", "))
    }
}

fn classify(asked: Asked<'_>, cause: RegistryMessage, retry_after: Option<Duration>) -> RegistryError {
    let host = asked.host.to_owned();
    match cause.code.as_str() {
        "DENIED" => RegistryError::AccessDenied {
            host,
            repository: asked.reference.familiar_name(),
            cause,
        },
        "NAME_UNKNOWN" => RegistryError::RepositoryUnknown {
            host,
            repository: asked.reference.familiar_name(),
            cause,
        },
        "MANIFEST_UNKNOWN" => RegistryError::ManifestUnknown {
            host,
            reference: asked.reference.familiar(),
            cause,
        },
        _ => RegistryError::Refused {
            host,
            operation: asked.operation.to_owned(),
            cause,
            retry_after,
        },
    }
}

fn bearer_error(challenge: &Challenge) -> Option<RegistryMessage> {
    let code = match (challenge.scheme.as_str(), challenge.parameter("error")?) {
        ("bearer", "invalid_token") => "UNAUTHORIZED",
        ("bearer", "insufficient_scope") => "DENIED",
        _ => return None,
    };
    let message = challenge
        .parameter("error_description")
        .or_else(|| standard_text(code))?;
    Some(RegistryMessage {
        code: code.to_owned(),
        message: message.to_owned(),
    })
}

/// The first error of the body; else one that the status alone tells; else what is wrong with the body.
fn message(status: StatusCode, body: &[u8]) -> Result<RegistryMessage, String> {
    let of_status = match status.as_u16() {
        401 => Some("UNAUTHORIZED"),
        403 => Some("DENIED"),
        429 => Some("TOOMANYREQUESTS"),
        _ => None,
    };
    let parsed = serde_json::from_slice::<Body>(body).map_err(|error| json_reason(body, &error));
    let reason = match parsed {
        Ok(Body { errors, details }) => {
            if let Some(message) = details.filter(|details| !details.is_empty()) {
                return Ok(RegistryMessage {
                    code: of_status.unwrap_or("UNKNOWN").to_owned(),
                    message,
                });
            }
            if let Some(Entry { code, message }) = errors.into_iter().next() {
                let code = if code.is_empty() {
                    "UNKNOWN".to_owned()
                } else {
                    code.to_uppercase()
                };
                let message = if message.is_empty() {
                    standard_text(&code).unwrap_or_default().to_owned()
                } else {
                    message
                };
                return Ok(RegistryMessage { code, message });
            }
            "no error details found in HTTP response body".to_owned()
        }
        Err(reason) => reason,
    };
    let code = of_status.ok_or(reason)?;
    Ok(RegistryMessage {
        code: code.to_owned(),
        message: standard_text(code).unwrap_or_default().to_owned(),
    })
}

fn standard_text(code: &str) -> Option<&'static str> {
    Some(match code {
        "UNAUTHORIZED" => "authentication required",
        "DENIED" => "requested access to the resource is denied",
        "TOOMANYREQUESTS" => "too many requests",
        "MANIFEST_UNKNOWN" => "manifest unknown",
        "NAME_UNKNOWN" => "repository name not known to registry",
        "BLOB_UNKNOWN" => "blob unknown to registry",
        "UNKNOWN" => "unknown error",
        _ => return None,
    })
}

/// The words of Docker's JSON parser for the two common cases: nothing, and a page for people.
fn json_reason(body: &[u8], error: &serde_json::Error) -> String {
    let text = String::from_utf8_lossy(body);
    match text.trim_start().chars().next() {
        None => "unexpected end of JSON input".to_owned(),
        Some(first) if !"{[\"-0123456789tfn".contains(first) => {
            format!("invalid character {first:?} looking for beginning of value")
        }
        Some(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    fn refused(status: u16, challenge: &str, body: &str) -> RegistryError {
        let reference = Reference::parse("busybox:nope").unwrap();
        let asked = Asked {
            host: "reg",
            operation: "GET http://reg/v2/",
            reference: &reference,
        };
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
        refusal(asked, StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    const DENIED: &str = "pull access denied for busybox, repository does not exist or may require 'docker login': \
                          denied: requested access to the resource is denied";

    #[test]
    fn errors_of_the_registry_read_as_dockers_client_shows_them() {
        let access = "requested access to the resource is denied";
        let scope = r#"Bearer realm="r",error="insufficient_scope""#;
        let manifest = "manifest for busybox:nope not found: manifest unknown: manifest unknown";
        let name = "repository busybox not found: name unknown: repository name not known to registry";
        for (status, challenge, code, message, text) in [
            (404, "", "MANIFEST_UNKNOWN", "manifest unknown", manifest),
            (404, "", "NAME_UNKNOWN", "", name),
            (403, "", "DENIED", access, DENIED),
            (401, scope, "UNAUTHORIZED", "x", DENIED),
            (
                401,
                "",
                "UNAUTHORIZED",
                "authentication required",
                "unauthorized: authentication required",
            ),
            (429, "", "TOOMANYREQUESTS", "slow down", "toomanyrequests: slow down"),
            (
                500,
                "",
                "UNKNOWN",
                "x",
                "received unexpected HTTP status: 500 Internal Server Error",
            ),
        ] {
            let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
            assert_eq!(refused(status, challenge, &body).to_string(), text);
        }
    }

    #[test]
    fn bodies_that_are_no_list_of_errors_leave_it_to_the_status() {
        let details = r#"{"details":"incorrect username or password"}"#;
        let parsing = "error parsing HTTP 404 response body";
        let page = format!("{parsing}: invalid character '<' looking for beginning of value: \"<html>\"");
        let empty = format!("{parsing}: unexpected end of JSON input: \"\"");
        let object = format!("{parsing}: no error details found in HTTP response body: \"{{}}\"");
        for (status, body, text) in [
            (401, "", "unauthorized: authentication required"),
            (401, details, "unauthorized: incorrect username or password"),
            (403, "<html>", DENIED),
            (429, "<html>", "toomanyrequests: too many requests"),
            (404, "<html>", &page),
            (404, "", &empty),
            (404, "{}", &object),
        ] {
            assert_eq!(refused(status, "", body).to_string(), text);
        }
    }

    #[test]
    fn a_limit_is_told_with_its_end() {
        let now: jiff::Timestamp = "2026-01-01T00:00:00.7Z".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(limits(&headers, None, now), "");
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(limits(&headers, hour, now), " (try again at 2026-01-01T01:00:00Z)");
        headers.insert("ratelimit-limit", "100;w=21600".parse().unwrap());
        headers.insert("ratelimit-remaining", "0;w=21600".parse().unwrap());
        let both = " (0 of 100 pulls left in 6 h, try again at 2026-01-01T01:00:00Z)";
        assert_eq!(limits(&headers, hour, now), both);
        // No end that a calendar has.
        assert_eq!(
            limits(&headers, Some(Duration::MAX), now),
            " (0 of 100 pulls left in 6 h)"
        );
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_wrong() {
        let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#;
        assert_eq!(refused(404, "", unknown).kind(), ErrorKind::NotFound);
        assert_eq!(refused(404, "", "no").kind(), ErrorKind::NotFound);
        assert_eq!(refused(401, "", "").kind(), ErrorKind::Unauthorized);
        assert_eq!(refused(429, "", "").kind(), ErrorKind::TooManyRequests);
        assert_eq!(refused(502, "", "").kind(), ErrorKind::Unavailable);
    }

    proptest! {
        #[test]
        fn no_body_makes_the_parser_panic(status in 400u16..500, body in "\\PC*") {
            refused(status, "", &body);
        }
    }
}
