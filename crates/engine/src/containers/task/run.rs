//! A run of a container as its owner holds it: the channel to its monitor, and who waits for what.

use std::collections::HashMap;

use conex_protocol::daemon;
use conex_protocol::message::{FromMonitor, Request};
use tokio::sync::oneshot;

use super::order::Pending;
use crate::containers::link::Link;
use crate::containers::shortage::Shortage;
use crate::networks::Endpoint;

/// A monitor that has told that its container runs.
pub(crate) struct Greeted {
    /// Connection to it.
    pub(crate) link: Link,
    /// What was said.
    pub(crate) protocol: daemon::Run,
    /// Which program it runs, where it can execute another in its place.
    pub(crate) build: Option<String>,
}

/// A container's running monitor.
pub(crate) struct Run {
    /// Connection to the monitor.
    pub(crate) link: Link,
    /// Released when the run ends.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Which program the monitor runs, where it can execute another in its place.
    pub(super) build: Option<String>,
    /// Tells when memory is out.
    pub(super) shortage: Option<Shortage>,
    pub(super) protocol: daemon::Run,
    pub(super) pending: HashMap<Request, Pending>,
    /// Who waits for the ends of health checks, by their execs.
    pub(super) probes: HashMap<String, oneshot::Sender<i32>>,
}

impl Run {
    /// A run that nothing was asked of yet.
    pub(crate) fn new(greeted: Greeted, endpoints: Vec<Endpoint>, shortage: Option<Shortage>) -> Self {
        Self {
            link: greeted.link,
            endpoints,
            build: greeted.build,
            shortage,
            protocol: greeted.protocol,
            pending: HashMap::new(),
            probes: HashMap::new(),
        }
    }

    /// Whether a process was killed for memory so far.
    pub(crate) fn was_out_of_memory(&self) -> bool {
        self.shortage.as_ref().is_some_and(|watch| watch.kills() > 0)
    }
}

/// What the run's channel says next; nothing ever where there is no run. Cancel-safe.
pub(super) async fn receive(run: Option<&Run>, container: &str) -> daemon::Event {
    let Some(run) = run else {
        return std::future::pending().await;
    };
    match run.link.receive::<FromMonitor>().await {
        Ok(Some((message, _))) => daemon::Event::Message(message),
        Ok(None) => daemon::Event::ChannelEnded,
        Err(error) => {
            tracing::error!(container, %error, "read from the monitor");
            daemon::Event::ChannelEnded
        }
    }
}

/// The end of a monitor that has nothing to say any more. Cancel-safe.
pub(super) async fn end_of(link: Option<&Link>) {
    let Some(link) = link else {
        return std::future::pending().await;
    };
    while let Ok(Some(_)) = link.receive::<FromMonitor>().await {}
}
