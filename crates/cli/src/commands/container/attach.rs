//! `conex attach`.

use clap::Args;
use conex_api_types::ContainerInspect;
use conex_client::{AttachOptions, Client, WaitCondition};

use super::run::outcome;
use crate::failure::Failure;
use crate::session::{self, Input};
use crate::signals::{self, Resized};
use crate::terminal::{self, RawTerminal};

/// Attaches to a running container.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not attach standard input
    #[arg(long)]
    no_stdin: bool,
    /// Container
    container: String,
}

impl Attach {
    /// Gives the container's exit code.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let container: ContainerInspect = client.inspect(&self.container).await?;
        if !container.state.running {
            return Err(Failure::new(1, "cannot attach to a stopped container, start it first"));
        }
        let tty = container.config.tty;
        let stdin = !self.no_stdin && container.config.open_stdin;
        terminal::check_input(tty, stdin)?;
        attach(client, &container.id, tty, stdin, self.detach_keys.as_deref()).await
    }
}

/// Attaches to a container that runs; gives its exit code.
pub(crate) async fn attach(
    client: &Client,
    id: &str,
    tty: bool,
    stdin: bool,
    detach_keys: Option<&str>,
) -> Result<i32, Failure> {
    let wait = client.wait(id, WaitCondition::NotRunning).await?;
    let options = AttachOptions {
        stream: true,
        stdin,
        stdout: true,
        stderr: true,
        detach_keys,
        ..AttachOptions::default()
    };
    let connection = client.attach(id, options).await?;
    let raw = match tty && stdin {
        true => RawTerminal::enter().map_err(|error| Failure::local("set the terminal raw", &error))?,
        false => None,
    };
    if tty {
        signals::follow_size(client, Resized::Container(id.to_owned())).await;
    } else {
        signals::pass_on(client, id);
    }
    let input = if stdin { Input::Attached { tty } } else { Input::None };
    let end = session::run(connection, input, detach_keys).await;
    drop(raw);
    outcome(client, id, end?, wait).await
}
