//! Uploads, to Debian's `docker-registry` and to one that breaks off, forgets and refuses.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/client.rs"]
mod client;
#[path = "support/registries.rs"]
mod registries;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conex_reference::{Digest, Reference};
use conex_registry::{Client, Credentials, Destination, ErrorKind, Registry as _, RegistryError, Upload};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::client::{account, anonymous, config};
use crate::registries::encoding::field;
use crate::registries::http::{Piece, Reply, Request, Server, breaking_off};
use crate::registries::proxy::{Ill, Proxy};
use crate::registries::real::{Access, Protocol, RealRegistry};
use crate::registries::tokens::{Policy, TokenServer};

/// Bytes in pieces, and how often they were asked for and waited for.
struct Pieces {
    bytes: Vec<u8>,
    ends: Result<(), &'static str>,
    opened: Mutex<usize>,
    pauses: Mutex<usize>,
}

impl Pieces {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ends: Ok(()),
            opened: Mutex::default(),
            pauses: Mutex::default(),
        }
    }

    fn counts(&self) -> (usize, usize) {
        (*self.opened.lock().unwrap(), *self.pauses.lock().unwrap())
    }
}

impl Upload for Pieces {
    fn open(&self) -> BoxStream<'static, io::Result<Bytes>> {
        *self.opened.lock().unwrap() += 1;
        let pieces = self.bytes.chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece)));
        let last = self.ends.err().map(|words| Err(io::Error::other(words)));
        stream::iter(pieces.chain(last).collect::<Vec<_>>()).boxed()
    }

    fn retrying_in(&self, seconds: u64) {
        assert!(seconds > 0);
        *self.pauses.lock().unwrap() += 1;
    }
}

/// Bytes that look like nothing.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

async fn destination(domain: &str, path: &str, credentials: Credentials) -> Destination {
    let repository = Reference::parse(&format!("{domain}/{path}")).unwrap();
    let client = Client::new(config()).unwrap();
    client.destination(credentials, &repository).await.unwrap()
}

/// A registry that takes uploads, and what it did with them.
#[derive(Default)]
struct Taking {
    uploads: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    /// Uploads that broke off are not known any more.
    forgets: bool,
    /// Blobs are kept, and nobody is told.
    is_mute: bool,
    /// What every `POST` is answered with.
    refusal: Option<Reply>,
    /// How many `PATCH` are answered with 401.
    unauthorized: usize,
    /// Bytes that a chunk has at least which is not the last.
    least: usize,
}

impl Taking {
    fn start(self) -> (Server, Arc<Mutex<Self>>) {
        let state = Arc::new(Mutex::new(self));
        let shared = Arc::clone(&state);
        (
            Server::start(move |request| shared.lock().unwrap().answer(request)),
            state,
        )
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let reply = |status| Reply::new(status, "text/plain", "");
        let unknown = || Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        let last = request.path.rsplit('/').next().unwrap_or_default().to_owned();
        match request.method.as_str() {
            "POST" => {
                if let Some(refusal) = &self.refusal {
                    return refusal.clone();
                }
                let name = self.uploads.len().to_string();
                self.uploads.insert(name.clone(), Vec::new());
                reply(202)
                    .header("Location", &format!("/v2/a/blobs/uploads/{name}?state=x"))
                    .header("OCI-Chunk-Min-Length", &self.least.to_string())
            }
            "PATCH" if self.unauthorized > 0 => {
                self.unauthorized -= 1;
                reply(401)
            }
            "PATCH" => {
                let Some(upload) = self.uploads.get_mut(&last) else {
                    return unknown();
                };
                // Nobody may follow one that was too small.
                if upload.len() % self.least.max(1) != 0 && upload.len() < self.least {
                    return Reply::error(416, "SIZE_INVALID", "a chunk before was too small");
                }
                upload.extend_from_slice(&request.body);
                if !request.is_whole && self.forgets {
                    self.uploads.remove(&last);
                }
                reply(202).header("Location", &format!("{last}?state=y"))
            }
            "GET" if last.is_empty() => reply(200),
            "GET" => match self.uploads.get(&last) {
                Some(upload) => reply(204).header("Range", &format!("0-{}", upload.len().saturating_sub(1))),
                None => unknown(),
            },
            "PUT" => {
                let Some(upload) = self.uploads.remove(&last) else {
                    return unknown();
                };
                let digest = field(&request.query, "digest").unwrap();
                if Digest::of(&upload).to_string() != digest {
                    return Reply::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
                }
                self.blobs.insert(digest, upload);
                let mut created = reply(201);
                if self.is_mute {
                    created.body = vec![Piece::Close];
                    created.length = crate::registries::http::Length::Announced(7);
                    created.status = 500;
                }
                created
            }
            "HEAD" => match self.blobs.get(&last) {
                Some(blob) => Reply::new(200, "application/octet-stream", blob.clone()),
                None => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
            },
            _ => reply(204),
        }
    }
}

