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

    proptest! {
        #[test]
        fn no_pattern_crashes(pattern in ".*", text in ".*") {
            let _ = (name(&text, &pattern), ports(&pattern).is_some());
        }
    }
}
