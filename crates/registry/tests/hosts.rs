//! `hosts.toml`: mirrors of any registry, what they are asked for and what they get to see.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/client.rs"]
mod client;
#[path = "support/registries.rs"]
mod registries;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use conex_reference::Reference;
use conex_registry::{Client, ClientConfig, Credentials, ErrorKind, HttpRegistry, Registry as _};

use crate::client::{LAYER, account, config, read, with_image};
use crate::registries::encoding::basic;
use crate::registries::faulty::{Fault, Faulty};
use crate::registries::http::{Reply, Server};
use crate::registries::image::Image;
use crate::registries::real::{Access, Protocol, RealRegistry};
use crate::registries::tokens::self_signed;

/// A client with a `hosts.toml` for a registry.
fn client(dir: &Path, host: &str, text: &str) -> Client {
    let directory = dir.join(host);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("hosts.toml"), text).unwrap();
    Client::new(ClientConfig {
        certificates: vec![dir.to_owned()],
        ..config()
    })
    .unwrap()
}

fn registry(dir: &Path, host: &str, text: &str) -> HttpRegistry {
    client(dir, host, text).registry(Credentials::default())
}

/// What was asked, without the look whether somebody is there: path and query.
fn asked(server: &Server) -> Vec<String> {
    let requests = server.requests();
    let requests = requests.iter().filter(|request| request.path != "/v2/");
    requests
        .map(|request| format!("{}?{}", request.path, request.query))
        .collect()
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_the_server_last() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, manifest, reference) = with_image();
    let (empty, full) = (Faulty::start(), Faulty::start());
    full.add("a", "latest", &Image::of_layers(&[LAYER]));
    let text = |last: &str| {
        format!(
            "[host.\"http://127.0.0.1:1\"]\n[host.\"http://{}\"]\n[host.\"http://{}\"]\n{last}",
            empty.domain(),
            full.domain()
        )
    };
    let mirrored = registry(dir.path(), "_default", &text(""));
    assert_eq!(mirrored.manifest(&reference).await.unwrap().digest, manifest.digest());
    assert_eq!(read(&mirrored, &reference, 0).await.unwrap(), LAYER);
    // The mirrors hear which registry is meant.
    let ns = format!("ns={}", upstream.domain().replace(':', "%3A"));
    let blob = format!("/v2/a/blobs/{}?{ns}", conex_reference::Digest::of(LAYER));
    let expected = [format!("/v2/a/manifests/latest?{ns}"), blob.clone()];
    assert_eq!(asked(&empty.server), expected);
    assert_eq!(asked(&full.server), expected);
    assert_eq!(upstream.server.requests().len(), 0);
    // Of its own directory nothing is left to the default; one that only has content is not asked what a tag means.
    let pulling = registry(dir.path(), &upstream.domain(), &text("capabilities = [\"pull\"]"));
    assert_eq!(pulling.manifest(&reference).await.unwrap().digest, manifest.digest());
    assert_eq!(asked(&upstream.server), ["/v2/a/manifests/latest?"]);
    assert_eq!(asked(&full.server).len(), 2);
    assert_eq!(read(&pulling, &reference, 0).await.unwrap(), LAYER);
    assert_eq!(asked(&full.server), [expected[0].clone(), blob.clone(), blob]);
    assert_eq!(asked(&upstream.server).len(), 1);
}

#[tokio::test]
async fn a_mirror_that_breaks_off_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, _, reference) = with_image();
    let mirror = Faulty::start();
    mirror.add("a", "latest", &Image::of_layers(&[LAYER]));
    let mirrored = registry(
        dir.path(),
        &upstream.domain(),
        &format!("[host.\"http://{}\"]", mirror.domain()),
    );
    mirror.order("/blobs/", Fault::TruncateAfter(40_000), usize::MAX);
    assert_eq!(read(&mirrored, &reference, 0).await.unwrap(), LAYER);
    let range = |server: &Server| server.requests().last().unwrap().header("range").map(str::to_owned);
    assert_eq!(mirror.server.count("/blobs/"), 1);
    assert_eq!(range(&upstream.server), Some("bytes=40000-".to_owned()));
    // Content that is asked for again was not right, and comes from another.
    mirror.forget_orders();
    assert_eq!(read(&mirrored, &reference, 0).await.unwrap(), LAYER);
    assert_eq!((mirror.server.count("/blobs/"), range(&upstream.server)), (1, None));
}

