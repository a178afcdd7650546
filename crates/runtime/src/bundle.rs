//! Bundles on disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use oci_spec::runtime::{Capability, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A bundle and its specification.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute path.
    pub(crate) path: PathBuf,
    /// `config.json` as it stands there.
    pub(crate) text: String,
    /// Its meaning.
    pub(crate) spec: Spec,
    /// Capabilities that it names and that are none.
    pub(crate) unknown: Vec<String>,
}

impl Bundle {
    /// Loads a bundle.
    pub(crate) fn load(path: &Path) -> Result<Bundle> {
        let path = fs::canonicalize(path).with_context(|| format!("open bundle {}", path.display()))?;
        let file = path.join("config.json");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let (spec, unknown) = specification(&text).with_context(|| format!("parse {}", file.display()))?;
        Ok(Bundle {
            path,
            text,
            spec,
            unknown,
        })
    }
}

/// Parses a specification; returns it and the names of capabilities that are left out of it, as nobody knows them.
pub(crate) fn specification(text: &str) -> Result<(Spec, Vec<String>)> {
    let (mut spec, unknown) = but_capabilities(text, "/process/capabilities")?;
    add_monitoring(&mut spec, text)?;
    Ok((spec, unknown))
}

/// The library knows two fields of `linux.intelRdt` by other names than the specification's.
fn add_monitoring(spec: &mut Spec, text: &str) -> Result<()> {
    let linux = spec.linux_mut().as_mut();
    let Some(shares) = linux.and_then(|linux| linux.intel_rdt_mut().as_mut()) else {
        return Ok(());
    };
    let document: Value = parse(text)?;
    let flag = |name: &str| match &document["linux"]["intelRdt"][name] {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        other => Err(anyhow!(
            "linux.intelRdt.{name}: invalid type: {other}, expected a boolean"
        )),
    };
    shares.set_enable_cmt(flag("enableCMT")?);
    shares.set_enable_mbm(flag("enableMBM")?);
    Ok(())
}

/// Parses a process, likewise.
pub(crate) fn process(text: &str) -> Result<(Process, Vec<String>)> {
    but_capabilities(text, "/capabilities")
}

/// "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted otherwise, MUST be logged as a
/// warning by the runtime. Runtimes SHOULD NOT fail" (OCI runtime specification, "Linux Process").
fn but_capabilities<T: DeserializeOwned>(text: &str, place: &str) -> Result<(T, Vec<String>)> {
    if let Ok(parsed) = serde_json::from_str(text) {
        return Ok((parsed, Vec::new()));
    }
    let mut unknown = Vec::new();
    let mut document: Value = parse(text)?;
    let sets = document.pointer_mut(place).and_then(Value::as_object_mut);
    for set in sets.into_iter().flatten().filter_map(|(_, set)| set.as_array_mut()) {
        set.retain(|name| {
            let is_known = !name.is_string() || serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !is_known {
                unknown.extend(name.as_str().map(str::to_owned));
            }
            is_known
        });
    }
    unknown.sort();
    unknown.dedup();
    // Places are told in the text as it was given.
    let parsed = if unknown.is_empty() {
        parse(text)
    } else {
        parse(&document.to_string())
    };
    parsed.map(|parsed| (parsed, unknown))
}

/// Parses JSON; an error names the field, and its place by line and column.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        // Following the path costs time that only a wrong text is worth.
        let mut deserializer = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            // What is wrong comes after its end.
            Ok(_) => error.into(),
            Err(error) => error.into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitoring_is_asked_for_by_the_names_of_the_specification() {
        let text = |shares: &str| format!(r#"{{"ociVersion": "1.2.0", "linux": {{"intelRdt": {shares}}}}}"#);
        let (spec, _) = specification(&text(r#"{"enableCMT": true}"#)).unwrap();
        let shares = spec.linux().clone().unwrap().intel_rdt().clone().unwrap();
        assert_eq!((*shares.enable_cmt(), *shares.enable_mbm()), (Some(true), None));
        let error = specification(&text(r#"{"enableMBM": 1}"#)).unwrap_err().to_string();
        assert!(error.starts_with("linux.intelRdt.enableMBM: "), "{error}");
    }

    #[test]
    fn capabilities_that_nobody_knows_are_left_out_and_named() {
        let text = |sets: &str| format!(r#"{{"cwd": "/", "user": {{"uid": 0, "gid": 0}}, "capabilities": {sets}}}"#);
        let (found, unknown) = process(&text(
            r#"{"bounding": ["CAP_KILL", "CAP_NOSUCH"], "effective": ["CAP_NOSUCH"]}"#,
        ))
        .unwrap();
        assert_eq!(unknown, ["CAP_NOSUCH"]);
        let sets = found.capabilities().clone().unwrap();
        assert_eq!(sets.bounding().clone().unwrap().len(), 1);
        assert_eq!(sets.effective().clone().unwrap().len(), 0);
        let error = process(&text(r#"{"bounding": [7]}"#)).unwrap_err().to_string();
        assert!(error.starts_with("capabilities.bounding[0]: "), "{error}");
    }
}
