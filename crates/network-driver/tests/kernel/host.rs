//! A host for a test: a network namespace that stands for the machine's own.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use conex_network::{BridgePlan, BridgeRequest, EndpointPlan};
use conex_network_driver::{BridgeDriver, Netns, NetworkDriver};
use conex_sys::netns;

const PORT: u16 = 8080;
const TIMEOUT: Duration = Duration::from_millis(500);

/// Runs a test in a new network namespace, which is gone afterwards with all that is in it.
pub(crate) fn in_new_host(test: impl FnOnce(BorrowedFd<'_>) + Send) {
    let host = Netns::create().expect("these tests need root (CAP_SYS_ADMIN) and network namespaces");
    let host = host.as_fd();
    netns::enter(host, || {
        // A new namespace inherits the setting of the machine.
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        test(host);
    })
    .unwrap();
}

/// Runs a program in the calling thread's namespace; what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("these tests need the program {program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// ip(8).
pub(crate) fn ip(arguments: &[&str]) -> String {
    run("ip", arguments)
}

/// The bridge as a daemon without settings makes it.
pub(crate) fn default_plan() -> BridgePlan {
    BridgePlan::new(&BridgeRequest::new("conex0", &[])).unwrap()
}

/// A connection with the address 172.17.0.`last`.
pub(crate) fn endpoint(bridge: &BridgePlan, id: &str, last: u8) -> EndpointPlan {
    let plan = EndpointPlan::new(bridge, id, 0, IpAddr::from([172, 17, 0, last])).unwrap();
    plan.with_default_route()
}

/// A container's namespace on a bridge.
pub(crate) fn connected(driver: &BridgeDriver, bridge: &BridgePlan, id: &str, last: u8) -> Netns {
    let mut netns = driver.take_namespace().unwrap();
    driver.connect(&endpoint(bridge, id, last), &mut netns).unwrap();
    netns
}

/// A namespace that the host reaches by an interface `uplink`, 192.0.2.1 to 192.0.2.2, and that knows no way back.
pub(crate) fn outer_world() -> Netns {
    let world = Netns::create().unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), world.as_fd().as_raw_fd());
    ip(&[
        "link", "add", "uplink", "type", "veth", "peer", "name", "world", "netns", &path,
    ]);
    ip(&["address", "add", "192.0.2.1/24", "dev", "uplink"]);
    ip(&["link", "set", "uplink", "up"]);
    netns::enter(world.as_fd(), || {
        ip(&["address", "add", "192.0.2.2/24", "dev", "world"]);
        ip(&["link", "set", "world", "up"]);
    })
    .unwrap();
    world
}

/// Talks by TCP from one namespace to another; what the server saw as the client's address.
pub(crate) fn talk(server: BorrowedFd<'_>, client: BorrowedFd<'_>, address: Ipv4Addr) -> io::Result<IpAddr> {
    let listener = netns::enter(server, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
    listener.set_nonblocking(true)?;
    thread::scope(|scope| {
        let accepting = scope.spawn(|| accept(&listener));
        netns::enter(client, || {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, PORT)), TIMEOUT)?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            assert_eq!(text, "hello");
            Ok::<_, io::Error>(())
        })??;
        accepting.join().unwrap()
    })
}

fn accept(listener: &TcpListener) -> io::Result<IpAddr> {
    let deadline = Instant::now() + 2 * TIMEOUT;
    loop {
        match listener.accept() {
            Ok((mut stream, peer)) => {
                stream.write_all(b"hello")?;
                return Ok(peer.ip());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}
