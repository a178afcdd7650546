//! Limits of what passes over connections, measured.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;

use conex_tests::{Said, Sandbox, eventually};

/// As many times less as what is called so many megabits per second is of it in a machine that is emulated and sends less than
/// these tests ask for; what is to last a time lasts as many times longer there.
fn slowness() -> u32 {
    std::env::var("CONEX_TEST_SLOWNESS").map_or(1, |times| times.parse().unwrap())
}

/// Bits per second of so many megabits per second.
fn mbit(count: f64) -> f64 {
    count * 1e6 / f64::from(slowness())
}

/// An argument in which a rate of whole megabits, or of kilobytes, is what it is here.
fn scaled(argument: &str) -> String {
    if slowness() == 1 {
        return argument.to_owned();
    }
    let digits = |text: &str| text.len() - text.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    for (unit, kilobits) in [("mbit", 1000), ("kbps", 8)] {
        let Some(rest) = argument.strip_suffix(unit) else {
            continue;
        };
        let (before, number) = rest.split_at(rest.len() - digits(rest));
        if let Ok(number) = number.parse::<u32>() {
            return format!("{before}{}kbit", number * kilobits / slowness());
        }
    }
    argument.to_owned()
}

/// So many megabits per second as tc(8) shows them.
fn shown_rate(count: u32) -> String {
    match count * 1000 / slowness() {
        kilobits if kilobits.is_multiple_of(1000) => format!("rate {}Mbit", kilobits / 1000),
        kilobits => format!("rate {kilobits}Kbit"),
    }
}

/// Runs the `docker` CLI, which must succeed, with rates as they are here.
fn docker_ok(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|argument| scaled(argument)).collect();
    sandbox.ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What every container of these tests does: it sends zeros to whoever connects to port 80, and 400,000 bytes on port 82.
const SERVE: &str = "mkfifo /hold; sleep 10000 > /hold &
    while :; do nc -l -p 80 < /dev/zero > /dev/null; done &
    while :; do head -c 400000 /dev/zero | nc -l -p 82 > /dev/null; done";

/// Starts a container that serves.
fn start(sandbox: &Sandbox, name: &str, options: &[&str]) {
    let line: Vec<&str> = ["run", "-d", "--name", name]
        .into_iter()
        .chain(options.iter().copied())
        .chain(["busybox", "sh", "-c", SERVE])
        .collect();
    docker_ok(sandbox, &line);
}

fn inspect(sandbox: &Sandbox, form: &str, what: &str) -> String {
    sandbox.ok(&["inspect", "--format", form, what])
}

fn address(sandbox: &Sandbox, container: &str) -> String {
    let form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    inspect(sandbox, form, container).split(' ').next().unwrap().to_owned()
}

/// Waits until a container listens on its ports: 80 and 82 in the kernel's table (`0A` is TCP_LISTEN).
fn await_servers(sandbox: &Sandbox, container: &str) {
    let script =
        "for port in 0050 0052; do until grep -q \":$port 0*:0000 0A\" /proc/net/tcp*; do sleep 0.05; done; done";
    sandbox.ok(&["exec", container, "sh", "-c", script]);
}

/// Bits per second that arrive at one container from another, over a second and a half after the burst (longer where packets
/// are rare).
fn rate(sandbox: &Sandbox, from: &str, to: &str) -> f64 {
    await_servers(sandbox, from);
    let (burst, time) = if slowness() == 1 { (0.4, 1.5) } else { (2.0, 4.0) };
    let script = format!(
        "now() {{ cut -d' ' -f1 /proc/uptime; }}
         received() {{ cat /sys/class/net/eth0/statistics/rx_bytes; }}
         nc {from} 80 < /hold > /dev/null & stream=$!
         sleep {burst}; a=$(received); s=$(now); sleep {time}; b=$(received); e=$(now)
         kill $stream; echo $a $b $s $e",
        from = address(sandbox, from),
    );
    let said = sandbox.ok(&["exec", to, "sh", "-c", &script]);
    let numbers: Vec<f64> = said.split(' ').map(|number| number.parse().unwrap()).collect();
    let [before, after, started, ended] = numbers[..] else {
        panic!("{said}");
    };
    (after - before) * 8.0 / (ended - started)
}

/// Asserts that a rate is that asked for.
fn assert_near(what: &str, measured: f64, asked: f64) {
    let ratio = measured / asked;
    assert!(
        (0.75..1.25).contains(&ratio),
        "{what}: {:.1} Mbit/s, not {:.1}",
        measured / 1e6,
        asked / 1e6
    );
}

