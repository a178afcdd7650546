//! What a monitor leaves to the program that it executes in its own place: everything that it holds, as JSON in a sealed
//! memfd, with descriptors by the numbers that they keep across execve(2).
//!
//! Two adjacent versions hand over to each other, both ways: what a later version adds has a default, and what it does not
//! need any more it goes on writing. A monitor that cannot do without something new refuses in the trial that goes before.

use serde::{Deserialize, Serialize};

use crate::message::{Attachment, LogOrder, Request, VERSION};
use crate::monitor::Memory;

/// Number of a descriptor that stays open.
pub type Number = i32;

/// A monitor between two programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Protocol version of the program that leaves.
    pub version: u32,
    /// The `ToMonitor::Upgrade` that is to be answered.
    pub request: Request,
    /// What it remembers for the daemon.
    pub memory: Memory,
    /// Where the exit is recorded.
    pub exit_file: String,
    /// Whether standard input stays open when the last client that attached to it leaves.
    pub keep_stdin_open: bool,
    /// Whether everything of the container dies with its first process by itself.
    pub own_pid_namespace: bool,
    /// The number that was given last to a client, process or newcomer.
    pub last_number: u32,
    /// The run's directory.
    pub directory: Number,
    /// `control.sock`.
    pub listener: Number,
    /// The connection to the daemon, while there is one.
    pub daemon: Option<Number>,
    /// Connections to `control.sock` whose greeting is awaited.
    pub newcomers: Vec<Number>,
    /// Namespaces that are held.
    pub namespaces: Vec<Number>,
    /// The control group, where there is one.
    pub cgroup: Option<Cgroup>,
    /// The log, where one is kept.
    pub log: Option<Log>,
    /// The first process and the execs that run.
    pub processes: Vec<Process>,
    /// Clients, with what they have not taken.
    pub clients: Vec<Client>,
}

impl Handover {
    /// Whether this program takes it.
    pub fn is_spoken(&self) -> bool {
        self.version.abs_diff(VERSION) <= 1
    }
}

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its directories.
    pub directories: Vec<String>,
    /// Those that an update may still make.
    pub later: Vec<String>,
    /// The unit of systemd that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A log that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// As it was ordered.
    pub order: LogOrder,
    /// The file that is appended to.
    pub file: Number,
    /// What has no newline yet of streams 1 and 2, standard base64.
    pub held: [String; 2],
    /// Pid of the process that compresses the file before, while there is one.
    pub packing: Option<i32>,
}

/// A process of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// 0 for the first one.
    pub key: u32,
    /// The exec's id; `None` for the first one.
    pub exec: Option<String>,
    /// Its pid.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: Number,
    /// Whether its standard descriptors are a terminal.
    pub terminal: bool,
    /// Its standard input, while that is open.
    pub input: Option<Input>,
    /// Its outputs that are open.
    pub outputs: Vec<Output>,
}

/// The write side of a standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The pipe, or the terminal's master.
    pub fd: Number,
    /// What the process has not taken yet, standard base64.
    pub waiting: String,
    /// Whether it is closed once everything was taken.
    pub close: bool,
}

/// The read side of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// 1 or 2; a terminal is 1.
    pub stream: u8,
    /// The pipe, or the terminal's master.
    pub fd: Number,
}

/// A client that was handed over to the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its number.
    pub number: u32,
    /// Its connection.
    pub socket: Number,
    /// The key of its process.
    pub process: u32,
    /// How it attached; nothing is left of what it had sent before.
    pub attachment: Attachment,
    /// How many of its detach keys it has sent.
    pub detach_matched: usize,
    /// What it has not taken yet, standard base64.
    pub waiting: String,
    /// It has closed its sending side.
    pub input_ended: bool,
    /// Its process has ended.
    pub finishing: bool,
    /// It has closed its connection.
    pub departed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 2 wrote it. A later program has to go on reading this.
    const WRITTEN: &str = r#"{
        "version": 2, "request": 7, "exit_file": "/data/exit.json", "keep_stdin_open": true, "own_pid_namespace": true,
        "last_number": 9, "directory": 4, "listener": 5, "daemon": 6, "newcomers": [7], "namespaces": [8, 9],
        "memory": {
            "container": "c", "pid": 12, "started_at": "2025-01-01T00:00:00.000000000Z", "connected": true,
            "execs": [{"exec": "e", "pid": 13, "code": null}]
        },
        "cgroup": {"directories": ["/sys/fs/cgroup/c"], "later": []},
        "log": {
            "order": {
                "file": "/data/log", "max_size": 20000000, "max_files": 5, "compress": false, "attributes": ""
            },
            "file": 10, "held": ["aGVsZA==", ""], "packing": null
        },
        "processes": [{
            "key": 0, "exec": null, "pid": 12, "pidfd": 11, "terminal": false,
            "input": {"fd": 12, "waiting": "", "close": false},
            "outputs": [{"stream": 1, "fd": 13}, {"stream": 2, "fd": 14}]
        }],
        "clients": [{
            "number": 3, "socket": 15, "process": 0,
            "attachment": {
                "streams": {"stdin": true, "stdout": true, "stderr": false}, "framing": "multiplexed", "preread": "",
                "detach_keys": [16, 17]
            },
            "detach_matched": 1, "waiting": "", "input_ended": false, "finishing": false, "departed": false
        }]
    }"#;

    #[test]
    fn what_version_2_wrote_is_read_and_written_alike() {
        let handover: Handover = serde_json::from_str(WRITTEN).unwrap();
        let written: serde_json::Value = serde_json::from_str(WRITTEN).unwrap();
        assert_eq!(serde_json::to_value(&handover).unwrap(), written);
        assert!(handover.is_spoken());
    }

    #[test]
    fn what_a_later_version_adds_is_no_hindrance_and_what_is_too_new_is_refused() {
        let mut written: serde_json::Value = serde_json::from_str(WRITTEN).unwrap();
        written["added"] = true.into();
        written["version"] = (VERSION + 1).into();
        let handover: Handover = serde_json::from_value(written.clone()).unwrap();
        assert!(handover.is_spoken());
        written["version"] = (VERSION + 2).into();
        let handover: Handover = serde_json::from_value(written).unwrap();
        assert!(!handover.is_spoken());
    }
}
