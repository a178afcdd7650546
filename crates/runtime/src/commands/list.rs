//! `list`.

use std::fs;

use anyhow::{Context, Result, bail};

use super::state;
use crate::arguments::{Flag, Global, Order, Parsed};
use crate::container::Container;

const FLAGS: [Flag; 2] = [Flag::Value("format", Some('f')), Flag::Switch("quiet", Some('q'))];

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &FLAGS, Order::Mixed)?;
    let containers = containers(global)?;
    match (arguments.is_set("quiet"), arguments.value("format")) {
        (true, _) => containers
            .iter()
            .for_each(|container| println!("{}", container.record.id)),
        (false, Some("json")) => {
            let states: Vec<_> = containers
                .iter()
                .map(|container| state::document(container, container.status()))
                .collect();
            println!("{}", serde_json::to_string(&states)?);
        }
        (false, None | Some("table")) => {
            println!("{:<20} {:<8} {:<9} {:<32} CREATED", "ID", "PID", "STATUS", "BUNDLE");
            for container in &containers {
                let (record, status) = (&container.record, container.status());
                let bundle = record.bundle.display().to_string();
                println!(
                    "{:<20} {:<8} {:<9} {bundle:<32} {}",
                    record.id,
                    record.pid,
                    status.name(),
                    record.created
                );
            }
        }
        (false, Some(other)) => bail!("invalid format option {other:?}"),
    }
    Ok(0)
}

/// Those with a state, by name; what is being made or removed at this moment is passed over.
fn containers(global: &Global) -> Result<Vec<Container>> {
    if !global.root.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&global.root).with_context(|| format!("read {}", global.root.display()))?;
    let mut containers: Vec<Container> = entries
        .flatten()
        .filter_map(|entry| Container::load(global, &entry.file_name().to_string_lossy()).ok())
        .collect();
    containers.sort_by(|one, other| one.record.id.cmp(&other.record.id));
    Ok(containers)
}