#[tokio::test]
async fn one_that_hangs_holds_up_once() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, _, reference) = with_image();
    // Nobody answers there, and nobody refuses.
    let text = "[host.\"http://192.0.2.1\"]\ndial_timeout = \"300ms\"";
    let mirrored = registry(dir.path(), &upstream.domain(), text);
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(read(&mirrored, &reference, 0).await.unwrap(), LAYER);
    }
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn mirrors_do_not_get_the_registrys_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, manifest, reference) = with_image();
    let basic_challenge = Reply::error(401, "UNAUTHORIZED", "x").header("WWW-Authenticate", "Basic realm=\"r\"");
    let asks = Server::start({
        let reply = basic_challenge.clone();
        move |_| reply.clone()
    });
    // It names the token server of the registry.
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", upstream.domain());
    let bearer = Reply::error(401, "UNAUTHORIZED", "x").header("WWW-Authenticate", &realm);
    let lures = Server::start({
        let reply = bearer.clone();
        move |_| reply.clone()
    });
    upstream.order("/v2/", Fault::Instead(bearer), 1);
    let token = Reply::new(200, "application/json", r#"{"token":"precious"}"#);
    upstream.order("/token", Fault::Instead(token), usize::MAX);
    let text = format!(
        "[host.\"http://{}\"]\n[host.\"http://{}\"]",
        asks.address, lures.address
    );
    let mirrored = client(dir.path(), &upstream.domain(), &text).registry(account("me", "secret"));
    // Twice, so that the token of the registry is known when the mirror asks for one.
    for _ in 0..2 {
        assert_eq!(mirrored.manifest(&reference).await.unwrap().digest, manifest.digest());
        assert_eq!(read(&mirrored, &reference, 0).await.unwrap(), LAYER);
    }
    let asked_with = |requests: &[crate::registries::http::Request]| {
        requests.iter().any(|request| request.header("authorization").is_some())
    };
    assert!(!asks.requests().is_empty() && !asked_with(&asks.requests()));
    let tokens: Vec<_> = upstream.server.requests();
    let asked_for = |who: Option<&str>| {
        let who = who.map(str::to_owned);
        tokens
            .iter()
            .filter(|request| request.path == "/token" && request.header("authorization") == who.as_deref())
            .count()
    };
    let me = basic("me", "secret");
    // The registry's own token was got with the credentials, the mirror's without.
    assert_eq!(asked_for(Some(&me)), 1);
    assert!(asked_for(None) >= 1);
    let seen: Vec<_> = lures
        .requests()
        .iter()
        .map(|request| request.header("authorization").map(str::to_owned))
        .collect();
    assert!(seen.iter().flatten().all(|value| !value.contains(&me)), "{seen:?}");
    // Likewise those of `daemon.json`, which stand in for Docker Hub.
    let config = ClientConfig {
        mirrors: vec![format!("http://{}", asks.address)],
        proxies: conex_registry::Proxies {
            https: Some("http://127.0.0.1:1".to_owned()),
            ..Default::default()
        },
        ..config()
    };
    let hub = Client::new(config).unwrap().registry(account("me", "secret"));
    let before = asks.requests().len();
    drop(hub.manifest(&Reference::parse("busybox").unwrap()).await);
    let more = asks.requests().split_off(before);
    assert!(!more.is_empty() && !asked_with(&more));
}

#[tokio::test]
async fn headers_are_seen_by_their_host_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, ..) = with_image();
    let storage = Server::start(|_| Reply::new(200, "text/plain", LAYER));
    let mirror = Faulty::start();
    mirror.add("proxied/a", "latest", &Image::of_layers(&[LAYER]));
    let to = format!("http://{}/x", storage.address);
    let moved = Reply::new(307, "text/plain", "").header("Location", &to);
    mirror.order("/blobs/", Fault::Instead(moved), 1);
    let text = format!(
        "[host.\"http://{0}\"]\n[host.\"http://{0}\".header]\nauthorization = \"Basic abc\"\nx-key = [\"1\", \"2\"]\n\
         [host.\"http://{0}\".rewrite]\n\"^(.*)$\" = \"proxied/$1\"",
        mirror.domain()
    );
    let mirrored = client(dir.path(), &upstream.domain(), &text).registry(account("me", "secret"));
    let reference = Reference::parse(&format!("{}/a", upstream.domain())).unwrap();
    mirrored.manifest(&reference).await.unwrap();
    assert_eq!(read(&mirrored, &reference, 0).await.unwrap(), LAYER);
    assert_eq!(upstream.server.requests().len(), 0);
    for request in mirror.server.requests() {
        assert_eq!(request.header("authorization"), Some("Basic abc"), "{}", request.path);
        assert_eq!(request.headers.iter().filter(|(name, _)| name == "x-key").count(), 2);
    }
    let stored = storage.requests();
    let seen = ["authorization", "x-key"].map(|name| stored[0].header(name));
    assert_eq!((stored.len(), seen), (1, [None, None]));
}

