//! The client of registries, and registries as pulls see them.

use std::sync::Arc;

use conex_reference::Reference;
use futures_util::future::BoxFuture;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;

use crate::config::{ClientConfig, ConfigError, Limits};
use crate::connect::{self, Connector};
use crate::credentials::Credentials;
use crate::destination::Destination;
use crate::endpoint::{self, InsecureRule};
use crate::error::{RegistryError, Result};
use crate::hosts::Capability;
use crate::manifest::Descriptor;
use crate::parts;
use crate::quota::Quota;
use crate::registry::{Blob, FetchedManifest, Registry};
use crate::session::{Need, Purpose, Session};
use crate::tls::TlsConfigs;
use crate::transport::Transport;

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
        let invalid = |_| RegistryError::ServerAddress {
            address: domain.to_string(),
        };
        // The endpoints of a registry are found by what it would serve.
        let reference = Reference::parse(&format!("{domain}/library/login")).map_err(invalid)?;
        let session = self.session(credentials, Purpose::Pull);
        let mut candidates = session.candidates(&reference, Need::Login).await?;
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
        HttpRegistry {
            session: Arc::new(self.session(credentials, Purpose::Pull)),
        }
    }

    /// A repository as somebody with these credentials pushes to it, for the length of one push. The mirrors of `daemon.json`
    /// are not asked: what is pushed belongs into the registry itself.
    ///
    /// # Errors
    /// Nobody answers. Whether the credentials are taken is seen at the first request.
    pub async fn destination(&self, credentials: Credentials, repository: &Reference) -> Result<Destination> {
        let session = self.session(credentials, Purpose::Push);
        let reached = session.reach(repository).await?;
        Ok(Destination {
            session,
            reached,
            repository: repository.clone().without_tag_and_digest(),
        })
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    pub(crate) fn rule(&self) -> &InsecureRule {
        &self.rule
    }

    /// Connections of their own, made as they are needed.
    pub(crate) fn transport(&self) -> Transport {
        let connector = Connector {
            limits: Arc::clone(&self.limits),
            rule: Arc::clone(&self.rule),
            proxies: Arc::clone(&self.proxies),
            tls: Arc::new(TlsConfigs::new(self.config.certificates.clone())),
        };
        Transport::new(connector, self.user_agent.clone())
    }

    fn session(&self, credentials: Credentials, purpose: Purpose) -> Session {
        Session::new(self.clone(), self.transport(), credentials, purpose)
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
        let need = Need::Capability(Capability::Resolve);
        let mut candidates = self.session.candidates(repository, need).await?;
        while let Some(endpoint) = candidates.next(&self.session).await {
            match self.session.tags(endpoint, repository).await {
                Ok(tags) => return Ok(tags),
                Err(error) => candidates.failed(error),
            }
        }
        Err(candidates.into_error(repository))
    }
}

impl HttpRegistry {
    /// As `manifest`, for a look at what a registry has: that somebody cannot be reached is told only where nobody can.
    ///
    /// # Errors
    /// As for `manifest`.
    pub async fn look_up(&self, reference: &Reference) -> Result<FetchedManifest> {
        let mut candidates = self.session.candidates(reference, Need::manifest(reference)).await?;
        let mut refused = None;
        while let Some(endpoint) = candidates.next(&self.session).await {
            match self.session.manifest(endpoint, reference).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| candidates.into_error(reference)))
    }
}

impl Registry for HttpRegistry {
    fn manifest<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<FetchedManifest>> {
        Box::pin(async move {
            let mut candidates = self.session.candidates(reference, Need::manifest(reference)).await?;
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
        Box::pin(parts::open(
            Arc::clone(&self.session),
            repository.clone(),
            descriptor.clone(),
            offset,
        ))
    }

    fn quota(&self) -> Option<Quota> {
        self.session.quota()
    }
}
