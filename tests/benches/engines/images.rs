//! Images of some size: pulled, loaded, saved, and a thousand of them listed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use conex_tests::{Engine, Sandbox, archive_from, layer_of};
use sha2::{Digest, Sha256};

use crate::median;
use crate::registries::image::{Content, DOCKER_CONFIG, DOCKER_LAYER, Image};
use crate::registries::real::{Access, Protocol, RealRegistry};

/// Parts of this machine that become a layer each.
const PARTS: [&str; 7] = [
    "usr/bin",
    "usr/sbin",
    "usr/include",
    "usr/lib/gcc",
    "usr/lib/python3",
    "usr/share/doc",
    "usr/lib/git-core",
];

/// Rounds of what takes seconds.
const ROUNDS: usize = 5;

/// What a round took of time and of the processor.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    processor: f64,
}

/// Carries something out and tells what it cost the daemon, with its children that ended.
fn cost(sandbox: &Sandbox, act: impl FnOnce(&Sandbox)) -> Cost {
    let (before, processor) = (Instant::now(), sandbox.processor_time());
    act(sandbox);
    Cost {
        seconds: before.elapsed().as_secs_f64(),
        processor: (sandbox.processor_time() - processor).as_secs_f64(),
    }
}

fn reference() -> Engine {
    let root = std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
    Engine::Reference(root.into())
}

fn layers() -> Vec<Vec<u8>> {
    let there = PARTS.iter().filter(|part| Path::new("/").join(part).is_dir());
    let packed = there.map(|part| {
        let tar = Command::new("tar")
            .args(["--numeric-owner", "-C", "/", "-cf", "-", part])
            .output();
        tar.unwrap().stdout
    });
    packed.collect()
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .arg("-n")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = gzip.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).unwrap());
        let mut zipped = Vec::new();
        gzip.stdout.take().unwrap().read_to_end(&mut zipped).unwrap();
        gzip.wait().unwrap();
        zipped
    })
}

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!(
        "sha256:{}",
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    )
}

/// A pull of both engines beside the floor: curl, igzip and tar for each layer, two at a time, then a sync.
pub(crate) fn pull() -> String {
    let dir = tempfile::tempdir().unwrap();
    let registry = RealRegistry::start(&dir.path().join("registry"), &Access::Open, &Protocol::Http);
    let layers = layers();
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("{:?}", sha256(layer))).collect();
    let rootfs = format!(r#"{{"type":"layers","diff_ids":[{}]}}"#, diff_ids.join(","));
    let config = format!(r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{rootfs}}}"#);
    let image = Image {
        config: Content::new(DOCKER_CONFIG, config),
        layers: layers
            .iter()
            .map(|layer| Content::new(DOCKER_LAYER, zipped(layer)))
            .collect(),
    };
    drop(layers);
    registry.pusher("large", None).image(&image, "latest");
    let blobs: Vec<String> = image.layers.iter().map(|layer| layer.digest().to_string()).collect();
    let compressed: usize = image.layers.iter().map(|layer| layer.bytes.len()).sum();
    drop(image);
    let name = format!("{}/large", registry.domain());
    let theirs = Sandbox::with_busybox_beside_registries(reference());
    let ours = Sandbox::with_busybox_beside_registries(Engine::Conex);
    let pulled = |sandbox: &Sandbox| {
        let cost = cost(sandbox, |sandbox| drop(sandbox.ok(&["pull", "-q", &name])));
        sandbox.ok(&["rmi", &name]);
        cost
    };
    let rounds = (0..=ROUNDS).map(|_| (floor(dir.path(), &registry, &blobs), pulled(&theirs), pulled(&ours)));
    let rounds: Vec<(f64, Cost, Cost)> = rounds.skip(1).collect();
    let of = |ratio: &dyn Fn(&(f64, Cost, Cost)) -> f64| median(rounds.iter().map(ratio));
    format!(
        "of {} MB: floor {:.2} s, Docker {:.2} s, Conex {:.2} s: {:.2} times the floor (promised: 1), {:.2} of Docker's \
         processor time (promised: 0.33; {:.2} s of {:.2} s)",
        compressed >> 20,
        of(&|round| round.0),
        of(&|round| round.1.seconds),
        of(&|round| round.2.seconds),
        of(&|round| round.2.seconds / round.0),
        of(&|round| round.2.processor / round.1.processor),
        of(&|round| round.2.processor),
        of(&|round| round.1.processor),
    )
}

/// Seconds that plain tools need.
fn floor(dir: &Path, registry: &RealRegistry, blobs: &[String]) -> f64 {
    let target = dir.join("floor");
    fs::create_dir(&target).unwrap();
    let one = format!(
        "mkdir '{0}'/$1 && curl -sfL 'http://{1}/v2/large/blobs/'$1 | igzip -dc | tar -x --numeric-owner -f - -C '{0}'/$1",
        target.display(),
        registry.address
    );
    let before = Instant::now();
    let mut all = Command::new("xargs");
    all.args(["-P", "2", "-I{}", "sh", "-c", &one, "_", "{}"])
        .stdin(Stdio::piped());
    let mut all = all.spawn().unwrap();
    all.stdin
        .take()
        .unwrap()
        .write_all(blobs.join("\n").as_bytes())
        .unwrap();
    assert!(all.wait().unwrap().success());
    assert!(Command::new("sync").arg("-f").arg(&target).status().unwrap().success());
    let seconds = before.elapsed().as_secs_f64();
    fs::remove_dir_all(&target).unwrap();
    seconds
}

