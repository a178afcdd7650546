//! `start`.

use anyhow::{Result, bail};

use crate::arguments::{Global, Order, Parsed};
use crate::container::{Container, Status};
use crate::{hooks, launching, report};

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &[], Order::Mixed)?;
    let container = Container::load(global, arguments.only("<container-id>")?)?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Paused => bail!("cannot start a paused container"),
        Status::Running => bail!("cannot start an already running container"),
        Status::Creating => bail!("cannot start a container in the creating state"),
    }
    start(global, &container)?;
    Ok(0)
}

/// Starts a created container and tells its hooks.
pub(super) fn start(global: &Global, container: &Container) -> Result<()> {
    launching::release(container)?;
    if let Err(error) = hooks::after_start(&container.spec()?, container) {
        // "log a warning, but ... continue".
        report::warn(global, &format!("{error:#}"));
    }
    Ok(())
}
