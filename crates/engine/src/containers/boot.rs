//! The order in which containers are started with the daemon: what Compose says of its services (`depends_on`) holds here,
//! too. Who shares namespaces of another container comes after that one.
//!
//! A container that waits for others is started when each of them is as its condition wants it, or when that cannot come
//! about any more, or after a while: a service that comes up without another is better than none, and the log says so.

use std::sync::Arc;
use std::time::Duration;

use conex_container::depends_on::{Condition, Dependency, dependencies, service};
use conex_container::health::{Check, Status};
use conex_container::state::State;

use crate::containers::task::{Order, View};
use crate::containers::{Container, namespaces};
use crate::engine::Inner;

/// How long a container waits for those that it depends on.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a container's view says of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Met,
    NotYet,
    Never,
}

/// Starts those that are to be started with the daemon, each as soon as what it depends on is there.
pub(crate) fn start(engine: &Arc<Inner>, waiting: Vec<Arc<Container>>) {
    for container in waiting {
        let (engine, dependencies) = (engine.clone(), dependencies(&container.config.labels));
        tokio::spawn(async move {
            let all = async {
                for dependency in &dependencies {
                    wait_for(&engine, &container, dependency).await;
                }
                for other in namespaces::others(&engine, &container.config) {
                    wait_until(&container, &other, Condition::Started).await;
                }
            };
            if tokio::time::timeout(PATIENCE, all).await.is_err() {
                tracing::warn!(container = %container.id, "start a container without what it depends on: it waited for long");
            }
            container.tell(Order::StartAgain);
        });
    }
}

/// Waits until all containers of a service are as the condition wants them.
async fn wait_for(engine: &Inner, container: &Container, dependency: &Dependency) {
    let project = service(&container.config.labels).map(|(project, _)| project);
    let others = engine.containers.all().into_iter().filter(|other| {
        let is_it = service(&other.config.labels) == project.map(|project| (project, dependency.service.as_str()));
        is_it && other.id != container.id
    });
    for other in others.collect::<Vec<_>>() {
        wait_until(container, &other, dependency.condition).await;
    }
}

/// Waits until another container is as the condition wants it, or cannot be.
async fn wait_until(container: &Container, other: &Container, condition: Condition) {
    let has_check = Check::of(&other.config).is_some();
    let mut view = other.watch();
    let judge = |view: &View| answer(view, condition, has_check);
    let settled = view.wait_for(|view| judge(view) != Answer::NotYet).await;
    if !settled.is_ok_and(|view| judge(&view) == Answer::Met) {
        tracing::warn!(
            container = %container.id,
            other = other.name,
            "start a container without what it depends on: that does not come up"
        );
    }
}

fn answer(view: &View, condition: Condition, has_check: bool) -> Answer {
    let status = view.health.as_ref().map_or(Status::Starting, |health| health.status);
    match (&view.state, condition) {
        (State::Running { .. }, Condition::Started) => Answer::Met,
        (State::Running { .. }, Condition::Healthy) if !has_check => Answer::Never,
        (State::Running { .. }, Condition::Healthy) => match status {
            Status::Healthy => Answer::Met,
            Status::Unhealthy => Answer::Never,
            Status::Starting => Answer::NotYet,
        },
        (State::Exited(exit), Condition::Completed) if exit.has_run() && exit.code == 0 => Answer::Met,
        (State::Running { .. } | State::Starting { .. } | State::Restarting(_), _) => Answer::NotYet,
        (State::Created | State::Exited(_) | State::Removing | State::Gone, _) => Answer::Never,
    }
}
