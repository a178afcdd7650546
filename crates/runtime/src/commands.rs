//! The commands.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod run;
mod spec;
mod start;
pub(crate) mod state;
mod update;

use anyhow::{Context, Result, bail};

use crate::arguments::Global;
use crate::report;

const USAGE: &str =
    "usage: conex-runtime [--root DIR] [--log FILE] [--log-format text|json] [--systemd-cgroup] COMMAND [ARGUMENTS]

commands:
  create    make a container from a bundle; its program waits for `start`
  start     execute the program of a created container
  run       create and start, and wait unless --detach is given
  state     print the state of a container as JSON
  list      list containers
  kill      send a signal to a container's first process (default: SIGTERM)
  exec      execute another program in a running container
  ps        list the processes of a container
  pause     freeze the processes of a container
  resume    let them go on
  update    change the limits of a container
  events    tell what a container uses, and that it is short of memory
  delete    remove what a stopped container left
  features  print what this runtime can do as JSON
  spec      write a config.json to begin with";

/// Runs a command; returns the exit code.
pub(crate) fn run(global: &Global, command: &str, arguments: &[String]) -> Result<u8> {
    report::debug(global, || format!("{command} {}", arguments.join(" ")));
    conex_sys::signal::settle().context("unblock the signals")?;
    if matches!(command, "create" | "run" | "exec") {
        crate::sealed::settle()?;
    }
    // Who is not root cannot be in a chroot and make a user namespace (unshare(2)).
    if matches!(command, "create" | "run") && rustix::process::geteuid().is_root() {
        conex_sys::chroot::settle().context("leave the chroot")?;
    }
    match command {
        "create" => create::run(global, arguments),
        "start" => start::run(global, arguments),
        "run" => run::run(global, arguments),
        "state" => state::run(global, arguments),
        "list" => list::run(global, arguments),
        "kill" => kill::run(global, arguments),
        "exec" => exec::run(global, arguments),
        "ps" => ps::run(global, arguments),
        "pause" => pause::pause(global, arguments),
        "resume" => pause::resume(global, arguments),
        "update" => update::run(global, arguments),
        "events" => events::run(global, arguments),
        "delete" => delete::run(global, arguments),
        "features" => features::run(),
        "spec" => spec::run(arguments),
        "version" => {
            println!(
                "conex-runtime version {}\nspec: {}",
                env!("CARGO_PKG_VERSION"),
                conex_spec::oci::VERSION
            );
            Ok(0)
        }
        "help" => {
            println!("{USAGE}");
            Ok(0)
        }
        "checkpoint" | "restore" => bail!("the command {command} is not supported"),
        other => bail!("no such command: {other}"),
    }
}
