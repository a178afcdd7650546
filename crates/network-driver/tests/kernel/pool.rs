//! Namespaces in reserve.

use std::fs;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use conex_network_driver::{Netns, NetnsPool};
use conex_sys::netns;

use crate::host::ip;

#[test]
fn the_reserve_is_filled_again_after_a_namespace_was_taken() {
    let pool = NetnsPool::new(2).unwrap();
    pool.warm().unwrap();
    assert_eq!(pool.ready(), 2);
    let taken = pool.take().unwrap();
    assert_eq!(pool.ready(), 1);
    let lo = netns::enter(taken.as_fd(), || ip(&["address", "show", "lo"])).unwrap();
    assert!(lo.contains("LOOPBACK,UP") && lo.contains("127.0.0.1/8"), "{lo}");
    pool.warm().unwrap();
    assert_eq!(pool.ready(), 2);
}

#[test]
fn an_empty_reserve_makes_namespaces_when_they_are_asked_for() {
    let pool = NetnsPool::new(0).unwrap();
    pool.warm().unwrap();
    let (one, two) = (pool.take().unwrap(), pool.take().unwrap());
    let own =
        |netns: &Netns| netns::enter(netns.as_fd(), || fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap();
    assert_ne!(own(&one), own(&two));
    assert_ne!(own(&one), fs::read_link("/proc/thread-self/ns/net").unwrap());
}

#[test]
fn a_burst_is_served_beyond_the_reserve() {
    let pool = NetnsPool::new(2).unwrap();
    let taken: Vec<_> = thread::scope(|scope| {
        let takers: Vec<_> = (0..6).map(|_| scope.spawn(|| pool.take().unwrap())).collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    assert_eq!(taken.len(), 6);
}

#[test]
fn closing_a_pool_does_not_wait_and_ends_its_thread() {
    let pool = NetnsPool::new(4).unwrap();
    pool.warm().unwrap();
    let start = Instant::now();
    drop(pool);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn a_namespace_that_was_handed_over_has_no_descriptor_of_ours_in_it() {
    let netns = Netns::create().unwrap();
    let namespace = netns.into_fd();
    let mut again = Netns::from_fd(namespace);
    again.loopback_up().unwrap();
}
