//! How long a connection takes and what it asks of the kernel.

use std::time::{Duration, Instant};

use conex_network_driver::{BridgeDriver, Netns, NetworkDriver};

use crate::host::{default_plan, endpoint, in_new_host};

/// Moving an interface into a namespace, or renaming one that is up, waits for an RCU grace period: 15 ms and more. The
/// bound is far above what a connection takes on a quiet machine (0.7 ms) and below that.
const BOUND: Duration = Duration::from_millis(10);

const ROUNDS: u8 = 40;

fn measure(mut act: impl FnMut(u8)) -> Vec<Duration> {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|round| {
            let start = Instant::now();
            act(round);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

#[test]
fn connecting_waits_for_no_grace_period() {
    in_new_host(|_| {
        // No reserve: filling it up would compete for the kernel's network lock.
        let driver = BridgeDriver::open(0).unwrap();
        let plan = default_plan();
        driver.ensure_bridge(&plan).unwrap();
        let mut namespaces: Vec<_> = (0..ROUNDS).map(|_| driver.take_namespace().unwrap()).collect();
        let times = measure(|round| {
            let id = format!("{round:010}");
            driver
                .connect(&endpoint(&plan, &id, round + 2), &mut namespaces[usize::from(round)])
                .unwrap();
        });
        let closing = measure(|_| drop(namespaces.pop()));
        let quarter = times.len() / 4;
        println!(
            "connect: min {:?}, quarter {:?}, median {:?}",
            times[0],
            times[quarter],
            times[2 * quarter]
        );
        println!(
            "close: min {:?}, median {:?}, max {:?}",
            closing[0],
            closing[2 * quarter],
            closing[times.len() - 1]
        );
        assert!(times[quarter] < BOUND, "{times:?}");
        assert!(closing[2 * quarter] < BOUND, "{closing:?}");
    });
}

#[test]
fn a_namespace_in_reserve_is_had_without_making_one() {
    let driver = BridgeDriver::open(usize::from(ROUNDS)).unwrap();
    driver.pool().warm().unwrap();
    let taking = measure(|_| drop(driver.take_namespace().unwrap()));
    let making = measure(|_| drop(Netns::create().unwrap()));
    let middle = taking.len() / 2;
    println!(
        "take: median {:?}; make: min {:?}, median {:?}",
        taking[middle], making[0], making[middle]
    );
    assert!(taking[middle] * 4 < making[middle], "{taking:?} {making:?}");
}
