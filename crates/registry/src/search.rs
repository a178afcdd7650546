//! Searching an index: what is left in use of the first version of Docker's registry protocol.
//!
//! ```text
//!   a term without a host   https://index.docker.io/v1/search?q=<term>&n=<limit>
//!   host/term               whether https://<host>/v1/_ping answers, or http where that is allowed; then <host>/v1/search
//! ```

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use hyper::{StatusCode, Uri};
use serde::{Deserialize, Deserializer};

use crate::credentials::Credentials;
use crate::error::RegistryError;
use crate::http::Client;
use crate::token::encode;
use crate::transport::{Outgoing, Transport};

/// Where Docker Hub's index answers.
const DEFAULT_INDEX: &str = "https://index.docker.io";

/// Longest answer that is read: a hundred results with long descriptions are far below it.
const ANSWER: u64 = 4 << 20;

/// Asks for credentials to be taken; Docker's index wants to see it.
const WANTS_TOKEN: HeaderName = HeaderName::from_static("x-docker-token");

/// A repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Its name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// What it is.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// How many like it.
    #[serde(deserialize_with = "null_default")]
    pub star_count: i64,
    /// Whether it is one of Docker's own.
    #[serde(deserialize_with = "null_default")]
    pub is_official: bool,
}

/// Why nothing was searched; the texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The term is a URL.
    #[error("invalid repository name: repository name ({0}) should not have a scheme")]
    Scheme(String),
    /// The term's host is none.
    #[error("invalid index name ({0}). Cannot begin or end with a hyphen")]
    Host(String),
    /// The number of results wanted.
    #[error("limit {0} is outside the range of [1, 100]")]
    Limit(i64),
    /// Nobody answers by https.
    #[error(
        "invalid registry endpoint https://{host}/v1/: {https}. If this private registry supports only HTTP or HTTPS \
         with an unknown CA certificate, please add `--insecure-registry {host}` to the daemon's arguments. In the case \
         of HTTPS, if you have access to the registry's CA certificate, no need for the flag; simply place the CA \
         certificate at /etc/docker/certs.d/{host}/ca.crt"
    )]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What went wrong.
        https: RegistryError,
    },
    /// Nobody answers, neither by https nor by http.
    #[error("invalid registry endpoint \"http://{host}/v1/\". HTTPS attempt: {https}. HTTP attempt: {http}")]
    UnreachableInsecure {
        /// Who was asked.
        host: String,
        /// What went wrong first.
        https: Box<RegistryError>,
        /// And then.
        http: Box<RegistryError>,
    },
    /// The index could not be asked.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The index refuses.
    #[error("Unexpected status code {0}")]
    Status(u16),
    /// The index does not answer in JSON.
    #[error("error decoding registry search results: {0}")]
    Answer(#[source] serde_json::Error),
}

impl SearchError {
    /// Whether it is about what was asked and not about the answer.
    pub fn is_invalid(&self) -> bool {
        !matches!(self, Self::Registry(_) | Self::Status(_) | Self::Answer(_))
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default, deserialize_with = "null_default")]
    results: Vec<Found>,
}

impl Client {
    /// Repositories whose name or description has to do with a term, at most `limit` of them (1 to 100).
    ///
    /// # Errors
    /// The term or the limit is none, or the index does not answer as one.
    pub async fn search(&self, term: &str, limit: i64, credentials: Credentials) -> Result<Vec<Found>, SearchError> {
        if term.contains("://") {
            return Err(SearchError::Scheme(term.to_owned()));
        }
        let transport = self.transport();
        let (host, term) = split(term);
        let base = match host {
            Some(host) => self.index_of(&transport, host).await?,
            None => DEFAULT_INDEX.to_owned(),
        };
        if !(1..=100).contains(&limit) {
            return Err(SearchError::Limit(limit));
        }
        let term = encode(term).replace("%20", "+");
        let mut outgoing = Outgoing::get(format!("{base}/v1/search?q={term}&n={limit}"));
        outgoing.headers.insert(WANTS_TOKEN, HeaderValue::from_static("true"));
        if let Some(mut basic) = credentials.basic().and_then(|basic| HeaderValue::try_from(basic).ok()) {
            basic.set_sensitive(true);
            outgoing.headers.insert(AUTHORIZATION, basic);
        }
        let (head, body) = transport.send_patiently(&outgoing).await?.response.into_parts();
        if head.status != StatusCode::OK {
            return Err(SearchError::Status(head.status.as_u16()));
        }
        let body = transport.read_all(&outgoing, body, ANSWER).await?;
        let answer: Answer = serde_json::from_slice(&body).map_err(SearchError::Answer)?;
        Ok(answer.results)
    }

