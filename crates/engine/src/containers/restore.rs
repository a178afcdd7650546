//! The start of a daemon: every container of the store is found again, running or not.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use conex_container::health::{Check, Health};
use conex_container::restart::{Ended, Policy};
use conex_container::state::{Event, Exit, State};
use conex_protocol::daemon::{self, News};
use conex_protocol::message::{ExecState, FromMonitor, ToMonitor, VERSION};
use conex_sys::seqpacket::Socket;

use crate::containers::files::RunRecord;
use crate::containers::link::Link;
use crate::containers::records::ContainerRecord;
use crate::containers::recovery::{self, Found, Still};
use crate::containers::removal::Unnamed;
use crate::containers::shortage::Shortage;
use crate::containers::task::{Again, Greeted, Run, Task, View};
use crate::containers::{Container, boot, health, logs, pause, removal};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::networks::{connect, dns, rates};

/// Restores all containers, and collects what belongs to none.
pub(crate) async fn restore(engine: &Arc<Inner>) -> Result<()> {
    let records = engine.records.load()?;
    let known: HashSet<String> = records.iter().map(|record| record.id.clone()).collect();
    let mut waiting = Vec::new();
    for record in records {
        waiting.extend(restore_one(engine, record).await?);
    }
    boot::start(engine, waiting);
    engine.collect_images().await;
    engine.networks.collect();
    let idle = engine.clone();
    tokio::task::spawn_blocking(move || idle.volumes.collect());
    collect(engine, &known)
}

/// Restores a container; gives it back where its policy wants it started.
async fn restore_one(engine: &Arc<Inner>, record: ContainerRecord) -> Result<Option<Arc<Container>>> {
    let (container, (orders, publisher)) = Container::new(record, View::new(State::Created, Vec::new()));
    engine.containers.add(container.clone());
    if let Err(error) = pause::let_go_after_crash(engine, &container) {
        tracing::warn!(container = %container.id, %error, "let a container go on after a commit that was cut off");
    }
    let found = recovery::find(engine, &container).map_err(|error| {
        Error::new(
            ErrorKind::System,
            format!("restore container {}: {error}", container.id),
        )
    })?;
    let greeted = match found {
        Found::Monitor { socket, run, restarts } => greet(engine, &container, socket, *run)
            .await
            .map(|(run, state)| (run, state, restarts)),
        Found::Still(still) => Err(still),
    };
    let stays = recovery::is_stopped(engine, &container);
    if let Some(follow) = logs::forwarding(engine, &container, greeted.is_ok()).filter(|follow| follow.log.exists()) {
        engine.forwarder.follow(follow);
    }
    engine.volumes.adopt(&container, greeted.is_ok());
    match greeted {
        Ok((mut run, state, restarts)) => {
            // A connection or its end that was cut off has not happened, or has: the record says which.
            let config = &container.config;
            run.endpoints.retain(|endpoint| {
                config.endpoints.contains_key(&endpoint.name) && engine.networks.adopt(&container.id, endpoint)
            });
            run.endpoints = rates::settle(engine, &container, run.endpoints).await;
            // It may have another name than when it was connected.
            engine.networks.rename(&container);
            serve_names(engine, &container, &state, &run).await;
            publisher.send_replace(View {
                restarts,
                out_of_memory: run.was_out_of_memory(),
                health: known_health(engine, &container),
                ..View::new(state, run.endpoints.clone())
            });
            let again = Again::found(stays);
            Task::spawn(engine.clone(), container, orders, publisher, Some(run), again);
            Ok(None)
        }
        Err(still) => {
            if matches!(still.state, State::Exited(_)) && container.config.auto_remove {
                publisher.send_replace(View::new(still.state, Vec::new()));
                removal::remove(engine, &container, Unnamed::Go).await?;
                return Ok(None);
            }
            let (view, again) = resume(&container, still, stays);
            publisher.send_replace(View {
                health: known_health(engine, &container),
                ..view
            });
            let waits = publisher.borrow().state.is_restarting();
            Task::spawn(engine.clone(), container.clone(), orders, publisher, None, again);
            Ok(waits.then_some(container))
        }
    }
}

/// What checks of a container have shown.
fn known_health(engine: &Inner, container: &Container) -> Option<Arc<Health>> {
    Check::of(&container.config)?;
    health::load(engine, container).map(Arc::new)
}

