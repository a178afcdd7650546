//! `pause` and `resume`.

use anyhow::{Context, Result, bail};

use crate::arguments::{Global, Order, Parsed};
use crate::container::{Container, Status};

pub(super) fn pause(global: &Global, arguments: &[String]) -> Result<u8> {
    let container = load(global, arguments)?;
    match container.status() {
        Status::Running | Status::Created => {}
        _ => bail!("container not running"),
    }
    container.cgroup().freeze().context("unable to freeze")?;
    Ok(0)
}

pub(super) fn resume(global: &Global, arguments: &[String]) -> Result<u8> {
    let container = load(global, arguments)?;
    if container.status() != Status::Paused {
        bail!("container not paused");
    }
    container.cgroup().thaw().context("unable to thaw")?;
    Ok(0)
}

fn load(global: &Global, arguments: &[String]) -> Result<Container> {
    let arguments = Parsed::parse(arguments, &[], Order::Mixed)?;
    Container::load(global, arguments.only("<container-id>")?)
}
