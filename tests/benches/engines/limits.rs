//! What limits cost: to set them, and to watch what is used of them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use conex_tests::{Engine, Sandbox};
use serde_json::{Value, json};

use crate::median;
use crate::operations::{cleaned, created, made, removed, started};

/// Containers that are watched, as promised.
const CONTAINERS: usize = 100;

/// How long the cost of watching is measured.
const TIME: Duration = Duration::from_secs(20);

/// Pairs of starts, one with every limit and one with none.
const PAIRS: usize = 60;

fn engines() -> [Sandbox; 2] {
    let root = std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
    [Engine::Reference(root.into()), Engine::Conex].map(Sandbox::with_busybox)
}

/// Percents of a core that it takes either engine to tell each second what a hundred containers use.
pub(crate) fn watch() -> String {
    let [theirs, ours] = engines().map(|sandbox| watched(&sandbox));
    format!(
        "{CONTAINERS} containers, read each second: {ours:.1} % of a core, with Docker {theirs:.1} % ({:.1} times; promised: 2 %)",
        theirs / ours
    )
}

fn watched(sandbox: &Sandbox) -> f64 {
    let ids: Vec<String> = (0..CONTAINERS)
        .map(|_| made(sandbox, &["sleep", "100000"], "bridge"))
        .collect();
    ids.iter().for_each(|id| started(sandbox, id));
    thread::sleep(Duration::from_secs(3));
    let idle = spent(sandbox);
    let streams: Vec<JoinHandle<usize>> = ids.iter().map(|id| watching(sandbox.socket().as_path(), id)).collect();
    thread::sleep(Duration::from_secs(3));
    let busy = spent(sandbox);
    // The streams end with their containers.
    cleaned(sandbox);
    let lines: usize = streams.into_iter().map(|stream| stream.join().unwrap()).sum();
    let least = CONTAINERS * usize::try_from(TIME.as_secs()).unwrap();
    assert!(lines >= least, "{lines} readings");
    busy - idle
}

/// Reads what a container uses until it is gone; tells how often that was said.
fn watching(socket: &Path, id: &str) -> JoinHandle<usize> {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("GET /v1.50/containers/{id}/stats?stream=1 HTTP/1.1\r\nHost: engine\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    thread::spawn(move || {
        let (mut told, mut buffer) = (0, [0; 16 * 1024]);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return told,
                Ok(count) => {
                    let text = String::from_utf8_lossy(&buffer[..count]);
                    told += text.matches("\"preread\"").count();
                    if text.ends_with("0\r\n\r\n") {
                        return told;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
    })
}

/// Percents of a core that the engine's processes spend meanwhile (proc_pid_stat(5)).
fn spent(sandbox: &Sandbox) -> f64 {
    let pids: Vec<u32> = sandbox.usage().iter().map(|usage| usage.pid).collect();
    let ticks = || pids.iter().map(|pid| ticks(*pid)).sum::<u64>();
    let before = ticks();
    thread::sleep(TIME);
    // Ticks of a hundredth of a second.
    (ticks() - before) as f64 / TIME.as_secs_f64()
}

fn ticks(pid: u32) -> u64 {
    // One that has ended counts no more; the engine's own do not.
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let words = text.rsplit_once(')').map_or("", |(_, words)| words).split_whitespace();
    words.skip(11).take(2).map(|word| word.parse::<u64>().unwrap()).sum()
}

/// Milliseconds that every limit adds to the start of a container, with either engine.
pub(crate) fn set() -> String {
    let [theirs, ours] = engines().map(|sandbox| added(&sandbox));
    format!("every limit adds {ours:.2} ms to a start, with Docker {theirs:.2} ms (promised: 2 ms)")
}

fn added(sandbox: &Sandbox) -> f64 {
    let every = every_limit();
    let time = |limits: &Value| {
        let mut host = json!({ "NetworkMode": "none" });
        host.as_object_mut()
            .unwrap()
            .extend(limits.as_object().unwrap().clone());
        let body = json!({ "Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": host });
        let id = created(sandbox, &body);
        let before = Instant::now();
        started(sandbox, &id);
        let time = before.elapsed();
        removed(sandbox, &id);
        time.as_secs_f64() * 1e3
    };
    // The first round is the warm-up.
    let pairs: Vec<f64> = (0..=PAIRS).map(|_| time(&every) - time(&json!({}))).skip(1).collect();
    cleaned(sandbox);
    median(pairs.into_iter())
}

/// Every limit that the kernel here has; real time is the daemon's to give.
fn every_limit() -> Value {
    let disks = fs::read_dir("/sys/block").unwrap().flatten();
    let mut disks = disks
        .map(|disk| Path::new("/dev").join(disk.file_name()))
        .filter(|disk| disk.exists());
    let rate = json!([{ "Path": disks.next().expect("a block device"), "Rate": 1_000_000 }]);
    json!({
        "Memory": 64 << 20, "MemoryReservation": 32 << 20, "MemorySwap": 128 << 20, "MemorySwappiness": 10, "OomKillDisable": true,
        "CpuShares": 512, "CpuPeriod": 100_000, "CpuQuota": 50_000, "CpusetCpus": "0", "CpusetMems": "0", "PidsLimit": 100,
        "BlkioDeviceReadBps": rate, "BlkioDeviceWriteBps": rate, "BlkioDeviceReadIOps": rate, "BlkioDeviceWriteIOps": rate,
        "DeviceCgroupRules": ["c 10:229 rwm"], "Ulimits": [{ "Name": "nofile", "Soft": 1024, "Hard": 1024 }]
    })
}
