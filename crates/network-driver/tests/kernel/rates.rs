//! Limits of what passes.

use conex_network::rate::{Rate, Rates};
use conex_network::{EndpointPlan, ifb_beside};
use conex_network_driver::{BridgeDriver, NetworkDriver};

use crate::host::{default_plan, endpoint, in_new_host, ip, run};

const INTERFACE: &str = "conexaaaaaaaaaa";
const IFB: &str = "cxifbaaaaaaaaaa";

const SLOW: Rate = Rate {
    bytes_per_second: 1_250_000,
    burst: 64 << 10,
};

/// More than fits into the kernel's old field, in bytes per second.
const FAST: Rate = Rate {
    bytes_per_second: 5_000_000_000,
    burst: 1 << 20,
};

fn limited(ingress: Option<Rate>, egress: Option<Rate>) -> EndpointPlan {
    endpoint(&default_plan(), "aaaaaaaaaaaa", 2).with_rates(Rates { ingress, egress })
}

fn queues(interface: &str) -> String {
    run("tc", &["qdisc", "show", "dev", interface])
}

fn filters() -> String {
    run("tc", &["filter", "show", "dev", INTERFACE, "parent", "ffff:"])
}

/// Names of all interfaces of a kind.
fn interfaces(kind: &str) -> Vec<String> {
    let listed = ip(&["-brief", "link", "show", "type", kind]);
    let names = listed.lines().filter_map(|line| line.split([' ', '@']).next());
    names.map(str::to_owned).collect()
}

#[test]
fn a_limited_connection_has_queues_at_the_hosts_end_and_others_have_none() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        driver.ensure_bridge(&default_plan()).unwrap();
        let mut netns = driver.take_namespace().unwrap();
        driver.connect(&limited(Some(SLOW), Some(FAST)), &mut netns).unwrap();
        let to_it = queues(INTERFACE);
        assert!(
            to_it.contains("tbf 1: root") && to_it.contains("rate 10Mbit burst 64Kb"),
            "{to_it}"
        );
        let from_it = queues(IFB);
        assert!(
            from_it.contains("tbf 1: root") && from_it.contains("rate 40Gbit"),
            "{from_it}"
        );
        let led = filters();
        assert!(led.contains(&format!("Egress Redirect to device {IFB}")), "{led}");
        let ifb = ip(&["-details", "address", "show", IFB]);
        assert!(
            ifb.contains(",UP") && ifb.contains("alias conex0") && !ifb.contains("inet6"),
            "{ifb}"
        );

        let mut other = driver.take_namespace().unwrap();
        driver
            .connect(&endpoint(&default_plan(), "bbbbbbbbbbbb", 3), &mut other)
            .unwrap();
        assert!(queues("conexbbbbbbbbbb").contains("noqueue"));
        assert_eq!(interfaces("ifb"), [IFB]);
    });
}

#[test]
fn limits_are_changed_in_place_and_taken_away() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        driver.ensure_bridge(&default_plan()).unwrap();
        let mut netns = driver.take_namespace().unwrap();
        driver.connect(&limited(None, None), &mut netns).unwrap();
        assert_eq!(interfaces("ifb"), <[String; 0]>::default());
        for _ in 0..2 {
            driver.change_rates(&limited(Some(SLOW), Some(SLOW))).unwrap();
            assert!(queues(INTERFACE).contains("rate 10Mbit"));
            assert!(queues(IFB).contains("rate 10Mbit"));
            assert_eq!(filters().matches("action order").count(), 1, "{}", filters());
        }
        driver.change_rates(&limited(None, Some(FAST))).unwrap();
        let to_it = queues(INTERFACE);
        assert!(!to_it.contains("tbf") && to_it.contains("ingress"), "{to_it}");
        assert!(queues(IFB).contains("rate 40Gbit"));
        for _ in 0..2 {
            driver.change_rates(&limited(None, None)).unwrap();
            let to_it = queues(INTERFACE);
            assert!(!to_it.contains("tbf") && !to_it.contains("ingress"), "{to_it}");
            assert_eq!(interfaces("ifb"), <[String; 0]>::default());
        }
    });
}

#[test]
fn what_leads_nowhere_is_led_anew() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        driver.ensure_bridge(&default_plan()).unwrap();
        let mut netns = driver.take_namespace().unwrap();
        driver.connect(&limited(None, Some(SLOW)), &mut netns).unwrap();
        ip(&["link", "delete", IFB]);
        driver.change_rates(&limited(None, Some(SLOW))).unwrap();
        let led = filters();
        assert!(led.contains(&format!("Egress Redirect to device {IFB}")), "{led}");
    });
}

#[test]
fn disconnecting_takes_the_limits_along_and_so_does_a_connection_that_fails() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        driver.ensure_bridge(&default_plan()).unwrap();
        let mut netns = driver.take_namespace().unwrap();
        let plan = limited(Some(SLOW), Some(SLOW));
        driver.connect(&plan, &mut netns).unwrap();
        driver.disconnect(INTERFACE).unwrap();
        assert_eq!(
            [interfaces("ifb"), interfaces("veth")].concat(),
            <[String; 0]>::default()
        );

        // An interface that is no such has its name, and cannot queue what it is to queue.
        ip(&["link", "add", IFB, "type", "bridge"]);
        let nameless = EndpointPlan {
            gateway: Some("192.0.2.1".parse().unwrap()),
            ..plan
        };
        driver.connect(&nameless, &mut netns).unwrap_err();
        assert_eq!(
            [interfaces("ifb"), interfaces("veth")].concat(),
            <[String; 0]>::default()
        );
    });
}

#[test]
fn what_is_left_of_a_connection_is_told_by_the_name_of_its_bridge() {
    in_new_host(|_| {
        let driver = BridgeDriver::open(0).unwrap();
        driver.ensure_bridge(&default_plan()).unwrap();
        let mut netns = driver.take_namespace().unwrap();
        driver.connect(&limited(None, Some(SLOW)), &mut netns).unwrap();
        drop(netns);
        // Of somebody else: by its name, and by its note.
        ip(&["link", "add", "ifb7", "type", "ifb"]);
        ip(&["link", "set", "ifb7", "alias", "conex0"]);
        ip(&["link", "add", "cxifbbbbbbbbbbb", "type", "ifb"]);
        ip(&["link", "set", "cxifbbbbbbbbbbb", "alias", "other0"]);
        let left = || driver.host_interfaces(&["conex0".to_owned()]).unwrap();
        let started = std::time::Instant::now();
        while !interfaces("veth").is_empty() && started.elapsed().as_secs() < 10 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(left(), [INTERFACE]);
        assert_eq!(ifb_beside(INTERFACE), IFB);
        driver.forget_rates(INTERFACE).unwrap();
        driver.forget_rates(INTERFACE).unwrap();
        assert_eq!(left(), <[String; 0]>::default());
        assert_eq!(interfaces("ifb").len(), 2);
    });
}
