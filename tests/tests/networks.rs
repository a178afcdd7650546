//! Networks that users make, containers on several of them, and published ports.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::Read;
use std::process::{Child, Command, Stdio};

use conex_tests::{Sandbox, eventually};

/// Starts a container that sleeps.
fn sleeper(sandbox: &Sandbox, name: &str, options: &[&str]) -> String {
    let arguments: Vec<&str> = ["run", "-d", "--name", name]
        .into_iter()
        .chain(options.iter().copied())
        .chain(["busybox", "sleep", "10000"])
        .collect();
    sandbox.ok(&arguments)
}

/// Starts a container that answers with its name on a TCP port.
fn server(sandbox: &Sandbox, name: &str, options: &[&str]) -> String {
    let script = format!("while :; do echo {name} | nc -l -p 80; done");
    let arguments: Vec<&str> = ["run", "-d", "--name", name]
        .into_iter()
        .chain(options.iter().copied())
        .chain(["busybox", "sh", "-c", &script])
        .collect();
    sandbox.ok(&arguments)
}

fn refused(sandbox: &Sandbox, method: &str, path: &str, body: &str, status: u16, words: &str) {
    let (found, answer) = sandbox.request(method, path, body);
    assert!(
        found == status && answer.contains(words),
        "{method} {path} {body}: {found} {answer}, not {status} {words}"
    );
}

fn inspect(sandbox: &Sandbox, form: &str, what: &str) -> String {
    sandbox.ok(&["inspect", "--format", form, what])
}

