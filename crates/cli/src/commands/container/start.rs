//! `conex start`.

use clap::Args;
use conex_api_types::ContainerInspect;
use conex_client::{AttachOptions, Client, WaitCondition};

use super::each;
use super::run::outcome;
use crate::failure::Failure;
use crate::session::{self, Input};
use crate::signals::{self, Resized};
use crate::terminal::{self, RawTerminal};

/// Starts stopped containers.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Attach standard output and error, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach standard input
    #[arg(short, long)]
    interactive: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Start {
    /// Prints what was started, or gives the exit code of the one attached to.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let keys = self.detach_keys.as_deref();
        if !self.attach && !self.interactive {
            return each(&self.containers, |container| client.start(container, keys)).await;
        }
        let [container] = self.containers.as_slice() else {
            return Err(Failure::new(
                1,
                "you cannot start and attach multiple containers at once",
            ));
        };
        self.attached(client, container).await
    }

    async fn attached(&self, client: &Client, container: &str) -> Result<i32, Failure> {
        let keys = self.detach_keys.as_deref();
        let facts: ContainerInspect = client.inspect(container).await?;
        let (tty, stdin) = (facts.config.tty, self.interactive && facts.config.open_stdin);
        terminal::check_input(tty, stdin)?;
        let options = AttachOptions {
            stream: true,
            stdin,
            stdout: true,
            stderr: true,
            detach_keys: keys,
            ..AttachOptions::default()
        };
        let connection = client.attach(&facts.id, options).await?;
        let condition = if facts.host_config.auto_remove {
            WaitCondition::Removed
        } else {
            WaitCondition::NextExit
        };
        let wait = client.wait(&facts.id, condition).await?;
        if !tty {
            signals::pass_on(client, &facts.id);
        }
        client.start(&facts.id, keys).await?;
        let raw = match tty && stdin {
            true => RawTerminal::enter().map_err(|error| Failure::local("set the terminal raw", &error))?,
            false => None,
        };
        if tty {
            signals::follow_size(client, Resized::Container(facts.id.clone())).await;
        }
        let input = if stdin { Input::Attached { tty } } else { Input::None };
        let end = session::run(connection, input, keys).await;
        drop(raw);
        outcome(client, &facts.id, end?, wait).await
    }
}
