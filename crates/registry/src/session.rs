//! What one pull or push has in hand: which endpoint, with which authorization, and what answers are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conex_reference::{Digest, Reference};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::challenge::Challenge;
use crate::config::Limits;
use crate::credentials::Credentials;
use crate::endpoint::{self, Endpoint, Standing};
use crate::error::{RegistryError, Result};
use crate::hosts::Capability;
use crate::http::Client;
use crate::manifest;
use crate::quota::Quota;
use crate::registry::FetchedManifest;
use crate::response::{Asked, challenges, refusal};
use crate::token::{Freshness, Tokens};
use crate::transport::{Answer, Outgoing, Transport, content_length};

/// Longest manifest (distribution specification, "Pushing Manifests").
const MANIFEST: u64 = 4 << 20;

/// Longest body of an error that is read.
const ERROR_BODY: u64 = 64 << 10;

/// What a session does in repositories, and tokens must allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Pull,
    Push,
}

/// Credentials, tokens, connections, and the endpoints that were asked.
pub(crate) struct Session {
    pub(crate) transport: Transport,
    pub(crate) credentials: Credentials,
    client: Client,
    purpose: Purpose,
    tokens: Tokens,
    /// Whom mirrors take us for.
    nobody: Credentials,
    /// Tokens that were got without credentials. A mirror that names the registry's token server must not be given what that
    /// gave for the registry.
    mirrors_tokens: Tokens,
    endpoints: Mutex<HashMap<String, Arc<[Endpoint]>>>,
    /// How often each blob was begun.
    begun: Mutex<HashMap<Digest, usize>>,
    /// Connections by which blobs come.
    occupied: Arc<AtomicUsize>,
    /// What was told of it last.
    quota: Mutex<Option<Quota>>,
}