#[test]
fn a_network_is_made_listed_inspected_and_removed() {
    let sandbox = Sandbox::new();
    let names = |sandbox: &Sandbox, filter: &str| {
        let listed = sandbox.ok(&["network", "ls", "--filter", filter, "--format", "{{.Name}}"]);
        let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(names(&sandbox, "type=builtin"), ["bridge", "host", "none"]);
    let id = sandbox.ok(&[
        "network",
        "create",
        "--subnet",
        "10.9.0.0/24",
        "--ip-range",
        "10.9.0.128/25",
        "--gateway",
        "10.9.0.254",
        "--aux-address",
        "printer=10.9.0.129",
        "--label",
        "team=a",
        "--attachable",
        "--opt",
        "com.docker.network.driver.mtu=1400",
        "mine",
    ]);
    let shown = sandbox.ok(&["network", "inspect", "mine"]);
    for part in [
        "\"Subnet\": \"10.9.0.0/24\"",
        "\"IPRange\": \"10.9.0.128/25\"",
        "\"Gateway\": \"10.9.0.254\"",
        "\"printer\": \"10.9.0.129\"",
        "\"team\": \"a\"",
        "\"Attachable\": true",
        "\"com.docker.network.driver.mtu\": \"1400\"",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let link = sandbox.in_namespace("ip", &["-o", "addr", "show", &format!("br-{}", &id[..12])]);
    assert!(link.out.contains("10.9.0.254/24"), "{link:?}");
    let seen = sandbox.run(
        &["--network", "mine"],
        "ip -o -4 addr show eth0; cat /sys/class/net/eth0/mtu",
    );
    assert!(seen.contains("10.9.0.128/24") && seen.ends_with("1400"), "{seen}");
    assert_eq!(names(&sandbox, "label=team=a"), ["mine"]);
    assert_eq!(names(&sandbox, "driver=null"), ["none"]);
}

#[test]
fn a_daemon_that_comes_later_knows_networks_by_their_ids() {
    let mut sandbox = Sandbox::new();
    let predefined = sandbox.ok(&["network", "inspect", "--format", "{{.Id}}", "bridge"]);
    assert_eq!(predefined.len(), 64);
    let id = sandbox.ok(&["network", "create", "mine"]);
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(sandbox.ok(&["network", "inspect", "--format", "{{.Id}}", "mine"]), id);
    assert_eq!(
        sandbox.ok(&["network", "inspect", "--format", "{{.Id}}", "bridge"]),
        predefined
    );
    sandbox.ok(&["network", "rm", &id[..12]]);
    assert_eq!(sandbox.ok(&["network", "ls", "-q", "--filter", "type=custom"]), "");
    eventually("the bridge's end", || {
        !sandbox.in_namespace("ip", &["-o", "link"]).out.contains("br-")
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "a flat table")]
fn what_no_network_can_be_is_refused_in_dockers_words() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "--subnet", "10.9.0.0/24", "mine"]);
    for (body, status, words) in [
        ("", 400, "invalid name: name is empty"),
        (r#"{"Name":"mine"}"#, 409, "network with name mine already exists"),
        (
            r#"{"Name":"bridge"}"#,
            403,
            "operation is not permitted on predefined bridge network ",
        ),
        (
            r#"{"Name":"x","Driver":"nosuch"}"#,
            404,
            r#"plugin \"nosuch\" not found"#,
        ),
        (
            r#"{"Name":"x","Driver":"host"}"#,
            403,
            r#"only one instance of \"host\" network is allowed"#,
        ),
        (
            r#"{"Name":"x","Driver":"overlay"}"#,
            403,
            "This node is not a swarm manager.",
        ),
        (
            r#"{"Name":"x","Driver":"macvlan"}"#,
            400,
            "Driver: the driver macvlan is not supported yet",
        ),
        (
            r#"{"Name":"x","EnableIPv6":true}"#,
            400,
            "EnableIPv6: a network with IPv6 is not supported yet",
        ),
        (
            r#"{"Name":"x","EnableIPv4":false}"#,
            400,
            "IPv4 or IPv6 must be enabled",
        ),
        (
            r#"{"Name":"x","ConfigFrom":{"Network":"abc"}}"#,
            404,
            r#"configuration network \"abc\" does not exist"#,
        ),
        (
            r#"{"Name":"x","IPAM":{"Config":[{"Subnet":"10.9.0.128/25"}]}}"#,
            403,
            "invalid pool request: Pool overlaps with other one on this address space",
        ),
        (
            r#"{"Name":"x","IPAM":{"Config":[{"Subnet":"foo"}]}}"#,
            400,
            r"invalid network config:\ninvalid subnet foo: invalid CIDR block notation",
        ),
        (
            r#"{"Name":"x","IPAM":{"Config":[{"Subnet":"10.8.0.0/24","Gateway":"10.7.0.1"}]}}"#,
            400,
            "invalid gateway 10.7.0.1: parent subnet 10.8.0.0/24 doesn't contain this address",
        ),
        (
            r#"{"Name":"x","IPAM":{"Config":[{"Subnet":"10.8.0.0/24"},{"Subnet":"10.7.0.0/24"}]}}"#,
            403,
            "bridge driver doesn't support multiple subnets",
        ),
        (
            r#"{"Name":"x","IPAM":{"Config":[{"Subnet":"10.8.0.0/24","Gateway":"10.8.0.1","AuxiliaryAddresses":{"a":"10.8.0.1"}}]}}"#,
            500,
            "failed to allocate secondary ip address (a:10.8.0.1): Address already in use",
        ),
        (
            r#"{"Name":"x","Options":{"com.docker.network.driver.mtu":"-1"}}"#,
            400,
            "invalid MTU number: -1",
        ),
        (
            r#"{"Name":"x","Options":{"com.docker.network.bridge.name":"conexbr0"}}"#,
            403,
            "networks have same bridge name",
        ),
    ] {
        refused(&sandbox, "POST", "/networks/create", body, status, words);
    }
    for (method, path, status, words) in [
        ("GET", "/networks/nope", 404, "network nope not found"),
        ("GET", "/networks/mine?scope=swarm", 404, "network mine not found"),
        ("DELETE", "/networks/nope", 404, "network nope not found"),
        (
            "DELETE",
            "/networks/host",
            403,
            "host is a pre-defined network and cannot be removed",
        ),
        (
            "GET",
            "/networks?filters=%7B%22a%22:[%22b%22]%7D",
            400,
            "invalid filter 'a'",
        ),
        (
            "GET",
            "/networks?filters=%7B%22dangling%22:[%22b%22]%7D",
            400,
            "invalid value for filter 'dangling'",
        ),
        (
            "POST",
            "/networks/prune?filters=%7B%22until%22:[%22foo%22]%7D",
            400,
            "failed to parse value as time or duration",
        ),
        ("POST", "/networks/mine/connect", 400, "invalid name or ID supplied"),
    ] {
        refused(&sandbox, method, path, "", status, words);
    }
    // Nothing is left of what was refused.
    let bridges = sandbox
        .in_namespace("ip", &["-o", "link", "show", "type", "bridge"])
        .out;
    assert_eq!(bridges.lines().count(), 2, "{bridges}");
}

#[test]
fn networks_are_apart_and_their_containers_see_one_another() {
    let sandbox = Sandbox::new();
    for network in ["one", "two"] {
        sandbox.ok(&["network", "create", network]);
    }
    let inner = sandbox.ok(&["network", "create", "--internal", "inner"]);
    assert_eq!(inner.len(), 64);
    server(&sandbox, "aa", &["--network", "one"]);
    server(&sandbox, "bb", &["--network", "two"]);
    let address = |name: &str, network: &str| {
        inspect(
            &sandbox,
            &format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}"),
            name,
        )
    };
    let reach = |network: &str, address: &str| {
        sandbox.run(
            &["--network", network],
            &format!("nc -w 1 {address} 80 </dev/null || echo unreachable"),
        )
    };
    assert_eq!(reach("one", &address("aa", "one")), "aa");
    assert_eq!(reach("one", &address("bb", "two")), "unreachable");
    assert_eq!(reach("bridge", &address("bb", "two")), "unreachable");
    assert_eq!(
        sandbox.run(&["--network", "inner"], "ip route | grep -c default || true"),
        "0"
    );
    // Active endpoints keep a network.
    let said = sandbox.docker(&["network", "rm", "one"]);
    assert!(
        said.err
            .contains("error while removing network: network one has active endpoints (name:\"aa\" id:\""),
        "{said:?}"
    );
    sandbox.ok(&["rm", "-f", "aa"]);
    let pruned = sandbox.ok(&["network", "prune", "-f"]);
    assert!(
        pruned.contains("one") && pruned.contains("inner") && !pruned.contains("\ntwo"),
        "{pruned}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one container's story")]
