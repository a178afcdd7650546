//! The client against Debian's `docker-registry`, open and with every kind of authentication.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/registries.rs"]
mod registries;

use std::path::Path;

use conex_reference::{Platform, Reference};
use conex_registry::{
    Client, ClientConfig, Credentials, ErrorKind, HttpRegistry, Manifest, Proxies, Registry, manifest,
};
use futures_util::StreamExt as _;

use crate::registries::encoding::{basic, x_registry_auth};
use crate::registries::http::tunnel_to;
use crate::registries::image::{Content, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LIST, Image, OCI_INDEX, index};
use crate::registries::real::{Access, Protocol, RealRegistry};
use crate::registries::tokens::{Policy, TokenServer, self_signed};

fn as_user(header: &str) -> HttpRegistry {
    Client::new(ClientConfig::default())
        .unwrap()
        .registry(Credentials::from_header(header).unwrap())
}

fn reference(registry: &RealRegistry, rest: &str) -> Reference {
    Reference::parse(&format!("{}/{rest}", registry.domain())).unwrap()
}

fn open(directory: &Path) -> RealRegistry {
    RealRegistry::start(&directory.join("registry"), &Access::Open, &Protocol::Http)
}

/// Fetches manifest, configuration and all layers, and compares them with what was pushed.
async fn pull(registry: &HttpRegistry, reference: &Reference, pushed: &Image) {
    let fetched = registry.manifest(reference).await.unwrap();
    let Manifest::Image { config, layers } = manifest::parse(&fetched.media_type, &fetched.bytes).unwrap() else {
        panic!("an image was pushed");
    };
    assert_eq!(layers.len(), pushed.layers.len());
    for (descriptor, content) in layers.iter().zip(&pushed.layers).chain([(&config, &pushed.config)]) {
        assert_eq!(descriptor.media_type, content.media_type);
        let mut verifier = descriptor.digest.verifier();
        let mut stream = registry.blob(reference, descriptor, 0).await.unwrap().stream;
        while let Some(bytes) = stream.next().await {
            verifier.update(&bytes.unwrap());
        }
        assert_eq!(verifier.finish(), Ok(content.digest()));
    }
}

fn image() -> Image {
    Image::of_layers(&[b"first layer", &[3; 300_000]])
}

#[tokio::test]
async fn an_image_is_pulled_from_an_open_registry_by_tag_and_by_digest() {
    let directory = tempfile::tempdir().unwrap();
    let real = open(directory.path());
    let pushed = real.pusher("a/b", None).image(&image(), "v1");
    pull(&as_user(""), &reference(&real, "a/b:v1"), &image()).await;
    pull(
        &as_user(""),
        &reference(&real, &format!("a/b@{}", pushed.digest())),
        &image(),
    )
    .await;
    let mut docker = image();
    docker.config.media_type = DOCKER_CONFIG.to_owned();
    docker
        .layers
        .iter_mut()
        .for_each(|layer| layer.media_type = DOCKER_LAYER.to_owned());
    real.pusher("a/b", None).image(&docker, "latest");
    pull(&as_user(""), &reference(&real, "a/b"), &docker).await;
}

