//! Containers' connections.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use conex_network::nft::Ruleset;
use conex_network::{BridgePlan, EndpointPlan};
use conex_network_driver::{BridgeDriver, NetworkDriver};
use conex_sys::netns;

use crate::host::{connected, default_plan, endpoint, in_new_host, ip, run, talk};

#[test]
fn containers_on_a_bridge_reach_one_another_and_the_host() {
    in_new_host(|host| {
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        driver
            .apply_ruleset(&Ruleset {
                bridges: vec![plan.clone()],
                ..Ruleset::default()
            })
            .unwrap();
        driver.ensure_bridge(&plan).unwrap();
        let one = connected(&driver, &plan, "aaaaaaaaaaaa", 2);
        let two = connected(&driver, &plan, "bbbbbbbbbbbb", 3);

        let seen = talk(one.as_fd(), two.as_fd(), Ipv4Addr::new(172, 17, 0, 2)).unwrap();
        assert_eq!(seen, IpAddr::from([172, 17, 0, 3]));
        assert!(talk(host, one.as_fd(), Ipv4Addr::new(172, 17, 0, 1)).is_ok());
        assert!(talk(two.as_fd(), host, Ipv4Addr::new(172, 17, 0, 3)).is_ok());
    });
}

#[test]
fn the_first_packet_after_connecting_is_not_lost() {
    // A lost one is sent again after a second, which is longer than `talk` waits.
    for _ in 0..20 {
        in_new_host(|host| {
            let driver = BridgeDriver::open(0).unwrap();
            let plan = default_plan();
            driver.ensure_bridge(&plan).unwrap();
            let container = connected(&driver, &plan, "aaaaaaaaaaaa", 2);
            talk(container.as_fd(), host, Ipv4Addr::new(172, 17, 0, 2)).unwrap();
        });
    }
}

#[test]
fn a_container_sees_what_its_plan_says_and_nothing_else() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        driver.ensure_bridge(&plan).unwrap();
        let mut netns = driver.take_namespace().unwrap();
        let connected = driver.connect(&endpoint(&plan, "aaaaaaaaaaaa", 2), &mut netns).unwrap();
        assert_eq!(connected.mac.to_string(), "02:42:ac:11:00:02");
        for interface in ["conexaaaaaaaaaa", "conex0"] {
            assert!(ip(&["link", "show", interface]).contains("state UP"), "{interface}");
        }

        let within = |arguments: &[&str]| netns::enter(netns.as_fd(), || ip(arguments)).unwrap();
        let interface = within(&["-details", "address", "show", "eth0"]);
        assert!(
            interface.starts_with(&format!("{}: eth0", connected.interface_index)),
            "{interface}"
        );
        for part in [
            "mtu 1500",
            ",UP",
            "02:42:ac:11:00:02",
            "inet 172.17.0.2/16 brd 172.17.255.255 scope global",
        ] {
            assert!(interface.contains(part), "{part}: {interface}");
        }
        assert!(!interface.contains("inet6 "), "{interface}");
        assert!(within(&["address", "show", "lo"]).contains("inet 127.0.0.1/8"));
        let routes = within(&["route"]);
        assert!(routes.contains("default via 172.17.0.1 dev eth0"), "{routes}");
        assert_eq!(within(&["-oneline", "link"]).lines().count(), 2);
        assert_eq!(ip(&["-6", "address", "show", "conex0"]), "");
    });
}

#[test]
fn an_interface_too_small_for_ipv6_is_connected_all_the_same() {
    in_new_host(|host| {
        let driver = BridgeDriver::open(0).unwrap();
        let plan = BridgePlan {
            mtu: 1200,
            ..default_plan()
        };
        driver.ensure_bridge(&plan).unwrap();
        let netns = connected(&driver, &plan, "aaaaaaaaaaaa", 2);
        assert!(talk(netns.as_fd(), host, Ipv4Addr::new(172, 17, 0, 2)).is_ok());
    });
}