fn a_running_container_is_connected_and_disconnected() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "--subnet", "10.9.0.0/24", "mine"]);
    let id = sleeper(&sandbox, "box", &[]);
    let since = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    sandbox.ok(&[
        "network",
        "connect",
        "--ip",
        "10.9.0.77",
        "--alias",
        "other",
        "mine",
        "box",
    ]);
    let seen = sandbox.ok(&[
        "exec",
        "box",
        "sh",
        "-c",
        "ip -o -4 addr show eth1; ip route; cat /etc/hosts",
    ]);
    assert!(
        seen.contains("10.9.0.77/24") && seen.contains("default via 172.17.0.1") && seen.contains("10.9.0.77\t"),
        "{seen}"
    );
    assert_eq!(
        inspect(&sandbox, "{{json .NetworkSettings.Networks.mine.DNSNames}}", "box"),
        format!("[\"box\",\"other\",\"{}\"]", &id[..12])
    );
    assert!(
        sandbox
            .ok(&["network", "inspect", "mine"])
            .contains("\"IPv4Address\": \"10.9.0.77/24\"")
    );
    for (network, words) in [
        ("mine", "endpoint with name box already exists in network mine"),
        ("host", "cannot connect container to host network"),
        ("none", "one of the networks in private (none) mode"),
        ("nope", "network nope not found"),
    ] {
        let said = sandbox.docker(&["network", "connect", network, "box"]);
        assert!(said.err.contains(words), "{said:?}");
    }
    // A daemon that comes later knows the connections; the address is not given to another.
    sandbox.kill();
    sandbox.start(&[]);
    assert_eq!(
        inspect(&sandbox, "{{.NetworkSettings.Networks.mine.IPAddress}}", "box"),
        "10.9.0.77"
    );
    let said = sandbox.docker(&[
        "run",
        "--rm",
        "--network",
        "mine",
        "--ip",
        "10.9.0.77",
        "busybox",
        "true",
    ]);
    assert!(said.err.contains("Address already in use"), "{said:?}");
    // The way to the outside goes over to the connection that is left.
    sandbox.ok(&["network", "disconnect", "bridge", "box"]);
    let seen = sandbox.ok(&["exec", "box", "sh", "-c", "ip route; ls /sys/class/net; cat /etc/hosts"]);
    assert!(
        seen.contains("default via 10.9.0.1") && !seen.contains("eth0") && !seen.contains("172.17."),
        "{seen}"
    );
    sandbox.ok(&["network", "disconnect", "mine", "box"]);
    assert_eq!(sandbox.ok(&["exec", "box", "sh", "-c", "ip route | wc -l"]), "0");
    let until = sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
    let events = sandbox.ok(&[
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "type=network",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}}",
    ]);
    assert!(
        events.contains("disconnect bridge bridge\ndisconnect mine bridge"),
        "{events}"
    );
    let said = sandbox.docker(&["network", "disconnect", "mine", "box"]);
    assert!(
        said.err
            .contains(&format!("container {id} is not connected to network mine")),
        "{said:?}"
    );
    // What is stopped is connected at its next start.
    sandbox.ok(&["stop", "-t", "0", "box"]);
    sandbox.ok(&["network", "connect", "mine", "box"]);
    sandbox.ok(&["start", "box"]);
    assert_eq!(
        sandbox.ok(&["exec", "box", "sh", "-c", "ip -o -4 addr show | grep -c 10.9.0"]),
        "1"
    );
}

