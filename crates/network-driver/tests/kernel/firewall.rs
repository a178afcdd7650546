//! What the firewall lets through.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use conex_network::nft::Ruleset;
use conex_network::{BridgePlan, EndpointPlan, Icc, Masquerade};
use conex_network_driver::{BridgeDriver, DriverError, Forwarding, NetworkDriver};
use conex_sys::netns;

use crate::host::{connected, default_plan, in_new_host, ip, outer_world, run, talk};

#[test]
fn packets_to_the_outer_world_carry_the_hosts_address() {
    in_new_host(|_| {
        let world = outer_world();
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        driver
            .apply_ruleset(&Ruleset {
                bridges: vec![plan.clone()],
                ..Ruleset::default()
            })
            .unwrap();
        assert_eq!(driver.ensure_bridge(&plan).unwrap().forwarding, Forwarding::TurnedOn);
        assert_eq!(driver.ensure_bridge(&plan).unwrap().forwarding, Forwarding::WasOn);
        let container = connected(&driver, &plan, "aaaaaaaaaaaa", 2);
        let out = || talk(world.as_fd(), container.as_fd(), Ipv4Addr::new(192, 0, 2, 2));

        assert_eq!(out().unwrap(), IpAddr::from([192, 0, 2, 1]));
        let routed = BridgePlan {
            masquerade: Masquerade::Off,
            ..plan.clone()
        };
        driver
            .apply_ruleset(&Ruleset {
                bridges: vec![routed],
                ..Ruleset::default()
            })
            .unwrap();
        assert!(out().is_err(), "the outer world has no route to the container");
        netns::enter(world.as_fd(), || {
            ip(&["route", "add", "172.17.0.0/16", "via", "192.0.2.1"])
        })
        .unwrap();
        assert_eq!(out().unwrap(), IpAddr::from([172, 17, 0, 2]));
    });
}

#[test]
fn the_outer_world_reaches_no_container_by_itself() {
    in_new_host(|_| {
        let world = outer_world();
        netns::enter(world.as_fd(), || {
            ip(&["route", "add", "172.17.0.0/16", "via", "192.0.2.1"])
        })
        .unwrap();
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        driver
            .apply_ruleset(&Ruleset {
                bridges: vec![plan.clone()],
                ..Ruleset::default()
            })
            .unwrap();
        driver.ensure_bridge(&plan).unwrap();
        let container = connected(&driver, &plan, "aaaaaaaaaaaa", 2);
        let inward = || talk(container.as_fd(), world.as_fd(), Ipv4Addr::new(172, 17, 0, 2));

        assert!(inward().is_err());
        driver.remove_ruleset().unwrap();
        assert!(inward().is_ok(), "without the table nothing keeps it out");
    });
}

#[test]
fn denied_communication_isolates_containers_from_one_another_only() {
    in_new_host(|host| {
        let driver = BridgeDriver::open(0).unwrap();
        let plan = BridgePlan {
            icc: Icc::Denied,
            ..default_plan()
        };
        driver
            .apply_ruleset(&Ruleset {
                bridges: vec![plan.clone()],
                ..Ruleset::default()
            })
            .unwrap();
        driver.ensure_bridge(&plan).unwrap();
        let one = connected(&driver, &plan, "aaaaaaaaaaaa", 2);
        let two = connected(&driver, &plan, "bbbbbbbbbbbb", 3);

        assert!(talk(one.as_fd(), two.as_fd(), Ipv4Addr::new(172, 17, 0, 2)).is_err());
        assert!(talk(host, one.as_fd(), Ipv4Addr::new(172, 17, 0, 1)).is_ok());
    });
}

#[test]
fn one_bridge_does_not_reach_another() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        let one = default_plan();
        let gateway = "10.9.0.1/24".parse().unwrap();
        let two = BridgePlan {
            name: "conex1".to_owned(),
            gateway,
            ..default_plan()
        };
        driver
            .apply_ruleset(&Ruleset {
                bridges: vec![one.clone(), two.clone()],
                ..Ruleset::default()
            })
            .unwrap();
        driver.ensure_bridge(&one).unwrap();
        driver.ensure_bridge(&two).unwrap();
        let first = connected(&driver, &one, "aaaaaaaaaaaa", 2);
        let mut second = driver.take_namespace().unwrap();
        let address = IpAddr::from([10, 9, 0, 2]);
        driver
            .connect(
                &EndpointPlan::new(&two, "bbbbbbbbbbbb", 0, address)
                    .unwrap()
                    .with_default_route(),
                &mut second,
            )
            .unwrap();
        let across = || talk(second.as_fd(), first.as_fd(), Ipv4Addr::new(10, 9, 0, 2));

        assert!(across().is_err());
        driver.remove_ruleset().unwrap();
        assert!(across().is_ok(), "without the table the host passes it on");
    });
}

#[test]
fn a_ruleset_that_nft_refuses_changes_nothing() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        driver
            .apply_ruleset(&Ruleset {
                bridges: vec![plan.clone()],
                ..Ruleset::default()
            })
            .unwrap();
        let before = run("nft", &["list", "ruleset"]);
        let broken = BridgePlan {
            name: "a\" \"b".to_owned(),
            ..plan
        };
        let refused = driver
            .apply_ruleset(&Ruleset {
                bridges: vec![broken],
                ..Ruleset::default()
            })
            .unwrap_err();
        assert!(matches!(refused, DriverError::Ruleset { .. }), "{refused}");
        assert_eq!(run("nft", &["list", "ruleset"]), before);
    });
}
