//! Transfers through a proxy that delays, cuts, stalls, throttles and corrupts; what went over the wire is counted.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/client.rs"]
mod client;
#[path = "support/registries.rs"]
mod registries;

use std::time::{Duration, Instant};

use conex_reference::Reference;
use conex_registry::{
    Client, ClientConfig, Credentials, ErrorKind, HttpRegistry, Limits, Registry as _, RegistryError,
};
use futures_util::StreamExt as _;

use crate::client::{config, descriptor};
use crate::registries::faulty::{Fault, Faulty};
use crate::registries::http::Reply;
use crate::registries::image::{Content, OCI_LAYER_GZIP};
use crate::registries::proxy::{Ill, Proxy};

const MIB: u64 = 1 << 20;

/// Bytes that look like nothing.
fn noise(length: u64) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A registry that has a blob.
fn with_blob(bytes: &[u8]) -> Faulty {
    let faulty = Faulty::start();
    faulty.add_blob(&Content::new(OCI_LAYER_GZIP, bytes));
    faulty
}

fn registry(connections: usize) -> HttpRegistry {
    let config = ClientConfig {
        limits: Limits {
            connections,
            ..config().limits
        },
        ..config()
    };
    Client::new(config).unwrap().registry(Credentials::default())
}

async fn fetch(registry: &HttpRegistry, domain: &str, bytes: &[u8], offset: u64) -> Result<Vec<u8>, RegistryError> {
    let reference = Reference::parse(&format!("{domain}/a")).unwrap();
    let mut stream = registry.blob(&reference, &descriptor(bytes), offset).await?.stream;
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

fn ranges(faulty: &Faulty) -> Vec<String> {
    let requests = faulty.server.requests();
    let blobs = requests.iter().filter(|request| request.path.contains("/blobs/"));
    blobs
        .map(|request| request.header("range").unwrap_or("all").to_owned())
        .collect()
}

#[tokio::test]
async fn a_blob_comes_right_through_every_fault_but_one() {
    let bytes = noise(3 * MIB);
    let faulty = with_blob(&bytes);
    for (ill, again) in [
        (Ill::Delay(Duration::from_millis(200)), 0),
        (Ill::CutHead, 0),
        (Ill::Cut(0), 0),
        (Ill::Cut(2_000_000), 0),
        (Ill::Stall(1_000_000), 0),
        (Ill::Trickle(1_000_000, Duration::from_millis(20)), 0),
    ] {
        let proxy = Proxy::before(faulty.server.address);
        proxy.order("/blobs/", ill, 1);
        let begun = Instant::now();
        assert_eq!(
            fetch(&registry(1), &proxy.domain(), &bytes, 0).await.unwrap(),
            bytes,
            "{ill:?}"
        );
        // What stands still or trickles is given up after 300 ms.
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{ill:?} {:?}",
            begun.elapsed()
        );
        assert_eq!(proxy.outstanding(), 0, "{ill:?}");
        // Nothing comes twice but heads, and what was on its way.
        let more = proxy.down() - bytes.len() as u64 - again;
        assert!(more < 100_000, "{ill:?}: {more}");
    }
    // What is corrupt is not seen here, and comes as long as it is; who stores it compares it.
    let proxy = Proxy::before(faulty.server.address);
    proxy.order("/blobs/", Ill::Corrupt(1_000_000), 1);
    let came = fetch(&registry(1), &proxy.domain(), &bytes, 0).await.unwrap();
    assert_eq!(came.len(), bytes.len());
    assert_eq!(came.iter().zip(&bytes).filter(|(one, other)| one != other).count(), 1);
}

#[tokio::test]
async fn a_registry_that_asks_to_wait_has_one_budget() {
    let bytes = noise(1000);
    for status in [429, 503] {
        let faulty = with_blob(&bytes);
        let reply = Reply::error(status, "TOOMANYREQUESTS", "slow down").header("Retry-After", "0");
        faulty.order("/blobs/", Fault::Instead(reply), usize::MAX);
        let error = fetch(&registry(3), &faulty.domain(), &bytes, 0).await.unwrap_err();
        let expected = if status == 429 {
            ErrorKind::TooManyRequests
        } else {
            ErrorKind::Unavailable
        };
        assert_eq!(error.kind(), expected, "{error}");
        assert_eq!(faulty.server.count("/blobs/"), 3);
        faulty.forget_orders();
        // As long as it asks for, within the budget.
        let reply = Reply::error(status, "TOOMANYREQUESTS", "slow down").header("Retry-After", "1");
        faulty.order("/blobs/", Fault::Instead(reply), 2);
        let begun = Instant::now();
        assert_eq!(fetch(&registry(3), &faulty.domain(), &bytes, 0).await.unwrap(), bytes);
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
        // Hours are refused at once.
        let reply = Reply::error(status, "TOOMANYREQUESTS", "slow down").header("Retry-After", "7200");
        faulty.order("/blobs/", Fault::Instead(reply), 1);
        let before = faulty.server.count("/blobs/");
        assert!(fetch(&registry(3), &faulty.domain(), &bytes, 0).await.is_err());
        assert_eq!(faulty.server.count("/blobs/"), before + 1);
    }
}