fn methods(server: &Server) -> Vec<String> {
    let requests = server.requests();
    let uploads = requests.iter().filter(|request| request.path.contains("/blobs/"));
    uploads.map(|request| request.method.clone()).collect()
}

async fn upload(address: SocketAddr, content: &Pieces) -> Result<Digest, RegistryError> {
    let destination = destination(&address.to_string(), "a", Credentials::default()).await;
    let uploaded = destination.upload(content).await?;
    assert_eq!(uploaded.size, content.bytes.len() as u64);
    Ok(uploaded.digest)
}

#[tokio::test]
async fn a_blob_travels_in_one_piece() {
    let (server, state) = Taking::default().start();
    for length in [0, 1, 100_000] {
        let content = Pieces::new(noise(length));
        let digest = upload(server.address, &content).await.unwrap();
        assert_eq!(digest, Digest::of(&content.bytes));
        assert_eq!(state.lock().unwrap().blobs[&digest.to_string()], content.bytes);
    }
    assert_eq!(methods(&server), ["POST", "PATCH", "PUT"].repeat(3));
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke_off() {
    let (server, state) = Taking::default().start();
    let content = Pieces::new(noise(3_000_000));
    let proxy = breaking_off(server.address, 1_000_000, 1);
    let digest = upload(proxy, &content).await.unwrap();
    assert_eq!(state.lock().unwrap().blobs[&digest.to_string()], content.bytes);
    assert_eq!(methods(&server), ["POST", "PATCH", "GET", "PATCH", "PUT"]);
    let requests = server.requests();
    let sent: Vec<usize> = requests
        .iter()
        .filter(|request| request.method == "PATCH")
        .map(|request| request.body.len())
        .collect();
    assert_eq!(sent.iter().sum::<usize>(), content.bytes.len(), "{sent:?}");
    assert!(sent[0] > 500_000, "{sent:?}");
    assert_eq!(content.counts(), (2, 1));
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_is_begun_again() {
    let taking = Taking {
        forgets: true,
        ..Taking::default()
    };
    let (server, state) = taking.start();
    let content = Pieces::new(noise(1_000_000));
    let digest = upload(breaking_off(server.address, 300_000, 2), &content)
        .await
        .unwrap();
    assert_eq!(state.lock().unwrap().blobs[&digest.to_string()], content.bytes);
    let methods = methods(&server);
    assert_eq!(
        methods.iter().filter(|method| *method == "POST").count(),
        3,
        "{methods:?}"
    );
}

#[tokio::test]
async fn attempts_come_to_an_end() {
    let (server, _) = Taking::default().start();
    let content = Pieces::new(noise(1_000_000));
    let error = upload(breaking_off(server.address, 5_000, usize::MAX), &content)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(content.counts(), (3, 2));
}

#[tokio::test]
async fn a_blob_whose_confirmation_is_lost_is_there() {
    let taking = Taking {
        is_mute: true,
        ..Taking::default()
    };
    let (server, _) = taking.start();
    let content = Pieces::new(noise(1000));
    let digest = upload(server.address, &content).await.unwrap();
    assert_eq!(digest, Digest::of(&content.bytes));
    assert_eq!(methods(&server), ["POST", "PATCH", "PUT", "HEAD"]);
}

#[tokio::test]
async fn what_is_refused_is_not_tried_again() {
    let denied = || Reply::error(403, "DENIED", "requested access to the resource is denied");
    let taking = Taking {
        refusal: Some(denied()),
        ..Taking::default()
    };
    let (server, _) = taking.start();
    let error = upload(server.address, &Pieces::new(noise(10))).await.unwrap_err();
    assert_eq!(error.plain(), "denied: requested access to the resource is denied");
    assert_eq!(methods(&server), ["POST"]);
}

#[tokio::test]
async fn a_token_that_expired_on_the_way_is_renewed() {
    let taking = Taking {
        unauthorized: 1,
        ..Taking::default()
    };
    let (server, _) = taking.start();
    let content = Pieces::new(noise(1000));
    upload(server.address, &content).await.unwrap();
    assert_eq!(methods(&server), ["POST", "PATCH", "PATCH", "PUT"]);
    assert_eq!(content.counts(), (2, 0));
}

#[tokio::test]
async fn content_that_cannot_be_read_ends_the_upload() {
    let (server, state) = Taking::default().start();
    let content = Pieces {
        ends: Err("its files are not what they were"),
        ..Pieces::new(noise(100_000))
    };
    let error = upload(server.address, &content).await.unwrap_err();
    assert_eq!(error.to_string(), "its files are not what they were");
    assert_eq!((error.kind(), content.counts()), (ErrorKind::Local, (1, 0)));
    assert!(state.lock().unwrap().blobs.is_empty());
    assert!(!methods(&server).contains(&"PUT".to_owned()));
}

#[tokio::test]
async fn the_real_registry_takes_blobs_mounts_and_manifests() {
    let directory = tempfile::tempdir().unwrap();
    let account_of = account("me", "pass");
    let tokens = TokenServer::start(
        &directory.path().join("tokens"),
        Policy::Account {
            username: "me".to_owned(),
            password: "pass".to_owned(),
        },
    );
    let basic = Access::Basic {
        username: "me",
        password: "pass",
    };
    for (name, access) in [
        ("open", Access::Open),
        ("basic", basic),
        ("bearer", Access::Bearer(&tokens)),
    ] {
        let real = RealRegistry::start(&directory.path().join(name), &access, &Protocol::Http);
        let one = destination(&real.domain(), "one", account_of.clone()).await;
        let content = Pieces::new(noise(200_000));
        let uploaded = one.upload(&content).await.unwrap();
        assert_eq!(one.blob_size(&uploaded.digest).await.unwrap(), Some(200_000), "{name}");
        let two = destination(&real.domain(), "team/two", account_of.clone()).await;
        assert_eq!(two.blob_size(&uploaded.digest).await.unwrap(), None, "{name}");
        assert!(two.mount(&uploaded.digest, one.repository()).await.unwrap(), "{name}");
        assert!(
            !two.mount(&Digest::of(b"nobody has it"), one.repository())
                .await
                .unwrap()
        );

        let config = Bytes::from_static(b"{}");
        one.put_blob(config.clone()).await.unwrap();
        one.put_blob(config.clone()).await.unwrap();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{0}","config":{{"mediaType":"c","digest":"{1}","size":2}},"layers":[]}}"#,
            conex_registry::manifest::OCI_MANIFEST,
            Digest::of(&config)
        );
        let media_type = conex_registry::manifest::OCI_MANIFEST;
        one.put_manifest("v1", media_type, Bytes::from(manifest.clone()))
            .await
            .unwrap();
        let tagged = one.repository().clone().with_tag("v1").unwrap();
        let puller = Client::new(crate::client::config())
            .unwrap()
            .registry(account_of.clone());
        assert_eq!(puller.manifest(&tagged).await.unwrap().bytes, manifest, "{name}");
    }
}

#[tokio::test]
async fn whoever_may_not_push_is_told_in_the_registrys_words() {
    let directory = tempfile::tempdir().unwrap();
    let basic = Access::Basic {
        username: "me",
        password: "pass",
    };
    let real = RealRegistry::start(&directory.path().join("basic"), &basic, &Protocol::Http);
    let content = Pieces::new(noise(10));
    for (credentials, words) in [
        (Credentials::default(), "no basic auth credentials"),
        (account("me", "wrong"), "unauthorized: authentication required"),
    ] {
        let one = destination(&real.domain(), "one", credentials).await;
        assert_eq!(one.upload(&content).await.unwrap_err().plain(), words);
        let put = one.put_blob(Bytes::from_static(b"x")).await;
        assert_eq!(put.unwrap_err().plain(), words);
    }
    let tokens = TokenServer::start(&directory.path().join("tokens"), Policy::Anonymous);
    let real = RealRegistry::start(
        &directory.path().join("bearer"),
        &Access::Bearer(&tokens),
        &Protocol::Http,
    );
    let one = destination(&real.domain(), "one", Credentials::default()).await;
    let error = one.upload(&content).await.unwrap_err();
    assert_eq!(error.plain(), "denied: requested access to the resource is denied");
    assert!(
        tokens.server.requests()[0]
            .query
            .contains("scope=repository%3Aone%3Apull%2Cpush")
    );
}

#[tokio::test]
async fn what_was_uploaded_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let real = RealRegistry::start(&directory.path().join("open"), &Access::Open, &Protocol::Http);
    let content = Pieces::new(noise(2_000_000));
    let digest = upload_to(&real, &content).await;
    let descriptor = conex_registry::Descriptor {
        media_type: String::new(),
        digest,
        size: content.bytes.len() as u64,
    };
    let repository = Reference::parse(&format!("{}/one", real.domain())).unwrap();
    let blob = anonymous().blob(&repository, &descriptor, 0).await.unwrap();
    let pieces: Vec<Bytes> = blob.stream.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), content.bytes);
}

