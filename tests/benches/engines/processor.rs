//! What a container costs the processors: time of all processes of the engine, counted by a control group.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use conex_sys::process::time_of_children;
use conex_tests::{Engine, Sandbox, dist};

use crate::operations::cleaned;

/// Rounds of both engines in turn, and the runs of each in a round.
const ROUNDS: u32 = 8;
const RUNS: u32 = 25;

/// What an engine makes ready again is ready after as long.
const SETTLES: Duration = Duration::from_millis(200);

/// Milliseconds of a `run --rm`, of each engine with the client that comes with it.
pub(crate) fn run() -> String {
    let root = std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
    let mut theirs = Counted::new(Engine::Reference(root.into()), Path::new("docker"));
    let mut ours = Counted::new(Engine::Conex, &dist().join("conex"));
    for _ in 0..ROUNDS {
        theirs.round();
        ours.round();
    }
    let (theirs, ours) = (theirs.each(), ours.each());
    format!(
        "{:.1} ms: {:.1} the engine's, {:.1} the client's (promised: 12 ms); with Docker {:.1} ms: {:.1} and {:.1}",
        ours.0 + ours.1,
        ours.0,
        ours.1,
        theirs.0 + theirs.1,
        theirs.0,
        theirs.1
    )
}

/// An engine, and what its runs took so far in milliseconds.
struct Counted {
    sandbox: Sandbox,
    client: PathBuf,
    counter: Counter,
    engine_took: f64,
    client_took: f64,
}

impl Counted {
    fn new(engine: Engine, client: &Path) -> Self {
        let sandbox = Sandbox::with_busybox(engine);
        let counter = Counter::new(sandbox.cgroup_parent());
        // Monitors are born where the template is, and Docker's shims where containerd is. Containers are beside them.
        sandbox.usage().iter().for_each(|usage| counter.take(usage.pid));
        let counted = Self {
            sandbox,
            client: client.to_owned(),
            counter,
            engine_took: 0.0,
            client_took: 0.0,
        };
        // Makes the parent of containers' groups, and fills the pools.
        (0..5).for_each(|_| counted.run());
        counted
    }

    fn run(&self) {
        let mut client = Command::new(&self.client);
        client.env("DOCKER_HOST", format!("unix://{}", self.sandbox.socket().display()));
        client.args(["run", "--rm", "busybox", "true"]).stdin(Stdio::null());
        assert!(client.status().unwrap().success());
    }

    fn round(&mut self) {
        let before = (self.spent(), time_of_children().unwrap());
        (0..RUNS).for_each(|_| self.run());
        self.client_took += (time_of_children().unwrap() - before.1).as_secs_f64() * 1e3;
        // With what follows in the background.
        cleaned(&self.sandbox);
        thread::sleep(SETTLES);
        self.engine_took += self.spent() - before.0;
    }

    fn spent(&self) -> f64 {
        spent(&self.counter.0) + spent(&hierarchy().join(self.sandbox.cgroup_parent()))
    }

    /// Of the engine and of the client, for each run.
    fn each(self) -> (f64, f64) {
        let runs = f64::from(ROUNDS * RUNS);
        (self.engine_took / runs, self.client_took / runs)
    }
}

/// A control group that counts time.
struct Counter(PathBuf);

impl Counter {
    fn new(name: &str) -> Self {
        let group = hierarchy().join(format!("{name}-counted"));
        fs::create_dir(&group).unwrap();
        Self(group)
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // The sandbox has ended what was in it.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Where groups count: version 1's own hierarchy, or the one of version 2.
fn hierarchy() -> &'static Path {
    let first = Path::new("/sys/fs/cgroup/cpuacct");
    if first.exists() {
        first
    } else {
        Path::new("/sys/fs/cgroup")
    }
}

/// Milliseconds that a group and those below it took, those that are gone as well.
fn spent(group: &Path) -> f64 {
    if let Ok(nanoseconds) = fs::read_to_string(group.join("cpuacct.usage")) {
        return nanoseconds.trim().parse::<f64>().unwrap() / 1e6;
    }
    let text = fs::read_to_string(group.join("cpu.stat")).unwrap();
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    usage.unwrap().parse::<f64>().unwrap() / 1e3
}