    /// The base URL by which a host answers.
    async fn index_of(&self, transport: &Transport, host: &str) -> Result<String, SearchError> {
        let is_host = !host.starts_with('-') && !host.ends_with('-') && host.parse::<Uri>().is_ok();
        if !is_host {
            return Err(SearchError::Host(host.to_owned()));
        }
        let https = match ping(transport, &format!("https://{host}")).await {
            Ok(base) => return Ok(base),
            Err(error) => error,
        };
        let host = host.to_owned();
        if !self.rule().applies_to(&host).await {
            return Err(SearchError::Unreachable { host, https });
        }
        ping(transport, &format!("http://{host}"))
            .await
            .map_err(|http| SearchError::UnreachableInsecure {
                host,
                https: Box::new(https),
                http: Box::new(http),
            })
    }
}

/// Whether somebody answers, whatever it is.
async fn ping(transport: &Transport, base: &str) -> Result<String, RegistryError> {
    let outgoing = Outgoing::get(format!("{base}/v1/_ping"));
    transport.send(&outgoing).await?;
    Ok(base.to_owned())
}

/// The host of a term, where it has one and that is not Docker Hub, and what is searched for there.
fn split(term: &str) -> (Option<&str>, &str) {
    let (host, rest) = match term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), rest),
        _ => (None, term),
    };
    match host {
        Some(host) if !matches!(host, "docker.io" | "index.docker.io") => (Some(host), rest),
        _ => (None, rest.strip_prefix("library/").unwrap_or(rest)),
    }
}

/// `null` means what a missing field means.
fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_told_from_names_as_in_names_of_images() {
        for (term, expected) in [
            ("busybox", (None, "busybox")),
            ("library/busybox", (None, "busybox")),
            ("team/app", (None, "team/app")),
            ("docker.io/library/x", (None, "x")),
            ("index.docker.io/x", (None, "x")),
            ("localhost/x", (Some("localhost"), "x")),
            ("reg:5000/library/x", (Some("reg:5000"), "library/x")),
            ("", (None, "")),
        ] {
            assert_eq!(split(term), expected, "{term}");
        }
    }

    #[test]
    fn answers_of_indexes_are_read_with_holes_in_them() {
        let text = r#"{"query":"x","num_results":2,"results":[
            {"name":"a","description":null,"star_count":3,"is_official":true,"is_automated":true,"is_trusted":false},{}]}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        assert_eq!(
            (answer.results[0].name.as_str(), answer.results[0].star_count),
            ("a", 3)
        );
        assert_eq!(answer.results[1], Found::default());
        for empty in ["{}", r#"{"results":null}"#] {
            assert!(serde_json::from_str::<Answer>(empty).unwrap().results.is_empty());
        }
        assert!(serde_json::from_str::<Answer>("<html>").is_err());
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_parser_panic(body in "\\PC*") {
            let _ = serde_json::from_str::<Answer>(&body);
        }

        #[test]
        fn no_term_is_lost_in_the_split(term in "[a-z./:-]{0,20}") {
            let (_, rest) = split(&term);
            prop_assert!(term.ends_with(rest));
        }
    }
}
