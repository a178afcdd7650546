//! Network namespaces made in advance.
//!
//! Making one takes the kernel a millisecond and a half, more than connecting it. A thread makes them when nothing
//! else goes on; `take` hands one over in microseconds and makes one itself only where the reserve is used up.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{DriverError, Result};
use crate::namespace::Netns;

/// How long nothing must have been taken before the reserve is filled up: a container that is being started has the
/// processors and the kernel's network lock for itself.
const QUIET: Duration = Duration::from_millis(20);

/// How long filling up waits after the kernel refused a namespace.
const RETRY: Duration = Duration::from_secs(1);

/// A reserve of network namespaces with the loopback interface up.
#[derive(Debug)]
pub struct NetnsPool {
    shared: Arc<Shared>,
    filler: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    reserve: Mutex<Reserve>,
    changed: Condvar,
    target: usize,
}

#[derive(Debug)]
struct Reserve {
    ready: Vec<Netns>,
    taken_at: Option<Instant>,
    refused: Option<DriverError>,
    closing: bool,
}

impl NetnsPool {
    /// Keeps `target` namespaces ready, from now on in the background; none and no thread where it is 0.
    pub fn new(target: usize) -> Result<Self> {
        let reserve = Reserve {
            ready: Vec::new(),
            taken_at: None,
            refused: None,
            closing: false,
        };
        let shared = Arc::new(Shared {
            reserve: Mutex::new(reserve),
            changed: Condvar::new(),
            target,
        });
        let spawn = |shared: Arc<Shared>| {
            thread::Builder::new()
                .name("netns-pool".to_owned())
                .spawn(move || fill(&shared))
        };
        let filler = (target > 0).then(|| spawn(shared.clone())).transpose();
        let filler = filler.map_err(|source| DriverError::Namespace {
            operation: "start a thread for",
            source,
        })?;
        Ok(Self { shared, filler })
    }

    /// One of the reserve, else a new one.
    pub fn take(&self) -> Result<Netns> {
        let mut reserve = self.shared.reserve();
        let taken = reserve.ready.pop();
        reserve.taken_at = Some(Instant::now());
        drop(reserve);
        self.shared.changed.notify_all();
        taken.map_or_else(Netns::create, Ok)
    }

    /// Waits until the reserve is full, or reports why it cannot be filled.
    pub fn warm(&self) -> Result<()> {
        let mut reserve = self.shared.reserve();
        while reserve.ready.len() < self.shared.target {
            if let Some(refused) = reserve.refused.take() {
                return Err(refused);
            }
            reserve = self
                .shared
                .changed
                .wait(reserve)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Number of namespaces in reserve.
    pub fn ready(&self) -> usize {
        self.shared.reserve().ready.len()
    }
}

impl Drop for NetnsPool {
    fn drop(&mut self) {
        self.shared.reserve().closing = true;
        self.shared.changed.notify_all();
        if let Some(filler) = self.filler.take() {
            // It has nothing to report, and a panic of it has been printed.
            let _ = filler.join();
        }
    }
}

impl Shared {
    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fill(shared: &Shared) {
    loop {
        let pause = {
            let reserve = shared.reserve();
            if reserve.closing {
                return;
            }
            if reserve.ready.len() >= shared.target {
                drop(shared.changed.wait(reserve).unwrap_or_else(PoisonError::into_inner));
                continue;
            }
            let quiet_for = reserve.taken_at.map_or(QUIET, |taken| taken.elapsed());
            let pause = if reserve.refused.is_some() {
                RETRY
            } else {
                QUIET.saturating_sub(quiet_for)
            };
            if pause.is_zero() { None } else { Some((reserve, pause)) }
        };
        if let Some((reserve, pause)) = pause {
            let (mut reserve, _) = shared
                .changed
                .wait_timeout(reserve, pause)
                .unwrap_or_else(PoisonError::into_inner);
            reserve.refused = None;
            continue;
        }
        let created = Netns::create();
        let mut reserve = shared.reserve();
        match created {
            Ok(netns) => reserve.ready.push(netns),
            Err(refused) => reserve.refused = Some(refused),
        }
        drop(reserve);
        shared.changed.notify_all();
    }
}