/// A docker-archive of some size.
fn archive(dir: &Path) -> PathBuf {
    let path = dir.join("large.tar");
    let layers = layers();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    fs::write(
        &path,
        archive_from(&["large:latest"], r#""config":{},"history":[]"#, &layers),
    )
    .unwrap();
    path
}

/// Sends a request and reads its whole answer, which it does not keep.
fn exchanged(sandbox: &Sandbox, head: &str, body: Option<&Path>) -> (Vec<u8>, u64) {
    let mut stream = UnixStream::connect(sandbox.socket()).unwrap();
    let length = body.map_or(0, |body| fs::metadata(body).unwrap().len());
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    if let Some(body) = body {
        io::copy(&mut File::open(body).unwrap(), &mut stream).unwrap();
    }
    let mut buffer = vec![0; 1 << 20];
    let (mut first, mut total) = (Vec::new(), 0);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return (first, total);
        }
        if first.len() < 4096 {
            first.extend_from_slice(&buffer[..count.min(4096)]);
        }
        total += count as u64;
    }
}

/// Both engines in turn.
fn compared(promised: &str, prepare: impl Fn(&Sandbox), act: impl Fn(&Sandbox)) -> String {
    let theirs = Sandbox::with_busybox(reference());
    let ours = Sandbox::with_busybox(Engine::Conex);
    let one = |sandbox: &Sandbox| {
        prepare(sandbox);
        cost(sandbox, &act)
    };
    let rounds: Vec<(Cost, Cost)> = (0..=ROUNDS).map(|_| (one(&theirs), one(&ours))).skip(1).collect();
    format!(
        "Docker {:.2} s, Conex {:.2} s: {:.1} times as fast (promised: {promised}), {:.2} of its processor time",
        median(rounds.iter().map(|(theirs, _)| theirs.seconds)),
        median(rounds.iter().map(|(_, ours)| ours.seconds)),
        median(rounds.iter().map(|(theirs, ours)| theirs.seconds / ours.seconds)),
        median(rounds.iter().map(|(theirs, ours)| ours.processor / theirs.processor)),
    )
}

pub(crate) fn load() -> String {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive(dir.path());
    let prepare = |sandbox: &Sandbox| drop(sandbox.docker(&["rmi", "large"]));
    compared("4", prepare, |sandbox| {
        let (answer, _) = exchanged(sandbox, "POST /v1.50/images/load?quiet=1", Some(&archive));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("Loaded image: large:latest"), "{answer}");
    })
}

pub(crate) fn save() -> String {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive(dir.path());
    let size = fs::metadata(&archive).unwrap().len();
    let prepare = |sandbox: &Sandbox| {
        if sandbox.docker(&["image", "inspect", "large"]).code != 0 {
            exchanged(sandbox, "POST /v1.50/images/load?quiet=1", Some(&archive));
        }
    };
    compared("8", prepare, |sandbox| {
        let (answer, total) = exchanged(sandbox, "GET /v1.50/images/large/get", None);
        assert!(
            answer.starts_with(b"HTTP/1.1 200") && total >= size,
            "{total} of {size}"
        );
    })
}

/// A list of a thousand images.
pub(crate) fn list() -> String {
    let sandbox = Sandbox::empty();
    let path = sandbox.dir().join("thousand.tar");
    fs::write(&path, thousand()).unwrap();
    sandbox.ok(&["load", "-q", "-i", path.to_str().unwrap()]);
    let times = (0..=50).map(|_| {
        let before = Instant::now();
        let (_, total) = exchanged(&sandbox, "GET /v1.50/images/json", None);
        assert!(total > 200_000, "{total}");
        before.elapsed()
    });
    let times: Vec<Duration> = times.skip(1).collect();
    let milliseconds = median(times.iter().map(|time| time.as_secs_f64() * 1e3));
    format!("a thousand images in {milliseconds:.2} ms (promised: 10 ms)")
}

/// A docker-archive of a thousand images with the same layer.
fn thousand() -> Vec<u8> {
    let layer = layer_of(&[("file", b"x")]);
    let diff_id = sha256(&layer);
    let mut members: HashMap<String, Vec<u8>> = HashMap::from([("layer.tar".to_owned(), layer)]);
    let images = (0..1000).map(|number| {
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","config":{{"Labels":{{"n":"{number}"}}}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        members.insert(format!("{number}.json"), config.into_bytes());
        format!(r#"{{"Config":"{number}.json","RepoTags":["image{number}:latest"],"Layers":["layer.tar"]}}"#)
    });
    let manifest = format!("[{}]", images.collect::<Vec<_>>().join(","));
    members.insert("manifest.json".to_owned(), manifest.into_bytes());
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in &members {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}