#[test]
fn a_connection_that_cannot_be_made_leaves_nothing_behind() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        let mut netns = driver.take_namespace().unwrap();
        let refused = driver
            .connect(&endpoint(&plan, "aaaaaaaaaaaa", 2), &mut netns)
            .unwrap_err();
        assert!(refused.to_string().starts_with("find bridge conex0: "), "{refused}");

        driver.ensure_bridge(&plan).unwrap();
        let unreachable = EndpointPlan {
            gateway: Some(IpAddr::from([10, 0, 0, 1])),
            ..endpoint(&plan, "aaaaaaaaaaaa", 2)
        };
        let refused = driver.connect(&unreachable, &mut netns).unwrap_err();
        assert!(
            refused.to_string().starts_with("configure interface eth0: "),
            "{refused}"
        );
        assert_eq!(
            driver.host_interfaces(&["conex0".to_owned()]).unwrap(),
            Vec::<String>::new()
        );
        driver.connect(&endpoint(&plan, "aaaaaaaaaaaa", 2), &mut netns).unwrap();
    });
}

#[test]
fn a_namespace_that_is_connected_already_is_refused_and_keeps_its_connection() {
    in_new_host(|host| {
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        driver.ensure_bridge(&plan).unwrap();
        let mut netns = connected(&driver, &plan, "aaaaaaaaaaaa", 2);
        assert!(driver.connect(&endpoint(&plan, "bbbbbbbbbbbb", 3), &mut netns).is_err());
        assert_eq!(
            driver.host_interfaces(&["conex0".to_owned()]).unwrap(),
            ["conexaaaaaaaaaa"]
        );
        assert!(talk(netns.as_fd(), host, Ipv4Addr::new(172, 17, 0, 2)).is_ok());
    });
}

#[test]
fn connections_are_made_at_once_from_many_threads() {
    in_new_host(|host| {
        let driver = BridgeDriver::open(2).unwrap();
        let driver: &dyn NetworkDriver = &driver;
        let plan = &default_plan();
        driver.ensure_bridge(plan).unwrap();
        let namespaces: Vec<_> = thread::scope(|scope| {
            let connect = |last: u8| {
                let mut netns = driver.take_namespace().unwrap();
                driver
                    .connect(&endpoint(plan, &format!("{last:010}"), last), &mut netns)
                    .unwrap();
                netns
            };
            let threads: Vec<_> = (2..18).map(|last| scope.spawn(move || connect(last))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(driver.host_interfaces(&["conex0".to_owned()]).unwrap().len(), 16);
        for (last, netns) in (2..).zip(&namespaces) {
            assert!(talk(netns.as_fd(), host, Ipv4Addr::new(172, 17, 0, last)).is_ok());
        }
    });
}

#[test]
fn a_leftover_of_the_same_endpoint_is_replaced() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        driver.ensure_bridge(&plan).unwrap();
        let _former = connected(&driver, &plan, "aaaaaaaaaaaa", 2);
        let _latter = connected(&driver, &plan, "aaaaaaaaaaaa", 2);
        assert_eq!(
            driver.host_interfaces(&["conex0".to_owned()]).unwrap(),
            ["conexaaaaaaaaaa"]
        );
    });
}

#[test]
fn nothing_is_left_when_all_is_removed() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        driver
            .apply_ruleset(&Ruleset {
                bridges: vec![plan.clone()],
                ..Ruleset::default()
            })
            .unwrap();
        let change = driver.ensure_bridge(&plan).unwrap();
        let ended = connected(&driver, &plan, "aaaaaaaaaaaa", 2);
        let kept = connected(&driver, &plan, "bbbbbbbbbbbb", 3);
        let mut interfaces = driver.host_interfaces(&["conex0".to_owned()]).unwrap();
        interfaces.sort();
        assert_eq!(interfaces, ["conexaaaaaaaaaa", "conexbbbbbbbbbb"]);

        drop(ended);
        await_interfaces(&driver, 1);
        driver.disconnect("conexbbbbbbbbbb").unwrap();
        driver.disconnect("conexbbbbbbbbbb").unwrap();
        drop(kept);
        for _ in 0..2 {
            driver.remove_bridge("conex0").unwrap();
            driver.remove_ruleset().unwrap();
        }
        driver.restore_forwarding(change.forwarding).unwrap();
        assert_eq!(driver.probe_bridge("conex0").unwrap(), None);
        assert_eq!(run("nft", &["list", "ruleset"]), "");
        let links = ip(&["-oneline", "link"]);
        assert!(!links.contains("conex") && !links.contains("veth"), "{links}");
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "0\n");
    });
}

/// The kernel dismantles a namespace in the background.
fn await_interfaces(driver: &BridgeDriver, expected: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while driver.host_interfaces(&["conex0".to_owned()]).unwrap().len() != expected {
        assert!(
            Instant::now() < deadline,
            "interfaces are left of a namespace that is closed"
        );
        thread::sleep(Duration::from_millis(5));
    }
}