/// A connection by which a blob comes, as long as it is held.
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    pub(crate) fn new(client: Client, transport: Transport, credentials: Credentials, purpose: Purpose) -> Self {
        Self {
            transport,
            credentials,
            client,
            purpose,
            tokens: Tokens::default(),
            nobody: Credentials::default(),
            mirrors_tokens: Tokens::default(),
            endpoints: Mutex::default(),
            begun: Mutex::default(),
            occupied: Arc::default(),
            quota: Mutex::default(),
        }
    }

    /// The answer to a request for a blob, 200 or 206, and the number of the endpoint that gave it. Endpoints are asked from
    /// the one with the number `first` on, round about.
    pub(crate) async fn blob(
        &self,
        repository: &Reference,
        digest: Digest,
        headers: &HeaderMap,
        first: usize,
    ) -> Result<(Response<Incoming>, usize)> {
        let mut candidates = self.candidates(repository, Need::Capability(Capability::Pull)).await?;
        candidates.first = first % candidates.endpoints.len();
        while let Some(endpoint) = candidates.next(self).await {
            let mut outgoing = endpoint.ask(Method::GET, endpoint.url(repository, &format!("blobs/{digest}")));
            outgoing.headers = headers.clone();
            match self.fetch_once(endpoint, repository, outgoing).await {
                Ok((_, response)) => return Ok((response, candidates.index())),
                Err(error) => candidates.failed(error),
            }
        }
        Err(candidates.into_error(repository))
    }

    /// Takes down that a blob is begun; how often it was before. Who asks for one again did not get what he wanted.
    pub(crate) fn begin(&self, digest: Digest) -> usize {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let count = begun.entry(digest).or_default();
        *count += 1;
        *count - 1
    }

    /// How much may still be pulled, as far as it was told.
    pub(crate) fn quota(&self) -> Option<Quota> {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections blobs are to come by at once.
    pub(crate) fn connections(&self) -> usize {
        self.transport.limits().connections
    }

    /// A connection for a blob, which each has.
    pub(crate) fn occupy(&self) -> Slot {
        self.occupied.fetch_add(1, Ordering::Relaxed);
        Slot(Arc::clone(&self.occupied))
    }

    /// A further one, where there is one to spare.
    pub(crate) fn try_occupy(&self) -> Option<Slot> {
        let more = |occupied: usize| (occupied < self.connections()).then_some(occupied + 1);
        let taken = self.occupied.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Slot(Arc::clone(&self.occupied)))
    }

    pub(crate) async fn manifest(&self, endpoint: &Endpoint, reference: &Reference) -> Result<FetchedManifest> {
        let mut patience = Patience::new(self.transport.limits());
        loop {
            match self.manifest_once(endpoint, reference).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => patience.after(endpoint, error).await?,
            }
        }
    }

    async fn manifest_once(&self, endpoint: &Endpoint, reference: &Reference) -> Result<FetchedManifest> {
        let url = endpoint.url(reference, &format!("manifests/{}", reference.tag_or_digest()));
        let mut outgoing = endpoint.ask(Method::GET, url);
        outgoing
            .headers
            .insert(ACCEPT, HeaderValue::from_static(manifest::ACCEPT));
        let (outgoing, response) = self.fetch_once(endpoint, reference, outgoing).await?;
        let (head, body) = response.into_parts();
        if let Some(quota) = Quota::of(&head.headers) {
            *self.quota.lock().unwrap_or_else(PoisonError::into_inner) = Some(quota);
        }
        if content_length(&head.headers).is_some_and(|length| length > MANIFEST) {
            return Err(RegistryError::TooLarge {
                operation: outgoing.operation(),
                limit: MANIFEST,
            });
        }
        let bytes = self.transport.read_all(&outgoing, body, MANIFEST).await?;
        verified(endpoint, reference, &head.headers, bytes)
    }

    /// The successful answer to a request that may be sent twice.
    pub(crate) async fn fetch(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        outgoing: Outgoing,
    ) -> Result<(Outgoing, Response<Incoming>)> {
        let mut patience = Patience::new(self.transport.limits());
        loop {
            match self.fetch_once(endpoint, reference, outgoing.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => patience.after(endpoint, error).await?,
            }
        }
    }

    /// The successful answer to a request, for whom tries several times himself.
    pub(crate) async fn fetch_once(
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
    pub(crate) async fn authorized(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        mut outgoing: Outgoing,
    ) -> Result<(Outgoing, Response<Incoming>)> {
        let known = endpoint.challenges.get().map_or(&[][..], Vec::as_slice);
        let first = self
            .authorization(endpoint, known, (reference, &outgoing), Freshness::Cached)
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
                .authorization(endpoint, &challenges, (reference, &outgoing), freshness)
                .await?;
            if second.is_some() && second != first {
                answer = self.send_authorized(&mut outgoing, second.as_ref()).await?;
            }
        }
        Ok((outgoing, answer.response))
    }

    /// Gives a request that can be sent only once the authorization that the endpoint is known to want.
    pub(crate) async fn authorize(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        outgoing: &mut Outgoing,
        freshness: Freshness,
    ) -> Result<()> {
        let known = endpoint.challenges.get().map_or(&[][..], Vec::as_slice);
        let value = self
            .authorization(endpoint, known, (reference, outgoing), freshness)
            .await?;
        if let Some(value) = value {
            outgoing.headers.insert(AUTHORIZATION, value);
        }
        Ok(())
    }

    /// The registry's own word on the credentials, without a repository.
    pub(crate) async fn log_in(&self, endpoint: &Endpoint, reference: &Reference) -> Result<()> {
        let url = endpoint.root();
        let (outgoing, response) = self
            .authorized(endpoint, reference, endpoint.ask(Method::GET, url.clone()))
            .await
            .map_err(|error| match error {
                RegistryError::Refused { cause, .. } => RegistryError::LoginDenied { url, cause },
                error => error,
            })?;
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

    /// The value of `Authorization` that meets one of the challenges; `None` where there are none, or where the endpoint's
    /// own headers have one.
    async fn authorization(
        &self,
        endpoint: &Endpoint,
        challenges: &[Challenge],
        (reference, outgoing): (&Reference, &Outgoing),
        freshness: Freshness,
    ) -> Result<Option<HeaderValue>> {
        if endpoint.headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        let credentials = match endpoint.standing {
            Standing::Registry => &self.credentials,
            Standing::Mirror => &self.nobody,
        };
        let with = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let value = match (with("bearer"), with("basic")) {
            (Some(_), _) if !credentials.registry_token.is_empty() => {
                format!("Bearer {}", credentials.registry_token)
            }
            (Some(bearer), _) if bearer.parameter("realm").is_some() => {
                let asked = (reference, self.scopes(endpoint, reference, outgoing));
                let tokens = match endpoint.standing {
                    Standing::Registry => &self.tokens,
                    Standing::Mirror => &self.mirrors_tokens,
                };
                let token = tokens
                    .token(&self.transport, credentials, bearer, asked, freshness)
                    .await?;
                format!("Bearer {token}")
            }
            (_, Some(_)) => credentials.basic().ok_or_else(|| RegistryError::NoCredentials {
                url: outgoing.url.clone(),
            })?,
            _ => return Ok(None),
        };
        let unusable = |_| RegistryError::Protocol {
            operation: outgoing.operation(),
            reason: "credentials have characters that a header cannot have".to_owned(),
        };
        let mut value = HeaderValue::try_from(value).map_err(unusable)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// What a token must allow for a request (distribution specification, "Token Scope Documentation").
    fn scopes(&self, endpoint: &Endpoint, reference: &Reference, outgoing: &Outgoing) -> Vec<String> {
        let actions = match self.purpose {
            Purpose::Pull => "pull",
            Purpose::Push => "pull,push",
        };
        let own = format!("repository:{}:{actions}", endpoint.path(reference.path()));
        let other = outgoing.reads_also.iter().map(|path| format!("repository:{path}:pull"));
        [own].into_iter().chain(other).collect()
    }

    /// The answer if it is a success, else the error that it stands for.
    pub(crate) async fn successful(
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
            let outgoing = endpoint.ask(Method::GET, endpoint.root());
            let (head, body) = self.transport.send(&outgoing).await?.response.into_parts();
            // Read to its end, so that the connection serves again; what it says plays no part.
            drop(self.transport.read_all(&outgoing, body, ERROR_BODY).await);
            Ok(challenges(&head.headers))
        };
        let answered = endpoint.challenges.get_or_try_init(ask).await.map(|_| ());
        if answered.is_err() {
            endpoint.fail();
        }
        answered
    }

    /// The first endpoint that takes pushes to a repository and answers.
    pub(crate) async fn reach(&self, reference: &Reference) -> Result<Reached> {
        let mut candidates = self.candidates(reference, Need::Capability(Capability::Push)).await?;
        if candidates.next(self).await.is_none() {
            return Err(candidates.into_error(reference));
        }
        Ok(Reached {
            index: candidates.index(),
            endpoints: candidates.endpoints,
        })
    }

    pub(crate) async fn candidates(&self, reference: &Reference, need: Need) -> Result<Candidates> {
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
                let found = endpoint::endpoints(domain, self.client.config(), self.client.rule())
                    .await
                    .map_err(|source| RegistryError::Hosts { source })?;
                self.transport.introduce(found.peers);
                // Whoever was first is kept, so that nobody probes twice.
                let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(
                    endpoints
                        .entry(domain.to_owned())
                        .or_insert_with(|| found.endpoints.into()),
                )
            }
        };
        Ok(Candidates {
            endpoints,
            need,
            first: 0,
            next: 0,
            last: None,
        })
    }
}

