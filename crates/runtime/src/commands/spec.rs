//! `spec`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::arguments::{Flag, Order, Parsed};

const FLAGS: [Flag; 2] = [Flag::Value("bundle", Some('b')), Flag::Switch("rootless", None)];

pub(super) fn run(arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &FLAGS, Order::Mixed)?;
    let file = Path::new(arguments.value("bundle").unwrap_or(".")).join("config.json");
    if file.exists() {
        bail!("File {} exists. Remove it first", file.display());
    }
    let mut document = serde_json::to_value(Spec::default())?;
    if arguments.is_set("rootless") {
        let own = (rustix::process::geteuid(), rustix::process::getegid());
        make_rootless(&mut document, (own.0.as_raw(), own.1.as_raw()));
    }
    let text = serde_json::to_string_pretty(&document)?;
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(0)
}

/// Makes a specification one for a caller without rights on the host, as runc writes it: a user namespace that maps the caller
/// alone, the host's network and `/sys` (a new one belongs to a network namespace), and no limits.
fn make_rootless(document: &mut Value, (uid, gid): (u32, u32)) {
    for mount in document["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            *mount = json!({
                "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
            });
        }
        // Others than the caller are not mapped.
        if let Some(options) = mount["options"].as_array_mut() {
            let is_owner = |option: &str| option.starts_with("uid=") || option.starts_with("gid=");
            options.retain(|option| !option.as_str().is_some_and(is_owner));
        }
    }
    let Some(linux) = document["linux"].as_object_mut() else {
        return;
    };
    linux.remove("resources");
    let mapping = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    linux.insert("uidMappings".to_owned(), mapping(uid));
    linux.insert("gidMappings".to_owned(), mapping(gid));
    if let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
        namespaces.retain(|namespace| !["network", "user"].iter().any(|kind| namespace["type"] == *kind));
        namespaces.push(json!({"type": "user"}));
    }
}
