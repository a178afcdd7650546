//! Versions in paths: `/v1.24/...` to `/v1.51/...`, and none.

use axum::http::StatusCode;

use crate::answer::Failure;

/// Highest version that is served.
pub(crate) const HIGHEST: (u32, u32) = (1, 51);

/// Lowest version that is served.
pub(crate) const LOWEST: (u32, u32) = (1, 24);

/// Takes a version off a path; a path without one means the highest.
pub(crate) fn split(path: &str) -> Result<((u32, u32), &str), Failure> {
    let Some(rest) = path.strip_prefix("/v") else {
        return Ok((HIGHEST, path));
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (text, rest) = rest.split_at(end);
    // `/volumes` begins with the same letter.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Ok((HIGHEST, path));
    }
    let version = numbers(text);
    if version < LOWEST {
        // Clients as old as this know no errors in JSON.
        return Err(Failure::text(
            StatusCode::BAD_REQUEST,
            format!(
                "client version {text} is too old. Minimum supported API version is {}.{}, please upgrade your client to a newer version\n",
                LOWEST.0, LOWEST.1
            ),
        )
        .without_experiments());
    }
    if version > HIGHEST {
        return Err(Failure::bad_request(format!(
            "client version {text} is too new. Maximum supported API version is {}.{}",
            HIGHEST.0, HIGHEST.1
        ))
        .without_experiments());
    }
    Ok((version, if rest.is_empty() { "/" } else { rest }))
}

/// Major and minor number; what is missing is 0, what is too large for a number is as large as can be.
fn numbers(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| match part {
        "" => 0,
        digits => digits.parse().unwrap_or(u32::MAX),
    });
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_taken_off() {
        assert_eq!(split("/v1.47/containers/json").unwrap(), ((1, 47), "/containers/json"));
        assert_eq!(split("/containers/json").unwrap(), (HIGHEST, "/containers/json"));
        assert_eq!(split("/version").unwrap(), (HIGHEST, "/version"));
        assert_eq!(split("/volumes").unwrap(), (HIGHEST, "/volumes"));
        assert_eq!(split("/v1.47").unwrap(), ((1, 47), "/"));
        assert_eq!(split("/vx/info").unwrap(), (HIGHEST, "/vx/info"));
    }

    #[test]
    fn versions_out_of_range_are_refused() {
        assert!(split("/v1.23/info").is_err());
        assert!(split("/v1.99/info").is_err());
        assert!(split("/v2.0/info").is_err());
        assert!(split("/v1/info").is_err());
        assert!(split("/v1.99999999999999999999/info").is_err());
    }
}
