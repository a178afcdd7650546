//! Logs that go elsewhere: to the real receivers, over every transport, while those are down for a time and programs of ours
//! are killed.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use conex_tests::{Sandbox, eventually};
use serde_json::Value;

/// Lines of a test, some before the receiver goes away, some while it is away, some after.
const LINES: u32 = 3000;

/// How long the receiver is away.
const AWAY: Duration = Duration::from_secs(30);

/// A receiver in the sandbox's network namespace, which writes what it gets to a file.
struct Receiver<'a> {
    sandbox: &'a Sandbox,
    dir: PathBuf,
    /// Its command, and the file that says that it listens.
    command: Vec<String>,
    listens: PathBuf,
    /// Whether it is the journal, which is asked for what it has.
    is_journal: bool,
    process: Option<Child>,
}

impl<'a> Receiver<'a> {
    /// Debian's syslog server, on every transport.
    fn syslog(sandbox: &'a Sandbox) -> Self {
        let dir = sandbox.dir().join("receiver");
        fs::create_dir(&dir).unwrap();
        certificates(&dir, "IP:127.0.0.1");
        let at = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            r#"global(workDirectory="{work}" maxMessageSize="64k"
                DefaultNetstreamDriverCAFile="{ca}" DefaultNetstreamDriverCertFile="{cert}" DefaultNetstreamDriverKeyFile="{key}")
            module(load="imudp") input(type="imudp" rcvbufSize="4m" address="127.0.0.1" port="5140" ruleset="keep")
            module(load="imptcp") input(type="imptcp" address="127.0.0.1" port="5141" ruleset="keep")
            input(type="imptcp" path="{stream}" ruleset="keep" unlink="on")
            module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
            input(type="imtcp" address="127.0.0.1" port="5142" ruleset="keep")
            module(load="imuxsock" SysSock.Use="off")
            input(type="imuxsock" Socket="{datagrams}" CreatePath="on" RateLimit.Interval="0" ruleset="keep")
            template(name="kept" type="string" string="%pri-text% %syslogtag%%msg:::sp-if-no-1st-sp%%msg%\n")
            ruleset(name="keep") {{ action(type="omfile" file="{kept}" template="kept") }}
            "#,
            work = dir.display(),
            ca = at("ca.pem"),
            cert = at("server.pem"),
            key = at("server.key"),
            stream = at("stream.sock"),
            datagrams = at("datagrams.sock"),
            kept = at("kept"),
        );
        fs::write(dir.join("rsyslog.conf"), config).unwrap();
        let program = receivers().join("usr/sbin/rsyslogd");
        let modules = receivers().join("usr/lib/x86_64-linux-gnu/rsyslog");
        let words = [
            &program.display().to_string(),
            "-n",
            "-C",
            "-i",
            "NONE",
            "-f",
            &at("rsyslog.conf"),
            "-M",
            modules.to_str().unwrap(),
        ];
        let command = words.map(str::to_owned).to_vec();
        let listens = dir.join("datagrams.sock");
        Self::start(sandbox, dir, command, listens)
    }

    /// One for Graylog's format and Fluentd's protocol, in Python, with Debian's MessagePack.
    fn python(sandbox: &'a Sandbox) -> Self {
        let dir = sandbox.dir().join("receiver");
        fs::create_dir(&dir).unwrap();
        let at = |name: &str| dir.join(name).display().to_string();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/forwarding/receiver.py");
        certificates(&dir, "DNS:splunk.test");
        let (certificate, key) = (at("server.pem"), at("server.key"));
        let words = [
            "/usr/bin/python3",
            script,
            &at("kept"),
            &at("listens"),
            &certificate,
            &key,
        ];
        let command = words.map(str::to_owned).to_vec();
        let listens = dir.join("listens");
        Self::start(sandbox, dir, command, listens)
    }

    /// systemd's journal, in the daemon's own `/run`.
    fn journal(sandbox: &'a Sandbox) -> Self {
        let mut command = in_mounts_of_daemon(sandbox);
        command.push(receivers().join("lib/systemd/systemd-journald").display().to_string());
        let pid = sandbox.daemon_usage().pid;
        let listens = PathBuf::from(format!("/proc/{pid}/root/run/systemd/journal/socket"));
        let mut receiver = Self::start(sandbox, sandbox.dir().to_owned(), command, listens);
        receiver.is_journal = true;
        receiver
    }

    fn start(sandbox: &'a Sandbox, dir: PathBuf, command: Vec<String>, listens: PathBuf) -> Self {
        assert!(receivers().exists(), "cargo xtask test unpacks the receivers");
        let mut receiver = Self {
            sandbox,
            dir,
            command,
            listens,
            is_journal: false,
            process: None,
        };
        receiver.resume();
        receiver
    }

    fn resume(&mut self) {
        let process = Command::new("nsenter")
            .arg(self.sandbox.namespace_option())
            .args(&self.command)
            .env("LD_LIBRARY_PATH", libraries())
            .env("PYTHONPATH", receivers().join("usr/lib/python3/dist-packages"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        eventually("the receiver listens", || self.listens.exists());
    }

    /// Takes it away at once, as a host that loses its power.
    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        for path in [self.listens.clone(), self.at("stream.sock")] {
            let _ = fs::remove_file(path);
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn kept(&self) -> String {
        if self.is_journal {
            return self.journal_entries();
        }
        fs::read_to_string(self.at("kept")).unwrap_or_default()
    }

    /// The journal's entries of containers, as a line each.
    fn journal_entries(&self) -> String {
        let command = in_mounts_of_daemon(self.sandbox);
        let id = fs::read_to_string("/etc/machine-id").unwrap();
        let output = Command::new(&command[0])
            .args(&command[1..])
            .arg(receivers().join("bin/journalctl"))
            .args([
                "-q",
                "-o",
                "json",
                "-D",
                &format!("/run/log/journal/{}", id.trim()),
                "CONTAINER_TAG=journal",
            ])
            .env("LD_LIBRARY_PATH", libraries())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let word = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        let line = |entry: Value| {
            let words = ["CONTAINER_NAME", "PRIORITY", "SYSLOG_IDENTIFIER", "KIND", "MESSAGE"];
            words.map(|name| word(&entry, name)).join(" ") + "\n"
        };
        entries.map(line).collect()
    }

    /// The numbers of the lines `<name> <number>` that it has of a container.
    fn numbers(&self, name: &str) -> BTreeSet<u32> {
        let kept = self.kept();
        let mine = kept.lines().filter_map(|line| line.rsplit_once(' '));
        mine.filter(|(head, _)| head.ends_with(&format!(" {name}")))
            .map(|(_, number)| number.parse().unwrap())
            .collect()
    }
}

/// A command that begins so runs where the daemon's mounts are.
fn in_mounts_of_daemon(sandbox: &Sandbox) -> Vec<String> {
    let mounts = format!("--mount=/proc/{}/ns/mnt", sandbox.daemon_usage().pid);
    vec!["nsenter".to_owned(), mounts]
}

/// Where their libraries are.
fn libraries() -> String {
    let below = [
        "usr/lib/x86_64-linux-gnu",
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/systemd",
        "lib/x86_64-linux-gnu/systemd",
    ];
    below.map(|dir| receivers().join(dir).display().to_string()).join(":")
}

/// Where receivers are unpacked.
fn receivers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/receivers/root")
}

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

/// An authority, and a certificate of it for this name.
fn certificates(dir: &Path, name: &str) {
    let name = format!("subjectAltName={name}");
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .current_dir(dir)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ];
    let authority = ["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca"];
    openssl(&[&authority[..], &key].concat());
    let own = [
        "req",
        "-x509",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-keyout",
        "server.key",
        "-out",
        "server.pem",
        "-subj",
        "/CN=server",
        "-addext",
        &name,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ];
    openssl(&[&own[..], &key].concat());
}