#[tokio::test]
async fn a_path_of_its_own_is_taken_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, manifest, reference) = with_image();
    let mirror = Server::start(move |request| {
        let is_right = request.path == "/hub/api/a/manifests/latest";
        let status = if is_right { 200 } else { 404 };
        Reply::new(status, &manifest.media_type, manifest.bytes.clone())
    });
    let text = format!(
        "[host.\"http://{}/hub/api\"]\noverride_path = true\ncapabilities = [\"pull\", \"resolve\"]",
        mirror.address
    );
    let mirrored = client(dir.path(), &upstream.domain(), &text);
    mirrored
        .registry(Credentials::default())
        .manifest(&reference)
        .await
        .unwrap();
    assert_eq!(mirror.requests()[0].path, "/hub/api/");
    assert_eq!(upstream.server.requests().len(), 0);
    // What is pushed is not for mirrors that do not say so.
    let destination = mirrored.destination(Credentials::default(), &reference).await.unwrap();
    drop(destination.put_blob(Bytes::from_static(b"x")).await);
    assert_eq!(
        (mirror.requests().len(), upstream.server.count("/blobs/") > 0),
        (2, true)
    );
}

#[tokio::test]
async fn a_file_that_is_wrong_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, _, reference) = with_image();
    let broken = registry(
        dir.path(),
        &upstream.domain(),
        "[host.\"http://m.invalid\"]\nmirror = true",
    );
    let error = broken.manifest(&reference).await.unwrap_err();
    let path = dir.path().join(upstream.domain()).join("hosts.toml");
    let text = format!("{}: host.\"http://m.invalid\": unknown field `mirror`", path.display());
    assert!(error.to_string().starts_with(&text), "{error}");
    assert_eq!((error.kind(), upstream.server.requests().len()), (ErrorKind::Local, 0));
    // It is read anew for each pull.
    let mended = registry(dir.path(), &upstream.domain(), "");
    mended.manifest(&reference).await.unwrap();
    // Where nobody is left, it is told.
    let nobody = registry(dir.path(), &upstream.domain(), "capabilities = [\"push\"]");
    let error = nobody.manifest(&reference).await.unwrap_err().to_string();
    assert!(error.contains("no host of hosts.toml serves this"), "{error}");
}

#[tokio::test]
async fn a_mirror_is_known_by_its_certificate_and_knows_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (key, certificate) = (dir.path().join("server.key"), dir.path().join("server.crt"));
    self_signed(&key, &certificate, "mirror");
    let (own_key, own) = (dir.path().join("own.key"), dir.path().join("own.cert"));
    self_signed(&own_key, &own, "client");
    let protocol = Protocol::Https {
        certificate: &certificate,
        key: &key,
        clients: Some(&own),
    };
    let real = RealRegistry::start(&dir.path().join("real"), &Access::Open, &protocol);
    let reference = Reference::parse("reg.invalid/one").unwrap();
    let certs = dir.path().join("certs.d");
    // By the name, since addresses of this host count as insecure.
    let url = format!("https://registry.invalid:{}", real.address.port());
    let proxy = crate::registries::http::tunnel_to(real.address);
    let found = async |more: &str| {
        let mut config = config();
        config.certificates = vec![certs.clone()];
        config.proxies.https = Some(format!("http://{proxy}"));
        fs::create_dir_all(certs.join("reg.invalid")).unwrap();
        fs::write(
            certs.join("reg.invalid/hosts.toml"),
            format!("server = \"{url}\"\n{more}"),
        )
        .unwrap();
        let client = Client::new(config).unwrap();
        let error = client
            .registry(Credentials::default())
            .manifest(&reference)
            .await
            .unwrap_err();
        error.to_string()
    };
    let identity = "client = [[\"../../own.cert\", \"../../own.key\"]]";
    // Which alert it is depends on the registry's age, and whether it is read before the end of the connection on luck.
    let refused = ["remote error: tls: ", "connection reset by peer", "EOF", "broken pipe"];
    let unknown = ["certificate signed by unknown authority"];
    for (more, words) in [
        ("", &unknown[..]),
        (identity, &unknown),
        ("ca = \"../../server.crt\"", &refused),
        ("ca = \"../../nosuch.crt\"", &["nosuch.crt"]),
        (&format!("ca = \"../../server.crt\"\n{identity}"), &["not found"]),
        (&format!("skip_verify = true\n{identity}"), &["not found"]),
    ] {
        let error = found(more).await;
        assert!(words.iter().any(|words| error.contains(words)), "{more}: {error}");
    }
}