#[test]
fn a_container_has_the_addresses_that_it_asks_for() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "--subnet", "10.9.0.0/24", "mine"]);
    sandbox.ok(&["network", "create", "plain"]);
    let options = [
        "--network",
        "mine",
        "--ip",
        "10.9.0.200",
        "--mac-address",
        "02:00:00:00:00:07",
    ];
    let seen = sandbox.run(&options, "ip addr show eth0");
    assert!(
        seen.contains("10.9.0.200/24") && seen.contains("02:00:00:00:00:07"),
        "{seen}"
    );
    for (network, address, words) in [
        (
            "plain",
            "172.30.0.9",
            "only when connecting to networks with user configured subnets",
        ),
        (
            "mine",
            "10.8.0.9",
            "no configured subnet or ip-range contain the IP address 10.8.0.9",
        ),
        (
            "bridge",
            "172.17.0.9",
            "user specified IP address is supported on user defined networks only",
        ),
    ] {
        let said = sandbox.docker(&["create", "--network", network, "--ip", address, "busybox"]);
        assert!(
            said.err.contains(&format!("invalid config for network {network}")),
            "{said:?}"
        );
        assert!(said.err.contains(words), "{said:?}");
    }
    // Several networks at once: the first name is the way to the outside unless one has a higher priority.
    let name = sandbox.ok(&[
        "run",
        "-d",
        "--network",
        "name=plain,gw-priority=1",
        "--network",
        "mine",
        "busybox",
        "sleep",
        "1000",
    ]);
    let seen = sandbox.ok(&["exec", &name, "sh", "-c", "ip route | grep default; ls /sys/class/net"]);
    assert!(seen.contains("default via 172.") && seen.contains("eth1"), "{seen}");
}

#[test]
fn a_container_shares_the_network_of_another() {
    let sandbox = Sandbox::new();
    let id = sleeper(&sandbox, "owner", &[]);
    let own = sandbox.ok(&["exec", "owner", "sh", "-c", "ip -o -4 addr; hostname; cat /etc/hosts"]);
    let shared = ["--network", "container:owner"];
    assert_eq!(sandbox.run(&shared, "ip -o -4 addr; hostname; cat /etc/hosts"), own);
    sleeper(&sandbox, "guest", &shared);
    assert_eq!(
        inspect(&sandbox, "{{.HostConfig.NetworkMode}}", "guest"),
        format!("container:{id}")
    );
    assert_eq!(inspect(&sandbox, "{{json .NetworkSettings.Networks}}", "guest"), "{}");
    for (options, words) in [
        (
            ["--network", "container:owner", "-p", "80:80"],
            "port publishing and the container type network mode",
        ),
        (
            ["--network", "container:owner", "--hostname", "x"],
            "hostname and the network mode",
        ),
        (
            ["--network", "container:nope", "-e", "A=b"],
            "joining network namespace of container: No such container: nope",
        ),
        (["--network", "nope", "-e", "A=b"], "network nope not found"),
    ] {
        let arguments: Vec<&str> = ["run", "--rm"]
            .into_iter()
            .chain(options)
            .chain(["busybox", "true"])
            .collect();
        let said = sandbox.docker(&arguments);
        assert!(said.err.contains(words), "{said:?}");
    }
    sandbox.ok(&["stop", "-t", "0", "owner"]);
    let said = sandbox.docker(&["run", "--rm", "--network", "container:owner", "busybox", "true"]);
    assert!(said.err.contains("non running container"), "{said:?}");
}

