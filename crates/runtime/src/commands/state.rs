//! `state`.

use anyhow::Result;
use conex_spec::oci::VERSION;
use serde_json::{Value, json};

use crate::arguments::{Global, Order, Parsed};
use crate::container::{Container, Status};

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &[], Order::Mixed)?;
    let container = Container::load(global, arguments.only("<container-id>")?)?;
    let status = container.status();
    println!("{}", serde_json::to_string_pretty(&document(&container, status))?);
    Ok(0)
}

/// The state with runc's additional fields.
pub(crate) fn document(container: &Container, status: Status) -> Value {
    let record = &container.record;
    let mut document = json!({
        "ociVersion": VERSION,
        "id": record.id,
        "pid": if status == Status::Stopped { 0 } else { record.pid },
        "status": status.name(),
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "owner": "",
    });
    if !record.annotations.is_empty() {
        document["annotations"] = json!(record.annotations);
    }
    document
}
