//! Whom we trust: the system's certificates and those in the directory of a host, read when first needed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::TransportError;

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
    certificates: Option<PathBuf>,
    built: Mutex<HashMap<(String, Trust), Arc<ClientConfig>>>,
}

impl TlsConfigs {
    pub(crate) fn new(certificates: Option<PathBuf>) -> Self {
        Self {
            certificates,
            built: Mutex::default(),
        }
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
        let directory = self
            .certificates
            .as_ref()
            .map(|certificates| certificates.join(authority));
        let build = move || build(directory.as_deref(), trust);
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

fn build(directory: Option<&Path>, trust: Trust) -> Result<ClientConfig, TransportError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TransportError::Tls { source })?;
    Ok(match trust {
        Trust::Unverified => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate { provider }))
            .with_no_client_auth(),
        Trust::Verified => {
            let verifier = KnownCertificate::new(directory, provider)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth()
        }
    })
}

/// The `*.crt` files of a host's directory; no directory is no files.
fn certificates(directory: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let mut certificates = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(certificates);
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_none_or(|extension| extension != "crt") {
            continue;
        }
        let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        certificates.extend(read.map_err(|error| unusable(format!("{}: {error}", path.display())))?);
    }
    Ok(certificates)
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
    fn new(directory: Option<&Path>, provider: Arc<CryptoProvider>) -> Result<Self, TransportError> {
        let known = directory.map(certificates).transpose()?.unwrap_or_default();
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