#[test]
fn containers_find_one_another_by_their_names() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "mine"]);
    sandbox.ok(&["network", "create", "other"]);
    let id = sleeper(&sandbox, "Web", &["--network", "mine", "--network-alias", "api"]);
    sleeper(&sandbox, "stranger", &["--network", "other"]);
    sleeper(&sandbox, "asker", &["--network", "mine"]);
    let address = inspect(&sandbox, "{{.NetworkSettings.Networks.mine.IPAddress}}", "Web");
    let ask = |sandbox: &Sandbox, name: &str| {
        let said = sandbox.docker(&["exec", "asker", "nslookup", name]);
        format!("{}\n{}", said.out, said.err)
    };
    let reverse = "name = Web.mine";
    for name in ["web", "API", &id[..12], "web.mine"] {
        let said = ask(&sandbox, name);
        assert!(
            said.contains("127.0.0.11") && said.contains(&format!("Address: {address}")),
            "{name}: {said}"
        );
    }
    assert!(ask(&sandbox, &address).contains(reverse), "{}", ask(&sandbox, &address));
    assert!(
        !ask(&sandbox, "stranger").contains("Name:"),
        "{}",
        ask(&sandbox, "stranger")
    );
    let conf = sandbox.ok(&["exec", "asker", "cat", "/etc/resolv.conf"]);
    assert!(
        conf.contains("nameserver 127.0.0.11\n") && conf.contains("ndots:0"),
        "{conf}"
    );
    // A new name is known at once, the old one no more.
    sandbox.ok(&["rename", "Web", "site"]);
    assert!(ask(&sandbox, "site").contains(&format!("Address: {address}")));
    assert!(!ask(&sandbox, "web").contains("Name:"));
    // Answers go on after the daemon was killed.
    sandbox.kill();
    sandbox.start(&[]);
    let said = ask(&sandbox, "api");
    assert!(said.contains(&format!("Address: {address}")), "{said}");
    // A container that is connected later is found, and finds.
    sandbox.ok(&["network", "connect", "--link", "site:linked", "mine", "stranger"]);
    assert!(ask(&sandbox, "stranger").contains("Name:"));
    let said = sandbox.ok(&["exec", "stranger", "nslookup", "linked"]);
    assert!(said.contains(&format!("Address: {address}")), "{said}");
    sandbox.ok(&["network", "disconnect", "mine", "stranger"]);
    assert!(!ask(&sandbox, "stranger").contains("Name:"));
    sandbox.ok(&["rm", "-f", "site"]);
    assert!(!ask(&sandbox, "site").contains("Name:"));
}

/// Has port 53 of all addresses, and sends datagrams back.
const ECHO: &str = "
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('0.0.0.0', 53))
tcp = socket.socket(); tcp.bind(('0.0.0.0', 53)); tcp.listen()
print('ready', flush=True)
while True:
    q, who = udp.recvfrom(4096); udp.sendto(q, who)
";

/// Runs a program of Python in a container's network, until it says that it is ready.
fn within(sandbox: &Sandbox, container: &str, program: &str) -> Child {
    let pid = inspect(sandbox, "{{.State.Pid}}", container);
    python(&format!("--net=/proc/{pid}/ns/net"), program)
}

fn python(namespace: &str, program: &str) -> Child {
    let mut child = Command::new("nsenter")
        .args([namespace, "python3", "-c", program])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    child
}

/// A name server for the sandbox's namespace that answers each question about an address with 1.2.3.4.
const NAME_SERVER: &str = "
import socket, threading
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 53))
tcp = socket.socket(); tcp.bind(('127.0.0.1', 53)); tcp.listen()
def answer(q):
    return q[:2] + bytes([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]) + q[12:] + bytes([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4])
def streams():
    while True:
        c, _ = tcp.accept(); q = c.recv(4096)[2:]; a = answer(q); c.sendall(len(a).to_bytes(2, 'big') + a); c.close()
threading.Thread(target=streams, daemon=True).start()
print('ready', flush=True)
while True:
    q, who = udp.recvfrom(4096); udp.sendto(answer(q), who)
";

