//! `--volumes-from`: `container[:mode]`.

use std::str::FromStr;

use crate::invalid::Invalid;

/// Whose mounts are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesFrom {
    /// Name or id of the container.
    pub container: String,
    /// Whether they become read-only.
    pub read_only: bool,
}

impl FromStr for VolumesFrom {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::field("volumes-from specification cannot be an empty string"));
        }
        let (container, mode) = text.split_once(':').unwrap_or((text, ""));
        let known = |option: &str| matches!(option, "ro" | "rw" | "z" | "Z" | "nocopy");
        if !mode.is_empty() && !mode.split(',').all(known) {
            return Err(Invalid::Field(format!("invalid mode: {mode}")));
        }
        Ok(Self {
            container: container.to_owned(),
            read_only: mode.split(',').any(|option| option == "ro"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_may_follow_the_container() {
        let parsed = |text: &str| text.parse::<VolumesFrom>().map_err(|error| error.to_string());
        assert!(parsed("c:ro,z").unwrap().read_only && !parsed("c").unwrap().read_only);
        assert_eq!(parsed("c:bad").unwrap_err(), "invalid mode: bad");
        assert_eq!(
            parsed("").unwrap_err(),
            "volumes-from specification cannot be an empty string"
        );
    }
}