/// Runs a container that writes its lines in thirds, each when a file is there.
fn run(sandbox: &Sandbox, name: &str, driver: &str, options: &[&str]) {
    let third = LINES / 3;
    let say = |part: u32| {
        let (from, to) = (part * third + 1, (part + 1) * third);
        format!(
            "for i in $(seq {from} {to}); do echo {name} $i; done; while ! test -e /go{part}; do sleep 0.05; done; "
        )
    };
    let script: String = (0..3).map(say).collect();
    let mut arguments = vec![
        "run",
        "-d",
        "--name",
        name,
        "--network",
        "none",
        "--label",
        "kind=k",
        "--log-driver",
        driver,
    ];
    arguments.extend(options.iter().flat_map(|option| ["--log-opt", option]));
    arguments.extend(["--log-opt", "tag={{.Name}}", "busybox", "sh", "-c", &script]);
    sandbox.ok(&arguments);
}

fn go(sandbox: &Sandbox, name: &str, part: u32) {
    sandbox.ok(&["exec", name, "touch", &format!("/go{part}")]);
}

/// Every line, and none twice as often as anything was sent again.
fn has_all(receiver: &Receiver<'_>, name: &str) -> bool {
    receiver.numbers(name) == (1..=LINES).collect()
}

/// Containers that write while their receiver is there, while it is away, and when it is back: all of it arrives.
fn arrives(sandbox: &Sandbox, receiver: &mut Receiver<'_>, containers: &[(&str, &str, Vec<&str>)]) {
    for (name, driver, options) in containers {
        run(sandbox, name, driver, options);
    }
    let names: Vec<&str> = containers.iter().map(|(name, ..)| *name).collect();
    let third = LINES as usize / 3;
    for name in &names {
        eventually(name, || receiver.numbers(name).len() >= third);
    }
    receiver.kill();
    for name in &names {
        go(sandbox, name, 0);
    }
    // Nothing waits for the receiver: containers write on, and their logs can be read.
    for name in &names {
        eventually(name, || {
            sandbox.ok(&["logs", "--tail", "1", name]) == format!("{name} {}", 2 * third)
        });
    }
    thread::sleep(AWAY);
    receiver.resume();
    for name in &names {
        eventually(name, || receiver.numbers(name).len() >= 2 * third);
        go(sandbox, name, 1);
        go(sandbox, name, 2);
    }
    for name in &names {
        assert_eq!(sandbox.ok(&["wait", name]), "0");
        eventually(&format!("all lines of {name}"), || has_all(receiver, name));
    }
}

