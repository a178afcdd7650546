//! The ways to a registry: redirects, mirrors, proxies; and who sees the credentials on them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/client.rs"]
mod client;
#[path = "support/registries.rs"]
mod registries;

use conex_reference::Reference;
use conex_registry::{Client, ClientConfig, Credentials, ErrorKind, Proxies, Registry as _};

use crate::client::{LAYER, account, config, read, with_image};
use crate::registries::encoding::basic;
use crate::registries::faulty::Fault;
use crate::registries::http::{Reply, Server};
use crate::registries::image::Image;

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let (faulty, _, reference) = with_image();
    let storage = Server::start(|request| {
        // A storage that asks for a password gets none either.
        let status = if request.query == "ask" { 401 } else { 200 };
        Reply::new(status, "text/plain", LAYER).header("WWW-Authenticate", "Basic realm=\"x\"")
    });
    let ask = Reply::error(401, "UNAUTHORIZED", "x").header("WWW-Authenticate", "Basic realm=\"r\"");
    faulty.order("/v2/", Fault::Instead(ask), 1);
    for query in ["", "?ask"] {
        let location = format!("http://{}/blob{query}", storage.address);
        faulty.order(
            "/blobs/",
            Fault::Instead(Reply::new(307, "text/plain", "").header("Location", &location)),
            1,
        );
    }
    let registry = Client::new(config()).unwrap().registry(account("me", "secret"));
    assert_eq!(read(&registry, &reference, 0).await.unwrap(), LAYER);
    assert!(read(&registry, &reference, 0).await.is_err());
    let asked = faulty
        .server
        .requests()
        .into_iter()
        .find(|request| request.path.contains("/blobs/"))
        .unwrap();
    assert_eq!(asked.header("authorization"), Some(basic("me", "secret").as_str()));
    let stored = storage.requests();
    assert_eq!(stored.len(), 2);
    assert!(stored.iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn redirects_within_the_registry_keep_the_credentials_and_end() {
    let (faulty, _, reference) = with_image();
    let ask = Reply::error(401, "UNAUTHORIZED", "x").header("WWW-Authenticate", "Basic realm=\"r\"");
    faulty.order("/v2/", Fault::Instead(ask), 1);
    let to = |location: String| Fault::Instead(Reply::new(302, "text/plain", "").header("Location", &location));
    faulty.order("/manifests/latest", to("/v2/a/manifests/other".to_owned()), 1);
    faulty.order("/manifests/latest", to("latest".to_owned()), usize::MAX);
    faulty.add_manifest("a", "other", &Image::of_layers(&[]).manifest());
    let registry = Client::new(config()).unwrap().registry(account("me", "secret"));
    registry.manifest(&reference).await.unwrap();
    let other = faulty
        .server
        .requests()
        .into_iter()
        .find(|request| request.path.ends_with("other"))
        .unwrap();
    assert!(other.header("authorization").is_some());
    let error = registry.manifest(&reference).await.unwrap_err();
    assert!(error.to_string().contains("stopped after 10 redirects"), "{error}");
}

#[tokio::test]
async fn a_mirror_is_asked_before_docker_hub_and_its_failure_leads_on() {
    let (faulty, manifest, _) = with_image();
    let copy = faulty.add("library/busybox", "latest", &Image::of_layers(&[b"x"]));
    assert_ne!(copy, manifest);
    let dead = "http://127.0.0.1:1".to_owned();
    let mirrors = vec![dead, format!("http://{}/", faulty.domain())];
    let registry = Client::new(ClientConfig { mirrors, ..config() })
        .unwrap()
        .registry(Credentials::default());
    let busybox = Reference::parse("busybox").unwrap();
    assert_eq!(registry.manifest(&busybox).await.unwrap().digest, copy.digest());
}

#[tokio::test]
async fn what_a_mirror_does_not_have_is_told_where_docker_hub_cannot_be_reached() {
    let (faulty, ..) = with_image();
    let proxies = Proxies {
        https: Some("http://127.0.0.1:1".to_owned()),
        ..Proxies::default()
    };
    let mirrors = vec![format!("http://{}/", faulty.domain())];
    let with = |mirrors: &[String]| {
        let config = ClientConfig {
            mirrors: mirrors.to_vec(),
            proxies: proxies.clone(),
            ..config()
        };
        Client::new(config).unwrap().registry(Credentials::default())
    };
    let nosuch = Reference::parse("nosuch").unwrap();
    let refused = with(&mirrors).look_up(&nosuch).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    for error in [with(&[]).look_up(&nosuch).await, with(&mirrors).manifest(&nosuch).await] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_proxy_is_used_for_what_no_proxy_does_not_name() {
    let proxy = Server::start(|_| Reply::error(404, "MANIFEST_UNKNOWN", "from the proxy"));
    let proxies = Proxies {
        http: Some(format!("http://u:p@{}", proxy.address)),
        no_proxy: "direct.invalid".to_owned(),
        ..Proxies::default()
    };
    let mirrors = vec![
        "http://direct.invalid".to_owned(),
        "http://mirror.invalid/hub".to_owned(),
    ];
    let config = ClientConfig {
        proxies,
        mirrors,
        ..config()
    };
    let registry = Client::new(config).unwrap().registry(Credentials::default());
    drop(registry.manifest(&Reference::parse("busybox").unwrap()).await);
    let requests = proxy.requests();
    assert_eq!(requests.len(), 2);
    // The whole URL stands in the request line (RFC 9112, section 3.2.2).
    assert_eq!(requests[0].path, "http://mirror.invalid/hub/v2/");
    assert_eq!(
        requests[1].path,
        "http://mirror.invalid/hub/v2/library/busybox/manifests/latest"
    );
    assert_eq!(
        requests[0].header("proxy-authorization"),
        Some(basic("u", "p").as_str())
    );
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_reported() {
    let proxy =
        Server::start(|request| Reply::new(if request.method == "CONNECT" { 502 } else { 200 }, "text/plain", ""));
    let proxies = Proxies {
        https: Some(format!("http://{}", proxy.address)),
        ..Proxies::default()
    };
    let registry = Client::new(ClientConfig { proxies, ..config() })
        .unwrap()
        .registry(Credentials::default());
    let error = registry
        .manifest(&Reference::parse("secure.invalid/a").unwrap())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Get \"https://secure.invalid/v2/\": proxyconnect tcp: "),
        "{error}"
    );
    assert_eq!(proxy.requests()[0].path, "secure.invalid:443");
}
