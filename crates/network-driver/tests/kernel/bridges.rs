//! Bridges and what is probed of the host.

use conex_network::nft::Ruleset;
use conex_network::{BridgePlan, BridgeRequest};
use conex_network_driver::{BridgeDriver, BridgeOrigin, DriverError, NetworkDriver};

use crate::host::{default_plan, in_new_host, ip, outer_world, run};

#[test]
fn a_bridge_is_completed_wherever_an_earlier_attempt_was_cut_off() {
    in_new_host(|_| {
        let plan = default_plan();
        ip(&[
            "link",
            "add",
            "conex0",
            "address",
            "02:42:ac:11:00:01",
            "type",
            "bridge",
        ]);
        ip(&["address", "add", "10.1.2.3/24", "dev", "conex0"]);
        for _ in 0..3 {
            let driver = BridgeDriver::open(0).unwrap();
            driver
                .apply_ruleset(&Ruleset {
                    bridges: vec![plan.clone()],
                    ..Ruleset::default()
                })
                .unwrap();
            assert_eq!(driver.ensure_bridge(&plan).unwrap().origin, BridgeOrigin::Adopted);
            let facts = driver.probe_bridge("conex0").unwrap().unwrap();
            assert_eq!(facts.address, Some(plan.gateway));
        }
        let interface = ip(&["address", "show", "conex0"]);
        assert!(
            interface.contains(",UP") && !interface.contains("10.1.2.3"),
            "{interface}"
        );
        assert_eq!(run("nft", &["list", "tables"]), "table ip conex\n");
        assert_eq!(run("nft", &["list", "ruleset"]).matches("chain postrouting").count(), 1);
    });
}

#[test]
fn a_new_bridge_is_as_planned_and_found_again() {
    in_new_host(|_| {
        let plan = BridgePlan {
            mtu: 1400,
            ..default_plan()
        };
        let driver = BridgeDriver::open(0).unwrap();
        assert_eq!(driver.probe_bridge("conex0").unwrap(), None);
        assert_eq!(driver.ensure_bridge(&plan).unwrap().origin, BridgeOrigin::Created);
        assert_eq!(driver.ensure_bridge(&plan).unwrap().origin, BridgeOrigin::Adopted);
        let interface = ip(&["address", "show", "conex0"]);
        for part in [
            "mtu 1400",
            ",UP",
            "02:42:ac:11:00:01",
            "inet 172.17.0.1/16 brd 172.17.255.255",
        ] {
            assert!(interface.contains(part), "{part}: {interface}");
        }
    });
}

#[test]
fn a_bridge_that_the_user_made_keeps_its_settings() {
    in_new_host(|_| {
        ip(&[
            "link",
            "add",
            "br0",
            "mtu",
            "1400",
            "address",
            "52:54:00:00:00:01",
            "type",
            "bridge",
        ]);
        ip(&["address", "add", "10.9.0.1/24", "dev", "br0"]);
        ip(&["address", "add", "10.8.0.1/24", "dev", "br0"]);
        let driver = BridgeDriver::open(0).unwrap();
        let existing = driver.probe_bridge("br0").unwrap().unwrap().address;
        let plan = BridgePlan::new(&BridgeRequest {
            existing,
            ..BridgeRequest::new("br0", &[])
        })
        .unwrap();
        driver.ensure_bridge(&plan).unwrap();
        let interface = ip(&["address", "show", "br0"]);
        for part in ["mtu 1400", "52:54:00:00:00:01", "10.9.0.1/24", "10.8.0.1/24"] {
            assert!(interface.contains(part), "{part}: {interface}");
        }
    });
}

#[test]
fn an_interface_that_is_no_bridge_is_left_alone() {
    in_new_host(|_| {
        ip(&["link", "add", "conex0", "type", "veth", "peer", "name", "other"]);
        let driver = BridgeDriver::open(0).unwrap();
        let refused = driver.ensure_bridge(&default_plan()).unwrap_err();
        assert_eq!(refused.to_string(), "existing interface conex0 is not a bridge");
        assert!(matches!(
            driver.remove_bridge("conex0"),
            Err(DriverError::NotABridge { .. })
        ));
        assert!(ip(&["link"]).contains("conex0"));
    });
}

#[test]
fn routes_are_probed_without_those_over_the_own_bridge() {
    in_new_host(|_| {
        let _world = outer_world();
        ip(&["route", "add", "default", "via", "192.0.2.2"]);
        ip(&["route", "add", "10.0.0.0/8", "via", "192.0.2.2", "table", "77"]);
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        let probed = |except| driver.probe_routes(except).unwrap();
        driver.ensure_bridge(&plan).unwrap();
        assert!(probed("nothing").contains(&plan.subnet()));
        let routes = probed("conex0");
        assert!(!routes.iter().any(|route| route.overlaps(plan.subnet())), "{routes:?}");
        for route in ["192.0.2.0/24", "10.0.0.0/8"] {
            assert!(routes.contains(&route.parse().unwrap()), "{route}: {routes:?}");
        }
    });
}

#[test]
fn a_host_with_many_routes_is_read_to_the_end() {
    in_new_host(|_| {
        let _world = outer_world();
        for third in 0..=255 {
            ip(&["route", "add", "prohibit", &format!("10.7.{third}.0/24")]);
        }
        let batch: Vec<_> = BridgeDriver::open(0).unwrap().probe_routes("conex0").unwrap();
        assert_eq!(
            batch
                .iter()
                .filter(|route| route.to_string().starts_with("10.7."))
                .count(),
            256
        );
    });
}
