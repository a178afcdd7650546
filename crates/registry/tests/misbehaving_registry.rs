//! The client against a registry that breaks off, stalls, lies and refuses.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/client.rs"]
mod client;
#[path = "support/registries.rs"]
mod registries;

use std::time::{Duration, Instant};

use conex_reference::Reference;
use conex_registry::{Client, Credentials, ErrorKind, Registry as _, RegistryError, TransportError};
use futures_util::StreamExt as _;

use crate::client::{LAYER, anonymous, config, descriptor, read, reference, with_image};
use crate::registries::faulty::Fault;
use crate::registries::http::{Gate, Length, Reply, Server};

#[tokio::test]
async fn a_manifest_comes_whole_with_type_and_digest() {
    let (faulty, manifest, reference) = with_image();
    let fetched = anonymous().manifest(&reference).await.unwrap();
    assert_eq!(fetched.media_type, manifest.media_type);
    assert_eq!(
        (fetched.digest, &fetched.bytes[..]),
        (manifest.digest(), &manifest.bytes[..])
    );
    let by_digest = reference.with_digest(manifest.digest());
    assert_eq!(anonymous().manifest(&by_digest).await.unwrap(), fetched);
    let requests = faulty.server.requests();
    let last = requests.last().unwrap();
    assert!(last.path.ends_with(&manifest.digest().to_string()));
    assert_eq!(last.header("user-agent"), Some("conex/test"));
    assert!(
        last.header("accept")
            .unwrap()
            .contains("application/vnd.oci.image.index.v1+json")
    );
}

#[tokio::test]
async fn a_broken_blob_is_taken_up_where_it_broke() {
    let (faulty, _, reference) = with_image();
    faulty.order("/blobs/", Fault::TruncateAfter(40_000), 2);
    assert_eq!(read(&anonymous(), &reference, 0).await.unwrap(), LAYER);
    let requests = faulty.server.requests();
    let ranges: Vec<_> = requests
        .iter()
        .filter(|r| r.path.contains("/blobs/"))
        .map(|r| r.header("range"))
        .collect();
    assert_eq!(ranges, [None, Some("bytes=40000-"), Some("bytes=80000-")]);
}

#[tokio::test]
async fn a_blob_is_read_from_an_offset() {
    let (faulty, _, reference) = with_image();
    assert_eq!(read(&anonymous(), &reference, 99_000).await.unwrap(), &LAYER[99_000..]);
    assert_eq!(read(&anonymous(), &reference, LAYER.len() as u64).await.unwrap(), b"");
    faulty.order("/blobs/", Fault::IgnoreRange, 1);
    assert_eq!(read(&anonymous(), &reference, 99_000).await.unwrap(), &LAYER[99_000..]);
}

