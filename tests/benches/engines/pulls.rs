//! Pulls from registries on loopback, some through a proxy that is slow.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use conex_tests::{Engine, Sandbox, compressed, config_of, layer_of, noise};

use crate::median;
use crate::registries::image::{Content, Image, OCI_CONFIG, OCI_LAYER_GZIP};
use crate::registries::proxy::Proxy;
use crate::registries::real::{Access, Protocol, RealRegistry};

/// Layers that are here, and how long each is.
const PRESENT: u64 = 6;
const PRESENT_BYTES: usize = 4 << 20;

/// Bytes of a layer that is large, and how many of it a slow connection brings a second.
const LARGE: usize = 128 << 20;
const SLOW: u64 = 16 << 20;

fn image(layers: &[Vec<u8>]) -> Image {
    let plain: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    Image {
        config: Content::new(OCI_CONFIG, config_of(&plain)),
        layers: layers
            .iter()
            .map(|layer| Content::new(OCI_LAYER_GZIP, compressed("gzip -1", layer)))
            .collect(),
    }
}

fn pulled(sandbox: &Sandbox, name: &str) -> Duration {
    let before = Instant::now();
    let (status, said) = sandbox.request("POST", &format!("/v1.50/images/create?fromImage={name}"), "");
    let time = before.elapsed();
    assert!(status == 200 && said.contains("Status: "), "{said}");
    time
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// An image of which all but one small layer is here, and one of such a layer alone.
pub(crate) fn of_one_layer() -> String {
    const ROUNDS: u64 = 20;
    let sandbox = Sandbox::beside_registries_with(Engine::Conex, &[]);
    let registry = RealRegistry::start(&sandbox.dir().join("registry"), &Access::Open, &Protocol::Http);
    let base: Vec<Vec<u8>> = (0..PRESENT)
        .map(|number| layer_of(&[(&format!("base{number}"), &noise(PRESENT_BYTES, number))]))
        .collect();
    registry.pusher("base", None).image(&image(&base), "latest");
    pulled(&sandbox, &format!("{}/base:latest", registry.domain()));
    let (mut alone, mut more) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let small = |seed: u64| layer_of(&[("small", &noise(10_000, 1000 + 2 * round + seed))]);
        let upon = [&base[..], &[small(0)]].concat();
        for (name, image, times) in [
            ("upon", image(&upon), &mut more),
            ("alone", image(&[small(1)]), &mut alone),
        ] {
            registry.pusher(name, None).image(&image, &format!("v{round}"));
            let time = pulled(&sandbox, &format!("{}/{name}:v{round}", registry.domain()));
            // The first round is the warm-up.
            times.extend((round > 0).then(|| milliseconds(time)));
        }
    }
    let most = more.iter().copied().fold(0.0, f64::max);
    let (alone, more) = (median(alone.into_iter()), median(more.into_iter()));
    format!(
        "{more:.1} ms, {most:.1} ms at most; the layer alone {alone:.1} ms: {:.1} ms more (promised: 60 ms)",
        more - alone
    )
}

/// A large layer by one connection and by three, where each is slow and where none is.
pub(crate) fn of_a_large_layer() -> String {
    let directory = tempfile::tempdir().unwrap();
    let registry = RealRegistry::start(&directory.path().join("registry"), &Access::Open, &Protocol::Http);
    let large = image(&[layer_of(&[("large", &noise(LARGE, 1))])]);
    registry.pusher("large", None).image(&large, "latest");
    let one = Sandbox::beside_registries_with(Engine::Conex, &["--max-concurrent-downloads", "1"]);
    let three = Sandbox::beside_registries_with(Engine::Conex, &[]);
    let compared = |address: SocketAddr, rounds: usize| {
        let name = format!("{address}/large:latest");
        let time = |sandbox: &Sandbox| {
            let time = pulled(sandbox, &name);
            sandbox.ok(&["rmi", &name]);
            time.as_secs_f64()
        };
        // The first round is the warm-up.
        let pairs: Vec<(f64, f64)> = (0..=rounds).map(|_| (time(&one), time(&three))).skip(1).collect();
        let times = |of: fn(&(f64, f64)) -> f64| median(pairs.iter().map(of));
        (
            times(|pair| pair.0),
            times(|pair| pair.1),
            times(|pair| pair.0 / pair.1),
        )
    };
    let slow = Proxy::throttled(registry.address, SLOW);
    let (one_slow, three_slow, times) = compared(slow.address, 3);
    let (one_fast, three_fast, fast) = compared(registry.address, 9);
    format!(
        "{times:.2} times as fast as by one connection where each brings {} MiB/s ({one_slow:.2} s against {three_slow:.2} s); \
         {fast:.2} times on loopback ({one_fast:.3} s against {three_fast:.3} s)",
        SLOW >> 20
    )
}