#[tokio::test]
async fn a_large_blob_comes_by_several_connections_where_each_is_slow() {
    let bytes = noise(40 * MIB);
    let faulty = with_blob(&bytes);
    let mut took = Vec::new();
    for connections in [1, 4] {
        let proxy = Proxy::throttled(faulty.server.address, 10 * MIB);
        let begun = Instant::now();
        let came = fetch(&registry(connections), &proxy.domain(), &bytes, 0).await.unwrap();
        took.push(begun.elapsed());
        assert!(came == bytes);
        assert!(proxy.down() < bytes.len() as u64 + 100_000, "{}", proxy.down());
        assert!(proxy.most() <= connections as u64 + 1, "{}", proxy.most());
    }
    assert!(took[1] < took[0] * 6 / 10, "{took:?}");
}

#[tokio::test]
async fn a_large_blob_whose_reader_is_slow_comes_by_one() {
    let bytes = noise(40 * MIB);
    let faulty = with_blob(&bytes);
    let reference = Reference::parse(&format!("{}/a", faulty.domain())).unwrap();
    let registry = registry(4);
    let mut stream = registry.blob(&reference, &descriptor(&bytes), 0).await.unwrap().stream;
    let mut count = 0;
    while let Some(piece) = stream.next().await {
        count += piece.unwrap().len();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(count, bytes.len());
    let parts: Vec<String> = (0..5)
        .map(|part: u64| match part {
            4 => format!("bytes={}-", 32 * MIB),
            _ => format!("bytes={}-{}", part * 8 * MIB, (part + 1) * 8 * MIB - 1),
        })
        .collect();
    assert_eq!(ranges(&faulty), parts);
}

#[tokio::test]
async fn parts_that_fare_ill_are_gone_on_with() {
    let bytes = noise(40 * MIB);
    let faulty = with_blob(&bytes);
    for ill in [Ill::CutHead, Ill::Cut(3_000_000), Ill::Stall(3_000_000)] {
        let proxy = Proxy::throttled(faulty.server.address, 10 * MIB);
        // The third part.
        proxy.order(&format!("range: bytes={}-", 16 * MIB), ill, 1);
        // From somewhere in the first part on, as after a kill.
        let came = fetch(&registry(3), &proxy.domain(), &bytes, 12_345).await.unwrap();
        assert!(came == bytes[12_345..], "{ill:?}");
        assert!(
            proxy.down() < bytes.len() as u64 + 2_000_000,
            "{ill:?} {}",
            proxy.down()
        );
    }
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_or_lies_is_coped_with() {
    let bytes = noise(40 * MIB);
    let faulty = with_blob(&bytes);
    // It never gives parts.
    faulty.order("/blobs/", Fault::IgnoreRange, usize::MAX);
    let proxy = Proxy::throttled(faulty.server.address, 40 * MIB);
    assert!(fetch(&registry(4), &proxy.domain(), &bytes, 0).await.unwrap() == bytes);
    assert_eq!(ranges(&faulty).len(), 1);
    // It refuses to give parts, or does not say which they are.
    for reply in [
        Reply::error(416, "UNSUPPORTED", "no ranges"),
        Reply::new(206, "text/plain", &bytes[..8 << 20]),
    ] {
        let faulty = with_blob(&bytes);
        faulty.order("/blobs/", Fault::Instead(reply), 1);
        assert!(fetch(&registry(4), &faulty.domain(), &bytes, 0).await.unwrap() == bytes);
        assert_eq!(ranges(&faulty).last().unwrap(), "all");
    }
    // It gives the first part, and then everything.
    let faulty = with_blob(&bytes);
    let proxy = Proxy::throttled(faulty.server.address, 20 * MIB);
    let (two, domain) = (registry(2), proxy.domain());
    let fetching = fetch(&two, &domain, &bytes, 0);
    let spoiling = async {
        while faulty.server.count("/blobs/") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        faulty.order("/blobs/", Fault::IgnoreRange, usize::MAX);
    };
    let (came, ()) = tokio::join!(fetching, spoiling);
    assert!(came.unwrap() == bytes);
    // It says that there is more than there is to be.
    let mut longer = bytes.clone();
    longer.push(7);
    let lying = Reply::new(206, "text/plain", longer).header("Content-Range", "bytes 0-8388607/41943041");
    let faulty = with_blob(&bytes);
    faulty.order("/blobs/", Fault::Instead(lying), usize::MAX);
    let error = fetch(&registry(4), &faulty.domain(), &bytes, 0).await.unwrap_err();
    assert!(error.to_string().contains("its descriptor says"), "{error}");
}

#[tokio::test]
async fn what_a_registry_tells_of_its_limits_is_known() {
    let faulty = with_blob(b"x");
    let manifest = || Reply::new(200, "application/json", "{}").header("RateLimit-Limit", "100;w=21600");
    let reply = manifest().header("RateLimit-Remaining", "9;w=21600");
    faulty.order("/manifests/", Fault::Instead(reply), 1);
    let reference = Reference::parse(&format!("{}/a", faulty.domain())).unwrap();
    let registry = registry(1);
    assert_eq!(registry.quota(), None);
    registry.manifest(&reference).await.unwrap();
    assert_eq!(registry.quota().unwrap().to_string(), "9 of 100 pulls left in 6 h");
    let words = "You have reached your unauthenticated pull rate limit.";
    let reply = Reply::error(429, "TOOMANYREQUESTS", words)
        .header("ratelimit-limit", "100;w=21600")
        .header("ratelimit-remaining", "0;w=21600")
        .header("retry-after", "7200");
    faulty.order("/manifests/", Fault::Instead(reply), 1);
    let error = registry.manifest(&reference).await.unwrap_err();
    let text = format!("toomanyrequests: {words} (0 of 100 pulls left in 6 h, try again at 20");
    assert!(error.to_string().starts_with(&text), "{error}");
    assert_eq!(error.kind(), ErrorKind::TooManyRequests);
}