#[test]
fn every_line_arrives_over_every_transport_of_syslog() {
    let sandbox = Sandbox::new();
    let mut receiver = Receiver::syslog(&sandbox);
    let at = |name: &str| receiver.at(name).display().to_string();
    let ca = format!("syslog-tls-ca-cert={}", at("ca.pem"));
    let stream = format!("syslog-address=unix://{}", at("stream.sock"));
    let datagrams = format!("syslog-address=unixgram://{}", at("datagrams.sock"));
    let (tcp, tls) = (
        "syslog-address=tcp://127.0.0.1:5141",
        "syslog-address=tcp+tls://127.0.0.1:5142",
    );
    let containers = [
        ("udp", "syslog", vec!["syslog-address=udp://127.0.0.1:5140"]),
        ("tcp", "syslog", vec![tcp, "syslog-format=rfc3164"]),
        (
            "packed",
            "syslog",
            vec![tcp, "cache-compress=true", "cache-max-size=20k", "cache-max-file=20"],
        ),
        ("tls", "syslog", vec![tls, ca.as_str(), "syslog-format=rfc5424"]),
        ("stream", "syslog", vec![stream.as_str(), "syslog-format=rfc5424micro"]),
        ("datagrams", "syslog", vec![datagrams.as_str()]),
    ];
    arrives(&sandbox, &mut receiver, &containers);
    let kept = receiver.kept();
    assert!(kept.contains("daemon.info udp["), "{}", &kept[..200]);
}