fn assert_rates(sandbox: &Sandbox, what: &str, container: &str, (ingress, egress): (f64, f64)) {
    assert_near(&format!("{what}, ingress"), rate(sandbox, "far", container), ingress);
    assert_near(&format!("{what}, egress"), rate(sandbox, container, "far"), egress);
}

/// Seconds that 400,000 bytes take from one container to another.
fn seconds_of_a_burst(sandbox: &Sandbox, from: &str, to: &str) -> f64 {
    await_servers(sandbox, from);
    let script = format!(
        "now() {{ cut -d' ' -f1 /proc/uptime; }}
         s=$(now); nc {} 82 < /hold | wc -c; echo $s $(now)",
        address(sandbox, from)
    );
    let said = sandbox.ok(&["exec", to, "sh", "-c", &script]);
    let (bytes, times) = said.split_once('\n').unwrap();
    assert_eq!(bytes, "400000");
    let (started, ended) = times.split_once(' ').unwrap();
    ended.parse::<f64>().unwrap() - started.parse::<f64>().unwrap()
}

/// Runs our own command line.
fn conex(sandbox: &Sandbox, arguments: &[&str]) -> Said {
    let output = Command::new(conex_tests::dist().join("conex"))
        .args(["-H", &format!("unix://{}", sandbox.socket().display())])
        .args(arguments.iter().map(|argument| scaled(argument)))
        .output()
        .unwrap();
    Said::new(&output)
}

fn conex_ok(sandbox: &Sandbox, arguments: &[&str]) {
    let said = conex(sandbox, arguments);
    assert!(said.code == 0, "{arguments:?}: {said:?}");
}

