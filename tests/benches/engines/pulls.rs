//! Pulls from registries on loopback, some through a proxy that is slow.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use conex_tests::{Engine, Sandbox, config_of, layer_of};

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

/// Bytes that no compression makes fewer; others for each seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(7);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(3)).flat_map(|_| next()[..3].to_vec()).collect();
    bytes.truncate(length);
    bytes
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .args(["-1", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    output
}

fn image(layers: &[Vec<u8>]) -> Image {
    let plain: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    Image {
        config: Content::new(OCI_CONFIG, config_of(&plain)),
        layers: layers
            .iter()
            .map(|layer| Content::new(OCI_LAYER_GZIP, compressed(layer)))
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
