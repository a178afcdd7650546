//! Hooks that the runtime runs itself; those of the container's own process are steps of its plan.

use anyhow::{Context, Result};
use conex_spec::oci::hooks;
use oci_spec::runtime::{Hook, Spec};

use crate::container::{Container, Status};

/// Refuses hooks that could not be run, before anything is made.
pub(crate) fn check(spec: &Spec) -> Result<()> {
    let Some(given) = spec.hooks() else { return Ok(()) };
    for list in [
        given.prestart(),
        given.create_runtime(),
        given.poststart(),
        given.poststop(),
    ] {
        hooks(list)?;
    }
    Ok(())
}

/// `prestart`, then `createRuntime`: the namespaces exist, the root has not changed yet.
pub(crate) fn before_pivot(spec: &Spec, container: &Container) -> Result<()> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    run_all("prestart", hooks.prestart(), container, Status::Creating)?;
    run_all("createRuntime", hooks.create_runtime(), container, Status::Creating)
}

/// `poststart`: the program runs.
pub(crate) fn after_start(spec: &Spec, container: &Container) -> Result<()> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    run_all("poststart", hooks.poststart(), container, Status::Running)
}

/// `poststop`: everything is gone.
pub(crate) fn after_stop(spec: &Spec, container: &Container) -> Result<()> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    run_all("poststop", hooks.poststop(), container, Status::Stopped)
}

fn run_all(kind: &str, given: &Option<Vec<Hook>>, container: &Container, status: Status) -> Result<()> {
    let state = crate::commands::state::document(container, status).to_string();
    for hook in hooks(given)? {
        conex_launch::run_hook(&hook, &state).with_context(|| format!("{kind} hook {}", hook.path.display()))?;
    }
    Ok(())
}