#[test]
fn other_names_are_asked_of_the_hosts_servers_and_a_container_can_have_a_name_server_of_its_own() {
    let sandbox = Sandbox::new();
    let mut server = python(&sandbox.namespace_option(), NAME_SERVER);
    sandbox.ok(&["network", "create", "mine"]);
    sandbox.ok(&["network", "create", "--internal", "inner"]);
    let options = ["--network", "mine", "--dns", "127.0.0.1", "--dns-search", "example.org"];
    sleeper(&sandbox, "own", &options);
    // Its own server has port 53 of all addresses, and 127.0.0.11 is still answered by the engine.
    let mut own = within(&sandbox, "own", ECHO);
    let script = "nslookup -type=a foreign.example; cat /etc/resolv.conf";
    let said = sandbox.ok(&["exec", "own", "sh", "-c", script]);
    own.kill().unwrap();
    own.wait().unwrap();
    assert!(said.contains("Address: 1.2.3.4"), "{said}");
    assert!(said.contains("nameserver 127.0.0.11\nsearch example.org\n"), "{said}");
    // A question over TCP: its length, its number, its flags, one question for x.yz, an address of the internet.
    let question = r"\000\026\111\111\001\000\000\001\000\000\000\000\000\000\001x\002yz\000\000\001\000\001";
    let script = format!("printf '{question}' | nc -w 1 127.0.0.11 53 | tail -c 4 | od -An -tu1");
    assert_eq!(
        sandbox
            .run(&["--network", "mine", "--dns", "127.0.0.1"], &script)
            .trim(),
        "1   2   3   4"
    );
    let inner = ["--network", "inner", "--dns", "127.0.0.1"];
    let said = sandbox.run(&inner, "nslookup -type=a foreign.example || true");
    assert!(said.contains("SERVFAIL"), "{said}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    let mut sandbox = Sandbox::new();
    server(&sandbox, "web", &["-p", "8080:80", "-p", "127.0.0.1:8081:80"]);
    let from_host = |sandbox: &Sandbox, address: &str, port: &str| {
        let script = format!("nc -w 1 {address} {port} </dev/null");
        sandbox.in_namespace("busybox", &["sh", "-c", &script]).out
    };
    let eventually_web = |sandbox: &Sandbox, address: &str, port: &str| {
        eventually("an answer", || from_host(sandbox, address, port) == "web");
    };
    eventually_web(&sandbox, "127.0.0.1", "8080");
    eventually_web(&sandbox, "127.0.0.1", "8081");
    eventually_web(&sandbox, "172.17.0.1", "8080");
    assert_eq!(from_host(&sandbox, "172.17.0.1", "8081"), "");
    // From another container of the bridge, and from another network.
    sandbox.ok(&["network", "create", "mine"]);
    let hairpin = "for i in 1 2 3; do nc -w 1 172.17.0.1 8080 </dev/null && break; sleep 0.2; done";
    assert_eq!(sandbox.run(&[], hairpin), "web");
    assert_eq!(sandbox.run(&["--network", "mine"], hairpin), "web");
    assert_eq!(sandbox.ok(&["port", "web", "80/tcp"]), "0.0.0.0:8080\n127.0.0.1:8081");
    assert!(
        sandbox
            .ok(&["ps", "--format", "{{.Ports}}"])
            .contains("0.0.0.0:8080->80/tcp")
    );
    // Nobody else gets the port, neither a container nor a program of the host.
    let said = sandbox.docker(&["run", "--name", "late", "-p", "8080:80", "busybox", "true"]);
    assert!(
        said.err.contains(
            "failed to set up container networking: driver failed programming external connectivity on endpoint late"
        ) && said
            .err
            .contains("Bind for 0.0.0.0:8080 failed: port is already allocated"),
        "{said:?}"
    );
    let listens = |sandbox: &Sandbox| sandbox.in_namespace("timeout", &["0.3", "busybox", "nc", "-l", "-p", "8080"]);
    assert!(listens(&sandbox).err.contains("in use"), "{:?}", listens(&sandbox));
    // They are kept while the daemon is away and after it came back, and free when the container has stopped.
    sandbox.kill();
    eventually_web(&sandbox, "127.0.0.1", "8080");
    sandbox.start(&[]);
    eventually_web(&sandbox, "127.0.0.1", "8080");
    let said = sandbox.docker(&["start", "late"]);
    assert!(said.err.contains("port is already allocated"), "{said:?}");
    sandbox.ok(&["stop", "-t", "0", "web"]);
    assert_eq!(from_host(&sandbox, "127.0.0.1", "8080"), "");
    assert_eq!(listens(&sandbox).err, "");
    assert_eq!(inspect(&sandbox, "{{json .NetworkSettings.Ports}}", "web"), "{}");
    sandbox.ok(&["start", "late"]);
}

#[test]
fn ports_are_chosen_from_ranges_and_for_all_that_are_exposed() {
    let sandbox = Sandbox::new();
    let first = sleeper(
        &sandbox,
        "first",
        &["-p", "8000-8001:80", "-P", "--expose", "99", "--expose", "53/udp"],
    );
    assert_eq!(first.len(), 64);
    sleeper(&sandbox, "second", &["-p", "8000-8001:80"]);
    let form =
        "{{range $port, $bindings := .NetworkSettings.Ports}}{{$port}} {{(index $bindings 0).HostPort}}\n{{end}}";
    assert_eq!(inspect(&sandbox, form, "second").trim(), "80/tcp 8001");
    let ports = inspect(&sandbox, form, "first");
    assert!(
        ports.contains("80/tcp 8000") && ports.contains("53/udp 32768") && ports.contains("99/tcp 32769"),
        "{ports}"
    );
    // A port of a program of the host is not had.
    let mut listener = Command::new("nsenter")
        .arg(sandbox.namespace_option())
        .args(["busybox", "nc", "-l", "-p", "7777"])
        .spawn()
        .unwrap();
    eventually("the listener", || {
        sandbox
            .in_namespace("busybox", &["netstat", "-ltn"])
            .out
            .contains(":7777")
    });
    let said = sandbox.docker(&["run", "--rm", "-p", "7777:80", "busybox", "true"]);
    assert!(
        said.err.contains("failed to bind host port for 0.0.0.0:7777:172.17.0.")
            && said.err.contains(":80/tcp: address already in use"),
        "{said:?}"
    );
    listener.kill().unwrap();
    listener.wait().unwrap();
}

#[test]
fn ports_that_are_none_are_refused_and_those_of_udp_are_redirected() {
    let sandbox = Sandbox::new();
    for (body, words) in [
        (
            r#"{"80/tcp":[{"HostPort":"99999"}]}"#,
            r#"invalid port specification: \"99999\""#,
        ),
        (
            r#"{"80/tcp":[{"HostIp":"::1","HostPort":"9"}]}"#,
            "publishing ports at the IPv6 address ::1 is not supported yet",
        ),
        (
            r#"{"80/sctp":[{"HostPort":"9"}]}"#,
            "publishing ports of SCTP is not supported yet",
        ),
    ] {
        let body = format!(r#"{{"Image":"busybox","HostConfig":{{"PortBindings":{body}}}}}"#);
        refused(&sandbox, "POST", "/containers/create", &body, 400, words);
    }
    // UDP is redirected as TCP is.
    sleeper(&sandbox, "sink", &["-p", "5300:53/udp"]);
    let mut server = within(&sandbox, "sink", ECHO);
    let ask = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.sendto(b'hello', ('127.0.0.1', 5300)); print(s.recvfrom(10))
";
    let said = sandbox.in_namespace("python3", &["-c", ask]);
    assert_eq!(said.out, "(b'hello', ('127.0.0.1', 5300))", "{said:?}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_network_whose_creation_is_cut_off_is_whole_or_not_there() {
    for point in ["network.before-record", "network.after-record", "network.after-bridge"] {
        let mut sandbox = Sandbox::new();
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        sandbox.docker(&["network", "create", "mine"]);
        sandbox.await_death();
        sandbox.start(&[]);
        let there = !sandbox.ok(&["network", "ls", "-q", "--filter", "name=mine"]).is_empty();
        assert_eq!(there, point != "network.before-record", "{point}");
        if there {
            assert!(sandbox.run(&["--network", "mine"], "ip route").contains("default via"));
        } else {
            assert!(
                !sandbox.in_namespace("ip", &["-o", "link"]).out.contains("br-"),
                "{point}"
            );
            sandbox.ok(&["network", "create", "mine"]);
        }
        sandbox.ok(&["network", "rm", "mine"]);
    }
}

#[test]
fn a_connection_that_is_cut_off_is_whole_or_not_there() {
    for (point, verb) in [
        ("connect.before-record", "connect"),
        ("disconnect.after-record", "disconnect"),
    ] {
        let mut sandbox = Sandbox::new();
        sandbox.ok(&["network", "create", "mine"]);
        sleeper(&sandbox, "box", &[]);
        if verb == "disconnect" {
            sandbox.ok(&["network", "connect", "mine", "box"]);
        }
        sandbox.kill();
        sandbox.start(&[("CONEX_FAIL_POINT", point)]);
        sandbox.docker(&["network", verb, "mine", "box"]);
        sandbox.await_death();
        sandbox.start(&[]);
        assert_eq!(
            inspect(&sandbox, "{{len .NetworkSettings.Networks}}", "box"),
            "1",
            "{point}"
        );
        eventually("the interface's end", || {
            !sandbox.ok(&["exec", "box", "ls", "/sys/class/net"]).contains("eth1")
        });
        sandbox.ok(&["network", "connect", "mine", "box"]);
        assert!(sandbox.ok(&["exec", "box", "ls", "/sys/class/net"]).contains("eth1"));
    }
}

#[test]
fn a_link_gives_the_other_containers_address_names_and_ports() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run", "-d", "--name", "db", "-e", "SECRET=x", "--expose", "5432", "busybox", "sleep", "1000",
    ]);
    let address = inspect(&sandbox, "{{.NetworkSettings.IPAddress}}", "db");
    let id = inspect(&sandbox, "{{.Id}}", "db");
    let said = sandbox.run(&["--name", "web", "--link", "db:store"], "cat /etc/hosts; env");
    for line in [
        format!("{address}\tstore {} db", &id[..12]),
        format!("STORE_PORT=tcp://{address}:5432"),
        format!("STORE_PORT_5432_TCP_ADDR={address}"),
        "STORE_NAME=/web/store".to_owned(),
        "STORE_ENV_SECRET=x".to_owned(),
    ] {
        assert!(said.lines().any(|found| found == line), "{line} in {said}");
    }
    sandbox.ok(&["create", "--name", "later", "--link", "db:store", "busybox", "true"]);
    assert_eq!(
        inspect(&sandbox, "{{.HostConfig.Links}}", "later"),
        "[/db:/later/store]"
    );
    sandbox.ok(&["stop", "-t", "0", "db"]);
    let said = sandbox.docker(&["start", "later"]);
    assert!(
        said.err
            .contains("Cannot link to a non running container: /db AS /later/store"),
        "{said:?}"
    );
    let said = sandbox.docker(&["create", "--link", "nope:store", "busybox", "true"]);
    assert!(
        said.err
            .contains("could not get container for nope: No such container: nope"),
        "{said:?}"
    );
}

