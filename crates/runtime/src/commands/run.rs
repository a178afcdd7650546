//! `run`.

use anyhow::Result;

use super::{delete, start};
use crate::arguments::{Global, Order, Parsed};
use crate::{foreground, launching};

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &launching::FLAGS, Order::Mixed)?;
    let detach = arguments.is_set("detach");
    let made = launching::make(global, &arguments, detach)?;
    if let Err(error) = start::start(global, &made.container) {
        // The first error is the one to tell.
        let _ = delete::delete(global, &made.container);
        return Err(error);
    }
    if detach {
        return Ok(0);
    }
    // Held namespaces would be torn down when we end, after the answer.
    drop(made.started.namespaces);
    let code = foreground::wait(&made.started.pidfd, made.started.stdio)?;
    if !arguments.is_set("keep") {
        delete::delete(global, &made.container)?;
    }
    Ok(code)
}
