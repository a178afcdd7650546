//! `GET /images/json`.

use std::collections::{HashMap, HashSet};

use conex_api_types as api;
use conex_image::Image;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::images::find_error;
use crate::matching;
use crate::requests::{ImagesQuery, Timestamp};

/// Filters of the list that are understood.
const FILTERS: [&str; 6] = ["dangling", "label", "reference", "before", "since", "until"];

/// The filters of a list, read.
struct Wanted<'a> {
    /// Made before.
    before: Option<jiff::Timestamp>,
    /// Made after.
    since: Option<jiff::Timestamp>,
    /// Without a tag, or with one; whichever where it is not said.
    dangling: Option<bool>,
    /// Names, as patterns; any of them.
    references: Option<&'a [String]>,
    filters: &'a api::Filters,
}

impl Engine {
    /// Lists images, newest first.
    ///
    /// # Errors
    /// 400 for a filter that there is none of or that says nothing, 404 where `before` or `since` names no image.
    pub async fn images(&self, query: ImagesQuery) -> Result<Vec<api::ImageSummary>> {
        let wanted = self.wanted(&query.filters)?;
        let images = if query.all {
            self.inner.images.list()
        } else {
            self.inner.images.list_by_names()
        };
        let parents: HashSet<&str> = images.iter().filter_map(|image| image.parent.as_deref()).collect();
        let mut summaries = Vec::new();
        for image in images.iter().filter(|image| wanted.matches(image)) {
            let (tags, digests) = (wanted.names(&image.repo_tags), wanted.names(&image.repo_digests));
            let is_named = !tags.is_empty() || !digests.is_empty();
            let has_children = parents.contains(image.id.as_str());
            let is_shown = match wanted.dangling {
                only_dangling if is_named => only_dangling != Some(true) || tags.is_empty(),
                Some(false) => false,
                // What others were made upon and has no name is told to those only who ask for everything.
                _ => wanted.references.is_none() && (query.all || !has_children),
            };
            if is_shown {
                let mut summary = summary(image, tags, digests);
                summary.manifests = query.manifests.then(|| self.inner.manifests(image));
                summaries.push(summary);
            }
        }
        if query.containers {
            let mut users: HashMap<String, i64> = HashMap::new();
            for container in self.inner.containers.all() {
                *users.entry(container.image.clone()).or_default() += 1;
            }
            for summary in &mut summaries {
                summary.containers = users.get(&summary.id).copied().unwrap_or(0);
            }
        }
        if query.shared_size {
            let shared = self.inner.images.usage().shared;
            for summary in &mut summaries {
                let bytes = shared.get(&summary.id).copied().unwrap_or(0);
                summary.shared_size = i64::try_from(bytes).unwrap_or(i64::MAX);
            }
        }
        Ok(summaries)
    }

    fn wanted<'a>(&self, filters: &'a api::Filters) -> Result<Wanted<'a>> {
        filters
            .require_known(&FILTERS)
            .map_err(|error| invalid(error.to_string()))?;
        let references = filters.values("reference");
        if let Some(wrong) = references
            .into_iter()
            .flatten()
            .find(|pattern| matching::path("", pattern).is_none())
        {
            return Err(invalid(format!(
                "invalid filter 'reference={wrong}': syntax error in pattern"
            )));
        }
        let mut wanted = Wanted {
            before: None,
            since: None,
            dangling: filters.truth("dangling").map_err(|error| invalid(error.to_string()))?,
            references,
            filters,
        };
        // Of several values all must hold; an image without a date bounds nothing.
        for name in filters.values("before").into_iter().flatten() {
            if let Some(time) = self.created(name)? {
                wanted.before = Some(earlier(wanted.before, time));
            }
        }
        for text in filters.values("until").into_iter().flatten() {
            let time = Timestamp::before(text, jiff::Timestamp::now())
                .and_then(|time| time.to_jiff())
                .ok_or_else(|| invalid(format!("failed to parse value as time or duration: {text:?}")))?;
            wanted.before = Some(earlier(wanted.before, time));
        }
        for name in filters.values("since").into_iter().flatten() {
            if let Some(time) = self.created(name)? {
                wanted.since = Some(wanted.since.map_or(time, |since| since.max(time)));
            }
        }
        Ok(wanted)
    }

    /// When an image was made, where that is known.
    fn created(&self, name: &str) -> Result<Option<jiff::Timestamp>> {
        let image = self.inner.images.find(name).map_err(find_error)?;
        Ok(image.config.created.parse().ok())
    }
}

impl Wanted<'_> {
    fn matches(&self, image: &Image) -> bool {
        let created = image.config.created.parse::<jiff::Timestamp>().ok();
        self.before
            .is_none_or(|before| created.is_some_and(|created| created < before))
            && self
                .since
                .is_none_or(|since| created.is_some_and(|created| created > since))
            && matching::labels(&image.config.config.labels, self.filters)
    }

    /// Of an image with several names those that were asked for.
    fn names(&self, names: &[String]) -> Vec<String> {
        let is_wanted = |name: &&String| match self.references {
            Some(patterns) => patterns.iter().any(|pattern| matches_reference(name, pattern)),
            None => true,
        };
        names.iter().filter(is_wanted).cloned().collect()
    }
}

fn invalid(words: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, words)
}

fn earlier(one: Option<jiff::Timestamp>, other: jiff::Timestamp) -> jiff::Timestamp {
    one.map_or(other, |one| one.min(other))
}

/// A pattern of a name, with or without its tag or digest.
fn matches_reference(name: &str, pattern: &str) -> bool {
    let without = match name.split_once('@') {
        Some((repository, _)) => repository,
        None => name.rsplit_once(':').map_or(name, |(repository, _)| repository),
    };
    [name, without]
        .into_iter()
        .any(|name| matching::path(name, pattern) == Some(true))
}

fn summary(image: &Image, tags: Vec<String>, digests: Vec<String>) -> api::ImageSummary {
    let created: jiff::Timestamp = image.config.created.parse().unwrap_or_default();
    api::ImageSummary {
        containers: -1,
        created: created.as_second(),
        id: image.id.clone(),
        labels: image.config.config.labels.clone(),
        parent_id: image.parent.clone().unwrap_or_default(),
        repo_digests: Some(digests),
        repo_tags: Some(tags),
        shared_size: -1,
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        virtual_size: None,
        manifests: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_with_and_without_their_tags() {
        assert!(matches_reference("busybox:latest", "busybox"));
        assert!(matches_reference("busybox:latest", "busy*:l?test"));
        assert!(matches_reference("busybox:latest", "busybo[w-y]"));
        assert!(matches_reference("a/b:1", "*/b"));
        assert!(matches_reference("localhost:5000/b@sha256:1", "localhost:5000/b"));
        assert!(!matches_reference("a/b:1", "*b"));
    }
}
