//! `GET /images/search`: names that an index knows.

use conex_api_types as api;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::images::{credentials, invalid};
use crate::requests::SearchRequest;

/// Filters that are understood. Of the first Docker says that it is never so.
const FILTERS: [&str; 3] = ["is-automated", "is-official", "stars"];

/// Results where the client does not say how many.
const LIMIT: i64 = 25;

impl Engine {
    /// What an index knows to a term.
    ///
    /// # Errors
    /// 400 for a term, a limit or a filter that is none, and where the index of a private registry does not answer.
    pub async fn search(&self, request: SearchRequest) -> Result<Vec<api::SearchResult>> {
        let filters = &request.filters;
        filters.require_known(&FILTERS).map_err(invalid)?;
        if flag(filters, "is-automated")? == Some(true) {
            return Ok(Vec::new());
        }
        let is_official = flag(filters, "is-official")?;
        let stars = stars(filters)?;
        let limit = request.limit.filter(|limit| *limit != 0).unwrap_or(LIMIT);
        let credentials = credentials(request.auth.as_deref());
        let searched = self.inner.registries.search(&request.term, limit, credentials).await;
        let found = searched.map_err(|error| {
            let kind = if error.is_invalid() {
                ErrorKind::InvalidParameter
            } else {
                ErrorKind::System
            };
            Error::new(kind, error.to_string()).caused_by(error)
        })?;
        let wanted = found.into_iter().filter(|found| {
            is_official.is_none_or(|is_official| found.is_official == is_official) && found.star_count >= stars
        });
        let result = |found: conex_registry::Found| api::SearchResult {
            star_count: found.star_count,
            is_official: found.is_official,
            name: found.name,
            is_automated: false,
            description: found.description,
        };
        Ok(wanted.map(result).collect())
    }
}

/// A filter that is yes or no.
fn flag(filters: &api::Filters, name: &str) -> Result<Option<bool>> {
    match filters.values(name) {
        None => Ok(None),
        Some([text]) if matches!(text.as_str(), "1" | "true") => Ok(Some(true)),
        Some([text]) if matches!(text.as_str(), "0" | "false") => Ok(Some(false)),
        Some(values) => Err(invalid(format!("invalid filter '{name}=[{}]'", values.join(" ")))),
    }
}

/// The fewest stars: of several numbers the highest.
fn stars(filters: &api::Filters) -> Result<i64> {
    let mut fewest = i64::MIN;
    for text in filters.values("stars").into_iter().flatten() {
        let number = text.parse::<i64>().map_err(|_| {
            let reason = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
            invalid(format!("invalid filter 'stars={text}': {reason}"))
        })?;
        fewest = fewest.max(number);
    }
    Ok(fewest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_in_dockers_words() {
        let filters = |text: &str| api::Filters::parse(text).unwrap();
        let said = |text: &str| flag(&filters(text), "is-official").map_err(|error| error.message().to_owned());
        assert_eq!(said("{}"), Ok(None));
        assert_eq!(said(r#"{"is-official":["true"]}"#), Ok(Some(true)));
        assert_eq!(
            said(r#"{"is-official":["x"]}"#),
            Err("invalid filter 'is-official=[x]'".to_owned())
        );
        let fewest = |text: &str| stars(&filters(text)).map_err(|error| error.message().to_owned());
        assert_eq!(fewest(r#"{"stars":["3","10"]}"#), Ok(10));
        assert_eq!(
            fewest(r#"{"stars":["x"]}"#),
            Err(r#"invalid filter 'stars=x': strconv.Atoi: parsing "x": invalid syntax"#.to_owned())
        );
    }
}