/// Attempts at what is small: as long as the registry asks to wait (RFC 9110, section 10.2.3), and where what came was broken.
struct Patience {
    left: u32,
    pause: Duration,
}

impl Patience {
    fn new(limits: &Limits) -> Self {
        Self {
            left: limits.attempts,
            pause: limits.pause,
        }
    }

    /// Waits before the next attempt; gives the error back where there is none. Whom others come after is not waited for.
    async fn after(&mut self, endpoint: &Endpoint, error: RegistryError) -> Result<()> {
        self.left = self.left.saturating_sub(1);
        let is_of_use = error.is_broken() || error.retry_after().is_some() && !error.asks_too_much();
        if self.left == 0 || !endpoint.is_last || !is_of_use {
            return Err(error);
        }
        let pause = self.pause.max(error.retry_after().unwrap_or_default());
        tracing::info!(%error, seconds = pause.as_secs(), "a registry is asked again");
        tokio::time::sleep(pause).await;
        self.pause = self.pause.saturating_mul(2);
        Ok(())
    }
}

/// What somebody is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    Capability(Capability),
    /// To say whether credentials are right.
    Login,
}

impl Need {
    /// What a manifest takes.
    pub(crate) fn manifest(reference: &Reference) -> Self {
        Self::Capability(match reference.digest() {
            Some(_) => Capability::Pull,
            None => Capability::Resolve,
        })
    }

