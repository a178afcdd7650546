//! `--userns`: whose ids those of a container are.

use crate::invalid::Invalid;

/// Ids that `auto` allots where it does not say how many, and `keep-id` always: as many as user and group ids of 16 bits are.
pub const AUTO_SIZE: u32 = 65_536;

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
    /// Ids of the host that no other container has, but for those of the caller, which are its own in the container too.
    KeepId {
        /// The caller's user in the container, if it is another one there.
        user: Option<u32>,
        /// The caller's group in the container, if it is another one there.
        group: Option<u32>,
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
    /// Parses `UsernsMode`: `host`, `auto`, `auto:size=N`, `keep-id`, `keep-id:uid=N,gid=N`, or `uid:from:size`.
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
            "keep-id" => {
                return Ok(Self::KeepId {
                    user: None,
                    group: None,
                });
            }
            _ => {}
        }
        if let Some(options) = text.strip_prefix("keep-id:") {
            return keep_id(options).ok_or_else(invalid);
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

/// Parses the options of `keep-id`, each at most once.
fn keep_id(options: &str) -> Option<UsernsMode> {
    let (mut user, mut group) = (None, None);
    for option in options.split(',') {
        let (name, id) = option.split_once('=')?;
        let place = match name {
            "uid" => &mut user,
            "gid" => &mut group,
            _ => return None,
        };
        // The last id of all stands for none (user_namespaces(7)).
        let id = id.parse().ok().filter(|id| *id != u32::MAX)?;
        if place.replace(id).is_some() {
            return None;
        }
    }
    Some(UsernsMode::KeepId { user, group })
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
                "keep-id",
                UsernsMode::KeepId {
                    user: None,
                    group: None,
                },
            ),
            (
                "keep-id:gid=7,uid=1000",
                UsernsMode::KeepId {
                    user: Some(1000),
                    group: Some(7),
                },
            ),
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
            "keep-id:",
            "keep-id:uid",
            "keep-id:uid=a",
            "keep-id:uid=4294967295",
            "keep-id:size=5",
            "keep-id:uid=1,uid=2",
        ] {
            let error = UsernsMode::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("invalid USER mode: {text}"));
        }
    }
}