#[tokio::test]
async fn what_comes_before_a_stall_is_handed_on_and_a_new_connection_gets_the_rest() {
    let (faulty, _, reference) = with_image();
    let gate = Gate::default();
    faulty.order("/blobs/", Fault::StallAfter(1000, gate.clone()), 1);
    let registry = anonymous();
    let mut stream = registry.blob(&reference, &descriptor(LAYER), 0).await.unwrap().stream;
    let first = tokio::time::timeout(Duration::from_millis(200), stream.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let mut count = first.len();
    assert_eq!(count, 1000);
    while let Some(bytes) = stream.next().await {
        count += bytes.unwrap().len();
    }
    assert_eq!(count, LAYER.len());
    gate.open();
}

#[tokio::test]
async fn attempts_without_progress_are_bounded() {
    let (faulty, _, reference) = with_image();
    faulty.order("/blobs/", Fault::TruncateAfter(0), usize::MAX);
    let error = read(&anonymous(), &reference, 0).await.unwrap_err();
    assert!(
        matches!(
            &error,
            RegistryError::Body {
                source: TransportError::UnexpectedEnd,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().ends_with("unexpected EOF"), "{error}");
    assert_eq!(faulty.server.count("/blobs/"), 3);
}

#[tokio::test]
async fn a_registry_that_is_busy_for_a_moment_is_asked_again() {
    let (faulty, _, reference) = with_image();
    faulty.order("/blobs/", Fault::Instead(Reply::new(503, "text/plain", "busy")), 2);
    assert_eq!(read(&anonymous(), &reference, 0).await.unwrap(), LAYER);
    assert_eq!(faulty.server.count("/blobs/"), 3);
}

#[tokio::test]
async fn a_blob_of_another_length_is_refused() {
    let (faulty, _, reference) = with_image();
    faulty.order("/blobs/", Fault::Instead(Reply::new(200, "text/plain", vec![1; 10])), 1);
    let error = read(&anonymous(), &reference, 0).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("blob has 10 bytes, its descriptor says 100000"),
        "{error}"
    );
    let lacking = descriptor(b"nowhere");
    let error = anonymous().blob(&reference, &lacking, 0).await.unwrap_err();
    assert_eq!(error.to_string(), "blob unknown: blob unknown to registry");
}

#[tokio::test]
async fn a_manifest_that_is_not_the_one_asked_for_is_refused() {
    let (faulty, manifest, reference) = with_image();
    let by_digest = reference.clone().with_digest(manifest.digest());
    faulty.order("/manifests/", Fault::Corrupt, usize::MAX);
    let error = anonymous().manifest(&by_digest).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("manifest verification failed for digest {}", manifest.digest())
    );
    assert_eq!(error.kind(), ErrorKind::BadResponse);
    let announced =
        Reply::new(200, "application/json", "{}").header("Docker-Content-Digest", &manifest.digest().to_string());
    faulty.forget_orders();
    faulty.order("/manifests/", Fault::Instead(announced), usize::MAX);
    assert!(matches!(
        anonymous().manifest(&reference).await,
        Err(RegistryError::ManifestDigest { .. })
    ));
    // What was changed on the way is asked for again.
    faulty.forget_orders();
    faulty.order("/manifests/", Fault::Corrupt, 1);
    assert_eq!(
        anonymous().manifest(&by_digest).await.unwrap().digest,
        manifest.digest()
    );
}

#[tokio::test]
async fn an_endless_manifest_is_not_read() {
    let (faulty, _, reference) = with_image();
    let mut reply = Reply::new(200, "application/json", vec![b' '; 5 << 20]);
    faulty.order("/manifests/", Fault::Instead(reply.clone()), 1);
    assert!(matches!(
        anonymous().manifest(&reference).await,
        Err(RegistryError::TooLarge { .. })
    ));
    // The same where the length is not announced.
    reply.length = Length::UntilClose;
    faulty.order("/manifests/", Fault::Instead(reply), 1);
    assert!(matches!(
        anonymous().manifest(&reference).await,
        Err(RegistryError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn what_is_not_there_is_named_as_dockers_client_names_it() {
    let (faulty, _, _) = with_image();
    let domain = faulty.domain();
    let error = anonymous().manifest(&reference(&faulty, "a:nope")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("manifest for {domain}/a:nope not found: manifest unknown: manifest unknown")
    );
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = anonymous().manifest(&reference(&faulty, "b:nope")).await.unwrap_err();
    let text = format!("repository {domain}/b not found: name unknown: repository name not known to registry");
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_registry_that_is_down_is_reported_with_its_address() {
    let reference = Reference::parse("127.0.0.1:1/a").unwrap();
    let error = anonymous().manifest(&reference).await.unwrap_err();
    let text = "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused";
    assert_eq!(error.to_string(), text);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = anonymous()
        .manifest(&Reference::parse("no-such-host.invalid/a").unwrap())
        .await
        .unwrap_err();
    let text = "Get \"https://no-such-host.invalid/v2/\": dial tcp: lookup no-such-host.invalid: no such host";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_registry_that_never_answers_is_given_up() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = Server::start(move |_| {
        held.wait();
        Reply::new(200, "text/plain", "")
    });
    let mut config = config();
    config.limits.connect = Duration::from_millis(50);
    config.limits.handshake = Duration::from_millis(50);
    config.limits.response = Duration::from_millis(100);
    let registry = Client::new(config).unwrap().registry(Credentials::default());
    let reference = Reference::parse(&format!("{}/a", server.address)).unwrap();
    let error = registry.manifest(&reference).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("net/http: timeout awaiting response headers"),
        "{error}"
    );
    gate.open();
}

#[tokio::test]
async fn too_many_requests_are_reported_as_such() {
    let (faulty, _, reference) = with_image();
    let reply = Reply::error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.");
    faulty.order("/manifests/", Fault::Instead(reply), usize::MAX);
    let error = anonymous().manifest(&reference).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "toomanyrequests: You have reached your pull rate limit."
    );
    assert_eq!(error.kind(), ErrorKind::TooManyRequests);
}

#[tokio::test]
async fn a_registry_that_asks_to_wait_gets_the_time_that_it_asks_for() {
    let (faulty, manifest, reference) = with_image();
    let later = |seconds: &str| {
        let reply = Reply::error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.");
        Fault::Instead(reply.header("Retry-After", seconds))
    };
    faulty.order("/manifests/", later("1"), 1);
    faulty.order("/blobs/", later("1"), 1);
    let begun = Instant::now();
    let fetched = anonymous().manifest(&reference).await.unwrap();
    assert_eq!(fetched.digest, manifest.digest());
    assert_eq!(read(&anonymous(), &reference, 0).await.unwrap(), LAYER);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    // One that asks for hours refuses.
    faulty.order("/manifests/", later("3600"), 1);
    let begun = Instant::now();
    let error = anonymous().manifest(&reference).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyRequests);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_registry_that_refuses_every_token_is_not_asked_for_ever() {
    let (faulty, _, reference) = with_image();
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", faulty.domain());
    let unauthorized = Reply::error(401, "UNAUTHORIZED", "authentication required").header("WWW-Authenticate", &realm);
    faulty.order("/v2/", Fault::Instead(unauthorized), usize::MAX);
    faulty.order(
        "/token",
        Fault::Instead(Reply::new(200, "application/json", r#"{"token":"t"}"#)),
        usize::MAX,
    );
    let error = anonymous().manifest(&reference).await.unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: authentication required");
    assert_eq!(
        (faulty.server.count("/manifests/"), faulty.server.count("/token")),
        (1, 2)
    );
}

#[tokio::test]
async fn a_registry_that_hides_its_root_is_used_and_its_token_kept() {
    let (faulty, _, reference) = with_image();
    faulty.order("/v2/", Fault::Instead(Reply::new(403, "text/plain", "")), 1);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", faulty.domain());
    let ask = Reply::error(401, "UNAUTHORIZED", "x").header("WWW-Authenticate", &realm);
    faulty.order("/manifests/", Fault::Instead(ask.clone()), 1);
    faulty.order("/blobs/", Fault::Instead(ask), 1);
    faulty.order(
        "/token",
        Fault::Instead(Reply::new(200, "application/json", r#"{"access_token":"t"}"#)),
        usize::MAX,
    );
    let registry = anonymous();
    registry.manifest(&reference).await.unwrap();
    assert_eq!(read(&registry, &reference, 0).await.unwrap(), LAYER);
    assert_eq!(faulty.server.count("/token"), 1);
    assert_eq!(
        faulty.server.requests().last().unwrap().header("authorization"),
        Some("Bearer t")
    );
}

#[tokio::test]
async fn a_list_of_tags_is_read_page_by_page() {
    let (faulty, _, reference) = with_image();
    let page = |tags: &str, next: &str| {
        let reply = Reply::new(200, "application/json", format!(r#"{{"name":"a","tags":{tags}}}"#));
        let link = format!("<{next}>; rel=\"next\"");
        Fault::Instead(if next.is_empty() {
            reply
        } else {
            reply.header("Link", &link)
        })
    };
    faulty.order("/v2/a/tags/list", page(r#"["1","2"]"#, "/v2/a/tags/list?last=2"), 1);
    faulty.order("/v2/a/tags/list", page(r#"["3"]"#, ""), 1);
    assert_eq!(anonymous().tags(&reference).await.unwrap(), ["1", "2", "3"]);
    let asked: Vec<String> = faulty
        .server
        .requests()
        .into_iter()
        .filter(|request| request.path.ends_with("/tags/list"))
        .map(|request| request.query)
        .collect();
    assert_eq!(asked, ["", "last=2"]);
    faulty.order("/v2/a/tags/list", page("null", ""), 1);
    assert!(anonymous().tags(&reference).await.unwrap().is_empty());
    for (tags, next, words) in [
        ("7", "", "list of tags"),
        (
            r#"["1"]"#,
            "http://elsewhere.invalid/v2/a/tags/list",
            "unusable next page",
        ),
        (r#"["1"]"#, "/v2/a/tags/list", "more than 1000 pages"),
    ] {
        faulty.forget_orders();
        faulty.order("/v2/a/tags/list", page(tags, next), usize::MAX);
        let error = anonymous().tags(&reference).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