/// Through a proxy that breaks off twice.
async fn upload_to(real: &RealRegistry, content: &Pieces) -> Digest {
    let proxy = breaking_off(real.address, 700_000, 2);
    let one = destination(&proxy.to_string(), "one", Credentials::default()).await;
    let uploaded = one.upload(content).await.unwrap();
    assert_eq!(content.counts().1, 2);
    uploaded.digest
}

/// Uploads through each fault; `most` is what may go over the wire, in twentieths of what is uploaded.
async fn through_faults(target: SocketAddr, most: u64) {
    let moment = Ill::Delay(std::time::Duration::from_millis(200));
    for (number, (request, ill)) in [
        ("POST ", moment),
        ("POST ", Ill::CutHead),
        ("PATCH ", Ill::CutRequest(2_000_000)),
        ("PATCH ", Ill::CutHead),
        ("PATCH ", Ill::Cut(0)),
        ("PUT ", Ill::CutHead),
        ("GET /v2/", Ill::CutHead),
    ]
    .into_iter()
    .enumerate()
    {
        let proxy = Proxy::before(target);
        let mut bytes = noise(3_000_000);
        bytes.push(u8::try_from(number).unwrap());
        let content = Pieces::new(bytes);
        let one = destination(&proxy.domain(), "one", Credentials::default()).await;
        proxy.order(request, ill, 1);
        if request == "GET /v2/" {
            // What asks how far an upload came fares ill too.
            proxy.order("PATCH ", Ill::CutRequest(2_000_000), 1);
        }
        let uploaded = one.upload(&content).await.unwrap();
        assert_eq!(uploaded.digest, Digest::of(&content.bytes), "{ill:?}");
        let direct = destination(&target.to_string(), "one", Credentials::default()).await;
        let size = content.bytes.len() as u64;
        assert_eq!(direct.blob_size(&uploaded.digest).await.unwrap(), Some(size), "{ill:?}");
        assert_eq!(proxy.outstanding(), 0, "{request} {ill:?}");
        assert!(proxy.up() < size * most / 20, "{request} {ill:?}: {}", proxy.up());
    }
}

