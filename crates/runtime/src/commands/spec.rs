//! `spec`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;

use crate::arguments::{Flag, Order, Parsed};

const FLAGS: [Flag; 2] = [Flag::Value("bundle", Some('b')), Flag::Switch("rootless", None)];

pub(super) fn run(arguments: &[String]) -> Result<u8> {
    let arguments = Parsed::parse(arguments, &FLAGS, Order::Mixed)?;
    if arguments.is_set("rootless") {
        bail!("--rootless is not supported");
    }
    let file = Path::new(arguments.value("bundle").unwrap_or(".")).join("config.json");
    if file.exists() {
        bail!("File {} exists. Remove it first", file.display());
    }
    let text = serde_json::to_string_pretty(&Spec::default())?;
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(0)
}
