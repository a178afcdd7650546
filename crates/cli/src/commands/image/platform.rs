//! Platforms as people write them, for parameters that take JSON.

use serde_json::json;

use crate::failure::Failure;

/// `os/architecture[/variant]` as the API's JSON.
pub(crate) fn to_json(text: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = text.split('/').collect();
    let platform = match parts.as_slice() {
        _ if parts.iter().any(|part| part.is_empty()) => None,
        [os, architecture] => Some(json!({"os": os, "architecture": architecture})),
        [os, architecture, variant] => Some(json!({"os": os, "architecture": architecture, "variant": variant})),
        _ => None,
    };
    let platform = platform.map(|platform| platform.to_string());
    platform.ok_or_else(|| {
        Failure::new(
            1,
            format!("{text:?} is no platform: os/architecture[/variant] is wanted"),
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn a_platform_has_two_parts_or_three() {
        assert_eq!(
            to_json("linux/arm64").unwrap(),
            r#"{"architecture":"arm64","os":"linux"}"#
        );
        assert_eq!(
            to_json("linux/arm/v7").unwrap(),
            r#"{"architecture":"arm","os":"linux","variant":"v7"}"#
        );
        for wrong in ["", "linux", "linux/", "/arm64", "a/b/c/d"] {
            assert!(to_json(wrong).is_err(), "{wrong}");
        }
    }
}
