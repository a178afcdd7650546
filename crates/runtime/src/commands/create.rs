//! `create`.

use anyhow::Result;

use crate::arguments::{Global, Order, Parsed};
use crate::launching;

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &launching::FLAGS, Order::Mixed)?;
    // Dropping what was made closes descriptors only: the process waits at the fifo.
    launching::make(global, &arguments, true).map(|_| 0)
}
