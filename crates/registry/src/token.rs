//! Tokens: a registry that answers `Bearer` sends us to a server that gives them for credentials.
//!
//! Distribution specification, "Docker Registry v2 authentication": a `GET` with basic authentication, or a `POST` of
//! the OAuth2 refresh grant where the client has an identity token.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use conex_reference::Reference;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::challenge::Challenge;
use crate::credentials::Credentials;
use crate::error::{RegistryError, Result};
use crate::response::{Asked, refusal};
use crate::transport::{Outgoing, Transport};

/// Lifetime of a token that does not tell its own, and the shortest that is believed.
const LIFETIME: Duration = Duration::from_secs(60);

/// Longest answer of a token server.
const ANSWER: u64 = 1 << 20;

/// What we call ourselves in the OAuth2 grant; servers know Docker's clients by it.
const CLIENT_ID: &str = "docker";

/// Whether a token that we have may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// One of before will do.
    Cached,
    /// The one of before was refused.
    Renewed,
}

/// The tokens of one pull or push.
#[derive(Default)]
pub(crate) struct Tokens {
    known: Mutex<HashMap<Wanted, Token>>,
}

/// For what a token is good.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Wanted {
    realm: String,
    service: String,
    /// Each as `repository:<path>:<actions>`.
    scopes: Vec<String>,
}

struct Token {
    value: String,
    expires: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: u64,
}

impl Tokens {
    /// A token that gives `credentials` these scopes; `reference` is for errors.
    ///
    /// Several layers that ask at once wait for one answer.
    pub(crate) async fn token(
        &self,
        transport: &Transport,
        credentials: &Credentials,
        challenge: &Challenge,
        (reference, scopes): (&Reference, Vec<String>),
        freshness: Freshness,
    ) -> Result<String> {
        let wanted = Wanted {
            realm: challenge.parameter("realm").unwrap_or_default().to_owned(),
            service: challenge.parameter("service").unwrap_or_default().to_owned(),
            scopes,
        };
        let mut known = self.known.lock().await;
        if let Some(token) = known.get(&wanted)
            && freshness == Freshness::Cached
            && token.expires > Instant::now()
        {
            return Ok(token.value.clone());
        }
        let asked_at = Instant::now();
        let answer = ask(transport, &request(&wanted, credentials), reference).await?;
        let lifetime = Duration::from_secs(answer.expires_in).clamp(LIFETIME, LIFETIME * 60 * 24);
        let value = if answer.token.is_empty() {
            answer.access_token
        } else {
            answer.token
        };
        // A tenth less, so that it does not expire on the way.
        known.insert(
            wanted,
            Token {
                value: value.clone(),
                expires: asked_at + lifetime * 9 / 10,
            },
        );
        Ok(value)
    }
}

fn request(wanted: &Wanted, credentials: &Credentials) -> Outgoing {
    if credentials.identity_token.is_empty() {
        let account = Some(("account", credentials.username.as_str())).filter(|(_, name)| !name.is_empty());
        let scopes = wanted.scopes.iter().map(|scope| ("scope", scope.as_str()));
        let fields = account.into_iter().chain([("service", wanted.service.as_str())]);
        let query = form(fields.chain(scopes));
        let separator = if wanted.realm.contains('?') { '&' } else { '?' };
        let mut outgoing = Outgoing::get(format!("{}{separator}{query}", wanted.realm));
        if let Some(basic) = credentials.basic().and_then(|basic| HeaderValue::try_from(basic).ok()) {
            outgoing.headers.insert(AUTHORIZATION, basic);
        }
        return outgoing;
    }
    let body = form([
        ("grant_type", "refresh_token"),
        ("service", &wanted.service),
        ("client_id", CLIENT_ID),
        ("scope", &wanted.scopes.join(" ")),
        ("refresh_token", &credentials.identity_token),
    ]);
    let mut outgoing = Outgoing {
        method: Method::POST,
        body: Bytes::from(body),
        ..Outgoing::get(wanted.realm.clone())
    };
    outgoing.headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    outgoing
}

async fn ask(transport: &Transport, outgoing: &Outgoing, reference: &Reference) -> Result<TokenAnswer> {
    let operation = outgoing.operation();
    let (head, body) = transport.send(outgoing).await?.response.into_parts();
    let body = transport.read_all(outgoing, body, ANSWER).await?;
    if !head.status.is_success() {
        let asked = Asked {
            host: reference.domain(),
            operation: &operation,
            reference,
        };
        return Err(refusal(asked, head.status, &head.headers, &body));
    }
    let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|error| RegistryError::Protocol {
        operation: operation.clone(),
        reason: format!("unable to decode token response: {error}"),
    })?;
    if answer.token.is_empty() && answer.access_token.is_empty() {
        let reason = "authorization server did not include a token in the response".to_owned();
        return Err(RegistryError::Protocol { operation, reason });
    }
    Ok(answer)
}

/// `application/x-www-form-urlencoded`, which a query is too.
fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> = fields
        .into_iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    pairs.join("&")
}

pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(realm: &str) -> Wanted {
        Wanted {
            realm: realm.to_owned(),
            service: "a b".to_owned(),
            scopes: vec!["repository:x/y:pull".to_owned()],
        }
    }

    #[test]
    fn a_password_goes_into_the_header_and_the_account_into_the_query() {
        let credentials = Credentials {
            username: "me".to_owned(),
            password: "secret".to_owned(),
            ..Credentials::default()
        };
        let outgoing = request(&wanted("https://auth/token?x=1"), &credentials);
        let url = "https://auth/token?x=1&account=me&service=a%20b&scope=repository%3Ax%2Fy%3Apull";
        assert_eq!(outgoing.url, url);
        assert_eq!(outgoing.headers[AUTHORIZATION], "Basic bWU6c2VjcmV0");
    }

    #[test]
    fn an_identity_token_is_posted() {
        let credentials = Credentials {
            identity_token: "t+/".to_owned(),
            ..Credentials::default()
        };
        let outgoing = request(&wanted("https://auth/token"), &credentials);
        assert_eq!(
            (outgoing.method, outgoing.url.as_str()),
            (Method::POST, "https://auth/token")
        );
        let body = String::from_utf8(outgoing.body.to_vec()).unwrap();
        assert!(
            body.starts_with("grant_type=refresh_token&") && body.ends_with("refresh_token=t%2B%2F"),
            "{body}"
        );
        assert!(!outgoing.headers.contains_key(AUTHORIZATION));
    }

    #[test]
    fn several_scopes_are_asked_for_as_each_way_has_it() {
        let mut wanted = wanted("https://auth/token");
        wanted.scopes.push("repository:z:pull".to_owned());
        let outgoing = request(&wanted, &Credentials::default());
        assert!(
            outgoing
                .url
                .ends_with("&scope=repository%3Ax%2Fy%3Apull&scope=repository%3Az%3Apull"),
            "{}",
            outgoing.url
        );
        let credentials = Credentials {
            identity_token: "t".to_owned(),
            ..Credentials::default()
        };
        let body = String::from_utf8(request(&wanted, &credentials).body.to_vec()).unwrap();
        assert!(
            body.contains("&scope=repository%3Ax%2Fy%3Apull%20repository%3Az%3Apull&"),
            "{body}"
        );
    }

    #[test]
    fn nobody_asks_without_authorization() {
        let outgoing = request(&wanted("https://auth/token"), &Credentials::default());
        assert_eq!(
            outgoing.url,
            "https://auth/token?service=a%20b&scope=repository%3Ax%2Fy%3Apull"
        );
        assert!(outgoing.headers.is_empty());
    }
}
