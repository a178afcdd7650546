//! What a container costs the processors: time of all processes of the engine, counted by a control group.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use conex_sys::process::time_of_children;
use conex_tests::{Engine, Sandbox, dist};

use crate::operations::cleaned;

/// Runs that are counted.
const RUNS: u32 = 200;

/// Milliseconds of a `run --rm`.
pub(crate) fn run() -> String {
    let sandbox = Sandbox::with_busybox(Engine::Conex);
    let counter = Counter::new();
    // Monitors are born where the template is. Containers are beside them.
    sandbox.usage().iter().for_each(|usage| counter.take(usage.pid));
    let containers = hierarchy().join(sandbox.cgroup_parent());
    let total = |counted: &[&Path]| counted.iter().map(|group| spent(group)).sum::<f64>();
    let run = || {
        let mut conex = Command::new(dist().join("conex"));
        conex.env("DOCKER_HOST", format!("unix://{}", sandbox.socket().display()));
        conex.args(["run", "--rm", "busybox", "true"]).stdin(Stdio::null());
        assert!(conex.status().unwrap().success());
    };
    // Makes the parent of containers' groups, and fills the pools.
    (0..5).for_each(|_| run());
    let groups = [counter.0.as_path(), containers.as_path()];
    let before = (total(&groups), time_of_children().unwrap());
    (0..RUNS).for_each(|_| run());
    let each = |milliseconds: f64| milliseconds / f64::from(RUNS);
    let client = each((time_of_children().unwrap() - before.1).as_secs_f64() * 1e3);
    cleaned(&sandbox);
    let engine = each(total(&groups) - before.0);
    drop(sandbox);
    format!(
        "{:.1} ms, of which {client:.1} ms are the client's (promised: 12 ms)",
        engine + client
    )
}

/// A control group that counts time.
struct Counter(PathBuf);

impl Counter {
    fn new() -> Self {
        let group = hierarchy().join(format!("conex-bench-{}", std::process::id()));
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
