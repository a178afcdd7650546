//! The tags of a repository (OCI distribution specification, "Listing Tags").

use conex_reference::Reference;
use hyper::header::{HeaderMap, LINK};
use hyper::{Method, Uri};
use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::error::{RegistryError, Result};
use crate::session::Session;
use crate::transport::{origin, resolve};

/// Longest page of a list, in bytes.
const PAGE: u64 = 4 << 20;

/// Most pages of a list: a registry whose pages lead in a circle is left.
const PAGES: usize = 1000;

/// One page. What has no tags says `null`.
#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl Session {
    /// All tags that the endpoint has of a repository, in its order.
    pub(crate) async fn tags(&self, endpoint: &Endpoint, repository: &Reference) -> Result<Vec<String>> {
        let mut url = endpoint.url(repository, "tags/list");
        let mut tags = Vec::new();
        for _ in 0..PAGES {
            let (outgoing, response) = self.fetch(endpoint, repository, endpoint.ask(Method::GET, url)).await?;
            let (head, body) = response.into_parts();
            let bytes = self.transport.read_all(&outgoing, body, PAGE).await?;
            let wrong = |reason: String| RegistryError::Protocol {
                operation: outgoing.operation(),
                reason,
            };
            let page: Page = serde_json::from_slice(&bytes).map_err(|error| wrong(format!("list of tags: {error}")))?;
            tags.extend(page.tags.unwrap_or_default());
            let Some(next) = next(&head.headers) else {
                return Ok(tags);
            };
            url = following(&outgoing.url, next).ok_or_else(|| wrong(format!("unusable next page {next:?}")))?;
        }
        Err(RegistryError::Protocol {
            operation: format!("GET {url}"),
            reason: format!("the list of tags has more than {PAGES} pages"),
        })
    }
}

/// Where the next page is: `Link: <...>; rel="next"` (RFC 8288).
fn next(headers: &HeaderMap) -> Option<&str> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    links.flat_map(|value| value.split(", ")).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let mut parameters = parameters.split(';').map(str::trim);
        parameters
            .any(|parameter| matches!(parameter, "rel=\"next\"" | "rel=next"))
            .then_some(target)
    })
}

/// The URL of the next page. The registry's credentials go there, so that it must be the registry's own.
fn following(asked: &str, next: &str) -> Option<String> {
    let asked: Uri = asked.parse().ok()?;
    let next = match next.strip_prefix('?') {
        Some(query) => format!("{}?{query}", asked.path()),
        None => next.to_owned(),
    };
    let next = resolve(&asked, &next)?;
    (origin(&next) == origin(&asked)).then(|| next.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        let next_of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, value.parse().unwrap());
            next(&headers).map(str::to_owned)
        };
        let path = Some("/v2/a/tags/list?last=b&n=2".to_owned());
        assert_eq!(next_of("</v2/a/tags/list?last=b&n=2>; rel=\"next\""), path);
        assert_eq!(
            next_of("</first>; rel=\"first\", </v2/a/tags/list?last=b&n=2>; title=x; rel=next"),
            path
        );
        assert_eq!(next_of("</first>; rel=\"first\""), None);
        assert_eq!(next_of("no link"), None);
    }

    #[test]
    fn credentials_are_not_led_to_another_registry() {
        let asked = "https://reg:5000/v2/a/tags/list?n=1";
        for (next, expected) in [
            ("/v2/a/tags/list?last=b", Some("https://reg:5000/v2/a/tags/list?last=b")),
            ("?last=b", Some("https://reg:5000/v2/a/tags/list?last=b")),
            ("https://reg:5000/other", Some("https://reg:5000/other")),
            ("http://reg:5000/v2/a/tags/list", None),
            ("//elsewhere/v2/a/tags/list", None),
            ("", None),
        ] {
            assert_eq!(following(asked, next).as_deref(), expected, "{next}");
        }
    }
}
