//! What is wrong with a request before its operation is looked for, answered as Go's server and Docker's router answer.

use axum::body::Body;
use axum::http::{Request, StatusCode, Version, header};

use crate::answer::Failure;
use crate::query::{decode_path, wrong_escape};

/// The decoded path of a request that can be served.
pub(crate) enum Target {
    /// To be routed.
    Path(String),
    /// The client asked for it in a roundabout way, and is sent here.
    Elsewhere(String),
}

/// Looks at the head of a request.
pub(crate) fn target(request: &Request<Body>) -> Result<Target, Failure> {
    check_headers(request)?;
    let raw = request.uri().path();
    if wrong_escape(raw).is_some() {
        return Err(Failure::text(StatusCode::BAD_REQUEST, "400 Bad Request"));
    }
    let path = decode_path(raw);
    let clean = clean(&path);
    if clean == path || !path.starts_with('/') {
        return Ok(Target::Path(path));
    }
    let query = request.uri().query().map(|query| format!("?{query}"));
    Ok(Target::Elsewhere(clean + query.as_deref().unwrap_or_default()))
}

fn check_headers(request: &Request<Body>) -> Result<(), Failure> {
    let headers = request.headers();
    let hosts = headers.get_all(header::HOST).iter().count();
    // RFC 9112, section 3.2.
    if hosts == 0 && request.version() == Version::HTTP_11 {
        let words = "400 Bad Request: missing required Host header";
        return Err(Failure::text(StatusCode::BAD_REQUEST, words));
    }
    if hosts > 1 {
        return Err(Failure::text(StatusCode::BAD_REQUEST, "400 Bad Request"));
    }
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        let words = "Unsupported transfer encoding";
        return Err(Failure::text(StatusCode::NOT_IMPLEMENTED, words));
    }
    let mut expected = headers.get_all(header::EXPECT).iter();
    if expected.any(|expected| !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Failure::text(StatusCode::EXPECTATION_FAILED, ""));
    }
    Ok(())
}

/// A path without `//`, `.` and `..`; a slash at its end stays.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let slash = if path.ends_with('/') && !parts.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_gos_router_cleans_them() {
        for (path, cleaned) in [
            ("/info", "/info"),
            ("/info/", "/info/"),
            ("//info", "/info"),
            ("/v1.50//info", "/v1.50/info"),
            ("/containers/../_ping", "/_ping"),
            ("/../..", "/"),
            ("/", "/"),
        ] {
            assert_eq!(clean(path), cleaned);
        }
    }
}