#[test]
fn every_line_arrives_at_graylog_fluentd_and_splunk() {
    let sandbox = Sandbox::new();
    let mut receiver = Receiver::python(&sandbox);
    let udp = "gelf-address=udp://127.0.0.1:12201";
    let (url, token) = ("splunk-url=http://127.0.0.1:8088", "splunk-token=secret");
    let ca = format!("splunk-capath={}", receiver.at("ca.pem").display());
    let containers = [
        ("gelf-udp", "gelf", vec![udp, "labels=kind"]),
        (
            "gelf-zlib",
            "gelf",
            vec![udp, "gelf-compression-type=zlib", "gelf-compression-level=9"],
        ),
        ("gelf-tcp", "gelf", vec!["gelf-address=tcp://127.0.0.1:12201"]),
        ("fluentd", "fluentd", vec!["fluentd-sub-second-precision=true"]),
        (
            "fluentd-ack",
            "fluentd",
            vec!["fluentd-address=127.0.0.1", "fluentd-request-ack=true", "labels=kind"],
        ),
        ("splunk", "splunk", vec![url, token, "labels=kind", "splunk-index=i"]),
        (
            "splunk-raw",
            "splunk",
            vec![url, token, "splunk-format=raw", "splunk-gzip=true"],
        ),
        (
            "splunk-tls",
            "splunk",
            vec![
                "splunk-url=https://127.0.0.1:8089",
                token,
                &ca,
                "splunk-caname=splunk.test",
            ],
        ),
        (
            "splunk-channel",
            "splunk",
            vec![url, token, "splunk-index-acknowledgment=true"],
        ),
    ];
    arrives(&sandbox, &mut receiver, &containers);
    let kept = receiver.kept();
    for line in [
        "gelf gelf-udp 6 gelf-udp k: gelf-udp 1\n",
        "gelf gelf-tcp 6 gelf-tcp -: gelf-tcp 1\n",
        "fluentd fluentd precise stdout -: fluentd 1\n",
        "fluentd fluentd-ack seconds stdout k: fluentd-ack 1\n",
        "splunk i splunk stdout k: splunk 1\n",
        "splunk - raw: splunk-raw splunk-raw 1\n",
    ] {
        assert!(kept.contains(line), "{line}");
    }
    names_its_channel(&sandbox, &kept);
}

/// A UUID of the container's own, for Splunk's acknowledgements.
fn names_its_channel(sandbox: &Sandbox, kept: &str) {
    let id = sandbox.ok(&["inspect", "--format", "{{.Id}}", "splunk-channel"]);
    let channels: BTreeSet<&str> = kept.lines().filter_map(|line| line.strip_prefix("channel ")).collect();
    let channel: Vec<&str> = channels.iter().flat_map(|channel| channel.split('-')).collect();
    assert_eq!(
        channel.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [8, 4, 4, 4, 12]
    );
    assert!(id.starts_with(&channel.concat()), "{channels:?}");
}

#[test]
fn every_line_arrives_in_the_journal() {
    // A `/run` of the daemon's own, so that it is not this machine's journal.
    let script = "mount -t tmpfs run /run && mkdir -p /run/systemd/journal /run/log && exec \"$@\"";
    let sandbox = Sandbox::started_by(&["unshare", "--mount", "sh", "-c", script, "sh"]);
    let mut receiver = Receiver::journal(&sandbox);
    arrives(&sandbox, &mut receiver, &[("journal", "journald", vec!["labels=kind"])]);
    let kept = receiver.kept();
    assert!(kept.contains("journal 6 journal k journal 1\n"), "{}", &kept[..200]);
}

