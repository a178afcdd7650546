//! Hooks (OCI runtime specification, "POSIX-platform Hooks"): programs that get the container's state on standard input.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use conex_spec::plan::Hook;

/// How often a hook with a time limit is asked whether it has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs a hook to its end.
///
/// # Errors
/// It cannot be started, takes longer than it may, or fails.
pub fn run_hook(hook: &Hook, state: &str) -> io::Result<()> {
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    command.envs(hook.env.iter().filter_map(|variable| variable.split_once('=')));
    conex_sys::signal::reset_in(&mut command);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read its state is free not to.
        let _ = stdin.write_all(state.as_bytes());
    }
    let started = Instant::now();
    let status = loop {
        match (child.try_wait()?, hook.timeout.map(Duration::from_secs)) {
            (Some(status), _) => break status,
            (None, Some(limit)) if started.elapsed() > limit => {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::other(format!("timed out after {} s", limit.as_secs())));
            }
            (None, Some(_)) => thread::sleep(PAUSE),
            (None, None) => break child.wait()?,
        }
    };
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(status.to_string()))
    }
}
