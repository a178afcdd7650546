//! Networks: none, the host's, and the default bridge.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;

use conex_tests::{Engine, Sandbox, eventually};

#[test]
fn without_a_network_there_is_only_the_loopback() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.run(&["--network", "none"], "ls /sys/class/net; ip route | wc -l"),
        "lo\n0"
    );
}

#[test]
fn of_a_daemon_without_a_default_bridge_a_container_has_the_loopback_only() {
    let sandbox = Sandbox::with_busybox_beside_registries(Engine::Conex);
    assert_eq!(sandbox.run(&[], "ls /sys/class/net; ip route | wc -l"), "lo\n0");
    assert_eq!(sandbox.run(&["--network", "none"], "ls /sys/class/net"), "lo");
}

#[test]
fn on_the_hosts_network_the_hosts_interfaces_are_seen() {
    let sandbox = Sandbox::new();
    let host = sandbox
        .in_namespace("ip", &["-o", "link"])
        .out
        .lines()
        .count()
        .to_string();
    assert_eq!(sandbox.run(&["--network", "host"], "ip -o link | wc -l"), host);
}

#[test]
fn on_the_bridge_a_container_has_an_address_a_route_and_its_names() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "server",
        "busybox",
        "sh",
        "-c",
        "while :; do echo answer | nc -l -p 80; done",
    ]);
    let address = sandbox.ok(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "server"]);
    let seen = sandbox.ok(&[
        "exec",
        "server",
        "sh",
        "-c",
        "ip -o -4 addr show eth0; ip route; tail -1 /etc/hosts",
    ]);
    assert!(
        seen.contains(&format!("{address}/16")) && seen.contains("default via 172.17.0.1"),
        "{seen}"
    );
    assert!(
        seen.lines().last().is_some_and(|line| line.starts_with(&address)),
        "{seen}"
    );
    assert_eq!(sandbox.run(&[], &format!("nc {address} 80")), "answer");
    let hosts = sandbox.run(&["--add-host", "other:10.1.2.3"], "grep other /etc/hosts");
    assert_eq!(hosts, "10.1.2.3\tother");
    assert_eq!(
        sandbox.run(&["--dns", "10.9.8.7"], "grep ^nameserver /etc/resolv.conf"),
        "nameserver 10.9.8.7"
    );
}

#[test]
fn packets_to_the_outside_carry_the_hosts_address() {
    let sandbox = Sandbox::new();
    // Another namespace stands for the outside. It has no route to the containers' addresses, so an answer proves that
    // the packets carried the host's.
    let mut outside = Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .spawn()
        .unwrap();
    let pid = outside.id().to_string();
    let inside = |arguments: &[&str]| {
        let said = sandbox.in_namespace("ip", arguments);
        assert!(said.code == 0, "ip {arguments:?}: {said:?}");
    };
    eventually("the outer namespace", || {
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|namespace| namespace != own)
    });
    inside(&[
        "link", "add", "out0", "type", "veth", "peer", "name", "out1", "netns", &pid,
    ]);
    inside(&["addr", "add", "198.51.100.1/24", "dev", "out0"]);
    inside(&["link", "set", "out0", "up"]);
    for arguments in ["addr add 198.51.100.2/24 dev out1", "link set out1 up"] {
        let status = Command::new("nsenter")
            .args(["--net", "--target", &pid, "ip"])
            .args(arguments.split(' '))
            .status();
        assert!(status.unwrap().success(), "{arguments}");
    }
    assert_eq!(
        sandbox.run(&[], "ping -c 1 -W 5 198.51.100.2 >/dev/null && echo reached"),
        "reached"
    );
    inside(&["link", "del", "out0"]);
    outside.kill().unwrap();
    outside.wait().unwrap();
}