/// Docker's default, `mode=blocking`, stops a container whose receiver is down. Here it has to be asked for.
#[test]
fn a_container_waits_for_its_receiver_where_that_is_asked_for() {
    const MANY: u32 = 10_000;
    let sandbox = Sandbox::new();
    let mut receiver = Receiver::syslog(&sandbox);
    receiver.kill();
    let script = |name: &str| format!("i=0; while [ $i -lt {MANY} ]; do i=$((i+1)); echo {name} $i; done");
    let start = |name: &str, options: &[&str]| {
        let fixed = [
            "run",
            "-d",
            "--name",
            name,
            "--log-driver",
            "syslog",
            "--log-opt",
            "tag={{.Name}}",
        ];
        let tcp = ["--log-opt", "syslog-address=tcp://127.0.0.1:5141"];
        // A tenth of what it has to say.
        let small = ["--log-opt", "cache-max-size=50k", "--log-opt", "cache-max-file=2"];
        let command = ["busybox", "sh", "-c", &script(name)];
        sandbox.ok(&[&fixed[..], &tcp, &small, options, &command].concat());
    };
    start("waits", &["--log-opt", "mode=blocking"]);
    start("goes-on", &[]);
    assert_eq!(sandbox.ok(&["wait", "goes-on"]), "0");
    let last = |name: &str| sandbox.ok(&["logs", "--tail", "1", name]);
    assert_eq!(last("goes-on"), format!("goes-on {MANY}"));
    eventually("it stands still", || {
        let before = last("waits");
        thread::sleep(Duration::from_millis(300));
        before == last("waits")
    });
    assert_eq!(sandbox.ok(&["ps", "--format", "{{.Names}}"]), "waits");
    assert_eq!(sandbox.ok(&["exec", "waits", "echo", "here"]), "here");
    assert_eq!(sandbox.ok(&["logs", "waits"]).lines().next().unwrap(), "waits 1");
    receiver.resume();
    assert_eq!(sandbox.ok(&["wait", "waits"]), "0");
    eventually("all lines", || receiver.numbers("waits") == (1..=MANY).collect());
    // The oldest are what the other has lost.
    eventually("its last line", || receiver.numbers("goes-on").contains(&MANY));
    assert!(!receiver.numbers("goes-on").contains(&1));
}

/// One that waits can be stopped, and what it has written by then arrives.
#[test]
fn a_container_that_waits_for_its_receiver_is_stopped_as_any_other() {
    let sandbox = Sandbox::new();
    let mut receiver = Receiver::syslog(&sandbox);
    receiver.kill();
    let tcp = [
        "--log-driver",
        "syslog",
        "--log-opt",
        "syslog-address=tcp://127.0.0.1:5141",
    ];
    let small = ["--log-opt", "cache-max-size=50k", "--log-opt", "cache-max-file=2"];
    let wait = ["--log-opt", "mode=blocking", "--log-opt", "tag={{.Name}}"];
    let command = [
        "busybox",
        "sh",
        "-c",
        "i=0; while :; do i=$((i+1)); echo waits $i; done",
    ];
    sandbox.ok(&[&["run", "-d", "--name", "waits"], &tcp[..], &small, &wait, &command].concat());
    let last = || sandbox.ok(&["logs", "--tail", "1", "waits"]);
    eventually("it stands still", || {
        let before = last();
        thread::sleep(Duration::from_millis(300));
        before == last()
    });
    sandbox.ok(&["stop", "-t", "1", "waits"]);
    let written: u32 = last().strip_prefix("waits ").unwrap().parse().unwrap();
    receiver.resume();
    eventually("all that it wrote", || {
        receiver.numbers("waits") == (1..=written).collect()
    });
}

/// The forwarders of a sandbox.
fn forwarders(sandbox: &Sandbox) -> Vec<u32> {
    let all = sandbox.usage().into_iter();
    all.filter(|usage| usage.command.contains("--forward-logs"))
        .map(|usage| usage.pid)
        .collect()
}

