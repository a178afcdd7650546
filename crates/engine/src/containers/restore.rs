//! The start of a daemon: every container of the store is found again, running or not.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use conex_container::state::State;
use conex_protocol::message::{FromMonitor, ToMonitor, VERSION};
use conex_sys::seqpacket::Socket;

use crate::containers::files::RunRecord;
use crate::containers::link::Link;
use crate::containers::records::ContainerRecord;
use crate::containers::recovery::{self, Found};
use crate::containers::task::{Run, Task, View};
use crate::containers::{Container, removal};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::network::Endpoint;

/// Restores all containers, and collects what belongs to none.
pub(crate) async fn restore(engine: &Arc<Inner>) -> Result<()> {
    let records = engine.records.load()?;
    let known: HashSet<String> = records.iter().map(|record| record.id.clone()).collect();
    let mut endpoints = Vec::new();
    for record in records {
        if let Some(endpoint) = restore_one(engine, record).await? {
            endpoints.push(endpoint);
        }
    }
    engine.network.collect(&endpoints);
    collect(engine, &known)
}

async fn restore_one(engine: &Arc<Inner>, record: ContainerRecord) -> Result<Option<Endpoint>> {
    let (container, (orders, publisher)) = Container::new(record, View::new(State::Created, None));
    engine.containers.add(container.clone());
    let found = recovery::find(engine, &container).map_err(|error| {
        Error::new(
            ErrorKind::System,
            format!("restore container {}: {error}", container.id),
        )
    })?;
    let greeted = match found {
        Found::Monitor(socket, run) => greet(engine, &container, socket, *run).await,
        Found::Still(state) => Err(state),
    };
    match greeted {
        Ok((run, state)) => {
            let endpoint = run.endpoint.clone();
            if let Some(endpoint) = &endpoint {
                engine.network.adopt(endpoint);
            }
            publisher.send_replace(View::new(state, endpoint.clone()));
            Task::spawn(engine.clone(), container, orders, publisher, Some(run));
            Ok(endpoint)
        }
        Err(state) => {
            let ended = matches!(state, State::Exited(_));
            publisher.send_replace(View::new(state, None));
            if ended && container.config.auto_remove {
                removal::remove(engine, &container).await?;
                return Ok(None);
            }
            Task::spawn(engine.clone(), container, orders, publisher, None);
            Ok(None)
        }
    }
}

/// Greets a monitor; the state of the container where it turns out to be gone.
async fn greet(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    socket: Socket,
    run: RunRecord,
) -> std::result::Result<(Run, State), State> {
    match try_greet(engine, container, socket).await {
        Ok(Some((link, pid, started_at))) => Ok((Run::new(link, run.endpoint), State::Running { pid, started_at })),
        outcome => {
            if let Err(error) = outcome {
                tracing::warn!(container = %container.id, %error, "greet a monitor");
            }
            let exit = recovery::exit_after_loss(engine, container);
            Err(State::Exited(exit))
        }
    }
}

async fn try_greet(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    socket: Socket,
) -> std::io::Result<Option<(Link, i32, String)>> {
    let link = Link::new(socket)?;
    link.send(&ToMonitor::Hello { version: VERSION }, &[]).await?;
    while let Some((message, _)) = link.receive().await? {
        match message {
            // A monitor answers only once its container runs; until then the connection waits.
            FromMonitor::Hello {
                pid, started_at, execs, ..
            } if pid > 0 => {
                engine.execs.adopt(container, execs);
                return Ok(Some((link, pid, started_at)));
            }
            FromMonitor::Started { pid, started_at } => return Ok(Some((link, pid, started_at))),
            FromMonitor::Exited(_) | FromMonitor::StartFailed(_) => return Ok(None),
            _ => {}
        }
    }
    Ok(None)
}

/// Discards directories of containers that are not in the store: their removal was cut off after the record was gone.
fn collect(engine: &Inner, known: &HashSet<String>) -> Result<()> {
    for dir in [engine.files.data(), engine.files.run()] {
        let failed =
            |error: std::io::Error| Error::new(ErrorKind::System, format!("collect {}: {error}", dir.display()));
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if known.contains(&name) {
                continue;
            }
            engine.kill_cgroup_of(&name);
            let removed = if dir == engine.files.data() {
                engine.snapshots.discard(&entry.path()).map_err(std::io::Error::other)
            } else {
                fs::remove_dir_all(entry.path())
            };
            if let Err(error) = removed {
                tracing::warn!(%error, "collect {}", entry.path().display());
            }
        }
    }
    Ok(())
}