    fn is_met_by(self, endpoint: &Endpoint) -> bool {
        match self {
            // Who resolves a tag serves what it means.
            Self::Capability(Capability::Resolve) => [Capability::Resolve, Capability::Pull]
                .iter()
                .all(|needed| endpoint.capabilities.contains(needed)),
            Self::Capability(needed) => endpoint.capabilities.contains(&needed),
            Self::Login => endpoint.standing == Standing::Registry,
        }
    }
}

/// The endpoint that a push goes to.
pub(crate) struct Reached {
    endpoints: Arc<[Endpoint]>,
    index: usize,
}

impl Reached {
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoints[self.index]
    }
}

/// The endpoints of a reference that answer, one after the other, and what went wrong with them.
pub(crate) struct Candidates {
    endpoints: Arc<[Endpoint]>,
    need: Need,
    /// Whom to begin with.
    first: usize,
    /// How many were looked at.
    next: usize,
    last: Option<RegistryError>,
}

impl Candidates {
    /// The next endpoint that answers.
    pub(crate) async fn next(&mut self, session: &Session) -> Option<&Endpoint> {
        while self.next < self.endpoints.len() {
            self.next += 1;
            let index = self.index();
            if !self.is_eligible(index) {
                continue;
            }
            match session.probe(&self.endpoints[index]).await {
                Ok(()) => return Some(&self.endpoints[index]),
                Err(error) => self.last = Some(error),
            }
        }
        None
    }

    /// The number of the endpoint that was looked at last.
    fn index(&self) -> usize {
        (self.first + self.next.saturating_sub(1)) % self.endpoints.len().max(1)
    }

    fn is_eligible(&self, index: usize) -> bool {
        let endpoint = &self.endpoints[index];
        let answers = |other: &Endpoint| other.challenges.initialized();
        // Where https answered, http is no alternative.
        if !self.need.is_met_by(endpoint) || endpoint.is_fallback && answers(&self.endpoints[index - 1]) {
            return false;
        }
        // One that hangs would hold up each request anew.
        let mut others = self.endpoints.iter().filter(|other| self.need.is_met_by(other));
        answers(endpoint) || !endpoint.has_failed() || !others.any(answers)
    }

    pub(crate) fn failed(&mut self, error: RegistryError) {
        self.last = Some(error);
    }

    pub(crate) fn into_error(self, reference: &Reference) -> RegistryError {
        self.last.unwrap_or_else(|| RegistryError::Protocol {
            operation: format!("GET {reference}"),
            reason: "no host of hosts.toml serves this".to_owned(),
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
