//! Hooks (OCI runtime specification, "POSIX-platform Hooks"): programs that get the state on standard input.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Hook, Spec};

use crate::container::{Container, Status};

/// How often a hook with a time limit is asked whether it has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// Refuses hooks that would have to run inside the container.
pub(crate) fn refuse_unsupported(spec: &Spec) -> Result<()> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    let some = |hooks: &Option<Vec<Hook>>| hooks.as_ref().is_some_and(|list| !list.is_empty());
    if some(hooks.create_container()) {
        bail!("createContainer hooks are not supported");
    }
    if some(hooks.start_container()) {
        bail!("startContainer hooks are not supported");
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

fn run_all(kind: &str, hooks: &Option<Vec<Hook>>, container: &Container, status: Status) -> Result<()> {
    let state = crate::commands::state::document(container, status).to_string();
    for hook in hooks.iter().flatten() {
        run(hook, &state).with_context(|| format!("{kind} hook {}", hook.path().display()))?;
    }
    Ok(())
}

fn run(hook: &Hook, state: &str) -> Result<()> {
    use std::os::unix::process::CommandExt;

    let mut command = Command::new(hook.path());
    let arguments = hook.args().as_deref().unwrap_or_default();
    if let Some((name, rest)) = arguments.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    command.envs(
        hook.env()
            .iter()
            .flatten()
            .filter_map(|variable| variable.split_once('=')),
    );
    conex_sys::signal::reset_in(&mut command);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read its state is free not to.
        let _ = stdin.write_all(state.as_bytes());
    }
    let deadline = hook
        .timeout()
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(Duration::from_secs);
    let started = Instant::now();
    let status = loop {
        match (child.try_wait()?, deadline) {
            (Some(status), _) => break status,
            (None, Some(deadline)) if started.elapsed() > deadline => {
                child.kill()?;
                child.wait()?;
                bail!("timed out after {} s", deadline.as_secs());
            }
            (None, Some(_)) => thread::sleep(PAUSE),
            (None, None) => break child.wait()?,
        }
    };
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}
