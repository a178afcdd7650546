//! `update`: other limits for a container that exists.

use std::path::Path;

use anyhow::{Context, Result, bail};
use conex_cgroup::{Cgroup, Layout};
use conex_spec::oci::{cgroup_path, limits};
use conex_spec::plan::CgroupPlan;
use serde_json::{Map, Value, json};

use crate::arguments::{Flag, Global, Order, Parsed};
use crate::bundle;
use crate::container::{Container, Status};

const FLAGS: [Flag; 17] = [
    Flag::Value("resources", Some('r')),
    Flag::Value("blkio-weight", None),
    Flag::Value("cpu-period", None),
    Flag::Value("cpu-quota", None),
    Flag::Value("cpu-burst", None),
    Flag::Value("cpu-share", None),
    Flag::Value("cpu-rt-period", None),
    Flag::Value("cpu-rt-runtime", None),
    Flag::Value("cpuset-cpus", None),
    Flag::Value("cpuset-mems", None),
    Flag::Value("cpu-idle", None),
    Flag::Value("memory", None),
    Flag::Value("memory-reservation", None),
    Flag::Value("memory-swap", None),
    Flag::Value("pids-limit", None),
    Flag::Value("l3-cache-schema", None),
    Flag::Value("mem-bw-schema", None),
];

/// How the value of a flag is read.
enum Kind {
    Number,
    Bytes,
    Text,
}

/// The field of `linux.resources` behind each flag.
const FIELDS: [(&str, &str, Kind); 14] = [
    ("blkio-weight", "/blockIO/weight", Kind::Number),
    ("cpu-period", "/cpu/period", Kind::Number),
    ("cpu-quota", "/cpu/quota", Kind::Number),
    ("cpu-burst", "/cpu/burst", Kind::Number),
    ("cpu-share", "/cpu/shares", Kind::Number),
    ("cpu-rt-period", "/cpu/realtimePeriod", Kind::Number),
    ("cpu-rt-runtime", "/cpu/realtimeRuntime", Kind::Number),
    ("cpuset-cpus", "/cpu/cpus", Kind::Text),
    ("cpuset-mems", "/cpu/mems", Kind::Text),
    ("cpu-idle", "/cpu/idle", Kind::Number),
    ("memory", "/memory/limit", Kind::Bytes),
    ("memory-reservation", "/memory/reservation", Kind::Bytes),
    ("memory-swap", "/memory/swap", Kind::Bytes),
    ("pids-limit", "/pids/limit", Kind::Number),
];

pub(super) fn run(global: &Global, arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &FLAGS, Order::Mixed)?;
    let mut container = Container::load(global, arguments.only("<container-id>")?)?;
    let change = change(&arguments)?;
    if container.status() == Status::Stopped {
        bail!("container not running");
    }
    update_shares(&container, &arguments)?;
    let mut document: Value = serde_json::from_str(&container.text()?).context("parse the container's config.json")?;
    let linux = document
        .as_object_mut()
        .map(|root| root.entry("linux").or_insert(json!({})));
    let resources = linux
        .and_then(Value::as_object_mut)
        .context("the container has no linux section")?;
    let resources = resources.entry("resources").or_insert(json!({}));
    merge(resources, change);
    let text = document.to_string();
    let (spec, _) = bundle::specification(&text).context("parse the resources")?;
    let linux = spec.linux().as_ref().context("the container has no linux section")?;
    let wanted = linux.resources().as_ref().context("the container has no resources")?;
    let scope = container.record.scope.clone();
    let plan = CgroupPlan {
        path: match &scope {
            Some(scope) => scope.path()?,
            None => cgroup_path(linux, &container.record.id),
        },
        scope,
        resources: limits(wanted)?,
    };
    let layout = Layout::probe().context("probe the cgroups")?;
    Cgroup::update(&layout, &plan)?;
    container.publish_text(&text)?;
    container.add_cgroups(&layout.directories(&plan.path))?;
    Ok(0)
}

/// Shares of caches and bandwidth.
fn update_shares(container: &Container, arguments: &Parsed) -> Result<()> {
    let schemas = ["l3-cache-schema", "mem-bw-schema"].map(|name| arguments.value(name));
    if schemas == [None; 2] {
        return Ok(());
    }
    let group = container.record.resctrl.as_ref();
    // Whoever runs already could not be moved as one: a class is a matter of each thread.
    let group =
        group.context("the container was made without linux.intelRdt, and has no class of its own to be changed")?;
    group.update(schemas[0], schemas[1])
}

/// What the file or the flags say, in the shape of `linux.resources`.
fn change(arguments: &Parsed) -> Result<Value> {
    if let Some(file) = arguments.value("resources") {
        let text = match file {
            "-" => std::io::read_to_string(std::io::stdin()).context("read standard input")?,
            file => std::fs::read_to_string(Path::new(file)).with_context(|| format!("read {file}"))?,
        };
        let value: Value = serde_json::from_str(&text).with_context(|| format!("parse {file}"))?;
        if !value.is_object() {
            bail!("{file}: resources are an object");
        }
        return Ok(value);
    }
    let mut change = json!({});
    for (flag, field, kind) in &FIELDS {
        let Some(text) = arguments.value(flag) else { continue };
        let invalid = || format!("invalid value for {flag}: {text:?}");
        let value = match kind {
            Kind::Text => json!(text),
            Kind::Number => json!(text.parse::<i64>().with_context(invalid)?),
            Kind::Bytes if text == "-1" => json!(-1),
            Kind::Bytes => json!(conex_units::size::binary(text).with_context(invalid)?),
        };
        let parts: Vec<&str> = field.trim_start_matches('/').split('/').collect();
        let nested = parts.iter().rev().fold(value, |value, part| {
            Value::Object(Map::from_iter([((*part).to_owned(), value)]))
        });
        merge(&mut change, nested);
    }
    Ok(change)
}

/// Puts what is given over what there is, field by field; lists are replaced as a whole.
fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, value) in change {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Parsed {
        let arguments: Vec<String> = line.split(' ').map(String::from).collect();
        Parsed::parse(&arguments, &FLAGS, Order::Mixed).unwrap()
    }

    #[test]
    fn flags_become_fields_of_the_resources() {
        let change = change(&parsed(
            "--memory 64m --memory-swap -1 --cpuset-cpus 0-1 --cpu-quota=-1 id",
        ))
        .unwrap();
        let expected = json!({"memory": {"limit": 64 << 20, "swap": -1}, "cpu": {"cpus": "0-1", "quota": -1}});
        assert_eq!(change, expected);
    }

    #[test]
    fn what_is_no_number_is_refused_by_its_flag() {
        for line in ["--memory much id", "--cpu-share 1x id"] {
            let error = change(&parsed(line)).unwrap_err().to_string();
            assert!(error.starts_with("invalid value for "), "{error}");
        }
    }

    #[test]
    fn a_change_leaves_the_other_fields() {
        let mut resources = json!({"memory": {"limit": 1, "swap": 2}, "devices": [1]});
        merge(&mut resources, json!({"memory": {"limit": 3}, "pids": {"limit": 4}}));
        assert_eq!(
            resources,
            json!({"memory": {"limit": 3, "swap": 2}, "devices": [1], "pids": {"limit": 4}})
        );
    }
}
