//! Labels, names and ports as filters speak of them.

use std::collections::BTreeMap;

use conex_api_types as api;
use regex_lite::Regex;

/// Whether labels are as the filters `label` and `label!` want them: all of the first, not all of the second (so Docker).
pub(crate) fn labels(labels: &BTreeMap<String, String>, filters: &api::Filters) -> bool {
    let has = |wanted: &String| match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|label| label == value),
        None => labels.contains_key(wanted),
    };
    let wanted = filters.values("label").unwrap_or_default();
    let unwanted = filters.values("label!").unwrap_or_default();
    wanted.iter().all(has) && (unwanted.is_empty() || !unwanted.iter().all(has))
}

/// Whether a name is meant by a pattern: the name itself, or a regular expression that matches a part of it. One that is
/// none matches nothing, as in Docker.
pub(crate) fn name(name: &str, pattern: &str) -> bool {
    name == pattern || Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name))
}

/// Whether a name with slashes is meant by a pattern as a shell has them: `*` and `?`, which do not cross a slash, `[a-z]`,
/// `[^a-z]`, and `\` before what is meant literally. `None` for a pattern that is malformed.
pub(crate) fn path(name: &str, pattern: &str) -> Option<bool> {
    let tokens = tokens(pattern)?;
    let name: Vec<char> = name.chars().collect();
    Some(matches(&tokens, &name))
}

/// One place of a pattern.
enum Token {
    Star,
    Any,
    Literal(char),
    /// Ranges, and whether what is in none of them is meant.
    Class(Vec<(char, char)>, bool),
}

fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut rest = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(next) = rest.next() {
        tokens.push(match next {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Literal(rest.next()?),
            '[' => {
                let negated = rest.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || rest.peek() != Some(&']') {
                    let first = class_member(&mut rest)?;
                    let last = match rest.next_if_eq(&'-') {
                        Some(_) => class_member(&mut rest)?,
                        None => first,
                    };
                    ranges.push((first, last));
                }
                rest.next();
                Token::Class(ranges, negated)
            }
            literal => Token::Literal(literal),
        });
    }
    Some(tokens)
}

fn class_member(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match rest.next()? {
        '\\' => rest.next(),
        '-' | ']' => None,
        member => Some(member),
    }
}

/// Whether all of a text is meant. A star that could end at several places is tried again from the last one only, so
/// that no pattern takes long.
fn matches(tokens: &[Token], text: &[char]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    loop {
        let step = match (tokens.get(token), text.get(at)) {
            (None, None) => return true,
            (Some(Token::Star), _) => {
                last_star = Some((token, at));
                token += 1;
                continue;
            }
            (Some(Token::Any), Some(next)) => *next != '/',
            (Some(Token::Literal(wanted)), Some(next)) => wanted == next,
            (Some(Token::Class(ranges, negated)), Some(next)) => {
                ranges.iter().any(|(first, last)| (first..=last).contains(&next)) != *negated
            }
            _ => false,
        };
        if step {
            (token, at) = (token + 1, at + 1);
            continue;
        }
        match last_star {
            Some((star, from)) if text.get(from).is_some_and(|next| *next != '/') => {
                last_star = Some((star, from + 1));
                (token, at) = (star + 1, from + 1);
            }
            _ => return false,
        }
    }
}

/// The ports that `80`, `80/udp` or `80-90/tcp` means, as `port/protocol`.
pub(crate) fn ports(text: &str) -> Option<impl Iterator<Item = String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let is_known = matches!(protocol, "tcp" | "udp" | "sctp") && first <= last;
    let protocol = protocol.to_owned();
    is_known.then(|| (first..=last).map(move |port| format!("{port}/{protocol}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_matched_by_regular_expressions() {
        assert!(name("web-1", "web") && name("web-1", "^web-[0-9]$") && name("a.b", "a.b"));
        assert!(!name("web-1", "^1") && !name("web-1", "("));
    }

    #[test]
    fn ports_come_one_by_one_and_in_ranges() {
        let list = |text: &str| ports(text).map(|ports| ports.collect::<Vec<_>>());
        assert_eq!(list("80").unwrap(), ["80/tcp"]);
        assert_eq!(list("80-81/udp").unwrap(), ["80/udp", "81/udp"]);
        assert!(list("81-80").is_none() && list("x").is_none() && list("80/x").is_none());
    }

    #[test]
    fn names_with_slashes_are_matched_as_a_shell_does() {
        for (name, pattern) in [
            ("a/b", "*/b"),
            ("abc", "a*c"),
            ("abc", "[a-b]?[^d]"),
            ("a*", r"a\*"),
            ("aXbXc", "*X*c"),
        ] {
            assert_eq!(path(name, pattern), Some(true), "{name} {pattern}");
        }
        for (name, pattern) in [
            ("a/b", "*b"),
            ("a/b", "a?b"),
            ("abc", "[^a]bc"),
            ("ab", "a"),
            ("a/b/c", "*c"),
        ] {
            assert_eq!(path(name, pattern), Some(false), "{name} {pattern}");
        }
        for pattern in ["[", "[]", "[a-]", "a\\", "[-a]"] {
            assert_eq!(path("a", pattern), None, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_crashes(pattern in ".*", text in ".*") {
            let _ = (name(&text, &pattern), ports(&pattern).is_some(), path(&text, &pattern));
        }
    }
}