#[tokio::test]
async fn all_tags_of_a_repository_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let real = open(directory.path());
    for tag in ["1", "2", "latest"] {
        real.pusher("a/b", None).image(&image(), tag);
    }
    let mut tags = as_user("").tags(&reference(&real, "a/b:1")).await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1", "2", "latest"]);
    let error = as_user("").tags(&reference(&real, "nosuch")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn an_index_leads_to_the_manifest_of_the_platform() {
    let directory = tempfile::tempdir().unwrap();
    let real = open(directory.path());
    let pusher = real.pusher("a", None);
    let manifest = |name: &str| {
        pusher.image(
            &Image {
                config: Content::new(DOCKER_CONFIG, format!("{{\"n\":\"{name}\"}}")),
                layers: Vec::new(),
            },
            name,
        )
    };
    let (amd64, arm) = (manifest("amd64"), manifest("arm"));
    let entries = [(&amd64, "linux", "amd64", ""), (&arm, "linux", "arm", "v6")];
    pusher.manifest(&index(OCI_INDEX, &entries), "oci");
    pusher.manifest(&index(DOCKER_LIST, &entries), "docker");
    for tag in ["oci", "docker"] {
        let fetched = as_user("")
            .manifest(&reference(&real, &format!("a:{tag}")))
            .await
            .unwrap();
        let Manifest::Index(entries) = manifest::parse(&fetched.media_type, &fetched.bytes).unwrap() else {
            panic!("an index was pushed");
        };
        let v7 = manifest::select(&entries, &Platform::new("linux", "arm", "v7")).unwrap();
        assert_eq!(v7.descriptor.digest, arm.digest());
        assert!(
            as_user("")
                .manifest(&reference(&real, "a").with_digest(v7.descriptor.digest))
                .await
                .is_ok()
        );
        let error = manifest::select(&entries, &Platform::new("linux", "s390x", "")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no matching manifest for linux/s390x in the manifest list entries"
        );
    }
}

#[tokio::test]
async fn what_the_real_registry_lacks_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let real = open(directory.path());
    real.pusher("a", None).image(&image(), "v1");
    let error = as_user("").manifest(&reference(&real, "a:v2")).await.unwrap_err();
    let text = format!(
        "manifest for {}/a:v2 not found: manifest unknown: manifest unknown",
        real.domain()
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_password_opens_a_registry_with_basic_authentication() {
    let directory = tempfile::tempdir().unwrap();
    let access = Access::Basic {
        username: "me",
        password: "se:cret",
    };
    let real = RealRegistry::start(&directory.path().join("registry"), &access, &Protocol::Http);
    real.pusher("a", Some(&basic("me", "se:cret"))).image(&image(), "v1");
    let reference = reference(&real, "a:v1");
    pull(&as_user(&x_registry_auth("me", "se:cret")), &reference, &image()).await;
    let error = as_user("").manifest(&reference).await.unwrap_err();
    let text = format!(
        "Get \"http://{}/v2/a/manifests/v1\": no basic auth credentials",
        real.domain()
    );
    assert_eq!(error.to_string(), text);
    let error = as_user(&x_registry_auth("me", "wrong"))
        .manifest(&reference)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: authentication required");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

fn bearer(directory: &Path, policy: Policy) -> (TokenServer, RealRegistry) {
    let tokens = TokenServer::start(&directory.join("tokens"), policy);
    let real = RealRegistry::start(&directory.join("registry"), &Access::Bearer(&tokens), &Protocol::Http);
    real.pusher("a/b", Some(&tokens.authorization("a/b")))
        .image(&image(), "v1");
    (tokens, real)
}

#[tokio::test]
async fn one_token_serves_a_whole_pull() {
    let directory = tempfile::tempdir().unwrap();
    let (tokens, real) = bearer(directory.path(), Policy::Anonymous);
    pull(&as_user(""), &reference(&real, "a/b:v1"), &image()).await;
    assert_eq!(tokens.server.count("/token"), 1);
}

#[tokio::test]
async fn a_token_is_given_for_the_right_password_only() {
    let directory = tempfile::tempdir().unwrap();
    let (username, password) = ("me".to_owned(), "secret".to_owned());
    let (_tokens, real) = bearer(directory.path(), Policy::Account { username, password });
    let reference = reference(&real, "a/b:v1");
    pull(&as_user(&x_registry_auth("me", "secret")), &reference, &image()).await;
    let error = as_user("").manifest(&reference).await.unwrap_err();
    let text = format!(
        "pull access denied for {}/a/b, repository does not exist or may require 'docker login': \
         denied: requested access to the resource is denied",
        real.domain()
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_token_server_that_refuses_is_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let (username, password) = ("me".to_owned(), "secret".to_owned());
    let (_tokens, real) = bearer(directory.path(), Policy::Strict { username, password });
    let error = as_user(&x_registry_auth("me", "wrong"))
        .manifest(&reference(&real, "a/b:v1"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: incorrect username or password");
}

#[tokio::test]
async fn an_identity_token_is_exchanged_and_a_registry_token_is_sent_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (tokens, real) = bearer(directory.path(), Policy::Identity("refresh+me/".to_owned()));
    let reference = reference(&real, "a/b:v1");
    let client = Client::new(ClientConfig::default()).unwrap();
    let identity = Credentials {
        identity_token: "refresh+me/".to_owned(),
        ..Credentials::default()
    };
    pull(&client.registry(identity), &reference, &image()).await;
    assert_eq!(tokens.server.requests()[0].method, "POST");
    let token = tokens.authorization("a/b").replace("Bearer ", "");
    let registry = Credentials {
        registry_token: token,
        ..Credentials::default()
    };
    pull(&client.registry(registry), &reference, &image()).await;
    assert_eq!(tokens.server.count("/token"), 1);
}

/// A registry of https and a client that reaches it, by a tunnel, as `registry.invalid`, which is not a loopback host.
fn https(directory: &Path, certificates: Option<&Path>, insecure: &[&str]) -> (RealRegistry, HttpRegistry) {
    https_for(directory, certificates, insecure, None)
}

/// As above, for those only that show a certificate of this authority.
fn https_for(
    directory: &Path,
    certificates: Option<&Path>,
    insecure: &[&str],
    clients: Option<&Path>,
) -> (RealRegistry, HttpRegistry) {
    let (key, certificate) = (directory.join("key"), directory.join("crt"));
    self_signed(&key, &certificate, "registry");
    let protocol = Protocol::Https {
        certificate: &certificate,
        key: &key,
        clients,
    };
    let real = RealRegistry::start(&directory.join("registry"), &Access::Open, &protocol);
    if let Some(certificates) = certificates {
        std::fs::create_dir_all(certificates.join("registry.invalid")).unwrap();
        std::fs::copy(&certificate, certificates.join("registry.invalid/ca.crt")).unwrap();
    }
    let proxies = Proxies {
        https: Some(format!("http://{}", tunnel_to(real.address))),
        ..Proxies::default()
    };
    let insecure = insecure.iter().map(|entry| (*entry).to_owned()).collect();
    let config = ClientConfig {
        proxies,
        insecure,
        certificates: certificates.map(Path::to_owned).into_iter().collect(),
        ..ClientConfig::default()
    };
    (real, Client::new(config).unwrap().registry(Credentials::default()))
}

#[tokio::test]
async fn a_certificate_of_nobody_we_trust_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_real, client) = https(directory.path(), None, &[]);
    let error = client
        .manifest(&Reference::parse("registry.invalid/a").unwrap())
        .await
        .unwrap_err();
    let text = "Get \"https://registry.invalid/v2/\": tls: failed to verify certificate: \
                x509: certificate signed by unknown authority";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_certificate_in_the_directory_of_its_host_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let (_real, client) = https(directory.path(), Some(&directory.path().join("certs.d")), &[]);
    let error = client
        .manifest(&Reference::parse("registry.invalid/a").unwrap())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("manifest for registry.invalid/a not found: "),
        "{error}"
    );
    // It is trusted for this host, and not for another that shows the same certificate.
    let error = client
        .manifest(&Reference::parse("other.invalid/a").unwrap())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("x509: certificate signed by unknown authority"),
        "{error}"
    );
}

#[tokio::test]
async fn a_registry_that_asks_who_we_are_is_shown_the_certificate_of_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (key, certificate) = (directory.path().join("our.key"), directory.path().join("our.cert"));
    self_signed(&key, &certificate, "me");
    let certs = directory.path().join("certs.d");
    let (real, client) = https_for(directory.path(), Some(&certs), &[], Some(&certificate));
    let reference = Reference::parse("registry.invalid/a").unwrap();
    let refused = client.manifest(&reference).await.unwrap_err().to_string();
    // Which alert it is depends on the registry's age, and whether it is read before the end of the connection on luck.
    let ends = ["remote error: tls: ", "connection reset by peer", "EOF", "broken pipe"];
    assert!(ends.iter().any(|end| refused.contains(end)), "{refused}");
    // A certificate without its key, a key without its certificate, and both. (A client reads them once.)
    let host = certs.join("registry.invalid");
    let asked = |real: &RealRegistry| {
        let proxies = Proxies {
            https: Some(format!("http://{}", tunnel_to(real.address))),
            ..Proxies::default()
        };
        let config = ClientConfig {
            proxies,
            certificates: vec![certs.clone()],
            ..ClientConfig::default()
        };
        Client::new(config).unwrap().registry(Credentials::default())
    };
    std::fs::copy(&certificate, host.join("client.cert")).unwrap();
    let error = asked(&real).manifest(&reference).await.unwrap_err().to_string();
    assert!(
        error.contains(
            "missing key client.key for client certificate client.cert. CA certificates must use the extension .crt"
        ),
        "{error}"
    );
    std::fs::copy(&key, host.join("client.key")).unwrap();
    std::fs::rename(host.join("client.cert"), host.join("aside")).unwrap();
    let error = asked(&real).manifest(&reference).await.unwrap_err().to_string();
    assert!(
        error.contains("missing client certificate client.cert for key client.key"),
        "{error}"
    );
    std::fs::rename(host.join("aside"), host.join("client.cert")).unwrap();
    // Another before it by its name, which the registry does not know.
    self_signed(&host.join("another.key"), &host.join("another.cert"), "somebody else");
    let error = asked(&real).manifest(&reference).await.unwrap_err().to_string();
    assert!(
        error.starts_with("manifest for registry.invalid/a not found: "),
        "{error}"
    );
}

