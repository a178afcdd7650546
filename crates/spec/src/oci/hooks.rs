//! `hooks`: those of the container's own process. The others are the runtime's to run.

use oci_spec::runtime::{Hook as OciHook, Spec};
use serde_json::json;

use super::{BundleContext, VERSION};
use crate::error::{Error, Result};
use crate::plan::{Hook, Step};

/// Hooks of one point, checked.
pub fn hooks(given: &Option<Vec<OciHook>>) -> Result<Vec<Hook>> {
    given.iter().flatten().map(hook).collect()
}

fn hook(given: &OciHook) -> Result<Hook> {
    let refused = |reason: String| Error::Specification { field: "hooks", reason };
    let path = given.path().display();
    if !given.path().is_absolute() {
        return Err(refused(format!("the path {path} is not absolute")));
    }
    let timeout = given.timeout().map(|seconds| match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Ok(seconds),
        _ => Err(refused(format!("the timeout of {path} is not greater than zero"))),
    });
    Ok(Hook {
        path: given.path().clone(),
        args: given.args().clone().unwrap_or_default(),
        env: given.env().clone().unwrap_or_default(),
        timeout: timeout.transpose()?,
    })
}

/// "createContainer ... in the container namespace, before pivot_root": by then its path is still the runtime's.
pub(super) fn create_container(spec: &Spec, context: &BundleContext) -> Result<Option<Step>> {
    let given = spec.hooks().as_ref().and_then(|hooks| hooks.create_container().clone());
    step("createContainer", &given, spec, context, "creating")
}

/// "startContainer ... before the user-specified process is executed", by paths of the container.
pub(super) fn start_container(spec: &Spec, context: &BundleContext) -> Result<Option<Step>> {
    let given = spec.hooks().as_ref().and_then(|hooks| hooks.start_container().clone());
    step("startContainer", &given, spec, context, "created")
}

fn step(
    point: &'static str,
    given: &Option<Vec<OciHook>>,
    spec: &Spec,
    context: &BundleContext,
    status: &str,
) -> Result<Option<Step>> {
    let hooks = hooks(given)?;
    if hooks.is_empty() {
        return Ok(None);
    }
    let mut state = json!({"ociVersion": VERSION, "id": context.id, "status": status, "bundle": context.bundle});
    if let Some(annotations) = spec
        .annotations()
        .as_ref()
        .filter(|annotations| !annotations.is_empty())
    {
        state["annotations"] = json!(annotations);
    }
    Ok(Some(Step::Hooks {
        point: point.to_string(),
        hooks,
        state: state.to_string(),
    }))
}
