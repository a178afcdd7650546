//! `Content-Type` of a request with a JSON body, judged as Docker judges it.

/// Refuses what is not `application/json`, in Docker's words.
pub(crate) fn require_json(content_type: &str) -> Result<(), String> {
    let malformed = |why: &str| format!("malformed Content-Type header ({content_type}): mime: {why}");
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let essence = essence.trim().to_ascii_lowercase();
    if essence.is_empty() {
        return Err(malformed("no media type"));
    }
    for parameter in parameters.split(';').map(str::trim).filter(|text| !text.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.trim().is_empty() || value.is_empty() {
            return Err(malformed("invalid media parameter"));
        }
    }
    if essence != "application/json" {
        return Err(format!(
            "unsupported Content-Type header ({content_type}): must be 'application/json'"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;",
        ] {
            assert_eq!(require_json(good), Ok(()), "{good}");
        }
        assert_eq!(
            require_json("text/plain").unwrap_err(),
            "unsupported Content-Type header (text/plain): must be 'application/json'"
        );
        assert_eq!(
            require_json("").unwrap_err(),
            "malformed Content-Type header (): mime: no media type"
        );
        assert_eq!(
            require_json("a/b; =").unwrap_err(),
            "malformed Content-Type header (a/b; =): mime: invalid media parameter"
        );
    }
}
