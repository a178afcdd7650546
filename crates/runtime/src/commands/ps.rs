//! `ps`: the processes of a container, as ps(1) of the host shows them.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::arguments::{Flag, Global, Order, Parsed};
use crate::container::Container;

const FLAGS: [Flag; 1] = [Flag::Value("format", Some('f'))];

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &FLAGS, Order::UpTo(1))?;
    let Some((id, options)) = arguments.positional.split_first() else {
        bail!("a container id is required")
    };
    let container = Container::load(global, id)?;
    let mut pids = container.cgroup().processes().context("list the processes")?;
    pids.sort_unstable();
    match arguments.value("format") {
        Some("json") => println!("{}", serde_json::to_string(&pids)?),
        None | Some("table") => print!("{}", table(&pids, options)?),
        Some(other) => bail!("invalid format option {other:?}"),
    }
    Ok(0)
}

/// The heading, and the lines whose column `PID` is one of these.
fn table(pids: &[i32], options: &[String]) -> Result<String> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default } else { options };
    let output = Command::new("ps").args(options).output().context("execute ps")?;
    if !output.status.success() {
        bail!("ps: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|name| name == "PID");
    let column = column.context("couldn't find PID field in ps output")?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let ours = lines.filter(is_ours);
    Ok([heading]
        .into_iter()
        .chain(ours)
        .map(|line| format!("{line}\n"))
        .collect())
}