/// What a container that does not run waits for: to be started again, where its policy says so.
fn resume(container: &Container, still: Still, stays: bool) -> (View, Again) {
    let Still {
        state,
        restarts,
        of_this_boot,
    } = still;
    let policy = Policy::of(&container.config.host.restart_policy);
    let wants = |exit: &Exit| {
        let ended = Ended {
            code: exit.code,
            restarts,
            stopped: stays,
        };
        exit.has_run() && policy.starts_with_daemon(&ended)
    };
    let waits = match &state {
        State::Exited(exit) if wants(exit) => state.on(Event::Await).ok(),
        _ => None,
    };
    let Some((waiting, _)) = waits else {
        let view = View {
            restarts,
            ..View::new(state, Vec::new())
        };
        return (view, Again::found(stays));
    };
    // What a client had stopped, and what went down with the host, begins anew.
    let restarts = if stays || !of_this_boot { 0 } else { restarts + 1 };
    let view = View {
        restarts,
        ..View::new(waiting, Vec::new())
    };
    (view, Again::default())
}

/// Serves the names of a running container's networks again: the sockets of the daemon before are gone.
async fn serve_names(engine: &Arc<Inner>, container: &Arc<Container>, state: &State, run: &Run) {
    let State::Running { pid, .. } = *state else { return };
    let (networks, endpoints) = (engine.clone(), run.endpoints.clone());
    let opened = tokio::task::spawn_blocking(move || connect::open_resolver(&networks, pid, &endpoints)).await;
    let served = match opened {
        Ok(Ok(Some(resolver))) => dns::serve(engine, &container.id, resolver).map_err(|error| error.to_string()),
        Ok(Ok(None)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = served {
        tracing::warn!(container = %container.id, error, "serve the names of a running container");
    }
}

/// Greets a monitor; the state of the container where it turns out to be gone.
async fn greet(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    socket: Socket,
    run: RunRecord,
) -> std::result::Result<(Run, State), Still> {
    match try_greet(engine, container, socket).await {
        Ok(Some((greeted, state))) => {
            let shortage = Shortage::watch(engine, container);
            Ok((Run::new(greeted, run.endpoints, shortage), state))
        }
        outcome => {
            if let Err(error) = outcome {
                tracing::warn!(container = %container.id, %error, "greet a monitor");
            }
            Err(recovery::settle(engine, container).unwrap_or_else(|error| {
                tracing::error!(container = %container.id, %error, "settle a run");
                Still {
                    state: State::Created,
                    restarts: 0,
                    of_this_boot: true,
                }
            }))
        }
    }
}

async fn try_greet(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    socket: Socket,
) -> std::io::Result<Option<(Greeted, State)>> {
    let link = Link::new(socket)?;
    let mut protocol = daemon::Run::reconnect();
    link.send(&ToMonitor::Hello { version: VERSION }, &[]).await?;
    // A monitor answers once its container runs; until then the connection waits.
    loop {
        let event = match link.receive::<FromMonitor>().await? {
            Some((message, _)) => daemon::Event::Message(message),
            None => daemon::Event::ChannelEnded,
        };
        for news in protocol.on(event) {
            match news {
                News::Started {
                    pid,
                    started_at,
                    execs,
                    build,
                } => {
                    let (checks, execs): (Vec<_>, Vec<_>) =
                        execs.into_iter().partition(|state| health::is_probe(&state.exec));
                    engine.execs.adopt(container, execs);
                    // Nobody waits for those that the last daemon has begun.
                    for ExecState { exec, .. } in checks {
                        link.send(&ToMonitor::EndExec { exec: exec.clone() }, &[]).await?;
                        link.send(&ToMonitor::ForgetExec { exec }, &[]).await?;
                    }
                    let paused = engine.cgroup(container).is_frozen();
                    let state = State::Running {
                        pid,
                        started_at,
                        paused,
                    };
                    let greeted = Greeted { link, protocol, build };
                    return Ok(Some((greeted, state)));
                }
                News::NotStarted(_) => return Ok(None),
                _ => {}
            }
        }
    }
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
                engine
                    .snapshots
                    .discard_stray(&entry.path())
                    .map_err(std::io::Error::other)
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
