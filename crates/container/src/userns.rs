//! `--userns`: whose ids those of a container are.

use crate::invalid::Invalid;

/// Ids that `auto` allots where it does not say how many: as many as user and group ids of 16 bits are.
const AUTO_SIZE: u32 = 65_536;

/// What a container asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsernsMode {
    /// What the daemon was told (`userns-remap`).
    Daemon,
    /// The host's ids.
    Host,
    /// Ids of the host that no other container has.
    Auto {
        /// How many.
        size: u32,
    },
    /// These: users and groups alike.
    Range {
        /// The first, in the container.
        inside: u32,
        /// The first, on the host.
        outside: u32,
        /// How many.
        size: u32,
    },
}

impl UsernsMode {
    /// Parses `UsernsMode`: `host`, `auto`, `auto:size=N`, or `uid:from:size`.
    ///
    /// # Errors
    /// Docker's words for what is none of them.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::field(format!("invalid USER mode: {text}"));
        let size = |text: &str| text.parse::<u32>().ok().filter(|size| *size > 0);
        match text {
            "" => return Ok(Self::Daemon),
            "host" => return Ok(Self::Host),
            "auto" => return Ok(Self::Auto { size: AUTO_SIZE }),
            _ => {}
        }
        if text == "keep-id" || text.starts_with("keep-id:") {
            return Err(Invalid::Unsupported {
                field: "UsernsMode",
                what: "keeping the ids of the caller, whom the API does not name,".to_owned(),
            });
        }
        if let Some(wanted) = text.strip_prefix("auto:size=") {
            return size(wanted).map(|size| Self::Auto { size }).ok_or_else(invalid);
        }
        let [inside, outside, count] = text.split(':').collect::<Vec<_>>()[..] else {
            return Err(invalid());
        };
        let first = |text: &str| text.parse::<u32>().ok();
        let (inside, outside) = first(inside).zip(first(outside)).ok_or_else(invalid)?;
        let size = size(count).ok_or_else(invalid)?;
        // The last id of all stands for none (user_namespaces(7)).
        if inside.checked_add(size).is_none() || outside.checked_add(size).is_none() {
            return Err(invalid());
        }
        Ok(Self::Range { inside, outside, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_understood() {
        for (text, mode) in [
            ("", UsernsMode::Daemon),
            ("host", UsernsMode::Host),
            ("auto", UsernsMode::Auto { size: 65_536 }),
            ("auto:size=1000", UsernsMode::Auto { size: 1000 }),
            (
                "0:300000:10",
                UsernsMode::Range {
                    inside: 0,
                    outside: 300_000,
                    size: 10,
                },
            ),
        ] {
            assert_eq!(UsernsMode::parse(text).unwrap(), mode, "{text}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused_in_dockers_words() {
        for text in [
            "private",
            "auto:",
            "auto:size=0",
            "0:1",
            "0:1:0",
            "0:1:2:3",
            "a:1:2",
            "0:4294967295:1",
            "-1:0:5",
        ] {
            let error = UsernsMode::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("invalid USER mode: {text}"));
        }
        let error = UsernsMode::parse("keep-id").unwrap_err().to_string();
        assert!(
            error.starts_with("UsernsMode: keeping the ids of the caller"),
            "{error}"
        );
    }
}