#[tokio::test]
async fn an_upload_comes_right_through_every_fault_and_hardly_anything_goes_twice() {
    let (server, _) = Taking::default().start();
    through_faults(server.address, 22).await;
}

#[tokio::test]
async fn the_real_registry_forgets_what_broke_off_and_gets_it_anew() {
    let directory = tempfile::tempdir().unwrap();
    let real = RealRegistry::start(&directory.path().join("open"), &Access::Open, &Protocol::Http);
    through_faults(real.address, 42).await;
}

#[tokio::test]
async fn a_least_length_of_chunks_is_kept() {
    let (server, state) = Taking {
        least: 1_000_000,
        ..Taking::default()
    }
    .start();
    let content = Pieces::new(noise(3_000_000));
    let digest = upload(server.address, &content).await.unwrap();
    assert_eq!(state.lock().unwrap().blobs[&digest.to_string()], content.bytes);
    // All of it is one chunk, however small its pieces are.
    assert_eq!(methods(&server), ["POST", "PATCH", "PUT"]);
    let content = Pieces::new(noise(3_000_000));
    let digest = upload(breaking_off(server.address, 1_500_000, 1), &content)
        .await
        .unwrap();
    assert_eq!(state.lock().unwrap().blobs[&digest.to_string()], content.bytes);
}
