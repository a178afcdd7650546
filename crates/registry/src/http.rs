//! The protocol's requests: which endpoint, with which authorization, and what their answers are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use conex_reference::{Digest, Reference};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use hyper_util::client::proxy::matcher::Matcher;

use crate::challenge::Challenge;
use crate::config::{ClientConfig, ConfigError, Limits};
use crate::connect::{self, Connector};
use crate::credentials::Credentials;
use crate::endpoint::{self, Endpoint, InsecureRule};
use crate::error::{RegistryError, Result};
use crate::manifest::{self, Descriptor};
use crate::registry::{Blob, FetchedManifest, Registry};
use crate::response::{Asked, challenges, refusal};
use crate::resume;
use crate::tls::TlsConfigs;
use crate::token::{Freshness, Tokens};
use crate::transport::{Answer, Outgoing, Transport, content_length};

/// Longest manifest (distribution specification, "Pushing Manifests").
const MANIFEST: u64 = 4 << 20;

/// Longest body of an error that is read.
const ERROR_BODY: u64 = 64 << 10;

/// The registry client of a daemon: configuration, checked. It opens nothing and holds nothing open.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    limits: Arc<Limits>,
    rule: Arc<InsecureRule>,
    proxies: Arc<Matcher>,
    user_agent: HeaderValue,
}

impl Client {
    /// Checks the configuration.
    pub fn new(config: ClientConfig) -> std::result::Result<Self, ConfigError> {
        endpoint::check_mirrors(&config.mirrors)?;
        Ok(Self {
            rule: Arc::new(InsecureRule::new(&config.insecure)?),
            proxies: Arc::new(connect::proxies(&config.proxies)?),
            limits: Arc::new(config.limits.clone()),
            user_agent: HeaderValue::try_from(&config.user_agent).unwrap_or(HeaderValue::from_static("conex")),
            config: Arc::new(config),
        })
    }

    /// Whether the registry that the credentials are for (`server_address`, Docker Hub where it is empty) takes them.
    /// Mirrors are not asked: they are somebody else's.
    pub async fn log_in(&self, credentials: Credentials) -> Result<()> {
        let domain = endpoint::domain_of_server(&credentials.server_address);
        let invalid = |_| RegistryError::Protocol {
            operation: "log in".to_owned(),
            reason: format!("{domain:?} is no name of a registry"),
        };
        // The endpoints of a registry are found by what it would serve.
        let reference = Reference::parse(&format!("{domain}/library/login")).map_err(invalid)?;
        let own = Self {
            config: Arc::new(ClientConfig {
                mirrors: Vec::new(),
                ..(*self.config).clone()
            }),
            ..self.clone()
        };
        let session = own.registry(credentials).session;
        let mut candidates = session.candidates(&reference).await;
        while let Some(endpoint) = candidates.next(&session).await {
            match session.log_in(endpoint, &reference).await {
                Ok(()) => return Ok(()),
                Err(error) => candidates.failed(error),
            }
        }
        Err(candidates.into_error(&reference))
    }

    /// The registries as somebody with these credentials sees them, for the length of one pull.
    pub fn registry(&self, credentials: Credentials) -> HttpRegistry {
        let connector = Connector {
            limits: Arc::clone(&self.limits),
            rule: Arc::clone(&self.rule),
            proxies: Arc::clone(&self.proxies),
            tls: Arc::new(TlsConfigs::new(self.config.certificates.clone())),
        };
        HttpRegistry {
            session: Arc::new(Session {
                transport: Transport::new(connector, self.user_agent.clone()),
                client: self.clone(),
                credentials,
                tokens: Tokens::default(),
                endpoints: Mutex::default(),
            }),
        }
    }
}

/// Registries over HTTP. Clones share credentials, tokens and connections.
#[derive(Clone)]
pub struct HttpRegistry {
    session: Arc<Session>,
}

impl std::fmt::Debug for HttpRegistry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HttpRegistry")
            .field("credentials", &self.session.credentials)
            .finish_non_exhaustive()
    }
}

impl HttpRegistry {
    /// The tags of a repository (whose own tag and digest play no part), in the registry's order.
    ///
    /// # Errors
    /// As for a manifest: there is no such repository, it may not be read, or nobody answers.
    pub async fn tags(&self, repository: &Reference) -> Result<Vec<String>> {
        let mut candidates = self.session.candidates(repository).await;
        while let Some(endpoint) = candidates.next(&self.session).await {
            match self.session.tags(endpoint, repository).await {
                Ok(tags) => return Ok(tags),
                Err(error) => candidates.failed(error),
            }
        }
        Err(candidates.into_error(repository))
    }
}

