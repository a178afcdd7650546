//! What health checks cost: time of the processors while nothing else is done.

use std::fs;
use std::thread;
use std::time::Duration;

use conex_tests::{Engine, Sandbox};

use crate::operations::{cleaned, started};

/// Containers with a check each second, as promised.
const CONTAINERS: usize = 100;

/// As many as the reference can do on two cores.
const FEW: usize = 10;

/// How long is measured.
const TIME: Duration = Duration::from_secs(20);

/// Percents of a core that a hundred containers take, and that a check costs on either engine.
pub(crate) fn cost() -> String {
    let root = std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
    let theirs = checked(&Sandbox::with_busybox(Engine::Reference(root.into())), FEW);
    let ours = checked(&Sandbox::with_busybox(Engine::Conex), FEW);
    let all = checked(&Sandbox::with_busybox(Engine::Conex), CONTAINERS);
    let each = |cost: &Cost, containers: usize| cost.all * 10.0 / containers as f64;
    format!(
        "{CONTAINERS} containers, a check each second: {:.1} % of a core, {:.1} % of it the daemon's (promised: 3 %); a check \
         costs {:.1} ms, of {FEW} {:.1} ms, with Docker {:.1} ms",
        all.all,
        all.daemon,
        each(&all, CONTAINERS),
        each(&ours, FEW),
        each(&theirs, FEW)
    )
}

/// Percents of a core.
struct Cost {
    /// Of everything, less what the machine takes without checks.
    all: f64,
    daemon: f64,
}

fn checked(sandbox: &Sandbox, containers: usize) -> Cost {
    let idle = spent(sandbox);
    for _ in 0..containers {
        let body = r#"{"Image":"busybox","Cmd":["sleep","100000"],"HostConfig":{"NetworkMode":"none"},
            "Healthcheck":{"Test":["CMD","true"],"Interval":1000000000}}"#;
        let (status, answer) = sandbox.request("POST", "/v1.47/containers/create", body);
        assert_eq!(status, 201, "{answer}");
        started(sandbox, &answer[r#"{"Id":""#.len()..][..64]);
    }
    // The first checks come after a second.
    thread::sleep(Duration::from_secs(3));
    let busy = spent(sandbox);
    cleaned(sandbox);
    Cost {
        all: busy.all - idle.all,
        daemon: busy.daemon,
    }
}

/// What is spent meanwhile (proc_stat(5), proc_pid_stat(5)), in ticks of a hundredth of a second.
fn spent(sandbox: &Sandbox) -> Cost {
    let all = || {
        let text = fs::read_to_string("/proc/stat").unwrap();
        let words = text.lines().next().unwrap().split_whitespace().skip(1);
        let ticks: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        // Without idle and iowait.
        ticks[..8].iter().sum::<u64>() - ticks[3] - ticks[4]
    };
    let daemon = || {
        let text = fs::read_to_string(format!("/proc/{}/stat", sandbox.daemon_usage().pid)).unwrap();
        let words = text.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks: Vec<u64> = words.skip(11).take(2).map(|word| word.parse().unwrap()).collect();
        ticks[0] + ticks[1]
    };
    let before = (all(), daemon());
    thread::sleep(TIME);
    let percent = |ticks: u64| ticks as f64 / TIME.as_secs_f64();
    Cost {
        all: percent(all() - before.0),
        daemon: percent(daemon() - before.1),
    }
}
