//! Whom we trust: the system's certificates, those in the directory of a host and those that its `hosts.toml` names, read when
//! first needed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::TransportError;
use crate::hosts::{self, Peer};

/// Whether the peer's certificate matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// It must be signed by whom we trust.
    Verified,
    /// Any will do: the registry is insecure by configuration.
    Unverified,
}

/// The TLS settings of one pull, per host. Nothing is read or built before the first `https`.
#[derive(Debug)]
pub(crate) struct TlsConfigs {
    certificates: Vec<PathBuf>,
    /// Of whom something is said, by authority.
    peers: Mutex<HashMap<String, Peer>>,
    built: Mutex<HashMap<(String, Trust), Arc<ClientConfig>>>,
}

impl TlsConfigs {
    pub(crate) fn new(certificates: Vec<PathBuf>) -> Self {
        Self {
            certificates,
            peers: Mutex::default(),
            built: Mutex::default(),
        }
    }

    /// Takes down how hosts are connected to.
    pub(crate) fn introduce(&self, peers: Vec<(String, Peer)>) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).extend(peers);
    }

    /// How a host is connected to.
    pub(crate) fn peer(&self, authority: &str) -> Peer {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.get(authority).cloned().unwrap_or_default()
    }

    /// The settings for `host[:port]`.
    pub(crate) async fn config(&self, authority: &str, trust: Trust) -> Result<Arc<ClientConfig>, TransportError> {
        let key = (authority.to_owned(), trust);
        let built = self
            .built
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(config) = built {
            return Ok(config);
        }
        let (roots, host, peer) = (self.certificates.clone(), authority.to_owned(), self.peer(authority));
        let build = move || build(hosts::directory(&roots, &host).as_deref(), &peer, trust);
        let config = match tokio::task::spawn_blocking(build).await {
            Ok(config) => Arc::new(config?),
            Err(error) => {
                return Err(TransportError::Roots {
                    reason: error.to_string(),
                });
            }
        };
        self.built
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, Arc::clone(&config));
        Ok(config)
    }
}

fn build(directory: Option<&Path>, peer: &Peer, trust: Trust) -> Result<ClientConfig, TransportError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TransportError::Tls { source })?;
    let builder = match trust {
        Trust::Unverified => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate { provider })),
        Trust::Verified => {
            let verifier = KnownCertificate::new(known(directory, peer)?, provider)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let identities = own_certificates(directory, peer)?;
    if identities.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let certified = identities
        .into_iter()
        .map(|(chain, key)| CertifiedKey::from_der(chain, key, builder.crypto_provider()).map(Arc::new));
    let keys: Result<Vec<_>, _> = certified.collect();
    let identities = Identities(keys.map_err(|source| TransportError::Tls { source })?);
    Ok(builder.with_client_cert_resolver(Arc::new(identities)))
}

/// What we may show: the first that is of an authority that the host names, else the first of all.
#[derive(Debug)]
struct Identities(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identities {
    fn resolve(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut usable = self.0.iter().filter(|one| one.key.choose_scheme(schemes).is_some());
        // The name of who signed a certificate stands in it as the host has it (RFC 5280, section 4.1.2.4).
        let is_named = |certificate: &CertificateDer<'_>| {
            let mut named = authorities.iter().filter(|name| !name.is_empty());
            named.any(|name| certificate.windows(name.len()).any(|window| window == *name))
        };
        let of_authority = usable.clone().find(|one| one.cert.iter().any(is_named));
        of_authority.or_else(|| usable.next()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// A certificate with those that it is signed by, and its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What we show to a host that asks who we are: what its `hosts.toml` names, then each `*.cert` of its directory with the `*.key`
/// of the same name.
fn own_certificates(directory: Option<&Path>, peer: &Peer) -> Result<Vec<Identity>, TransportError> {
    let named = peer
        .identities
        .iter()
        .map(|(certificate, key)| identity(certificate, key));
    let mut identities = named.collect::<Result<Vec<_>, _>>()?;
    identities.extend(directory.map(of_directory).transpose()?.unwrap_or_default());
    Ok(identities)
}

fn of_directory(directory: &Path) -> Result<Vec<Identity>, TransportError> {
    let (found, keys) = (files(directory, "cert"), files(directory, "key"));
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Docker's words.
    if let Some(alone) = found.iter().find(|path| !path.with_extension("key").exists()) {
        let (certificate, key) = (name(alone), name(&alone.with_extension("key")));
        return Err(unusable(format!(
            "missing key {key} for client certificate {certificate}. CA certificates must use the extension .crt"
        )));
    }
    if let Some(alone) = keys.iter().find(|path| !path.with_extension("cert").exists()) {
        let (certificate, key) = (name(&alone.with_extension("cert")), name(alone));
        return Err(unusable(format!(
            "missing client certificate {certificate} for key {key}"
        )));
    }
    found
        .iter()
        .map(|path| identity(path, &path.with_extension("key")))
        .collect()
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, TransportError> {
    let read = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(format!("{}: {error}", key.display())))?;
    Ok((certificates_in(certificate)?, read))
}

/// The files of a host's directory that end so, by their names; no directory is no files.
fn files(directory: &Path, wanted: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == wanted))
        .collect();
    paths.sort_unstable();
    paths
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| unusable(format!("{}: {error}", path.display())))
}

/// Those that a host's directory and its `hosts.toml` have us trust.
fn known(directory: Option<&Path>, peer: &Peer) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let of_directory = directory.map(|directory| files(directory, "crt")).unwrap_or_default();
    let paths = of_directory.iter().chain(&peer.authorities);
    let read = paths.map(|path| certificates_in(path));
    Ok(read.collect::<Result<Vec<_>, _>>()?.concat())
}

fn unusable(reason: String) -> TransportError {
    TransportError::Roots { reason }
}

/// Verifies as every TLS client does, and takes a certificate that stands itself in the host's directory.
///
/// Those who make a registry's certificate by one `openssl req -x509` get one that is marked as an authority's, and put
/// it there; Docker takes it, the verifier of rustls does not (`CaUsedAsEndEntity`).
#[derive(Debug)]
struct KnownCertificate {
    usual: Arc<WebPkiServerVerifier>,
    known: Vec<CertificateDer<'static>>,
}

impl KnownCertificate {
    fn new(known: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Self, TransportError> {
        let mut roots = RootCertStore::empty();
        // What of the system's certificates is unreadable is left out, as every TLS client does.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for certificate in &known {
            roots
                .add(certificate.clone())
                .map_err(|error| unusable(error.to_string()))?;
        }
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self {
            usual: usual.map_err(|error| unusable(error.to_string()))?,
            known,
        })
    }
}

impl ServerCertVerifier for KnownCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self
            .usual
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))) = verdict else {
            return verdict;
        };
        if !self.known.contains(end_entity) {
            // An authority's certificate that nobody knows.
            return Err(CertificateError::UnknownIssuer.into());
        }
        rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Takes whoever answers, but still has him prove that the key of his certificate is his.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