impl Registry for HttpRegistry {
    fn manifest<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<FetchedManifest>> {
        Box::pin(async move {
            let mut candidates = self.session.candidates(reference).await;
            while let Some(endpoint) = candidates.next(&self.session).await {
                match self.session.manifest(endpoint, reference).await {
                    Ok(manifest) => return Ok(manifest),
                    Err(error) => candidates.failed(error),
                }
            }
            Err(candidates.into_error(reference))
        })
    }

    fn blob<'a>(
        &'a self,
        repository: &'a Reference,
        descriptor: &'a Descriptor,
        offset: u64,
    ) -> BoxFuture<'a, Result<Blob>> {
        Box::pin(resume::open(
            Arc::clone(&self.session),
            repository.clone(),
            descriptor.clone(),
            offset,
        ))
    }
}

/// What one pull has in hand.
pub(crate) struct Session {
    pub(crate) transport: Transport,
    client: Client,
    credentials: Credentials,
    tokens: Tokens,
    endpoints: Mutex<HashMap<String, Arc<[Endpoint]>>>,
}

impl Session {
    /// The answer to a request for a blob from `offset` on: 200 or 206.
    pub(crate) async fn blob(
        &self,
        repository: &Reference,
        digest: Digest,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>> {
        let mut candidates = self.candidates(repository).await;
        while let Some(endpoint) = candidates.next(self).await {
            let mut outgoing = Outgoing::get(endpoint.url(&format!("{}/blobs/{digest}", repository.path())));
            outgoing.headers = headers.clone();
            match self.fetch(endpoint, repository, outgoing).await {
                Ok((_, response)) => return Ok(response),
                Err(error) => candidates.failed(error),
            }
        }
        Err(candidates.into_error(repository))
    }

    async fn manifest(&self, endpoint: &Endpoint, reference: &Reference) -> Result<FetchedManifest> {
        let path = format!("{}/manifests/{}", reference.path(), reference.tag_or_digest());
        let mut outgoing = Outgoing::get(endpoint.url(&path));
        outgoing
            .headers
            .insert(ACCEPT, HeaderValue::from_static(manifest::ACCEPT));
        let (outgoing, response) = self.fetch(endpoint, reference, outgoing).await?;
        let (head, body) = response.into_parts();
        if content_length(&head.headers).is_some_and(|length| length > MANIFEST) {
            return Err(RegistryError::TooLarge {
                operation: outgoing.operation(),
                limit: MANIFEST,
            });
        }
        let bytes = self.transport.read_all(&outgoing, body, MANIFEST).await?;
        verified(endpoint, reference, &head.headers, bytes)
    }

    /// The successful answer to a request.
    pub(crate) async fn fetch(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        outgoing: Outgoing,
    ) -> Result<(Outgoing, Response<Incoming>)> {
        let (outgoing, response) = self.authorized(endpoint, reference, outgoing).await?;
        let response = self.successful(endpoint, reference, &outgoing, response).await?;
        Ok((outgoing, response))
    }

    /// Sends a request with the authorization that the endpoint wants, once more if that was not enough.
    async fn authorized(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        mut outgoing: Outgoing,
    ) -> Result<(Outgoing, Response<Incoming>)> {
        let known = endpoint.challenges.get().map_or(&[][..], Vec::as_slice);
        let first = self
            .authorization(known, reference, &outgoing.url, Freshness::Cached)
            .await?;
        let mut answer = self.send_authorized(&mut outgoing, first.as_ref()).await?;
        // Only the registry itself may ask for credentials, not whoever it redirects to.
        if answer.response.status() == StatusCode::UNAUTHORIZED && !answer.is_foreign {
            let challenges = challenges(answer.response.headers());
            let freshness = if first.is_none() {
                Freshness::Cached
            } else {
                Freshness::Renewed
            };
            let second = self
                .authorization(&challenges, reference, &outgoing.url, freshness)
                .await?;
            if second.is_some() && second != first {
                answer = self.send_authorized(&mut outgoing, second.as_ref()).await?;
            }
        }
        Ok((outgoing, answer.response))
    }

    /// The registry's own word on the credentials, without a repository.
    async fn log_in(&self, endpoint: &Endpoint, reference: &Reference) -> Result<()> {
        let (outgoing, response) = self
            .authorized(endpoint, reference, Outgoing::get(endpoint.url("")))
            .await?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        Err(RegistryError::LoginRefused {
            url: outgoing.url,
            status: status.as_u16(),
            reason: status.canonical_reason().unwrap_or_default(),
        })
    }

    async fn send_authorized(&self, outgoing: &mut Outgoing, authorization: Option<&HeaderValue>) -> Result<Answer> {
        match authorization {
            Some(authorization) => outgoing.headers.insert(AUTHORIZATION, authorization.clone()),
            None => outgoing.headers.remove(AUTHORIZATION),
        };
        self.transport.send(outgoing).await
    }

    /// The value of `Authorization` that meets one of the challenges; `None` where there are none.
    async fn authorization(
        &self,
        challenges: &[Challenge],
        reference: &Reference,
        url: &str,
        freshness: Freshness,
    ) -> Result<Option<HeaderValue>> {
        let with = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let value = match (with("bearer"), with("basic")) {
            (Some(_), _) if !self.credentials.registry_token.is_empty() => {
                format!("Bearer {}", self.credentials.registry_token)
            }
            (Some(bearer), _) if bearer.parameter("realm").is_some() => {
                let tokens = &self.tokens;
                let token = tokens
                    .token(&self.transport, &self.credentials, bearer, reference, freshness)
                    .await?;
                format!("Bearer {token}")
            }
            (_, Some(_)) => self
                .credentials
                .basic()
                .ok_or_else(|| RegistryError::NoCredentials { url: url.to_owned() })?,
            _ => return Ok(None),
        };
        let unusable = |_| RegistryError::Protocol {
            operation: format!("GET {url}"),
            reason: "credentials have characters that a header cannot have".to_owned(),
        };
        let mut value = HeaderValue::try_from(value).map_err(unusable)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The answer if it is a success, else the error that it stands for.
    async fn successful(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        outgoing: &Outgoing,
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>> {
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        // The status says enough where the body does not come.
        let body = self
            .transport
            .read_all(outgoing, body, ERROR_BODY)
            .await
            .unwrap_or_default();
        let asked = Asked {
            host: &endpoint.authority,
            operation: &outgoing.operation(),
            reference,
        };
        Err(refusal(asked, head.status, &head.headers, &body))
    }

    /// Finds out whether somebody answers at the endpoint and what he wants to see first.
    ///
    /// Any status will do: there are registries that hide or limit `/v2/` itself, and serve what is below.
    async fn probe(&self, endpoint: &Endpoint) -> Result<()> {
        let ask = || async {
            let outgoing = Outgoing::get(endpoint.url(""));
            let (head, body) = self.transport.send(&outgoing).await?.response.into_parts();
            // Read to its end, so that the connection serves again; what it says plays no part.
            drop(self.transport.read_all(&outgoing, body, ERROR_BODY).await);
            Ok(challenges(&head.headers))
        };
        endpoint.challenges.get_or_try_init(ask).await.map(|_| ())
    }

    async fn candidates(&self, reference: &Reference) -> Candidates {
        let domain = reference.domain();
        let known = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(domain)
            .cloned();
        let endpoints = match known {
            Some(endpoints) => endpoints,
            None => {
                let found = endpoint::endpoints(domain, &self.client.config, &self.client.rule).await;
                // Whoever was first is kept, so that nobody probes twice.
                let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(endpoints.entry(domain.to_owned()).or_insert_with(|| found.into()))
            }
        };
        Candidates {
            endpoints,
            next: 0,
            answered: Vec::new(),
            last: None,
        }
    }
}

/// The endpoints of a reference that answer, one after the other, and what went wrong with them.
struct Candidates {
    endpoints: Arc<[Endpoint]>,
    next: usize,
    answered: Vec<String>,
    last: Option<RegistryError>,
}

impl Candidates {
    /// The next endpoint that answers.
    async fn next(&mut self, session: &Session) -> Option<&Endpoint> {
        while self.next < self.endpoints.len() {
            let index = self.next;
            self.next += 1;
            let endpoint = &self.endpoints[index];
            // Where https answered, http is no alternative.
            if self.answered.contains(&endpoint.authority) {
                continue;
            }
            match session.probe(endpoint).await {
                Ok(()) => {
                    self.answered.push(endpoint.authority.clone());
                    return Some(&self.endpoints[index]);
                }
                Err(error) => self.last = Some(error),
            }
        }
        None
    }

    fn failed(&mut self, error: RegistryError) {
        self.last = Some(error);
    }

    fn into_error(self, reference: &Reference) -> RegistryError {
        self.last.unwrap_or_else(|| RegistryError::Protocol {
            operation: format!("GET {reference}"),
            reason: "no registry to ask".to_owned(),
        })
    }
}

/// Checks a manifest against the digest that was asked for, or else that the registry names.
fn verified(endpoint: &Endpoint, reference: &Reference, headers: &HeaderMap, bytes: Bytes) -> Result<FetchedManifest> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let digest = Digest::of(&bytes);
    let announced = || header("docker-content-digest").and_then(|text| Digest::parse(text).ok());
    if let Some(expected) = reference.digest().or_else(announced)
        && expected != digest
    {
        return Err(RegistryError::ManifestDigest {
            host: endpoint.authority.clone(),
            expected,
            actual: digest,
        });
    }
    let media_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_lowercase();
    Ok(FetchedManifest {
        media_type,
        digest,
        bytes,
    })
}