#[tokio::test]
async fn an_insecure_registry_may_show_any_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let (real, client) = https(directory.path(), None, &["registry.invalid"]);
    for name in ["registry.invalid/a".to_owned(), format!("{}/a", real.domain())] {
        let error = client.manifest(&Reference::parse(&name).unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("manifest unknown"), "{error}");
    }
}

#[tokio::test]
async fn plain_http_is_no_answer_where_https_is_demanded() {
    let directory = tempfile::tempdir().unwrap();
    let real = open(directory.path());
    let proxies = Proxies {
        https: Some(format!("http://{}", tunnel_to(real.address))),
        ..Proxies::default()
    };
    let config = ClientConfig {
        proxies,
        ..ClientConfig::default()
    };
    let client = Client::new(config).unwrap().registry(Credentials::default());
    let error = client
        .manifest(&Reference::parse("registry.invalid/a").unwrap())
        .await
        .unwrap_err();
    let text = "Get \"https://registry.invalid/v2/\": http: server gave HTTP response to HTTPS client";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn many_blobs_are_read_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let real = open(directory.path());
    let layers: Vec<Vec<u8>> = (0..8).map(|number| vec![number; 2_000_000]).collect();
    let slices: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let image = Image::of_layers(&slices);
    real.pusher("a", None).image(&image, "v1");
    let (registry, reference) = (as_user(""), reference(&real, "a:v1"));
    let pulls = (0..4).map(|_| pull(&registry, &reference, &image));
    futures_util::future::join_all(pulls).await;
}