/// Names of the interfaces over which limited containers send.
fn ifbs(sandbox: &Sandbox) -> Vec<String> {
    let listed = sandbox
        .in_namespace("ip", &["-brief", "link", "show", "type", "ifb"])
        .out;
    listed
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

fn refused(sandbox: &Sandbox, arguments: &[&str], words: &str) {
    let said = sandbox.docker(arguments);
    assert!(
        said.code != 0 && said.err.contains(words),
        "{arguments:?}: {said:?}, not {words}"
    );
}

const UNLIMITED: &str = "driver-opt=conex.rate.ingress=unlimited,driver-opt=conex.rate.egress=unlimited";

#[test]
fn options_of_connections_go_before_labels_and_those_before_options_of_networks() {
    let sandbox = Sandbox::new();
    let network = [
        "network",
        "create",
        "-o",
        "conex.rate.ingress=8mbit",
        "-o",
        "conex.rate.egress=16mbit",
        "slow",
    ];
    docker_ok(&sandbox, &network);
    start(&sandbox, "far", &["--network", &format!("name=slow,{UNLIMITED}")]);
    start(&sandbox, "plain", &["--network", "slow"]);
    assert_rates(&sandbox, "of the network", "plain", (mbit(8.0), mbit(16.0)));
    let labels = [
        "--label",
        "conex.rate.egress=32mbit",
        "--label",
        "conex.rate.ingress=24mbit",
    ];
    start(&sandbox, "labelled", &[&labels[..], &["--network", "slow"]].concat());
    assert_rates(&sandbox, "of labels", "labelled", (mbit(24.0), mbit(32.0)));
    let option = "name=slow,driver-opt=conex.rate.ingress=2000kbps";
    start(&sandbox, "asked", &[&labels[..], &["--network", option]].concat());
    assert_rates(&sandbox, "of an option", "asked", (mbit(16.0), mbit(32.0)));
    assert_eq!(ifbs(&sandbox).len(), 3);

    let shown = inspect(
        &sandbox,
        "{{json (index .NetworkSettings.Networks \"slow\").DriverOpts}}",
        "asked",
    );
    assert_eq!(shown, format!(r#"{{"conex.rate.ingress":"{}"}}"#, scaled("2000kbps")));
    sandbox.ok(&["network", "disconnect", "slow", "asked"]);
    assert_eq!(ifbs(&sandbox).len(), 2);
    sandbox.ok(&["network", "connect", "slow", "asked"]);
    assert_rates(&sandbox, "connected again", "asked", (mbit(24.0), mbit(32.0)));
}

#[test]
fn limits_are_changed_while_a_container_runs_and_stay_changed() {
    let mut sandbox = Sandbox::new();
    start(&sandbox, "far", &[]);
    start(&sandbox, "near", &["--label", "conex.rate.egress=8mbit"]);
    assert_near("of a label", rate(&sandbox, "near", "far"), mbit(8.0));
    conex_ok(
        &sandbox,
        &["update", "--rate-egress", "24mbit", "--rate-ingress", "16mbit", "near"],
    );
    assert_rates(&sandbox, "updated", "near", (mbit(16.0), mbit(24.0)));
    let shown = inspect(&sandbox, "{{json .HostConfig}}", "near");
    let expected = format!(
        r#""NetworkRates":{{"conex.rate.egress":"{}","conex.rate.ingress":"{}"}}"#,
        scaled("24mbit"),
        scaled("16mbit")
    );
    let (_, answer) = sandbox.request("GET", "/containers/near/json", "");
    assert!(answer.contains(&expected), "{shown} {answer}");

    sandbox.kill();
    sandbox.start(&[]);
    assert_rates(
        &sandbox,
        "after kill -9 of the daemon",
        "near",
        (mbit(16.0), mbit(24.0)),
    );
    sandbox.ok(&["restart", "-t", "0", "near"]);
    assert_rates(&sandbox, "started again", "near", (mbit(16.0), mbit(24.0)));
    assert_eq!(ifbs(&sandbox).len(), 1);

    conex_ok(
        &sandbox,
        &["update", "--rate-egress", "unlimited", "--rate-ingress=", "near"],
    );
    assert_eq!(ifbs(&sandbox).len(), 0);
    assert!(rate(&sandbox, "near", "far") > mbit(96.0));
    assert!(rate(&sandbox, "far", "near") > mbit(96.0));
    conex_ok(&sandbox, &["update", "--rate-egress=", "near"]);
    assert_near("of the label again", rate(&sandbox, "near", "far"), mbit(8.0));
}

#[test]
fn a_burst_passes_at_once() {
    let sandbox = Sandbox::new();
    start(&sandbox, "far", &[]);
    let slow = ["--label", "conex.rate.ingress=4mbit"];
    start(&sandbox, "even", &slow);
    start(
        &sandbox,
        "bursting",
        &[&slow[..], &["--label", "conex.rate.ingress.burst=512kb"]].concat(),
    );
    let even = seconds_of_a_burst(&sandbox, "far", "even");
    let bursting = seconds_of_a_burst(&sandbox, "far", "bursting");
    let times = f64::from(slowness());
    assert!(
        even > 0.6 * times && even < 1.5 * times && bursting < 0.4 * times,
        "{even} {bursting}"
    );
    // It is used up.
    assert_near("over time", rate(&sandbox, "far", "bursting"), mbit(4.0));
}

#[test]
fn a_container_that_may_change_its_network_does_not_lift_its_limits() {
    let sandbox = Sandbox::new();
    // The tc of the host with its libraries; that of busybox makes no such queue.
    let tc = Command::new("sh")
        .args(["-c", "command -v tc || ls /usr/sbin/tc"])
        .output();
    let tc = format!("{}:/tc:ro", Said::new(&tc.unwrap()).out);
    let binds = [
        "-v",
        &tc,
        "-v",
        "/lib:/lib:ro",
        "-v",
        "/lib64:/lib64:ro",
        "-v",
        "/usr/lib:/usr/lib:ro",
    ];
    let powerful = [&["--cap-add", "NET_ADMIN"][..], &binds].concat();
    let limits = [
        "--label",
        "conex.rate.egress=8mbit",
        "--label",
        "conex.rate.ingress=8mbit",
    ];
    start(&sandbox, "far", &[]);
    start(&sandbox, "near", &[&powerful[..], &limits].concat());
    start(&sandbox, "free", &powerful);
    let lift = "/tc qdisc del dev eth0 root; /tc qdisc del dev eth0 ingress; ip link set eth0 txqueuelen 10000";
    let rate_of_own = scaled("8mbit");
    let own = format!("/tc qdisc add dev eth0 root tbf rate {rate_of_own} burst 64kb latency 50ms");
    // What the container has made it can lift.
    sandbox.ok(&["exec", "free", "sh", "-c", &own]);
    assert_near("its own", rate(&sandbox, "free", "far"), mbit(8.0));
    for container in ["free", "near"] {
        sandbox.docker(&["exec", container, "sh", "-c", lift]);
    }
    assert!(rate(&sandbox, "free", "far") > mbit(96.0));
    assert_rates(&sandbox, "not its own", "near", (mbit(8.0), mbit(8.0)));
}

#[test]
fn containers_without_limits_are_not_slowed_by_those_that_have_some() {
    let sandbox = Sandbox::new();
    start(&sandbox, "far", &[]);
    start(&sandbox, "free", &[]);
    let best = |_: &str| (0..3).map(|_| rate(&sandbox, "far", "free")).fold(0.0, f64::max);
    let before = best("alone");
    start(
        &sandbox,
        "near",
        &[
            "--label",
            "conex.rate.egress=8mbit",
            "--label",
            "conex.rate.ingress=8mbit",
        ],
    );
    let after = best("beside a limited one");
    assert!(
        after > before / 2.0,
        "{:.0} Mbit/s, {:.0} before",
        after / 1e6,
        before / 1e6
    );
    let queues = sandbox.in_namespace("tc", &["qdisc", "show"]).out;
    assert_eq!(queues.matches("tbf").count(), 2, "{queues}");
    assert!(queues.matches("noqueue").count() >= 2, "{queues}");
}

#[test]
fn what_cannot_be_a_limit_is_refused_and_nothing_is_left() {
    let sandbox = Sandbox::new();
    let network = |option: &'static str| vec!["network", "create", "-o", option, "wrong"];
    let label = |option: &'static str| vec!["create", "--name", "wrong", "--label", option, "busybox"];
    for (option, words) in [
        (
            "conex.rate.egress=fast",
            "failed to parse conex.rate.egress value: fast (a rate is a number",
        ),
        (
            "conex.rate.ingress=1kbit",
            "failed to parse conex.rate.ingress value: 1kbit (a rate is at least 8kbit",
        ),
        (
            "conex.rate.ingress.burst=64kb",
            "invalid conex.rate.ingress.burst: there is no conex.rate.ingress",
        ),
        (
            "conex.rate.up=1mbit",
            "unknown option conex.rate.up: options of rates are",
        ),
    ] {
        refused(&sandbox, &network(option), words);
        refused(&sandbox, &label(option), words);
    }
    assert_eq!(containers(&sandbox), 0);
    assert_eq!(networks(&sandbox), "");
}

/// How many containers there are.
fn containers(sandbox: &Sandbox) -> usize {
    sandbox.ok(&["ps", "-aq"]).lines().count()
}

/// The names of the networks that users have made.
fn networks(sandbox: &Sandbox) -> String {
    sandbox.ok(&["network", "ls", "--filter", "type=custom", "--format", "{{.Name}}"])
}

#[test]
fn a_burst_smaller_than_a_frame_and_a_network_that_is_not_the_containers_own_are_refused() {
    let sandbox = Sandbox::new();
    let mtu = "com.docker.network.driver.mtu=9000";
    sandbox.ok(&["network", "create", "-o", "conex.rate.egress=1mbit", "-o", mtu, "jumbo"]);
    let options = [
        "--network",
        "jumbo",
        "--label",
        "conex.rate.egress.burst=8kb",
        "busybox",
    ];
    let words = "invalid conex.rate.egress.burst: 8192 bytes are less than a frame of this network has, 9018";
    refused(
        &sandbox,
        &[&["create", "--name", "wrong"], &options[..]].concat(),
        words,
    );
    for mode in ["host", "container:near"] {
        start(&sandbox, "near", &[]);
        let line = [
            "create",
            "--name",
            "wrong",
            "--network",
            mode,
            "--label",
            "conex.rate.egress=1mbit",
            "busybox",
        ];
        refused(&sandbox, &line, "conflicting options: conex.rate.* and the network of");
        sandbox.ok(&["rm", "-f", "near"]);
    }
    assert_eq!(containers(&sandbox), 0);
    assert_eq!(networks(&sandbox), "jumbo");
    assert_eq!(ifbs(&sandbox).len(), 0);
}

#[test]
fn a_running_container_keeps_what_it_has_where_a_new_limit_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "mine"]);
    start(&sandbox, "near", &[]);
    let connect = [
        "network",
        "connect",
        "--driver-opt",
        "conex.rate.egress=fast",
        "mine",
        "near",
    ];
    refused(&sandbox, &connect, "failed to parse conex.rate.egress value: fast");
    let other = ["network", "connect", "--driver-opt", "com.example.x=1", "mine", "near"];
    refused(&sandbox, &other, "DriverOpts: com.example.x is not supported yet");
    for (value, words) in [
        ("fast", "failed to parse conex.rate.egress value: fast"),
        ("1kbit", "at least 8kbit"),
    ] {
        let said = conex(&sandbox, &["update", "--rate-egress", value, "-m", "64m", "near"]);
        assert!(said.code == 1 && said.err.contains(words), "{said:?}");
    }
    let (status, answer) = sandbox.request("POST", "/containers/near/update", r#"{"NetworkRates":{"x":"1mbit"}}"#);
    assert!(
        status == 400 && answer.contains("unknown option x"),
        "{status} {answer}"
    );
    assert_eq!(inspect(&sandbox, "{{.HostConfig.Memory}}", "near"), "0");
    assert_eq!(ifbs(&sandbox).len(), 0);
}

#[test]
fn a_daemon_that_is_killed_leaves_no_limit_but_those_of_running_containers() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "mine"]);
    let labelled = scaled("conex.rate.egress=8mbit");
    let limit = ["--label", &labelled];
    start(&sandbox, "near", &limit);
    start(&sandbox, "free", &[]);
    let create = [
        "run", "-d", "--name", "new", limit[0], limit[1], "busybox", "sleep", "10000",
    ];
    let option = "conex.rate.egress=1mbit";
    let connect = ["network", "connect", "--driver-opt", option, "mine", "free"];
    // What is done, where the daemon dies, and how many are limited when the next one has come.
    let cases: [(&str, &str, usize); 9] = [
        ("start", "rates.after-ifb", 1),
        ("start", "start.before-fork", 1),
        ("start", "start.after-started", 2),
        ("limit", "rates.after-note", 1),
        ("limit", "rates.after-ifb", 1),
        ("limit", "rates.after-change", 1),
        ("unlimit", "rates.after-change", 1),
        ("connect", "connect.before-record", 1),
        ("end", "exit.before-publish", 1),
    ];
    for (action, point, expected) in cases {
        if action == "end" {
            sandbox.ok(&create);
        }
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        let died = match action {
            "start" => sandbox.docker(&create),
            "limit" => conex(&sandbox, &["update", "--rate-egress", "1mbit", "free"]),
            "unlimit" => conex(&sandbox, &["update", "--rate-egress", "unlimited", "near"]),
            "connect" => sandbox.docker(&connect),
            _ => sandbox.docker(&["kill", "new"]),
        };
        sandbox.await_death();
        sandbox.start(&[]);
        eventually(&format!("{action}, {point}: {expected} limited ({died:?})"), || {
            ifbs(&sandbox).len() == expected
        });
        let queues = sandbox.in_namespace("tc", &["qdisc", "show"]).out;
        assert_eq!(
            queues.matches("qdisc tbf").count(),
            expected,
            "{action}, {point}: {queues}"
        );
        assert_eq!(
            queues.matches("qdisc ingress").count(),
            expected,
            "{action}, {point}: {queues}"
        );
        sandbox.docker(&["rm", "-f", "new"]);
    }
    assert_near("through it all", rate(&sandbox, "near", "free"), mbit(8.0));
}

