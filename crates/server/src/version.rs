//! Versions in paths: `/v1.24/...` to `/v1.51/...`, and none.

use crate::answer::Failure;

/// Highest version that is served.
pub(crate) const HIGHEST: (u32, u32) = (1, 51);

/// Lowest version that is served.
pub(crate) const LOWEST: (u32, u32) = (1, 24);

/// Takes a version off a path; a path without one means the highest.
pub(crate) fn strip(path: &str) -> Result<&str, Failure> {
    let Some(rest) = path.strip_prefix("/v") else {
        return Ok(path);
    };
    let (text, rest) = match rest.split_once('/') {
        Some((text, _)) => (text, &rest[text.len()..]),
        None => (rest, "/"),
    };
    // `/volumes` begins with the same letter.
    let Some((major, minor)) = text.split_once('.') else {
        return Ok(path);
    };
    let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else {
        return Ok(path);
    };
    if (major, minor) > HIGHEST {
        return Err(Failure::bad_request(format!(
            "client version {text} is too new. Maximum supported API version is {}.{}",
            HIGHEST.0, HIGHEST.1
        )));
    }
    if (major, minor) < LOWEST {
        return Err(Failure::bad_request(format!(
            "client version {text} is too old. Minimum supported API version is {}.{}, please upgrade your client to a newer version",
            LOWEST.0, LOWEST.1
        )));
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_taken_off() {
        assert_eq!(strip("/v1.47/containers/json").unwrap(), "/containers/json");
        assert_eq!(strip("/containers/json").unwrap(), "/containers/json");
        assert_eq!(strip("/version").unwrap(), "/version");
        assert_eq!(strip("/volumes").unwrap(), "/volumes");
    }

    #[test]
    fn versions_out_of_range_are_refused() {
        assert!(strip("/v1.23/info").is_err());
        assert!(strip("/v1.99/info").is_err());
        assert!(strip("/v2.0/info").is_err());
    }
}
