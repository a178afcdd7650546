//! Monitors that run another program than the template: they execute the template's in their own place, one after the other,
//! while their containers run.
//!
//! A monitor that refuses stays as it is. One that is lost takes its container with it, so that the others are left alone
//! until the daemon starts again.

use std::sync::Arc;

use conex_container::state::State;

use crate::containers::task::{Order, View};
use crate::containers::{Container, recovery};
use crate::engine::Inner;
use crate::error::ErrorKind;
use crate::template::Program;

/// Upgrades monitors whenever there is a template with another program than theirs.
pub(crate) fn start(engine: &Arc<Inner>) {
    let (engine, mut program) = (engine.clone(), engine.template.program());
    tokio::spawn(async move {
        while program.changed().await.is_ok() {
            let current = program.borrow_and_update().clone();
            if let Some(current) = current
                && upgrade_all(&engine, &current).await.is_err()
            {
                tracing::error!("a monitor was lost in its upgrade; the others keep their program");
                return;
            }
        }
    });
}

/// A monitor was lost.
struct Lost;

async fn upgrade_all(engine: &Inner, program: &Arc<Program>) -> Result<(), Lost> {
    let mut upgraded = 0;
    for container in engine.containers.all() {
        upgraded += u32::from(upgrade(&container, program).await?);
    }
    if upgraded > 0 {
        tracing::info!(upgraded, build = program.build, "upgraded monitors");
    }
    Ok(())
}

/// Whether the monitor runs the program now and has run another before.
async fn upgrade(container: &Container, program: &Arc<Program>) -> Result<bool, Lost> {
    let ends = container.watch().borrow().exits;
    let program = program.clone();
    let error = match container.order(|reply| Order::Upgrade { program, reply }).await {
        Ok(upgraded) => return Ok(upgraded),
        Err(error) => error,
    };
    tracing::warn!(container = %container.id, %error, "upgrade a monitor");
    // One that refuses says why; else its run is over, by an end of its own or by its loss.
    if error.kind() == ErrorKind::System || !was_lost(container, ends).await {
        return Ok(false);
    }
    Err(Lost)
}

async fn was_lost(container: &Container, ends: u64) -> bool {
    let mut view = container.watch();
    let is_over = |view: &View| view.exits > ends || matches!(view.state, State::Gone);
    let ended = view.wait_for(is_over).await;
    ended.is_ok_and(|view| view.last.as_ref().is_some_and(recovery::is_unknown))
}