/// A module of the kernel that cannot be loaded while this lives.
struct Hidden(String);

impl Hidden {
    fn module(path: &str) -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let path = format!("/lib/modules/{}/kernel/{path}", release.trim());
        let bound = Command::new("mount").args(["--bind", "/dev/null", &path]).status();
        assert!(bound.unwrap().success(), "the module {path} is needed");
        Self(path)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
#[ignore = "needs a kernel that has police, and ifb as a module that is not loaded: that of the virtual machine"]
fn a_kernel_without_ifb_drops_what_is_too_much() {
    let hidden = Hidden::module("drivers/net/ifb.ko");
    let sandbox = Sandbox::new();
    let made = sandbox.in_namespace("ip", &["link", "add", "ifb9", "type", "ifb"]);
    assert!(made.code != 0, "this kernel has ifb: {made:?}");
    start(&sandbox, "far", &[]);
    start(
        &sandbox,
        "near",
        &[
            "--label",
            "conex.rate.egress=8mbit",
            "--label",
            "conex.rate.ingress=8mbit",
        ],
    );
    let policed = |rate: String| {
        let interfaces = sandbox
            .in_namespace("ip", &["-brief", "link", "show", "type", "veth"])
            .out;
        let names = interfaces.lines().filter_map(|line| line.split([' ', '@']).next());
        let filters = names.map(|name| {
            sandbox
                .in_namespace("tc", &["filter", "show", "dev", name, "parent", "ffff:"])
                .out
        });
        let filters: Vec<String> = filters.filter(|filters| filters.contains("police")).collect();
        assert!(filters.len() == 1 && filters[0].contains(&rate), "{filters:?}");
    };
    policed(shown_rate(8));
    let measured = rate(&sandbox, "near", "far");
    assert!(
        (0.4..1.25).contains(&(measured / mbit(8.0))),
        "{:.1} Mbit/s",
        measured / 1e6
    );
    conex_ok(&sandbox, &["update", "--rate-egress", "16mbit", "near"]);
    policed(shown_rate(16));
    drop(hidden);
    conex_ok(&sandbox, &["update", "--rate-egress", "24mbit", "near"]);
    assert_eq!(ifbs(&sandbox).len(), 1);
    assert_rates(&sandbox, "with ifb", "near", (mbit(8.0), mbit(24.0)));
}