#[test]
fn other_hosts_reach_published_ports_and_nothing_else() {
    let sandbox = Sandbox::new();
    let id = server(&sandbox, "web", &["-p", "8080:80", "-p", "127.0.0.1:8081:80"]);
    assert_eq!(id.len(), 64);
    let address = inspect(&sandbox, "{{.NetworkSettings.IPAddress}}", "web");
    // Another namespace stands for another host.
    let mut other = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo ready; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    other.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let pid = other.id().to_string();
    let ip = |arguments: &str| {
        let said = sandbox.in_namespace("ip", &arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(said.code, 0, "{arguments}: {said:?}");
    };
    let outside = |script: &str| {
        let output = Command::new("nsenter")
            .args(["--net", "--target", &pid, "busybox", "sh", "-c", script])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    ip(&format!("link add out0 type veth peer name out1 netns {pid}"));
    ip("addr add 198.51.100.1/24 dev out0");
    ip("link set out0 up");
    outside("ip addr add 198.51.100.2/24 dev out1; ip link set out1 up; ip route add default via 198.51.100.1");
    eventually("an answer", || outside("nc -w 1 198.51.100.1 8080 </dev/null") == "web");
    assert_eq!(outside("nc -w 1 198.51.100.1 8081 </dev/null"), "");
    assert_eq!(outside(&format!("nc -w 1 {address} 80 </dev/null")), "");
    // A neighbour that sends to 127.0.0.1 over the wire reaches nothing that is published there.
    outside("ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via 198.51.100.1");
    assert_eq!(outside("nc -w 1 127.0.0.1 8081 </dev/null"), "");
    ip("link del out0");
    other.kill().unwrap();
    other.wait().unwrap();
}
