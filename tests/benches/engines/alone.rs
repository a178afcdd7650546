//! What is promised of our engine as it is, and what takes too long for many rounds.

use std::time::{Duration, Instant};

use conex_tests::{Engine, Question, Sandbox};

use crate::operations::{cleaned, counted, ended, executed, made, started};

/// A figure, with its measurement in words.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) measure: fn() -> String,
}

pub(crate) const FIGURES: &[Figure] = &[
    Figure {
        name: "capture",
        measure: capture,
    },
    Figure {
        name: "receiver-down",
        measure: receiver_down,
    },
    Figure {
        name: "stopped-1000",
        measure: list_a_thousand,
    },
    Figure {
        name: "running-500",
        measure: find_five_hundred,
    },
    Figure {
        name: "health",
        measure: crate::health::cost,
    },
    Figure {
        name: "stats-100",
        measure: crate::limits::watch,
    },
    Figure {
        name: "limits",
        measure: crate::limits::set,
    },
    Figure {
        name: "run-processor",
        measure: crate::processor::run,
    },
    Figure {
        name: "pull",
        measure: crate::images::pull,
    },
    Figure {
        name: "load",
        measure: crate::images::load,
    },
    Figure {
        name: "save",
        measure: crate::images::save,
    },
    Figure {
        name: "images-1000",
        measure: crate::images::list,
    },
    Figure {
        name: "pull-one",
        measure: crate::pulls::of_one_layer,
    },
    Figure {
        name: "pull-large",
        measure: crate::pulls::of_a_large_layer,
    },
];

/// Short lines that are captured.
const LINES: usize = 20_000_000;

/// Time of the first line that a query of the log gives.
fn time_of(sandbox: &Sandbox, id: &str, query: &str) -> f64 {
    let path = format!("/v1.50/containers/{id}/logs?stdout=1&timestamps=1&{query}");
    let reply = sandbox.exchange(&Question {
        method: "GET",
        path: &path,
        headers: &[],
        body: b"",
        input: None,
        frames: &[],
        lines: 1,
        patience: Duration::from_secs(60),
    });
    // After the head of its frame.
    let text = String::from_utf8_lossy(&reply.body[8..]).into_owned();
    let time = text.split(' ').next().unwrap();
    // Midnight is not expected in between.
    let clock: Vec<f64> = time[11..time.len() - 1]
        .split(':')
        .map(|part| part.parse().unwrap())
        .collect();
    clock[0] * 3600.0 + clock[1] * 60.0 + clock[2]
}

/// A process writes so many short lines as fast as the monitor takes them: its container, and the seconds between the first
/// and the last.
fn captured(sandbox: &Sandbox, lines: usize, logging: &[&str]) -> (String, f64) {
    let script = format!("yes 0123456789 | head -n {lines} > /t/lines; cat /t/lines");
    let fixed = ["create", "--network", "none", "--tmpfs", "/t"];
    let command = ["busybox", "sh", "-c", &script];
    let id = sandbox.ok(&[&fixed[..], logging, &command].concat());
    started(sandbox, &id);
    ended(sandbox, &id);
    let seconds = time_of(sandbox, &id, "tail=1") - time_of(sandbox, &id, "tail=all");
    (id, seconds)
}

fn capture() -> String {
    let sandbox = Sandbox::with_busybox(Engine::Conex);
    let (id, seconds) = captured(&sandbox, LINES, &["--log-opt", "max-size=-1"]);
    // All of it is counted.
    let path = sandbox.ok(&["inspect", "--format", "{{.LogPath}}", &id]);
    let log = std::fs::File::open(path).unwrap();
    let lines = std::io::BufRead::split(std::io::BufReader::with_capacity(1 << 20, log), b'\n').count();
    assert_eq!(lines, LINES, "lines are lost");
    cleaned(&sandbox);
    format!(
        "{:.2} million lines a second, none lost (promised: 2 million)",
        lines as f64 / seconds / 1e6
    )
}

/// The same with and without a receiver that is down, in turns; everything fits into the spool.
fn receiver_down() -> String {
    // As few as the disk takes without holding anybody back.
    const LINES: usize = 1_000_000;
    let sandbox = Sandbox::with_busybox(Engine::Conex);
    let nobody = [
        "--log-driver",
        "syslog",
        "--log-opt",
        "syslog-address=tcp://127.0.0.1:1",
    ];
    let bound = ["--log-opt", "cache-max-size=4g", "--log-opt", "cache-max-file=2"];
    let down = [&nobody[..], &bound].concat();
    let one = |logging: &[&str]| {
        let (_, seconds) = captured(&sandbox, LINES, logging);
        cleaned(&sandbox);
        seconds
    };
    let ratios = (0..7).map(|round| {
        let alone = ["--log-opt", "max-size=-1"];
        // Each is the first of a pair in turn.
        let first = (round % 2 == 0).then(|| one(&down));
        let alone = one(&alone);
        first.unwrap_or_else(|| one(&down)) / alone
    });
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    format!(
        "output takes {:.2} times as long as with json-file ({:.2} to {:.2}; promised: 1)",
        ratios[3], ratios[0], ratios[6]
    )
}

/// A daemon that starts with a thousand stopped containers tells them all.
fn list_a_thousand() -> String {
    let mut sandbox = Sandbox::with_busybox(Engine::Conex);
    for _ in 0..1000 {
        let id = made(&sandbox, &["true"], "none");
        started(&sandbox, &id);
        ended(&sandbox, &id);
    }
    sandbox.kill();
    let before = Instant::now();
    sandbox.start(&[]);
    assert_eq!(counted(&sandbox, "exited"), 1000);
    format!(
        "listed {:.3} s after the start (promised: 0.5 s)",
        before.elapsed().as_secs_f64()
    )
}

/// A daemon that was killed finds five hundred running containers, and processes are started in them.
fn find_five_hundred() -> String {
    let mut sandbox = Sandbox::with_busybox(Engine::Conex);
    let ids: Vec<String> = (0..500).map(|_| made(&sandbox, &["sleep", "100000"], "none")).collect();
    ids.iter().for_each(|id| started(&sandbox, id));
    sandbox.kill();
    let before = Instant::now();
    sandbox.start(&[]);
    assert_eq!(counted(&sandbox, "running"), 500);
    executed(&sandbox, &ids[0]);
    executed(&sandbox, &ids[499]);
    let time = before.elapsed();
    ids.iter().for_each(|id| executed(&sandbox, id));
    cleaned(&sandbox);
    format!(
        "listed and executed in {:.3} s after the start (promised: 1 s)",
        time.as_secs_f64()
    )
}