#[test]
fn every_line_arrives_though_forwarder_and_daemon_are_killed() {
    let mut sandbox = Sandbox::new();
    let dir = sandbox.dir().to_owned();
    assert!(forwarders(&sandbox).is_empty());
    let address = ["syslog-address=tcp://127.0.0.1:5141"];
    run(&sandbox, "box", "syslog", &address);
    run(&sandbox, "gone", "syslog", &address);
    eventually("a forwarder", || forwarders(&sandbox).len() == 1);
    // Nobody is there yet; one container is removed meanwhile.
    sandbox.ok(&["rm", "-f", "gone"]);
    let spools = || fs::read_dir(dir.join("data/spools")).map_or(0, Iterator::count);
    assert_eq!(spools(), 1);
    let kill = |sandbox: &Sandbox| {
        for pid in forwarders(sandbox) {
            assert!(
                Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .status()
                    .unwrap()
                    .success()
            );
        }
    };
    kill(&sandbox);
    eventually("another one", || forwarders(&sandbox).len() == 1);
    sandbox.kill();
    eventually("it ends with its daemon", || forwarders(&sandbox).is_empty());
    sandbox.start(&[]);
    let receiver = Receiver::syslog(&sandbox);
    eventually("the first lines", || receiver.numbers("box").len() >= 1000);
    kill(&sandbox);
    go(&sandbox, "box", 0);
    eventually("the second lines", || receiver.numbers("box").len() >= 2000);
    go(&sandbox, "box", 1);
    go(&sandbox, "box", 2);
    assert_eq!(sandbox.ok(&["wait", "box"]), "0");
    eventually("all lines", || has_all(&receiver, "box"));
    eventually("those of the one that is gone", || {
        receiver.numbers("gone").len() == 1000
    });
    eventually("nothing is left to be sent", || spools() == 0);
    eventually("the forwarder ends", || forwarders(&sandbox).is_empty());
    // What has arrived is not sent again.
    let firsts = || receiver.kept().matches(" box 1\n").count();
    let before = firsts();
    sandbox.ok(&["start", "box"]);
    assert_eq!(sandbox.ok(&["wait", "box"]), "0");
    eventually("the forwarder ends again", || forwarders(&sandbox).is_empty());
    assert_eq!(firsts(), before + 1);
}

#[test]
fn what_goes_elsewhere_can_be_read_unless_that_is_not_wanted() {
    let sandbox = Sandbox::new();
    let receiver = Receiver::syslog(&sandbox);
    let options = [
        "--log-driver",
        "syslog",
        "--log-opt",
        "syslog-address=tcp://127.0.0.1:5141",
        "--log-opt",
        "syslog-facility=local5",
    ];
    let once = |name: &str, more: &[&str]| {
        let fixed = ["run", "--name", name, "--network", "none"];
        sandbox.ok(&[
            &fixed[..],
            &options,
            more,
            &["busybox", "sh", "-c", "echo out; echo err >&2"],
        ]
        .concat())
    };
    once("read", &[]);
    assert_eq!(sandbox.ok(&["logs", "read"]), "out");
    once("unread", &["--log-opt", "cache-disabled=true"]);
    let said = sandbox.docker(&["logs", "unread"]);
    assert!(said.err.contains("does not support reading"), "{said:?}");
    // A container that removes itself has its lines delivered all the same.
    once("short", &["--rm", "--log-opt", "tag=short"]);
    eventually("all lines", || receiver.kept().lines().count() == 6);
    let kept = receiver.kept();
    assert!(
        kept.contains("local5.info short[") && kept.contains("local5.err short["),
        "{kept}"
    );
    let id = sandbox.ok(&["inspect", "--format", "{{slice .Id 0 12}}", "read"]);
    assert!(kept.contains(&format!("local5.info {id}[")), "{kept}");
}
