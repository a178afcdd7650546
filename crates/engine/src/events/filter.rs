//! Which events a listener asked for.

use conex_api_types::{EventMessage, Filters};

use crate::error::{Error, ErrorKind, Result};

/// Filters by name; values of one are alternatives, but for labels, of which an object has all. Filters are conditions.
#[derive(Debug)]
pub(super) struct Filter(Filters);

/// What can be filtered by: objects by their name or id, and the rest.
const KNOWN: [&str; 15] = [
    "builder",
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

impl Filter {
    /// # Errors
    /// 400 for a filter that there is none of.
    pub(super) fn new(filters: Filters) -> Result<Self> {
        match filters.require_known(&KNOWN) {
            Ok(()) => Ok(Self(filters)),
            Err(error) => Err(Error::new(ErrorKind::InvalidParameter, error.to_string())),
        }
    }

    pub(super) fn matches(&self, event: &EventMessage) -> bool {
        self.0.iter().all(|(filter, values)| {
            // A filter without values asks for nothing.
            values.is_empty()
                || match filter.as_str() {
                    "label" => values.iter().all(|value| matches(event, filter, value)),
                    _ => values.iter().any(|value| matches(event, filter, value)),
                }
        })
    }
}

fn matches(event: &EventMessage, filter: &str, value: &str) -> bool {
    let attribute = |name: &str| event.actor.attributes.get(name).map_or("", String::as_str);
    match filter {
        "type" => event.kind == value,
        // `exec_create: sh` is an action with its command behind it.
        "event" => event.action == value || event.action.split(':').next() == Some(value),
        "image" => {
            let name = attribute(if event.kind == "image" { "name" } else { "image" });
            (event.kind == "image" && event.actor.id == value) || name == value || without_tag(name) == value
        }
        "label" => match value.split_once('=') {
            Some((name, wanted)) => event.actor.attributes.get(name).is_some_and(|label| label == wanted),
            None => event.actor.attributes.contains_key(value),
        },
        "scope" => event.scope == value,
        object => event.kind == object && (event.actor.id.starts_with(value) || attribute("name").starts_with(value)),
    }
}

/// `registry:5000/app` of `registry:5000/app:1`.
fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn started() -> EventMessage {
        let attributes = [("name", "web"), ("image", "host:5000/app:1"), ("tier", "front")];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        EventMessage::new("container", "exec_start: sh -c ls", "abcdef", attributes.into(), 1)
    }

    fn passes(filters: &[(&str, &[&str])]) -> bool {
        let text = serde_json::to_string(&filters.iter().copied().collect::<HashMap<_, _>>()).unwrap();
        Filter::new(Filters::parse(&text).unwrap()).unwrap().matches(&started())
    }

    #[test]
    fn each_filter_asks_for_what_it_names() {
        for (name, value) in [
            ("type", "container"),
            ("event", "exec_start"),
            ("event", "exec_start: sh -c ls"),
            ("container", "web"),
            ("container", "w"),
            ("container", "abc"),
            ("image", "host:5000/app:1"),
            ("image", "host:5000/app"),
            ("label", "tier"),
            ("label", "tier=front"),
            ("scope", "local"),
        ] {
            assert!(passes(&[(name, &[value])]), "{name}={value}");
        }
        for (name, value) in [
            ("type", "image"),
            ("event", "exec"),
            ("event", "exec_start: sh"),
            ("container", "eb"),
            ("network", "web"),
            ("volume", "web"),
            ("daemon", "web"),
            ("image", "host"),
            ("image", "app"),
            ("label", "front"),
            ("label", "tier=back"),
            ("scope", "swarm"),
        ] {
            assert!(!passes(&[(name, &[value])]), "{name}={value}");
        }
    }

    #[test]
    fn values_are_alternatives_and_filters_conditions() {
        assert!(passes(&[("type", &["image", "container"])]));
        assert!(!passes(&[("type", &["container"]), ("label", &["other"])]));
        assert!(passes(&[("type", &[])]));
        assert!(passes(&[("label", &["tier", "name=web"])]));
        assert!(!passes(&[("label", &["tier", "other"])]));
    }

    #[test]
    fn a_filter_that_there_is_none_of_is_refused() {
        let error = Filter::new(Filters::parse(r#"{"colour":["red"]}"#).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "invalid filter 'colour'");
    }
}
