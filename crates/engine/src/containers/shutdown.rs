//! The end of all containers with the daemon: where it was told that they do not outlive it, or where the host goes down.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::containers::Container;
use crate::containers::lifecycle::KILL;
use crate::containers::task::{After, Order};
use crate::engine::Engine;
use crate::requests::StopRequest;

/// How long those that are killed at last may take to be gone.
const LAST: Duration = Duration::from_secs(5);

impl Engine {
    /// Stops all containers at once, each by its own signal and within its own time, and kills those that are left after
    /// `bound`; `None` waits for them. Their restart policies decide when the next daemon comes, as those of containers
    /// that ended with their host.
    pub async fn stop_containers(&self, bound: Option<Duration>) {
        let up = self.inner.containers.all().into_iter();
        let up: Vec<Arc<Container>> = up.filter(|container| container.view().state.is_up()).collect();
        tracing::info!(containers = up.len(), "stop all containers");
        let request = StopRequest::default();
        let stopping = join_all(up.iter().map(|container| async {
            if let Err(error) = self.stop_running(container, &request, After::Asker).await {
                tracing::warn!(container = %container.id, %error, "stop a container with the daemon");
            }
        }));
        match bound {
            None => drop(stopping.await),
            Some(bound) if tokio::time::timeout(bound, stopping).await.is_ok() => {}
            Some(_) => self.kill_containers(&up).await,
        }
    }

    async fn kill_containers(&self, up: &[Arc<Container>]) {
        let killing = join_all(up.iter().map(|container| async {
            let mut view = container.watch();
            // One that ends by itself meanwhile refuses, which is as good.
            let _ = container
                .order(|reply| Order::Signal {
                    signal: KILL,
                    after: After::Asker,
                    reply,
                })
                .await;
            let _ = view.wait_for(|view| !view.state.is_up()).await;
        }));
        if tokio::time::timeout(LAST, killing).await.is_err() {
            tracing::error!("some containers do not end; they are left to the next daemon");
        }
    }
}
